/* Values with codecs. C has none of its own: moments are written and read here as a program with a library for each would. */
#define _XOPEN_SOURCE 700
#include "conformance.h"

#include <inttypes.h>

#define IS_OPERATION(name, arguments) (strcmp(words[0], name) == 0 && count == (arguments) + 1)

static const char *const codecs[] = {"raw", "json", "msgpack", "protobuf", "postcard", "text", "gob", "pickle"};
#define CODEC_COUNT (sizeof codecs / sizeof *codecs)

static uint32_t codec_of(const char *word) {
  for (uint32_t codec = 0; codec < CODEC_COUNT; codec++) {
    if (strcmp(word, codecs[codec]) == 0) return codec;
  }
  return (uint32_t)number_of(word);
}

void add_codec(text *answer, uint32_t codec) {
  if (codec < CODEC_COUNT) text_add(answer, "%s", codecs[codec]);
  else text_add(answer, "%" PRIu32, codec);
}

typedef struct {
  int64_t seconds;
  int32_t nanos;
} moment;

static size_t put_big_endian(uint8_t *to, uint64_t number, size_t len) {
  for (size_t at = len; at > 0; number >>= 8) to[--at] = (uint8_t)number;
  return len;
}

static size_t put_varint(uint8_t *to, uint64_t number) {
  size_t len = 0;
  for (; number >= 0x80; number >>= 7) to[len++] = (uint8_t)(number | 0x80);
  to[len++] = (uint8_t)number;
  return len;
}

static kv_status set_moment(const kv_db *db, uint32_t codec, kv_slice key, moment value) {
  uint8_t bytes[64];
  size_t len = 0;
  if (codec == KV_CODEC_JSON) {
    len = (size_t)sprintf((char *)bytes, "{\"seconds\":%" PRId64 ",\"nanos\":%" PRId32 "}", value.seconds, value.nanos);
  } else if (codec == KV_CODEC_MSGPACK) {
    memcpy(bytes, "\x82\xa7seconds\xd3", 10);
    len = 10 + put_big_endian(bytes + 10, (uint64_t)value.seconds, 8);
    memcpy(bytes + len, "\xa5nanos\xd2", 7);
    len += 7;
    len += put_big_endian(bytes + len, (uint64_t)value.nanos, 4);
  } else {
    NEED(codec == KV_CODEC_PROTOBUF, "no moment is written by %" PRIu32, codec);
    bytes[len++] = 1 << 3;
    len += put_varint(bytes + len, (uint64_t)value.seconds);
    bytes[len++] = 2 << 3;
    len += put_varint(bytes + len, (uint64_t)(int64_t)value.nanos);
  }
  kv_set_options options = {.codec = codec};
  return kv_set_with(db, key.data, key.len, bytes, len, &options, NULL, NULL);
}

/* What is left of a value. */
typedef struct {
  const uint8_t *at, *end;
} input;

/* Takes that many bytes, or none. */
static const uint8_t *take(input *from, size_t len) {
  if ((size_t)(from->end - from->at) < len) return NULL;
  from->at += len;
  return from->at - len;
}

/* A whole number of MessagePack, in any of its widths. */
static int get_packed(input *from, int64_t *number) {
  const uint8_t *head = take(from, 1);
  if (head == NULL) return 0;
  if (*head < 0x80 || *head >= 0xe0) {
    *number = *head < 0x80 ? *head : (int64_t)*head - 256;
    return 1;
  }
  if (*head < 0xcc || *head > 0xd3) return 0;
  int is_signed = *head >= 0xd0;
  size_t len = (size_t)1 << (*head - (is_signed ? 0xd0 : 0xcc));
  const uint8_t *bytes = take(from, len);
  if (bytes == NULL) return 0;
  uint64_t all = is_signed && bytes[0] >= 0x80 ? UINT64_MAX : 0;
  for (size_t at = 0; at < len; at++) all = all << 8 | bytes[at];
  *number = (int64_t)all;
  return 1;
}

static int get_varint(input *from, uint64_t *number) {
  *number = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const uint8_t *byte = take(from, 1);
    if (byte == NULL) return 0;
    *number |= (uint64_t)(*byte & 0x7f) << shift;
    if (*byte < 0x80) return 1;
  }
  return 0;
}

static int unpack(input from, moment *value) {
  const uint8_t *head = take(&from, 1);
  if (head == NULL || *head != 0x82) return 0;
  for (int field = 0; field < 2; field++) {
    const uint8_t *len = take(&from, 1);
    const uint8_t *name = len != NULL && *len >> 5 == 5 ? take(&from, *len & 31) : NULL;
    int64_t number;
    if (name == NULL || !get_packed(&from, &number)) return 0;
    if (*len == 0xa7 && memcmp(name, "seconds", 7) == 0) {
      value->seconds = number;
    } else if (*len == 0xa5 && memcmp(name, "nanos", 5) == 0) {
      value->nanos = (int32_t)number;
    } else {
      return 0;
    }
  }
  return from.at == from.end;
}

static int parse(input from, moment *value) {
  uint64_t field, number;
  while (from.at < from.end) {
    if (!get_varint(&from, &field) || !get_varint(&from, &number)) return 0;
    if (field == 1 << 3) value->seconds = (int64_t)number;
    else if (field == 2 << 3) value->nanos = (int32_t)(int64_t)number;
    else return 0;
  }
  return 1;
}

