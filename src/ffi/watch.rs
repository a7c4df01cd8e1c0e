//! Being told what changes.

use super::args::{self, Out};
use super::batch::kv_pair;
use super::callbacks::{cause_of, refuse_where_barred, slice};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::handle::{self, Handle, Kind};
use super::session::wait_of;
use super::status::*;
use super::types::kv_slice;
use crate::{Change, Waker, Watch, WatchOptions};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// Where a watch begins: with what is written from now on.
pub const KV_WATCH_FROM_NOW: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// A change that a watch tells: the key has this value now.
pub const KV_WATCH_PUT: u32 = 0;
/// A change that a watch tells: the key has no value any more.
pub const KV_WATCH_REMOVED: u32 = 1;
/// A change that a watch tells: no key has a value any more that was set below this version.
pub const KV_WATCH_CLEARED: u32 = 2;

/// Tells what changes. Opaque; made by kv_watch_open.
pub struct kv_watch {
    _opaque: [u8; 0],
}

impl Kind for kv_watch {
    const MAGIC: u64 = 0x6b76_7761_7463_680c;
    type Inner = Watched;
}

pub(super) struct Watched {
    state: Mutex<State>,
    waker: Waker,
}

pub(super) struct State {
    watch: Watch,
    /// What was told last.
    change: Option<Change>,
    /// Its metadata, as the caller sees it.
    pairs: Vec<kv_pair>,
}

// SAFETY: the addresses in `pairs` lead into `change`, which moves along.
unsafe impl Send for State {}

/// A change of the store.
#[repr(C)]
pub struct kv_watch_change {
    /// KV_WATCH_PUT, KV_WATCH_REMOVED or KV_WATCH_CLEARED.
    pub kind: u32,
    /// Of KV_WATCH_REMOVED: KV_CAUSE_DELETED, KV_CAUSE_EXPIRED or KV_CAUSE_EVICTED, which is said also of a copy of what the tier holds that
    /// this store has dropped.
    pub cause: u32,
    /// The key; empty for KV_WATCH_CLEARED.
    pub key: kv_slice,
    /// Of KV_WATCH_PUT: the value.
    pub value: kv_slice,
    /// Version of the change; of an entry that has expired its own. A watch behind it goes on with the next change.
    pub version: u64,
    /// Of KV_WATCH_PUT: when it expires, in milliseconds since 1970; 0: never.
    pub expires_at_ms: u64,
    /// Of KV_WATCH_PUT: names and values of its metadata, and how many.
    pub metadata: *const kv_pair,
    /// See `metadata`.
    pub metadata_count: usize,
    /// Of KV_WATCH_PUT: which codec wrote the value; 0: raw bytes.
    pub codec: u32,
}

/// A watch that is in nobody else's call.
///
/// # Safety
/// A2.
unsafe fn held<'call>(watch: *const kv_watch) -> Result<MutexGuard<'call, State>, Failure> {
    // SAFETY: A2.
    let watched = unsafe { Handle::of(watch)? };
    refuse_where_barred()?;
    match watched.state.try_lock() {
        Ok(state) => Ok(state),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Failure::new(KV_BUSY, "another thread is using the watch")),
    }
}

/// Begins to tell what changes, in the order of versions, which is that of the writes. For each key the newest change behind `after` is told,
/// and older ones as far as they are still in the log; each once. The log is the queue: nothing is kept for who watches, and no writer waits. See
/// docs/watching.md for what holds.
///
/// Parameters: `db`; `prefix`, `prefix_len`: only keys that begin with this; a clear is told to all; `after`: the version up to which an earlier
/// watch has told all (kv_watch_position), also of an earlier run; 0: all that stands, and what follows; KV_WATCH_FROM_NOW; `watch`: where the
/// handle is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns `*watch` and frees it with kv_watch_free. It holds nothing back and keeps no store open.
/// Threads: any. A watch belongs to no thread.
/// Errors: KV_INVALID_OPTION for a version that the store has not reached; KV_KEY_TOO_LONG; KV_READ_ONLY, KV_CLOSED, KV_FORKED,
/// KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_watch_open(
    db: *const kv_db,
    prefix: *const c_void,
    prefix_len: usize,
    after: u64,
    watch: *mut *mut kv_watch,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(watch, "watch")?;
        args::distinct([out.range(), place(error).range()])?;
        let options = WatchOptions::new().prefix(args::key(prefix, prefix_len)?);
        let options = if after == KV_WATCH_FROM_NOW { options } else { options.after(after) };
        let watch = db_of(db)?.watch(options)?;
        let waker = watch.waker();
        let state = Mutex::new(State { watch, change: None, pairs: Vec::new() });
        out.put(handle::give(Watched { state, waker }));
        Ok(KV_OK)
    })
}

