//! Arguments: from pointers and lengths to what Rust can hold, and back to where outputs go.

use super::error::{kv_error, place, Failure};
use super::status::*;
use super::types::{kv_slice, KV_COUNT_MAX};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_LIMIT};
use crate::Error;
use std::ffi::{c_char, c_void, CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of the caller.
///
/// # Safety
/// A1 for `len` bytes at `data`.
unsafe fn bytes<'call>(data: *const c_void, len: usize, name: &str) -> Result<&'call [u8], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Failure::argument(format!("{name} is NULL and its length is {len}")));
    }
    // SAFETY: A1; the callers have bounded the length.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

/// # Safety
/// A1.
#[inline]
pub(super) unsafe fn key<'call>(data: *const c_void, len: usize) -> Result<&'call [u8], Failure> {
    if len > KEY_BYTES_MAX {
        return Err(Error::KeyTooLong { len, max: KEY_BYTES_MAX }.into());
    }
    // SAFETY: A1.
    unsafe { bytes(data, len, "key") }
}

/// # Safety
/// A1.
#[inline]
pub(super) unsafe fn value<'call>(data: *const c_void, len: usize) -> Result<&'call [u8], Failure> {
    let max = VALUE_BYTES_MAX_LIMIT as usize;
    if len > max {
        return Err(Error::ValueTooLong { len, max }.into());
    }
    // SAFETY: A1.
    unsafe { bytes(data, len, "value") }
}

/// An array of the caller.
///
/// # Safety
/// A1 for `count` elements at `items`.
pub(super) unsafe fn array<'call, T>(
    items: *const T,
    count: usize,
    name: &str,
) -> Result<&'call [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > KV_COUNT_MAX {
        return Err(Failure::argument(format!("{count} {name}: the limit is {KV_COUNT_MAX}")));
    }
    if items.is_null() || !items.is_aligned() {
        return Err(Failure::argument(format!("{name} is NULL or misaligned")));
    }
    // SAFETY: A1; bounded and aligned.
    Ok(unsafe { std::slice::from_raw_parts(items, count) })
}

/// A struct of the caller; `None` for NULL.
///
/// # Safety
/// A1.
pub(super) unsafe fn optional<'call, T>(item: *const T, name: &str) -> Result<Option<&'call T>, Failure> {
    if !item.is_null() && !item.is_aligned() {
        return Err(Failure::argument(format!("{name} is misaligned")));
    }
    // SAFETY: A1; aligned.
    Ok(unsafe { item.as_ref() })
}

/// The keys of an array.
///
/// # Safety
/// A1 for the array and what its elements lead to.
pub(super) unsafe fn keys<'call>(keys: *const kv_slice, count: usize) -> Result<Vec<&'call [u8]>, Failure> {
    // SAFETY: A1.
    let slices = unsafe { array(keys, count, "keys")? };
    // Not `collect`: through a `Result` it does not know the number, and moves what it has again and again.
    let mut found = Vec::with_capacity(slices.len());
    for slice in slices {
        // SAFETY: A1.
        found.push(unsafe { key(slice.data, slice.len)? });
    }
    Ok(found)
}

/// A text that ends with NUL.
///
/// # Safety
/// A1.
pub(super) unsafe fn text<'call>(text: *const c_char, name: &str) -> Result<&'call str, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{name} is NULL")));
    }
    // SAFETY: A1: it ends with NUL.
    let bytes = unsafe { CStr::from_ptr(text) };
    bytes.to_str().map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

/// # Safety
/// A1.
pub(super) unsafe fn path<'call>(path: *const c_char) -> Result<&'call Path, Failure> {
    if path.is_null() {
        return Err(Failure::argument("path is NULL"));
    }
    // SAFETY: A1: it ends with NUL.
    let bytes = unsafe { CStr::from_ptr(path) };
    if bytes.is_empty() {
        return Err(Failure::argument("path is empty"));
    }
    Ok(Path::new(OsStr::from_bytes(bytes.to_bytes())))
}

/// A Unix time.
pub(super) fn time(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}

