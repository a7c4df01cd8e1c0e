//! Between values and bytes.

use crate::tag::Tag;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// Why a value cannot be written, or what stands there is none.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// How values of a type are written and read, for [`Db::typed`](crate::Db::typed). It has the key in hand: what a value means may hang
/// on it.
///
/// `decode` runs under a [`Pin`](crate::Pin), on the bytes where they stand: it must be short, and what waits for pins
/// ([`Db::clear`](crate::Db::clear), [`Db::compact`](crate::Db::compact), [`Db::sweep`](crate::Db::sweep)) fails in it. The bytes
/// have the codec's tag, and whoever shares the store may have written them.
///
/// ```
/// use kv::{Codec, CodecError, Db, Tag};
/// /// Degrees, as four bytes.
/// #[derive(Clone, Default)]
/// struct Degrees;
///
/// impl Codec<f32> for Degrees {
///     const TAG: Tag = Tag::user::<64>();
///     fn encode(&self, _key: &[u8], degrees: &f32, to: &mut Vec<u8>) -> Result<(), CodecError> {
///         to.extend_from_slice(&degrees.to_le_bytes());
///         Ok(())
///     }
///     fn decode(&self, _key: &[u8], bytes: &[u8]) -> Result<f32, CodecError> {
///         Ok(f32::from_le_bytes(bytes.try_into()?))
///     }
/// }
/// let rooms = Db::in_memory()?.typed::<f32, Degrees>();
/// rooms.set(b"kitchen", &21.5)?;
/// assert_eq!(rooms.get(b"kitchen")?, Some(21.5));
/// # Ok::<(), kv::Error>(())
/// ```
pub trait Codec<T> {
    /// What its values are marked with. [`Tag::RAW`] marks nothing, and reads whatever stands there.
    const TAG: Tag;

    /// Appends the bytes of a value.
    ///
    /// # Errors
    /// A value that has no form in this codec: it is not written.
    fn encode(&self, key: &[u8], value: &T, to: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value that the bytes stand for.
    ///
    /// # Errors
    /// The bytes are no such value.
    fn decode(&self, key: &[u8], bytes: &[u8]) -> Result<T, CodecError>;
}

/// JSON, through serde.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const TAG: Tag = Tag::JSON;

    fn encode(&self, _key: &[u8], value: &T, to: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(serde_json::to_writer(to, value)?)
    }

    fn decode(&self, _key: &[u8], bytes: &[u8]) -> Result<T, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl Codec<String> for Text {
    const TAG: Tag = Tag::TEXT;

    fn encode(&self, _key: &[u8], value: &String, to: &mut Vec<u8>) -> Result<(), CodecError> {
        to.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(&self, _key: &[u8], bytes: &[u8]) -> Result<String, CodecError> {
        Ok(std::str::from_utf8(bytes)?.into())
    }
}
