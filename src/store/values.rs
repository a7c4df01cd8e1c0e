//! Values: from what is stored to what was given, and back.

use super::{Found, Seen, Store};
use crate::error::{Error, Result};
use crate::index::Address;
use crate::log::Segment;
use crate::options::{Compression, ZSTD_THRESHOLD_BYTES};
use crate::record::{compress, flags, metadata_part, restore, Dictionary, Draft, DICTIONARY_VALUE_BYTES_MAX};
use std::borrow::Cow;
use std::path::Path;

/// A value as it is stored.
pub(crate) struct Packed<'v> {
    /// Those of its record that say how.
    pub(crate) flags: u8,
    /// Number of the dictionary that it is compressed with; 0: none.
    pub(crate) dictionary: u16,
    pub(crate) bytes: Cow<'v, [u8]>,
}

impl Store {
    /// The form in which a value is stored from now on.
    pub(crate) fn pack<'v>(&self, value: &'v [u8]) -> Packed<'v> {
        let without = |level, threshold_bytes| {
            let bytes = if value.len() >= threshold_bytes { compress(value, level) } else { None };
            bytes.map(|bytes| (0, bytes))
        };
        let packed = match self.options.compression {
            Compression::Off => None,
            Compression::Zstd { level, threshold_bytes } => without(level, threshold_bytes),
            Compression::ZstdDictionary { level } => match self.dictionaries.newest() {
                Some(dictionary) if value.len() <= DICTIONARY_VALUE_BYTES_MAX => {
                    dictionary.compress(value).map(|bytes| (dictionary.number(), bytes))
                }
                _ => without(level, ZSTD_THRESHOLD_BYTES),
            },
        };
        if self.options.compression != Compression::Off && value.len() <= DICTIONARY_VALUE_BYTES_MAX {
            let to = packed.as_ref().map_or(value.len(), |(_, bytes)| bytes.len());
            self.counters.compressed_from_bytes.add(value.len() as i64);
            self.counters.compressed_to_bytes.add(to as i64);
        }
        match packed {
            Some((dictionary, bytes)) => Packed { flags: flags::ZSTD, dictionary, bytes: Cow::Owned(bytes) },
            None => Packed { flags: 0, dictionary: 0, bytes: Cow::Borrowed(value) },
        }
    }

    /// The stored form of a record's value, made anew with the newest dictionary, where that is another one and makes it smaller. What
    /// cannot be read stays as it is.
    pub(crate) fn repack(&self, offset: u64, record: Found<'_>) -> Option<(u16, Vec<u8>)> {
        let newest = self.dictionaries.newest()?;
        let view = record.1;
        if view.dictionary == newest.number() {
            return None;
        }
        let mut bytes = newest.compress(&self.value_at(offset, record).ok()?)?;
        bytes.extend_from_slice(metadata_part(view.word.flags(), view.value));
        (bytes.len() < view.value.len()).then_some((newest.number(), bytes))
    }

    /// # Errors
    /// [`Error::Corrupt`] with the dictionary's file, where that is missing or damaged.
    pub(crate) fn dictionary(&self, number: u16) -> Result<&Dictionary> {
        self.dictionaries.get(number).ok_or_else(|| {
            let directory = self.log.files.directory.as_ref();
            let path = directory.map_or(Path::new("memory"), |directory| &directory.path);
            self.dictionaries.lack_of(number, path)
        })
    }

    /// The value of a record: decompressed, without its metadata.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for one that is not what was written: the open may have left it unread.
    #[inline]
    pub(crate) fn value_of<'g>(&self, address: Address, record: Found<'g>) -> Result<Cow<'g, [u8]>> {
        self.value_at(address.offset_bytes(), record)
    }

    /// As `value_of`, of the record at an offset of its segment.
    #[inline]
    pub(crate) fn value_at<'g>(&self, offset: u64, record: Found<'g>) -> Result<Cow<'g, [u8]>> {
        let (segment, view) = record;
        segment.check_unread(offset)?;
        // Plain values are the common case: no detour.
        if view.word.flags() & flags::WRAPPED == 0 {
            return Ok(Cow::Borrowed(view.value));
        }
        self.unwrapped(segment, offset)
    }

    /// The value of a record to be, as the caller gave it; `None` if it cannot be had.
    pub(super) fn unwrapped_value<'v>(&self, draft: &Draft<'v>) -> Option<Cow<'v, [u8]>> {
        if draft.flags & flags::WRAPPED == 0 {
            return Some(Cow::Borrowed(draft.value));
        }
        let dictionary = match draft.dictionary {
            0 => None,
            number => Some(self.dictionary(number).ok()?),
        };
        restore(draft.flags, dictionary, draft.value, self.options.value_bytes_max as usize).ok()
    }

    // Given a place and not the record, as `Segment::check`.
    #[inline(never)]
    fn unwrapped<'g>(&self, segment: &'g Segment, offset: u64) -> Result<Cow<'g, [u8]>> {
        let Some(view) = segment.view(offset) else { return Ok(Cow::Borrowed(&[])) };
        let dictionary = match view.dictionary {
            0 => None,
            number => Some(self.dictionary(number)?),
        };
        let max = self.options.value_bytes_max as usize;
        restore(view.word.flags(), dictionary, view.value, max).map_err(|fault| {
            let reason = format!("key of {} bytes: {fault}", view.key.len());
            Error::corrupt(segment.path(), offset, reason)
        })
    }

    /// As `value_of`, of what stands for a key; empty if nothing does.
    #[inline]
    pub(crate) fn value_seen<'g>(&self, seen: &Seen<'g>) -> Result<Cow<'g, [u8]>> {
        match seen.standing() {
            Some(slot) => self.value_of(slot.address(), slot.record()),
            None => Ok(Cow::Borrowed(&[])),
        }
    }

    /// Refuses what stands for a key if the open left it unread and it is not what was written.
    pub(crate) fn check_seen(&self, seen: &Seen<'_>) -> Result<()> {
        let Some(slot) = seen.standing() else { return Ok(()) };
        let (segment, _) = slot.record();
        segment.check_unread(slot.address().offset_bytes())
    }
}
