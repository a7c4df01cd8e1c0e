//! How a thread of the store sleeps and is woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// One sleeper, any number that wake it.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
    /// The sleeper waits without a limit and wants to know of the next append.
    idle: AtomicBool,
}

impl Signal {
    /// Wakes the sleeper, now or when it next goes to sleep.
    pub(crate) fn wake(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Wakes the sleeper if it is idle: one load on the append path otherwise.
    pub(crate) fn nudge(&self) {
        // SeqCst: an append moves the tail and then reads this; the sleeper sets it and then reads the tail. One of
        // the two sees the other. Partner: `set_idle`, and the SeqCst `fetch_add` in `Segment::append`.
        if self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Asks for a nudge. The sleeper looks for work once more before it sleeps.
    pub(crate) fn set_idle(&self, idle: bool) {
        // SeqCst: as in `nudge`.
        self.idle.store(idle, Ordering::SeqCst);
    }

    /// Sleeps until woken or for `limit`.
    pub(crate) fn sleep(&self, limit: Option<Duration>) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let mut raised = match limit {
            None => {
                self.changed.wait_while(raised, |raised| !*raised).unwrap_or_else(PoisonError::into_inner)
            }
            Some(limit) => {
                self.changed
                    .wait_timeout_while(raised, limit, |raised| !*raised)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        *raised = false;
    }
}
