//! Threads that load anew what is still there: a few, that come when there is work and go when there is none.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Loaders that run at once.
const THREADS_MAX: usize = 4;
/// Refreshes that wait for a thread. What comes beyond is left to a later read.
const WAITING_MAX: usize = 1024;
/// Keys that rest.
const RESTS_MAX: usize = 4096;
/// After which a thread without work ends.
const IDLE: Duration = Duration::from_secs(2);

/// Until when the key is not refreshed again, in the store's time; `None`: it may be at once.
type Job = Box<dyn FnOnce() -> Option<u64> + Send>;

#[derive(Default)]
pub(crate) struct Refreshes {
    state: Mutex<State>,
    come: Condvar,
    /// A thread has ended, or ends the store.
    gone: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Box<[u8]>, Job)>,
    /// Keys of refreshes that wait or run.
    keys: HashSet<Box<[u8]>>,
    /// Keys whose refresh has failed, and until when they are left alone.
    rests: HashMap<Box<[u8]>, u64>,
    threads: Vec<JoinHandle<()>>,
    /// Threads that have not ended, and those of them that wait for work.
    alive: usize,
    idle: usize,
    /// Threads whose loader ends the store, and may wait for no loader then.
    ending: usize,
    is_shut: bool,
}

impl Refreshes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `job` in a thread of the store, unless one for the key waits or runs, or the key rests, or too many wait.
    pub(crate) fn run(
        self: &Arc<Self>,
        key: &[u8],
        now_ms: u64,
        job: impl FnOnce() -> Option<u64> + Send + 'static,
    ) {
        let mut state = self.state();
        if state.is_shut || state.keys.contains(key) || state.waiting.len() >= WAITING_MAX {
            return;
        }
        match state.rests.get(key) {
            Some(until_ms) if now_ms < *until_ms => return,
            Some(_) => drop(state.rests.remove(key)),
            None => {}
        }
        if state.idle <= state.waiting.len() && state.alive < THREADS_MAX {
            let refreshes = Arc::clone(self);
            let spawned = std::thread::Builder::new().name("kv-load".into()).spawn(move || refreshes.work());
            match spawned {
                Ok(thread) => {
                    state.alive += 1;
                    state.threads.push(thread);
                }
                // Nobody would run it: what stands there is served until its time is over, and a later read tries again.
                Err(_) if state.alive == 0 => return,
                Err(_) => {}
            }
        }
        state.keys.insert(key.into());
        state.waiting.push_back((key.into(), Box::new(job)));
        drop(state);
        self.come.notify_one();
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some((key, job)) = state.waiting.pop_front() {
                drop(state);
                let mut rest = None;
                // What a loader does was caught already; what it owns may panic when it is dropped.
                caught(|| rest = job());
                state = self.state();
                state.keys.remove(&key);
                if let Some(until_ms) = rest {
                    if state.rests.len() >= RESTS_MAX {
                        state.rests.clear();
                    }
                    state.rests.insert(key, until_ms);
                }
                continue;
            }
            if state.is_shut {
                break;
            }
            state.idle += 1;
            let (woken, waited) = self.come.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() && !state.is_shut {
                // Nobody waits for a thread that only returns from here on.
                let me = std::thread::current().id();
                state.threads.retain(|thread| thread.thread().id() != me);
                break;
            }
        }
        state.alive -= 1;
        drop(state);
        self.gone.notify_all();
    }

    /// Takes no more, and drops what waits.
    pub(crate) fn shut(&self) {
        let left = {
            let mut state = self.state();
            state.is_shut = true;
            std::mem::take(&mut state.waiting)
        };
        self.come.notify_all();
        for (_, job) in left {
            // What a loader owns may panic when it is dropped.
            caught(|| drop(job));
        }
    }

    /// After `shut`: waits for the loaders that run, also when others wait for them; a loader does not for those that wait here too.
    pub(crate) fn wait(&self) {
        let me = std::thread::current().id();
        let mut state = self.state();
        if state.threads.iter().any(|thread| thread.thread().id() == me) {
            state.ending += 1;
            self.gone.notify_all();
            while state.alive > state.ending {
                state = self.gone.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.ending -= 1;
            return;
        }
        while state.alive > 0 {
            state = self.gone.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Nothing but their last steps is left.
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// Runs the caller's code, whatever it does.
fn caught(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // It may panic when it is dropped, too.
        std::mem::forget(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                std::panic::panic_any(PanicsWhenDropped);
            }
        }
    }

    #[test]
    fn what_panics_when_it_is_dropped_keeps_nothing_from_being_dropped() {
        let refreshes = Arc::new(Refreshes::default());
        let (tells, told) = channel::<()>();
        let told = Arc::new(Mutex::new(told));
        for n in 0..THREADS_MAX {
            let held = (Arc::clone(&told), PanicsWhenDropped);
            refreshes.run(&[n as u8], 0, move || {
                // All of it goes with the job.
                let (told, _) = &held;
                let _ = told.lock().unwrap().recv();
                None
            });
        }
        let (holds, dropped) = channel::<()>();
        for n in 0..10u8 {
            let holds = (holds.clone(), PanicsWhenDropped);
            refreshes.run(&[100, n], 0, move || {
                let _ = &holds;
                None
            });
        }
        drop(holds);
        refreshes.shut();
        assert!(dropped.recv().is_err(), "all are dropped");
        drop(tells);
        refreshes.wait();
        assert_eq!(refreshes.state().alive, 0);
    }

    #[test]
    fn all_who_end_the_store_wait_for_its_loaders_and_loaders_that_do_not_for_each_other() {
        let refreshes = Arc::new(Refreshes::default());
        let (says, ended) = channel();
        let (tells, told) = channel::<()>();
        for n in 0..2u8 {
            let (inner, says) = (Arc::clone(&refreshes), says.clone());
            refreshes.run(&[n], 0, move || {
                inner.shut();
                inner.wait();
                let _ = says.send("loader");
                None
            });
        }
        refreshes.run(b"k", 0, move || {
            let _ = told.recv();
            None
        });
        let enders: Vec<_> = (0..3)
            .map(|_| {
                let (refreshes, says) = (Arc::clone(&refreshes), says.clone());
                std::thread::spawn(move || {
                    refreshes.shut();
                    refreshes.wait();
                    let _ = says.send("ender");
                })
            })
            .collect();
        drop(tells);
        enders.into_iter().for_each(|thread| thread.join().unwrap());
        let said: Vec<_> = ended.try_iter().collect();
        assert!(said.iter().filter(|who| **who == "ender").count() == 3, "{said:?}");
        assert_eq!(refreshes.state().alive, 0);
    }
}
