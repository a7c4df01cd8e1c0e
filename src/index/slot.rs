//! The word that an entry holds.
//!
//! ```text
//! bit  63 … 48   unused, zero
//!      47 … 32   number of the segment in the segment table
//!      31 …  4   offset in the segment, in units of eight bytes (28 bits)
//!       1        the record was found expired (I5)
//!       0        this is an address
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

const IS_ADDRESS: u64 = 1;
const EXPIRED: u64 = 1 << 1;
const OFFSET_SHIFT: u32 = 4;
const OFFSET_BITS: u32 = 28;
const SEGMENT_SHIFT: u32 = OFFSET_SHIFT + OFFSET_BITS;
const UNIT_BYTES: u64 = 8;

/// A slot's value: an address, or one of the two that are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotWord(u64);

/// No record yet.
pub(super) const EMPTY: SlotWord = SlotWord(0);
/// The entry is leaving the map.
pub(super) const DEAD: SlotWord = SlotWord(1 << 2);

impl SlotWord {
    pub(super) fn address(self) -> Option<Address> {
        (self.0 & IS_ADDRESS != 0).then_some(Address(self.0))
    }
}

/// Where a record lies, and whether it was found expired there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(u64);

impl Address {
    /// `None` when the offset is no multiple of eight or does not fit.
    pub(crate) fn new(segment: u16, offset_bytes: u64) -> Option<Address> {
        let units = offset_bytes / UNIT_BYTES;
        if offset_bytes % UNIT_BYTES != 0 || units >= 1 << OFFSET_BITS {
            return None;
        }
        Some(Address(u64::from(segment) << SEGMENT_SHIFT | units << OFFSET_SHIFT | IS_ADDRESS))
    }

    pub(crate) fn segment(self) -> u16 {
        (self.0 >> SEGMENT_SHIFT) as u16
    }

    pub(crate) fn offset_bytes(self) -> u64 {
        (self.0 >> OFFSET_SHIFT & ((1 << OFFSET_BITS) - 1)) * UNIT_BYTES
    }

    /// The same record, as a mask.
    pub(crate) fn expired(self) -> Address {
        Address(self.0 | EXPIRED)
    }

    pub(crate) fn is_expired(self) -> bool {
        self.0 & EXPIRED != 0
    }

    pub(super) fn word(self) -> SlotWord {
        SlotWord(self.0)
    }
}

/// The atomic word of one entry.
pub(super) struct Slot(AtomicU64);

impl Slot {
    pub(super) fn empty() -> Slot {
        Slot(AtomicU64::new(EMPTY.0))
    }

    pub(super) fn load(&self) -> SlotWord {
        // Acquire: the record behind the address is filled; pairs with the AcqRel in `compare_exchange`.
        SlotWord(self.0.load(Ordering::Acquire))
    }

    pub(super) fn compare_exchange(&self, from: SlotWord, to: SlotWord) -> Result<(), SlotWord> {
        // AcqRel: publishes the record that `to` leads to; pairs with the Acquire in `load` and below.
        self.0
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(SlotWord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_back_its_parts_and_is_never_empty_or_dead() {
        for segment in [0, 1, u16::MAX] {
            for offset in [0, 8, 4096, (1 << 31) - 8] {
                let address = Address::new(segment, offset).unwrap();
                for address in [address, address.expired()] {
                    assert_eq!((address.segment(), address.offset_bytes()), (segment, offset));
                    assert_eq!(address.word().address(), Some(address));
                }
                assert!(address.expired().is_expired() && !address.is_expired());
            }
        }
        assert!(EMPTY.address().is_none() && DEAD.address().is_none());
        assert!(Address::new(0, 4).is_none() && Address::new(0, 1 << 31).is_none());
    }
}
