//! The word that an entry holds. Model: `tests/loom/src/publish.rs`.
//!
//! ```text
//! bit  63 … 48   unused, zero
//!      47 … 32   number of the segment in the segment table
//!      31 …  4   offset in the segment, in units of eight bytes (28 bits)
//!       1        the record was found expired (I5)
//!       0        this is an address
//! ```

use crate::sync::{AtomicU64, Ordering};

const IS_ADDRESS: u64 = 1;
const EXPIRED: u64 = 1 << 1;
const OFFSET_SHIFT: u32 = 4;
const OFFSET_BITS: u32 = 28;
const SEGMENT_SHIFT: u32 = OFFSET_SHIFT + OFFSET_BITS;
const UNIT_BYTES: u64 = 8;

/// No record yet.
const EMPTY: u64 = 0;
/// The entry is leaving the map.
const DEAD: u64 = 1 << 2;

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Dead,
    At(Address),
}

impl Content {
    fn of(word: u64) -> Content {
        match word {
            DEAD => Content::Dead,
            word if word & IS_ADDRESS != 0 => Content::At(Address(word)),
            _ => Content::Empty,
        }
    }

    fn word(self) -> u64 {
        match self {
            Content::Empty => EMPTY,
            Content::Dead => DEAD,
            Content::At(address) => address.0,
        }
    }

    pub(crate) fn address(self) -> Option<Address> {
        match self {
            Content::At(address) => Some(address),
            _ => None,
        }
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

    /// Whether both name the same record, whatever the tag.
    pub(crate) fn is_same_place(self, other: Address) -> bool {
        self.expired() == other.expired()
    }
}

/// Why a record was not published in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What stands there is newer.
    Newer,
    /// The entry is leaving the map.
    Dead,
}

/// The atomic word of one entry.
pub(crate) struct Slot(AtomicU64);

impl Slot {
    pub(super) fn empty() -> Slot {
        Slot(AtomicU64::new(EMPTY))
    }

    pub(crate) fn load(&self) -> Content {
        // Acquire: the record behind the address is filled; pairs with the AcqRel in `compare_exchange`.
        Content::of(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn compare_exchange(&self, from: Content, to: Address) -> Result<(), Content> {
        self.change(from.word(), to.0)
    }

    /// Publishes the record of `lsn` over whatever stands here, unless that is newer (I2). `lsn_at` gives the LSN of the
    /// record at an address; the last one it was asked for, if any, is the one replaced.
    #[inline]
    pub(crate) fn replace_older(
        &self,
        new: Address,
        lsn: u64,
        mut lsn_at: impl FnMut(Address) -> Option<u64>,
    ) -> Result<(), Refused> {
        let mut content = self.load();
        loop {
            match content {
                Content::At(address) if lsn_at(address).is_some_and(|found| found > lsn) => {
                    return Err(Refused::Newer)
                }
                Content::Dead => return Err(Refused::Dead),
                _ => {}
            }
            match self.compare_exchange(content, new) {
                Ok(()) => return Ok(()),
                Err(found) => content = found,
            }
        }
    }

    /// Publishes a record over exactly the one seen at `expected` (I3). Where that has moved, `is_moved` says whether an
    /// address leads to it. Returns what was replaced, or what stands here instead.
    #[inline]
    pub(crate) fn replace_exactly(
        &self,
        mut expected: Content,
        new: Address,
        mut is_moved: impl FnMut(Address) -> bool,
    ) -> Result<Content, Content> {
        loop {
            match self.compare_exchange(expected, new) {
                Ok(()) => return Ok(expected),
                Err(Content::At(address)) if is_moved(address) => expected = Content::At(address),
                Err(found) => return Err(found),
            }
        }
    }

    /// Lets the entry leave, if it still holds `mask`.
    pub(super) fn seal(&self, mask: Address) -> bool {
        self.change(mask.0, DEAD).is_ok()
    }

    fn change(&self, from: u64, to: u64) -> Result<(), Content> {
        // AcqRel: publishes the record that `to` leads to; pairs with the Acquire in `load` and below.
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(Content::of)
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
                    assert_eq!(Content::of(Content::At(address).word()), Content::At(address));
                }
                assert!(address.expired().is_expired() && !address.is_expired());
            }
        }
        assert_eq!((Content::of(EMPTY), Content::of(DEAD)), (Content::Empty, Content::Dead));
        assert!(Address::new(0, 4).is_none() && Address::new(0, 1 << 31).is_none());
    }
}
