//! One loader per key.

use super::read::refuse_pinned;
use super::write::{Condition, SetOptions};
use super::Db;
use crate::error::{Error, Result};
use crate::options::check_key;
use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// Loads in flight.
#[derive(Default)]
pub(super) struct Loads {
    /// How many: one load of this is all that writers pay.
    count: AtomicUsize,
    flights: Mutex<Flights>,
    landed: Condvar,
}

#[derive(Default)]
struct Flights {
    by_key: HashMap<Box<[u8]>, Flight>,
    /// What each waiting thread waits for: finds loaders that wait for each other.
    waits: HashMap<ThreadId, Box<[u8]>>,
    next_id: u64,
    /// Outcomes for those who wait, by flight; dropped by the last of them.
    outcomes: HashMap<u64, Outcome>,
}

struct Flight {
    id: u64,
    loader: ThreadId,
    waiting: usize,
    /// The key was written or cleared since the load began.
    overtaken: bool,
}

struct Outcome {
    left: usize,
    result: Result<Option<Arc<[u8]>>>,
}

impl Loads {
    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by every change of `key` before it looks at the index and reserves its LSN: what a loader brings then is
    /// older than the change. True if there is such a loader: then even a delete that finds nothing must leave a
    /// tombstone, which the loaded value, whose LSN may already be reserved, cannot replace.
    pub(super) fn note(&self, key: &[u8]) -> bool {
        // SeqCst: a load that this misses registers later, so its loader runs after this change was asked for.
        // Partner: `get_or_load`.
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let mut flights = self.flights();
        let flight = flights.by_key.get_mut(key);
        flight.map(|flight| flight.overtaken = true).is_some()
    }

    /// Whether a read of `key` must not wait for its loader: that began before a change which the read comes after, or this
    /// thread is a loader itself, and others may wait for it.
    #[cfg(feature = "redis")]
    pub(super) fn is_not_to_be_joined(&self, key: &[u8]) -> bool {
        let me = std::thread::current().id();
        let flights = self.flights();
        let is_late = flights.by_key.get(key).is_some_and(|flight| flight.overtaken);
        is_late || flights.by_key.values().any(|flight| flight.loader == me)
    }

    /// Whether what is being loaded for `key` is older than a change. Nothing is loaded: then too.
    pub(super) fn is_overtaken(&self, key: &[u8]) -> bool {
        self.flights().by_key.get(key).is_none_or(|flight| flight.overtaken)
    }

    /// As `note`, for every key.
    pub(super) fn note_all(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            self.flights().by_key.values_mut().for_each(|flight| flight.overtaken = true);
        }
    }
}

impl Flights {
    /// Whether the thread that loads `key` waits, through others, for `thread`.
    fn leads_back_to(&self, thread: ThreadId, key: &[u8]) -> bool {
        let mut key = key;
        // Each step goes to another thread's wait; more steps than waits would be a circle without this thread.
        for _ in 0..=self.waits.len() {
            let Some(flight) = self.by_key.get(key) else { return false };
            if flight.loader == thread {
                return true;
            }
            match self.waits.get(&flight.loader) {
                Some(next) => key = next,
                None => return false,
            }
        }
        true
    }
}

fn loader_error(reason: impl Into<String>) -> Error {
    Error::Loader { reason: reason.into() }
}

impl Db {
    /// The value of `key`; where it has none, what `loader` gives, which is then set with `options`' expiry. One loader
    /// runs for a key at a time: others that ask wait for its outcome. `loader` runs without any guard or lock and may
    /// call the store. A value that was loaded while `key` was written, deleted or cleared is returned but not set. A
    /// loader that gives `None` leaves the key absent.
    ///
    /// # Errors
    /// [`Error::Pinned`] when another thread is loading the key and this one holds a [`Pin`](crate::Pin);
    /// [`Error::Loader`] for all who wait, when the loader fails, panics, or asks (also through other loaders) for its own
    /// key; else as [`Db::get`] and [`Db::set`].
    pub fn get_or_load<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: SetOptions,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        if let Some(value) = self.get_local(key)? {
            return Ok(Some(value));
        }
        self.fly(key, || self.load(key, options, loader))
    }

    /// Lets one caller a key run `load`; others that come meanwhile wait for its outcome.
    pub(super) fn fly(
        &self,
        key: &[u8],
        load: impl FnOnce() -> Result<Option<Vec<u8>>>,
    ) -> Result<Option<Vec<u8>>> {
        let loads = &self.shared.loads;
        let me = std::thread::current().id();
        let mut flights = loads.flights();
        if flights.by_key.contains_key(key) {
            return self.wait_for_loader(flights, me, key);
        }
        let id = flights.next_id;
        flights.next_id += 1;
        flights.by_key.insert(key.into(), Flight { id, loader: me, waiting: 0, overtaken: false });
        // SeqCst: counted before the loader runs; pairs with `note`.
        loads.count.fetch_add(1, Ordering::SeqCst);
        drop(flights);
        let result = load();
        let mut flights = loads.flights();
        loads.count.fetch_sub(1, Ordering::SeqCst);
        if let Some(flight) = flights.by_key.remove(key) {
            if flight.waiting > 0 {
                let shared = result.clone().map(|value| value.map(Arc::from));
                flights.outcomes.insert(id, Outcome { left: flight.waiting, result: shared });
                loads.landed.notify_all();
            }
        }
        result
    }

    fn wait_for_loader(
        &self,
        mut flights: MutexGuard<'_, Flights>,
        me: ThreadId,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        if flights.leads_back_to(me, key) {
            return Err(loader_error("the loader asked for its own key"));
        }
        // The loader may be waiting for this thread's pin: in a compaction, say.
        refuse_pinned("get_or_load")?;
        let Some(flight) = flights.by_key.get_mut(key) else { return self.get_local(key) };
        flight.waiting += 1;
        let id = flight.id;
        flights.waits.insert(me, key.into());
        loop {
            if let Some(outcome) = flights.outcomes.get_mut(&id) {
                let result = outcome.result.clone();
                outcome.left -= 1;
                if outcome.left == 0 {
                    flights.outcomes.remove(&id);
                }
                flights.waits.remove(&me);
                return result.map(|value| value.map(|bytes| bytes.to_vec()));
            }
            flights = self.shared.loads.landed.wait(flights).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn load<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: SetOptions,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>> {
        // The key may have been set between the first look and the registration.
        if let Some(value) = self.get_local(key)? {
            return Ok(Some(value));
        }
        #[cfg(feature = "redis")]
        if let Some(value) = self.load_shared(key)? {
            return Ok(Some(value));
        }
        // The error's text too is the caller's code: a panic that got past this would leave those who wait waiting.
        let loaded = catch_unwind(AssertUnwindSafe(|| loader().map_err(|error| error.to_string())))
            .map_err(|_| loader_error("the loader panicked"))?
            .map_err(loader_error)?;
        let Some(value) = loaded else { return Ok(None) };
        self.fill(key, &value, options)?;
        Ok(Some(value))
    }

    /// Sets what was loaded, unless the key was changed since the load began.
    fn fill(&self, key: &[u8], value: &[u8], options: SetOptions) -> Result<()> {
        // Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
        let is_current = || !self.shared.loads.is_overtaken(key);
        self.set_if(key, value, options.condition(Condition::IfAbsent), is_current).map(drop)
    }
}
