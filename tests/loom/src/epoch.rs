//! The least that keeps the promise of an epoch collector: a grace period ends after every guard that was held when it
//! began has been dropped.

use loom::sync::atomic::{fence, AtomicBool, Ordering};

/// Which of a model's threads hold a guard.
pub(crate) struct Epoch(Vec<AtomicBool>);

pub(crate) struct Guard<'e>(&'e AtomicBool);

impl Epoch {
    pub(crate) fn new(threads: usize) -> Epoch {
        Epoch((0..threads).map(|_| AtomicBool::new(false)).collect())
    }

    pub(crate) fn pin(&self, thread: usize) -> Guard<'_> {
        let held = &self.0[thread];
        held.store(true, Ordering::Relaxed);
        // SeqCst: a thread whose guard a grace period did not see loads what that wrote before it began.
        fence(Ordering::SeqCst);
        Guard(held)
    }

    pub(crate) fn wait_grace(&self) {
        // SeqCst: partner of the fence in `pin`.
        fence(Ordering::SeqCst);
        for held in &self.0 {
            // Acquire: pairs with the Release of the guard's drop.
            while held.load(Ordering::Acquire) {
                loom::thread::yield_now();
            }
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
