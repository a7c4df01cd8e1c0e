//! How the log goes on from a full segment to the next. Model: `tests/loom/src/roll.rs`.

use crate::sync::{AtomicPtr, Ordering};

/// Something that can be followed by another of its kind.
pub(crate) trait Link: Sized {
    fn next(&self) -> &Next<Self>;
    /// Afterwards nothing is appended to it.
    fn close(&self);
}

/// Leads to the link behind; null until one is offered.
pub(crate) struct Next<T>(AtomicPtr<T>);

/// Leads to the link that takes appends; never null.
pub(crate) struct Active<T>(AtomicPtr<T>);

/// Outcome of an attempt to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rolled {
    /// Nothing is offered yet.
    NoNext,
    /// What was offered is active now.
    Installed,
    /// The same, and another thread was faster.
    ByAnother,
}

impl<T> Next<T> {
    pub(crate) fn none() -> Next<T> {
        Next(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn offer(&self, next: *const T) {
        // Release: publishes what was prepared; pairs with the Acquire in `get`.
        self.0.store(next.cast_mut(), Ordering::Release);
    }

    fn get(&self) -> *mut T {
        // Acquire: pairs with the Release in `offer`.
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn is_offered(&self) -> bool {
        !self.get().is_null()
    }
}

impl<T> Active<T> {
    pub(crate) fn new(first: *const T) -> Active<T> {
        Active(AtomicPtr::new(first.cast_mut()))
    }

    #[inline]
    pub(crate) fn get(&self) -> *const T {
        // Acquire: pairs with the Release in `roll` and `set`.
        self.0.load(Ordering::Acquire)
    }

    /// Sets the first link, before there are writers.
    pub(crate) fn set(&self, first: *const T) {
        // Release: pairs with the Acquire in `get`.
        self.0.store(first.cast_mut(), Ordering::Release);
    }
}

impl<T: Link> Active<T> {
    /// Makes the link behind `full` the active one, if it is offered.
    pub(crate) fn roll(&self, full: &T) -> Rolled {
        let next = full.next().get();
        if next.is_null() {
            return Rolled::NoNext;
        }
        // A reserve that took tombstones is not full; nothing may follow it while it still takes some.
        full.close();
        let from = std::ptr::from_ref(full).cast_mut();
        // Release: whoever appends to `next` finds `full` closed; pairs with the Acquire in `get`. Whoever loses finds
        // the same link installed.
        match self.0.compare_exchange(from, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Rolled::Installed,
            Err(_) => Rolled::ByAnother,
        }
    }
}
