//! Changes that Redis decides, so that they hold for all processes that share a key.

use super::args::{self, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::status::*;
use super::types::{self, kv_set_options, kv_slice};
use super::write::met;
use crate::{Db, Expiry};
use std::ffi::c_void;

/// Adds to the decimal number that a key holds in Redis (0 when it has no value), and keeps its expiry: of all processes that share
/// the key each addition counts, exactly once. What this store has changed before is sent first; the sum stays here as a copy. Costs
/// two round trips, which callers that come at once share.
///
/// Parameters: `db`; `key`, `key_len`; `delta`: what is added; `sum`: NULL, or where the sum is stored; `error`: NULL, or where
/// a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Waits for Redis, for as long as the option tier_timeout says.
/// Errors: KV_TIER: with a message that begins with "tier: not applied" nothing was changed, else no answer came in time and it was
/// applied once or not at all; KV_NOT_AN_INTEGER, KV_OVERFLOW, KV_PINNED when this thread holds a pin, KV_READ_ONLY,
/// KV_KEY_TOO_LONG, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_increment_shared(
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
        out.put(increment(db_of(db)?, args::key(key, key_len)?, delta)?);
        Ok(KV_OK)
    })
}

/// Sets a key if it has no value in Redis: of all processes that share the key one does. See kv_increment_shared.
///
/// Parameters: `db`; `key`, `key_len`; `value`, `value_len`; `options`: NULL, or with which expiry the value is set (condition and codec
/// are ignored: what Redis holds has the codec of the option tier_codec; KV_EXPIRE_KEEP counts as KV_EXPIRE_DEFAULT); `error`: NULL, or
/// where a failure is stored.
/// Ownership: key and value are copied.
/// Threads: any. Waits for Redis, for as long as the option tier_timeout says.
/// Errors: KV_NOT_MET when it has a value; KV_VALUE_TOO_LONG; as kv_increment_shared.
#[no_mangle]
pub unsafe extern "C" fn kv_add_shared(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    options: *const kv_set_options,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let options = args::optional(options, "options")?.copied().unwrap_or_default();
        let expiry = types::expiry(options.expiry, options.expiry_ms)?;
        let (key, value) = (args::key(key, key_len)?, args::value(value, value_len)?);
        Ok(met(add(db_of(db)?, key, value, expiry)?))
    })
}

/// Sets a key, keeping its expiry, if it holds a value in Redis. It compares values, since versions are each store's own. See
/// kv_increment_shared.
///
/// Parameters: `db`; `key`, `key_len`; `expected`: the value that it must hold; NULL: it must have none; `value`, `value_len`;
/// `error`: NULL, or where a failure is stored.
/// Ownership: key and values are copied.
/// Threads: any. Waits for Redis, for as long as the option tier_timeout says.
/// Errors: KV_NOT_MET when it holds another value, or none; as kv_add_shared.
#[no_mangle]
pub unsafe extern "C" fn kv_compare_and_swap_shared(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    expected: *const kv_slice,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let (key, value) = (args::key(key, key_len)?, args::value(value, value_len)?);
        let expected = match args::optional(expected, "expected")? {
            Some(expected) => Some(args::value(expected.data, expected.len)?),
            None => None,
        };
        Ok(met(swap(db_of(db)?, key, expected, value)?))
    })
}

#[cfg(feature = "redis")]
fn increment(db: &Db, key: &[u8], delta: i64) -> Result<i64, Failure> {
    Ok(db.increment_shared(key, delta)?)
}

#[cfg(feature = "redis")]
fn add(db: &Db, key: &[u8], value: &[u8], expiry: Expiry) -> Result<bool, Failure> {
    Ok(db.add_shared(key, value, expiry)?)
}

#[cfg(feature = "redis")]
fn swap(db: &Db, key: &[u8], expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Failure> {
    Ok(db.compare_and_swap_shared(key, expected, value)?)
}

// A build without the tier has no store with one.

#[cfg(not(feature = "redis"))]
fn none<T>(db: &Db) -> Result<T, Failure> {
    db.check_open()?;
    Err(Failure::new(KV_TIER, "tier: not applied: the store has no tier"))
}

#[cfg(not(feature = "redis"))]
fn increment(db: &Db, _key: &[u8], _delta: i64) -> Result<i64, Failure> {
    none(db)
}

#[cfg(not(feature = "redis"))]
fn add(db: &Db, _key: &[u8], _value: &[u8], _expiry: Expiry) -> Result<bool, Failure> {
    none(db)
}

#[cfg(not(feature = "redis"))]
fn swap(db: &Db, _key: &[u8], _expected: Option<&[u8]>, _value: &[u8]) -> Result<bool, Failure> {
    none(db)
}
