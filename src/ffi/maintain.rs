//! The store as a whole.

use super::args::{self, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place};
use super::status::*;
use std::ffi::c_char;

/// Removes every entry. Entries written while this runs may go or stay.
///
/// Parameters: `db`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Waits for every pin that is held.
/// Errors: KV_PINNED when this thread holds a pin; KV_DISK_FULL, KV_IO, KV_SYNC_FAILED, KV_READ_ONLY,
/// KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_clear(db: *const kv_db, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        db_of(db)?.clear()?;
        Ok(KV_OK)
    })
}

/// Waits until every write that was acknowledged before this call is on disk. In memory: nothing to do.
///
/// Parameters: `db`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_SYNC_FAILED, KV_READ_ONLY, KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_sync(db: *const kv_db, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        db_of(db)?.sync()?;
        Ok(KV_OK)
    })
}

/// Rewrites the log so that it holds little but what lives, and waits for it. Compaction also runs by itself.
///
/// Parameters: `db`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Waits for every pin that is held.
/// Errors: KV_PINNED when this thread holds a pin; KV_DISK_FULL, KV_IO, KV_SYNC_FAILED, KV_READ_ONLY,
/// KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_compact(db: *const kv_db, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        db_of(db)?.compact()?;
        Ok(KV_OK)
    })
}

/// Removes everything that has expired by now, without waiting for the background to get to it.
///
/// Parameters: `db`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Waits for every pin that is held, if the background does.
/// Errors: KV_PINNED when this thread holds a pin; KV_SYNC_FAILED, KV_READ_ONLY, KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE,
/// KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_sweep(db: *const kv_db, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        db_of(db)?.sweep()?;
        Ok(KV_OK)
    })
}

/// Stops expiry and compaction until kv_resume. Expired entries stay invisible.
///
/// Parameters: `db`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_pause(db: *const kv_db, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        db_of(db)?.pause()?;
        Ok(KV_OK)
    })
}

/// Lets expiry and compaction run again.
///
/// Parameters: `db`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_resume(db: *const kv_db, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        db_of(db)?.resume()?;
        Ok(KV_OK)
    })
}

/// Writes a copy of the store, as of one moment, into a directory. Writers go on. Returns when the copy is on disk.
///
/// Parameters: `db`; `to`: the directory, ending with NUL, which must be empty or not exist; `error`: NULL, or where a failure is
/// stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_A_STORE when the directory holds something; KV_IO, KV_DISK_FULL, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT,
/// KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_backup(
    db: *const kv_db,
    to: *const c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        db_of(db)?.backup(args::path(to)?)?;
        Ok(KV_OK)
    })
}

/// The store's time: it never runs backwards.
///
/// Parameters: `db`; `unix_ms`: where the milliseconds since 1970 are stored; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_now(db: *const kv_db, unix_ms: *mut u64, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        let out = Out::new(unix_ms, "unix_ms")?;
        args::distinct([out.range(), place(error).range()])?;
        let db = db_of(db)?;
        db.check_open()?;
        out.put(db.now_ms());
        Ok(KV_OK)
    })
}
