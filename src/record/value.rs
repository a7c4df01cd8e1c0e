//! Values as they are stored: plain, or compressed behind their length, or compressed with a dictionary; either way with metadata
//! behind, or without.

use super::dictionary::Dictionary;
use super::layout::flags;
use super::metadata;
use std::borrow::Cow;

/// Bytes of the decompressed length that stands before a zstd frame.
#[cfg(feature = "zstd")]
const LEN_BYTES: usize = 4;
/// Memory that a frame may ask of its reader, as a power of two: 16 MiB.
#[cfg(feature = "zstd")]
const WINDOW_LOG_MAX: u32 = 24;

/// Why a stored value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueFault {
    #[error("the compressed value claims {claimed} bytes: the limit is {max}")]
    #[cfg(feature = "zstd")]
    TooLong { claimed: usize, max: usize },
    #[error("the compressed value cannot be read: {0}")]
    #[cfg(feature = "zstd")]
    Damaged(String),
    #[error("the metadata cannot be read: {0}")]
    Metadata(&'static str),
    #[error("the value is compressed and this build has no zstd")]
    #[cfg(not(feature = "zstd"))]
    NoZstd,
}

/// The stored form of a value with its flags: compressed where that is asked for and makes it smaller.
#[cfg(feature = "zstd")]
pub(crate) fn compress(value: &[u8], level: i32) -> Option<Vec<u8>> {
    let len = u32::try_from(value.len()).ok()?;
    let mut stored = len.to_le_bytes().to_vec();
    // A stream, not a single block: its window, and with it the reader's memory, does not grow with the value.
    zstd::stream::copy_encode(value, &mut stored, level).ok()?;
    (stored.len() < value.len()).then_some(stored)
}

#[cfg(not(feature = "zstd"))]
pub(crate) fn compress(_value: &[u8], _level: i32) -> Option<Vec<u8>> {
    None
}

/// The value behind its stored form, given the dictionary that the record names, if it names one.
pub(crate) fn restore<'s>(
    record_flags: u8,
    dictionary: Option<&Dictionary>,
    stored: &'s [u8],
    bytes_max: usize,
) -> Result<Cow<'s, [u8]>, ValueFault> {
    let (value, _) = metadata::split(record_flags, stored)?;
    if record_flags & flags::ZSTD == 0 {
        return Ok(Cow::Borrowed(value));
    }
    match dictionary {
        Some(dictionary) => dictionary.decompress(value, bytes_max),
        None => decompress(value, bytes_max),
    }
    .map(Cow::Owned)
}

#[cfg(feature = "zstd")]
fn decompress(stored: &[u8], bytes_max: usize) -> Result<Vec<u8>, ValueFault> {
    let damaged = |reason: &str| ValueFault::Damaged(reason.into());
    let (claimed, frame) =
        stored.split_first_chunk::<LEN_BYTES>().ok_or_else(|| damaged("it has no length"))?;
    let claimed = u32::from_le_bytes(*claimed) as usize;
    unframe(frame, Some(claimed), bytes_max)
}

/// What zstd frames hold: no more than `bytes_max`, and just as much as is claimed.
#[cfg(feature = "zstd")]
pub(crate) fn unframe(frame: &[u8], claimed: Option<usize>, bytes_max: usize) -> Result<Vec<u8>, ValueFault> {
    use std::io::Read;
    let damaged = |reason: &str| ValueFault::Damaged(reason.into());
    let len = claimed.unwrap_or(bytes_max);
    if len > bytes_max {
        return Err(ValueFault::TooLong { claimed: len, max: bytes_max });
    }
    // Four bytes make a block, and a block no more than 128 KiB (RFC 8878, 3.1.1.2).
    if claimed.is_some_and(|len| len as u64 > (frame.len() as u64 / 4 + 1) << 17) {
        return Err(damaged("it claims more bytes than its frame can hold"));
    }
    let fault = |e: std::io::Error| ValueFault::Damaged(e.to_string());
    let mut reader = zstd::stream::read::Decoder::with_buffer(frame).map_err(fault)?;
    reader.window_log_max(WINDOW_LOG_MAX).map_err(fault)?;
    // The buffer grows with what comes out, not with what is claimed.
    let mut value = Vec::with_capacity(claimed.unwrap_or(0).min(1 << 20));
    reader.take(len as u64 + 1).read_to_end(&mut value).map_err(fault)?;
    match claimed {
        Some(len) if value.len() != len => Err(damaged("its length is not the one claimed")),
        None if value.len() > bytes_max => Err(ValueFault::TooLong { claimed: value.len(), max: bytes_max }),
        _ => Ok(value),
    }
}

#[cfg(not(feature = "zstd"))]
fn decompress(_stored: &[u8], _bytes_max: usize) -> Result<Vec<u8>, ValueFault> {
    Err(ValueFault::NoZstd)
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_value_comes_back_and_one_that_would_grow_is_stored_plain() {
        let value = b"abc".repeat(1000);
        let stored = compress(&value, 3).unwrap();
        assert!(stored.len() < 100);
        assert_eq!(restore(flags::ZSTD, None, &stored, 3000).unwrap(), &value[..]);
        assert_eq!(compress(b"xyz", 3), None);
    }

    #[test]
    fn a_claim_above_the_limit_or_unlike_the_content_is_refused() {
        let mut stored = compress(&[0; 10_000], 1).unwrap();
        assert!(matches!(restore(flags::ZSTD, None, &stored, 9_999), Err(ValueFault::TooLong { .. })));
        for claimed in [9_999u32, 10_001] {
            stored[..4].copy_from_slice(&claimed.to_le_bytes());
            assert!(matches!(restore(flags::ZSTD, None, &stored, 1 << 30), Err(ValueFault::Damaged(_))));
        }
        for len in 0..stored.len() {
            assert!(restore(flags::ZSTD, None, &stored[..len], 1 << 30).is_err());
        }
    }
}
