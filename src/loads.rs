//! Who loads which key, and whether what it brings is still the newest.

mod absences;
mod refreshes;

pub(crate) use refreshes::Refreshes;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::tag::{Tag, Tagged};
use absences::Absences;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

/// Loads in flight.
pub(crate) struct Loads {
    /// Without the ratchet (I15), so what is over by it is over.
    clock: Arc<dyn Clock>,
    /// How many, and one more while absences are remembered: one load of this is all that writers pay.
    count: AtomicUsize,
    flights: Mutex<Flights>,
    landed: Condvar,
    /// What a load takes lately, in microseconds.
    cost_us: AtomicU64,
    draws: AtomicU64,
}

#[derive(Default)]
struct Flights {
    by_key: HashMap<Box<[u8]>, Flight>,
    /// What each waiting thread waits for: finds loaders that wait for each other.
    waits: HashMap<ThreadId, Box<[u8]>>,
    next_id: u64,
    /// Keys whose value the tier is about to say: how many asked, and what happened since the first of them did.
    answers: HashMap<Box<[u8]>, (usize, Overtaken)>,
    /// Outcomes for those who wait, by flight; dropped by the last of them.
    outcomes: HashMap<u64, Outcome>,
    absences: Absences,
}

struct Flight {
    id: u64,
    loader: ThreadId,
    waiting: usize,
    overtaken: Overtaken,
}

/// What became of a key since somebody asked for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overtaken {
    /// It was changed, here or, as far as that is heard, elsewhere.
    pub(crate) at_all: bool,
    /// It was written, deleted or cleared here.
    pub(crate) here: bool,
}

impl Overtaken {
    fn note(&mut self, is_here: bool) {
        self.at_all = true;
        self.here |= is_here;
    }
}

/// What whoever asks for a key of many is to do.
#[cfg(feature = "redis")]
pub(crate) enum Begun<'a> {
    /// Bring it, for all who come meanwhile.
    Mine(Flying<'a>),
    /// Wait for who brings it, as `fly` does.
    Others,
    /// Ask for it alone, as `is_not_to_be_joined` says.
    Alone,
}

/// A load of a key that has begun. One that is dropped has failed.
pub(crate) struct Flying<'a> {
    loads: &'a Loads,
    key: Box<[u8]>,
    id: u64,
    has_landed: bool,
}

impl Flying<'_> {
    /// Ends it: those who wait have this outcome too.
    pub(crate) fn land(mut self, result: &Result<Option<Tagged>>) {
        self.has_landed = true;
        self.loads.land(&self.key, self.id, result);
    }
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            self.loads.land(&self.key, self.id, &Err(loader_error("the load was given up")));
        }
    }
}

struct Outcome {
    left: usize,
    result: Result<Option<(Arc<[u8]>, Tag)>>,
}

impl Loads {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Loads {
        Loads {
            clock,
            count: AtomicUsize::default(),
            flights: Mutex::default(),
            landed: Condvar::default(),
            cost_us: AtomicU64::default(),
            draws: AtomicU64::default(),
        }
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one caller a key run `load`; others that come meanwhile wait for its outcome, unless `may_wait` says why not.
    pub(crate) fn fly(
        &self,
        key: &[u8],
        may_wait: impl FnOnce() -> Result<()>,
        load: impl FnOnce() -> Result<Option<Tagged>>,
    ) -> Result<Option<Tagged>> {
        let me = std::thread::current().id();
        let mut flights = self.flights();
        if flights.by_key.contains_key(key) {
            return self.wait_for_loader(flights, me, key, may_wait);
        }
        let flying = self.depart(&mut flights, me, key);
        drop(flights);
        let result = load();
        flying.land(&result);
        result
    }

    /// As `fly`, for many keys, each given once, and in two steps: the caller brings what is his, lets it land, and waits for
    /// nobody before he has.
    #[cfg(feature = "redis")]
    pub(crate) fn begin_many(&self, keys: &[&[u8]]) -> Vec<Begun<'_>> {
        let me = std::thread::current().id();
        let mut flights = self.flights();
        let is_loading = flights.by_key.values().any(|flight| flight.loader == me);
        let begin = |key: &&[u8]| match flights.by_key.get(*key) {
            _ if is_loading => Begun::Alone,
            Some(flight) if flight.overtaken.at_all => Begun::Alone,
            Some(_) => Begun::Others,
            None => Begun::Mine(self.depart(&mut flights, me, key)),
        };
        keys.iter().map(begin).collect()
    }

