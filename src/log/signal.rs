//! How threads sleep and are woken. Model: `tests/loom/src/signal.rs`.

use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// One sleeper, any number that wake it.
#[derive(Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    /// Orders a wake-up after a sleeper that is about to wait.
    sleeping: Mutex<()>,
    changed: Condvar,
    /// The sleeper waits without a limit and wants to know of the next append.
    idle: AtomicBool,
}

impl Signal {
    /// Wakes the sleeper, now or when it next goes to sleep.
    pub(crate) fn wake(&self) {
        // SeqCst: whoever finds it raised leaves the waking to the one who raised it; pairs with the swap in `sleep`.
        if !self.raised.swap(true, Ordering::SeqCst) {
            drop(self.sleeping.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_one();
        }
    }

    /// Wakes the sleeper if it is idle: one load on the append path otherwise.
    pub(crate) fn nudge(&self) {
        // SeqCst: an append moves the tail and then reads this; the sleeper sets it and then reads the tail. One of
        // the two sees the other. Partner: `set_idle`, and the SeqCst `fetch_add` in `TailOffset::reserve`.
        if self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Asks for a nudge. The sleeper looks for work once more before it sleeps.
    pub(crate) fn set_idle(&self, idle: bool) {
        // SeqCst: as in `nudge`.
        self.idle.store(idle, Ordering::SeqCst);
    }

    /// Sleeps until woken or for `limit`; with a limit it may end early. Returns whether it was woken.
    pub(crate) fn sleep(&self, limit: Option<Duration>) -> bool {
        let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        // SeqCst: what was asked for before the signal was raised is seen after this; pairs with `wake`.
        let is_raised = || self.raised.swap(false, Ordering::SeqCst);
        while !is_raised() {
            match limit {
                None => sleeping = self.changed.wait(sleeping).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    drop(self.changed.wait_timeout(sleeping, limit));
                    return is_raised();
                }
            }
        }
        true
    }
}

/// Many sleepers that wait for one thing.
#[derive(Default)]
pub(crate) struct Crowd {
    sleepers: Mutex<usize>,
    changed: Condvar,
}

impl Crowd {
    fn sleepers(&self) -> MutexGuard<'_, usize> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sleep now.
    pub(crate) fn len(&self) -> usize {
        *self.sleepers()
    }

    /// Sleeps until `is_done`, which is asked anew after each `wake_all`.
    pub(crate) fn wait_until(&self, is_done: impl Fn() -> bool) {
        self.wait_until_or(None, is_done);
    }

    /// The same, but no longer than `until`; false if it is not done by then.
    pub(crate) fn wait_until_or(&self, until: Option<Instant>, is_done: impl Fn() -> bool) -> bool {
        let mut sleepers = self.sleepers();
        *sleepers += 1;
        let mut done = is_done();
        while !done {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            sleepers = match left {
                None => self.changed.wait(sleepers).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let woken = self.changed.wait_timeout(sleepers, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            done = is_done();
        }
        *sleepers -= 1;
        done
    }

    /// Lets every sleeper look again. What they look at was changed before.
    pub(crate) fn wake_all(&self) {
        // The lock orders this after a sleeper that looked before the change and is about to wait.
        drop(self.sleepers());
        self.changed.notify_all();
    }
}
