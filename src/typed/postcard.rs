//! Postcard, through serde.

use super::codec::{Codec, CodecError};
use crate::tag::Tag;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// Postcard, through serde: the smallest of the ready-made ones, without names, so that a type that changes reads old values wrongly or not
/// at all. Nothing bounds how deep the bytes nest of a type that holds itself: read such types only from stores that nobody else writes, for
/// whoever does can take the reader's stack. (The other codecs refuse what nests too deep.) Cargo feature `postcard`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postcard;

impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
    const TAG: Tag = Tag::POSTCARD;

    fn encode(&self, _key: &[u8], value: &T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        *to = postcard::to_extend(value, std::mem::take(to))?;
        Ok(())
    }

    fn decode(&self, _key: &[u8], bytes: &[u8]) -> Result<T, CodecError> {
        match postcard::take_from_bytes(bytes)? {
            (value, []) => Ok(value),
            (_, rest) => Err(format!("{} bytes come behind the value", rest.len()).into()),
        }
    }
}
