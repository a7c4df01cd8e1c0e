//! From bytes, which may be hostile, to a record.

use super::checksum::Seed;
use super::layout::{
    flags, record_bytes, Kind, State, Word, DICTIONARY_AT, EXPIRE_AT, HEADER_BYTES, KEY_LEN_AT, LSN_AT,
    VALUE_LEN_AT, WORD_BYTES,
};

/// A record whose lengths and checksum were found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) codec: u8,
    /// 0: none.
    pub(crate) dictionary: u16,
    pub(crate) state: State,
    pub(crate) lsn: u64,
    pub(crate) expire_at_ms: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Bytes from this record to the next.
    pub(crate) bytes: u64,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("no record was written here")]
    Unwritten,
    #[error("the segment ends inside the record's header")]
    ShortHeader,
    #[error("unknown record state {0:#04x}")]
    BadState(u8),
    #[error("unknown record kind {0}")]
    BadKind(u8),
    #[error("unknown record flags {0:#04x}")]
    BadFlags(u8),
    #[error("dictionary {0} named by a record that holds no compressed value")]
    BadDictionary(u16),
    #[error("the record's {record_bytes} bytes do not fit the {room_bytes} left in the segment")]
    TooLong { record_bytes: u64, room_bytes: u64 },
    #[error("checksum mismatch: stored {stored:#010x}, computed {computed:#010x}")]
    Checksum { stored: u32, computed: u32 },
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(Fault::ShortHeader)
}

/// Reads the record at the start of `bytes`, which reach to the end of the segment.
pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Result<Record<'_>, Fault> {
    let (record, word) = decode_head(bytes)?;
    let checked_bytes = if record.kind == Kind::Pad { 0 } else { record.key.len() + record.value.len() };
    let checked = bytes.get(WORD_BYTES..HEADER_BYTES + checked_bytes).ok_or(Fault::ShortHeader)?;
    let computed = seed.record_crc(word, checked);
    if computed != word.crc() {
        return Err(Fault::Checksum { stored: word.crc(), computed });
    }
    Ok(record)
}

/// As [`decode`], without a look at the checksum, and so without reading the value.
pub(crate) fn decode_head(bytes: &[u8]) -> Result<(Record<'_>, Word), Fault> {
    let word = Word(u64::from_le_bytes(field::<WORD_BYTES>(bytes, 0)?));
    if word.0 == 0 {
        return Err(Fault::Unwritten);
    }
    let state_byte = (word.0 >> 56) as u8;
    let state = match word.state() {
        None | Some(State::Unwritten) => return Err(Fault::BadState(state_byte)),
        Some(state) => state,
    };
    let kind = word.kind().ok_or(Fault::BadKind(word.kind_byte()))?;
    if word.flags() & !flags::KNOWN != 0 {
        return Err(Fault::BadFlags(word.flags()));
    }
    let key_len = usize::from(u16::from_le_bytes(field(bytes, KEY_LEN_AT)?));
    let dictionary = u16::from_le_bytes(field(bytes, DICTIONARY_AT)?);
    if dictionary != 0 && (kind != Kind::Put || word.flags() & flags::ZSTD == 0) {
        return Err(Fault::BadDictionary(dictionary));
    }
    let value_len = u32::from_le_bytes(field(bytes, VALUE_LEN_AT)?) as usize;
    let total = record_bytes(key_len, value_len);
    if total > bytes.len() as u64 {
        return Err(Fault::TooLong { record_bytes: total, room_bytes: bytes.len() as u64 });
    }
    let key_end = HEADER_BYTES + key_len;
    let value_end = key_end + value_len;
    let slice = |from, to| bytes.get(from..to).ok_or(Fault::ShortHeader);
    let record = Record {
        kind,
        flags: word.flags(),
        codec: word.codec(),
        dictionary,
        state,
        lsn: u64::from_le_bytes(field(bytes, LSN_AT)?),
        expire_at_ms: u64::from_le_bytes(field(bytes, EXPIRE_AT)?),
        key: slice(HEADER_BYTES, key_end)?,
        value: slice(key_end, value_end)?,
        bytes: total,
    };
    Ok((record, word))
}

#[cfg(test)]
mod tests {
    use super::super::encode::{encode_onto, Draft};
    use super::*;
    use proptest::prelude::*;

    fn encode(draft: &Draft<'_>, seed: Seed) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_onto(&mut bytes, draft, seed, State::Committed).unwrap();
        bytes
    }

    fn draft<'a>(key: &'a [u8], value: &'a [u8]) -> Draft<'a> {
        Draft { kind: Kind::Put, flags: 0, codec: 3, dictionary: 0, lsn: 4096, expire_at_ms: 99, key, value }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let seed = Seed::from_salt(42);
        let bytes = encode(&draft(b"key", b"some value"), seed);
        let whole = decode(&bytes, seed).unwrap();
        let covered = HEADER_BYTES + 3 + 10;
        for bit in 0..covered * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, seed).is_err(), "bit {bit} of {whole:?}");
        }
    }

    #[test]
    fn a_record_of_another_segment_is_refused() {
        let bytes = encode(&draft(b"k", b"v"), Seed::from_salt(1));
        assert!(matches!(decode(&bytes, Seed::from_salt(2)), Err(Fault::Checksum { .. })));
    }

    #[test]
    fn truncation_at_every_byte_is_refused() {
        let seed = Seed::from_salt(7);
        let bytes = encode(&draft(b"key", b"value"), seed);
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], seed).is_err(), "cut to {len}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_the_same(
            key in prop::collection::vec(any::<u8>(), 0..70),
            value in prop::collection::vec(any::<u8>(), 0..300),
            lsn: u64, expire_at_ms: u64, codec: u8, dictionary: u16, salt: u64,
        ) {
            let seed = Seed::from_salt(salt);
            let draft = Draft { kind: Kind::Put, flags: flags::ZSTD, codec, dictionary, lsn, expire_at_ms, key: &key, value: &value };
            let bytes = encode(&draft, seed);
            let got = decode(&bytes, seed).unwrap();
            prop_assert_eq!((got.key, got.value), (&key[..], &value[..]));
            prop_assert_eq!((got.lsn, got.expire_at_ms, got.codec, got.flags), (lsn, expire_at_ms, codec, flags::ZSTD));
            prop_assert_eq!(got.dictionary, dictionary);
            prop_assert_eq!(got.bytes, bytes.len() as u64);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), salt: u64) {
            let _ = decode(&bytes, Seed::from_salt(salt));
        }
    }
}
