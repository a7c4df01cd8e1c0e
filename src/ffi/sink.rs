//! Where functions of the host put what they bring.

use super::args;
use super::callbacks::{within, Within};
use super::handle::{self, Handle, Kind};
use super::status::*;
use crate::limits::VALUE_BYTES_MAX_LIMIT;
use crate::Error;
use std::cell::RefCell;
use std::ffi::c_void;

/// Where a loader or an encoder puts what it brings. Opaque; valid during its call.
pub struct kv_sink {
    _opaque: [u8; 0],
}

#[derive(Default)]
pub(super) struct Filled {
    /// `None` until something is written: a host whose callback is cut off may answer 0, and brought nothing.
    bytes: Option<Vec<u8>>,
    reason: Option<String>,
}

impl Kind for kv_sink {
    const MAGIC: u64 = 0x6b76_7369_6e6b_7306;
    type Inner = RefCell<Filled>;
}

/// Appends bytes to what a loader or an encoder brings.
///
/// Parameters: `sink`: what it was given; `data`, `len`.
/// Ownership: the bytes are copied.
/// Threads: that of the callback.
/// Errors: KV_VALUE_TOO_LONG, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_sink_write(sink: *mut kv_sink, data: *const c_void, len: usize) -> kv_status {
    call!(std::ptr::null_mut(), {
        let piece = args::value(data, len)?;
        let mut filled = Handle::of(sink)?.borrow_mut();
        let bytes = filled.bytes.get_or_insert_with(Vec::new);
        let (len, max) = (bytes.len().saturating_add(piece.len()), VALUE_BYTES_MAX_LIMIT as usize);
        if len > max {
            return Err(Error::ValueTooLong { len, max }.into());
        }
        bytes.extend_from_slice(piece);
        Ok(KV_OK)
    })
}

/// Says why a loader or an encoder fails, for the error of those who wait for it and for the logger. It fails by what it returns.
///
/// Parameters: `sink`: what it was given; `reason`, `reason_len`: text, of which what is not UTF-8 is replaced.
/// Ownership: the text is copied.
/// Threads: that of the callback.
/// Errors: KV_VALUE_TOO_LONG, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE.
#[no_mangle]
pub unsafe extern "C" fn kv_sink_fail(
    sink: *mut kv_sink,
    reason: *const std::ffi::c_char,
    reason_len: usize,
) -> kv_status {
    call!(std::ptr::null_mut(), {
        let reason = args::value(reason.cast(), reason_len)?;
        Handle::of(sink)?.borrow_mut().reason = Some(String::from_utf8_lossy(reason).into_owned());
        Ok(KV_OK)
    })
}

/// What a callback puts into a sink; `None` when it says that there is nothing.
pub(super) fn filled(
    what: Within,
    callback: impl FnOnce(*mut kv_sink) -> i32,
) -> Result<Option<Vec<u8>>, String> {
    let sink = handle::give::<kv_sink>(RefCell::default());
    let status = within(what, || callback(sink));
    // SAFETY: A2: just given, and the callback must not keep it.
    let Filled { bytes, reason } = unsafe { handle::take(sink) }.into_inner();
    match (status, reason) {
        (0, _) => bytes.map(Some).ok_or_else(|| "it wrote no value".into()),
        (1, _) => Ok(None),
        (_, Some(reason)) => Err(reason),
        (other, None) => Err(format!("it returned status {other}")),
    }
}