/// Where an output goes.
pub(super) struct Out<T> {
    at: *mut T,
}

impl<T> Out<T> {
    /// Where the caller wants it; NULL and misaligned places are refused.
    pub(super) fn new(at: *mut T, name: &str) -> Result<Out<T>, Failure> {
        if at.is_null() || !at.is_aligned() {
            return Err(Failure::argument(format!("{name} is NULL or misaligned")));
        }
        Ok(Out { at })
    }

    /// As `new`, but NULL means that the caller does not want it.
    pub(super) fn optional(at: *mut T, name: &str) -> Result<Out<T>, Failure> {
        if !at.is_aligned() {
            return Err(Failure::argument(format!("{name} is misaligned")));
        }
        Ok(Out { at })
    }

    /// A place that was checked elsewhere.
    pub(super) fn unchecked(at: *mut T) -> Out<T> {
        Out { at }
    }

    /// Whether the caller wants it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.at.is_null()
    }

    /// The memory it takes.
    #[inline]
    pub(super) fn range(&self) -> (usize, usize) {
        (self.at as usize, if self.at.is_null() { 0 } else { size_of::<T>() })
    }

    /// Stores the output.
    ///
    /// # Safety
    /// A1.
    #[inline]
    pub(super) unsafe fn put(&self, value: T) {
        if !self.at.is_null() {
            // SAFETY: A1; checked to be aligned.
            unsafe { self.at.write(value) };
        }
    }
}

/// Where a copy of bytes goes that the caller will own.
pub(super) struct CopyOut {
    to: Out<*mut u8>,
    len: Out<usize>,
}

impl CopyOut {
    /// Its address and its length, which are stored apart from each other and from the error.
    pub(super) fn new(
        value: *mut *mut u8,
        value_len: *mut usize,
        error: *mut *mut kv_error,
    ) -> Result<CopyOut, Failure> {
        let (to, len) = (Out::new(value, "value")?, Out::new(value_len, "value_len")?);
        distinct([to.range(), len.range(), place(error).range()])?;
        Ok(CopyOut { to, len })
    }

    /// Stores a copy of what there is.
    ///
    /// # Safety
    /// A1.
    pub(super) unsafe fn give(&self, bytes: &[u8]) -> Result<kv_status, Failure> {
        let copy = copied(bytes)?;
        // SAFETY: A1.
        unsafe {
            self.to.put(copy);
            self.len.put(bytes.len());
        }
        Ok(KV_OK)
    }

    /// The same, of what was found.
    ///
    /// # Safety
    /// A1.
    pub(super) unsafe fn give_found(&self, found: Option<Vec<u8>>) -> Result<kv_status, Failure> {
        // SAFETY: A1.
        found.map_or(Ok(KV_NOT_FOUND), |bytes| unsafe { self.give(&bytes) })
    }
}

/// Refuses memory, as address and length, that overlaps.
#[inline]
pub(super) fn distinct<const N: usize>(ranges: [(usize, usize); N]) -> Result<(), Failure> {
    for (at, a) in ranges.iter().enumerate() {
        for b in ranges.iter().skip(at + 1) {
            let apart = a.0.saturating_add(a.1) <= b.0 || b.0.saturating_add(b.1) <= a.0;
            if !apart && a.1 > 0 && b.1 > 0 {
                return Err(Failure::argument("outputs overlap each other or an input"));
            }
        }
    }
    Ok(())
}

/// Memory that `kv_free` frees; not NULL, even without bytes.
pub(super) fn allocate(len: usize) -> Result<*mut u8, Failure> {
    // SAFETY: malloc may be called with any size.
    let memory = unsafe { libc::malloc(len.max(1)) };
    if memory.is_null() {
        return Err(Failure::new(KV_NO_MEMORY, format!("no memory for {len} bytes")));
    }
    Ok(memory.cast())
}

/// A copy that the caller owns.
pub(super) fn copied(bytes: &[u8]) -> Result<*mut u8, Failure> {
    let memory = allocate(bytes.len())?;
    // SAFETY: the memory was just allocated for so many bytes.
    unsafe { memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    Ok(memory)
}
