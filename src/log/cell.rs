//! The part of a segment's header page that is rewritten: how far the log is synced, and the highest wall
//! time seen (I12, I15). It stands in a disk sector of its own, apart from the header's checksum.
//!
//! ```text
//! 512 u64 time    milliseconds << 16 | check of 16 bits
//! 520 u64 lsn 0   528 u64 check 0
//! 536 u64 lsn 1   544 u64 check 1
//! ```
//!
//! Any thread may raise the time, so it must change in one store and carries its check in the same word. Only the
//! log thread moves the synced LSN; it writes the two slots in turn, so that a process that dies between a
//! value and its check leaves the other slot, which holds the sync before.

use crate::io::Map;
use std::sync::atomic::{AtomicU64, Ordering};

const TIME_AT: usize = 512;
const SLOTS_AT: usize = TIME_AT + 8;
const SLOT_BYTES: usize = 16;
const CHECK_BITS: u32 = 16;
/// Longest time that fits beside its check, in Unix milliseconds: the year 10,889.
const TIME_MS_MAX: u64 = (1 << (64 - CHECK_BITS)) - 1;

/// The cell of a mapped segment.
pub(crate) struct Cell<'m> {
    map: &'m Map,
    salt: u64,
}

impl<'m> Cell<'m> {
    pub(crate) fn of(map: &'m Map, salt: u64) -> Cell<'m> {
        Cell { map, salt }
    }

    fn word(&self, at: usize) -> Option<&'m AtomicU64> {
        self.map.word(at)
    }

    fn check(&self, value: u64) -> u64 {
        // Two keyed CRCs, of the value and of its complement: never zero for a slot that was not written.
        let half = |value: u64| {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&self.salt.to_le_bytes());
            crc.update(&value.to_le_bytes());
            u64::from(crc.finalize())
        };
        half(value) << 32 | half(!value) | 1
    }

    fn time_word(&self, unix_ms: u64) -> u64 {
        let ms = unix_ms.min(TIME_MS_MAX);
        ms << CHECK_BITS | self.check(ms) & ((1 << CHECK_BITS) - 1)
    }

    /// Raises the stored time to at least `unix_ms`.
    pub(crate) fn raise_time(&self, unix_ms: u64) {
        if let Some(word) = self.word(TIME_AT) {
            // The milliseconds are the upper bits, so the higher word is the later time.
            // AcqRel: the time stands before what the caller answers on its ground; pairs with `time`.
            word.fetch_max(self.time_word(unix_ms), Ordering::AcqRel);
        }
    }

    /// The stored time in Unix milliseconds; `None` if none was stored or it is damaged.
    pub(crate) fn time(&self) -> Option<u64> {
        // Acquire: pairs with `raise_time`.
        let word = self.word(TIME_AT)?.load(Ordering::Acquire);
        let ms = word >> CHECK_BITS;
        (word == self.time_word(ms)).then_some(ms)
    }

    fn slot(&self, number: usize) -> Option<(&'m AtomicU64, &'m AtomicU64)> {
        let at = SLOTS_AT + number * SLOT_BYTES;
        Some((self.word(at)?, self.word(at + 8)?))
    }

    fn read_slot(&self, number: usize) -> Option<u64> {
        let (value, check) = self.slot(number)?;
        // Acquire: a good check means that its value was stored; pairs with the Release in `set_synced`.
        let check = check.load(Ordering::Acquire);
        let lsn = value.load(Ordering::Acquire);
        (check == self.check(lsn)).then_some(lsn)
    }

    /// The LSN below which the log is surely on disk; zero if nothing is known.
    pub(crate) fn synced(&self) -> u64 {
        self.read_slot(0).max(self.read_slot(1)).unwrap_or(0)
    }

    /// Notes that the log is synced below `lsn`. Called by the log thread alone.
    pub(crate) fn set_synced(&self, lsn: u64) {
        let older = usize::from(self.read_slot(0) > self.read_slot(1));
        if let Some((value, check)) = self.slot(older) {
            // Release: the check goes last; pairs with the Acquire in `read_slot`.
            value.store(lsn, Ordering::Release);
            check.store(self.check(lsn), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_cell_knows_nothing() {
        let map = Map::anonymous(4096).unwrap();
        let cell = Cell::of(&map, 5);
        assert_eq!((cell.time(), cell.synced()), (None, 0));
    }

    #[test]
    fn time_only_rises_and_damage_to_it_is_noticed() {
        let map = Map::anonymous(4096).unwrap();
        let cell = Cell::of(&map, 5);
        for (raised, expected) in
            [(1_700_000_000_000, 1_700_000_000_000), (7, 1_700_000_000_000), (u64::MAX, TIME_MS_MAX)]
        {
            cell.raise_time(raised);
            assert_eq!(cell.time(), Some(expected));
        }
        map.word(TIME_AT).unwrap().fetch_xor(1 << 30, Ordering::Relaxed);
        assert_eq!(cell.time(), None);
    }

    #[test]
    fn a_process_that_dies_between_value_and_check_leaves_the_sync_before() {
        let map = Map::anonymous(4096).unwrap();
        let cell = Cell::of(&map, 5);
        for lsn in [4096, 8192, 12_288] {
            cell.set_synced(lsn);
            assert_eq!(cell.synced(), lsn);
        }
        // 12,288 went into slot 0; a write of 16,384 goes into slot 1 and gets no further than its value.
        map.word(SLOTS_AT + SLOT_BYTES).unwrap().store(16_384, Ordering::Relaxed);
        assert_eq!(cell.synced(), 12_288);
        cell.set_synced(20_480);
        assert_eq!(cell.synced(), 20_480);
    }
}
