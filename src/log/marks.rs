//! What is noted of records while a store runs, and stands nowhere on disk: how often a value was found lately. A byte for each
//! place where a record may begin, since no two begin in the same 32 bytes; memory that nobody has touched costs nothing.
//! What is noted belongs to a place, so whoever moves a record takes it along (`carry`).

use crate::io::Map;
use crate::record::HEADER_BYTES;
use std::sync::atomic::{AtomicU64, Ordering};

const WORD_BYTES: usize = 8;

/// Of a segment's records.
pub(crate) struct Marks(Map);

impl Marks {
    /// For a segment of so many bytes.
    pub(super) fn new(segment_bytes: usize) -> std::io::Result<Marks> {
        let bytes = segment_bytes.div_ceil(HEADER_BYTES).next_multiple_of(WORD_BYTES);
        Map::anonymous(bytes).map(Marks)
    }

    /// The word that holds a record's byte, and where in it.
    fn byte(&self, offset: u64) -> Option<(&AtomicU64, u32)> {
        let number = usize::try_from(offset).ok()? / HEADER_BYTES;
        let word = self.0.word(number / WORD_BYTES * WORD_BYTES)?;
        Some((word, (number % WORD_BYTES) as u32 * u8::BITS))
    }

    /// Hits of the record at an offset.
    pub(crate) fn hits(&self, offset: u64) -> u8 {
        // Relaxed: a hint to the policy, here and below.
        self.byte(offset).map_or(0, |(word, shift)| (word.load(Ordering::Relaxed) >> shift) as u8)
    }

    pub(crate) fn set_hits(&self, offset: u64, hits: u8) {
        let Some((word, shift)) = self.byte(offset) else { return };
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let new = seen & !(0xff << shift) | u64::from(hits) << shift;
            match word.compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => seen = found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_side_by_side_are_counted_apart() {
        let marks = Marks::new(8192).unwrap();
        for (n, offset) in (4096..8192).step_by(HEADER_BYTES).enumerate() {
            marks.set_hits(offset as u64, (n % 4) as u8);
        }
        for (n, offset) in (4096..8192).step_by(HEADER_BYTES).enumerate() {
            assert_eq!(marks.hits(offset as u64), (n % 4) as u8, "offset {offset}");
        }
        marks.set_hits(1 << 40, 3);
        assert_eq!(marks.hits(1 << 40), 0, "outside");
    }
}
