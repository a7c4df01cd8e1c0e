//! The tier: what a store shares through Redis. It is asked for with the options that begin with tier_.

use super::db::{db_of, kv_db};
use super::error::kv_error;
use super::stats::give_text;
use super::status::*;
use crate::{Db, Result};
use std::ffi::c_char;
use std::time::Duration;

/// Waits until Redis has acknowledged every change that was made before this call. Without a tier there is nothing to wait for.
///
/// Parameters: `db`; `timeout_ms`: for how long at most; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_TIER with what keeps Redis from it, when the time is over: the changes stay and are still sent; KV_CLOSED, KV_FORKED,
/// KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_flush(db: *const kv_db, timeout_ms: u64, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        flush(db_of(db)?, Duration::from_millis(timeout_ms))?;
        Ok(KV_OK)
    })
}

/// Figures of the store's tier as one JSON object: unsent_keys, unsent_bytes and unsent_for_ms, the lag; unsent_deletes, sent_keys,
/// batches, fetches, failures; hears, true or false: changes by others are heard; failing: why Redis cannot be reached, or null. The
/// text null for a store without a tier.
///
/// Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
/// Threads: any. Reads the part of the log that Redis has not acknowledged.
/// Errors: as kv_stats_json.
#[no_mangle]
pub unsafe extern "C" fn kv_tier_stats_json(
    db: *const kv_db,
    text: *mut *mut c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { give_text(text, error, || Ok(stats_json(db_of(db)?)?)) })
}

/// The same in Prometheus' text format, names beginning with kv_tier_; hears and failing are 1 when they hold. An empty text for a
/// store without a tier.
///
/// Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
/// Threads: any. Reads the part of the log that Redis has not acknowledged.
/// Errors: as kv_stats_json.
#[no_mangle]
pub unsafe extern "C" fn kv_tier_stats_prometheus(
    db: *const kv_db,
    text: *mut *mut c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { give_text(text, error, || Ok(stats_prometheus(db_of(db)?)?)) })
}

#[cfg(feature = "redis")]
fn flush(db: &Db, timeout: Duration) -> Result<()> {
    db.flush(timeout)
}

#[cfg(feature = "redis")]
fn stats_json(db: &Db) -> Result<String> {
    Ok(db.tier_stats()?.map_or_else(|| "null".into(), |stats| stats.to_json()))
}

#[cfg(feature = "redis")]
fn stats_prometheus(db: &Db) -> Result<String> {
    Ok(db.tier_stats()?.map_or_else(String::new, |stats| stats.to_prometheus()))
}

// A build without the tier has no store with one.

#[cfg(not(feature = "redis"))]
fn flush(db: &Db, _timeout: Duration) -> Result<()> {
    db.check_open()
}

#[cfg(not(feature = "redis"))]
fn stats_json(db: &Db) -> Result<String> {
    db.check_open().map(|()| "null".into())
}

#[cfg(not(feature = "redis"))]
fn stats_prometheus(db: &Db) -> Result<String> {
    db.check_open().map(|()| String::new())
}
