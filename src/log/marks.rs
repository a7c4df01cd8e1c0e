//! What is noted of records while a store runs, and stands nowhere on disk: how often a value was found lately, when it was used
//! last, and what a weigher said of it. There is a place for each 32 bytes of a segment, since no two records begin in the same; memory that nobody has
//! touched costs nothing. What is noted belongs to a place, so whoever moves a record takes it along (`carry`).

use crate::io::Map;
use crate::record::HEADER_BYTES;
use std::sync::atomic::{AtomicU64, Ordering};

const WORD_BYTES: usize = 8;

/// What a store notes of its records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) hits: bool,
    pub(crate) uses: bool,
    pub(crate) weights: bool,
}

/// Of a segment's records.
pub(crate) struct Marks {
    hits: Cells<{ u8::BITS }>,
    used: Option<Cells<{ u32::BITS }>>,
    weights: Option<Cells<{ u32::BITS }>>,
}

/// A number of so many bits for each place.
struct Cells<const BITS: u32>(Map);

impl<const BITS: u32> Cells<BITS> {
    const A_WORD: usize = (u64::BITS / BITS) as usize;

    fn new(segment_bytes: usize) -> std::io::Result<Self> {
        let words = segment_bytes.div_ceil(HEADER_BYTES).div_ceil(Self::A_WORD);
        Map::anonymous(words.max(1) * WORD_BYTES).map(Cells)
    }

    /// The word that holds a record's cell, and where in it.
    fn place(&self, offset: u64) -> Option<(&AtomicU64, u32)> {
        let number = usize::try_from(offset).ok()? / HEADER_BYTES;
        let word = self.0.word(number / Self::A_WORD * WORD_BYTES)?;
        Some((word, (number % Self::A_WORD) as u32 * BITS))
    }

    fn get(&self, offset: u64) -> u64 {
        // Relaxed: what is noted orders nothing, here and below.
        self.place(offset)
            .map_or(0, |(word, shift)| word.load(Ordering::Relaxed) >> shift & ((1 << BITS) - 1))
    }

    fn set(&self, offset: u64, number: u64) {
        let Some((word, shift)) = self.place(offset) else { return };
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let new = seen & !(((1 << BITS) - 1) << shift) | number << shift;
            match word.compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => seen = found,
            }
        }
    }
}

impl Marks {
    /// For a segment of so many bytes; `None` if nothing is to be noted, or there is no memory for it.
    pub(super) fn new(segment_bytes: usize, notes: Notes) -> Option<Marks> {
        if notes == Notes::default() {
            return None;
        }
        let if_asked = |asked: bool| asked.then(|| Cells::new(segment_bytes)).transpose().ok();
        let (used, weights) = (if_asked(notes.uses)?, if_asked(notes.weights)?);
        Some(Marks { hits: Cells::new(segment_bytes).ok()?, used, weights })
    }

    /// Hits of the record at an offset.
    pub(crate) fn hits(&self, offset: u64) -> u8 {
        self.hits.get(offset) as u8
    }

    pub(crate) fn set_hits(&self, offset: u64, hits: u8) {
        self.hits.set(offset, hits.into());
    }

    pub(crate) fn notes_uses(&self) -> bool {
        self.used.is_some()
    }

    /// When the record at an offset was used last, in ticks since the store was opened; 0 if not since then.
    pub(crate) fn used(&self, offset: u64) -> u32 {
        self.used.as_ref().map_or(0, |cells| cells.get(offset) as u32)
    }

    pub(crate) fn set_used(&self, offset: u64, tick: u32) {
        if let Some(cells) = self.used.as_ref().filter(|cells| cells.get(offset) != u64::from(tick)) {
            cells.set(offset, tick.into());
        }
    }

    /// What a weigher said of the record at an offset; `None` where none is asked.
    pub(crate) fn weight(&self, offset: u64) -> Option<u32> {
        Some(self.weights.as_ref()?.get(offset) as u32)
    }

    /// Notes a weight, before its record is found by anybody.
    pub(crate) fn set_weight(&self, offset: u64, weight: u32) {
        if let Some(cells) = &self.weights {
            cells.set(offset, weight.into());
        }
    }

    /// Takes what is noted of a record along to where it is copied to, before it is found there.
    pub(crate) fn carry(&self, offset: u64, to: &Marks, to_offset: u64) {
        to.set_hits(to_offset, self.hits(offset));
        to.set_used(to_offset, self.used(offset));
        to.set_weight(to_offset, self.weight(offset).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_side_by_side_are_noted_apart() {
        let all = Notes { hits: true, uses: true, weights: true };
        let marks = Marks::new(8192, all).unwrap();
        let offsets = || (4096..8192u64).step_by(HEADER_BYTES).enumerate();
        for (n, offset) in offsets() {
            marks.set_hits(offset, (n % 4) as u8);
            marks.set_used(offset, u32::MAX - n as u32);
            marks.set_weight(offset, u32::MAX / 2 - n as u32);
        }
        for (n, offset) in offsets() {
            let noted = (marks.hits(offset), marks.used(offset), marks.weight(offset));
            let weight = Some(u32::MAX / 2 - n as u32);
            assert_eq!(noted, ((n % 4) as u8, u32::MAX - n as u32, weight), "offset {offset}");
        }
        marks.set_hits(1 << 40, 3);
        marks.set_used(1 << 40, 3);
        assert_eq!((marks.hits(1 << 40), marks.used(1 << 40)), (0, 0), "outside");
        let copy = Marks::new(8192, all).unwrap();
        marks.carry(4096 + 32, &copy, 4096);
        assert_eq!((copy.hits(4096), copy.used(4096)), (1, u32::MAX - 1));
        assert_eq!(copy.weight(4096), Some(u32::MAX / 2 - 1));
        let without = Marks::new(8192, Notes { hits: true, ..Notes::default() }).unwrap();
        without.set_weight(4096, 7);
        assert_eq!((without.weight(4096), Marks::new(8192, Notes::default()).is_none()), (None, true));
    }
}
