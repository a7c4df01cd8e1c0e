//! Which codec wrote a value: one byte of its record.

use std::fmt;
use std::str::FromStr;

/// Which codec wrote a value. It stands in the value's record, checksummed, and stays with it through compaction, backup and export;
/// so whoever reads with another codec, in whatever language, is told so instead of getting nonsense.
///
/// ```
/// use kv::Tag;
/// const MINE: Tag = Tag::user::<64>();
/// assert_eq!((MINE.to_string(), Tag::JSON.to_string()), ("64".into(), "json".into()));
/// assert_eq!("msgpack".parse(), Ok(Tag::MESSAGE_PACK));
/// assert_eq!(Tag::new(200), "200".parse().ok());
/// assert_eq!(Tag::new(8), None); // not given to any codec yet
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tag(u8);

/// Every tag that has a name.
const NAMES: [(Tag, &str); 8] = [
    (Tag::RAW, "raw"),
    (Tag::JSON, "json"),
    (Tag::MESSAGE_PACK, "msgpack"),
    (Tag::PROTOBUF, "protobuf"),
    (Tag::POSTCARD, "postcard"),
    (Tag::TEXT, "text"),
    (Tag::GOB, "gob"),
    (Tag::PICKLE, "pickle"),
];

/// The first and the last that are a user's own.
const USER: (u8, u8) = (64, 254);

impl Tag {
    /// Bytes, of which the store knows nothing: what every plain write leaves. Who expects it takes any value as it is.
    pub const RAW: Tag = Tag(0);
    /// A JSON text (RFC 8259), UTF-8.
    pub const JSON: Tag = Tag(1);
    /// One MessagePack object.
    pub const MESSAGE_PACK: Tag = Tag(2);
    /// One Protocol Buffers message, without a length before it.
    pub const PROTOBUF: Tag = Tag(3);
    /// One value in the wire format of postcard 1.x.
    pub const POSTCARD: Tag = Tag(4);
    /// UTF-8 text.
    pub const TEXT: Tag = Tag(5);
    /// A stream of Go's `encoding/gob` with one value.
    pub const GOB: Tag = Tag(6);
    /// A pickle of Python's. Only for stores that nobody else can write: reading one runs what it says.
    pub const PICKLE: Tag = Tag(7);

    /// One of a user's own codecs: 64 to 254, checked when compiled. What a number means is agreed on by all who share the store.
    pub const fn user<const NUMBER: u8>() -> Tag {
        const { assert!(NUMBER >= USER.0 && NUMBER <= USER.1, "tags of users are 64 to 254") };
        Tag(NUMBER)
    }

    /// The tag of this number; `None` for those that are kept for later: 8 to 63, and 255.
    pub const fn new(number: u8) -> Option<Tag> {
        match number as usize >= NAMES.len() && (number < USER.0 || number > USER.1) {
            true => None,
            false => Some(Tag(number)),
        }
    }

    /// Its number, as records have it.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether whole numbers in decimal digits are values of it, as far as anybody knows: of a user's own only its users do.
    pub(crate) fn has_decimals(self) -> bool {
        matches!(self, Tag::RAW | Tag::JSON | Tag::TEXT) || self.is_users()
    }

    /// Whether it is one of a user's own.
    pub(crate) fn is_users(self) -> bool {
        (USER.0..=USER.1).contains(&self.0)
    }

    /// What a record says, which a later version may have written.
    pub(crate) const fn found(number: u8) -> Tag {
        Tag(number)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(tag, _)| tag == self) {
            Some((_, name)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

/// A text that names no codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no codec: known are raw, json, msgpack, protobuf, postcard, text, gob, pickle, and the numbers 64 to 254")]
pub struct UnknownTag(String);

impl FromStr for Tag {
    type Err = UnknownTag;

    /// A name, or a number.
    fn from_str(text: &str) -> Result<Tag, UnknownTag> {
        let named = NAMES.iter().find(|(_, name)| *name == text).map(|(tag, _)| *tag);
        named.or_else(|| Tag::new(text.parse().ok()?)).ok_or_else(|| UnknownTag(text.into()))
    }
}

/// A value, and which codec wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) value: Vec<u8>,
    pub(crate) codec: Tag,
}

impl From<Tagged> for Vec<u8> {
    fn from(tagged: Tagged) -> Vec<u8> {
        tagged.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_that_may_be_written_comes_back_from_its_text_and_no_other_does() {
        for number in 0..=u8::MAX {
            let is_given = matches!(number, 0..=7 | 64..=254);
            assert_eq!(Tag::new(number).is_some(), is_given, "{number}");
            assert_eq!(Tag::found(number).to_string().parse().ok(), Tag::new(number), "{number}");
            assert_eq!(number.to_string().parse().ok(), Tag::new(number), "{number}");
        }
        for text in ["", "JSON", "256", "-1", "yaml", "1 "] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }
}
