//! The words of the script: from text to what the library takes, and back to an answer.

use kv::{Error, Expiry, Format, LoadOptions, Metadata, Tag};
use std::time::{Duration, UNIX_EPOCH};

pub fn bytes(word: &str) -> Vec<u8> {
    if word == "\"\"" {
        return Vec::new();
    }
    if let Some((count, byte)) = word.strip_prefix('@').and_then(|rest| rest.split_once('*')) {
        return vec![u8::from_str_radix(byte, 16).expect(word); count.parse().expect(word)];
    }
    let mut plain = Vec::new();
    let mut rest = word.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [*rest.next().expect(word), *rest.next().expect(word)];
                plain.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).expect(word));
            }
            byte => plain.push(*byte),
        }
    }
    plain
}

pub fn word(bytes: &[u8]) -> String {
    let mut word = String::new();
    for byte in bytes {
        match byte {
            b'!'..=b'~' if *byte != b'%' => word.push(char::from(*byte)),
            byte => word.push_str(&format!("%{byte:02X}")),
        }
    }
    match (bytes.iter().all(|byte| *byte == bytes[0]), bytes.len()) {
        (_, 0) => "\"\"".to_owned(),
        (true, 17..) => format!("@{}*{:02X}", bytes.len(), bytes[0]),
        _ => word,
    }
}

pub fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().ok().unwrap_or_else(|| panic!("{word} is no number"))
}

pub fn expiry(word: &str) -> Expiry {
    match word.split_once(':') {
        None if word == "default" => Expiry::Default,
        None if word == "never" => Expiry::Never,
        None if word == "keep" => Expiry::Keep,
        Some(("after", ms)) => Expiry::After(Duration::from_millis(number(ms))),
        Some(("at", ms)) => Expiry::At(UNIX_EPOCH + Duration::from_millis(number(ms))),
        _ => panic!("{word} is no expiry"),
    }
}

pub fn load_options(words: &[&str]) -> LoadOptions {
    words.iter().fold(LoadOptions::new(), |options, word| {
        let (name, figure) = word.split_once(':').unwrap_or_else(|| panic!("{word} is no option"));
        let time = || Duration::from_millis(number(figure));
        match name {
            "ttl" => options.ttl(time()),
            "fresh_for" => options.fresh_for(time()),
            "early" => options.early(number(figure)),
            "absent_for" => options.absent_for(time()),
            #[cfg(feature = "redis")]
            "lease" => options.lease(time()),
            #[cfg(not(feature = "redis"))]
            "lease" => options,
            _ => panic!("{word} is no option"),
        }
    })
}

pub fn format(word: &str) -> Format {
    match word {
        "ndjson" => Format::Ndjson,
        "json" => Format::Json,
        "csv" => Format::Csv,
        "resp" => Format::Resp,
        _ => panic!("{word} is no format"),
    }
}

pub fn status(error: &Error) -> &'static str {
    match error {
        Error::Corrupt { .. } => "corrupt",
        Error::NotAStore { .. } => "not_a_store",
        Error::Locked { .. } => "locked",
        Error::KeyTooLong { .. } => "key_too_long",
        Error::ValueTooLong { .. } => "value_too_long",
        Error::InvalidOption { .. } => "invalid_option",
        Error::NotAnInteger { .. } => "not_an_integer",
        Error::Overflow { .. } => "overflow",
        Error::Closed => "closed",
        Error::ReadOnly { .. } => "read_only",
        Error::Loader { .. } => "loader_failed",
        Error::NotText { .. } => "not_text",
        Error::Import { .. } => "bad_import",
        Error::KeyLocked => "key_locked",
        Error::Conflict => "conflict",
        Error::WrongCodec { .. } => "wrong_codec",
        Error::Codec { .. } => "undecodable",
        #[cfg(feature = "redis")]
        Error::Tier { .. } => "tier",
        _ => "of another kind",
    }
}

pub fn found(value: Option<impl AsRef<[u8]>>) -> String {
    value.map_or("absent".to_owned(), |value| word(value.as_ref()))
}

/// A value and its metadata.
pub fn whole(value: &[u8], metadata: &Metadata) -> String {
    let pairs = metadata.iter().map(|(name, held)| format!("{}={}", word(name.as_bytes()), word(held)));
    std::iter::once(word(value)).chain(pairs).collect::<Vec<_>>().join(" ")
}

/// The lines of a text, each as a word.
pub fn lines(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    list(lines.map(word).collect())
}

/// The text of these lines.
pub fn text(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| [bytes(line), b"\n".to_vec()].concat()).collect()
}

pub fn list(words: Vec<String>) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(" ")
    }
}

pub fn ok(_: ()) -> String {
    "ok".to_owned()
}

pub fn tag(word: &str) -> Tag {
    word.parse().unwrap_or_else(|error| panic!("{error}"))
}
