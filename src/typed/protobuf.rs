//! Protocol Buffers, through prost.

use super::codec::{Codec, CodecError};
use crate::tag::Tag;

/// Protocol Buffers messages, through prost. Cargo feature `prost`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Protobuf;

impl<T: prost::Message + Default> Codec<T> for Protobuf {
    const TAG: Tag = Tag::PROTOBUF;

    fn encode(&self, _key: &[u8], value: &T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(value.encode(to)?)
    }

    fn decode(&self, _key: &[u8], bytes: &[u8]) -> Result<T, CodecError> {
        Ok(T::decode(bytes)?)
    }
}
