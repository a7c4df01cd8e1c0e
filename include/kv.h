/* libkv: an embeddable key-value engine. Made from src/ffi/ by `make header`; not edited by hand.
 *
 * Every function may be called with NULL, zero, or lengths beyond the limits: it returns an error code. Outputs are
 * written only when a call succeeds. `error` may be NULL; when it is not and the call fails (KV_INVALID_ARGUMENT or
 * higher), a kv_error is stored there, which the caller frees with kv_error_free. What stood there before is not freed.
 *
 * Handles (kv_db, kv_options, kv_pin, kv_scan, kv_session, kv_watch, kv_clock, kv_error) are valid until their _free or _release. A handle
 * of another kind is refused with KV_INVALID_HANDLE; memory that is no handle at all cannot be told from one.
 *
 * In a forked child every call with a store of the parent gives KV_FORKED.
 *
 * With the options tier_url and others (kv_options_set) a store shares its entries through Redis. Reads of keys that it does not
 * have then wait for Redis' answer, and calls that read or change entries may also give KV_TIER.
 */

#ifndef LIBKV_KV_H
#define LIBKV_KV_H

#include <stddef.h>
#include <stdint.h>

/**
 * Major version of the library that this header belongs to.
 */
#define KV_VERSION_MAJOR 0

/**
 * Minor version of the library that this header belongs to.
 */
#define KV_VERSION_MINOR 1

/**
 * Patch version of the library that this header belongs to.
 */
#define KV_VERSION_PATCH 0

/**
 * Version of the library that this header belongs to, as kv_version gives it.
 */
#define KV_VERSION (((KV_VERSION_MAJOR << 16) | (KV_VERSION_MINOR << 8)) | KV_VERSION_PATCH)

/**
 * Longest key, in bytes.
 */
#define KV_KEY_BYTES_MAX 65535

/**
 * Most elements of an array that is given to one call.
 */
#define KV_COUNT_MAX 67108864

/**
 * A codec: none; the value is bytes. Who expects it takes any value as it is.
 */
#define KV_CODEC_RAW 0

/**
 * A codec: the value is a JSON text (RFC 8259), UTF-8.
 */
#define KV_CODEC_JSON 1

/**
 * A codec: the value is one MessagePack object.
 */
#define KV_CODEC_MSGPACK 2

/**
 * A codec: the value is one Protocol Buffers message, without a length before it.
 */
#define KV_CODEC_PROTOBUF 3

/**
 * A codec: the value is in the wire format of postcard 1.x, of Rust.
 */
#define KV_CODEC_POSTCARD 4

/**
 * A codec: the value is UTF-8 text.
 */
#define KV_CODEC_TEXT 5

/**
 * A codec: the value is a stream of Go's encoding/gob with one value.
 */
#define KV_CODEC_GOB 6

/**
 * A codec: the value is a pickle of Python's: reading one runs what it says.
 */
#define KV_CODEC_PICKLE 7

/**
 * The first number for codecs of users' own.
 */
#define KV_CODEC_USER_MIN 64

/**
 * The last number for codecs of users' own.
 */
#define KV_CODEC_USER_MAX 254

/**
 * The condition of a write: whatever stands there.
 */
#define KV_ALWAYS 0

/**
 * The condition of a write: the key has no value.
 */
#define KV_IF_ABSENT 1

/**
 * The condition of a write: the key has a value.
 */
#define KV_IF_PRESENT 2

/**
 * The condition of a write: the key's value has this version; 0: it has none.
 */
#define KV_IF_VERSION 3

/**
 * Expiry of a write: the store's default time to live, if it has one.
 */
#define KV_EXPIRE_DEFAULT 0

/**
 * Expiry of a write: never.
 */
#define KV_EXPIRE_NEVER 1

/**
 * Expiry of a write: `expiry_ms` milliseconds from now.
 */
#define KV_EXPIRE_AFTER 2

/**
 * Expiry of a write: at the Unix time `expiry_ms`, in milliseconds.
 */
#define KV_EXPIRE_AT 3

/**
 * Expiry of a write: that of the value which it replaces.
 */
#define KV_EXPIRE_KEEP 4

/**
 * Mode: opens the store, or makes an empty one where there is none. The default.
 */
#define KV_MODE_CREATE 0

/**
 * Mode: opens the store; that there is none is an error.
 */
#define KV_MODE_MUST_EXIST 1

/**
 * Mode: opens the store as it is now, for reading, also when another process has it open.
 */
#define KV_MODE_READ_ONLY 2

/**
 * Sync: each write is on disk before its call returns.
 */
#define KV_SYNC_ALWAYS 0

/**
 * Sync: each write is on disk at most a period after its call returned. The default, with one second.
 */
#define KV_SYNC_EVERY 1

/**
 * Sync: when the operating system gets to it, and at close.
 */
#define KV_SYNC_NEVER 2

/**
 * Recovery: damage fails the open. The default.
 */
#define KV_RECOVER_STRICT 0

/**
 * Recovery: keeps what is intact; kv_damage_json lists the rest.
 */
#define KV_RECOVER_SALVAGE 1

/**
 * Why an entry went: deleted, taken or cleared.
 */
#define KV_CAUSE_DELETED 0

/**
 * Why an entry went: its time was over.
 */
#define KV_CAUSE_EXPIRED 1

/**
 * Why an entry went: the store had to make room.
 */
#define KV_CAUSE_EVICTED 2

/**
 * Why a value went: another was set. Told of with the option listener_replaced.
 */
#define KV_CAUSE_REPLACED 3

/**
 * What kv_ttl stores for an entry that does not expire.
 */
#define KV_TTL_NEVER 18446744073709551615ull

/**
 * A change: sets the key.
 */
#define KV_CHANGE_SET 0

/**
 * A change: deletes the key.
 */
#define KV_CHANGE_DELETE 1

/**
 * How long a call waits for a key's lock: until it is free, or the store is closed.
 */
#define KV_WAIT_FOREVER 18446744073709551615ull

/**
 * A commit: keeps the lock, also when it fails; the session goes on with what was committed.
 */
#define KV_COMMIT_KEEP 1

/**
 * A commit: keeps lock and edits when it fails.
 */
#define KV_COMMIT_KEEP_ON_FAILURE 2

/**
 * A commit: removes the entry instead.
 */
#define KV_COMMIT_DELETE 4

/**
 * Whole numbers are written as decimal digits.
 */
#define KV_NUMBERS_DECIMAL 0

/**
 * Whole numbers are written as MessagePack has them.
 */
#define KV_NUMBERS_MSGPACK 1

/**
 * Where a watch begins: with what is written from now on.
 */
#define KV_WATCH_FROM_NOW 18446744073709551615ull

/**
 * A change that a watch tells: the key has this value now.
 */
#define KV_WATCH_PUT 0

/**
 * A change that a watch tells: the key has no value any more.
 */
#define KV_WATCH_REMOVED 1

/**
 * A change that a watch tells: no key has a value any more that was set below this version.
 */
#define KV_WATCH_CLEARED 2

/**
 * Format: one JSON object a line: every entry, bytes of all kinds, expiries.
 */
#define KV_FORMAT_NDJSON 0

/**
 * Format: one JSON object of keys and values, for people: text and JSON, without expiries.
 */
#define KV_FORMAT_JSON 1

/**
 * Format: a table whose first row names its columns: bytes of all kinds, and expiries.
 */
#define KV_FORMAT_CSV 2

/**
 * Format: Redis commands, as redis-cli --pipe takes them and append-only files hold them: bytes of all kinds, and expiries.
 */
#define KV_FORMAT_RESP 3

/**
 * Outcome of a call. Values are fixed: a later version may add some, but never changes one. Up to 9 the call did its work,
 * and the code is its answer; from 10 it failed, and nothing was changed unless the function's doc says so.
 */
typedef enum {
  /**
   * Done.
   */
  KV_OK = 0,
  /**
   * The key has no value. Not a failure.
   */
  KV_NOT_FOUND = 1,
  /**
   * The condition of a write did not hold, so nothing was written. Not a failure.
   */
  KV_NOT_MET = 2,
  /**
   * The value does not fit the buffer; the length that it needs was stored. Not a failure.
   */
  KV_TOO_SMALL = 3,
  /**
   * NULL where a pointer must be given, a misaligned pointer, outputs that overlap, or a number that means nothing.
   */
  KV_INVALID_ARGUMENT = 10,
  /**
   * The handle is of another kind.
   */
  KV_INVALID_HANDLE = 11,
  /**
   * An unknown option, or a value that it does not take.
   */
  KV_INVALID_OPTION = 12,
  /**
   * The key is longer than KV_KEY_BYTES_MAX.
   */
  KV_KEY_TOO_LONG = 13,
  /**
   * The value is longer than the store accepts.
   */
  KV_VALUE_TOO_LONG = 14,
  /**
   * The members of a batch need more bytes than one frame of the log can hold.
   */
  KV_BATCH_TOO_LARGE = 15,
  /**
   * The value is no decimal 64-bit integer, so it cannot be incremented.
   */
  KV_NOT_AN_INTEGER = 16,
  /**
   * The increment would leave the range of int64_t.
   */
  KV_OVERFLOW = 17,
  /**
   * An export to one JSON object met bytes that are not UTF-8.
   */
  KV_NOT_TEXT = 18,
  /**
   * An import met a line that it cannot take.
   */
  KV_BAD_IMPORT = 19,
  /**
   * The store was closed.
   */
  KV_CLOSED = 20,
  /**
   * The store belongs to the parent of this forked process.
   */
  KV_FORKED = 21,
  /**
   * The store was opened for reading, or had no space to recover for writing.
   */
  KV_READ_ONLY = 22,
  /**
   * This thread holds a pin, for which the call would wait without end.
   */
  KV_PINNED = 23,
  /**
   * A pin was used by another thread than the one that took it.
   */
  KV_WRONG_THREAD = 24,
  /**
   * The call is not allowed inside a callback.
   */
  KV_IN_CALLBACK = 25,
  /**
   * A loader failed, or asked for its own key.
   */
  KV_LOADER_FAILED = 26,
  /**
   * Another thread is using this cursor or session.
   */
  KV_BUSY = 27,
  /**
   * A progress function ended its export or import.
   */
  KV_CANCELLED = 28,
  /**
   * The operating system refused a file operation, or a reader or writer callback failed.
   */
  KV_IO = 30,
  /**
   * The disk is full. Reads and deletes go on.
   */
  KV_DISK_FULL = 31,
  /**
   * A sync failed: writes are refused until the store is reopened.
   */
  KV_SYNC_FAILED = 32,
  /**
   * Bytes in a file are not what this library wrote there.
   */
  KV_CORRUPT = 33,
  /**
   * The files have a format version that this library does not read.
   */
  KV_UNSUPPORTED_VERSION = 34,
  /**
   * The path holds something that is not a libkv store.
   */
  KV_NOT_A_STORE = 35,
  /**
   * Another process, or another handle of this one, has the store open.
   */
  KV_LOCKED = 36,
  /**
   * The system has no memory left.
   */
  KV_NO_MEMORY = 37,
  /**
   * Redis could not be asked, or did not acknowledge in time. A change that was made stands in the store all the same, and is
   * sent when Redis answers, unless the message says that it was refused.
   */
  KV_TIER = 38,
  /**
   * Another session has the key, and the time for which this call would wait for it is over.
   */
  KV_KEY_LOCKED = 41,
  /**
   * The key was changed by somebody else while a session had it, so the session's commit changed nothing.
   */
  KV_CONFLICT = 42,
  /**
   * The session was committed or rolled back.
   */
  KV_SESSION_ENDED = 43,
  /**
   * A watch comes too late for what it has missed: whoever keeps what it was told has to forget that, since what stands follows.
   */
  KV_LAGGED = 47,
  /**
   * The value was written by another codec than the one that is to read it.
   */
  KV_WRONG_CODEC = 50,
  /**
   * A defect of the library: a panic was caught.
   */
  KV_INTERNAL = 99,
} kv_status;

