//! Export and import: entries as text.
//!
//! NDJSON has one object a line, `{"key":"…","value":"…","expires_at_ms":…}`; a key or value that is not UTF-8 stands in
//! Base64 under `key_base64` or `value_base64`. Metadata is an object of names and values under `metadata`, values that are not
//! UTF-8 under `metadata_base64`. A value that a codec wrote has its name, or number, under `codec`. The JSON form is one object of keys and values, for people: expiries and metadata are not in
//! it, and bytes that are not UTF-8 cannot be.

use crate::db::{Batch, Db, Expiry, ScanOptions};
use crate::error::{Error, Result};
use crate::record::Metadata;
use crate::tag::{Tag, Tagged, UnknownTag};
use base64::prelude::{Engine, BASE64_STANDARD};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Entries that an import applies as one batch, and their bytes at most.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Longest line of an import, in bytes: a value of the largest default size, escaped.
const LINE_BYTES_MAX: u64 = 2 << 30;

/// How entries are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One JSON object a line: every entry, bytes of all kinds, expiries.
    Ndjson,
    /// One JSON object of keys and values.
    Json,
}

/// What an export or import has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Transferred {
    /// Entries written, or set and acknowledged.
    pub entries: u64,
    /// Entries of an import whose time was over.
    pub expired: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata_base64: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<String>,
}

/// Bytes as text where they are UTF-8, else in Base64.
fn text_or_base64(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
    }
}

fn bytes_of(name: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => BASE64_STANDARD.decode(base64).map_err(|e| format!("{name}_base64: {e}")),
        (Some(_), Some(_)) => Err(format!("both {name} and {name}_base64")),
        (None, None) => Err(format!("no {name}")),
    }
}

/// Pairs whose values are text, and the others with theirs in Base64.
fn texts_and_base64(metadata: Metadata) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut texts, mut base64s) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in metadata {
        match text_or_base64(value) {
            (Some(text), _) => texts.insert(name, text),
            (None, base64) => base64s.insert(name, base64.unwrap_or_default()),
        };
    }
    (texts, base64s)
}

fn metadata_of(
    texts: BTreeMap<String, String>,
    base64s: BTreeMap<String, String>,
) -> Result<Metadata, String> {
    let mut metadata: Metadata = texts.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
    for (name, base64) in base64s {
        let value = BASE64_STANDARD.decode(base64).map_err(|e| format!("metadata_base64, {name}: {e}"))?;
        if metadata.insert(name.clone(), value).is_some() {
            return Err(format!("{name} stands in both metadata and metadata_base64"));
        }
    }
    Ok(metadata)
}

fn write_error(error: impl Into<std::io::Error>) -> Error {
    Error::io("write", Path::new("the export"), error.into())
}

fn text(bytes: Vec<u8>, name: &'static str) -> Result<String> {
    let len = bytes.len();
    String::from_utf8(bytes).map_err(|_| Error::NotText { name, len })
}

impl Db {
    /// Writes entries as text; as of one moment only with [`ScanOptions::snapshot`]. Buffer `to`: each entry is a write of its own.
    ///
    /// # Errors
    /// [`Error::Io`] when `to` fails; [`Error::NotText`] for [`Format::Json`] and bytes that are not UTF-8; as
    /// [`Db::scan`].
    pub fn export(&self, mut to: impl Write, format: Format, entries: ScanOptions) -> Result<Transferred> {
        let mut done = Transferred::default();
        if format == Format::Json {
            to.write_all(b"{").map_err(write_error)?;
        }
        for entry in self.scan(entries)? {
            let entry = entry?;
            done.bytes += (entry.key.len() + entry.value.len()) as u64;
            match format {
                Format::Ndjson => {
                    let (key, key_base64) = text_or_base64(entry.key);
                    let (value, value_base64) = text_or_base64(entry.value);
                    let expires_at_ms = entry.expires_at_ms;
                    let codec = (entry.codec != Tag::RAW).then(|| entry.codec.to_string());
                    let (metadata, metadata_base64) = texts_and_base64(entry.metadata);
                    let line = Line {
                        key,
                        key_base64,
                        value,
                        value_base64,
                        expires_at_ms,
                        metadata,
                        metadata_base64,
                        codec,
                    };
                    serde_json::to_writer(&mut to, &line).map_err(write_error)?;
                    to.write_all(b"\n").map_err(write_error)?;
                }
                Format::Json => {
                    to.write_all(if done.entries == 0 { b"\n" } else { b",\n" }).map_err(write_error)?;
                    serde_json::to_writer(&mut to, &text(entry.key, "key")?).map_err(write_error)?;
                    to.write_all(b": ").map_err(write_error)?;
                    serde_json::to_writer(&mut to, &text(entry.value, "value")?).map_err(write_error)?;
                }
            }
            done.entries += 1;
        }
        if format == Format::Json {
            to.write_all(if done.entries == 0 { b"}\n" } else { b"\n}\n" }).map_err(write_error)?;
        }
        to.flush().map_err(write_error)?;
        Ok(done)
    }

