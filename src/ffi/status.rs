//! Codes that every function returns.

use crate::Error;
use std::ffi::{c_char, CStr};

/// Major version of the library that this header belongs to.
pub const KV_VERSION_MAJOR: u32 = 0;
/// Minor version of the library that this header belongs to.
pub const KV_VERSION_MINOR: u32 = 1;
/// Patch version of the library that this header belongs to.
pub const KV_VERSION_PATCH: u32 = 0;

/// Version of the library that this header belongs to, as kv_version gives it.
pub const KV_VERSION: u32 = (KV_VERSION_MAJOR << 16) | (KV_VERSION_MINOR << 8) | KV_VERSION_PATCH;

const fn digits(text: &str) -> u32 {
    let (bytes, mut at, mut number) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        number = number * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    number
}

const _: () = assert!(KV_VERSION_MAJOR == digits(env!("CARGO_PKG_VERSION_MAJOR")));
const _: () = assert!(KV_VERSION_MINOR == digits(env!("CARGO_PKG_VERSION_MINOR")));
const _: () = assert!(KV_VERSION_PATCH == digits(env!("CARGO_PKG_VERSION_PATCH")));

/// Outcome of a call. Values are fixed: a later version may add some, but never changes one. Up to 9 the call did its work,
/// and the code is its answer; from 10 it failed, and nothing was changed unless the function's doc says so.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum kv_status {
    /// Done.
    KV_OK = 0,
    /// The key has no value. Not a failure.
    KV_NOT_FOUND = 1,
    /// The condition of a write did not hold, so nothing was written. Not a failure.
    KV_NOT_MET = 2,
    /// The value does not fit the buffer; the length that it needs was stored. Not a failure.
    KV_TOO_SMALL = 3,
    /// NULL where a pointer must be given, a misaligned pointer, outputs that overlap, or a number that means nothing.
    KV_INVALID_ARGUMENT = 10,
    /// The handle is of another kind.
    KV_INVALID_HANDLE = 11,
    /// An unknown option, or a value that it does not take.
    KV_INVALID_OPTION = 12,
    /// The key is longer than KV_KEY_BYTES_MAX.
    KV_KEY_TOO_LONG = 13,
    /// The value is longer than the store accepts.
    KV_VALUE_TOO_LONG = 14,
    /// The members of a batch need more bytes than one frame of the log can hold.
    KV_BATCH_TOO_LARGE = 15,
    /// The value is no decimal 64-bit integer, so it cannot be incremented.
    KV_NOT_AN_INTEGER = 16,
    /// The increment would leave the range of int64_t.
    KV_OVERFLOW = 17,
    /// An export to one JSON object met bytes that are not UTF-8.
    KV_NOT_TEXT = 18,
    /// An import met a line that it cannot take.
    KV_BAD_IMPORT = 19,
    /// The store was closed.
    KV_CLOSED = 20,
    /// The store belongs to the parent of this forked process.
    KV_FORKED = 21,
    /// The store was opened for reading, or had no space to recover for writing.
    KV_READ_ONLY = 22,
    /// This thread holds a pin, for which the call would wait without end.
    KV_PINNED = 23,
    /// A pin was used by another thread than the one that took it.
    KV_WRONG_THREAD = 24,
    /// The call is not allowed inside a callback.
    KV_IN_CALLBACK = 25,
    /// A loader failed, or asked for its own key.
    KV_LOADER_FAILED = 26,
    /// Another thread is using this cursor or session.
    KV_BUSY = 27,
    /// A progress function ended its export or import.
    KV_CANCELLED = 28,
    /// The operating system refused a file operation, or a reader or writer callback failed.
    KV_IO = 30,
    /// The disk is full. Reads and deletes go on.
    KV_DISK_FULL = 31,
    /// A sync failed: writes are refused until the store is reopened.
    KV_SYNC_FAILED = 32,
    /// Bytes in a file are not what this library wrote there.
    KV_CORRUPT = 33,
    /// The files have a format version that this library does not read.
    KV_UNSUPPORTED_VERSION = 34,
    /// The path holds something that is not a libkv store.
    KV_NOT_A_STORE = 35,
    /// Another process, or another handle of this one, has the store open.
    KV_LOCKED = 36,
    /// The system has no memory left.
    KV_NO_MEMORY = 37,
    /// Redis could not be asked, or did not acknowledge in time. A change that was made stands in the store all the same, and is
    /// sent when Redis answers, unless the message says that it was refused.
    KV_TIER = 38,
    /// Another session has the key, and the time for which this call would wait for it is over.
    KV_KEY_LOCKED = 41,
    /// The key was changed by somebody else while a session had it, so the session's commit changed nothing.
    KV_CONFLICT = 42,
    /// The session was committed or rolled back.
    KV_SESSION_ENDED = 43,
    /// A watch comes too late for what it has missed: whoever keeps what it was told has to forget that, since what stands follows.
    KV_LAGGED = 47,
    /// The value was written by another codec than the one that is to read it.
    KV_WRONG_CODEC = 50,
    /// A defect of the library: a panic was caught.
    KV_INTERNAL = 99,
}

pub(super) use kv_status::*;

