//! MessagePack, through serde.

use super::codec::{Codec, CodecError};
use crate::tag::Tag;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// MessagePack, through serde. A struct is a map with the names of its fields, as other languages have it. Cargo feature `msgpack`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePack;

impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    const TAG: Tag = Tag::MESSAGE_PACK;

    fn encode(&self, _key: &[u8], value: &T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(rmp_serde::encode::write_named(to, value)?)
    }

    fn decode(&self, _key: &[u8], mut bytes: &[u8]) -> Result<T, CodecError> {
        let value = rmp_serde::from_read(&mut bytes)?;
        match bytes.len() {
            0 => Ok(value),
            left => Err(format!("{left} bytes come behind the value").into()),
        }
    }
}