/**
 * A clock that stands still until it is moved, for tests. Opaque; made by kv_clock_new.
 */
typedef struct kv_clock kv_clock;

/**
 * An open store. Opaque; made by kv_open and kv_open_in_memory.
 */
typedef struct kv_db kv_db;

/**
 * Why a call failed: a status and a text with the facts. Opaque.
 */
typedef struct kv_error kv_error;

/**
 * How a store is opened. Opaque; made by kv_options_new.
 */
typedef struct kv_options kv_options;

/**
 * Lets values be read in place. Opaque; made by kv_pin_open.
 */
typedef struct kv_pin kv_pin;

/**
 * A cursor over entries. Opaque; made by kv_scan_open.
 */
typedef struct kv_scan kv_scan;

/**
 * An entry that is locked for whoever holds this, with a value and metadata to edit. Opaque; made by kv_get_and_lock,
 * kv_create_and_lock and kv_create_generated_and_lock.
 */
typedef struct kv_session kv_session;

/**
 * Where a loader or an encoder puts what it brings. Opaque; valid during its call.
 */
typedef struct kv_sink kv_sink;

/**
 * Tells what changes. Opaque; made by kv_watch_open.
 */
typedef struct kv_watch kv_watch;

/**
 * Stores at `weight` what an entry weighs, of its key and its value as the caller gave it, and returns KV_OK; anything else: the entry
 * weighs the bytes of both, which is what stands at `weight` already. Arguments are valid during the call. Called in the thread that writes,
 * or that a copy of the tier comes in, by several at a time, and by kv_open for each entry; calls into any store give KV_IN_CALLBACK. It
 * must be quick, not wait for a thread that calls the store, and return: not throw, not longjmp.
 */
typedef int32_t (*kv_weigher)(void *userdata,
                              const void *key,
                              size_t key_len,
                              const void *value,
                              size_t value_len,
                              uint32_t *weight);

/**
 * Bytes at an address. `data` may be NULL when `len` is 0.
 */
typedef struct {
  /**
   * First byte.
   */
  const void *data;
  /**
   * How many.
   */
  size_t len;
} kv_slice;

/**
 * An entry that went.
 */
typedef struct {
  /**
   * Its key; valid during the callback.
   */
  kv_slice key;
  /**
   * Its last value; valid during the callback.
   */
  kv_slice value;
  /**
   * Its version.
   */
  uint64_t version;
  /**
   * KV_CAUSE_DELETED, KV_CAUSE_EXPIRED, KV_CAUSE_EVICTED or KV_CAUSE_REPLACED.
   */
  uint32_t cause;
  /**
   * Which codec wrote the value, as in kv_set_options.
   */
  uint32_t codec;
} kv_event;

/**
 * Hears of an entry that went. Called by a thread of the store that is there for it alone, one event at a time; it may call
 * the store, but for kv_close and kv_db_free, which give KV_IN_CALLBACK. It must return: not throw, not longjmp.
 */
typedef void (*kv_listener)(void *userdata, const kv_event *event);

/**
 * Takes a line of text that ends with NUL, valid during the callback. Called by kv_open, and by threads of the store, two
 * at a time perhaps; calls into any store give KV_IN_CALLBACK. It must return: not throw, not longjmp.
 */
typedef void (*kv_logger)(void *userdata, const char *line, size_t line_len);

/**
 * How a value is set. All zero means: always, with the store's default expiry.
 */
typedef struct {
  /**
   * KV_ALWAYS, KV_IF_ABSENT, KV_IF_PRESENT or KV_IF_VERSION.
   */
  uint32_t condition;
  /**
   * KV_EXPIRE_DEFAULT, _NEVER, _AFTER, _AT or _KEEP.
   */
  uint32_t expiry;
  /**
   * For KV_EXPIRE_AFTER and KV_EXPIRE_AT.
   */
  uint64_t expiry_ms;
  /**
   * For KV_IF_VERSION.
   */
  uint64_t version;
  /**
   * Which codec wrote the value: KV_CODEC_RAW, another KV_CODEC_, or a number of one's own.
   */
  uint32_t codec;
} kv_set_options;

/**
 * A key and its value.
 */
typedef struct {
  /**
   * The key.
   */
  kv_slice key;
  /**
   * The value.
   */
  kv_slice value;
} kv_pair;

/**
 * One member of a batch.
 */
typedef struct {
  /**
   * The key.
   */
  kv_slice key;
  /**
   * The value, for KV_CHANGE_SET.
   */
  kv_slice value;
  /**
   * KV_CHANGE_SET or KV_CHANGE_DELETE.
   */
  uint32_t kind;
  /**
   * For KV_CHANGE_SET: KV_EXPIRE_DEFAULT, _NEVER, _AFTER or _AT; _KEEP counts as _DEFAULT.
   */
  uint32_t expiry;
  /**
   * For KV_EXPIRE_AFTER and KV_EXPIRE_AT.
   */
  uint64_t expiry_ms;
  /**
   * For KV_CHANGE_SET: which codec wrote the value, as in kv_set_options.
   */
  uint32_t codec;
} kv_change;

/**
 * How generated keys look. All zero means: decimal digits, as wide as any number will ever need.
 */
typedef struct {
  /**
   * What stands before the number.
   */
  kv_slice prefix;
  /**
   * Base of the digits, 2 to 62: 0-9a-z up to 36, 0-9A-Za-z above; 0: 10.
   */
  uint32_t base;
  /**
   * Digits of the number, 64 at most; 0: as many as the largest number of this base has. Numbers grow by one for each 32 bytes that
   * the log takes.
   */
  uint32_t width;
} kv_key_options;

/**
 * What kv_create_and_lock begins with. All zero means: the key must have no value, and the session begins with an empty one.
 */
typedef struct {
  /**
   * Not 0: a key that has a value is taken as it is.
   */
  uint32_t allow_existing;
  /**
   * The value of a session of a key that has none.
   */
  kv_slice initial;
} kv_create_options;

/**
 * Functions of a host's runtime that read and make its byte strings, for hosts to which a buffer or an array of addresses is
 * dear; CPython's are named beside each. They are called in the calling thread, in the middle of a read: they must be quick,
 * must not call the store, and must return.
 */
typedef struct {
  /**
   * Makes an object from bytes; NULL: it failed. PyBytes_FromStringAndSize.
   */
  void *(*make)(const void *data, size_t len);
  /**
   * Takes one more reference to an object, which may be NULL. Py_IncRef.
   */
  void (*share)(void *object);
  /**
   * The object of a list; no reference is taken; NULL: it failed. PyList_GetItem.
   */
  void *(*item)(void *list, size_t index);
  /**
   * Where the bytes of an object are; not 0: it has none. PyBytes_AsStringAndSize.
   */
  int32_t (*bytes)(void *object, void **data, size_t *len);
  /**
   * Puts an object into a list, which takes over the reference; not 0: it failed. PyList_SetItem.
   */
  int32_t (*put)(void *list, size_t index, void *object);
  /**
   * What kv_get_made gives, shared, for a key without a value.
   */
  void *absent;
  /**
   * What kv_get_made gives, shared, when it fails.
   */
  void *failed;
  /**
   * Longest value that kv_get_made makes; it fails for others, which are better copied without holding up the host.
   */
  size_t len_max;
  /**
   * Which codec wrote the values that are made, as in kv_set_options; KV_CODEC_RAW takes any.
   */
  uint32_t codec;
} kv_host;

/**
 * Brings the value of a key, with kv_sink_write (of no bytes for an empty value), and returns KV_OK; KV_NOT_FOUND: there is
 * none; anything else, or KV_OK without a kv_sink_write: it failed, and kv_sink_fail may say why.
 * Called without any lock, in the thread that called kv_get_or_load; of kv_get_or_load_with and kv_load_behind perhaps in a
 * thread of the store. `key` is valid during the call. It may call the store, but for kv_close and kv_db_free,
 * which give KV_IN_CALLBACK. It must return: not throw, not longjmp.
 */
typedef int32_t (*kv_loader)(void *userdata, const void *key, size_t key_len, kv_sink *value);

/**
 * How long what a loader brings is kept and when it is loaded anew. All zero means: for the store's default time to live, and
 * nothing is loaded anew.
 */
typedef struct {
  /**
   * How long a loaded value lives, in milliseconds; 0: the store's default. After that it is gone: what expired is never served.
   */
  uint64_t ttl_ms;
  /**
   * For how long of its life a value counts as fresh; 0: always. From then on until its end it is served as it is, while one
   * thread of the store loads it anew; if that fails it is served on, and tried again a second later at the earliest. Needs a
   * time to live that is longer.
   */
  uint64_t fresh_for_ms;
  /**
   * Lets a value be loaded anew before it is stale (without `fresh_for_ms`: before its end), at a moment drawn anew by each
   * read: earlier by what loads of this store take lately, times this, times -ln of an even draw. 1 is a good value; 0: off.
   */
  double early;
  /**
   * For how long it is remembered that a loader found nothing; 0: not at all. A change of the key, or one elsewhere that is
   * heard, ends it. In memory only, of 65,536 keys and 8 MiB of them at most.
   */
  uint64_t absent_for_ms;
  /**
   * Lets one process of all that share a tier load a key at a time: for how long it holds a lease in Redis; 0: none is taken.
   * The others wait for the value, for twice this time at most; then they load it too, as they do when Redis cannot be asked.
   * Without a tier it has no effect.
   */
  uint64_t lease_ms;
  /**
   * Which codec writes what the loader brings, as in kv_set_options. What stands there must be of the same; KV_CODEC_RAW takes any.
   */
  uint32_t codec;
} kv_load_options;

/**
 * Called once when the library needs `userdata` no more. It may call the store, but for kv_close and kv_db_free, which give
 * KV_IN_CALLBACK. It must return: not throw, not longjmp.
 */
typedef void (*kv_release)(void *userdata);

/**
 * Puts the string for a value, or the value for a string, with kv_sink_write (of no bytes for an empty one), and returns KV_OK;
 * anything else, or KV_OK without a kv_sink_write: it fails for this value, and kv_sink_fail may say why. Arguments are valid
 * during the call. Called by threads of the store that send and ask, several at a time perhaps, and by kv_preload; calls into any
 * store give KV_IN_CALLBACK, and while it runs nothing else is sent. It must return: not throw, not longjmp.
 */
typedef int32_t (*kv_encoder)(void *userdata,
                              const void *key,
                              size_t key_len,
                              const void *data,
                              size_t len,
                              kv_sink *to);

/**
 * Which entries a scan gives. All zero means: all, in no order.
 */
typedef struct {
  /**
   * Only keys that begin with this.
   */
  kv_slice prefix;
  /**
   * Only this key and those behind it, in bytewise order, which is then the scan's.
   */
  kv_slice start;
  /**
   * Only keys before this one, in bytewise order, which is then the scan's. An empty one counts as none; one that is not behind
   * the start leaves nothing.
   */
  kv_slice end;
  /**
   * At most so many; 0: all.
   */
  size_t limit;
  /**
   * Not 0: bytewise by key.
   */
  uint32_t ordered;
  /**
   * Not 0: bytewise by key, the last first.
   */
  uint32_t reverse;
  /**
   * Not 0: all entries as of one moment, which lies between the call and its return: every write that was acknowledged before
   * the call, and none that began after it. Takes a walk before it begins, and eight bytes an entry; the entries' segments, whose
   * space compaction cannot give back, stay as long as the cursor. Waits for writes that are under way, not for pins.
   */
  uint32_t snapshot;
} kv_scan_options;

/**
 * An entry that a scan found.
 */
