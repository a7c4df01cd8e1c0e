//! Where each field stands. Offsets are derived from one another and checked when compiled.

pub(crate) const WORD_BYTES: usize = 8;
pub(crate) const KEY_LEN_AT: usize = WORD_BYTES;
pub(crate) const DICTIONARY_AT: usize = KEY_LEN_AT + 2;
pub(crate) const VALUE_LEN_AT: usize = DICTIONARY_AT + 2;
pub(crate) const LSN_AT: usize = VALUE_LEN_AT + 4;
pub(crate) const EXPIRE_AT: usize = LSN_AT + 8;
pub(crate) const HEADER_BYTES: usize = EXPIRE_AT + 8;
pub(crate) const ALIGN_BYTES: usize = 8;

const _: () = assert!(HEADER_BYTES == 32 && HEADER_BYTES % ALIGN_BYTES == 0);

/// Bytes that a record takes in a segment, the zeros at its end included.
pub(crate) const fn record_bytes(key_len: usize, value_len: usize) -> u64 {
    ((HEADER_BYTES + key_len + value_len) as u64).next_multiple_of(ALIGN_BYTES as u64)
}

/// What a record says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The key has this value.
    Put = 1,
    /// The key is gone.
    Tombstone = 2,
    /// A frame: its value is a run of records that count together or not at all (I13).
    Batch = 3,
    /// Every key written before is gone (I14).
    Clear = 4,
    /// Nothing; fills the end of a segment.
    Pad = 5,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Put,
            2 => Kind::Tombstone,
            3 => Kind::Batch,
            4 => Kind::Clear,
            5 => Kind::Pad,
            _ => return None,
        })
    }
}

/// Bits of the flags byte.
pub(crate) mod flags {
    /// The value is a zstd frame: preceded by its decompressed length (u32), or, where the record names a dictionary, made with
    /// that and without its magic number.
    pub(crate) const ZSTD: u8 = 1 << 0;
    /// The record lies inside a batch frame and counts only with it.
    pub(crate) const IN_BATCH: u8 = 1 << 2;
    /// The tombstone stands for an entry that had to make room.
    pub(crate) const EVICTED: u8 = 1 << 3;
    /// The tombstone stands for an entry that expired.
    pub(crate) const EXPIRED: u8 = 1 << 4;
    /// The record came from the tier.
    pub(crate) const FROM_TIER: u8 = 1 << 5;
    /// Metadata stands behind the value.
    pub(crate) const METADATA: u8 = 1 << 6;
    /// What is stored is not the value as it is.
    pub(crate) const WRAPPED: u8 = ZSTD | METADATA;
    /// Every bit that this version writes or understands.
    pub(crate) const KNOWN: u8 = 0b0111_1111;
}

/// How far a record has come. Any two codes differ in at least four bits, so that no small damage
/// turns one into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Reserved, not filled.
    Unwritten = 0x00,
    /// Filled, not decided.
    Pending = 0x0f,
    /// Published; counts.
    Committed = 0xf0,
    /// Lost its race; never counts.
    Aborted = 0xff,
}

impl State {
    pub(crate) fn from_byte(byte: u8) -> Option<State> {
        Some(match byte {
            0x00 => State::Unwritten,
            0x0f => State::Pending,
            0xf0 => State::Committed,
            0xff => State::Aborted,
            _ => return None,
        })
    }
}

/// The first eight bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

const KIND_SHIFT: u32 = 32;
const FLAGS_SHIFT: u32 = 40;
const CODEC_SHIFT: u32 = 48;
const STATE_SHIFT: u32 = 56;

impl Word {
    pub(crate) fn new(crc: u32, kind: Kind, flags: u8, codec: u8, state: State) -> Word {
        Word(
            u64::from(crc)
                | (kind as u64) << KIND_SHIFT
                | u64::from(flags) << FLAGS_SHIFT
                | u64::from(codec) << CODEC_SHIFT
                | (state as u64) << STATE_SHIFT,
        )
    }

    pub(crate) fn crc(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn kind_byte(self) -> u8 {
        (self.0 >> KIND_SHIFT) as u8
    }

    pub(crate) fn kind(self) -> Option<Kind> {
        Kind::from_byte(self.kind_byte())
    }

    /// As comparing `kind` and `state`, which must look whether the byte is one: of what may be damaged.
    pub(crate) fn is_of(self, kind: Kind) -> bool {
        self.kind_byte() == kind as u8
    }

    /// Whether this is a put that is committed and whose value stands there as it is.
    #[inline]
    pub(crate) fn is_plain_put(self) -> bool {
        const KIND: u64 = 0xff << KIND_SHIFT;
        const STATE: u64 = 0xff << STATE_SHIFT;
        const WRAPPED: u64 = (flags::WRAPPED as u64) << FLAGS_SHIFT;
        const PLAIN_PUT: u64 = (Kind::Put as u64) << KIND_SHIFT | (State::Committed as u64) << STATE_SHIFT;
        self.0 & (KIND | STATE | WRAPPED) == PLAIN_PUT
    }

    pub(crate) fn is(self, state: State) -> bool {
        (self.0 >> STATE_SHIFT) as u8 == state as u8
    }

    pub(crate) fn flags(self) -> u8 {
        (self.0 >> FLAGS_SHIFT) as u8
    }

    pub(crate) fn codec(self) -> u8 {
        (self.0 >> CODEC_SHIFT) as u8
    }

    pub(crate) fn state(self) -> Option<State> {
        State::from_byte((self.0 >> STATE_SHIFT) as u8)
    }

    pub(crate) fn with_state(self, state: State) -> Word {
        Word(self.0 & !(0xff << STATE_SHIFT) | (state as u64) << STATE_SHIFT)
    }

    /// The bytes of the word that the checksum covers: kind, flags and codec.
    pub(crate) fn checked_bytes(self) -> [u8; 3] {
        [self.kind_byte(), self.flags(), self.codec()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_committed_put_without_compression_or_metadata_is_plain() {
        for kind in [Kind::Put, Kind::Tombstone, Kind::Batch, Kind::Clear, Kind::Pad] {
            for state in [State::Unwritten, State::Pending, State::Committed, State::Aborted] {
                for flags in 0..=u8::MAX {
                    let word = Word::new(u32::MAX, kind, flags, u8::MAX, state);
                    let is_put = kind == Kind::Put && state == State::Committed;
                    let is_plain = is_put && flags & (flags::ZSTD | flags::METADATA) == 0;
                    assert_eq!(word.is_plain_put(), is_plain, "{kind:?} {state:?} {flags}");
                }
            }
        }
    }

    #[test]
    fn states_differ_in_at_least_four_bits() {
        let all = [State::Unwritten, State::Pending, State::Committed, State::Aborted];
        for a in all {
            for b in all {
                assert!(a == b || (a as u8 ^ b as u8).count_ones() >= 4, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn a_state_change_leaves_the_rest_of_the_word() {
        let pending = Word::new(0xdead_beef, Kind::Put, flags::ZSTD, 7, State::Pending);
        let done = pending.with_state(State::Committed);
        assert_eq!(
            (done.crc(), done.kind(), done.flags(), done.codec()),
            (0xdead_beef, Some(Kind::Put), 1, 7)
        );
        assert_eq!(done.state(), Some(State::Committed));
        assert_eq!(done.with_state(State::Pending), pending);
    }
}
