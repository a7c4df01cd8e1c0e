//! Reading in place.

use super::args::{self, Out};
use super::callbacks::refuse_where_barred;
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::handle::{self, Handle, Kind};
use super::status::*;
use crate::Pin;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::thread::ThreadId;

/// Lets values be read in place. Opaque; made by kv_pin_open.
pub struct kv_pin {
    _opaque: [u8; 0],
}

impl Kind for kv_pin {
    const MAGIC: u64 = 0x6b76_7069_6e70_6905;
    type Inner = Pinned;
}

pub(super) struct Pinned {
    thread: ThreadId,
    /// Dropped by its own thread only.
    pin: ManuallyDrop<Pin<'static>>,
    /// Values that are stored compressed: they live as long as the pin.
    decompressed: RefCell<Vec<Vec<u8>>>,
}

impl Pinned {
    fn check_thread(&self) -> Result<(), Failure> {
        if self.thread != std::thread::current().id() {
            return Err(Failure::new(KV_WRONG_THREAD, "the pin belongs to the thread that took it"));
        }
        Ok(())
    }
}

/// Takes a pin, under which values are read in place. While one is held, memory of what is removed is not given back: hold it
/// for moments. kv_clear, kv_compact and kv_sweep are refused in a thread that holds one, and wait in other threads until it goes.
///
/// Parameters: `db`; `pin`: where the handle is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns `*pin` and releases it with kv_pin_release. It stays good after kv_close and kv_db_free.
/// Threads: any; the pin belongs to the thread that took it.
/// Errors: KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_pin_open(
    db: *const kv_db,
    pin: *mut *mut kv_pin,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(pin, "pin")?;
        args::distinct([out.range(), place(error).range()])?;
        let pin = ManuallyDrop::new(db_of(db)?.pin_owned()?);
        let thread = std::thread::current().id();
        out.put(handle::give(Pinned { thread, pin, decompressed: RefCell::default() }));
        Ok(KV_OK)
    })
}

/// The value of a key, in place: no copy, unless it is stored compressed.
///
/// Parameters: `pin`; `key`, `key_len`; `value`, `value_len`: where its address and length are stored; `error`: NULL, or where
/// a failure is stored.
/// Ownership: the bytes belong to the store, must not be changed, and are valid until kv_pin_release.
/// Threads: the one that took the pin.
/// Errors: KV_NOT_FOUND; KV_WRONG_THREAD, KV_KEY_TOO_LONG, KV_CORRUPT, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE,
/// KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_pin_get(
    pin: *const kv_pin,
    key: *const c_void,
    key_len: usize,
    value: *mut *const u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let pinned: &Pinned = Handle::of(pin)?;
        pinned.check_thread()?;
        refuse_where_barred()?;
        let (to, len) = (Out::new(value, "value")?, Out::new(value_len, "value_len")?);
        args::distinct([to.range(), len.range(), place(error).range()])?;
        let Some(value) = pinned.pin.get(args::key(key, key_len)?)? else { return Ok(KV_NOT_FOUND) };
        len.put(value.len());
        to.put(match value.into_cow() {
            Cow::Borrowed(bytes) => bytes.as_ptr(),
            Cow::Owned(bytes) => {
                let at = bytes.as_ptr();
                pinned.decompressed.borrow_mut().push(bytes);
                at
            }
        });
        Ok(KV_OK)
    })
}

/// Releases a pin. What kv_pin_get gave is not valid any more.
///
/// Parameters: `pin`, or NULL: then nothing happens.
/// Ownership: `pin` is gone afterwards.
/// Threads: the one that took the pin.
/// Errors: KV_WRONG_THREAD, KV_INVALID_HANDLE: the pin stays.
#[no_mangle]
pub unsafe extern "C" fn kv_pin_release(pin: *mut kv_pin) -> kv_status {
    call!(std::ptr::null_mut(), {
        if pin.is_null() {
            return Ok(KV_OK);
        }
        Handle::of(pin)?.check_thread()?;
        handle::free(pin)
    })
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: `kv_pin_release` checked that this is the pin's thread; dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.pin) };
    }
}
