//! Stores that are looked over, or saved, without being opened.

use super::args::{self, Out};
use super::callbacks::refuse_where_barred;
use super::error::{kv_error, place};
use super::stats::text_for;
use super::status::*;
use std::ffi::c_char;

/// Reads every record of a store and checks it, without writing anything; also of a store that another process has open, as
/// of one moment. Damage is what it reports, not a failure.
///
/// Parameters: `path`: the store's directory, ending with NUL; `damaged`: where the number of damaged places is stored: 0 when
/// the store is sound; `report`: NULL, or where the address of a text is stored: one JSON object with ok, entries, segments,
/// records, committed, log_bytes, live_bytes, and damage, an array of objects with path, offset and reason; `error`: NULL, or
/// where a failure is stored.
/// Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
/// Threads: any. Costs what kv_open costs.
/// Errors: KV_NOT_A_STORE; KV_CORRUPT when no manifest can be read; KV_UNSUPPORTED_VERSION; KV_IO; KV_NO_MEMORY;
/// KV_INVALID_ARGUMENT; KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_verify(
    path: *const c_char,
    damaged: *mut u64,
    report: *mut *mut c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let damaged = Out::new(damaged, "damaged")?;
        let text = Out::optional(report, "report")?;
        args::distinct([damaged.range(), text.range(), place(error).range()])?;
        refuse_where_barred()?;
        let found = crate::db::verify(args::path(path)?)?;
        text_for(&text, || found.to_json())?;
        damaged.put(found.damage.len() as u64);
        Ok(KV_OK)
    })
}

/// Writes every entry of a store that is intact into a new store; expiries stay. Where a delete or an overwrite was lost to the
/// damage, what it hid comes back. On disk when it returns.
///
/// Parameters: `from`: the store's directory; `to`: a directory that is empty or does not exist; both end with NUL; `entries`:
/// NULL, or where the number of those written is stored; `report`: NULL, or as for kv_verify, with the entries written as
/// salvaged; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
/// Threads: any.
/// Errors: as kv_verify; KV_NOT_A_STORE when `to` holds something; KV_DISK_FULL and others of kv_set: part of the entries may be
/// written.
#[no_mangle]
pub unsafe extern "C" fn kv_salvage(
    from: *const c_char,
    to: *const c_char,
    entries: *mut u64,
    report: *mut *mut c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let entries = Out::optional(entries, "entries")?;
        let text = Out::optional(report, "report")?;
        args::distinct([entries.range(), text.range(), place(error).range()])?;
        refuse_where_barred()?;
        let done = crate::db::salvage(args::path(from)?, args::path(to)?)?;
        text_for(&text, || done.to_json())?;
        entries.put(done.entries);
        Ok(KV_OK)
    })
}