typedef struct {
  /**
   * Its key.
   */
  kv_slice key;
  /**
   * Its value.
   */
  kv_slice value;
  /**
   * Its version.
   */
  uint64_t version;
  /**
   * When it expires, in milliseconds since 1970; 0: never.
   */
  uint64_t expires_at_ms;
  /**
   * Which codec wrote the value, as in kv_set_options.
   */
  uint32_t codec;
} kv_entry;

/**
 * A change of the store.
 */
typedef struct {
  /**
   * KV_WATCH_PUT, KV_WATCH_REMOVED or KV_WATCH_CLEARED.
   */
  uint32_t kind;
  /**
   * Of KV_WATCH_REMOVED: KV_CAUSE_DELETED, KV_CAUSE_EXPIRED or KV_CAUSE_EVICTED, which is said also of a copy of what the tier holds that
   * this store has dropped.
   */
  uint32_t cause;
  /**
   * The key; empty for KV_WATCH_CLEARED.
   */
  kv_slice key;
  /**
   * Of KV_WATCH_PUT: the value.
   */
  kv_slice value;
  /**
   * Version of the change; of an entry that has expired its own. A watch behind it goes on with the next change.
   */
  uint64_t version;
  /**
   * Of KV_WATCH_PUT: when it expires, in milliseconds since 1970; 0: never.
   */
  uint64_t expires_at_ms;
  /**
   * Of KV_WATCH_PUT: names and values of its metadata, and how many.
   */
  const kv_pair *metadata;
  /**
   * See `metadata`.
   */
  size_t metadata_count;
  /**
   * Of KV_WATCH_PUT: which codec wrote the value; 0: raw bytes.
   */
  uint32_t codec;
} kv_watch_change;

/**
 * How far a preload has come.
 */
typedef struct {
  /**
   * Where to go on: what a later kv_preload takes to do the rest.
   */
  uint64_t cursor;
  /**
   * Keys looked at in Redis, some perhaps twice.
   */
  uint64_t keys;
  /**
   * Copies that were made, or replaced because Redis holds something else.
   */
  uint64_t copied;
  /**
   * Entries that were removed because Redis does not hold them.
   */
  uint64_t removed;
  /**
   * 1 when nothing is left to do, else 0.
   */
  uint32_t is_complete;
} kv_preloaded;

/**
 * Hears after each portion how far a preload has come; `done` is valid during the call. Returns anything but 0 to go on, 0 to
 * break off. Called in the thread that called kv_preload, without any lock; it may call the store, but for kv_close and
 * kv_db_free, which give KV_IN_CALLBACK. It must return: not throw, not longjmp.
 */
typedef int32_t (*kv_preload_progress)(void *userdata, const kv_preloaded *done);

/**
 * What an export or import has done.
 */
typedef struct {
  /**
   * Entries written or set.
   */
  uint64_t entries;
  /**
   * Entries of an import whose time was over.
   */
  uint64_t expired;
  /**
   * Keys that commands of an import have deleted.
   */
  uint64_t deleted;
  /**
   * Commands that an import has skipped.
   */
  uint64_t skipped;
  /**
   * Bytes of keys and values of the entries.
   */
  uint64_t bytes;
  /**
   * Bytes of text written or read.
   */
  uint64_t text_bytes;
  /**
   * Bytes of text that an import will read; 0: not known.
   */
  uint64_t total_bytes;
} kv_transferred;

/**
 * Hears after each batch how far an export or import has come, and once at its end; `done` is valid during the call, and so are
 * `skipped`, `skipped_len`: one JSON object of what was skipped, and how often. Returns anything but 0 to go on, 0 to end it with
 * KV_CANCELLED. Called in the thread that called the export or import; it may call the store, but for kv_close and kv_db_free, which
 * give KV_IN_CALLBACK. It must return: not throw, not longjmp.
 */
typedef int32_t (*kv_transfer_progress)(void *userdata,
                                        const kv_transferred *done,
                                        const char *skipped,
                                        size_t skipped_len);

/**
 * How entries are exported or imported. All zero means: as usual.
 */
typedef struct {
  /**
   * NULL, or what hears how far it has come.
   */
  kv_transfer_progress progress;
  /**
   * Passed to `progress` as it is.
   */
  void *progress_userdata;
  /**
   * The column of the keys in KV_FORMAT_CSV, as UTF-8; empty: key.
   */
  kv_slice key_column;
  /**
   * The column of the values in KV_FORMAT_CSV, as UTF-8; empty: value.
   */
  kv_slice value_column;
  /**
   * How long an import's input is, where kv_import_from is to tell it; 0: not known.
   */
  uint64_t total_bytes;
  /**
   * Which database of Redis is imported from KV_FORMAT_RESP; commands on others are skipped and counted.
   */
  uint32_t database;
  /**
   * Not 0: an import from KV_FORMAT_RESP skips and counts commands that are not on strings, instead of ending with the first.
   */
  uint32_t skip_unknown;
} kv_transfer_options;

/**
 * Takes bytes of an export; returns 0 when it took all, anything else when it failed. Called in the thread that called
 * kv_export_to; it may call the store, but for kv_close and kv_db_free. It must return: not throw, not longjmp.
 */
typedef int32_t (*kv_writer)(void *userdata, const void *data, size_t len);

/**
 * Brings bytes of an import: stores up to `len` of them at `data`, and in `*read` how many; 0 at the end. Returns 0, or
 * anything else when it failed; to leave `*read` as it is counts as failed. Called in the thread that called
 * kv_import_from; it may call the store, but for kv_close and kv_db_free. It must return: not throw, not longjmp.
 */
typedef int32_t (*kv_reader)(void *userdata, void *data, size_t len, size_t *read);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The text of a status.
 *
 * Parameters: `status`, any integer; what is no status gives "unknown status".
 * Ownership: the text is static and ends with NUL.
 * Threads: any.
 * Errors: none.
 */
const char *kv_strerror(int32_t status);

/**
 * The version of the library that runs: major * 65536 + minor * 256 + patch. Compare with the KV_VERSION_ macros, which are
 * those of the header.
 *
 * Parameters: none.
 * Ownership: none.
 * Threads: any.
 * Errors: none.
 */
uint32_t kv_version(void);

/**
 * The version of the library that runs, as text.
 *
 * Parameters: none.
 * Ownership: the text is static and ends with NUL.
 * Threads: any.
 * Errors: none.
 */
const char *kv_version_text(void);

/**
 * The status that the call returned which stored this error.
 *
 * Parameters: `error`, stored by a call that failed.
 * Ownership: none is taken.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE for NULL and for handles of another kind.
 */
kv_status kv_error_status(const kv_error *error);

/**
 * What went wrong, as a sentence with the facts: file, offset, limit.
 *
 * Parameters: `error`, stored by a call that failed.
 * Ownership: the text belongs to `error`, ends with NUL, is UTF-8, and is valid until kv_error_free.
 * Threads: any.
 * Errors: an empty text for NULL and for handles of another kind.
 */
const char *kv_error_message(const kv_error *error);

/**
 * Frees an error.
 *
 * Parameters: `error`, stored by a call that failed, or NULL: then nothing happens.
 * Ownership: `error` is gone afterwards.
 * Threads: any, but no other may be using `error`.
 * Errors: KV_INVALID_HANDLE for handles of another kind, which stay.
 */
kv_status kv_error_free(kv_error *error);

/**
 * Frees memory that a call of this library gave away: values, arrays of values, texts.
 *
 * Parameters: `memory`, or NULL: then nothing happens.
 * Ownership: the memory is gone afterwards. Handles are not freed by this, but by functions of their own.
 * Threads: any.
 * Errors: none.
 */
void kv_free(void *memory);

/**
 * Makes options with the defaults.
 *
 * Parameters: none.
 * Ownership: the caller owns the result and frees it with kv_options_free.
 * Threads: any.
 * Errors: NULL when the library failed inside.
 */
kv_options *kv_options_new(void);

/**
 * Frees options. Stores opened with them are not affected.
 *
 * Parameters: `options`, or NULL: then nothing happens.
 * Ownership: `options` is gone afterwards.
 * Threads: any, but no other may be using `options`.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_options_free(kv_options *options);

/**
 * Sets an option by its name, from text: mode (create, must_exist, read_only), sync (always, never, 100ms, 2s, 1m),
 * segment_bytes, value_bytes_max, default_ttl (none, 500ms, 30s, 5m, 1h), compression (off, zstd, zstd:LEVEL,
 * zstd:LEVEL:THRESHOLD_BYTES, zstd-dictionary, zstd-dictionary:LEVEL: docs/compression.md), recover (strict, salvage), listener_queue, listener_replaced,
 * background, ordered_index (true, false), ttl_jitter_percent (0 to 100); and of caches, docs/cache.md: max_entries, max_bytes (none, a number),
 * time_to_idle (none, or a time). With tier_url the store
 * shares its entries through Redis, as docs/tier.md says: tier_url (redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE],
 * redis+unix:///PATH, redis+sentinel://…, redis-cluster://…), tier_username, tier_password, tier_database, tier_prefix, tier_writes (behind, through, refused),
 * tier_reads (true, false), tier_fresh (none, drop, keep), tier_unreachable_is_miss (true, false), tier_timeout,
 * tier_backoff_max (500ms, 2s), tier_unsent_deletes_max, tier_encoder (raw, zstd, zstd:LEVEL, json-from-msgpack,
 * msgpack-from-json, json-from-protobuf:FILE:MESSAGE, protobuf-from-json:FILE:MESSAGE), tier_hashes (refused, json, msgpack), tier_resync_every (none, 5m), tier_shards (1 to 64); a library that was built without
 * the tier refuses them.
 *
 * Parameters: `options`; `name`, `value`: texts that end with NUL; `error`: NULL, or where a failure is stored.
 * Ownership: nothing is kept of the texts. A stored error is freed with kv_error_free.
 * Threads: any.
 * Errors: KV_INVALID_OPTION for unknown names and values that cannot be read; KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_options_set(kv_options *options,
                         const char *name,
                         const char *value,
                         kv_error **error);

/**
 * Whether a store is made, must exist, or is only read.
 *
 * Parameters: `options`; `mode`: KV_MODE_CREATE, KV_MODE_MUST_EXIST or KV_MODE_READ_ONLY.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_options_set_mode(kv_options *options, uint32_t mode);

/**
 * When writes reach the disk. In every mode they survive the death of the process.
 *
 * Parameters: `options`; `sync`: KV_SYNC_ALWAYS, KV_SYNC_EVERY or KV_SYNC_NEVER; `period_ms`: for KV_SYNC_EVERY, more than 0.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE. A period of 0 is refused by kv_open.
 */
kv_status kv_options_set_sync(kv_options *options,
                              uint32_t sync,
                              uint64_t period_ms);

/**
 * Size that segments of the log grow to.
 *
 * Parameters: `options`; `bytes`: 64 KiB to 1 GiB; the default is 64 MiB.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE. A size out of range is refused by kv_open.
 */
kv_status kv_options_set_segment_bytes(kv_options *options, uint64_t bytes);

/**
 * Longest value that the store accepts.
 *
 * Parameters: `options`; `bytes`: the default is 1 GiB.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE. A size out of range is refused by kv_open.
 */
kv_status kv_options_set_value_bytes_max(kv_options *options, uint32_t bytes);

/**
 * Time to live of entries that are set without an expiry of their own.
 *
 * Parameters: `options`; `ttl_ms`: milliseconds; 0, the default: they stay.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_options_set_default_ttl(kv_options *options, uint64_t ttl_ms);

/**
 * Stores values compressed with zstd, each by itself, where that makes them smaller (with dictionaries: kv_options_set). Pinned reads of such values cost a copy.
 *
 * Parameters: `options`; `level`: -7 to 19; `threshold_bytes`: smallest value that is compressed; SIZE_MAX: none is.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE. A level out of range is refused by kv_open.
 */
