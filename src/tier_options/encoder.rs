//! What stands in Redis for a value.

use super::msgpack;
use crate::error::{Error, Result};
use crate::tag::Tag;
use std::sync::Arc;

/// Why a value has no form there, or what stands there is no value.
pub type EncoderError = Box<dyn std::error::Error + Send + Sync>;

/// How values of a store that are whole numbers are written, for what adds to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Numbers {
    /// As decimal digits.
    Decimal,
    /// As MessagePack has them.
    MessagePack,
}

/// What the value becomes that another Redis client keeps as a hash. Fields stand in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hashes {
    /// A JSON object of strings; a field that is no UTF-8 fails its reader.
    Json,
    /// A MessagePack map: what is UTF-8 becomes a string, the rest bytes.
    MessagePack,
}

/// Between the value of a key here and the string in Redis, for [`TierOptions::encoder`](super::TierOptions::encoder). All stores that
/// share a prefix need the same one.
///
/// It is called by the threads of the store that send and ask, and by those who preload: it must not call the store, and while it
/// runs nothing else is sent. What it fails for, or panics with, concerns that value alone.
///
/// ```
/// use kv::{Encoder, EncoderError, TierOptions};
/// /// The store holds text, Redis the same in capitals.
/// struct Capitals;
///
/// impl Encoder for Capitals {
///     fn encode(&self, _key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
///         Ok(std::str::from_utf8(value)?.to_uppercase().into_bytes())
///     }
///     fn decode(&self, _key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
///         Ok(std::str::from_utf8(string)?.to_lowercase().into_bytes())
///     }
/// }
/// let tier = TierOptions::new("redis://cache.example:6379").encoder(Capitals);
/// ```
pub trait Encoder: Send + Sync + 'static {
    /// What Redis is given for a value.
    ///
    /// # Errors
    /// A value that has no form there: the logger is told, and its key is removed there.
    fn encode(&self, key: &[u8], value: &[u8]) -> std::result::Result<Vec<u8>, EncoderError>;

    /// The value for what Redis holds, of no more than `bytes_max` bytes. What `encode` gave comes back as a value that means the same.
    ///
    /// # Errors
    /// What stands there is no value: whoever reads it gets this as the reason.
    fn decode(
        &self,
        key: &[u8],
        string: &[u8],
        bytes_max: usize,
    ) -> std::result::Result<Vec<u8>, EncoderError>;

    /// How values here that are whole numbers are written, for [`Db::increment`](crate::Db::increment) and
    /// [`Db::increment_shared`](crate::Db::increment_shared).
    fn numbers(&self) -> Numbers {
        Numbers::Decimal
    }
}

/// Encoders that are ready made.
pub mod encoders {
    use super::{msgpack, Encoder, EncoderError, Numbers};

    #[cfg(feature = "protobuf")]
    pub use super::super::protobuf::{JsonFromProtobuf, ProtobufFromJson};

    /// The store holds MessagePack, Redis JSON that other clients read. A value that JSON cannot say (bytes, extensions, keys that
    /// are no strings, NaN) is not sent; the order of a map's keys is not kept.
    #[derive(Debug, Clone, Copy)]
    pub struct JsonFromMsgpack;

    impl Encoder for JsonFromMsgpack {
        fn encode(&self, _key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
            Ok(serde_json::to_vec(&msgpack::read(value)?)?)
        }

        fn decode(&self, _key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
            Ok(msgpack::write(&msgpack::from_json(string)?))
        }

        fn numbers(&self) -> Numbers {
            Numbers::MessagePack
        }
    }

    /// The store holds JSON, Redis MessagePack. As [`JsonFromMsgpack`] the other way round.
    #[derive(Debug, Clone, Copy)]
    pub struct MsgpackFromJson;

    impl Encoder for MsgpackFromJson {
        fn encode(&self, _key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
            Ok(msgpack::write(&msgpack::from_json(value)?))
        }

        fn decode(&self, _key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
            Ok(serde_json::to_vec(&msgpack::read(string)?)?)
        }
    }

    /// Redis holds zstd frames, as any zstd reads them, where that makes a value smaller. A string that does not begin as a frame
    /// is a value as it is.
    #[cfg(feature = "zstd")]
    #[derive(Debug, Clone, Copy)]
    pub struct Zstd {
        /// Level of zstd, −7 to 19: higher is smaller and slower.
        pub level: i32,
    }

    #[cfg(feature = "zstd")]
    impl Zstd {
        /// What a frame begins with.
        pub(super) const MAGIC: [u8; 4] = 0xfd2f_b528u32.to_le_bytes();
    }