    /// Sets entries from text, in batches; calls `progress` after each, when its entries are as durable as
    /// [`Sync`](crate::Sync) asks. Entries whose time is over are left out. In [`Format::Json`] a value that is no string is set
    /// to its JSON text.
    ///
    /// # Errors
    /// [`Error::Import`] with the line, [`Error::Io`] when `from` fails; as [`Db::apply`]. Batches before that are set.
    pub fn import(
        &self,
        from: impl BufRead,
        format: Format,
        progress: impl FnMut(&Transferred),
    ) -> Result<Transferred> {
        let mut importer = Importer {
            db: self,
            batch: Batch::new(),
            pending: Transferred::default(),
            done: Transferred::default(),
            progress,
        };
        match format {
            Format::Ndjson => importer.lines(from)?,
            Format::Json => importer.object(from)?,
        }
        importer.apply()?;
        Ok(importer.done)
    }
}

struct Importer<'db, P> {
    db: &'db Db,
    batch: Batch,
    /// With the batch that is not applied yet.
    pending: Transferred,
    done: Transferred,
    progress: P,
}

impl<P: FnMut(&Transferred)> Importer<'_, P> {
    fn lines(&mut self, mut from: impl BufRead) -> Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let mut limited = std::io::Read::take(&mut from, LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut line);
            if read.map_err(|e| Error::io("read", Path::new("the import"), e))? == 0 {
                break;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let refuse = |reason: String| Error::Import { line: number, reason };
            let entry: Line = serde_json::from_slice(&line).map_err(|e| refuse(e.to_string()))?;
            let key = bytes_of("key", entry.key, entry.key_base64).map_err(refuse)?;
            let value = bytes_of("value", entry.value, entry.value_base64).map_err(refuse)?;
            let metadata = metadata_of(entry.metadata, entry.metadata_base64).map_err(refuse)?;
            let codec = entry.codec.map_or(Ok(Tag::RAW), |codec| codec.parse());
            let codec = codec.map_err(|unknown: UnknownTag| refuse(format!("codec: {unknown}")))?;
            self.put(key, Tagged { value, codec }, entry.expires_at_ms, metadata)?;
        }
        Ok(())
    }

    fn object(&mut self, from: impl BufRead) -> Result<()> {
        let mut failed = None;
        let mut deserializer = serde_json::Deserializer::from_reader(from);
        let seed = Object { importer: self, failed: &mut failed };
        let read = seed.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        match (failed, read) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(()),
            (None, Err(e)) if e.is_io() => Err(Error::io("read", Path::new("the import"), e.into())),
            (None, Err(e)) => Err(Error::Import { line: e.line() as u64, reason: e.to_string() }),
        }
    }

    fn put(
        &mut self,
        key: Vec<u8>,
        value: Tagged,
        expires_at_ms: Option<u64>,
        metadata: Metadata,
    ) -> Result<()> {
        let at_ms = expires_at_ms.unwrap_or(u64::MAX);
        if self.db.now_ms() >= at_ms {
            self.pending.expired += 1;
            return Ok(());
        }
        self.pending.entries += 1;
        self.pending.bytes += (key.len() + value.value.len()) as u64;
        let expiry = match expires_at_ms {
            Some(ms) => Expiry::At(UNIX_EPOCH + Duration::from_millis(ms)),
            None => Expiry::Never,
        };
        self.batch.set_whole(key, value, expiry, metadata);
        let bytes = self.pending.bytes - self.done.bytes;
        if self.batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES as u64 {
            self.apply()?;
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<()> {
        self.db.apply(&self.batch)?;
        self.batch = Batch::new();
        self.done = self.pending;
        (self.progress)(&self.done);
        Ok(())
    }
}

/// Reads one JSON object entry by entry, so that its size does not matter.
struct Object<'i, 'db, P> {
    importer: &'i mut Importer<'db, P>,
    /// What the store refused; the parser only knows that it was stopped.
    failed: &'i mut Option<Error>,
}

impl<'de, P: FnMut(&Transferred)> DeserializeSeed<'de> for Object<'_, '_, P> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, P: FnMut(&Transferred)> Visitor<'de> for Object<'_, '_, P> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<String, serde_json::Value>()? {
            let value = match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            let value = Tagged { value: value.into_bytes(), codec: Tag::RAW };
            let put = self.importer.put(key.into_bytes(), value, None, Metadata::new());
            if let Err(error) = put {
                *self.failed = Some(error);
                return Err(serde::de::Error::custom("the store refused an entry"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_as_ndjson_imports_the_same_bytes_and_expiries() {
        let db = Db::in_memory().unwrap();
        db.set(b"text", "käse\n\"".as_bytes()).unwrap();
        db.set(&[0xff, 0], &[0, 0xfe]).unwrap();
        db.set_with(b"t", b"", crate::SetOptions::new().ttl(Duration::from_secs(3600))).unwrap();
        let mut session = db.get_and_lock(b"text", crate::Wait::No).unwrap().unwrap();
        let metadata = [("text".into(), b"plain".to_vec()), ("bytes".into(), vec![0xff])];
        session.metadata_mut().extend(metadata);
        session.commit().unwrap();
        let mut text = Vec::new();
        assert_eq!(db.export(&mut text, Format::Ndjson, ScanOptions::new()).unwrap().entries, 3);
        let other = Db::in_memory().unwrap();
        other.import(&text[..], Format::Ndjson, |_| ()).unwrap();
        for key in [&b"text"[..], &[0xff, 0], b"t"] {
            assert_eq!(db.get_with_metadata(key).unwrap(), other.get_with_metadata(key).unwrap());
        }
        let expiry = |db: &Db| db.pin().unwrap().get(b"t").unwrap().unwrap().expires_at_ms();
        assert_eq!(expiry(&db), expiry(&other));
    }

    #[test]
    fn a_json_object_of_any_values_is_taken_and_written_in_order() {
        let db = Db::in_memory().unwrap();
        let done =
            db.import(&br#"{"name": "Alice", "age": 30, "tags": ["x"]}"#[..], Format::Json, |_| ()).unwrap();
        assert_eq!(done.entries, 3);
        let mut text = Vec::new();
        db.export(&mut text, Format::Json, ScanOptions::new().ordered(true)).unwrap();
        let expected = "{\n\"age\": \"30\",\n\"name\": \"Alice\",\n\"tags\": \"[\\\"x\\\"]\"\n}\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_bad_line_is_named_and_what_came_before_it_is_set() {
        let db = Db::in_memory().unwrap();
        let text = b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\"}\n";
        let error = db.import(&text[..], Format::Ndjson, |_| ()).unwrap_err();
        assert!(matches!(&error, Error::Import { line: 3, reason } if reason == "no value"), "{error}");
        let text = br#"{"key":"a","value":"1","metadata":{"n":"1"},"metadata_base64":{"n":"MQ=="}}"#;
        let error = db.import(&text[..], Format::Ndjson, |_| ()).unwrap_err();
        assert!(error.to_string().contains("n stands in both"), "{error}");
        let error = db.import(&b"{\"a\": \"1\",\n \"b\": }"[..], Format::Json, |_| ()).unwrap_err();
        assert!(matches!(error, Error::Import { line: 2, .. }), "{error}");
    }
}
