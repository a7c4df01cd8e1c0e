//! Reading one key: into a buffer, or as a copy.

use super::args::{self, CopyOut, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::status::*;
use crate::{Db, Tag};
use std::ffi::c_void;

/// Copies the value of a key into the caller's buffer.
///
/// Parameters: `db`; `key`, `key_len`; `buffer`, `buffer_len`: where the value goes; `buffer` may be NULL with length 0, to ask
/// for the length; `value_len`: where the value's length is stored, also with KV_TOO_SMALL; `error`: NULL, or where a failure
/// is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Takes no lock and never waits.
/// Errors: KV_NOT_FOUND; KV_TOO_SMALL: nothing was copied; KV_KEY_TOO_LONG, KV_CORRUPT, KV_CLOSED, KV_FORKED,
/// KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_get(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    buffer: *mut c_void,
    buffer_len: usize,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { copy_into(db_of(db)?, (key, key_len), Tag::RAW, (buffer, buffer_len), value_len, error) })
}

/// As `kv_get`, of what `codec` wrote.
///
/// # Safety
/// A1.
#[inline]
pub(super) unsafe fn copy_into(
    db: &Db,
    (key, key_len): (*const c_void, usize),
    codec: Tag,
    (buffer, buffer_len): (*mut c_void, usize),
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> Result<kv_status, Failure> {
    // SAFETY: A1.
    let name = unsafe { args::key(key, key_len)? };
    let len = Out::new(value_len, "value_len")?;
    if buffer.is_null() && buffer_len > 0 {
        return Err(Failure::argument("buffer is NULL and its length is not 0"));
    }
    args::distinct([
        (buffer as usize, buffer_len),
        (key as usize, key_len),
        len.range(),
        place(error).range(),
    ])?;
    // SAFETY: A1; not `copy_nonoverlapping`: the buffer may be anything the caller has, a pinned value too.
    let copied = db.get_as_with(name, codec, |value| unsafe {
        len.put(value.len());
        if value.len() > buffer_len {
            return KV_TOO_SMALL;
        }
        buffer.copy_from(value.as_ptr().cast(), value.len());
        KV_OK
    })?;
    Ok(copied.unwrap_or(KV_NOT_FOUND))
}

/// A copy of the value of a key.
///
/// Parameters: `db`; `key`, `key_len`; `value`, `value_len`: where the copy's address and length are stored; `error`: NULL, or
/// where a failure is stored.
/// Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
/// Threads: any. Takes no lock of the store and never waits for one.
/// Errors: KV_NOT_FOUND; KV_KEY_TOO_LONG, KV_CORRUPT, KV_NO_MEMORY, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT,
/// KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_get_owned(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *mut *mut u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = CopyOut::new(value, value_len, error)?;
        copy_owned(db_of(db)?, args::key(key, key_len)?, Tag::RAW, &out)
    })
}

/// As `kv_get_owned`, of what `codec` wrote.
///
/// # Safety
/// A1.
pub(super) unsafe fn copy_owned(
    db: &Db,
    key: &[u8],
    codec: Tag,
    out: &CopyOut,
) -> Result<kv_status, Failure> {
    // SAFETY: A1.
    let copied = db.get_as_with(key, codec, |value| unsafe { out.give(value) })?;
    copied.unwrap_or(Ok(KV_NOT_FOUND))
}

/// Whether a key has a value.
///
/// Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_OK: it has; KV_NOT_FOUND: it has none; KV_KEY_TOO_LONG, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT,
/// KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_contains(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(found(db_of(db)?.contains(args::key(key, key_len)?)?)) })
}

/// The version of a key's value, for kv_compare_and_swap. Every write of the store gives a higher one.
///
/// Parameters: `db`; `key`, `key_len`; `version`: where it is stored; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_FOUND; KV_KEY_TOO_LONG, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a
/// logger.
#[no_mangle]
pub unsafe extern "C" fn kv_key_version(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    version: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(version, "version")?;
        args::distinct([out.range(), place(error).range()])?;
        let Some(version) = db_of(db)?.version(args::key(key, key_len)?)? else { return Ok(KV_NOT_FOUND) };
        out.put(version);
        Ok(KV_OK)
    })
}

/// How many entries the store has. Those whose time is over count until the background has removed them, about a second.
///
/// Parameters: `db`; `entries`: where the number is stored; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_len(db: *const kv_db, entries: *mut u64, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        let out = Out::new(entries, "entries")?;
        args::distinct([out.range(), place(error).range()])?;
        let db = db_of(db)?;
        db.check_open()?;
        out.put(db.len() as u64);
        Ok(KV_OK)
    })
}

pub(super) fn found(found: bool) -> kv_status {
    if found {
        KV_OK
    } else {
        KV_NOT_FOUND
    }
}
