//! What the engine uses of crossbeam-epoch, over the scheduler's threads: a callback runs the moment the last guard is
//! dropped that was held when it was deferred, which is the earliest that the real one may choose.

use scheduled_std::sync::atomic::{AtomicBool, Ordering};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::marker::PhantomData;

type Callback = Box<dyn FnOnce()>;

#[derive(Default)]
struct Epochs {
    last: u64,
    held: BTreeSet<u64>,
    /// Callbacks, and the guards that they wait for.
    deferred: Vec<(BTreeSet<u64>, Callback)>,
}

std::thread_local! {
    // The scheduler's threads all run on one of the system's.
    static EPOCHS: RefCell<Epochs> = RefCell::default();
}

/// What is loaded while it is held stays.
#[derive(Debug)]
pub struct Guard {
    number: u64,
    // Not for another thread, as the real one.
    _here: PhantomData<*const ()>,
}

/// Another thread may run now.
fn switch() {
    AtomicBool::new(false).load(Ordering::SeqCst);
}

fn take() -> u64 {
    switch();
    EPOCHS.with_borrow_mut(|epochs| {
        epochs.last += 1;
        epochs.held.insert(epochs.last);
        epochs.last
    })
}

fn release(number: u64) {
    switch();
    let due: Vec<Callback> = EPOCHS.with_borrow_mut(|epochs| {
        epochs.held.remove(&number);
        epochs.deferred.iter_mut().for_each(|(guards, _)| {
            guards.remove(&number);
        });
        epochs
            .deferred
            .extract_if(.., |(guards, _)| guards.is_empty())
            .map(|(_, callback)| callback)
            .collect()
    });
    due.into_iter().for_each(|callback| callback());
}

/// Takes a guard.
pub fn pin() -> Guard {
    Guard { number: take(), _here: PhantomData }
}

impl Guard {
    /// Runs `callback` once all guards are dropped that are held now, this one included.
    pub fn defer<F: FnOnce() -> R + Send + 'static, R>(&self, callback: F) {
        EPOCHS.with_borrow_mut(|epochs| {
            let callback: Callback = Box::new(|| drop(callback()));
            epochs.deferred.push((epochs.held.clone(), callback));
        });
    }

    /// There is nothing to push on.
    pub fn flush(&self) {}

    /// Drops the guard and takes another.
    pub fn repin(&mut self) {
        release(self.number);
        self.number = take();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        release(self.number);
    }
}
