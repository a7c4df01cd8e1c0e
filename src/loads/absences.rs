//! Keys that a loader has found nowhere, for a while.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Most keys that are remembered, and most bytes of them. Beyond that those go whose time is over first.
const KEYS_MAX: usize = 65_536;
const BYTES_MAX: usize = 8 << 20;
/// Of those whose time is over, how many go at once: nobody waits for many.
const ENDED_AT_ONCE: usize = 64;

/// Until when each counts as absent, in the store's time.
#[derive(Default)]
pub(super) struct Absences {
    until_ms: HashMap<Arc<[u8]>, u64>,
    /// The same, in the order of time.
    ends: BTreeSet<(u64, Arc<[u8]>)>,
    key_bytes: usize,
}

impl Absences {
    pub(super) fn is_empty(&self) -> bool {
        self.until_ms.is_empty()
    }

    pub(super) fn add(&mut self, key: &[u8], until_ms: u64, now_ms: u64) {
        self.forget(key);
        self.drop_ended(now_ms);
        let key: Arc<[u8]> = key.into();
        self.key_bytes += key.len();
        self.ends.insert((until_ms, Arc::clone(&key)));
        self.until_ms.insert(key, until_ms);
        while self.until_ms.len() > KEYS_MAX || self.key_bytes > BYTES_MAX {
            self.drop_first();
        }
    }

    pub(super) fn holds(&mut self, key: &[u8], now_ms: u64) -> bool {
        self.drop_ended(now_ms);
        self.until_ms.get(key).is_some_and(|until_ms| now_ms < *until_ms)
    }

    pub(super) fn forget(&mut self, key: &[u8]) {
        if let Some((key, until_ms)) = self.until_ms.remove_entry(key) {
            self.key_bytes -= key.len();
            self.ends.remove(&(until_ms, key));
        }
    }

    pub(super) fn forget_all(&mut self) {
        *self = Absences::default();
    }

    /// Drops some of those whose time is over.
    pub(super) fn drop_ended(&mut self, now_ms: u64) {
        for _ in 0..ENDED_AT_ONCE {
            match self.ends.first() {
                Some((until_ms, _)) if *until_ms <= now_ms => self.drop_first(),
                _ => break,
            }
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, key)) = self.ends.pop_first() {
            self.key_bytes -= key.len();
            self.until_ms.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the three fields say of one another.
    fn check(absences: &Absences) {
        assert_eq!(absences.until_ms.len(), absences.ends.len());
        assert!(absences.ends.iter().all(|(until_ms, key)| absences.until_ms.get(key) == Some(until_ms)));
        assert_eq!(absences.key_bytes, absences.until_ms.keys().map(|key| key.len()).sum::<usize>());
    }

    #[test]
    fn keys_are_absent_until_their_time() {
        let mut absences = Absences::default();
        absences.add(b"k", 200, 100);
        absences.add(b"k", 300, 100);
        absences.add(b"other", 250, 100);
        assert!(absences.holds(b"k", 299) && !absences.holds(b"other", 250));
        check(&absences);
        assert!(!absences.holds(b"k", 300) && absences.is_empty());
        absences.add(b"k", 400, 300);
        absences.forget(b"k");
        assert!(!absences.holds(b"k", 300) && absences.is_empty());
        absences.add(b"k", 400, 300);
        absences.forget_all();
        check(&absences);
        assert!(absences.is_empty());
    }

    #[test]
    fn beyond_a_number_of_keys_those_go_whose_time_is_over_first() {
        let mut absences = Absences::default();
        let key = |n: u64| n.to_be_bytes();
        for n in 0..KEYS_MAX as u64 + 10 {
            absences.add(&key(n), 100 + n, 0);
        }
        check(&absences);
        assert_eq!(absences.until_ms.len(), KEYS_MAX);
        assert!(!absences.holds(&key(9), 0) && absences.holds(&key(10), 0));
        assert!(absences.holds(&key(KEYS_MAX as u64 + 9), 0), "the newest is there");
    }

    #[test]
    fn keys_take_no_more_than_a_number_of_bytes() {
        let mut absences = Absences::default();
        let key = |n: usize| [vec![0; 65_000], n.to_be_bytes().to_vec()].concat();
        for n in 0..1000 {
            absences.add(&key(n), 100, 0);
        }
        check(&absences);
        assert!(absences.key_bytes <= BYTES_MAX && absences.key_bytes > BYTES_MAX - 70_000);
        assert!(absences.holds(&key(999), 0));
    }

    #[test]
    fn what_is_over_goes_a_few_at_a_time_whatever_is_asked_for() {
        let mut absences = Absences::default();
        for n in 0..1000u64 {
            absences.add(&n.to_be_bytes(), 100, 0);
        }
        for left in (0..1000 - ENDED_AT_ONCE).rev().step_by(ENDED_AT_ONCE) {
            assert!(!absences.holds(b"no such", 100));
            assert_eq!(absences.until_ms.len(), left + 1);
        }
        absences.add(b"k", 200, 150);
        check(&absences);
        assert_eq!(absences.until_ms.len(), 1);
    }
}
