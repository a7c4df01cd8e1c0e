//! Entries as text: what exports, imports and the JSON mirror have in common.
//!
//! In an object of keys and values a raw value that is UTF-8 stands as a JSON string, and one that the codec `json` wrote as
//! what it is, unless that is a string. Everything else stands in an *envelope*, `{"$kv": {…}}`, whose inner object has the names of
//! NDJSON: what is not UTF-8, what another codec wrote, expiries, metadata, and JSON that looks like an envelope itself. A key
//! that is not UTF-8, or begins with `$kv:`, is `$kv:base64:` and its bytes in Base64. So an object that holds nothing of this kind reads
//! as anybody would write it, and whatever stands in a store comes back the same.

use crate::record::Metadata;
use crate::tag::{Tag, Tagged, UnknownTag};
use base64::prelude::{Engine, BASE64_STANDARD};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{Read, Write};

const ENVELOPE: &str = "$kv";
const KEY_ESCAPE: &str = "$kv:";
const KEY_BASE64: &str = "$kv:base64:";

/// What stands for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: Tagged,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) metadata: Metadata,
}

/// An entry as an object.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
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

impl Line {
    pub(crate) fn of(key: Option<Vec<u8>>, held: Held) -> Line {
        let (key, key_base64) = key.map_or((None, None), text_or_base64);
        let Held { value: Tagged { value, codec }, expires_at_ms, metadata } = held;
        let (value, value_base64) = text_or_base64(value);
        let codec = (codec != Tag::RAW).then(|| codec.to_string());
        let (metadata, metadata_base64) = texts_and_base64(metadata);
        Line { key, key_base64, value, value_base64, expires_at_ms, metadata, metadata_base64, codec }
    }

    pub(crate) fn key(&mut self) -> Result<Vec<u8>, String> {
        bytes_of("key", self.key.take(), self.key_base64.take())
    }

    pub(crate) fn held(self) -> Result<Held, String> {
        let value = bytes_of("value", self.value, self.value_base64)?;
        let metadata = metadata_of(self.metadata, self.metadata_base64)?;
        let codec = self.codec.map_or(Ok(Tag::RAW), |codec| codec.parse());
        let codec = codec.map_err(|unknown: UnknownTag| format!("codec: {unknown}"))?;
        Ok(Held { value: Tagged { value, codec }, expires_at_ms: self.expires_at_ms, metadata })
    }
}

/// Bytes as text where they are UTF-8, else in Base64.
pub(crate) enum Text {
    Plain(String),
    Base64(String),
}

impl Text {
    pub(crate) fn of(bytes: Vec<u8>) -> Text {
        match String::from_utf8(bytes) {
            Ok(text) => Text::Plain(text),
            Err(error) => Text::Base64(BASE64_STANDARD.encode(error.as_bytes())),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Plain(text) | Text::Base64(text) => text.as_bytes(),
        }
    }
}

