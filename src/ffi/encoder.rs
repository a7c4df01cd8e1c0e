//! What stands in Redis for a value, as functions of the host say.

use super::callbacks::Userdata;
use super::error::Failure;
use super::options::{change, kv_options};
use super::sink::kv_sink;
use super::status::*;
use crate::Options;
use std::ffi::c_void;

/// Whole numbers are written as decimal digits.
pub const KV_NUMBERS_DECIMAL: u32 = 0;
/// Whole numbers are written as MessagePack has them.
pub const KV_NUMBERS_MSGPACK: u32 = 1;

/// Puts the string for a value, or the value for a string, with kv_sink_write (of no bytes for an empty one), and returns KV_OK;
/// anything else, or KV_OK without a kv_sink_write: it fails for this value, and kv_sink_fail may say why. Arguments are valid
/// during the call. Called by threads of the store that send and ask, several at a time perhaps, and by kv_preload; calls into any
/// store give KV_IN_CALLBACK, and while it runs nothing else is sent. It must return: not throw, not longjmp.
pub type kv_encoder = Option<
    unsafe extern "C-unwind" fn(
        userdata: *mut c_void,
        key: *const c_void,
        key_len: usize,
        data: *const c_void,
        len: usize,
        to: *mut kv_sink,
    ) -> i32,
>;

type EncoderFn =
    unsafe extern "C-unwind" fn(*mut c_void, *const c_void, usize, *const c_void, usize, *mut kv_sink) -> i32;

/// Lets functions say what stands in Redis for a value, in place of the option tier_encoder. All stores that share a prefix need
/// the same. A value that `encode` fails for stands here alone: the logger is told, and its key is removed there. What `decode`
/// fails for is no value: its reader gets KV_TIER with the reason.
///
/// Parameters: `options`; `encode`, not NULL: puts the string for a value; `decode`, not NULL: puts the value for a string, which
/// means the same as what `encode` was given; `numbers`: KV_NUMBERS_DECIMAL or KV_NUMBERS_MSGPACK: how values that are whole numbers
/// are written, for kv_increment and kv_increment_shared; `userdata`: passed to both as it is; `error`: NULL, or where a failure is
/// stored.
/// Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned, and each
/// kv_preload that ran then.
/// Threads: see kv_encoder.
/// Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE; KV_INVALID_OPTION of a library that was built without the tier.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_tier_encoder(
    options: *mut kv_options,
    encode: kv_encoder,
    decode: kv_encoder,
    numbers: u32,
    userdata: *mut c_void,
    error: *mut *mut super::error::kv_error,
) -> kv_status {
    call!(error, {
        let (Some(encode), Some(decode)) = (encode, decode) else {
            return Err(Failure::argument("encode or decode is NULL"));
        };
        if numbers > KV_NUMBERS_MSGPACK {
            return Err(Failure::argument(format!("numbers {numbers}: must be 0 or 1")));
        }
        let userdata = Userdata(userdata);
        change(options, |options| with_encoder(options, encode, decode, numbers, userdata))
    })
}

#[cfg(feature = "redis")]
fn with_encoder(
    options: Options,
    encode: EncoderFn,
    decode: EncoderFn,
    numbers: u32,
    userdata: Userdata,
) -> Result<Options, Failure> {
    let numbers = match numbers {
        KV_NUMBERS_MSGPACK => crate::Numbers::MessagePack,
        _ => crate::Numbers::Decimal,
    };
    Ok(options.tier_encoder(of_host::Encoder { encode, decode, numbers, userdata }))
}

#[cfg(not(feature = "redis"))]
fn with_encoder(
    options: Options,
    _: EncoderFn,
    _: EncoderFn,
    _: u32,
    _: Userdata,
) -> Result<Options, Failure> {
    // Refused with the same words as the option by its name.
    Ok(options.set("tier_encoder", "raw")?)
}

#[cfg(feature = "redis")]
mod of_host {
    use super::super::callbacks::Within;
    use super::super::sink;
    use super::{EncoderFn, Userdata};
    use crate::{EncoderError, Numbers};

    pub(super) struct Encoder {
        pub(super) encode: EncoderFn,
        pub(super) decode: EncoderFn,
        pub(super) numbers: Numbers,
        pub(super) userdata: Userdata,
    }

    impl Encoder {
        fn call(&self, function: EncoderFn, key: &[u8], data: &[u8]) -> Result<Vec<u8>, EncoderError> {
            let (key, key_len) = (key.as_ptr().cast(), key.len());
            let brought = sink::filled(Within::Barred, |to| {
                // SAFETY: A4.
                unsafe { function(self.userdata.0, key, key_len, data.as_ptr().cast(), data.len(), to) }
            })?;
            Ok(brought.ok_or("it returned KV_NOT_FOUND")?)
        }
    }

    impl crate::Encoder for Encoder {
        fn encode(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
            self.call(self.encode, key, value)
        }

        fn decode(&self, key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
            self.call(self.decode, key, string)
        }

        fn numbers(&self) -> Numbers {
            self.numbers
        }
    }
}
