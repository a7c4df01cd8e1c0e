//! Values of one type, written and read by one codec.

mod codec;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(feature = "prost")]
mod protobuf;
mod session;
mod store;

pub use codec::{Codec, CodecError, Json, Text};
#[cfg(feature = "msgpack")]
pub use msgpack::MessagePack;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
#[cfg(feature = "prost")]
pub use protobuf::Protobuf;
pub use session::TypedSession;
pub use store::Store;
