//! Failures with their text, and the boundary that no panic crosses.

use super::args::Out;
use super::handle::{self, Handle, Kind};
use super::status::*;
use crate::Error;
use std::ffi::{c_char, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Why a call failed: a status and a text with the facts. Opaque.
pub struct kv_error {
    _opaque: [u8; 0],
}

pub(super) struct Reported {
    status: kv_status,
    text: CString,
}

impl Kind for kv_error {
    const MAGIC: u64 = 0x6b76_6572_726f_7201;
    type Inner = Reported;
}

/// What a body may fail with.
pub(super) struct Failure {
    status: kv_status,
    text: String,
}

impl Failure {
    pub(super) fn new(status: kv_status, text: impl Into<String>) -> Failure {
        Failure { status, text: text.into() }
    }

    pub(super) fn argument(text: impl Into<String>) -> Failure {
        Failure::new(KV_INVALID_ARGUMENT, text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { status: kv_status::from(&error), text: error.to_string() }
    }
}

pub(super) type Outcome = Result<kv_status, Failure>;

/// Runs `body`; turns what it fails with, a panic included, into a status, and into `error` unless that is NULL.
#[inline]
pub(super) fn guarded(error: *mut *mut kv_error, body: impl FnOnce() -> Outcome) -> kv_status {
    // What a panic leaves half done are the store's own structures, which are safe to use after one (P9).
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        if !error.is_null() && !error.is_aligned() {
            return KV_INVALID_ARGUMENT;
        }
        match body() {
            Ok(status) => status,
            Err(failure) => report(error, failure),
        }
    }));
    outcome.unwrap_or(KV_INTERNAL)
}

#[cold]
fn report(error: *mut *mut kv_error, failure: Failure) -> kv_status {
    let Failure { status, text } = failure;
    if !error.is_null() {
        let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        // SAFETY: A1: not NULL and aligned, as `guarded` has checked.
        unsafe { error.write(handle::give(Reported { status, text })) };
    }
    status
}

/// The status that the call returned which stored this error.
///
/// Parameters: `error`, stored by a call that failed.
/// Ownership: none is taken.
/// Threads: any.
/// Errors: KV_INVALID_HANDLE for NULL and for handles of another kind.
#[no_mangle]
pub unsafe extern "C" fn kv_error_status(error: *const kv_error) -> kv_status {
    call!(std::ptr::null_mut(), { Ok(Handle::of(error)?.status) })
}

/// What went wrong, as a sentence with the facts: file, offset, limit.
///
/// Parameters: `error`, stored by a call that failed.
/// Ownership: the text belongs to `error`, ends with NUL, is UTF-8, and is valid until kv_error_free.
/// Threads: any.
/// Errors: an empty text for NULL and for handles of another kind.
#[no_mangle]
pub unsafe extern "C" fn kv_error_message(error: *const kv_error) -> *const c_char {
    let mut text = c"".as_ptr();
    call!(std::ptr::null_mut(), {
        text = Handle::of(error)?.text.as_ptr();
        Ok(KV_OK)
    });
    text
}

/// Frees an error.
///
/// Parameters: `error`, stored by a call that failed, or NULL: then nothing happens.
/// Ownership: `error` is gone afterwards.
/// Threads: any, but no other may be using `error`.
/// Errors: KV_INVALID_HANDLE for handles of another kind, which stay.
#[no_mangle]
pub unsafe extern "C" fn kv_error_free(error: *mut kv_error) -> kv_status {
    call!(std::ptr::null_mut(), { handle::free(error) })
}

/// An output of `error`'s place, so that no other output may overlap it.
pub(super) fn place(error: *mut *mut kv_error) -> Out<*mut kv_error> {
    Out::unchecked(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(guarded(std::ptr::null_mut(), || panic!("on purpose")), KV_INTERNAL);
    }

    #[test]
    fn a_failure_is_told_with_its_text() {
        let mut error = std::ptr::null_mut();
        let status = guarded(&mut error, || Err(Error::KeyTooLong { len: 70_000, max: 65_535 }.into()));
        assert_eq!(status, KV_KEY_TOO_LONG);
        // SAFETY: A2: the error was just given.
        unsafe {
            assert_eq!(kv_error_status(error), KV_KEY_TOO_LONG);
            let text = std::ffi::CStr::from_ptr(kv_error_message(error));
            assert_eq!(text.to_str(), Ok("key of 70000 bytes: the limit is 65535"));
            assert_eq!(kv_error_free(error), KV_OK);
        }
    }
}
