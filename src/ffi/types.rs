//! Structs that cross the boundary, and the memory that the library gives away.

use super::args;
use super::error::Failure;
use super::status::*;
use crate::{Condition, Expiry, SetOptions, Tag};
use std::ffi::c_void;
use std::time::Duration;

/// Longest key, in bytes.
pub const KV_KEY_BYTES_MAX: usize = 65535;
/// Most elements of an array that is given to one call.
pub const KV_COUNT_MAX: usize = 67108864;

const _: () = assert!(KV_KEY_BYTES_MAX == crate::limits::KEY_BYTES_MAX);

/// Bytes at an address. `data` may be NULL when `len` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_slice {
    /// First byte.
    pub data: *const c_void,
    /// How many.
    pub len: usize,
}

/// A codec: none; the value is bytes. Who expects it takes any value as it is.
pub const KV_CODEC_RAW: u32 = 0;
/// A codec: the value is a JSON text (RFC 8259), UTF-8.
pub const KV_CODEC_JSON: u32 = 1;
/// A codec: the value is one MessagePack object.
pub const KV_CODEC_MSGPACK: u32 = 2;
/// A codec: the value is one Protocol Buffers message, without a length before it.
pub const KV_CODEC_PROTOBUF: u32 = 3;
/// A codec: the value is in the wire format of postcard 1.x, of Rust.
pub const KV_CODEC_POSTCARD: u32 = 4;
/// A codec: the value is UTF-8 text.
pub const KV_CODEC_TEXT: u32 = 5;
/// A codec: the value is a stream of Go's encoding/gob with one value.
pub const KV_CODEC_GOB: u32 = 6;
/// A codec: the value is a pickle of Python's: reading one runs what it says.
pub const KV_CODEC_PICKLE: u32 = 7;
/// The first number for codecs of users' own.
pub const KV_CODEC_USER_MIN: u32 = 64;
/// The last number for codecs of users' own.
pub const KV_CODEC_USER_MAX: u32 = 254;

pub(super) fn codec(number: u32) -> Result<Tag, Failure> {
    let known = u8::try_from(number).ok().and_then(Tag::new);
    known.ok_or_else(|| Failure::argument(format!("codec {number}: must be 0 to 7, or 64 to 254")))
}

/// The condition of a write: whatever stands there.
pub const KV_ALWAYS: u32 = 0;
/// The condition of a write: the key has no value.
pub const KV_IF_ABSENT: u32 = 1;
/// The condition of a write: the key has a value.
pub const KV_IF_PRESENT: u32 = 2;
/// The condition of a write: the key's value has this version; 0: it has none.
pub const KV_IF_VERSION: u32 = 3;

/// Expiry of a write: the store's default time to live, if it has one.
pub const KV_EXPIRE_DEFAULT: u32 = 0;
/// Expiry of a write: never.
pub const KV_EXPIRE_NEVER: u32 = 1;
/// Expiry of a write: `expiry_ms` milliseconds from now.
pub const KV_EXPIRE_AFTER: u32 = 2;
/// Expiry of a write: at the Unix time `expiry_ms`, in milliseconds.
pub const KV_EXPIRE_AT: u32 = 3;
/// Expiry of a write: that of the value which it replaces.
pub const KV_EXPIRE_KEEP: u32 = 4;

/// How a value is set. All zero means: always, with the store's default expiry.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct kv_set_options {
    /// KV_ALWAYS, KV_IF_ABSENT, KV_IF_PRESENT or KV_IF_VERSION.
    pub condition: u32,
    /// KV_EXPIRE_DEFAULT, _NEVER, _AFTER, _AT or _KEEP.
    pub expiry: u32,
    /// For KV_EXPIRE_AFTER and KV_EXPIRE_AT.
    pub expiry_ms: u64,
    /// For KV_IF_VERSION.
    pub version: u64,
    /// Which codec wrote the value: KV_CODEC_RAW, another KV_CODEC_, or a number of one's own.
    pub codec: u32,
}

pub(super) fn expiry(kind: u32, ms: u64) -> Result<Expiry, Failure> {
    Ok(match kind {
        KV_EXPIRE_DEFAULT => Expiry::Default,
        KV_EXPIRE_NEVER => Expiry::Never,
        KV_EXPIRE_AFTER => Expiry::After(Duration::from_millis(ms)),
        KV_EXPIRE_AT => Expiry::At(args::time(ms)),
        KV_EXPIRE_KEEP => Expiry::Keep,
        _ => return Err(Failure::argument(format!("expiry {kind}: must be 0 to 4"))),
    })
}

impl kv_set_options {
    pub(super) fn read(&self) -> Result<SetOptions, Failure> {
        let condition = match self.condition {
            KV_ALWAYS => Condition::Always,
            KV_IF_ABSENT => Condition::IfAbsent,
            KV_IF_PRESENT => Condition::IfPresent,
            KV_IF_VERSION => Condition::IfVersion(self.version),
            other => return Err(Failure::argument(format!("condition {other}: must be 0 to 3"))),
        };
        let options = SetOptions::new().condition(condition).expiry(expiry(self.expiry, self.expiry_ms)?);
        Ok(options.codec(codec(self.codec)?))
    }
}

/// Frees memory that a call of this library gave away: values, arrays of values, texts.
///
/// Parameters: `memory`, or NULL: then nothing happens.
/// Ownership: the memory is gone afterwards. Handles are not freed by this, but by functions of their own.
/// Threads: any.
/// Errors: none.
#[no_mangle]
pub unsafe extern "C" fn kv_free(memory: *mut c_void) {
    call!(std::ptr::null_mut(), {
        libc::free(memory);
        Ok(KV_OK)
    });
}