/// The next change.
///
/// Parameters: `watch`; `wait_ms`: for how long one is waited for, at most; 0: not at all; KV_WAIT_FOREVER; `change`: where it is stored; `error`:
/// NULL, or where a failure is stored.
/// Ownership: what `*change` leads to belongs to the watch, and is valid until the next kv_watch_next with it.
/// Threads: any, one at a time. kv_watch_wake and kv_close end the wait.
/// Errors: KV_NOT_FOUND: there was none within that time, or kv_watch_wake was called; KV_LAGGED: removals that were not told are not in the log
/// any more; whoever keeps what was told forgets that, for all that stands is told next; KV_CORRUPT for a damaged value: the next call goes on
/// behind it; KV_BUSY when another thread is using the watch; KV_CLOSED: what was not told will be by a watch of the next open, behind this
/// one's position; KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_watch_next(
    watch: *mut kv_watch,
    wait_ms: u64,
    change: *mut kv_watch_change,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(change, "change")?;
        args::distinct([out.range(), place(error).range()])?;
        let mut state = held(watch)?;
        let Some(next) = state.watch.next_change(wait_of(wait_ms))? else { return Ok(KV_NOT_FOUND) };
        out.put(state.tell(next));
        Ok(KV_OK)
    })
}

impl State {
    fn tell(&mut self, change: Change) -> kv_watch_change {
        self.pairs.clear();
        let change = &*self.change.insert(change);
        let key = slice(change.key().unwrap_or_default());
        let version = change.version();
        let (kind, cause) = match change {
            Change::Put(_) => (KV_WATCH_PUT, 0),
            Change::Removed { cause, .. } => (KV_WATCH_REMOVED, cause_of(*cause)),
            Change::Cleared { .. } => (KV_WATCH_CLEARED, 0),
        };
        let mut told = kv_watch_change {
            kind,
            cause,
            key,
            value: slice(&[]),
            version,
            expires_at_ms: 0,
            metadata: std::ptr::null(),
            metadata_count: 0,
            codec: 0,
        };
        if let Change::Put(entry) = change {
            let pair = |(name, value): (&String, &Vec<u8>)| kv_pair {
                key: slice(name.as_bytes()),
                value: slice(value),
            };
            self.pairs.extend(entry.metadata.iter().map(pair));
            told.value = slice(&entry.value);
            told.expires_at_ms = entry.expires_at_ms.unwrap_or(0);
            if !self.pairs.is_empty() {
                (told.metadata, told.metadata_count) = (self.pairs.as_ptr(), self.pairs.len());
            }
            told.codec = u32::from(entry.codec.number());
        }
        told
    }
}

/// The version up to which a watch has told all: what a later one goes on behind.
///
/// Parameters: `watch`; `position`: where it is stored; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any, one at a time.
/// Errors: KV_BUSY when another thread is using the watch; KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_watch_position(
    watch: *const kv_watch,
    position: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(position, "position")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(held(watch)?.watch.position());
        Ok(KV_OK)
    })
}

/// Ends the wait of a kv_watch_next, or of the next one if none waits: it gives KV_NOT_FOUND.
///
/// Parameters: `watch`.
/// Ownership: nothing changes hands.
/// Threads: any, also while another is in kv_watch_next.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_watch_wake(watch: *const kv_watch) -> kv_status {
    call!(std::ptr::null_mut(), {
        Handle::of(watch)?.waker.wake();
        Ok(KV_OK)
    })
}

/// Ends a watch.
///
/// Parameters: `watch`, or NULL: then nothing happens.
/// Ownership: `watch`, and what it told last, are gone afterwards.
/// Threads: any, but no other may be using `watch`.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_watch_free(watch: *mut kv_watch) -> kv_status {
    call!(std::ptr::null_mut(), { handle::free(watch) })
}
