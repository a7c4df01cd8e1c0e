//! Opening and closing.

use super::args::{self, Out};
use super::callbacks::{refuse_in_callback, refuse_where_barred};
use super::error::{kv_error, place, Failure};
use super::handle::{self, Handle, Kind};
use super::options::{kv_options, read};
use super::status::*;
use crate::Db;
use std::ffi::c_char;

/// An open store. Opaque; made by kv_open and kv_open_in_memory.
pub struct kv_db {
    _opaque: [u8; 0],
}

impl Kind for kv_db {
    const MAGIC: u64 = 0x6b76_6462_6462_6404;
    type Inner = Db;
}

/// The store behind a handle.
///
/// # Safety
/// A2; the reference must not outlive the call.
#[inline]
pub(super) unsafe fn db_of<'call>(db: *const kv_db) -> Result<&'call Db, Failure> {
    // SAFETY: A2.
    let db = unsafe { Handle::of(db)? };
    refuse_where_barred()?;
    Ok(db)
}

/// Opens the store in a directory, or makes one. Everything that was acknowledged before is there; the time it takes grows
/// with the bytes of the log.
///
/// Parameters: `path`: the directory, ending with NUL; `options`: NULL for the defaults; `db`: where the handle is stored;
/// `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns `*db`: kv_close ends the store, kv_db_free frees the handle. Options stay the caller's.
/// Threads: any.
/// Errors: KV_INVALID_OPTION, KV_LOCKED, KV_NOT_A_STORE, KV_UNSUPPORTED_VERSION, KV_CORRUPT, KV_IO, KV_DISK_FULL,
/// KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_open(
    path: *const c_char,
    options: *const kv_options,
    db: *mut *mut kv_db,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        refuse_where_barred()?;
        let out = Out::new(db, "db")?;
        args::distinct([out.range(), place(error).range()])?;
        let opened = read(options)?.open(args::path(path)?)?;
        out.put(handle::give(opened));
        Ok(KV_OK)
    })
}

/// Makes a store in memory: the same engine without files.
///
/// Parameters: `options`: NULL for the defaults; `db`: where the handle is stored; `error`: NULL, or where a failure is
/// stored.
/// Ownership: as kv_open.
/// Threads: any.
/// Errors: KV_INVALID_OPTION, KV_IO without memory, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_open_in_memory(
    options: *const kv_options,
    db: *mut *mut kv_db,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        refuse_where_barred()?;
        let out = Out::new(db, "db")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(handle::give(read(options)?.in_memory()?));
        Ok(KV_OK)
    })
}

/// Ends a store: waits for writes that run, makes all durable, releases the directory. Calls that come later, or run in other
/// threads, give KV_CLOSED; pins go on until they are released. A second close does nothing. The handle stays valid.
///
/// Parameters: `db`; `error`: NULL, or where a failure is stored.
/// Ownership: the handle stays the caller's; kv_db_free frees it.
/// Threads: any, also while others call in; not from a callback.
/// Errors: KV_SYNC_FAILED when what was written could not be made durable; KV_IO, KV_DISK_FULL when the JSON mirror could not be
/// written: the store has ended all the same; KV_FORKED, KV_IN_CALLBACK, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_close(db: *mut kv_db, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        let db = Handle::of(db)?;
        refuse_in_callback()?;
        db.close()?;
        Ok(KV_OK)
    })
}

/// Frees a store's handle, and closes the store first if that was not done. Cursors and pins taken from it stay valid, and keep
/// its memory until they are freed.
///
/// Parameters: `db`, or NULL: then nothing happens.
/// Ownership: `db` is gone afterwards: no call may use it again.
/// Threads: any, but no other may be in a call with `db`; not from a callback.
/// Errors: KV_IN_CALLBACK, KV_INVALID_HANDLE: the handle stays. A failed sync is not reported: call kv_close for that.
#[no_mangle]
pub unsafe extern "C" fn kv_db_free(db: *mut kv_db) -> kv_status {
    call!(std::ptr::null_mut(), {
        if db.is_null() {
            return Ok(KV_OK);
        }
        let open = Handle::of(db)?;
        refuse_in_callback()?;
        // A cursor may hold the store too: it must not stay open because of that. What close reports nobody hears.
        let _ = open.close();
        handle::free(db)
    })
}
