//! Output: for people on a terminal, raw in a pipe, JSON when asked for.

use crate::failure::Failure;
use base64::prelude::{Engine, BASE64_STANDARD};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// Characters of a value that a listing on a terminal shows.
const PREVIEW_CHARS: usize = 80;

pub fn is_for_people() -> bool {
    io::stdout().is_terminal()
}

pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| Failure::stdout(&e))
}

pub fn line(text: &str) -> Result<(), Failure> {
    raw(format!("{text}\n").as_bytes())
}

pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|e| Failure::stdout(&e.into()))?;
    line(&text)
}

/// Numbers by their names as a JSON object, in their order. The names need no quoting.
pub fn object(figures: &[(String, u64)]) -> String {
    let fields: Vec<String> = figures.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Bytes as a field of a JSON object: as text where they are UTF-8, else in Base64 under another name.
#[derive(Serialize)]
pub struct Key<'b> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

impl<'b> From<&'b [u8]> for Key<'b> {
    fn from(bytes: &'b [u8]) -> Self {
        let key = std::str::from_utf8(bytes).ok();
        Key { key, key_base64: key.is_none().then(|| BASE64_STANDARD.encode(bytes)) }
    }
}

/// As [`Key`], for a value.
#[derive(Serialize)]
pub struct Value<'b> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl<'b> From<&'b [u8]> for Value<'b> {
    fn from(bytes: &'b [u8]) -> Self {
        let value = std::str::from_utf8(bytes).ok();
        Value { value, value_base64: value.is_none().then(|| BASE64_STANDARD.encode(bytes)) }
    }
}

/// As [`Key`], for the metadata beside a value; nothing without any.
#[derive(Default, Serialize)]
pub struct Metadata<'b> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'b str, &'b str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata_base64: BTreeMap<&'b str, String>,
}

impl<'b> From<&'b kv::Metadata> for Metadata<'b> {
    fn from(all: &'b kv::Metadata) -> Self {
        let mut shown = Metadata::default();
        for (name, held) in all {
            match std::str::from_utf8(held) {
                Ok(text) => drop(shown.metadata.insert(name, text)),
                Err(_) => drop(shown.metadata_base64.insert(name, BASE64_STANDARD.encode(held))),
            }
        }
        shown
    }
}

/// Which codec wrote a value; nothing for raw bytes.
#[derive(Default, Serialize)]
pub struct Codec {
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<String>,
}

impl From<kv::Tag> for Codec {
    fn from(tag: kv::Tag) -> Self {
        Codec { codec: (tag != kv::Tag::RAW).then(|| tag.to_string()) }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Text without anything that a terminal would act on; what is no text is escaped.
pub fn safe(bytes: &[u8], keep_lines: bool) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' if keep_lines => text.push(c),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The beginning of a value, on one line.
pub fn preview(bytes: &[u8]) -> String {
    // Four bytes a character at most; the rest need not be looked at.
    let head = bytes.get(..PREVIEW_CHARS * 4).unwrap_or(bytes);
    let text = safe(head, false);
    match text.char_indices().nth(PREVIEW_CHARS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(&text)),
        None => text,
    }
}

/// Bytes as the user gave and wants them: hexadecimal, escaped for a terminal, or as they are.
pub fn shown(bytes: &[u8], is_hex: bool) -> Cow<'_, [u8]> {
    if is_hex {
        Cow::Owned(hex(bytes).into_bytes())
    } else if is_for_people() {
        Cow::Owned(safe(bytes, true).into_bytes())
    } else {
        Cow::Borrowed(bytes)
    }
}

/// A number in groups of three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in a unit that people read.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}
