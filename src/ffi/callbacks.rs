//! Functions of the host that the store calls.

use super::error::{guarded, Failure};
use super::options::{change, kv_options};
use super::status::*;
use super::types::kv_slice;
use crate::{Cause, Event};
use std::cell::Cell;
use std::ffi::{c_char, c_void, CString};

/// Why an entry went: deleted, taken or cleared.
pub const KV_CAUSE_DELETED: u32 = 0;
/// Why an entry went: its time was over.
pub const KV_CAUSE_EXPIRED: u32 = 1;
/// Why an entry went: the store had to make room.
pub const KV_CAUSE_EVICTED: u32 = 2;
/// Why a value went: another was set. Told of with the option listener_replaced.
pub const KV_CAUSE_REPLACED: u32 = 3;

/// An entry that went.
#[repr(C)]
pub struct kv_event {
    /// Its key; valid during the callback.
    pub key: kv_slice,
    /// Its last value; valid during the callback.
    pub value: kv_slice,
    /// Its version.
    pub version: u64,
    /// KV_CAUSE_DELETED, KV_CAUSE_EXPIRED, KV_CAUSE_EVICTED or KV_CAUSE_REPLACED.
    pub cause: u32,
    /// Which codec wrote the value, as in kv_set_options.
    pub codec: u32,
}

/// Hears of an entry that went. Called by a thread of the store that is there for it alone, one event at a time; it may call
/// the store, but for kv_close and kv_db_free, which give KV_IN_CALLBACK. It must return: not throw, not longjmp.
pub type kv_listener = Option<unsafe extern "C-unwind" fn(userdata: *mut c_void, event: *const kv_event)>;

/// Takes a line of text that ends with NUL, valid during the callback. Called by kv_open, and by threads of the store, two
/// at a time perhaps; calls into any store give KV_IN_CALLBACK. It must return: not throw, not longjmp.
pub type kv_logger =
    Option<unsafe extern "C-unwind" fn(userdata: *mut c_void, line: *const c_char, line_len: usize)>;

/// Stores at `weight` what an entry weighs, of its key and its value as the caller gave it, and returns KV_OK; anything else: the entry
/// weighs the bytes of both, which is what stands at `weight` already. Arguments are valid during the call. Called in the thread that writes,
/// or that a copy of the tier comes in, by several at a time, and by kv_open for each entry; calls into any store give KV_IN_CALLBACK. It
/// must be quick, not wait for a thread that calls the store, and return: not throw, not longjmp.
pub type kv_weigher = Option<
    unsafe extern "C-unwind" fn(
        userdata: *mut c_void,
        key: *const c_void,
        key_len: usize,
        value: *const c_void,
        value_len: usize,
        weight: *mut u32,
    ) -> i32,
>;

/// The host's pointer, carried between threads.
#[derive(Clone, Copy)]
pub(super) struct Userdata(pub(super) *mut c_void);

// SAFETY: A4: the host lets any thread use it.
unsafe impl Send for Userdata {}
// SAFETY: A4.
unsafe impl Sync for Userdata {}

/// In which callback a thread is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    Nothing,
    /// A listener, loader, reader or writer.
    Callback,
    /// A logger, an encoder or a weigher, or a thread that is there for these alone.
    Barred,
}

thread_local! {
    // Only refuses what could never return; no outcome is passed through it.
    static WITHIN: Cell<Within> = const { Cell::new(Within::Nothing) };
}

/// Runs a callback, and remembers meanwhile that this thread is in one.
pub(super) fn within<T>(what: Within, call: impl FnOnce() -> T) -> T {
    struct Restore(Within);
    impl Drop for Restore {
        fn drop(&mut self) {
            WITHIN.set(self.0);
        }
    }
    let _restore = Restore(WITHIN.replace(what));
    call()
}

/// Refuses calls from what may run in the thread that the call would wait for.
#[inline]
pub(super) fn refuse_where_barred() -> Result<(), Failure> {
    if WITHIN.get() == Within::Barred {
        return Err(Failure::new(KV_IN_CALLBACK, "a logger, an encoder or a weigher must not call a store"));
    }
    Ok(())
}

/// Refuses to end a store from a callback: ending waits for the thread that calls it.
pub(super) fn refuse_in_callback() -> Result<(), Failure> {
    if WITHIN.get() != Within::Nothing {
        return Err(Failure::new(KV_IN_CALLBACK, "a callback must not end a store"));
    }
    Ok(())
}

pub(super) fn slice(bytes: &[u8]) -> kv_slice {
    // Go takes what lies nowhere for a stray pointer, and NULL for none.
    let data = if bytes.is_empty() { std::ptr::null() } else { bytes.as_ptr().cast() };
    kv_slice { data, len: bytes.len() }
}