    #[cfg(feature = "zstd")]
    impl Encoder for Zstd {
        fn encode(&self, _key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
            let frame = zstd::bulk::compress(value, self.level.clamp(-7, 19))?;
            let is_frame = frame.len() < value.len() || value.starts_with(&Self::MAGIC);
            Ok(if is_frame { frame } else { value.to_vec() })
        }

        fn decode(&self, _key: &[u8], string: &[u8], bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
            if !string.starts_with(&Self::MAGIC) {
                return Ok(string.to_vec());
            }
            let claimed = zstd::zstd_safe::get_frame_content_size(string).map_err(|e| e.to_string())?;
            let claimed = claimed.map(usize::try_from).transpose()?;
            Ok(crate::record::unframe(string, claimed, bytes_max)?)
        }
    }
}

/// Reads the name of a ready-made encoder; the inner `None` leaves values as they are.
pub(crate) fn encoder_named(text: &str) -> Option<Option<Arc<dyn Encoder>>> {
    Some(match text {
        "raw" => None,
        "json-from-msgpack" => Some(Arc::new(encoders::JsonFromMsgpack)),
        "msgpack-from-json" => Some(Arc::new(encoders::MsgpackFromJson)),
        #[cfg(feature = "zstd")]
        _ => {
            let level = match text.strip_prefix("zstd")? {
                "" => 3,
                level => level.strip_prefix(':')?.parse().ok().filter(|level| (-7..=19).contains(level))?,
            };
            Some(Arc::new(encoders::Zstd { level }))
        }
        #[cfg(not(feature = "zstd"))]
        _ => return None,
    })
}

/// Reads the name of an encoder of protobuf messages: `json-from-protobuf:FILE:MESSAGE` or `protobuf-from-json:FILE:MESSAGE`.
///
/// # Errors
/// The file cannot be read, or does not describe the message.
#[cfg(feature = "protobuf")]
pub(crate) fn protobuf_named(text: &str) -> Option<std::result::Result<Arc<dyn Encoder>, EncoderError>> {
    let (name, of_what) = text.split_once(':')?;
    let (file, message) = of_what.rsplit_once(':')?;
    Some(match name {
        "json-from-protobuf" => encoders::JsonFromProtobuf::read(file, message).map(|it| Arc::new(it) as _),
        "protobuf-from-json" => encoders::ProtobufFromJson::read(file, message).map(|it| Arc::new(it) as _),
        _ => return None,
    })
}

impl Numbers {
    /// Whether sums are values of a codec, as far as anybody knows.
    pub(crate) fn are_of(self, codec: Tag) -> bool {
        match self {
            Numbers::Decimal => codec.has_decimals(),
            Numbers::MessagePack => codec == Tag::MESSAGE_PACK || codec == Tag::RAW || codec.is_users(),
        }
    }

    /// A value, 0 without one, and `delta`: the sum, and how it is written.
    pub(crate) fn sum(self, value: Option<&[u8]>, delta: i64) -> Result<(i64, Vec<u8>)> {
        match self {
            Numbers::Decimal => {
                let sum = crate::record::sum(value, delta)?;
                Ok((sum, sum.to_string().into_bytes()))
            }
            Numbers::MessagePack => {
                let number = value.map_or(Some(0), |value| msgpack::read(value).ok()?.as_i64());
                let not_one = || Error::NotAnInteger { len: value.map_or(0, <[u8]>::len) };
                let number = number.ok_or_else(not_one)?;
                let sum = number.checked_add(delta).ok_or(Error::Overflow { value: number, delta })?;
                Ok((sum, msgpack::write(&sum.into())))
            }
        }
    }
}