kv_status kv_options_set_compression(kv_options *options,
                                     int32_t level,
                                     size_t threshold_bytes);

/**
 * What kv_open does about damage.
 *
 * Parameters: `options`; `recover`: KV_RECOVER_STRICT or KV_RECOVER_SALVAGE.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_options_set_recover(kv_options *options, uint32_t recover);

/**
 * Whether expiry and compaction run by themselves from the start. kv_resume starts them later.
 *
 * Parameters: `options`; `runs`: 0: no; anything else, the default: yes.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_options_set_background(kv_options *options, int32_t runs);

/**
 * Events that may wait for the listener; what does not fit is dropped and counted.
 *
 * Parameters: `options`; `events`: more than 0; the default is 65536.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_ARGUMENT above KV_COUNT_MAX, KV_INVALID_HANDLE. 0 is refused by kv_open.
 */
kv_status kv_options_set_listener_queue(kv_options *options, size_t events);

/**
 * Takes time from a clock that tests move, in place of the machine's.
 *
 * Parameters: `options`; `clock`, from kv_clock_new.
 * Ownership: the clock stays the caller's; it may be freed while stores use it: then it stands still.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_options_set_clock(kv_options *options, const kv_clock *clock);

/**
 * Makes a clock that stands still, for tests.
 *
 * Parameters: `unix_ms`: its time, in milliseconds since 1970.
 * Ownership: the caller owns the result and frees it with kv_clock_free.
 * Threads: any.
 * Errors: NULL when the library failed inside.
 */
kv_clock *kv_clock_new(uint64_t unix_ms);

/**
 * Moves a clock ahead.
 *
 * Parameters: `clock`; `by_ms`: how far, in milliseconds.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_clock_advance(kv_clock *clock, uint64_t by_ms);

/**
 * Frees a clock. Stores that use it see it stand still.
 *
 * Parameters: `clock`, or NULL: then nothing happens.
 * Ownership: `clock` is gone afterwards.
 * Threads: any, but no other may be using `clock`.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_clock_free(kv_clock *clock);

/**
 * Says that the calling thread does nothing but run weighers, loggers or encoders, for hosts that cannot run them in the thread that they
 * are called in: from now on calls into any store give KV_IN_CALLBACK there too.
 *
 * Parameters: none.
 * Ownership: nothing changes hands.
 * Threads: it holds for the calling thread, until that ends.
 * Errors: none.
 */
kv_status kv_bar_thread(void);

/**
 * Lets a function say what an entry weighs, in whatever unit the option max_bytes then limits; docs/cache.md. Asked once for each
 * value that is written, and by kv_open for each entry, which reads all values; what it said counts until the entry goes. Without
 * max_bytes kv_open gives KV_INVALID_OPTION.
 *
 * Parameters: `options`; `weigher`, not NULL; `userdata`: passed to it as it is.
 * Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned, and each
 * call of such a store that ran then.
 * Threads: `weigher` is called by the threads that write, several at a time; see kv_weigher.
 * Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_options_set_weigher(kv_options *options,
                                 kv_weigher weigher,
                                 void *userdata);

/**
 * Lets a function hear of each entry that is deleted, expires or is evicted, and with the option listener_replaced
 * of each value that another replaces.
 *
 * Parameters: `options`; `listener`, not NULL; `userdata`: passed to it as it is.
 * Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned.
 * Threads: `listener` is called by a thread of the store; see kv_listener.
 * Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_options_set_listener(kv_options *options,
                                  kv_listener listener,
                                  void *userdata);

/**
 * Lets a function take a line whenever something happens that nobody asked about: recovery, damage, a failed sync.
 *
 * Parameters: `options`; `logger`, not NULL; `userdata`: passed to it as it is.
 * Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned.
 * Threads: `logger` is called by kv_open and by threads of the store, perhaps two at a time; see kv_logger.
 * Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_options_set_logger(kv_options *options,
                                kv_logger logger,
                                void *userdata);

/**
 * Appends bytes to what a loader or an encoder brings.
 *
 * Parameters: `sink`: what it was given; `data`, `len`.
 * Ownership: the bytes are copied.
 * Threads: that of the callback.
 * Errors: KV_VALUE_TOO_LONG, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_sink_write(kv_sink *sink, const void *data, size_t len);

/**
 * Says why a loader or an encoder fails, for the error of those who wait for it and for the logger. It fails by what it returns.
 *
 * Parameters: `sink`: what it was given; `reason`, `reason_len`: text, of which what is not UTF-8 is replaced.
 * Ownership: the text is copied.
 * Threads: that of the callback.
 * Errors: KV_VALUE_TOO_LONG, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
 */
kv_status kv_sink_fail(kv_sink *sink,
                       const char *reason,
                       size_t reason_len);

/**
 * Opens the store in a directory, or makes one. Everything that was acknowledged before is there; the time it takes grows
 * with the bytes of the log.
 *
 * Parameters: `path`: the directory, ending with NUL; `options`: NULL for the defaults; `db`: where the handle is stored;
 * `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns `*db`: kv_close ends the store, kv_db_free frees the handle. Options stay the caller's.
 * Threads: any.
 * Errors: KV_INVALID_OPTION, KV_LOCKED, KV_NOT_A_STORE, KV_UNSUPPORTED_VERSION, KV_CORRUPT, KV_IO, KV_DISK_FULL,
 * KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_open(const char *path,
                  const kv_options *options,
                  kv_db **db,
                  kv_error **error);

/**
 * Makes a store in memory: the same engine without files.
 *
 * Parameters: `options`: NULL for the defaults; `db`: where the handle is stored; `error`: NULL, or where a failure is
 * stored.
 * Ownership: as kv_open.
 * Threads: any.
 * Errors: KV_INVALID_OPTION, KV_IO without memory, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_open_in_memory(const kv_options *options,
                            kv_db **db,
                            kv_error **error);

/**
 * Ends a store: waits for writes that run, makes all durable, releases the directory. Calls that come later, or run in other
 * threads, give KV_CLOSED; pins go on until they are released. A second close does nothing. The handle stays valid.
 *
 * Parameters: `db`; `error`: NULL, or where a failure is stored.
 * Ownership: the handle stays the caller's; kv_db_free frees it.
 * Threads: any, also while others call in; not from a callback.
 * Errors: KV_SYNC_FAILED when what was written could not be made durable; KV_IO, KV_DISK_FULL when the JSON mirror could not be
 * written: the store has ended all the same; KV_FORKED, KV_IN_CALLBACK, KV_INVALID_HANDLE.
 */
kv_status kv_close(kv_db *db,
                   kv_error **error);

/**
 * Frees a store's handle, and closes the store first if that was not done. Cursors and pins taken from it stay valid, and keep
 * its memory until they are freed.
 *
 * Parameters: `db`, or NULL: then nothing happens.
 * Ownership: `db` is gone afterwards: no call may use it again.
 * Threads: any, but no other may be in a call with `db`; not from a callback.
 * Errors: KV_IN_CALLBACK, KV_INVALID_HANDLE: the handle stays. A failed sync is not reported: call kv_close for that.
 */
kv_status kv_db_free(kv_db *db);

/**
 * Copies the value of a key into the caller's buffer.
 *
 * Parameters: `db`; `key`, `key_len`; `buffer`, `buffer_len`: where the value goes; `buffer` may be NULL with length 0, to ask
 * for the length; `value_len`: where the value's length is stored, also with KV_TOO_SMALL; `error`: NULL, or where a failure
 * is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Takes no lock and never waits.
 * Errors: KV_NOT_FOUND; KV_TOO_SMALL: nothing was copied; KV_KEY_TOO_LONG, KV_CORRUPT, KV_CLOSED, KV_FORKED,
 * KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_get(const kv_db *db,
                 const void *key,
                 size_t key_len,
                 void *buffer,
                 size_t buffer_len,
                 size_t *value_len,
                 kv_error **error);

/**
 * A copy of the value of a key.
 *
 * Parameters: `db`; `key`, `key_len`; `value`, `value_len`: where the copy's address and length are stored; `error`: NULL, or
 * where a failure is stored.
 * Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
 * Threads: any. Takes no lock of the store and never waits for one.
 * Errors: KV_NOT_FOUND; KV_KEY_TOO_LONG, KV_CORRUPT, KV_NO_MEMORY, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT,
 * KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_get_owned(const kv_db *db,
                       const void *key,
                       size_t key_len,
                       uint8_t **value,
                       size_t *value_len,
                       kv_error **error);

/**
 * Whether a key has a value.
 *
 * Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_OK: it has; KV_NOT_FOUND: it has none; KV_KEY_TOO_LONG, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT,
 * KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_contains(const kv_db *db,
                      const void *key,
                      size_t key_len,
                      kv_error **error);

/**
 * The version of a key's value, for kv_compare_and_swap. Every write of the store gives a higher one.
 *
 * Parameters: `db`; `key`, `key_len`; `version`: where it is stored; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_FOUND; KV_KEY_TOO_LONG, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a
 * logger.
 */
kv_status kv_key_version(const kv_db *db,
                         const void *key,
                         size_t key_len,
                         uint64_t *version,
                         kv_error **error);

/**
 * How many entries the store has. Those whose time is over count until the background has removed them, about a second.
 *
 * Parameters: `db`; `entries`: where the number is stored; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_len(const kv_db *db,
                 uint64_t *entries,
                 kv_error **error);

/**
 * Takes a pin, under which values are read in place. While one is held, memory of what is removed is not given back: hold it
 * for moments. kv_clear, kv_compact and kv_sweep are refused in a thread that holds one, and wait in other threads until it goes.
 *
 * Parameters: `db`; `pin`: where the handle is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns `*pin` and releases it with kv_pin_release. It stays good after kv_close and kv_db_free.
 * Threads: any; the pin belongs to the thread that took it.
 * Errors: KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_pin_open(const kv_db *db,
                      kv_pin **pin,
                      kv_error **error);

/**
 * The value of a key, in place: no copy, unless it is stored compressed.
 *
 * Parameters: `pin`; `key`, `key_len`; `value`, `value_len`: where its address and length are stored; `error`: NULL, or where
 * a failure is stored.
 * Ownership: the bytes belong to the store, must not be changed, and are valid until kv_pin_release.
 * Threads: the one that took the pin.
 * Errors: KV_NOT_FOUND; KV_WRONG_THREAD, KV_KEY_TOO_LONG, KV_CORRUPT, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE,
 * KV_IN_CALLBACK in a logger.
 */
kv_status kv_pin_get(const kv_pin *pin,
                     const void *key,
                     size_t key_len,
                     const uint8_t **value,
                     size_t *value_len,
                     kv_error **error);

/**
 * Releases a pin. What kv_pin_get gave is not valid any more.
 *
 * Parameters: `pin`, or NULL: then nothing happens.
 * Ownership: `pin` is gone afterwards.
 * Threads: the one that took the pin.
 * Errors: KV_WRONG_THREAD, KV_INVALID_HANDLE: the pin stays.
 */
kv_status kv_pin_release(kv_pin *pin);

/**
 * Sets a key to a value, with the store's default expiry. Visible to every thread when it returns, and as durable as the
 * store's sync option says.
 *
 * Parameters: `db`; `key`, `key_len`: 0 to KV_KEY_BYTES_MAX bytes; `value`, `value_len`; `error`: NULL, or where a failure is
 * stored.
 * Ownership: key and value are copied.
 * Threads: any.
 * Errors: KV_KEY_TOO_LONG, KV_VALUE_TOO_LONG, KV_DISK_FULL, KV_IO, KV_SYNC_FAILED (then the value is set, and its durability
 * unknown), KV_READ_ONLY, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_set(const kv_db *db,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 kv_error **error);

/**
 * Sets a key to a value under a condition and with an expiry of its own.
 *
 * Parameters: `db`; `key`, `key_len`; `value`, `value_len`; `options`: NULL for always, with the default expiry; `version`:
 * NULL, or where the new version is stored; `error`: NULL, or where a failure is stored.
 * Ownership: key and value are copied.
 * Threads: any.
 * Errors: KV_NOT_MET; as kv_set.
 */
