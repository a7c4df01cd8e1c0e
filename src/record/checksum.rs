//! CRC-32 (IEEE) keyed with a segment's salt.

use super::layout::{Word, HEADER_BYTES, WORD_BYTES};

/// Adds a record without its value to a checksum of such: the first `HEADER_BYTES`, then the key.
pub(crate) fn heads_crc(crc: u32, word: Word, fixed: &[u8], key: &[u8]) -> u32 {
    // One run for all but long keys, as below.
    const RUN_BYTES: usize = 128;
    let mut run = [0u8; RUN_BYTES];
    let mut crc = crc32fast::Hasher::new_with_initial(crc);
    let mut len = 0;
    for part in [&word.0.to_le_bytes()[..], fixed, key] {
        match run.get_mut(len..len + part.len()) {
            Some(room) => {
                room.copy_from_slice(part);
                len += part.len();
            }
            None => {
                crc.update(&run[..len]);
                crc.update(part);
                len = 0;
            }
        }
    }
    crc.update(&run[..len]);
    crc.finalize()
}

/// The checksum's start value for one segment: the CRC of its salt, so that bytes a user stored,
/// or another segment's records, never pass for records here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn from_salt(salt: u64) -> Seed {
        Seed(crc32fast::hash(&salt.to_le_bytes()))
    }

    /// Checksum of a record: `word` without crc and state, then `body`, which is everything behind the
    /// word up to the end of the value.
    pub(crate) fn record_crc(self, word: Word, body: &[u8]) -> u32 {
        // Word and fixed fields go in as one run: many short updates cost more than a copy of 24 bytes.
        const FIXED: usize = HEADER_BYTES - WORD_BYTES;
        let mut head = [0u8; 3 + FIXED];
        let fixed = body.len().min(FIXED);
        head[..3].copy_from_slice(&word.checked_bytes());
        head[3..3 + fixed].copy_from_slice(&body[..fixed]);
        let mut crc = crc32fast::Hasher::new_with_initial(self.0);
        crc.update(&head[..3 + fixed]);
        crc.update(&body[fixed..]);
        crc.finalize()
    }
}
