//! The offset that appends to one segment are reserved from. Model: `tests/loom/src/roll.rs`.

use crate::record::HEADER_BYTES;
use crate::sync::{AtomicU64, Ordering};

/// Offset of the next free byte; beyond the capacity when the segment is closed, and then for good.
pub(crate) struct TailOffset(AtomicU64);

/// What a reservation got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// The bytes from here on are the caller's alone.
    At(u64),
    /// It did not fit, and nothing will any more. The one caller that crossed the end writes the pad.
    Full { pad_at: Option<u64> },
}

impl TailOffset {
    pub(crate) fn new(offset: u64) -> TailOffset {
        TailOffset(AtomicU64::new(offset))
    }

    /// Takes `bytes` of a segment of `capacity`, or closes it.
    #[inline]
    pub(crate) fn reserve(&self, bytes: u64, capacity: u64) -> Reserved {
        // SeqCst: pairs with `end`, and with `Signal::set_idle` in the log thread.
        let offset = self.0.fetch_add(bytes, Ordering::SeqCst);
        if offset.saturating_add(bytes) <= capacity {
            return Reserved::At(offset);
        }
        Reserved::Full { pad_at: pad_at(offset, capacity) }
    }

    /// Closes as a reservation that does not fit would; the offset of the pad, if the caller has to write it.
    pub(crate) fn close(&self, capacity: u64) -> Option<u64> {
        // SeqCst: as in `reserve`.
        pad_at(self.0.fetch_add(capacity, Ordering::SeqCst), capacity)
    }

    /// Behind the last byte that may have been reserved.
    #[inline]
    pub(crate) fn end(&self, capacity: u64) -> u64 {
        // SeqCst: pairs with `reserve`: what was reserved before this is below the result.
        self.0.load(Ordering::SeqCst).min(capacity)
    }

    /// Sets the offset of a segment that has one writer.
    pub(crate) fn set(&self, offset: u64) {
        // Release: the record before it is filled; pairs with the load in `end`.
        self.0.store(offset, Ordering::Release);
    }
}

/// Where the pad goes when a reservation at `offset` was the one that crossed the end: later ones begin beyond it. A
/// gap shorter than a record's header holds nothing.
fn pad_at(offset: u64, capacity: u64) -> Option<u64> {
    (capacity.saturating_sub(offset) >= HEADER_BYTES as u64).then_some(offset)
}
