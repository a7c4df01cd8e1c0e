//! How a store is opened.

use super::args;
use super::error::{guarded, kv_error, Failure};
use super::handle::{self, Handle, Kind};
use super::status::*;
use crate::{Compression, ManualClock, OpenMode, Options, Recover, Sync};
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a store is opened. Opaque; made by kv_options_new.
pub struct kv_options {
    _opaque: [u8; 0],
}

impl Kind for kv_options {
    const MAGIC: u64 = 0x6b76_6f70_7469_6f02;
    type Inner = Mutex<Options>;
}

/// A clock that stands still until it is moved, for tests. Opaque; made by kv_clock_new.
pub struct kv_clock {
    _opaque: [u8; 0],
}

impl Kind for kv_clock {
    const MAGIC: u64 = 0x6b76_636c_6f63_6b03;
    type Inner = Arc<ManualClock>;
}

/// Mode: opens the store, or makes an empty one where there is none. The default.
pub const KV_MODE_CREATE: u32 = 0;
/// Mode: opens the store; that there is none is an error.
pub const KV_MODE_MUST_EXIST: u32 = 1;
/// Mode: opens the store as it is now, for reading, also when another process has it open.
pub const KV_MODE_READ_ONLY: u32 = 2;

/// Sync: each write is on disk before its call returns.
pub const KV_SYNC_ALWAYS: u32 = 0;
/// Sync: each write is on disk at most a period after its call returned. The default, with one second.
pub const KV_SYNC_EVERY: u32 = 1;
/// Sync: when the operating system gets to it, and at close.
pub const KV_SYNC_NEVER: u32 = 2;

/// Recovery: damage fails the open. The default.
pub const KV_RECOVER_STRICT: u32 = 0;
/// Recovery: keeps what is intact; kv_damage_json lists the rest.
pub const KV_RECOVER_SALVAGE: u32 = 1;

/// # Safety
/// A2.
pub(super) unsafe fn change(
    options: *mut kv_options,
    how: impl FnOnce(Options) -> Result<Options, Failure>,
) -> Result<kv_status, Failure> {
    // SAFETY: A2.
    let options = unsafe { Handle::of(options)? };
    let mut options = options.lock().unwrap_or_else(PoisonError::into_inner);
    *options = how(options.clone())?;
    Ok(KV_OK)
}

/// The options behind a handle; the defaults for NULL.
///
/// # Safety
/// A2.
pub(super) unsafe fn read(options: *const kv_options) -> Result<Options, Failure> {
    if options.is_null() {
        return Ok(Options::new());
    }
    // SAFETY: A2.
    let options = unsafe { Handle::of(options)? };
    Ok(options.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Makes options with the defaults.
///
/// Parameters: none.
/// Ownership: the caller owns the result and frees it with kv_options_free.
/// Threads: any.
/// Errors: NULL when the library failed inside.
#[no_mangle]
pub extern "C" fn kv_options_new() -> *mut kv_options {
    let mut made = std::ptr::null_mut();
    guarded(std::ptr::null_mut(), || {
        made = handle::give(Mutex::new(Options::new()));
        Ok(KV_OK)
    });
    made
}

/// Frees options. Stores opened with them are not affected.
///
/// Parameters: `options`, or NULL: then nothing happens.
/// Ownership: `options` is gone afterwards.
/// Threads: any, but no other may be using `options`.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_free(options: *mut kv_options) -> kv_status {
    call!(std::ptr::null_mut(), { handle::free(options) })
}

/// Sets an option by its name, from text: mode (create, must_exist, read_only), sync (always, never, 100ms, 2s, 1m),
/// segment_bytes, value_bytes_max, default_ttl (none, 500ms, 30s, 5m, 1h), compression (off, zstd, zstd:LEVEL,
/// zstd:LEVEL:THRESHOLD_BYTES, zstd-dictionary, zstd-dictionary:LEVEL: docs/compression.md), recover (strict, salvage), listener_queue, listener_replaced,
/// background, ordered_index (true, false), ttl_jitter_percent (0 to 100); and of caches, docs/cache.md: max_entries, max_bytes (none, a number),
/// time_to_idle (none, or a time). With tier_url the store
/// shares its entries through Redis, as docs/tier.md says: tier_url (redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE],
/// redis+unix:///PATH, redis+sentinel://…, redis-cluster://…), tier_username, tier_password, tier_database, tier_prefix, tier_writes (behind, through, refused),
/// tier_reads (true, false), tier_fresh (none, drop, keep), tier_unreachable_is_miss (true, false), tier_timeout,
/// tier_backoff_max (500ms, 2s), tier_unsent_deletes_max, tier_encoder (raw, zstd, zstd:LEVEL, json-from-msgpack,
/// msgpack-from-json, json-from-protobuf:FILE:MESSAGE, protobuf-from-json:FILE:MESSAGE), tier_hashes (refused, json, msgpack), tier_resync_every (none, 5m), tier_shards (1 to 64); a library that was built without
/// the tier refuses them.
///
/// Parameters: `options`; `name`, `value`: texts that end with NUL; `error`: NULL, or where a failure is stored.
/// Ownership: nothing is kept of the texts. A stored error is freed with kv_error_free.
/// Threads: any.
/// Errors: KV_INVALID_OPTION for unknown names and values that cannot be read; KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set(
    options: *mut kv_options,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let (name, value) = (args::text(name, "name")?, args::text(value, "value")?);
        change(options, |options| Ok(options.set(name, value)?))
    })
}

