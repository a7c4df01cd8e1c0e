//! The keys of a store in order, beside its index, for stores that scan often. The index is the truth: the list may hold a key
//! that the index does not, for a while, but never lacks one that stands there as a put.
//!
//! Each key has a *stamp*: an LSN up to which somebody may still count on its place in the list. Then:
//!
//! - **O1** Who is about to publish a put of LSN *x*, and under its guard has not found a live record of the key in the index,
//!   first makes sure that the key is in the list, with a stamp of at least *x*. (Who has found one need not: a record that
//!   leaves the index became a mask first, or was cleared, and the list forgets its key only a grace period after that.)
//! - **O2** A key is forgotten by the maintenance thread alone: after it was found to be out of the index, and a grace period
//!   after an LSN *m* had been reserved, and only if its stamp is at most *m*: then every writer that counted on the place
//!   reserved its record before *m*, so under a guard that is gone, and its record would be found.
//! - **O3** A stamp becomes `GONE` by compare-exchange from the one that O2 looked at. Who meets `GONE` takes that place out
//!   and makes another; nobody counts on it any more.

use super::KeyRange;
use crossbeam_skiplist::map::Entry;
use crossbeam_skiplist::SkipMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const GONE: u64 = u64::MAX;

/// Keys in order, for who scans often.
#[derive(Default)]
pub(crate) struct KeyList {
    stamps: SkipMap<Box<[u8]>, AtomicU64>,
    /// Keys that may be in the list for nothing.
    strays: Mutex<Vec<Box<[u8]>>>,
}

impl KeyList {
    /// Makes sure that `key` is in the list until whoever reserved the record at `lsn` has dropped its guard (O1).
    pub(crate) fn note(&self, key: &[u8], lsn: u64) {
        loop {
            let found = self.stamps.get(key);
            let entry =
                found.unwrap_or_else(|| self.stamps.get_or_insert_with(key.into(), || AtomicU64::new(lsn)));
            if raise(&entry, lsn) {
                return;
            }
            // O3.
            entry.remove();
        }
    }

    /// Takes out a key that is not in the index (O2); false if somebody above `lsn` may count on it.
    pub(crate) fn forget(&self, key: &[u8], lsn: u64) -> bool {
        let Some(entry) = self.stamps.get(key) else { return true };
        let give_up = |stamp: u64| (stamp <= lsn).then_some(GONE);
        // AcqRel: comes after every `raise` that it finds; pairs with the one there.
        match entry.value().fetch_update(Ordering::AcqRel, Ordering::Acquire, give_up) {
            Ok(_) => {
                entry.remove();
                true
            }
            Err(stamp) => stamp == GONE,
        }
    }

    /// Notes that `key` may be in the list for nothing: somebody looks after a grace period.
    pub(crate) fn stray(&self, key: &[u8]) {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner).push(key.into());
    }

    pub(crate) fn take_strays(&self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut *self.strays.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn len(&self) -> usize {
        self.stamps.len()
    }

    /// Adds up to `count` keys of the range to `keys`, the first or, for `is_reverse`, the last first.
    pub(crate) fn read(&self, range: &KeyRange, is_reverse: bool, count: usize, keys: &mut Vec<Box<[u8]>>) {
        if range.is_empty() {
            return;
        }
        // Not `SkipMap::range`, which up to 0.1.3 never gives a place back that it has passed (crossbeam-rs/crossbeam#1178).
        let (from, to) = range.bounds();
        let found = match is_reverse {
            true => self.stamps.upper_bound(to),
            false => self.stamps.lower_bound(from),
        };
        let Some(mut entry) = found else { return };
        let end = keys.len().saturating_add(count);
        while keys.len() < end && range.contains(entry.key()) {
            keys.push(entry.key().clone());
            if !(if is_reverse { entry.move_prev() } else { entry.move_next() }) {
                return;
            }
        }
    }
}

/// False for a place that is given up.
fn raise(entry: &Entry<'_, Box<[u8]>, AtomicU64>, lsn: u64) -> bool {
    let raised = |stamp: u64| (stamp < lsn).then_some(lsn);
    // AcqRel: the place counts for whoever publishes after this; pairs with the one in `forget`.
    entry.value().fetch_update(Ordering::AcqRel, Ordering::Acquire, raised) != Err(GONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &KeyList) -> Vec<Box<[u8]>> {
        let mut keys = Vec::new();
        list.read(&KeyRange::new(b"", b"", b""), false, usize::MAX, &mut keys);
        keys
    }

    #[test]
    fn a_key_stays_as_long_as_somebody_above_may_count_on_it() {
        let list = KeyList::default();
        list.note(b"k", 30);
        list.note(b"k", 20);
        assert!(!list.forget(b"k", 29));
        assert_eq!(keys(&list), [Box::from(&b"k"[..])]);
        assert!(list.forget(b"k", 30));
        assert!(keys(&list).is_empty());
        list.note(b"k", 5);
        assert_eq!(keys(&list).len(), 1, "a place of its own");
    }

    /// Threads that count on a key keep it, whoever forgets it beside them for LSNs below theirs.
    #[test]
    fn a_key_that_is_noted_while_it_is_forgotten_stays() {
        let list = KeyList::default();
        for round in 1..2000u64 {
            let lsn = round * 10;
            std::thread::scope(|scope| {
                scope.spawn(|| list.forget(b"k", lsn - 1));
                scope.spawn(|| list.note(b"k", lsn));
            });
            assert_eq!(keys(&list).len(), 1, "round {round}");
        }
    }
}
