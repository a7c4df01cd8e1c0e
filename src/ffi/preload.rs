//! Copies of what Redis holds, before anybody asks for them.

use super::args::{self, Out};
use super::callbacks::{within, Within};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::status::*;
use crate::Db;
use std::ffi::c_void;

/// How far a preload has come.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct kv_preloaded {
    /// Where to go on: what a later kv_preload takes to do the rest.
    pub cursor: u64,
    /// Keys looked at in Redis, some perhaps twice.
    pub keys: u64,
    /// Copies that were made, or replaced because Redis holds something else.
    pub copied: u64,
    /// Entries that were removed because Redis does not hold them.
    pub removed: u64,
    /// 1 when nothing is left to do, else 0.
    pub is_complete: u32,
}

/// Hears after each portion how far a preload has come; `done` is valid during the call. Returns anything but 0 to go on, 0 to
/// break off. Called in the thread that called kv_preload, without any lock; it may call the store, but for kv_close and
/// kv_db_free, which give KV_IN_CALLBACK. It must return: not throw, not longjmp.
pub type kv_preload_progress =
    Option<unsafe extern "C-unwind" fn(userdata: *mut c_void, done: *const kv_preloaded) -> i32>;

/// Copies what Redis holds under the keys of a pattern, with the time that is left, and then removes what stands here under such
/// keys and Redis does not hold any more. Changes of this store, sent or not, are not overwritten, and no read waits. Costs a
/// connection while it runs.
///
/// Parameters: `db`; `pattern`, `pattern_len`: 0 to KV_KEY_BYTES_MAX bytes, as Redis' own (`*`, `?`, `[a-c]`, a backslash before what is meant literally), without
/// the option tier_prefix; `cursor`: 0, or where an earlier call came to; a cursor is good as long as Redis runs; `progress`: NULL,
/// or what hears of it, see kv_preload_progress; `userdata`: passed to it as it is; `done`: NULL, or where it is stored what was
/// done; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any; `progress` is called in this thread.
/// Errors: KV_OK also when `progress` breaks it off: then is_complete is 0. KV_TIER when Redis fails, and what `progress` was told
/// last is where to go on: of several shards the others were gone through, the message says which failed, and the cursor leads to these; when no copies are kept because changes by others are not heard; without a tier; as kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_preload(
    db: *const kv_db,
    pattern: *const c_void,
    pattern_len: usize,
    cursor: u64,
    progress: kv_preload_progress,
    userdata: *mut c_void,
    done: *mut kv_preloaded,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(done, "done")?;
        args::distinct([out.range(), place(error).range()])?;
        let pattern = args::key(pattern, pattern_len)?;
        // A host whose callback is cut off answers 0: then it ends, and its caller is told that it is not complete.
        let goes_on = |done: &kv_preloaded| match progress {
            Some(progress) => within(Within::Callback, || progress(userdata, done)) != 0,
            None => true,
        };
        out.put(preload(db_of(db)?, pattern, cursor, goes_on)?);
        Ok(KV_OK)
    })
}

#[cfg(feature = "redis")]
fn preload(
    db: &Db,
    pattern: &[u8],
    cursor: u64,
    mut goes_on: impl FnMut(&kv_preloaded) -> bool,
) -> Result<kv_preloaded, Failure> {
    use std::ops::ControlFlow;
    let told = |done: &crate::Preloaded| kv_preloaded {
        cursor: done.cursor,
        keys: done.keys,
        copied: done.copied,
        removed: done.removed,
        is_complete: u32::from(done.is_complete),
    };
    let done = db.preload(pattern, cursor, |done| match goes_on(&told(done)) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    })?;
    Ok(told(&done))
}

// A build without the tier has no store with one.
#[cfg(not(feature = "redis"))]
fn preload(
    db: &Db,
    _pattern: &[u8],
    _cursor: u64,
    _goes_on: impl FnMut(&kv_preloaded) -> bool,
) -> Result<kv_preloaded, Failure> {
    db.check_open()?;
    Err(Failure::new(KV_TIER, "tier: the store has no tier"))
}
