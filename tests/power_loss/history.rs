//! What was written, in the order of the log, and whether what is found is a prefix of it.

use kv::{Db, ScanOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

/// Value and deadline (Unix milliseconds, 0: none).
pub type Held = (Vec<u8>, u64);
pub type Entries = BTreeMap<Vec<u8>, Held>;
/// What one call changed. No key: everything went; nothing held: the key went.
pub type Effect = Vec<(Option<Vec<u8>>, Option<Held>)>;

#[derive(Clone)]
struct Written {
    /// Calls that had begun before this one.
    began: u64,
    lsn: u64,
    effect: Effect,
}

/// What bounds the prefix that an image holds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Everything up to this was acknowledged as synced.
    pub synced_lsn: u64,
    /// Calls that had begun: no other can be in the image.
    pub begun: u64,
    pub now_ms: u64,
}

/// A moment at which the process died, or could have.
pub struct Death {
    /// Calls that had begun, and those of them that were acknowledged.
    begun: u64,
    acknowledged: BTreeSet<u64>,
    synced_lsn: u64,
    worlds: Worlds,
}

/// What became of calls that were in flight when a process died: each has happened or not.
#[derive(Clone)]
struct Worlds {
    /// Calls of which nobody has looked yet whether they happened.
    undecided: Vec<u64>,
    /// Sets of calls that did not happen: one of them is the truth. More than one where nothing tells them apart.
    lost: Vec<BTreeSet<u64>>,
}

pub struct History {
    /// What was there before.
    base: Entries,
    began: AtomicU64,
    written: Mutex<Vec<Written>>,
    worlds: Mutex<Worlds>,
    /// Highest LSN that was acknowledged, and that was acknowledged as synced.
    newest_lsn: AtomicU64,
    synced_lsn: AtomicU64,
    /// What each key was last given, by its only writer.
    live: Mutex<Entries>,
    /// Whether the store was a cache at any time: an entry may be gone although nobody removed it, and an older one never stands
    /// there instead. Who finds it gone notes that with what is written next (`Writer::gone`), and from there on it stays gone.
    may_evict: AtomicBool,
}

fn apply(effect: &Effect, to: &mut Entries) {
    for (key, held) in effect {
        match (key, held) {
            (None, _) => to.clear(),
            (Some(key), None) => drop(to.remove(key)),
            (Some(key), Some(held)) => drop(to.insert(key.clone(), held.clone())),
        }
    }
}

pub fn read_all(db: &Db) -> Entries {
    let entries = db.scan(ScanOptions::new()).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.key, (e.value, e.expires_at_ms.unwrap_or(0)))).collect()
}

impl History {
    pub fn new(base: Entries) -> History {
        History {
            live: Mutex::new(base.clone()),
            base,
            began: AtomicU64::new(0),
            written: Mutex::default(),
            worlds: Mutex::new(Worlds { undecided: Vec::new(), lost: vec![BTreeSet::new()] }),
            newest_lsn: AtomicU64::new(0),
            synced_lsn: AtomicU64::new(0),
            may_evict: AtomicBool::new(false),
        }
    }

    /// Does `then` at a moment at which the process may have died: while it runs no call begins or is acknowledged.
    pub fn die<T>(&self, then: impl FnOnce() -> T) -> (Death, T) {
        let written = self.written.lock().unwrap();
        let death = Death {
            begun: self.begun(),
            acknowledged: written.iter().map(|written| written.began).collect(),
            synced_lsn: self.synced_lsn(),
            worlds: self.worlds.lock().unwrap().clone(),
        };
        (death, then())
    }

    /// The history up to a death, for the process that goes on from there. `close` came before.
    pub fn up_to(&self, death: &Death) -> History {
        let written = self.written.lock().unwrap();
        let begun: Vec<Written> = written.iter().filter(|w| w.began < death.begun).cloned().collect();
        let mut worlds = death.worlds.clone();
        let in_flight = begun.iter().filter(|written| !death.acknowledged.contains(&written.began));
        worlds.undecided.extend(in_flight.map(|written| written.began));
        History {
            began: AtomicU64::new(death.begun),
            written: Mutex::new(begun),
            worlds: Mutex::new(worlds),
            synced_lsn: AtomicU64::new(death.synced_lsn),
            may_evict: AtomicBool::new(self.may_evict()),
            ..History::new(self.base.clone())
        }
    }