/// Every status with its text.
const TEXTS: &[(kv_status, &CStr)] = &[
    (KV_OK, c"done"),
    (KV_NOT_FOUND, c"the key has no value"),
    (KV_NOT_MET, c"the condition of the write did not hold"),
    (KV_TOO_SMALL, c"the buffer is too small for the value"),
    (KV_INVALID_ARGUMENT, c"invalid argument"),
    (KV_INVALID_HANDLE, c"the handle is of another kind"),
    (KV_INVALID_OPTION, c"invalid option"),
    (KV_KEY_TOO_LONG, c"the key is too long"),
    (KV_VALUE_TOO_LONG, c"the value is too long"),
    (KV_BATCH_TOO_LARGE, c"the batch is too large"),
    (KV_NOT_AN_INTEGER, c"the value is not a decimal 64-bit integer"),
    (KV_OVERFLOW, c"the increment overflows a 64-bit integer"),
    (KV_NOT_TEXT, c"bytes that are not UTF-8 cannot be written as JSON"),
    (KV_BAD_IMPORT, c"the import holds something that cannot be taken"),
    (KV_CLOSED, c"the store is closed"),
    (KV_FORKED, c"the store belongs to the parent of this forked process"),
    (KV_READ_ONLY, c"the store is read-only"),
    (KV_PINNED, c"this thread holds a pin"),
    (KV_WRONG_THREAD, c"the pin belongs to another thread"),
    (KV_IN_CALLBACK, c"not allowed inside a callback"),
    (KV_LOADER_FAILED, c"the loader failed"),
    (KV_BUSY, c"another thread is using the cursor or session"),
    (KV_CANCELLED, c"cancelled by the progress function"),
    (KV_IO, c"a file operation failed"),
    (KV_DISK_FULL, c"the disk is full"),
    (KV_SYNC_FAILED, c"a sync failed: writes are refused until the store is reopened"),
    (KV_CORRUPT, c"the files are damaged"),
    (KV_UNSUPPORTED_VERSION, c"the files have a version that this library does not read"),
    (KV_NOT_A_STORE, c"not a libkv store"),
    (KV_LOCKED, c"the store is open elsewhere"),
    (KV_NO_MEMORY, c"no memory left"),
    (KV_TIER, c"Redis could not be asked, or did not acknowledge in time"),
    (KV_KEY_LOCKED, c"another session has the key"),
    (KV_CONFLICT, c"the key was changed since the session read it"),
    (KV_SESSION_ENDED, c"the session was committed or rolled back"),
    (KV_WRONG_CODEC, c"the value was written by another codec"),
    (KV_LAGGED, c"the log no longer tells what the watch has missed"),
    (KV_INTERNAL, c"internal error"),
];

impl From<&Error> for kv_status {
    fn from(error: &Error) -> kv_status {
        match error {
            Error::Io { .. } if error.is_disk_full() => KV_DISK_FULL,
            Error::Io { .. } => KV_IO,
            Error::Corrupt { .. } => KV_CORRUPT,
            Error::UnsupportedVersion { .. } => KV_UNSUPPORTED_VERSION,
            Error::NotAStore { .. } => KV_NOT_A_STORE,
            Error::Locked { .. } => KV_LOCKED,
            Error::KeyTooLong { .. } => KV_KEY_TOO_LONG,
            Error::ValueTooLong { .. } => KV_VALUE_TOO_LONG,
            Error::BatchTooLarge { .. } => KV_BATCH_TOO_LARGE,
            Error::InvalidOption { .. } => KV_INVALID_OPTION,
            Error::NotAnInteger { .. } => KV_NOT_AN_INTEGER,
            Error::Overflow { .. } => KV_OVERFLOW,
            Error::Closed => KV_CLOSED,
            Error::ReadOnly { .. } => KV_READ_ONLY,
            Error::SyncFailed { .. } => KV_SYNC_FAILED,
            Error::Forked => KV_FORKED,
            Error::Pinned { .. } => KV_PINNED,
            Error::Loader { .. } => KV_LOADER_FAILED,
            Error::NotText { .. } => KV_NOT_TEXT,
            Error::Import { .. } => KV_BAD_IMPORT,
            Error::WrongCodec { .. } => KV_WRONG_CODEC,
            // No function of C's has a codec of Rust's.
            Error::Codec { .. } => KV_INTERNAL,
            Error::Cancelled => KV_CANCELLED,
            Error::KeyLocked => KV_KEY_LOCKED,
            Error::Conflict => KV_CONFLICT,
            Error::Lagged { .. } => KV_LAGGED,
            #[cfg(feature = "redis")]
            Error::Tier { .. } => KV_TIER,
        }
    }
}

/// The text of a status.
///
/// Parameters: `status`, any integer; what is no status gives "unknown status".
/// Ownership: the text is static and ends with NUL.
/// Threads: any.
/// Errors: none.
#[no_mangle]
pub extern "C" fn kv_strerror(status: i32) -> *const c_char {
    let known = TEXTS.iter().find(|(known, _)| *known as i32 == status);
    known.map_or(c"unknown status".as_ptr(), |(_, text)| text.as_ptr())
}

/// The version of the library that runs: major * 65536 + minor * 256 + patch. Compare with the KV_VERSION_ macros, which are
/// those of the header.
///
/// Parameters: none.
/// Ownership: none.
/// Threads: any.
/// Errors: none.
#[no_mangle]
pub extern "C" fn kv_version() -> u32 {
    KV_VERSION
}

/// The version of the library that runs, as text.
///
/// Parameters: none.
/// Ownership: the text is static and ends with NUL.
/// Threads: any.
/// Errors: none.
#[no_mangle]
pub extern "C" fn kv_version_text() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
