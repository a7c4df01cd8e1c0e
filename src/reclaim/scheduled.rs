//! In `tests/shuttle`: a read guard is one of its epochs, whose threads are the scheduler's. `readers` has models of its own.

use super::Protected;
use crossbeam_epoch::Guard;
use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<usize> = Cell::new(0);
}

pub(crate) struct ReadGuard(Guard);

impl ReadGuard {
    pub(crate) fn protect(&self) -> Protected<'_> {
        Protected::from(&self.0)
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

pub(crate) fn read() -> ReadGuard {
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    ReadGuard(crossbeam_epoch::pin())
}

pub(crate) fn is_reading() -> bool {
    DEPTH.with(Cell::get) > 0
}

pub(crate) fn note_fork() {}

pub(super) struct ReadersGrace;

impl ReadersGrace {
    pub(super) fn is_over(&mut self) -> bool {
        true
    }
}

pub(super) fn begin_grace() -> ReadersGrace {
    ReadersGrace
}