static int decode(uint32_t codec, kv_slice bytes, moment *value) {
  input from = {bytes.data, (const uint8_t *)bytes.data + bytes.len};
  if (codec == KV_CODEC_MSGPACK) return unpack(from, value);
  if (codec == KV_CODEC_PROTOBUF) return parse(from, value);
  char *json = line_memory(bytes.len);
  memcpy(json, bytes.data, bytes.len);
  json[bytes.len] = 0;
  int read = 0;
  int fields = sscanf(json, "{\"seconds\":%" SCNd64 ",\"nanos\":%" SCNd32 "}%n", &value->seconds, &value->nanos, &read);
  return fields == 2 && (size_t)read == bytes.len;
}

static void get_moment(text *answer, const kv_db *db, uint32_t codec, kv_slice key) {
  uint8_t *bytes = NULL;
  size_t len = 0;
  moment value = {0, 0};
  kv_status status = kv_get_owned_as(db, key.data, key.len, codec, &bytes, &len, NULL);
  if (status != KV_OK) {
    answer_status(answer, status);
  } else if (decode(codec, (kv_slice){bytes, len}, &value)) {
    text_add(answer, "%" PRId64 " %" PRId32, value.seconds, value.nanos);
  } else {
    text_add(answer, "error undecodable");
  }
  kv_free(bytes);
}

static kv_status set_many_as(const kv_db *db, uint32_t codec, char **words, size_t count) {
  kv_change *changes = line_memory(count / 2 * sizeof *changes);
  for (size_t at = 0; at < count / 2; at++) {
    changes[at] = (kv_change){
        .key = bytes_of(words[2 * at]), .value = bytes_of(words[2 * at + 1]), .kind = KV_CHANGE_SET, .codec = codec};
  }
  return kv_apply(db, changes, count / 2, NULL);
}

static void scan_codecs(text *answer, const kv_db *db, kv_slice prefix) {
  kv_scan_options options = {.prefix = prefix, .ordered = 1};
  kv_scan *cursor = NULL;
  kv_status status = kv_scan_open(db, &options, &cursor, NULL);
  const kv_entry *entries = NULL;
  size_t count = 1;
  while (status == KV_OK && count > 0) {
    status = kv_scan_next(cursor, 3, &entries, &count, NULL);
    for (size_t at = 0; status == KV_OK && at < count; at++) {
      if (answer->len > 0) text_add(answer, " ");
      text_add_word(answer, entries[at].key.data, entries[at].key.len);
      text_add(answer, "=");
      add_codec(answer, entries[at].codec);
    }
  }
  NEED(kv_scan_free(cursor) == KV_OK && status == KV_OK, "the scan fails");
  if (answer->len == 0) text_add(answer, "none");
}

/* Does what a line says, if it is of codecs. */
int use_codec(const script_case *c, char **words, size_t count, text *answer) {
  const kv_db *db = c->db;
  if (IS_OPERATION("codec", 1)) {
    kv_slice key = bytes_of(words[1]);
    uint32_t codec;
    kv_status status = kv_key_codec(db, key.data, key.len, &codec, NULL);
    if (status != KV_OK) answer_status(answer, status);
    else add_codec(answer, codec);
    return 1;
  }
  if (IS_OPERATION("scan_codecs", 1)) {
    scan_codecs(answer, db, bytes_of(words[1]));
    return 1;
  }
  if (count < 3) return 0;
  kv_slice key = bytes_of(words[2]);
  if (IS_OPERATION("set_as", 3)) {
    kv_slice value = bytes_of(words[3]);
    kv_set_options options = {.codec = codec_of(words[1])};
    answer_status(answer, kv_set_with(db, key.data, key.len, value.data, value.len, &options, NULL, NULL));
  } else if (IS_OPERATION("get_as", 2) || IS_OPERATION("take_as", 2)) {
    uint8_t *owned = NULL;
    size_t len = 0;
    uint32_t codec = codec_of(words[1]);
    kv_status status = words[0][0] == 'g' ? kv_get_owned_as(db, key.data, key.len, codec, &owned, &len, NULL)
                                          : kv_take_as(db, key.data, key.len, codec, &owned, &len, NULL);
    answer_owned(answer, status, owned, len);
  } else if (IS_OPERATION("increment_as", 3)) {
    int64_t sum;
    int64_t by = strtoll(words[3], NULL, 10);
    kv_status status = kv_increment_as(db, key.data, key.len, by, codec_of(words[1]), &sum, NULL);
    if (status == KV_OK) text_add(answer, "%" PRId64, sum);
    else answer_status(answer, status);
  } else if (strcmp(words[0], "set_many_as") == 0) {
    answer_status(answer, set_many_as(db, codec_of(words[1]), words + 2, count - 2));
  } else if (strcmp(words[0], "get_many_as") == 0) {
    answer_many(answer, db, codec_of(words[1]), words + 2, count - 2);
  } else if (IS_OPERATION("get_or_load_as", 3)) {
    kv_set_options options = {.codec = codec_of(words[1])};
    uint8_t *owned = NULL;
    size_t len = 0;
    kv_status status = kv_get_or_load(db, key.data, key.len, &options, load, words[3], &owned, &len, NULL);
    answer_owned(answer, status, owned, len);
  } else if (IS_OPERATION("set_moment", 4)) {
    moment value = {strtoll(words[3], NULL, 10), (int32_t)strtol(words[4], NULL, 10)};
    answer_status(answer, set_moment(db, codec_of(words[1]), key, value));
  } else if (IS_OPERATION("get_moment", 2)) {
    get_moment(answer, db, codec_of(words[1]), key);
  } else {
    return 0;
  }
  return 1;
}