    /// What the next process finds after a death is everything that was acknowledged, and of what was in flight each call or
    /// not. Nothing is in flight now.
    pub fn settle(&self, found: &Entries, now_ms: u64) {
        self.close();
        let written = self.written.lock().unwrap();
        let mut worlds = self.worlds.lock().unwrap();
        let all = Bounds { synced_lsn: u64::MAX, begun: u64::MAX, now_ms };
        let undecided = std::mem::take(&mut worlds.undecided);
        let subsets = 0..1_u64 << undecided.len();
        let possible = worlds.lost.iter().flat_map(|lost| {
            let undecided = &undecided;
            subsets.clone().map(move |subset| {
                let more = undecided.iter().enumerate().filter(|(n, _)| subset >> n & 1 == 1);
                lost.iter().chain(more.map(|(_, began)| began)).copied().collect::<BTreeSet<u64>>()
            })
        });
        let judge = |lost: &_| judge_in(lost, &self.base, &written, found, &all, self.may_evict());
        let judged: Vec<_> = possible.map(|lost| (judge(&lost), lost)).collect();
        if judged.iter().all(|(result, _)| result.is_err()) {
            let reason = judged.into_iter().find_map(|(result, _)| result.err()).unwrap_or_default();
            panic!("after the process died, with {} calls in flight: {reason}", undecided.len());
        }
        worlds.lost = judged.into_iter().filter_map(|(result, lost)| result.ok().map(|()| lost)).collect();
        // What surely happened. A call that did not may have been given any LSN later, where the process went on.
        let newest_of = |lost: &BTreeSet<u64>| {
            let happened = written.iter().filter(|written| !lost.contains(&written.began));
            happened.map(|written| written.lsn).max().unwrap_or(0)
        };
        let newest_lsn = worlds.lost.iter().map(newest_of).min().unwrap_or(0);
        self.newest_lsn.store(newest_lsn, Ordering::SeqCst);
        *self.live.lock().unwrap() = found.clone();
    }

    pub fn may_evict(&self) -> bool {
        self.may_evict.load(Ordering::SeqCst)
    }

    /// From now on the store is a cache.
    pub fn let_evict(&self) {
        self.may_evict.store(true, Ordering::SeqCst);
    }

    /// What is gone where this was found.
    pub fn gone_from(&self, found: &Entries) -> Effect {
        let written = self.written.lock().unwrap();
        let written = written.iter().flat_map(|written| &written.effect).filter_map(|(key, _)| key.as_ref());
        let known: BTreeSet<_> = self.base.keys().chain(written).collect();
        let gone = known.into_iter().filter(|key| !found.contains_key(*key));
        gone.map(|key| (Some(key.clone()), None)).collect()
    }

    /// A call begins: a number for `wrote`.
    pub fn begin(&self) -> u64 {
        let _no_death = self.written.lock().unwrap();
        self.began.fetch_add(1, Ordering::SeqCst)
    }

    pub fn begun(&self) -> u64 {
        self.began.load(Ordering::SeqCst)
    }

    /// A call was acknowledged that had written at `lsn`.
    pub fn wrote(&self, began: u64, lsn: u64, effect: Effect) {
        apply(&effect, &mut self.live.lock().unwrap());
        self.written.lock().unwrap().push(Written { began, lsn, effect });
        self.newest_lsn.fetch_max(lsn, Ordering::SeqCst);
    }

    pub fn newest_lsn(&self) -> u64 {
        self.newest_lsn.load(Ordering::SeqCst)
    }

    /// Everything up to `lsn` was acknowledged as synced.
    pub fn note_synced(&self, lsn: u64) {
        self.synced_lsn.fetch_max(lsn, Ordering::SeqCst);
    }