type ListenerFn = unsafe extern "C-unwind" fn(*mut c_void, *const kv_event);
type WeigherFn =
    unsafe extern "C-unwind" fn(*mut c_void, *const c_void, usize, *const c_void, usize, *mut u32) -> i32;
type LoggerFn = unsafe extern "C-unwind" fn(*mut c_void, *const c_char, usize);

pub(super) fn cause_of(cause: Cause) -> u32 {
    match cause {
        Cause::Deleted => KV_CAUSE_DELETED,
        Cause::Expired => KV_CAUSE_EXPIRED,
        Cause::Evicted => KV_CAUSE_EVICTED,
        Cause::Replaced => KV_CAUSE_REPLACED,
    }
}

fn tell(listener: ListenerFn, userdata: Userdata, event: &Event) {
    let cause = cause_of(event.cause);
    let (key, value) = (slice(&event.key), slice(&event.value));
    let event = kv_event { key, value, version: event.version, cause, codec: event.codec.number().into() };
    // SAFETY: A4.
    within(Within::Callback, || unsafe { listener(userdata.0, &event) });
}

fn say(logger: LoggerFn, userdata: Userdata, line: &str) {
    let line = CString::new(line.replace('\0', "\u{fffd}")).unwrap_or_default();
    // SAFETY: A4.
    within(Within::Barred, || unsafe { logger(userdata.0, line.as_ptr(), line.as_bytes().len()) });
}

fn weigh(weigher: WeigherFn, userdata: Userdata, key: &[u8], value: &[u8]) -> u32 {
    let bytes = u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX);
    let mut weight = bytes;
    let (key, value) = (slice(key), slice(value));
    // SAFETY: A4; `weight` is this function's.
    let status = within(Within::Barred, || unsafe {
        weigher(userdata.0, key.data, key.len, value.data, value.len, &mut weight)
    });
    if status == KV_OK as i32 {
        weight
    } else {
        bytes
    }
}

/// Says that the calling thread does nothing but run weighers, loggers or encoders, for hosts that cannot run them in the thread that they
/// are called in: from now on calls into any store give KV_IN_CALLBACK there too.
///
/// Parameters: none.
/// Ownership: nothing changes hands.
/// Threads: it holds for the calling thread, until that ends.
/// Errors: none.
#[no_mangle]
pub extern "C" fn kv_bar_thread() -> kv_status {
    guarded(std::ptr::null_mut(), || {
        WITHIN.set(Within::Barred);
        Ok(KV_OK)
    })
}

/// Lets a function say what an entry weighs, in whatever unit the option max_bytes then limits; docs/cache.md. Asked once for each
/// value that is written, and by kv_open for each entry, which reads all values; what it said counts until the entry goes. Without
/// max_bytes kv_open gives KV_INVALID_OPTION.
///
/// Parameters: `options`; `weigher`, not NULL; `userdata`: passed to it as it is.
/// Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned, and each
/// call of such a store that ran then.
/// Threads: `weigher` is called by the threads that write, several at a time; see kv_weigher.
/// Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_weigher(
    options: *mut kv_options,
    weigher: kv_weigher,
    userdata: *mut c_void,
) -> kv_status {
    call!(std::ptr::null_mut(), {
        let Some(weigher) = weigher else { return Err(Failure::argument("weigher")) };
        let userdata = Userdata(userdata);
        change(options, |options| Ok(options.weigher(move |key, value| weigh(weigher, userdata, key, value))))
    })
}

/// Lets a function hear of each entry that is deleted, expires or is evicted, and with the option listener_replaced
/// of each value that another replaces.
///
/// Parameters: `options`; `listener`, not NULL; `userdata`: passed to it as it is.
/// Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned.
/// Threads: `listener` is called by a thread of the store; see kv_listener.
/// Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_listener(
    options: *mut kv_options,
    listener: kv_listener,
    userdata: *mut c_void,
) -> kv_status {
    call!(std::ptr::null_mut(), {
        let Some(listener) = listener else { return Err(Failure::argument("listener")) };
        let userdata = Userdata(userdata);
        change(options, |options| Ok(options.listener(move |event| tell(listener, userdata, event))))
    })
}

/// Lets a function take a line whenever something happens that nobody asked about: recovery, damage, a failed sync.
///
/// Parameters: `options`; `logger`, not NULL; `userdata`: passed to it as it is.
/// Ownership: `userdata` stays the caller's and must live until kv_close of every store opened with these options returned.
/// Threads: `logger` is called by kv_open and by threads of the store, perhaps two at a time; see kv_logger.
/// Errors: KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_options_set_logger(
    options: *mut kv_options,
    logger: kv_logger,
    userdata: *mut c_void,
) -> kv_status {
    call!(std::ptr::null_mut(), {
        let Some(logger) = logger else { return Err(Failure::argument("logger")) };
        let userdata = Userdata(userdata);
        change(options, |options| Ok(options.logger(move |line| say(logger, userdata, line))))
    })
}
