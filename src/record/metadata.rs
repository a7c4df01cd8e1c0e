//! The map beside a value. It stands behind the value's stored form, so that both are one record:
//!
//! ```text
//! value, as it is stored without metadata
//! pairs, by name: u16 name length, u32 value length, name (UTF-8), value
//! u32 length of all pairs
//! ```

use super::layout::flags;
use super::value::ValueFault;
use std::collections::BTreeMap;

/// Names and values that are kept beside an entry's value.
pub type Metadata = BTreeMap<String, Vec<u8>>;

const LEN_BYTES: usize = 4;
const PAIR_HEAD_BYTES: usize = 2 + 4;

/// Bytes that metadata takes behind a value.
pub(crate) fn metadata_bytes(metadata: &Metadata) -> usize {
    let bytes = |(name, value): (&String, &Vec<u8>)| PAIR_HEAD_BYTES + name.len() + value.len();
    metadata.iter().map(bytes).sum::<usize>() + if metadata.is_empty() { 0 } else { LEN_BYTES }
}

/// Puts metadata behind a stored value. The lengths were checked: `check_metadata`, and the bytes of both together.
pub(crate) fn append_metadata(to: &mut Vec<u8>, metadata: &Metadata) {
    let start = to.len();
    for (name, value) in metadata {
        to.extend_from_slice(&(name.len() as u16).to_le_bytes());
        to.extend_from_slice(&(value.len() as u32).to_le_bytes());
        to.extend_from_slice(name.as_bytes());
        to.extend_from_slice(value);
    }
    let len = (to.len() - start) as u32;
    to.extend_from_slice(&len.to_le_bytes());
}

/// The length of the first name that no record can hold.
pub(crate) fn check_metadata(metadata: &Metadata) -> Result<(), usize> {
    match metadata.keys().find(|name| name.len() > usize::from(u16::MAX)) {
        Some(name) => Err(name.len()),
        None => Ok(()),
    }
}

/// A value's stored form, and the pairs behind it.
pub(super) fn split(record_flags: u8, stored: &[u8]) -> Result<(&[u8], &[u8]), ValueFault> {
    if record_flags & flags::METADATA == 0 {
        return Ok((stored, &[]));
    }
    let too_short = || ValueFault::Metadata("it is longer than what is stored");
    let (rest, len) = stored.split_last_chunk::<LEN_BYTES>().ok_or_else(too_short)?;
    let at = rest.len().checked_sub(u32::from_le_bytes(*len) as usize).ok_or_else(too_short)?;
    rest.split_at_checked(at).ok_or_else(too_short)
}

/// All that stands behind the stored form of a value: what `append_metadata` put there. The record was read before.
pub(crate) fn metadata_part(record_flags: u8, stored: &[u8]) -> &[u8] {
    let value_len = split(record_flags, stored).map_or(0, |(value, _)| value.len());
    stored.get(value_len..).unwrap_or_default()
}

/// The metadata of a record.
pub(crate) fn read_metadata(record_flags: u8, stored: &[u8]) -> Result<Metadata, ValueFault> {
    let (_, mut pairs) = split(record_flags, stored)?;
    let mut metadata = Metadata::new();
    while !pairs.is_empty() {
        let (name, value);
        (name, value, pairs) = first_pair(pairs).ok_or(ValueFault::Metadata("a pair is cut off"))?;
        let name = std::str::from_utf8(name).map_err(|_| ValueFault::Metadata("a name is not UTF-8"))?;
        metadata.insert(name.into(), value.to_vec());
    }
    Ok(metadata)
}

/// Name and value of the first pair, and what comes behind.
fn first_pair(pairs: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_len, rest) = pairs.split_first_chunk::<2>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_len)))?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use super::super::value::restore;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn value_and_metadata_come_back_and_neither_is_seen_in_the_other(
            value in prop::collection::vec(any::<u8>(), 0..50),
            metadata in prop::collection::btree_map(".{0,9}", prop::collection::vec(any::<u8>(), 0..20), 1..5),
        ) {
            let mut stored = value.clone();
            append_metadata(&mut stored, &metadata);
            prop_assert_eq!(stored.len(), value.len() + metadata_bytes(&metadata));
            prop_assert_eq!(restore(flags::METADATA, None, &stored, 1 << 20).unwrap(), &value[..]);
            prop_assert_eq!(read_metadata(flags::METADATA, &stored).unwrap(), metadata);
        }

        #[test]
        fn hostile_metadata_is_refused_or_read_but_never_panics(
            stored in prop::collection::vec(any::<u8>(), 0..60), len in 0u32..70,
        ) {
            let _ = read_metadata(flags::METADATA, &stored);
            let stored = [&stored[..], &len.to_le_bytes()].concat();
            if len as usize + LEN_BYTES > stored.len() {
                prop_assert!(restore(flags::METADATA, None, &stored, 1 << 20).is_err());
            }
            let _ = read_metadata(flags::METADATA, &stored);
        }
    }

    #[test]
    fn metadata_that_is_cut_off_is_refused() {
        let mut stored = Vec::new();
        append_metadata(&mut stored, &Metadata::from([("name".into(), b"value".to_vec())]));
        let pairs_len = stored.len() - LEN_BYTES;
        for len in 1..pairs_len {
            let cut = [&stored[..len], &(len as u32).to_le_bytes()].concat();
            assert!(read_metadata(flags::METADATA, &cut).is_err(), "cut to {len}");
        }
    }
}