/// Whether a store is made, must exist, or is only read.
///
/// Parameters: `options`; `mode`: KV_MODE_CREATE, KV_MODE_MUST_EXIST or KV_MODE_READ_ONLY.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_mode(options: *mut kv_options, mode: u32) -> kv_status {
    call!(std::ptr::null_mut(), {
        let mode = match mode {
            KV_MODE_CREATE => OpenMode::Create,
            KV_MODE_MUST_EXIST => OpenMode::MustExist,
            KV_MODE_READ_ONLY => OpenMode::ReadOnly,
            _ => return Err(Failure::argument("mode")),
        };
        change(options, |options| Ok(options.mode(mode)))
    })
}

/// When writes reach the disk. In every mode they survive the death of the process.
///
/// Parameters: `options`; `sync`: KV_SYNC_ALWAYS, KV_SYNC_EVERY or KV_SYNC_NEVER; `period_ms`: for KV_SYNC_EVERY, more than 0.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE. A period of 0 is refused by kv_open.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_sync(
    options: *mut kv_options,
    sync: u32,
    period_ms: u64,
) -> kv_status {
    call!(std::ptr::null_mut(), {
        let sync = match sync {
            KV_SYNC_ALWAYS => Sync::Always,
            KV_SYNC_EVERY => Sync::Every(Duration::from_millis(period_ms)),
            KV_SYNC_NEVER => Sync::Never,
            _ => return Err(Failure::argument("sync")),
        };
        change(options, |options| Ok(options.sync(sync)))
    })
}

/// Size that segments of the log grow to.
///
/// Parameters: `options`; `bytes`: 64 KiB to 1 GiB; the default is 64 MiB.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE. A size out of range is refused by kv_open.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_segment_bytes(options: *mut kv_options, bytes: u64) -> kv_status {
    call!(std::ptr::null_mut(), { change(options, |options| Ok(options.segment_bytes(bytes))) })
}

/// Longest value that the store accepts.
///
/// Parameters: `options`; `bytes`: the default is 1 GiB.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE. A size out of range is refused by kv_open.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_value_bytes_max(options: *mut kv_options, bytes: u32) -> kv_status {
    call!(std::ptr::null_mut(), { change(options, |options| Ok(options.value_bytes_max(bytes))) })
}

/// Time to live of entries that are set without an expiry of their own.
///
/// Parameters: `options`; `ttl_ms`: milliseconds; 0, the default: they stay.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_default_ttl(options: *mut kv_options, ttl_ms: u64) -> kv_status {
    call!(std::ptr::null_mut(), {
        let ttl = (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms));
        change(options, |options| Ok(options.default_ttl(ttl)))
    })
}

