//! Tells a forked child from the process that opened the store: its threads do not exist in the child.

use crate::error::{Error, Result};
use crate::reclaim;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Once;

static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn note_fork() {
    // Relaxed: the child has one thread.
    FORKS.fetch_add(1, Ordering::Relaxed);
    reclaim::note_fork();
}

extern "C" fn before_fork() {
    // A thread's variables may have to be allocated at their first use: not in the child.
    let _ = reclaim::is_reading();
}

/// Which of a line of forked processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    pub(crate) fn now() -> Generation {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: in the child, which may be one of a process with threads, only atomics are used and a plain variable of the
            // thread, which `before_fork` has made.
            unsafe { libc::pthread_atfork(Some(before_fork), None, Some(note_fork)) };
        });
        Generation(FORKS.load(Ordering::Relaxed))
    }

    /// Fails in a process that was forked since.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if FORKS.load(Ordering::Relaxed) == self.0 {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }
}
