//! Who may still be in memory that was taken out of reach, and waiting until nobody is.
//!
//! Who writes, walks, or stays for long holds a guard of crossbeam-epoch. It costs a full fence, which keeps a processor from
//! overlapping the cache misses of one read with those of the next; so who only reads holds a [`ReadGuard`], a plain store
//! (`readers`). A [`Grace`] waits for both. Cited by SAFETY comments, as I8, T1 and X8 of the modules that free memory:
//!
//! - **G1** What is taken out of reach is freed after a grace period that began afterwards. A guard of either kind that was
//!   taken before a pointer was loaded keeps what the pointer leads to.
//! - **G2** A thread that took a read guard without a fence of its own runs one when a grace period begins (`membarrier`, in
//!   `threads`): if its store was not visible before, then it loaded no pointer before that fence.

#[cfg(not(kv_shuttle))]
mod readers;
#[cfg(not(any(loom, kv_shuttle)))]
mod threads;
#[cfg(kv_shuttle)]
#[path = "scheduled.rs"]
mod threads;

#[cfg(loom)]
pub(crate) use readers::Readers;
#[cfg(not(loom))]
pub(crate) use threads::{is_reading, note_fork, read, ReadGuard};

use crossbeam_epoch::Guard;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A guard is held, of either kind (G1).
#[derive(Clone, Copy)]
pub(crate) struct Protected<'g>(PhantomData<&'g ()>);

impl<'g> From<&'g Guard> for Protected<'g> {
    #[inline]
    fn from(_guard: &'g Guard) -> Protected<'g> {
        Protected(PhantomData)
    }
}

/// A grace period: over when every guard has been dropped that was held when it began.
pub(crate) struct Grace {
    guards_are_gone: Arc<AtomicBool>,
    /// `None`: read guards are not waited for.
    #[cfg(not(loom))]
    readers: Option<threads::ReadersGrace>,
}

impl Grace {
    pub(crate) fn begin() -> Grace {
        Grace {
            #[cfg(not(loom))]
            readers: Some(threads::begin_grace()),
            ..Grace::begin_for_writers()
        }
    }

    /// Waits for guards of crossbeam-epoch alone: for who writes, and not for who reads. Nothing may be freed after it.
    pub(crate) fn begin_for_writers() -> Grace {
        let guards_are_gone = Arc::new(AtomicBool::new(false));
        let signal = Arc::clone(&guards_are_gone);
        let guard = crossbeam_epoch::pin();
        // Epoch callbacks only signal: whoever runs this one must not have to free anything.
        // Release: whatever was done under the guards is over; pairs with the Acquire in `is_over`.
        guard.defer(move || signal.store(true, Ordering::Release));
        // An idle thread's garbage would wait for ever.
        guard.flush();
        drop(guard);
        Grace {
            guards_are_gone,
            #[cfg(not(loom))]
            readers: None,
        }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        // Acquire: what the guards' holders did is visible; pairs with the Release in `begin`.
        if !self.guards_are_gone.load(Ordering::Acquire) {
            // Each pin moves the epoch on.
            crossbeam_epoch::pin().flush();
            return false;
        }
        #[cfg(not(loom))]
        return self.readers.as_mut().is_none_or(threads::ReadersGrace::is_over);
        #[cfg(loom)]
        true
    }
}
