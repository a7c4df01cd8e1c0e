//! Who wants to know soon what was appended.

use super::signal::Crowd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Watchers of the log, and the tier.
#[derive(Default)]
pub(crate) struct Followers {
    count: AtomicUsize,
    asleep: Crowd,
}

impl Followers {
    pub(super) fn join(&self) {
        // SeqCst: a resolved point that is stored after this finds the follower; pairs with `are_any`.
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn are_any(&self) -> bool {
        // SeqCst: as in `join`.
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Sleeps until `is_done`, which is asked anew after each `wake`; false if it is not by then.
    pub(crate) fn wait(&self, until: Option<Instant>, is_done: impl Fn() -> bool) -> bool {
        self.asleep.wait_until_or(until, is_done)
    }

    /// Lets everybody look again at what was changed before.
    pub(crate) fn wake(&self) {
        if self.are_any() {
            self.asleep.wake_all();
        }
    }

    /// The same, also of who joins meanwhile: nothing else will wake it.
    pub(super) fn wake_for_good(&self) {
        self.asleep.wake_all();
    }
}
