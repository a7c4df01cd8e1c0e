//! Keys that the store makes up.

use super::args::{self, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::status::*;
use super::types::kv_slice;
use crate::KeyOptions;

/// How generated keys look. All zero means: decimal digits, as wide as any number will ever need.
#[repr(C)]
pub struct kv_key_options {
    /// What stands before the number.
    pub prefix: kv_slice,
    /// Base of the digits, 2 to 62: 0-9a-z up to 36, 0-9A-Za-z above; 0: 10.
    pub base: u32,
    /// Digits of the number, 64 at most; 0: as many as the largest number of this base has. Numbers grow by one for each 32 bytes that
    /// the log takes.
    pub width: u32,
}

/// # Safety
/// A1.
pub(super) unsafe fn key_options_of(options: *const kv_key_options) -> Result<KeyOptions, Failure> {
    // SAFETY: A1.
    let Some(given) = (unsafe { args::optional(options, "options")? }) else { return Ok(KeyOptions::new()) };
    // SAFETY: A1.
    let prefix = unsafe { args::key(given.prefix.data, given.prefix.len)? };
    let base = if given.base == 0 { 10 } else { given.base };
    Ok(KeyOptions::new().prefix(prefix).base(base).width(given.width as usize))
}

/// A key that the store has never given before and that sorts, bytewise, after all that it gave with the same options: also across
/// reopens, the death of the process and the loss of power, whatever the sync option. Nothing is stored under it; whether somebody
/// else has set it is for kv_add or kv_create_generated_and_lock to find out. A copy of the store (a backup, a salvaged or imported
/// one) does not know what the other gives afterwards. Costs 32 bytes of the log.
///
/// Parameters: `db`; `options`: NULL as for all zero; `key`, `key_len`: where the key's address and length are stored; `error`: NULL, or
/// where a failure is stored.
/// Ownership: the caller owns the key and frees it with kv_free.
/// Threads: any.
/// Errors: KV_INVALID_OPTION for a base out of range, and for a width that the next number does not fit; KV_KEY_TOO_LONG; KV_NO_MEMORY; as
/// kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_generate_key(
    db: *const kv_db,
    options: *const kv_key_options,
    key: *mut *mut u8,
    key_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let (to, len) = (Out::new(key, "key")?, Out::new(key_len, "key_len")?);
        args::distinct([to.range(), len.range(), place(error).range()])?;
        let key = db_of(db)?.generate_key(&key_options_of(options)?)?;
        to.put(args::copied(&key)?);
        len.put(key.len());
        Ok(KV_OK)
    })
}
