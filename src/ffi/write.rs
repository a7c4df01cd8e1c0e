//! Writing one key.

use super::args::{self, CopyOut, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place};
use super::read::found;
use super::status::*;
use super::types::kv_set_options;
use std::ffi::c_void;

pub(super) fn met(met: bool) -> kv_status {
    if met {
        KV_OK
    } else {
        KV_NOT_MET
    }
}

/// Sets a key to a value, with the store's default expiry. Visible to every thread when it returns, and as durable as the
/// store's sync option says.
///
/// Parameters: `db`; `key`, `key_len`: 0 to KV_KEY_BYTES_MAX bytes; `value`, `value_len`; `error`: NULL, or where a failure is
/// stored.
/// Ownership: key and value are copied.
/// Threads: any.
/// Errors: KV_KEY_TOO_LONG, KV_VALUE_TOO_LONG, KV_DISK_FULL, KV_IO, KV_SYNC_FAILED (then the value is set, and its durability
/// unknown), KV_READ_ONLY, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_set(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        db_of(db)?.set(args::key(key, key_len)?, args::value(value, value_len)?)?;
        Ok(KV_OK)
    })
}

/// Sets a key to a value under a condition and with an expiry of its own.
///
/// Parameters: `db`; `key`, `key_len`; `value`, `value_len`; `options`: NULL for always, with the default expiry; `version`:
/// NULL, or where the new version is stored; `error`: NULL, or where a failure is stored.
/// Ownership: key and value are copied.
/// Threads: any.
/// Errors: KV_NOT_MET; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_set_with(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    options: *const kv_set_options,
    version: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(version, "version")?;
        args::distinct([out.range(), place(error).range()])?;
        let options = args::optional(options, "options")?.copied().unwrap_or_default().read()?;
        let (key, value) = (args::key(key, key_len)?, args::value(value, value_len)?);
        let Some(version) = db_of(db)?.set_with(key, value, options)? else { return Ok(KV_NOT_MET) };
        out.put(version);
        Ok(KV_OK)
    })
}

/// Sets a key if it has no value.
///
/// Parameters: as kv_set.
/// Ownership: key and value are copied.
/// Threads: any.
/// Errors: KV_NOT_MET when it has a value; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_add(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(met(db_of(db)?.add(args::key(key, key_len)?, args::value(value, value_len)?)?)) })
}

/// Sets a key if it has a value.
///
/// Parameters: as kv_set.
/// Ownership: key and value are copied.
/// Threads: any.
/// Errors: KV_NOT_MET when it has no value; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_replace(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(met(db_of(db)?.replace(args::key(key, key_len)?, args::value(value, value_len)?)?)) })
}

/// Sets a key if its value still has a version, and keeps its expiry.
///
/// Parameters: `db`; `key`, `key_len`; `version`: from kv_key_version; 0: if the key has no value; `value`, `value_len`;
/// `new_version`: NULL, or where the new version is stored; `error`: NULL, or where a failure is stored.
/// Ownership: key and value are copied.
/// Threads: any.
/// Errors: KV_NOT_MET when the value is another; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_compare_and_swap(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    version: u64,
    value: *const c_void,
    value_len: usize,
    new_version: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(new_version, "new_version")?;
        args::distinct([out.range(), place(error).range()])?;
        let (key, value) = (args::key(key, key_len)?, args::value(value, value_len)?);
        let Some(version) = db_of(db)?.compare_and_swap(key, version, value)? else { return Ok(KV_NOT_MET) };
        out.put(version);
        Ok(KV_OK)
    })
}

/// Adds to the decimal number that a key holds (0 when it has no value), and keeps its expiry.
///
/// Parameters: `db`; `key`, `key_len`; `delta`: what is added; `sum`: NULL, or where the sum is stored; `error`: NULL, or where
/// a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_AN_INTEGER, KV_OVERFLOW; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_increment(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    delta: i64,
    sum: *mut i64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(sum, "sum")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(db_of(db)?.increment(args::key(key, key_len)?, delta)?);
        Ok(KV_OK)
    })
}

/// Removes a key.
///
/// Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Works on a full disk.
/// Errors: KV_NOT_FOUND when it had no value; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_delete(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(found(db_of(db)?.delete(args::key(key, key_len)?)?)) })
}

/// Removes a key and gives its value.
///
/// Parameters: `db`; `key`, `key_len`; `value`, `value_len`: where the copy's address and length are stored; `error`: NULL, or
/// where a failure is stored.
/// Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
/// Threads: any. Works on a full disk.
/// Errors: KV_NOT_FOUND when it had no value; KV_NO_MEMORY: the key is removed; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_take(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *mut *mut u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = CopyOut::new(value, value_len, error)?;
        out.give_found(db_of(db)?.take(args::key(key, key_len)?)?)
    })
}
