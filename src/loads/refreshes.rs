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
                // What a loader does was caught already; what it owns may panic when it is dropped.
                let rest = catch_unwind(AssertUnwindSafe(job)).unwrap_or_default();
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
    }

    /// Takes no more, and gives the threads to wait for: each ends with the loader that it runs.
    pub(crate) fn shut(&self) -> Vec<JoinHandle<()>> {
        let (left, threads) = {
            let mut state = self.state();
            state.is_shut = true;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.threads))
        };
        self.come.notify_all();
        // Loaders are the caller's code, also when they are dropped.
        drop(left);
        threads
    }
}
