//! The word that a slot holds.
//!
//! ```text
//! bit  63 … 48   tag: bits of the key's hash
//!      47 … 32   number of the segment in the segment table
//!      31 …  4   offset in the segment, in units of eight bytes (28 bits)
//!       3        room for the capacity policy
//!       2        frozen: the bucket is being moved to another table (X6)
//!       1        the record was found expired (I5)
//!       0        this is an address
//! ```

const IS_ADDRESS: u64 = 1;
const EXPIRED: u64 = 1 << 1;
const OFFSET_SHIFT: u32 = 4;
const OFFSET_BITS: u32 = 28;
const SEGMENT_SHIFT: u32 = OFFSET_SHIFT + OFFSET_BITS;
const TAG_SHIFT: u32 = 48;
const UNIT_BYTES: u64 = 8;

pub(super) const TAG_BITS: u32 = u64::BITS - TAG_SHIFT;

/// What a slot holds: an address with a tag, or one of the words below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Never used since the table was made. A slot that was used never becomes virgin again (X5).
    pub(super) const VIRGIN: Word = Word(0);
    /// Used before, and free again.
    pub(super) const FREE: Word = Word(1 << OFFSET_SHIFT);
    /// The entry is leaving (X4).
    pub(super) const DEAD: Word = Word(2 << OFFSET_SHIFT);
    /// The bit that stops changes.
    pub(super) const FROZEN: u64 = 1 << 2;

    pub(super) fn new(tag: u16, address: Address) -> Word {
        Word(Word::of_tag(tag) | address.0)
    }

    /// The bits of a tag alone.
    pub(super) const fn of_tag(tag: u16) -> u64 {
        (tag as u64) << TAG_SHIFT
    }

    pub(super) fn tag(self) -> u16 {
        (self.0 >> TAG_SHIFT) as u16
    }

    pub(super) fn address(self) -> Option<Address> {
        let without_tag = self.0 & !(u64::MAX << TAG_SHIFT) & !Word::FROZEN;
        (self.0 & IS_ADDRESS != 0).then_some(Address(without_tag))
    }

    pub(super) fn is_free(self) -> bool {
        self == Word::VIRGIN || self == Word::FREE
    }

    pub(super) fn is_frozen(self) -> bool {
        self.0 & Word::FROZEN != 0
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frozen(word: Word) -> Word {
        Word(word.0 | Word::FROZEN)
    }

    #[test]
    fn a_word_gives_back_its_parts_and_an_address_is_never_free_or_dead() {
        for segment in [0, 1, u16::MAX] {
            for offset in [0, 8, 4096, (1 << 31) - 8] {
                let address = Address::new(segment, offset).unwrap();
                for address in [address, address.expired()] {
                    assert_eq!((address.segment(), address.offset_bytes()), (segment, offset));
                    for tag in [0, 1, u16::MAX] {
                        let word = Word::new(tag, address);
                        for word in [word, frozen(word)] {
                            assert_eq!((word.tag(), word.address()), (tag, Some(address)));
                            assert!(!word.is_free() && word != Word::DEAD);
                        }
                        assert!(frozen(word).is_frozen() && !word.is_frozen());
                    }
                }
                assert!(address.expired().is_expired() && !address.is_expired());
            }
        }
        for word in [Word::VIRGIN, Word::FREE, Word::DEAD] {
            assert_eq!((word.address(), frozen(word).address(), frozen(word).is_free()), (None, None, false));
        }
        assert!(Address::new(0, 4).is_none() && Address::new(0, 1 << 31).is_none());
    }
}