fn text_or_base64(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match Text::of(bytes) {
        Text::Plain(text) => (Some(text), None),
        Text::Base64(text) => (None, Some(text)),
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

/// The JSON text of a value as it may stand in an object, if it is one that is not a string.
pub(crate) fn plain_json(value: &Tagged) -> Option<&RawValue> {
    if value.codec != Tag::JSON {
        return None;
    }
    let json: &RawValue = serde_json::from_slice(&value.value).ok()?;
    // With space around it, it would not come back the same.
    (json.get().len() == value.value.len() && !json.get().starts_with('"')).then_some(json)
}

fn is_like_an_envelope(json: &RawValue) -> bool {
    json.get().starts_with('{')
        // What has a name twice does, for whoever reads it.
        && serde_json::from_str::<BTreeMap<String, IgnoredAny>>(json.get())
            .is_ok_and(|members| members.len() == 1 && members.contains_key(ENVELOPE))
}

/// Writes one object of keys and values, a line each.
pub(crate) struct ObjectWriter<W> {
    to: W,
    is_begun: bool,
}

impl<W: Write> ObjectWriter<W> {
    pub(crate) fn new(to: W) -> Self {
        ObjectWriter { to, is_begun: false }
    }

    pub(crate) fn write(&mut self, key: Vec<u8>, held: Held) -> std::io::Result<()> {
        self.to.write_all(if self.is_begun { b",\n  " } else { b"{\n  " })?;
        self.is_begun = true;
        let key = match String::from_utf8(key) {
            Ok(text) if !text.starts_with(KEY_ESCAPE) => text,
            Ok(text) => format!("{KEY_BASE64}{}", BASE64_STANDARD.encode(text)),
            Err(error) => format!("{KEY_BASE64}{}", BASE64_STANDARD.encode(error.as_bytes())),
        };
        serde_json::to_writer(&mut self.to, &key)?;
        self.to.write_all(b": ")?;
        if held.expires_at_ms.is_none() && held.metadata.is_empty() {
            if let Some(json) = plain_json(&held.value).filter(|json| !is_like_an_envelope(json)) {
                return self.to.write_all(json.get().as_bytes());
            }
            if let (Tag::RAW, Ok(text)) = (held.value.codec, std::str::from_utf8(&held.value.value)) {
                return Ok(serde_json::to_writer(&mut self.to, text)?);
            }
        }
        Ok(serde_json::to_writer(&mut self.to, &BTreeMap::from([(ENVELOPE, Line::of(None, held))]))?)
    }

    pub(crate) fn end(mut self) -> std::io::Result<W> {
        self.to.write_all(if self.is_begun { b"\n}\n" } else { b"{}\n" })?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// The entry that a member of an object stands for.
fn entry_of(key: String, json: &RawValue) -> Result<(Vec<u8>, Held), String> {
    let key = match key.strip_prefix(KEY_BASE64) {
        Some(base64) => BASE64_STANDARD.decode(base64).map_err(|e| format!("key {key:?}: {e}"))?,
        None if key.starts_with(KEY_ESCAPE) => {
            return Err(format!("key {key:?}: not {KEY_BASE64} and Base64"))
        }
        None => key.into_bytes(),
    };
    let plain = |value: Vec<u8>, codec| Held {
        value: Tagged { value, codec },
        expires_at_ms: None,
        metadata: Metadata::new(),
    };
    let held = if json.get().starts_with('"') {
        let text: String = serde_json::from_str(json.get()).map_err(|e| e.to_string())?;
        plain(text.into_bytes(), Tag::RAW)
    } else if is_like_an_envelope(json) {
        let mut inner: BTreeMap<String, Line> =
            serde_json::from_str(json.get()).map_err(|e| e.to_string())?;
        let line = inner.remove(ENVELOPE).unwrap_or_default();
        if line.key.is_some() || line.key_base64.is_some() {
            return Err("a key within an envelope".into());
        }
        line.held()?
    } else {
        plain(json.get().as_bytes().to_vec(), Tag::JSON)
    };
    Ok((key, held))
}

/// Why an object was not read to its end.
pub(crate) enum Unread<E> {
    Json(serde_json::Error),
    /// Whoever takes the entries refused one.
    Refused(E),
}

/// Reads one object entry by entry, so that its size does not matter. Buffer `from`: it is read byte by byte.
pub(crate) fn read_object<E>(
    from: impl Read,
    take: impl FnMut(Vec<u8>, Held) -> Result<(), E>,
) -> Result<(), Unread<E>> {
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_reader(from);
    let read = Object { take, refused: &mut refused }.deserialize(&mut deserializer);
    match (refused, read.and_then(|()| deserializer.end())) {
        (Some(error), _) => Err(Unread::Refused(error)),
        (None, read) => read.map_err(Unread::Json),
    }
}

struct Object<'r, F, E> {
    take: F,
    /// The parser only knows that it was stopped.
    refused: &'r mut Option<E>,
}

impl<'de, E, F: FnMut(Vec<u8>, Held) -> Result<(), E>> DeserializeSeed<'de> for Object<'_, F, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, E, F: FnMut(Vec<u8>, Held) -> Result<(), E>> Visitor<'de> for Object<'_, F, E> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, json)) = map.next_entry::<String, Box<RawValue>>()? {
            let (key, held) = entry_of(key, &json).map_err(serde::de::Error::custom)?;
            if let Err(error) = (self.take)(key, held) {
                *self.refused = Some(error);
                return Err(serde::de::Error::custom("an entry was refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(value: &[u8], codec: Tag) -> Held {
        Held {
            value: Tagged { value: value.to_vec(), codec },
            expires_at_ms: None,
            metadata: Metadata::new(),
        }
    }

    fn text_of(entries: &[(Vec<u8>, Held)]) -> String {
        let mut object = ObjectWriter::new(Vec::new());
        entries.iter().for_each(|(key, held)| object.write(key.clone(), held.clone()).unwrap());
        String::from_utf8(object.end().unwrap()).unwrap()
    }

    fn entries_of(text: &str) -> Result<Vec<(Vec<u8>, Held)>, String> {
        let mut entries = Vec::new();
        let read = read_object(text.as_bytes(), |key, held| {
            entries.push((key, held));
            Ok::<(), String>(())
        });
        match read {
            Ok(()) => Ok(entries),
            Err(Unread::Refused(reason)) => Err(reason),
            Err(Unread::Json(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn whatever_stands_in_a_store_comes_back_the_same_from_an_object() {
        let mut values = Vec::new();
        for bytes in [
            &b""[..],
            b"text",
            b"30",
            b"\xff\x00",
            b"true",
            b"\"quoted\"",
            b" 1",
            b"1 ",
            b"{}",
            b"[1, 2]",
            b"nul",
            b"1e400",
            b"123456789012345678901234567890.10",
            b"{\"$kv\": 1}",
            b"{\"$kv\":{\"value\":\"x\"}}",
            b"{\"$kv\":1,\"$kv\":2}",
            b"{\"\\u0024kv\": {}}",
            b"{\"$kv\":1,\"b\":2}",
            "\u{e9}\u{0}".as_bytes(),
        ] {
            for codec in [Tag::RAW, Tag::JSON, Tag::TEXT, Tag::MESSAGE_PACK, Tag::user::<64>()] {
                values.push(held(bytes, codec));
                values.push(Held { expires_at_ms: Some(7), ..held(bytes, codec) });
                let metadata = [("a".into(), b"1".to_vec()), ("b".into(), vec![0xff])].into();
                values.push(Held { metadata, ..held(bytes, codec) });
            }
        }
        let keys = [&b""[..], b"$kv", b"$kv:", b"$kv:base64:AA==", b"\xff", b"a\"\n", "\u{e9}".as_bytes()];
        let mut entries: Vec<_> = keys.iter().map(|key| (key.to_vec(), held(b"v", Tag::RAW))).collect();
        entries.extend(values.into_iter().enumerate().map(|(n, held)| (n.to_string().into_bytes(), held)));
        assert_eq!(entries_of(&text_of(&entries)).unwrap(), entries);
    }

    #[test]
    fn what_people_write_keeps_its_types_and_is_written_the_same() {
        let text =
            "{\n  \"name\": \"Alice\",\n  \"age\": 30,\n  \"pi\": 3.14159265358979323846264338327950288,\n  \
                    \"tags\": [\"a\", null]\n}\n";
        let entries = entries_of(text).unwrap();
        let codecs: Vec<Tag> = entries.iter().map(|(_, held)| held.value.codec).collect();
        assert_eq!(codecs, [Tag::RAW, Tag::JSON, Tag::JSON, Tag::JSON]);
        assert_eq!(entries[1].1.value.value, b"30");
        assert_eq!(text_of(&entries), text);
        assert_eq!(text_of(&[]), "{}\n");
    }

    #[test]
    fn what_is_no_object_of_entries_is_refused() {
        for (text, reason) in [
            ("", "EOF"),
            ("[]", "an object of keys and values"),
            ("{\"a\": 1,}", "trailing comma"),
            ("{\"a\": 1} x", "trailing characters"),
            ("{\"a\": \"\\ud800\"}", "line 1"),
            ("{\"$kv:x\": 1}", "key \"$kv:x\""),
            ("{\"$kv:base64:*\": 1}", "key \"$kv:base64:*\""),
            ("{\"a\": {\"$kv\": 1}}", "line 1"),
            ("{\"a\": {\"$kv\": {}}}", "no value"),
            ("{\"a\": {\"$kv\": {\"value\": \"1\", \"codec\": \"yaml\"}}}", "codec"),
            ("{\"a\": {\"$kv\": {\"value\": \"1\", \"key\": \"b\"}}}", "a key within"),
            ("{\"a\": {\"$kv\": {\"value\": \"1\", \"ttl\": 1}}}", "unknown field"),
        ] {
            let refused = entries_of(text).unwrap_err();
            assert!(refused.contains(reason) && refused.contains("line "), "{text}: {refused}");
        }
    }
}