impl Hashes {
    /// The value that a hash becomes, from its fields in any order.
    pub(crate) fn value(self, mut fields: Vec<(Vec<u8>, Vec<u8>)>) -> std::result::Result<Vec<u8>, String> {
        fields.sort();
        match self {
            Hashes::Json => {
                let text = |bytes: Vec<u8>| {
                    let len = bytes.len();
                    String::from_utf8(bytes).map_err(|_| format!("{len} bytes of a hash are no UTF-8"))
                };
                let mut object = serde_json::Map::new();
                for (name, value) in fields {
                    object.insert(text(name)?, text(value)?.into());
                }
                serde_json::to_vec(&object).map_err(|e| e.to_string())
            }
            Hashes::MessagePack => Ok(msgpack::write_fields(&fields)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::encoders::*;
    use super::*;

    #[test]
    fn encoders_have_names_and_what_is_none_is_refused() {
        assert!(encoder_named("raw").unwrap().is_none());
        for name in ["json-from-msgpack", "msgpack-from-json"] {
            assert!(encoder_named(name).unwrap().is_some(), "{name}");
        }
        for name in ["", "json", "zst", "zstd:", "zstd:20", "zstd:3:4", "zstd3"] {
            assert!(encoder_named(name).is_none(), "{name}");
        }
        #[cfg(feature = "zstd")]
        assert!(["zstd", "zstd:-7", "zstd:19"].iter().all(|name| encoder_named(name).unwrap().is_some()));
    }

    #[test]
    fn json_comes_back_as_the_same_msgpack_and_what_it_cannot_say_is_refused() {
        let value =
            msgpack::write(&serde_json::json!({"a": [1, -2, 2.5, null, true], "b": {"c": "\u{e9}\n"}}));
        let json = JsonFromMsgpack.encode(b"", &value).unwrap();
        assert_eq!(json, "{\"a\":[1,-2,2.5,null,true],\"b\":{\"c\":\"\u{e9}\\n\"}}".as_bytes());
        assert_eq!(JsonFromMsgpack.decode(b"", &json, 100).unwrap(), value);
        assert_eq!(MsgpackFromJson.encode(b"", &json).unwrap(), value);
        assert_eq!(MsgpackFromJson.decode(b"", &value, 100).unwrap(), json);
        for no_json in [&b"{\"a\":"[..], b"", b"[1] 2", b"NaN", b"\"\xff\""] {
            assert!(JsonFromMsgpack.decode(b"", no_json, 100).is_err(), "{no_json:?}");
        }
        assert!(JsonFromMsgpack.decode(b"", "[".repeat(100_000).as_bytes(), 100).is_err());
    }

    #[test]
    fn sums_are_written_as_the_values_are() {
        assert_eq!(Numbers::Decimal.sum(Some(b"41"), 1).unwrap(), (42, b"42".to_vec()));
        assert_eq!(Numbers::MessagePack.sum(None, -3).unwrap(), (-3, vec![0xfd]));
        assert_eq!(Numbers::MessagePack.sum(Some(&[0xfd]), 10).unwrap(), (7, vec![7]));
        for no_number in [&b"7 "[..], &[0xa1, b'7'], &[0xcb, 0, 0, 0, 0, 0, 0, 0, 0], b""] {
            let refused = Numbers::MessagePack.sum(Some(no_number), 1);
            assert!(matches!(refused, Err(Error::NotAnInteger { .. })), "{no_number:?}: {refused:?}");
        }
        let most = msgpack::write(&i64::MAX.into());
        assert!(matches!(Numbers::MessagePack.sum(Some(&most), 1), Err(Error::Overflow { .. })));
    }

    #[test]
    fn a_hash_becomes_an_object_or_a_map_in_the_order_of_its_names() {
        let fields = vec![(b"b".to_vec(), b"2".to_vec()), (b"a".to_vec(), b"\"".to_vec())];
        assert_eq!(Hashes::Json.value(fields.clone()).unwrap(), br#"{"a":"\"","b":"2"}"#);
        assert_eq!(Hashes::MessagePack.value(fields).unwrap(), b"\x82\xa1a\xa1\"\xa1b\xa12");
        let no_text = vec![(b"a".to_vec(), vec![0xff])];
        assert!(Hashes::Json.value(no_text.clone()).is_err());
        assert_eq!(Hashes::MessagePack.value(no_text).unwrap(), b"\x81\xa1a\xc4\x01\xff");
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn frames_of_any_zstd_are_read_and_none_for_more_than_is_allowed() {
        let encoder = Zstd { level: 3 };
        let value = b"abc".repeat(1000);
        let frame = encoder.encode(b"", &value).unwrap();
        assert!(frame.len() < 100);
        assert_eq!(encoder.decode(b"", &frame, 3000).unwrap(), value);
        assert!(encoder.decode(b"", &frame, 2999).is_err());
        // One whose length is not said, as a stream makes it.
        let stream = zstd::stream::encode_all(&value[..], 1).unwrap();
        assert_eq!(encoder.decode(b"", &stream, 3000).unwrap(), value);
        assert!(encoder.decode(b"", &stream, 2999).is_err());
        for len in 4..frame.len() {
            assert!(encoder.decode(b"", &frame[..len], 3000).is_err(), "{len} bytes of {}", frame.len());
        }
        // What grows stays as it is, unless it would be taken for a frame.
        assert_eq!(encoder.encode(b"", b"42").unwrap(), b"42");
        assert_eq!(encoder.decode(b"", b"42", 10).unwrap(), b"42");
        let alike = [&Zstd::MAGIC[..], b"x"].concat();
        let frame = encoder.encode(b"", &alike).unwrap();
        assert_eq!((frame == alike, encoder.decode(b"", &frame, 10).unwrap()), (false, alike));
    }
}