/// Stores values compressed with zstd, each by itself, where that makes them smaller (with dictionaries: kv_options_set). Pinned reads of such values cost a copy.
///
/// Parameters: `options`; `level`: -7 to 19; `threshold_bytes`: smallest value that is compressed; SIZE_MAX: none is.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE. A level out of range is refused by kv_open.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_compression(
    options: *mut kv_options,
    level: i32,
    threshold_bytes: usize,
) -> kv_status {
    call!(std::ptr::null_mut(), {
        let compression = match threshold_bytes {
            usize::MAX => Compression::Off,
            _ => Compression::Zstd { level, threshold_bytes },
        };
        change(options, |options| Ok(options.compression(compression)))
    })
}

/// What kv_open does about damage.
///
/// Parameters: `options`; `recover`: KV_RECOVER_STRICT or KV_RECOVER_SALVAGE.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_recover(options: *mut kv_options, recover: u32) -> kv_status {
    call!(std::ptr::null_mut(), {
        let recover = match recover {
            KV_RECOVER_STRICT => Recover::Strict,
            KV_RECOVER_SALVAGE => Recover::Salvage,
            _ => return Err(Failure::argument("recover")),
        };
        change(options, |options| Ok(options.recover(recover)))
    })
}

/// Whether expiry and compaction run by themselves from the start. kv_resume starts them later.
///
/// Parameters: `options`; `runs`: 0: no; anything else, the default: yes.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_background(options: *mut kv_options, runs: i32) -> kv_status {
    call!(std::ptr::null_mut(), { change(options, |options| Ok(options.background(runs != 0))) })
}

/// Events that may wait for the listener; what does not fit is dropped and counted.
///
/// Parameters: `options`; `events`: more than 0; the default is 65536.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_ARGUMENT above KV_COUNT_MAX, KV_INVALID_HANDLE. 0 is refused by kv_open.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_listener_queue(options: *mut kv_options, events: usize) -> kv_status {
    call!(std::ptr::null_mut(), {
        if events > super::types::KV_COUNT_MAX {
            return Err(Failure::argument("events"));
        }
        change(options, |options| Ok(options.listener_queue(events)))
    })
}

/// Takes time from a clock that tests move, in place of the machine's.
///
/// Parameters: `options`; `clock`, from kv_clock_new.
/// Ownership: the clock stays the caller's; it may be freed while stores use it: then it stands still.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_clock(options: *mut kv_options, clock: *const kv_clock) -> kv_status {
    call!(std::ptr::null_mut(), {
        let clock = Arc::clone(Handle::of(clock)?);
        change(options, |options| Ok(options.clock(clock)))
    })
}

/// Makes a clock that stands still, for tests.
///
/// Parameters: `unix_ms`: its time, in milliseconds since 1970.
/// Ownership: the caller owns the result and frees it with kv_clock_free.
/// Threads: any.
/// Errors: NULL when the library failed inside.
#[no_mangle]
pub extern "C" fn kv_clock_new(unix_ms: u64) -> *mut kv_clock {
    let mut made = std::ptr::null_mut();
    guarded(std::ptr::null_mut(), || {
        made = handle::give(Arc::new(ManualClock::new(unix_ms)));
        Ok(KV_OK)
    });
    made
}

/// Moves a clock ahead.
///
/// Parameters: `clock`; `by_ms`: how far, in milliseconds.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_clock_advance(clock: *mut kv_clock, by_ms: u64) -> kv_status {
    call!(std::ptr::null_mut(), {
        Handle::of(clock)?.advance(Duration::from_millis(by_ms));
        Ok(KV_OK)
    })
}

/// Frees a clock. Stores that use it see it stand still.
///
/// Parameters: `clock`, or NULL: then nothing happens.
/// Ownership: `clock` is gone afterwards.
/// Threads: any, but no other may be using `clock`.
/// Errors: KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_clock_free(clock: *mut kv_clock) -> kv_status {
    call!(std::ptr::null_mut(), { handle::free(clock) })
}
