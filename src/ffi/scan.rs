//! Walking over many entries.

use super::args::{self, Out};
use super::callbacks::{refuse_where_barred, slice};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::handle::{self, Handle, Kind};
use super::status::*;
use super::types::kv_slice;
use crate::{Entry, Scan, ScanOptions};
use std::sync::{Mutex, TryLockError};

/// Bytes of keys and values after which one call of kv_scan_next stops.
const PORTION_BYTES: usize = 4 << 20;

/// A cursor over entries. Opaque; made by kv_scan_open.
pub struct kv_scan {
    _opaque: [u8; 0],
}

impl Kind for kv_scan {
    const MAGIC: u64 = 0x6b76_7363_616e_7307;
    type Inner = Mutex<Cursor>;
}

pub(super) struct Cursor {
    scan: Scan,
    /// What the last call found.
    entries: Vec<Entry>,
    /// The same, as the caller sees it.
    views: Vec<kv_entry>,
    /// What the scan ended with behind those: for the next call.
    failed: Option<crate::Error>,
}

// SAFETY: the addresses in `views` lead into `entries`, which moves along.
unsafe impl Send for Cursor {}

/// Which entries a scan gives. All zero means: all, in no order.
#[repr(C)]
pub struct kv_scan_options {
    /// Only keys that begin with this.
    pub prefix: kv_slice,
    /// Only this key and those behind it, in bytewise order, which is then the scan's.
    pub start: kv_slice,
    /// Only keys before this one, in bytewise order, which is then the scan's. An empty one counts as none; one that is not behind
    /// the start leaves nothing.
    pub end: kv_slice,
    /// At most so many; 0: all.
    pub limit: usize,
    /// Not 0: bytewise by key.
    pub ordered: u32,
    /// Not 0: bytewise by key, the last first.
    pub reverse: u32,
    /// Not 0: all entries as of one moment, which lies between the call and its return: every write that was acknowledged before
    /// the call, and none that began after it. Takes a walk before it begins, and eight bytes an entry; the entries' segments, whose
    /// space compaction cannot give back, stay as long as the cursor. Waits for writes that are under way, not for pins.
    pub snapshot: u32,
}

/// An entry that a scan found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kv_entry {
    /// Its key.
    pub key: kv_slice,
    /// Its value.
    pub value: kv_slice,
    /// Its version.
    pub version: u64,
    /// When it expires, in milliseconds since 1970; 0: never.
    pub expires_at_ms: u64,
    /// Which codec wrote the value, as in kv_set_options.
    pub codec: u32,
}

/// # Safety
/// A1.
pub(super) unsafe fn options_of(options: *const kv_scan_options) -> Result<ScanOptions, Failure> {
    // SAFETY: A1.
    let Some(given) = (unsafe { args::optional(options, "options")? }) else {
        return Ok(ScanOptions::new());
    };
    // SAFETY: A1, for all three.
    let key = |slice: &kv_slice| unsafe { args::key(slice.data, slice.len) };
    let (prefix, start, end) = (key(&given.prefix)?, key(&given.start)?, key(&given.end)?);
    let options = ScanOptions::new().prefix(prefix).start(start).end(end);
    let options =
        options.ordered(given.ordered != 0).reverse(given.reverse != 0).snapshot(given.snapshot != 0);
    Ok(if given.limit > 0 { options.limit(given.limit) } else { options })
}

/// Begins to walk over entries. A key that is there and unchanged throughout appears exactly once; each value is as of the moment
/// it is reached, or with `snapshot` all are as of one. In no order it costs a walk over the index, as the scan goes on. In order it
/// collects the keys that match before it begins, and sorts as many as are asked for; in a store with the option ordered_index
/// it begins at once, in order or by prefix, and costs what it gives.
///
/// Parameters: `db`; `options`: NULL for all entries in no order; `scan`: where the cursor is stored; `error`: NULL, or where a
/// failure is stored.
/// Ownership: the caller owns `*scan` and frees it with kv_scan_free. It holds no guard: it may be kept for long.
/// Threads: any.
/// Errors: KV_KEY_TOO_LONG for prefix, start and end, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a
/// logger.
#[no_mangle]
pub unsafe extern "C" fn kv_scan_open(
    db: *const kv_db,
    options: *const kv_scan_options,
    scan: *mut *mut kv_scan,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(scan, "scan")?;
        args::distinct([out.range(), place(error).range()])?;
        let scan = db_of(db)?.scan(options_of(options)?)?;
        out.put(handle::give(Mutex::new(Cursor {
            scan,
            entries: Vec::new(),
            views: Vec::new(),
            failed: None,
        })));
        Ok(KV_OK)
    })
}

/// The next entries of a scan, many at a time.
///
/// Parameters: `scan`; `entries_max`: more than 0; fewer may come before the end; `entries`, `count`: where the address of the
/// array and its length are stored; a length of 0: that was all; `error`: NULL, or where a failure is stored.
/// Ownership: the array and what it leads to belong to the cursor, and are valid until the next call with it.
/// Threads: any, one at a time.
/// Errors: KV_BUSY when another thread is using the cursor; KV_CORRUPT, KV_CLOSED, KV_FORKED: the scan is over, and what it had found
/// was given by the calls before;
/// KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_scan_next(
    scan: *mut kv_scan,
    entries_max: usize,
    entries: *mut *const kv_entry,
    count: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let cursor = Handle::of(scan)?;
        refuse_where_barred()?;
        let (to, len) = (Out::new(entries, "entries")?, Out::new(count, "count")?);
        args::distinct([to.range(), len.range(), place(error).range()])?;
        if entries_max == 0 {
            return Err(Failure::argument("entries_max is 0"));
        }
        let mut cursor = match cursor.try_lock() {
            Ok(cursor) => cursor,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(KV_BUSY, "another thread is using the cursor"))
            }
        };
        cursor.advance(entries_max)?;
        to.put(cursor.views.as_ptr());
        len.put(cursor.views.len());
        Ok(KV_OK)
    })
}

impl Cursor {
    fn advance(&mut self, entries_max: usize) -> crate::Result<()> {
        self.views.clear();
        self.entries.clear();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut bytes = 0;
        while self.entries.len() < entries_max && bytes < PORTION_BYTES {
            match self.scan.next() {
                Some(Ok(entry)) => {
                    bytes += entry.key.len() + entry.value.len();
                    self.entries.push(entry);
                }
                Some(Err(error)) if self.entries.is_empty() => return Err(error),
                failed => {
                    self.failed = failed.and_then(Result::err);
                    break;
                }
            }
        }
        self.views.extend(self.entries.iter().map(|entry| kv_entry {
            key: slice(&entry.key),
            value: slice(&entry.value),
            version: entry.version,
            expires_at_ms: entry.expires_at_ms.unwrap_or(0),
            codec: entry.codec.number().into(),
        }));
        Ok(())
    }
}

/// Ends a scan.
///
/// Parameters: `scan`, or NULL: then nothing happens.
/// Ownership: `scan`, and the entries that it gave, are gone afterwards.
/// Threads: any, but no other may be using `scan`.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_scan_free(scan: *mut kv_scan) -> kv_status {
    call!(std::ptr::null_mut(), { handle::free(scan) })
}