kv_status kv_set_with(const kv_db *db,
                      const void *key,
                      size_t key_len,
                      const void *value,
                      size_t value_len,
                      const kv_set_options *options,
                      uint64_t *version,
                      kv_error **error);

/**
 * Sets a key if it has no value.
 *
 * Parameters: as kv_set.
 * Ownership: key and value are copied.
 * Threads: any.
 * Errors: KV_NOT_MET when it has a value; as kv_set.
 */
kv_status kv_add(const kv_db *db,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 kv_error **error);

/**
 * Sets a key if it has a value.
 *
 * Parameters: as kv_set.
 * Ownership: key and value are copied.
 * Threads: any.
 * Errors: KV_NOT_MET when it has no value; as kv_set.
 */
kv_status kv_replace(const kv_db *db,
                     const void *key,
                     size_t key_len,
                     const void *value,
                     size_t value_len,
                     kv_error **error);

/**
 * Sets a key if its value still has a version, and keeps its expiry.
 *
 * Parameters: `db`; `key`, `key_len`; `version`: from kv_key_version; 0: if the key has no value; `value`, `value_len`;
 * `new_version`: NULL, or where the new version is stored; `error`: NULL, or where a failure is stored.
 * Ownership: key and value are copied.
 * Threads: any.
 * Errors: KV_NOT_MET when the value is another; as kv_set.
 */
kv_status kv_compare_and_swap(const kv_db *db,
                              const void *key,
                              size_t key_len,
                              uint64_t version,
                              const void *value,
                              size_t value_len,
                              uint64_t *new_version,
                              kv_error **error);

/**
 * Adds to the decimal number that a key holds (0 when it has no value), and keeps its expiry.
 *
 * Parameters: `db`; `key`, `key_len`; `delta`: what is added; `sum`: NULL, or where the sum is stored; `error`: NULL, or where
 * a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_AN_INTEGER, KV_OVERFLOW; as kv_set.
 */
kv_status kv_increment(const kv_db *db,
                       const void *key,
                       size_t key_len,
                       int64_t delta,
                       int64_t *sum,
                       kv_error **error);

/**
 * Removes a key.
 *
 * Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Works on a full disk.
 * Errors: KV_NOT_FOUND when it had no value; as kv_set.
 */
kv_status kv_delete(const kv_db *db, const void *key, size_t key_len, kv_error **error);

/**
 * Removes a key and gives its value.
 *
 * Parameters: `db`; `key`, `key_len`; `value`, `value_len`: where the copy's address and length are stored; `error`: NULL, or
 * where a failure is stored.
 * Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
 * Threads: any. Works on a full disk.
 * Errors: KV_NOT_FOUND when it had no value; KV_NO_MEMORY: the key is removed; as kv_set.
 */
kv_status kv_take(const kv_db *db,
                  const void *key,
                  size_t key_len,
                  uint8_t **value,
                  size_t *value_len,
                  kv_error **error);

/**
 * Lets a key expire some time from now.
 *
 * Parameters: `db`; `key`, `key_len`; `ttl_ms`: how long it still has, in milliseconds; `error`: NULL, or where a failure is
 * stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_FOUND when it has no value; as kv_set.
 */
kv_status kv_expire(const kv_db *db,
                    const void *key,
                    size_t key_len,
                    uint64_t ttl_ms,
                    kv_error **error);

/**
 * Lets a key expire at a time.
 *
 * Parameters: `db`; `key`, `key_len`; `unix_ms`: the time, in milliseconds since 1970; `error`: NULL, or where a failure is
 * stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_FOUND when it has no value; as kv_set.
 */
kv_status kv_expire_at(const kv_db *db,
                       const void *key,
                       size_t key_len,
                       uint64_t unix_ms,
                       kv_error **error);

/**
 * Starts the store's default time to live anew for a key. In a store without one the entry stays as it is.
 *
 * Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_FOUND when it has no value; as kv_set.
 */
kv_status kv_touch(const kv_db *db, const void *key, size_t key_len, kv_error **error);

/**
 * Lets a key never expire.
 *
 * Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_FOUND when it has no value; as kv_set.
 */
kv_status kv_persist(const kv_db *db, const void *key, size_t key_len, kv_error **error);

/**
 * How long a key still has.
 *
 * Parameters: `db`; `key`, `key_len`; `ttl_ms`: where the milliseconds are stored, or KV_TTL_NEVER; `error`: NULL, or where a
 * failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_FOUND when it has no value; as kv_get.
 */
kv_status kv_ttl(const kv_db *db,
                 const void *key,
                 size_t key_len,
                 uint64_t *ttl_ms,
                 kv_error **error);

/**
 * Copies of the values of many keys, in their order. Each is as of a moment of its own.
 *
 * Parameters: `db`; `keys`, `count`: at most KV_COUNT_MAX; `values`: where the address of an array of `count` values is stored:
 * `data` is NULL for a key without a value, and not NULL for a value without bytes; `error`: NULL, or where a failure is
 * stored.
 * Ownership: the array and all values are one piece of memory, which the caller owns and frees with one kv_free.
 * Threads: any.
 * Errors: as kv_get, for the first key that fails; KV_NO_MEMORY.
 */
kv_status kv_get_many(const kv_db *db,
                      const kv_slice *keys,
                      size_t count,
                      kv_slice **values,
                      kv_error **error);

/**
 * Sets many keys as one batch: after a crash all of it is there or nothing, against sets and deletes. Not isolated: readers
 * may see part of it while it runs.
 *
 * Parameters: `db`; `pairs`, `count`: at most KV_COUNT_MAX; a key that comes twice has the last value; `error`: NULL, or where
 * a failure is stored.
 * Ownership: keys and values are copied.
 * Threads: any.
 * Errors: KV_BATCH_TOO_LARGE; as kv_set, with nothing set if a key or value is too long.
 */
kv_status kv_set_many(const kv_db *db,
                      const kv_pair *pairs,
                      size_t count,
                      kv_error **error);

/**
 * Removes many keys, each on its own, with one wait for durability.
 *
 * Parameters: `db`; `keys`, `count`: at most KV_COUNT_MAX; `removed`: NULL, or where the number of those is stored that had a
 * value; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Works on a full disk.
 * Errors: as kv_delete; keys before the one that fails are removed.
 */
kv_status kv_delete_many(const kv_db *db,
                         const kv_slice *keys,
                         size_t count,
                         size_t *removed,
                         kv_error **error);

/**
 * Applies sets and deletes in their order as one batch: as kv_set_many.
 *
 * Parameters: `db`; `changes`, `count`: at most KV_COUNT_MAX; `error`: NULL, or where a failure is stored.
 * Ownership: keys and values are copied.
 * Threads: any.
 * Errors: KV_BATCH_TOO_LARGE; as kv_set, with nothing changed if a key or value is too long.
 */
kv_status kv_apply(const kv_db *db, const kv_change *changes, size_t count, kv_error **error);

/**
 * A key that the store has never given before and that sorts, bytewise, after all that it gave with the same options: also across
 * reopens, the death of the process and the loss of power, whatever the sync option. Nothing is stored under it; whether somebody
 * else has set it is for kv_add or kv_create_generated_and_lock to find out. A copy of the store (a backup, a salvaged or imported
 * one) does not know what the other gives afterwards. Costs 32 bytes of the log.
 *
 * Parameters: `db`; `options`: NULL as for all zero; `key`, `key_len`: where the key's address and length are stored; `error`: NULL, or
 * where a failure is stored.
 * Ownership: the caller owns the key and frees it with kv_free.
 * Threads: any.
 * Errors: KV_INVALID_OPTION for a base out of range, and for a width that the next number does not fit; KV_KEY_TOO_LONG; KV_NO_MEMORY; as
 * kv_set.
 */
kv_status kv_generate_key(const kv_db *db,
                          const kv_key_options *options,
                          uint8_t **key,
                          size_t *key_len,
                          kv_error **error);

/**
 * Locks a key that has a value, to edit it. Readers meanwhile see what was committed last, and wait for nothing. Plain writes do not
 * ask for the lock: a commit after one gives KV_CONFLICT. Sessions get a key in the order in which they ask; a thread that asks for
 * a key that it has already waits for itself, and so do threads that ask for two keys in different orders.
 *
 * Parameters: `db`; `key`, `key_len`; `wait_ms`: for how long another session's lock is waited for, at most; 0: not at all;
 * KV_WAIT_FOREVER; `session`: where the handle is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns `*session` and frees it with kv_session_free. It may be kept for long: it pins no memory.
 * Threads: any. A session belongs to no thread.
 * Errors: KV_NOT_FOUND: the key has no value, and is not locked; KV_KEY_LOCKED; KV_PINNED when this thread would have to wait and holds
 * a pin; KV_CLOSED, also while it waits; as kv_get_owned.
 */
kv_status kv_get_and_lock(const kv_db *db,
                          const void *key,
                          size_t key_len,
                          uint64_t wait_ms,
                          kv_session **session,
                          kv_error **error);

/**
 * Locks a key that has no value, to make one, which is there when it is committed. See kv_get_and_lock.
 *
 * Parameters: `db`; `key`, `key_len`; `wait_ms`: as kv_get_and_lock; `options`: NULL as for all zero; `session`: where the handle is
 * stored; `error`: NULL, or where a failure is stored.
 * Ownership: as kv_get_and_lock. The initial value is copied.
 * Threads: any.
 * Errors: KV_NOT_MET: the key has a value, and is not locked; KV_READ_ONLY; as kv_get_and_lock.
 */
kv_status kv_create_and_lock(const kv_db *db,
                             const void *key,
                             size_t key_len,
                             uint64_t wait_ms,
                             const kv_create_options *options,
                             kv_session **session,
                             kv_error **error);

/**
 * Locks a key that kv_generate_key gives and that has no value, to make one. It waits for nobody: a key that has a value, or that another
 * session has, is passed over.
 *
 * Parameters: `db`; `options`: of the key; NULL as for all zero; `initial`, `initial_len`: the value that the session begins with;
 * `session`: where the handle is stored; `error`: NULL, or where a failure is stored.
 * Ownership: as kv_get_and_lock. Options and value are copied.
 * Threads: any.
 * Errors: as kv_generate_key and kv_get_owned.
 */
kv_status kv_create_generated_and_lock(const kv_db *db,
                                       const kv_key_options *options,
                                       const void *initial,
                                       size_t initial_len,
                                       kv_session **session,
                                       kv_error **error);

/**
 * The key that a session has locked.
 *
 * Parameters: `session`; `key`, `key_len`: where its address and length are stored; `error`: NULL, or where a failure is stored.
 * Ownership: the bytes belong to the session, and are valid until it ends.
 * Threads: any, one at a time.
 * Errors: KV_SESSION_ENDED; KV_BUSY when another thread is using the session; KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK
 * in a logger.
 */
kv_status kv_session_key(const kv_session *session,
                         const uint8_t **key,
                         size_t *key_len,
                         kv_error **error);

/**
 * The version of the entry that a session's edits began from; 0: the key had no value.
 *
 * Parameters: `session`; `version`: where it is stored; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any, one at a time.
 * Errors: as kv_session_key.
 */
kv_status kv_session_version(const kv_session *session, uint64_t *version, kv_error **error);

/**
 * The value of a session's entry, as it was edited so far.
 *
 * Parameters: `session`; `value`, `value_len`: where its address and length are stored; `error`: NULL, or where a failure is stored.
 * Ownership: the bytes belong to the session, and are valid until kv_session_set_value, kv_session_reload, or its end.
 * Threads: any, one at a time.
 * Errors: as kv_session_key.
 */
