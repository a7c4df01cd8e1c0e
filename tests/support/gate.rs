//! A gate between two steps of a store's threads: it holds one thread until it is opened, by the test or by the
//! maintenance thread's first wait. So a race is a schedule, the same with a mechanism and without.

use kv::testing::{Hooks, Point};
use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A schedule that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);

thread_local! {
    static HELD_AT: Cell<Option<Point>> = const { Cell::new(None) };
}

#[derive(Default)]
struct State {
    /// Where the maintenance thread is held.
    maintenance: Option<Point>,
    arrived: bool,
    began: bool,
    waits: u32,
    open: bool,
}

#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    pub fn hooks(self: &Arc<Self>) -> Hooks {
        let gate = Arc::clone(self);
        Hooks::new(move |point| gate.at(point))
    }

    fn at(&self, point: Point) {
        let is_maintenance = std::thread::current().name() == Some("kv-maintenance");
        let is_held = match is_maintenance {
            true => self.state().maintenance.take_if(|at| *at == point).is_some(),
            false => HELD_AT.get() == Some(point),
        };
        if is_held {
            HELD_AT.set(None);
            self.state().arrived = true;
            self.changed.notify_all();
            return drop(self.wait(|state| state.open));
        }
        let mut state = self.state();
        match point {
            _ if !state.arrived => {}
            Point::Began => state.began = true,
            Point::Waiting => {
                state.waits += 1;
                // It waits for the thread that is held, or for what that one writes.
                state.open |= state.began;
            }
            _ => {}
        }
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wait(&self, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.state(), PATIENCE, |state| !done(state));
        let (state, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "the schedule is broken");
        state
    }

    /// Runs `call` in a thread of its own, which is held when it first comes to `point`.
    pub fn hold<'s, T: Send + 's>(
        self: &Arc<Self>,
        scope: &'s std::thread::Scope<'s, '_>,
        point: Point,
        call: impl FnOnce() -> T + Send + 's,
    ) -> std::thread::ScopedJoinHandle<'s, T> {
        let held = scope.spawn(move || {
            HELD_AT.set(Some(point));
            call()
        });
        self.wait_arrived();
        held
    }

    /// Holds the maintenance thread when it next comes to `point`.
    pub fn hold_maintenance(&self, point: Point) {
        self.state().maintenance = Some(point);
    }

    pub fn wait_arrived(&self) {
        drop(self.wait(|state| state.arrived));
    }

    pub fn open(&self) {
        self.state().open = true;
        self.changed.notify_all();
    }

    /// Until the maintenance thread has waited so often since a thread was held.
    pub fn wait_for_waits(&self, waits: u32) {
        drop(self.wait(|state| state.waits >= waits));
    }

    /// Counts as waits: that what would have waited is over.
    pub fn nobody_waits(&self) {
        self.state().waits = u32::MAX;
        self.changed.notify_all();
    }
}

/// Looks until `done`.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
