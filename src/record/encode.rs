//! From fields to bytes.

use super::checksum::Seed;
use super::layout::{record_bytes, Kind, State, Word, HEADER_BYTES, WORD_BYTES};

/// The fields of a record that is about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) codec: u8,
    /// Number of the dictionary that the value is compressed with; 0: none.
    pub(crate) dictionary: u16,
    pub(crate) lsn: u64,
    pub(crate) expire_at_ms: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Writes everything behind the word into `body` and returns the word, in state `state`.
///
/// `body` begins at byte 8 of the record and must hold the header's rest, key and value; bytes behind the
/// value are left alone (a fresh file has zeros there). Returns `None` when a length does not fit its field
/// or `body`.
pub(crate) fn fill_body(body: &mut [u8], draft: &Draft<'_>, seed: Seed, state: State) -> Option<Word> {
    let end = HEADER_BYTES - WORD_BYTES + draft.key.len() + draft.value.len();
    let body = body.get_mut(..end)?;
    fill_head(body, draft, draft.value.len())?;
    let (key, value) = body.get_mut(HEADER_BYTES - WORD_BYTES..)?.split_at_mut_checked(draft.key.len())?;
    key.copy_from_slice(draft.key);
    value.copy_from_slice(draft.value);
    Some(word_for(body, draft, seed, state))
}

/// As [`fill_body`], for a frame whose members already stand in `body` where its value belongs (I13).
pub(crate) fn frame_body(body: &mut [u8], frame: &Draft<'_>, seed: Seed, state: State) -> Option<Word> {
    let value_len = body.len().checked_sub(HEADER_BYTES - WORD_BYTES)?;
    fill_head(body, frame, value_len)?;
    Some(word_for(body, frame, seed, state))
}

/// Appends the whole record, word and padding included, to `to`.
pub(crate) fn encode_onto(to: &mut Vec<u8>, draft: &Draft<'_>, seed: Seed, state: State) -> Option<()> {
    let start = to.len();
    let bytes = usize::try_from(record_bytes(draft.key.len(), draft.value.len())).ok()?;
    to.resize(start.checked_add(bytes)?, 0);
    let (word_bytes, body) = to.get_mut(start..)?.split_at_mut_checked(WORD_BYTES)?;
    let word = fill_body(body, draft, seed, state)?;
    word_bytes.copy_from_slice(&word.0.to_le_bytes());
    Some(())
}

fn fill_head(body: &mut [u8], draft: &Draft<'_>, value_len: usize) -> Option<()> {
    let key_len = u16::try_from(draft.key.len()).ok()?;
    let value_len = u32::try_from(value_len).ok()?;
    // One 24-byte image, so that the fixed part is stored in whole words.
    let lengths = u64::from(key_len) | u64::from(draft.dictionary) << 16 | u64::from(value_len) << 32;
    let head: [u64; 3] = [lengths, draft.lsn, draft.expire_at_ms];
    for (to, from) in body.get_mut(..HEADER_BYTES - WORD_BYTES)?.chunks_exact_mut(8).zip(head) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    Some(())
}

fn word_for(body: &[u8], draft: &Draft<'_>, seed: Seed, state: State) -> Word {
    let unchecked = Word::new(0, draft.kind, draft.flags, draft.codec, state);
    let crc = seed.record_crc(unchecked, body);
    Word::new(crc, draft.kind, draft.flags, draft.codec, state)
}
