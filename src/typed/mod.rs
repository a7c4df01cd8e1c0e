//! Values of one type, written and read by one codec.

mod codec;
mod store;

pub use codec::{Codec, CodecError, Json, Text};
pub use store::Store;
