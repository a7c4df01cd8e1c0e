//! What was written, in the order of the log, and whether what is found is a prefix of it.

use kv::{Db, ScanOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

/// Value and deadline (Unix milliseconds, 0: none).
pub type Held = (Vec<u8>, u64);
pub type Entries = BTreeMap<Vec<u8>, Held>;
/// What one call changed. No key: everything went; nothing held: the key went.
pub type Effect = Vec<(Option<Vec<u8>>, Option<Held>)>;

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

pub struct History {
    /// What was there before.
    base: Entries,
    began: AtomicU64,
    written: Mutex<Vec<Written>>,
    /// Highest LSN that was acknowledged, and that was acknowledged as synced.
    newest_lsn: AtomicU64,
    synced_lsn: AtomicU64,
    /// What each key was last given, by its only writer.
    live: Mutex<Entries>,
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
            newest_lsn: AtomicU64::new(0),
            synced_lsn: AtomicU64::new(0),
        }
    }

    /// A call begins: a number for `wrote`.
    pub fn begin(&self) -> u64 {
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
        let is_visible = |held: &&Held| held.1 == 0 || held.1 > bounds.now_ms;
        let mut state = self.base.clone();
        let differs = |state: &Entries, key: &[u8]| state.get(key).filter(is_visible) != found.get(key);
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
}

/// What is known of the keys in which `found` differs from the prefix of `nearest` changes.
fn explain(written: &[Written], found: &Entries, nearest: usize, keys: &BTreeSet<Vec<u8>>) -> String {
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