    pub fn synced_lsn(&self) -> u64 {
        self.synced_lsn.load(Ordering::SeqCst)
    }

    /// What a key was last given by the thread that asks, if no other writes the key.
    pub fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.live.lock().unwrap().get(key).map(|(value, _)| value.clone())
    }

    /// To be judged by, once every call has returned.
    pub fn close(&self) {
        self.written.lock().unwrap().sort_by_key(|written| written.lsn);
    }

    /// Whether `found` is what a prefix left, within the bounds. `close` came before.
    pub fn judge(&self, found: &Entries, bounds: &Bounds) -> Result<(), String> {
        let written = self.written.lock().unwrap();
        let worlds = self.worlds.lock().unwrap();
        let mut reason = None;
        for lost in &worlds.lost {
            match judge_in(lost, &self.base, &written, found, bounds, self.may_evict()) {
                Ok(()) => return Ok(()),
                Err(error) => drop(reason.get_or_insert(error)),
            }
        }
        Err(reason.unwrap_or_default())
    }
}

/// Whether `found` is what a prefix left in a world in which the calls in `lost` did not happen.
fn judge_in(
    lost: &BTreeSet<u64>,
    base: &Entries,
    written: &[Written],
    found: &Entries,
    bounds: &Bounds,
    may_evict: bool,
) -> Result<(), String> {
    let written: Vec<&Written> = written.iter().filter(|written| !lost.contains(&written.began)).collect();
    let is_visible = |held: &&Held| held.1 == 0 || held.1 > bounds.now_ms;
    let mut state = base.clone();
    let differs = |state: &Entries, key: &[u8]| {
        let found = found.get(key);
        state.get(key).filter(is_visible) != found && !(may_evict && found.is_none())
    };
    let mut differing: BTreeSet<Vec<u8>> =
        state.keys().chain(found.keys()).filter(|key| differs(&state, key)).cloned().collect();
    let mut nearest: Option<(usize, BTreeSet<Vec<u8>>)> = None;
    for n in 0..=written.len() {
        let next = written.get(n);
        if next.is_none_or(|next| next.lsn > bounds.synced_lsn) {
            if differing.is_empty() {
                return Ok(());
            }
            if nearest.as_ref().is_none_or(|(_, least)| differing.len() < least.len()) {
                nearest = Some((n, differing.clone()));
            }
        }
        let Some(next) = next.filter(|next| next.began < bounds.begun) else { break };
        apply(&next.effect, &mut state);
        for (key, _) in &next.effect {
            match key {
                None => differing = found.keys().cloned().collect(),
                Some(key) if differs(&state, key) => drop(differing.insert(key.clone())),
                Some(key) => drop(differing.remove(key)),
            }
        }
    }
    let (n, keys) = nearest.unwrap_or_default();
    Err(explain(&written, found, n, &keys))
}

/// What is known of the keys in which `found` differs from the prefix of `nearest` changes.
fn explain(written: &[&Written], found: &Entries, nearest: usize, keys: &BTreeSet<Vec<u8>>) -> String {
    let tell = |held: Option<&Held>| {
        held.map_or("nothing".into(), |(value, at)| {
            let value = String::from_utf8_lossy(&value[..value.len().min(24)]).into_owned();
            format!("{value:?} until {at}")
        })
    };
    let mut text = format!("no prefix; nearest: the first {nearest} of {} changes, but for\n", written.len());
    for key in keys.iter().take(8) {
        text += &format!("  {}: found {}\n", String::from_utf8_lossy(key), tell(found.get(key)));
        let mut changes = Vec::new();
        for (n, written) in written.iter().enumerate() {
            let concerns = |of: &Option<Vec<u8>>| of.as_ref().is_none_or(|of| of == key);
            let held = written.effect.iter().filter(|(of, _)| concerns(of)).map(|(_, held)| held);
            changes.extend(held.map(|held| (n, written, held)));
        }
        for (n, written, held) in changes.iter().rev().take(5) {
            text += &format!("    change {n}, LSN {}: {}\n", written.lsn, tell(held.as_ref()));
        }
    }
    text
}