kv_status kv_session_value(const kv_session *session,
                           const uint8_t **value,
                           size_t *value_len,
                           kv_error **error);

/**
 * Replaces the value of a session's entry, for its commit.
 *
 * Parameters: `session`; `value`, `value_len`; `error`: NULL, or where a failure is stored.
 * Ownership: the value is copied.
 * Threads: any, one at a time.
 * Errors: KV_VALUE_TOO_LONG beyond any store's limit; the commit looks at this store's; as kv_session_key.
 */
kv_status kv_session_set_value(kv_session *session, const void *value, size_t value_len, kv_error **error);

/**
 * The metadata of a session's entry, as it was edited so far.
 *
 * Parameters: `session`; `pairs`, `count`: where the address of an array of names (`key`) and what they hold (`value`) and its length
 * are stored, in bytewise order of the names, which are UTF-8; `error`: NULL, or where a failure is stored.
 * Ownership: the array and all that it leads to are one piece of memory, which the caller owns and frees with one kv_free.
 * Threads: any, one at a time.
 * Errors: KV_NO_MEMORY; as kv_session_key.
 */
kv_status kv_session_metadata(const kv_session *session,
                              kv_pair **pairs,
                              size_t *count,
                              kv_error **error);

/**
 * Replaces all metadata of a session's entry, for its commit. It is stored with the value, in one record, and counts for the longest
 * value. A plain write drops it, as an increment does; a change of the expiry keeps it. Redis gets the value alone.
 *
 * Parameters: `session`; `pairs`, `count`: names (`key`, UTF-8, at most 65,535 bytes) and what they hold (`value`); of a name that comes
 * twice the last counts; `error`: NULL, or where a failure is stored.
 * Ownership: names and values are copied.
 * Threads: any, one at a time.
 * Errors: KV_INVALID_ARGUMENT too for a name that is not UTF-8; KV_KEY_TOO_LONG, KV_VALUE_TOO_LONG; as kv_session_key.
 */
kv_status kv_session_set_metadata(kv_session *session,
                                  const kv_pair *pairs,
                                  size_t count,
                                  kv_error **error);

/**
 * Says when a session's entry expires once it is committed. Without this: when it would have; a new one after the store's default.
 *
 * Parameters: `session`; `kind`: KV_EXPIRE_DEFAULT, _NEVER, _AFTER, _AT or _KEEP; `ms`: for KV_EXPIRE_AFTER and KV_EXPIRE_AT;
 * `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any, one at a time.
 * Errors: KV_INVALID_ARGUMENT too for another kind; as kv_session_key.
 */
kv_status kv_session_set_expiry(kv_session *session,
                                uint32_t kind,
                                uint64_t ms,
                                kv_error **error);

/**
 * Makes a session's edits visible, all at once, and gives up the lock: any further call with the session but kv_session_free gives
 * KV_SESSION_ENDED. As durable as the store's sync option says.
 *
 * Parameters: `session`; `options`: 0, or KV_COMMIT_KEEP, KV_COMMIT_KEEP_ON_FAILURE and KV_COMMIT_DELETE, added; `version`: NULL, or where
 * the new version is stored; 0 for an entry that was removed; `error`: NULL, or where a failure is stored.
 * Ownership: the handle stays the caller's; kv_session_free frees it.
 * Threads: any, one at a time.
 * Errors: KV_CONFLICT when somebody else has changed the entry, its expiry included, or when it has expired: nothing was changed;
 * KV_VALUE_TOO_LONG for value and metadata together; KV_SESSION_ENDED, KV_BUSY; as kv_set. Unless an option keeps them, edits and lock
 * are gone after a failure, but for KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_BUSY and KV_IN_CALLBACK.
 */
kv_status kv_session_commit(kv_session *session,
                            uint32_t options,
                            uint64_t *version,
                            kv_error **error);

/**
 * Gives up a session's edits and reads the entry anew: after KV_CONFLICT, the next commit replaces what stands there now. The lock stays.
 *
 * Parameters: `session`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any, one at a time.
 * Errors: KV_CORRUPT, KV_CLOSED, KV_FORKED; as kv_session_key.
 */
kv_status kv_session_reload(kv_session *session,
                            kv_error **error);

/**
 * Gives up a session's edits and its lock: any further call with the session but kv_session_free gives KV_SESSION_ENDED.
 *
 * Parameters: `session`; `error`: NULL, or where a failure is stored.
 * Ownership: the handle stays the caller's; kv_session_free frees it.
 * Threads: any, one at a time.
 * Errors: as kv_session_key.
 */
kv_status kv_session_rollback(kv_session *session,
                              kv_error **error);

/**
 * Frees a session's handle. One that was not committed is rolled back.
 *
 * Parameters: `session`, or NULL: then nothing happens.
 * Ownership: `session`, and what it gave to look at, are gone afterwards.
 * Threads: any, but no other may be using `session`.
 * Errors: KV_INVALID_HANDLE; KV_BUSY while another thread is in a call with `session` after all: then nothing is freed.
 */
kv_status kv_session_free(kv_session *session);

/**
 * A copy of a key's value, with its metadata, as one commit left them.
 *
 * Parameters: `db`; `key`, `key_len`; `value`, `value_len`: where the copy's address and length are stored; `pairs`, `count`: where those
 * of the metadata are, as kv_session_metadata; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns both and frees each with kv_free. Neither is NULL.
 * Threads: any. Takes no lock and never waits.
 * Errors: as kv_get_owned.
 */
kv_status kv_get_with_metadata(const kv_db *db,
                               const void *key,
                               size_t key_len,
                               uint8_t **value,
                               size_t *value_len,
                               kv_pair **pairs,
                               size_t *count,
                               kv_error **error);

/**
 * As kv_get, if `codec` wrote the value.
 *
 * Parameters: as kv_get; `codec`: KV_CODEC_JSON or another KV_CODEC_, or a number of one's own from KV_CODEC_USER_MIN to
 * KV_CODEC_USER_MAX; KV_CODEC_RAW takes any value.
 * Ownership: nothing changes hands.
 * Threads: any. Takes no lock and never waits.
 * Errors: KV_WRONG_CODEC: another wrote it, or none did; as kv_get.
 */
kv_status kv_get_as(const kv_db *db,
                    const void *key,
                    size_t key_len,
                    uint32_t codec,
                    void *buffer,
                    size_t buffer_len,
                    size_t *value_len,
                    kv_error **error);

/**
 * As kv_get_owned, if `codec` wrote the value.
 *
 * Parameters: as kv_get_owned; `codec`: as kv_get_as.
 * Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
 * Threads: any. Takes no lock of the store and never waits for one.
 * Errors: KV_WRONG_CODEC; as kv_get_owned.
 */
kv_status kv_get_owned_as(const kv_db *db,
                          const void *key,
                          size_t key_len,
                          uint32_t codec,
                          uint8_t **value,
                          size_t *value_len,
                          kv_error **error);

/**
 * As kv_get_many, of values that `codec` wrote.
 *
 * Parameters: as kv_get_many; `codec`: as kv_get_as.
 * Ownership: the array and all values are one piece of memory, which the caller owns and frees with one kv_free.
 * Threads: any.
 * Errors: KV_WRONG_CODEC for the first key whose value another wrote; as kv_get_many.
 */
kv_status kv_get_many_as(const kv_db *db,
                         const kv_slice *keys,
                         size_t count,
                         uint32_t codec,
                         kv_slice **values,
                         kv_error **error);

/**
 * As kv_get_with_metadata, if `codec` wrote the value.
 *
 * Parameters: as kv_get_with_metadata; `codec`: as kv_get_as.
 * Ownership: the caller owns both and frees each with kv_free. Neither is NULL.
 * Threads: any. Takes no lock and never waits.
 * Errors: KV_WRONG_CODEC; as kv_get_with_metadata.
 */
kv_status kv_get_with_metadata_as(const kv_db *db,
                                  const void *key,
                                  size_t key_len,
                                  uint32_t codec,
                                  uint8_t **value,
                                  size_t *value_len,
                                  kv_pair **pairs,
                                  size_t *count,
                                  kv_error **error);

/**
 * As kv_take, if `codec` wrote the value; any other stays.
 *
 * Parameters: as kv_take; `codec`: as kv_get_as.
 * Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
 * Threads: any. Works on a full disk.
 * Errors: KV_WRONG_CODEC; as kv_take.
 */
kv_status kv_take_as(const kv_db *db,
                     const void *key,
                     size_t key_len,
                     uint32_t codec,
                     uint8_t **value,
                     size_t *value_len,
                     kv_error **error);

/**
 * As kv_increment, of a number that `codec` wrote, or writes where there is none: KV_CODEC_JSON and KV_CODEC_TEXT have whole numbers in
 * decimal too.
 *
 * Parameters: as kv_increment; `codec`: as kv_get_as; KV_CODEC_RAW leaves a number the codec that it has.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_WRONG_CODEC; as kv_increment.
 */
kv_status kv_increment_as(const kv_db *db,
                          const void *key,
                          size_t key_len,
                          int64_t delta,
                          uint32_t codec,
                          int64_t *sum,
                          kv_error **error);

/**
 * Which codec wrote a key's value.
 *
 * Parameters: `db`; `key`, `key_len`; `codec`: where its number is stored; KV_CODEC_RAW: none did; `error`: NULL, or where a failure is
 * stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_FOUND; as kv_key_version.
 */
kv_status kv_key_codec(const kv_db *db,
                       const void *key,
                       size_t key_len,
                       uint32_t *codec,
                       kv_error **error);

/**
 * Which codec wrote the value of a session's entry.
 *
 * Parameters: `session`; `codec`: where its number is stored; KV_CODEC_RAW: none did; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any, one at a time.
 * Errors: as kv_session_key.
 */
kv_status kv_session_codec(const kv_session *session,
                           uint32_t *codec,
                           kv_error **error);

/**
 * Says which codec the value of a session's entry is of, for its commit. Without this: that of the value which it replaces.
 *
 * Parameters: `session`; `codec`: as in kv_set_options; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any, one at a time.
 * Errors: KV_INVALID_ARGUMENT too for a number that no codec has; as kv_session_key.
 */
kv_status kv_session_set_codec(kv_session *session,
                               uint32_t codec,
                               kv_error **error);

/**
 * The value of a key as an object of the host.
 *
 * Parameters: `db`; `key`, `key_len`; `host`, with `make` and `share`.
 * Ownership: the result belongs to the caller: what `host->make` made, or `host->absent` or `host->failed`, shared.
 * Threads: any. Takes no lock and never waits.
 * Errors: `host->failed` when the value is longer than `host->len_max`, when only a tier may have one, which kv_get_owned_as asks,
 * and when that fails, which tells why; NULL when `make` gave that, and when `host` is NULL or lacks a function.
 */
void *kv_get_made(const kv_db *db,
                  const void *key,
                  size_t key_len,
                  const kv_host *host);

/**
 * The values of many keys as objects of the host. Each is as of a moment of its own.
 *
 * Parameters: `db`; `host`, with all its functions; `keys`: a list of the host; `values`: another, where the value of the key at
 * an index is put at the same index; that of a key without a value is left alone (a tier is not asked); `begin`, `end`: which
 * indices, at most KV_COUNT_MAX; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands but what `host->put` is given.
 * Threads: any, if no other uses the lists.
 * Errors: KV_INVALID_ARGUMENT too when a function of the host fails; as kv_get, for the first key that fails. Values before
 * that are put.
 */
kv_status kv_get_many_made(const kv_db *db,
                           const kv_host *host,
                           void *keys,
                           void *values,
                           size_t begin,
                           size_t end,
                           kv_error **error);

