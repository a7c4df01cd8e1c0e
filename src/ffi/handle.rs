//! Opaque handles: a magic word, so that one of the wrong kind is refused, and what it stands for.

use super::error::Failure;
use super::status::{kv_status, KV_INVALID_HANDLE, KV_OK};
use std::sync::atomic::{AtomicU64, Ordering};

/// An opaque type of the header.
pub(super) trait Kind {
    /// First word of its handles.
    const MAGIC: u64;
    /// What they hold.
    type Inner;
}

/// What an opaque pointer leads to. The magic word comes first in every kind.
#[repr(C)]
pub(super) struct Handle<I> {
    magic: AtomicU64,
    inner: I,
}

/// Hands what `inner` is to the caller.
pub(super) fn give<K: Kind>(inner: K::Inner) -> *mut K {
    Box::into_raw(Box::new(Handle { magic: AtomicU64::new(K::MAGIC), inner })).cast()
}

#[cold]
fn refused() -> Failure {
    Failure::new(KV_INVALID_HANDLE, "the handle is NULL, or of another kind")
}

fn checked<K: Kind>(handle: *const K) -> Result<*const Handle<K::Inner>, Failure> {
    // The word's own alignment: that of the whole is known only once the kind is.
    if handle.is_null() || !handle.cast::<AtomicU64>().is_aligned() {
        return Err(refused());
    }
    // SAFETY: A2: a handle of any kind begins with its magic word.
    let magic = unsafe { &*handle.cast::<AtomicU64>() };
    // Relaxed: whoever gave the handle to this thread has published it.
    if magic.load(Ordering::Relaxed) != K::MAGIC {
        return Err(refused());
    }
    Ok(handle.cast())
}

impl<I> Handle<I> {
    /// What a handle stands for.
    ///
    /// # Safety
    /// A2; the reference must not outlive the call.
    #[inline]
    pub(super) unsafe fn of<'call, K: Kind<Inner = I>>(handle: *const K) -> Result<&'call I, Failure>
    where
        I: 'call,
    {
        // SAFETY: A2: the word says that it is of this kind; it lives until it is freed.
        Ok(unsafe { &(*checked(handle)?).inner })
    }
}

/// Takes back what `give` handed out; NULL is fine.
///
/// # Safety
/// A2, and nobody else uses the handle any more.
pub(super) unsafe fn free<K: Kind>(handle: *mut K) -> Result<kv_status, Failure> {
    if !handle.is_null() {
        checked(handle)?;
        // SAFETY: A2, and of this kind.
        drop(unsafe { take(handle) });
    }
    Ok(KV_OK)
}

/// What `give` was given.
///
/// # Safety
/// `handle` came from `give`, and this is its last use.
pub(super) unsafe fn take<K: Kind>(handle: *mut K) -> K::Inner {
    let handle: *mut Handle<K::Inner> = handle.cast();
    // SAFETY: the caller's. The word is cleared, so that a second free of memory that was not used again is refused.
    unsafe {
        (*handle).magic.store(0, Ordering::Relaxed);
        Box::from_raw(handle).inner
    }
}
