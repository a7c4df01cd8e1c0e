//! When an entry goes.

use super::args::{self, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place};
use super::read::found;
use super::status::*;
use crate::Ttl;
use std::ffi::c_void;
use std::time::Duration;

/// What kv_ttl stores for an entry that does not expire.
pub const KV_TTL_NEVER: u64 = 18446744073709551615;

/// Lets a key expire some time from now.
///
/// Parameters: `db`; `key`, `key_len`; `ttl_ms`: how long it still has, in milliseconds; `error`: NULL, or where a failure is
/// stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_FOUND when it has no value; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_expire(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    ttl_ms: u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(found(db_of(db)?.expire(args::key(key, key_len)?, Duration::from_millis(ttl_ms))?)) })
}

/// Lets a key expire at a time.
///
/// Parameters: `db`; `key`, `key_len`; `unix_ms`: the time, in milliseconds since 1970; `error`: NULL, or where a failure is
/// stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_FOUND when it has no value; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_expire_at(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    unix_ms: u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(found(db_of(db)?.expire_at(args::key(key, key_len)?, args::time(unix_ms))?)) })
}

/// Starts the store's default time to live anew for a key. In a store without one the entry stays as it is.
///
/// Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_FOUND when it has no value; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_touch(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(found(db_of(db)?.touch(args::key(key, key_len)?)?)) })
}

/// Lets a key never expire.
///
/// Parameters: `db`; `key`, `key_len`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_FOUND when it has no value; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_persist(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { Ok(found(db_of(db)?.persist(args::key(key, key_len)?)?)) })
}

/// How long a key still has.
///
/// Parameters: `db`; `key`, `key_len`; `ttl_ms`: where the milliseconds are stored, or KV_TTL_NEVER; `error`: NULL, or where a
/// failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_FOUND when it has no value; as kv_get.
#[no_mangle]
pub unsafe extern "C" fn kv_ttl(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    ttl_ms: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(ttl_ms, "ttl_ms")?;
        args::distinct([out.range(), place(error).range()])?;
        let Some(ttl) = db_of(db)?.ttl(args::key(key, key_len)?)? else { return Ok(KV_NOT_FOUND) };
        out.put(match ttl {
            Ttl::Never => KV_TTL_NEVER,
            Ttl::Remaining(time) => u64::try_from(time.as_millis()).unwrap_or(KV_TTL_NEVER - 1),
        });
        Ok(KV_OK)
    })
}