/**
 * The value of a key; where it has none, what a loader brings, which is then set. One loader runs for a key at a time; others
 * that ask wait for its outcome. A value that was loaded while the key was changed is returned but not set.
 *
 * Parameters: `db`; `key`, `key_len`; `options`: NULL, or with which expiry the value is set (the condition is ignored);
 * `loader`, not NULL; `userdata`: passed to it as it is; `value`, `value_len`: where the copy's address and length are stored;
 * `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the copy and frees it with kv_free.
 * Threads: any; `loader` is called in this thread; see kv_loader.
 * Errors: KV_NOT_FOUND when the loader found nothing; KV_LOADER_FAILED for all who wait, when it fails or asks for its own
 * key; KV_NO_MEMORY; as kv_get and kv_set.
 */
kv_status kv_get_or_load(const kv_db *db,
                         const void *key,
                         size_t key_len,
                         const kv_set_options *options,
                         kv_loader loader,
                         void *userdata,
                         uint8_t **value,
                         size_t *value_len,
                         kv_error **error);

/**
 * The value of a key; where it has none, what a loader brings, as kv_get_or_load; and what stands there is loaded anew before
 * it ends, in a thread of the store, as `options` say: then `loader` is called after this call has returned. At most four run
 * so at once, one a key; what one fails with is told the logger and leaves what stands there. One that finds nothing then
 * removes the entry. kv_close waits for those that run, and releases those that wait.
 *
 * Parameters: `db`; `key`, `key_len`; `options`: NULL for the defaults; `loader`, not NULL; `userdata`: passed to it as it is;
 * `release`: NULL, or what is called with `userdata`; `value`, `value_len`: where the copy's address and length are stored;
 * `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the copy and frees it with kv_free. `userdata` is the library's until `release` is called, which it is
 * exactly once, whatever this call returns: before it returns, or later in a thread of the store, or in that of kv_close; never after
 * kv_close has returned.
 * Threads: any; `loader` is called in this thread or in one of the store; see kv_loader.
 * Errors: KV_NOT_FOUND when the loader found nothing, now or lately; KV_INVALID_OPTION for options that cannot work; as
 * kv_get_or_load.
 */
kv_status kv_get_or_load_with(const kv_db *db,
                              const void *key,
                              size_t key_len,
                              const kv_load_options *options,
                              kv_loader loader,
                              void *userdata,
                              kv_release release,
                              uint8_t **value,
                              size_t *value_len,
                              kv_error **error);

/**
 * What kv_get_or_load_with would give without calling its loader, for hosts to which it is dear to hand one over.
 *
 * Parameters: `db`; `key`, `key_len`; `options`: NULL for the defaults; `value`, `value_len`: where the copy's address and length are
 * stored; `is_due`: where 1 is stored if the value is to be loaded anew (kv_load_behind), else 0; `error`: NULL, or where a failure
 * is stored.
 * Ownership: the caller owns the copy and frees it with kv_free.
 * Threads: any. Never waits: a tier is not asked.
 * Errors: KV_NOT_FOUND when it is remembered that a loader found nothing; KV_NOT_MET when nothing is here: kv_get_or_load_with;
 * KV_INVALID_OPTION for options that cannot work; as kv_get_owned.
 */
kv_status kv_get_loaded(const kv_db *db,
                        const void *key,
                        size_t key_len,
                        const kv_load_options *options,
                        uint8_t **value,
                        size_t *value_len,
                        uint32_t *is_due,
                        kv_error **error);

/**
 * Has the value of a key loaded anew by a thread of the store, as kv_get_or_load_with does with one that is due. Nothing
 * happens where the key has no value, a loader for it waits or runs already, one has failed lately, or too many wait.
 *
 * Parameters: `db`; `key`, `key_len`; `options`: NULL for the defaults; `loader`, not NULL; `userdata`: passed to it as it is;
 * `release`: NULL, or what is called with `userdata`; `error`: NULL, or where a failure is stored.
 * Ownership: of `userdata` as kv_get_or_load_with.
 * Threads: any. Never waits; `loader` is called in a thread of the store; see kv_loader.
 * Errors: KV_INVALID_OPTION for options that cannot work; as kv_get.
 */
kv_status kv_load_behind(const kv_db *db,
                         const void *key,
                         size_t key_len,
                         const kv_load_options *options,
                         kv_loader loader,
                         void *userdata,
                         kv_release release,
                         kv_error **error);

/**
 * Lets functions say what stands in Redis for a value, in place of the option tier_encoder. All stores that share a prefix need
 * the same. A value that `encode` fails for stands here alone: the logger is told, and its key is removed there. What `decode`
 * fails for is no value: its reader gets KV_TIER with the reason.
 *
 * Parameters: `options`; `encode`, not NULL: puts the string for a value; `decode`, not NULL: puts the value for a string, which
 * means the same as what `encode` was given; `numbers`: KV_NUMBERS_DECIMAL or KV_NUMBERS_MSGPACK: how values that are whole numbers
 * are written, for kv_increment and kv_increment_shared; `userdata`: passed to both as it is; `error`: NULL, or where a failure is
 * stored.
 * Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned, and each
 * kv_preload that ran then.
 * Threads: see kv_encoder.
 * Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE; KV_INVALID_OPTION of a library that was built without the tier.
 */
kv_status kv_options_set_tier_encoder(kv_options *options,
                                      kv_encoder encode,
                                      kv_encoder decode,
                                      uint32_t numbers,
                                      void *userdata,
                                      kv_error **error);

/**
 * Begins to walk over entries. A key that is there and unchanged throughout appears exactly once; each value is as of the moment
 * it is reached, or with `snapshot` all are as of one. In no order it costs a walk over the index, as the scan goes on. In order it
 * collects the keys that match before it begins, and sorts as many as are asked for; in a store with the option ordered_index
 * it begins at once, in order or by prefix, and costs what it gives.
 *
 * Parameters: `db`; `options`: NULL for all entries in no order; `scan`: where the cursor is stored; `error`: NULL, or where a
 * failure is stored.
 * Ownership: the caller owns `*scan` and frees it with kv_scan_free. It holds no guard: it may be kept for long.
 * Threads: any.
 * Errors: KV_KEY_TOO_LONG for prefix, start and end, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a
 * logger.
 */
kv_status kv_scan_open(const kv_db *db,
                       const kv_scan_options *options,
                       kv_scan **scan,
                       kv_error **error);

/**
 * The next entries of a scan, many at a time.
 *
 * Parameters: `scan`; `entries_max`: more than 0; fewer may come before the end; `entries`, `count`: where the address of the
 * array and its length are stored; a length of 0: that was all; `error`: NULL, or where a failure is stored.
 * Ownership: the array and what it leads to belong to the cursor, and are valid until the next call with it.
 * Threads: any, one at a time.
 * Errors: KV_BUSY when another thread is using the cursor; KV_CORRUPT, KV_CLOSED, KV_FORKED: the scan is over, and what it had found
 * was given by the calls before;
 * KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_scan_next(kv_scan *scan,
                       size_t entries_max,
                       const kv_entry **entries,
                       size_t *count,
                       kv_error **error);

/**
 * Ends a scan.
 *
 * Parameters: `scan`, or NULL: then nothing happens.
 * Ownership: `scan`, and the entries that it gave, are gone afterwards.
 * Threads: any, but no other may be using `scan`.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_scan_free(kv_scan *scan);

/**
 * Begins to tell what changes, in the order of versions, which is that of the writes. For each key the newest change behind `after` is told,
 * and older ones as far as they are still in the log; each once. The log is the queue: nothing is kept for who watches, and no writer waits. See
 * docs/watching.md for what holds.
 *
 * Parameters: `db`; `prefix`, `prefix_len`: only keys that begin with this; a clear is told to all; `after`: the version up to which an earlier
 * watch has told all (kv_watch_position), also of an earlier run; 0: all that stands, and what follows; KV_WATCH_FROM_NOW; `watch`: where the
 * handle is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns `*watch` and frees it with kv_watch_free. It holds nothing back and keeps no store open.
 * Threads: any. A watch belongs to no thread.
 * Errors: KV_INVALID_OPTION for a version that the store has not reached; KV_KEY_TOO_LONG; KV_READ_ONLY, KV_CLOSED, KV_FORKED,
 * KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_watch_open(const kv_db *db,
                        const void *prefix,
                        size_t prefix_len,
                        uint64_t after,
                        kv_watch **watch,
                        kv_error **error);

/**
 * The next change.
 *
 * Parameters: `watch`; `wait_ms`: for how long one is waited for, at most; 0: not at all; KV_WAIT_FOREVER; `change`: where it is stored; `error`:
 * NULL, or where a failure is stored.
 * Ownership: what `*change` leads to belongs to the watch, and is valid until the next kv_watch_next with it.
 * Threads: any, one at a time. kv_watch_wake and kv_close end the wait.
 * Errors: KV_NOT_FOUND: there was none within that time, or kv_watch_wake was called; KV_LAGGED: removals that were not told are not in the log
 * any more; whoever keeps what was told forgets that, for all that stands is told next; KV_CORRUPT for a damaged value: the next call goes on
 * behind it; KV_BUSY when another thread is using the watch; KV_CLOSED: what was not told will be by a watch of the next open, behind this
 * one's position; KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_watch_next(kv_watch *watch,
                        uint64_t wait_ms,
                        kv_watch_change *change,
                        kv_error **error);

/**
 * The version up to which a watch has told all: what a later one goes on behind.
 *
 * Parameters: `watch`; `position`: where it is stored; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any, one at a time.
 * Errors: KV_BUSY when another thread is using the watch; KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_watch_position(const kv_watch *watch,
                            uint64_t *position,
                            kv_error **error);

/**
 * Ends the wait of a kv_watch_next, or of the next one if none waits: it gives KV_NOT_FOUND.
 *
 * Parameters: `watch`.
 * Ownership: nothing changes hands.
 * Threads: any, also while another is in kv_watch_next.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_watch_wake(const kv_watch *watch);

/**
 * Ends a watch.
 *
 * Parameters: `watch`, or NULL: then nothing happens.
 * Ownership: `watch`, and what it told last, are gone afterwards.
 * Threads: any, but no other may be using `watch`.
 * Errors: KV_INVALID_HANDLE.
 */
kv_status kv_watch_free(kv_watch *watch);

/**
 * Removes every entry. Entries written while this runs may go or stay.
 *
 * Parameters: `db`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Waits for every pin that is held.
 * Errors: KV_PINNED when this thread holds a pin; KV_DISK_FULL, KV_IO, KV_SYNC_FAILED, KV_READ_ONLY,
 * KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_clear(const kv_db *db, kv_error **error);

/**
 * Waits until every write that was acknowledged before this call is on disk. In memory: nothing to do.
 *
 * Parameters: `db`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_SYNC_FAILED, KV_READ_ONLY, KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_sync(const kv_db *db, kv_error **error);

/**
 * Rewrites the log so that it holds little but what lives, and waits for it. Compaction also runs by itself.
 *
 * Parameters: `db`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Waits for every pin that is held.
 * Errors: KV_PINNED when this thread holds a pin; KV_DISK_FULL, KV_IO, KV_SYNC_FAILED, KV_READ_ONLY,
 * KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_compact(const kv_db *db, kv_error **error);

/**
 * Removes everything that has expired by now, without waiting for the background to get to it.
 *
 * Parameters: `db`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Waits for every pin that is held, if the background does.
 * Errors: KV_PINNED when this thread holds a pin; KV_SYNC_FAILED, KV_READ_ONLY, KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE,
 * KV_IN_CALLBACK in a logger.
 */
kv_status kv_sweep(const kv_db *db,
                   kv_error **error);

