//! Keys that a loader has found nowhere, for a while.

use std::collections::HashMap;

/// Most keys that are remembered; what comes beyond is asked for again.
const KEYS_MAX: usize = 65_536;

/// Until when each counts as absent, in the store's time.
#[derive(Default)]
pub(super) struct Absences(HashMap<Box<[u8]>, u64>);

impl Absences {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, key: &[u8], until_ms: u64, now_ms: u64) {
        if self.0.len() >= KEYS_MAX {
            self.0.retain(|_, until_ms| now_ms < *until_ms);
        }
        if self.0.len() < KEYS_MAX {
            self.0.insert(key.into(), until_ms);
        }
    }

    pub(super) fn holds(&mut self, key: &[u8], now_ms: u64) -> bool {
        match self.0.get(key) {
            Some(until_ms) if now_ms < *until_ms => true,
            Some(_) => {
                self.0.remove(key);
                false
            }
            None => false,
        }
    }

    pub(super) fn forget(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_absent_until_their_time_and_never_more_than_a_number_of_them() {
        let mut absences = Absences::default();
        for n in 0..KEYS_MAX as u64 + 10 {
            absences.add(&n.to_le_bytes(), 100 + n % 2, 0);
        }
        assert_eq!(absences.0.len(), KEYS_MAX);
        assert!(absences.holds(&0u64.to_le_bytes(), 99) && !absences.holds(&0u64.to_le_bytes(), 100));
        assert!(!absences.holds(&(KEYS_MAX as u64).to_le_bytes(), 0), "it had no room");
        absences.add(b"k", 200, 100);
        assert!(absences.holds(b"k", 199));
        absences.forget(b"k");
        assert!(!absences.holds(b"k", 199));
        absences.forget_all();
        assert!(absences.is_empty());
    }
}