    fn depart(&self, flights: &mut Flights, me: ThreadId, key: &[u8]) -> Flying<'_> {
        let id = flights.next_id;
        flights.next_id += 1;
        flights
            .by_key
            .insert(key.into(), Flight { id, loader: me, waiting: 0, overtaken: Overtaken::default() });
        // SeqCst: counted before the loader runs; pairs with `note`.
        self.count.fetch_add(1, Ordering::SeqCst);
        Flying { loads: self, key: key.into(), id, has_landed: false }
    }

    fn land(&self, key: &[u8], id: u64, result: &Result<Option<Tagged>>) {
        let mut flights = self.flights();
        self.count.fetch_sub(1, Ordering::SeqCst);
        if let Some(flight) = flights.by_key.remove(key) {
            if flight.waiting > 0 {
                let shared = |loaded: Tagged| (loaded.value.into(), loaded.codec);
                let shared = result.clone().map(|loaded| loaded.map(shared));
                flights.outcomes.insert(id, Outcome { left: flight.waiting, result: shared });
                self.landed.notify_all();
            }
        }
    }

    fn wait_for_loader(
        &self,
        mut flights: MutexGuard<'_, Flights>,
        me: ThreadId,
        key: &[u8],
        may_wait: impl FnOnce() -> Result<()>,
    ) -> Result<Option<Tagged>> {
        if flights.leads_back_to(me, key) {
            return Err(loader_error("the loader asked for its own key"));
        }
        may_wait()?;
        // It was found under the same lock.
        let Some(flight) = flights.by_key.get_mut(key) else { return Ok(None) };
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
                let own = |(value, codec): (Arc<[u8]>, Tag)| Tagged { value: value.to_vec(), codec };
                return result.map(|loaded| loaded.map(own));
            }
            flights = self.landed.wait(flights).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Called by every change of `key` before it looks at the index and reserves its LSN: what a loader brings then is
    /// older than the change. True if there is such a loader: then even a delete that finds nothing must leave a
    /// tombstone, which the loaded value, whose LSN may already be reserved, cannot replace.
    pub(crate) fn note(&self, key: &[u8]) -> bool {
        self.note_change(key, true)
    }

    /// The same of a change elsewhere.
    #[cfg(feature = "redis")]
    pub(crate) fn note_elsewhere(&self, key: &[u8]) -> bool {
        self.note_change(key, false)
    }

    fn note_change(&self, key: &[u8], is_here: bool) -> bool {
        // SeqCst: a load that this misses registers later, so its loader runs after this change was asked for.
        // Partner: `get_or_load`.
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let mut flights = self.flights();
        if !flights.absences.is_empty() {
            self.change_absences(&mut flights, |absences| {
                absences.forget(key);
                // Once none is left, changes are free of this lock again.
                absences.drop_ended(self.clock.unix_ms());
            });
        }
        let answer = flights.answers.get_mut(key).map(|(_, overtaken)| overtaken.note(is_here));
        let flight = flights.by_key.get_mut(key).map(|flight| flight.overtaken.note(is_here));
        answer.or(flight).is_some()
    }

    /// Notes from here on whether `key` is changed, as `note` is told: what the tier says of it then is old.
    #[cfg(feature = "redis")]
    pub(crate) fn expect(&self, key: &[u8]) {
        let mut flights = self.flights();
        flights.answers.entry(key.into()).or_default().0 += 1;
        // SeqCst: counted before the tier is asked; pairs with `note`.
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(feature = "redis")]
    pub(crate) fn expect_no_more(&self, key: &[u8]) {
        let mut flights = self.flights();
        let Some((asked, _)) = flights.answers.get_mut(key) else { return };
        *asked -= 1;
        if *asked == 0 {
            flights.answers.remove(key);
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    #[cfg(feature = "redis")]
    pub(crate) fn is_answer_overtaken(&self, key: &[u8]) -> bool {
        self.answer_overtaken(key).at_all
    }

    /// What became of a key since it was `expect`ed. Nobody expects it: all.
    #[cfg(feature = "redis")]
    pub(crate) fn answer_overtaken(&self, key: &[u8]) -> Overtaken {
        let gone = Overtaken { at_all: true, here: true };
        self.flights().answers.get(key).map_or(gone, |(_, overtaken)| *overtaken)
    }

    /// Whether a read of `key` must not wait for its loader: that began before a change which the read comes after, or this
    /// thread is a loader itself, and others may wait for it.
    #[cfg(feature = "redis")]
    pub(crate) fn is_not_to_be_joined(&self, key: &[u8]) -> bool {
        let me = std::thread::current().id();
        let flights = self.flights();
        let is_late = flights.by_key.get(key).is_some_and(|flight| flight.overtaken.at_all);
        is_late || flights.by_key.values().any(|flight| flight.loader == me)
    }

    /// Keys that are being loaded, and threads that wait for one.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn under_way(&self) -> (usize, usize) {
        let flights = self.flights();
        (flights.by_key.len(), flights.waits.len())
    }

    /// Whether what is being loaded for `key` is older than a change. Nothing is loaded: then too.
    pub(crate) fn is_overtaken(&self, key: &[u8]) -> bool {
        self.overtaken(key).at_all
    }

    /// What became of a key since its load began. Nothing is loaded: all.
    pub(crate) fn overtaken(&self, key: &[u8]) -> Overtaken {
        let gone = Overtaken { at_all: true, here: true };
        self.flights().by_key.get(key).map_or(gone, |flight| flight.overtaken)
    }

    fn change_absences<T>(&self, flights: &mut Flights, change: impl FnOnce(&mut Absences) -> T) -> T {
        let had_none = flights.absences.is_empty();
        let changed = change(&mut flights.absences);
        match (had_none, flights.absences.is_empty()) {
            // SeqCst: pairs with `note`. A change that misses it was noted by the flight that is still counted.
            (true, false) => drop(self.count.fetch_add(1, Ordering::SeqCst)),
            (false, true) => drop(self.count.fetch_sub(1, Ordering::SeqCst)),
            _ => {}
        }
        changed
    }

    /// Remembers, in the flight of a key, that it is nowhere; unless it was changed since the load began.
    pub(crate) fn remember_absent(&self, key: &[u8], until_ms: u64, now_ms: u64) {
        let mut flights = self.flights();
        if flights.by_key.get(key).is_some_and(|flight| !flight.overtaken.at_all) {
            self.change_absences(&mut flights, |absences| absences.add(key, until_ms, now_ms));
        }
    }

    /// Whether a loader has lately found nothing for a key, and it was not changed since.
    pub(crate) fn is_known_absent(&self, key: &[u8], now_ms: u64) -> bool {
        // Relaxed: whoever misses it asks a loader.
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut flights = self.flights();
        self.change_absences(&mut flights, |absences| absences.holds(key, now_ms))
    }

    /// Takes down what a load took.
    pub(crate) fn note_cost(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 3);
        // Relaxed: a figure; what gets lost of it between threads does not matter.
        let cost_us = self.cost_us.load(Ordering::Relaxed);
        let mean_us =
            if cost_us == 0 { took_us } else { (cost_us.saturating_mul(7).saturating_add(took_us)) / 8 };
        self.cost_us.store(mean_us.max(1), Ordering::Relaxed);
    }

    /// How much earlier than at its end an entry is loaded anew this time: what a load takes lately, times `factor`, times −ln of
    /// an even draw (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015).
    pub(crate) fn draw_early_ms(&self, factor: f64) -> u64 {
        // Relaxed: figures. The sequence is that of SplitMix64.
        let cost_ms = self.cost_us.load(Ordering::Relaxed) as f64 / 1000.0;
        let mut bits = self.draws.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let even = ((bits ^ (bits >> 31)) >> 11) as f64 + 1.0;
        // As an integer it saturates.
        (cost_ms * factor * -(even / (1u64 << 53) as f64).ln()) as u64
    }

    /// As `note`, for every key.
    pub(crate) fn note_all(&self) {
        self.note_all_changes(true);
    }

    /// As `note_elsewhere`, for every key.
    #[cfg(feature = "redis")]
    pub(crate) fn note_all_elsewhere(&self) {
        self.note_all_changes(false);
    }

    fn note_all_changes(&self, is_here: bool) {
        if self.count.load(Ordering::SeqCst) > 0 {
            let mut flights = self.flights();
            self.change_absences(&mut flights, Absences::forget_all);
            flights.by_key.values_mut().for_each(|flight| flight.overtaken.note(is_here));
            flights.answers.values_mut().for_each(|(_, overtaken)| overtaken.note(is_here));
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

pub(crate) fn loader_error(reason: impl Into<String>) -> Error {
    Error::Loader { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn changes_take_no_lock_once_no_absence_is_left() {
        let clock = Arc::new(ManualClock::new(1000));
        let loads = Loads::new(clock.clone());
        for n in 0..1000u64 {
            let key = n.to_be_bytes();
            loads
                .fly(
                    &key,
                    || Ok(()),
                    || {
                        loads.remember_absent(&key, 2000, 1000);
                        Ok(None)
                    },
                )
                .unwrap();
        }
        let is_free = || loads.count.load(Ordering::SeqCst) == 0;
        loads.note(b"other");
        assert!(!is_free() && loads.is_known_absent(&0u64.to_be_bytes(), 1999));
        clock.set(2000);
        for _ in 0..1000 {
            loads.note(b"other");
        }
        assert!(is_free());
    }

    #[test]
    fn loads_come_earlier_by_a_draw_whose_mean_is_what_a_load_takes() {
        let loads = Loads::new(Arc::new(ManualClock::new(0)));
        assert_eq!(loads.draw_early_ms(1e9), 0, "nothing was loaded yet");
        for _ in 0..100 {
            loads.note_cost(Duration::from_secs(1));
        }
        const DRAWS: u64 = 100_000;
        let mean_of = |factor| (0..DRAWS).map(|_| loads.draw_early_ms(factor)).sum::<u64>() / DRAWS;
        let (mean_ms, double_ms) = (mean_of(1.0), mean_of(2.0));
        assert!(
            (950..=1050).contains(&mean_ms) && (1900..=2100).contains(&double_ms),
            "{mean_ms}, {double_ms}"
        );
    }
}