/**
 * Stops expiry and compaction until kv_resume. Expired entries stay invisible.
 *
 * Parameters: `db`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_pause(const kv_db *db, kv_error **error);

/**
 * Lets expiry and compaction run again.
 *
 * Parameters: `db`; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_resume(const kv_db *db, kv_error **error);

/**
 * Writes a copy of the store, as of one moment, into a directory. Writers go on. Returns when the copy is on disk.
 *
 * Parameters: `db`; `to`: the directory, ending with NUL, which must be empty or not exist; `error`: NULL, or where a failure is
 * stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_NOT_A_STORE when the directory holds something; KV_IO, KV_DISK_FULL, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT,
 * KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_backup(const kv_db *db,
                    const char *to,
                    kv_error **error);

/**
 * The store's time: it never runs backwards.
 *
 * Parameters: `db`; `unix_ms`: where the milliseconds since 1970 are stored; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_now(const kv_db *db,
                 uint64_t *unix_ms,
                 kv_error **error);

/**
 * One figure of the store by its name, as kv_stats_json has it: entries, live_bytes, log_bytes, hits, misses and others.
 *
 * Parameters: `db`; `name`: ends with NUL; `figure`: where the number is stored; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Costs a question to a thread of the store.
 * Errors: KV_INVALID_ARGUMENT for an unknown name too; KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_stats_get(const kv_db *db,
                       const char *name,
                       uint64_t *figure,
                       kv_error **error);

/**
 * All figures of the store as one JSON object of names and numbers.
 *
 * Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
 * Threads: any. Costs a question to a thread of the store.
 * Errors: KV_NO_MEMORY, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_stats_json(const kv_db *db,
                        char **text,
                        kv_error **error);

/**
 * All figures of the store in Prometheus' text format, names beginning with kv_.
 *
 * Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
 * Threads: any. Costs a question to a thread of the store.
 * Errors: as kv_stats_json.
 */
kv_status kv_stats_prometheus(const kv_db *db, char **text, kv_error **error);

/**
 * What could not be recovered at open, as a JSON array of objects with path, offset and reason. Empty unless
 * KV_RECOVER_SALVAGE or KV_MODE_READ_ONLY met damage.
 *
 * Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
 * Threads: any.
 * Errors: as kv_stats_json.
 */
kv_status kv_damage_json(const kv_db *db, char **text, kv_error **error);

/**
 * Waits until Redis has acknowledged every change that was made before this call. Without a tier there is nothing to wait for.
 *
 * Parameters: `db`; `timeout_ms`: for how long at most; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_TIER with what keeps Redis from it, when the time is over: the changes stay and are still sent; KV_CLOSED, KV_FORKED,
 * KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_flush(const kv_db *db,
                   uint64_t timeout_ms,
                   kv_error **error);

/**
 * Figures of the store's tier as one JSON object: unsent_keys, unsent_bytes and unsent_for_ms, the lag; unsent_deletes, sent_keys,
 * batches, fetches, failures; hears, true or false: changes by others are heard; failing: why Redis cannot be reached, or null. The
 * text null for a store without a tier.
 *
 * Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
 * Threads: any. Reads the part of the log that Redis has not acknowledged.
 * Errors: as kv_stats_json.
 */
kv_status kv_tier_stats_json(const kv_db *db,
                             char **text,
                             kv_error **error);

/**
 * The same in Prometheus' text format, names beginning with kv_tier_; hears and failing are 1 when they hold. An empty text for a
 * store without a tier.
 *
 * Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
 * Threads: any. Reads the part of the log that Redis has not acknowledged.
 * Errors: as kv_stats_json.
 */
kv_status kv_tier_stats_prometheus(const kv_db *db,
                                   char **text,
                                   kv_error **error);

/**
 * Adds to the decimal number that a key holds in Redis (0 when it has no value), and keeps its expiry: of all processes that share
 * the key each addition counts, exactly once. What this store has changed before is sent first; the sum stays here as a copy. Costs
 * two round trips, which callers that come at once share.
 *
 * Parameters: `db`; `key`, `key_len`; `delta`: what is added; `sum`: NULL, or where the sum is stored; `error`: NULL, or where
 * a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any. Waits for Redis, for as long as the option tier_timeout says.
 * Errors: KV_TIER: with a message that begins with "tier: not applied" nothing was changed, else no answer came in time and it was
 * applied once or not at all; KV_NOT_AN_INTEGER, KV_OVERFLOW, KV_PINNED when this thread holds a pin, KV_READ_ONLY,
 * KV_KEY_TOO_LONG, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
 */
kv_status kv_increment_shared(const kv_db *db,
                              const void *key,
                              size_t key_len,
                              int64_t delta,
                              int64_t *sum,
                              kv_error **error);

/**
 * Sets a key if it has no value in Redis: of all processes that share the key one does. See kv_increment_shared.
 *
 * Parameters: `db`; `key`, `key_len`; `value`, `value_len`; `options`: NULL, or with which expiry the value is set (condition and codec
 * are ignored: what Redis holds has the codec of the option tier_codec; KV_EXPIRE_KEEP counts as KV_EXPIRE_DEFAULT); `error`: NULL, or
 * where a failure is stored.
 * Ownership: key and value are copied.
 * Threads: any. Waits for Redis, for as long as the option tier_timeout says.
 * Errors: KV_NOT_MET when it has a value; KV_VALUE_TOO_LONG; as kv_increment_shared.
 */
kv_status kv_add_shared(const kv_db *db,
                        const void *key,
                        size_t key_len,
                        const void *value,
                        size_t value_len,
                        const kv_set_options *options,
                        kv_error **error);

/**
 * Sets a key, keeping its expiry, if it holds a value in Redis. It compares values, since versions are each store's own. See
 * kv_increment_shared.
 *
 * Parameters: `db`; `key`, `key_len`; `expected`: the value that it must hold; NULL: it must have none; `value`, `value_len`;
 * `error`: NULL, or where a failure is stored.
 * Ownership: key and values are copied.
 * Threads: any. Waits for Redis, for as long as the option tier_timeout says.
 * Errors: KV_NOT_MET when it holds another value, or none; as kv_add_shared.
 */
kv_status kv_compare_and_swap_shared(const kv_db *db,
                                     const void *key,
                                     size_t key_len,
                                     const kv_slice *expected,
                                     const void *value,
                                     size_t value_len,
                                     kv_error **error);

/**
 * Copies what Redis holds under the keys of a pattern, with the time that is left, and then removes what stands here under such
 * keys and Redis does not hold any more. Changes of this store, sent or not, are not overwritten, and no read waits. Costs a
 * connection while it runs.
 *
 * Parameters: `db`; `pattern`, `pattern_len`: 0 to KV_KEY_BYTES_MAX bytes, as Redis' own (`*`, `?`, `[a-c]`, a backslash before what is meant literally), without
 * the option tier_prefix; `cursor`: 0, or where an earlier call came to; a cursor is good as long as Redis runs; `progress`: NULL,
 * or what hears of it, see kv_preload_progress; `userdata`: passed to it as it is; `done`: NULL, or where it is stored what was
 * done; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any; `progress` is called in this thread.
 * Errors: KV_OK also when `progress` breaks it off: then is_complete is 0. KV_TIER when Redis fails, and what `progress` was told
 * last is where to go on: of several shards the others were gone through, the message says which failed, and the cursor leads to these; when no copies are kept because changes by others are not heard; without a tier; as kv_set.
 */
kv_status kv_preload(const kv_db *db,
                     const void *pattern,
                     size_t pattern_len,
                     uint64_t cursor,
                     kv_preload_progress progress,
                     void *userdata,
                     kv_preloaded *done,
                     kv_error **error);

/**
 * Writes entries as text into a file; as of one moment only with `snapshot`: see kv_scan_open.
 *
 * Parameters: `db`; `path`: the file, ending with NUL; one that is there is replaced; `format`: a KV_FORMAT_;
 * `options`: NULL, or how; `entries`: which; NULL for all; `done`: NULL, or where it is stored what was done; `error`: NULL, or where a
 * failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_IO, KV_DISK_FULL, KV_CANCELLED: part of the file may be written; KV_NOT_TEXT for KV_FORMAT_JSON and bytes that are not UTF-8;
 * as kv_scan_open.
 */
kv_status kv_export(const kv_db *db,
                    const char *path,
                    uint32_t format,
                    const kv_transfer_options *options,
                    const kv_scan_options *entries,
                    kv_transferred *done,
                    kv_error **error);

/**
 * Writes entries as text into a function.
 *
 * Parameters: `db`; `writer`, not NULL; `userdata`: passed to it as it is; others as kv_export.
 * Ownership: nothing changes hands.
 * Threads: any; `writer` is called in this thread; see kv_writer.
 * Errors: KV_IO when `writer` fails; as kv_export.
 */
kv_status kv_export_to(const kv_db *db,
                       kv_writer writer,
                       void *userdata,
                       uint32_t format,
                       const kv_transfer_options *options,
                       const kv_scan_options *entries,
                       kv_transferred *done,
                       kv_error **error);

/**
 * Sets entries from a file of text, in batches. Entries whose time is over are left out.
 *
 * Parameters: `db`; `path`: the file, ending with NUL; `format`: a KV_FORMAT_; `options`: NULL, or how; `done`: NULL, or where it is
 * stored what was done; `error`: NULL, or where a failure is stored.
 * Ownership: nothing changes hands.
 * Threads: any.
 * Errors: KV_BAD_IMPORT with the line, KV_IO, KV_CANCELLED; as kv_apply. Batches before that are set.
 */
kv_status kv_import(const kv_db *db,
                    const char *path,
                    uint32_t format,
                    const kv_transfer_options *options,
                    kv_transferred *done,
                    kv_error **error);

/**
 * Sets entries from text that a function brings.
 *
 * Parameters: `db`; `reader`, not NULL; `userdata`: passed to it as it is; others as kv_import.
 * Ownership: nothing changes hands.
 * Threads: any; `reader` is called in this thread; see kv_reader.
 * Errors: KV_IO when `reader` fails; as kv_import.
 */
kv_status kv_import_from(const kv_db *db,
                         kv_reader reader,
                         void *userdata,
                         uint32_t format,
                         const kv_transfer_options *options,
                         kv_transferred *done,
                         kv_error **error);

/**
 * Reads every record of a store and checks it, without writing anything; also of a store that another process has open, as
 * of one moment. Damage is what it reports, not a failure.
 *
 * Parameters: `path`: the store's directory, ending with NUL; `damaged`: where the number of damaged places is stored: 0 when
 * the store is sound; `report`: NULL, or where the address of a text is stored: one JSON object with ok, entries, segments,
 * records, committed, log_bytes, live_bytes, and damage, an array of objects with path, offset and reason; `error`: NULL, or
 * where a failure is stored.
 * Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
 * Threads: any. Costs what kv_open costs.
 * Errors: KV_NOT_A_STORE; KV_CORRUPT when no manifest can be read; KV_UNSUPPORTED_VERSION; KV_IO; KV_NO_MEMORY;
 * KV_INVALID_ARGUMENT; KV_IN_CALLBACK in a logger.
 */
kv_status kv_verify(const char *path,
                    uint64_t *damaged,
                    char **report,
                    kv_error **error);

/**
 * Writes every entry of a store that is intact into a new store; expiries stay. Where a delete or an overwrite was lost to the
 * damage, what it hid comes back. On disk when it returns.
 *
 * Parameters: `from`: the store's directory; `to`: a directory that is empty or does not exist; both end with NUL; `entries`:
 * NULL, or where the number of those written is stored; `report`: NULL, or as for kv_verify, with the entries written as
 * salvaged; `error`: NULL, or where a failure is stored.
 * Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
 * Threads: any.
 * Errors: as kv_verify; KV_NOT_A_STORE when `to` holds something; KV_DISK_FULL and others of kv_set: part of the entries may be
 * written.
 */
kv_status kv_salvage(const char *from,
                     const char *to,
                     uint64_t *entries,
                     char **report,
                     kv_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBKV_KV_H */
