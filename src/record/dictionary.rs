//! Dictionaries: text that zstd is to know beforehand, so that small values which are alike become small.
//!
//! The stored form of a value that was compressed with one is a zstd frame without its magic number, which is the same four bytes
//! in every frame. The frame states the length of the value; the record, not the frame, names the dictionary.

use super::value::ValueFault;

/// Values longer than this have little use for a dictionary. It also bounds what a forged frame makes its reader allocate.
pub(crate) const DICTIONARY_VALUE_BYTES_MAX: usize = 64 << 10;
/// Shorter values are stored as they are: a frame's own bytes would eat up what it saves.
#[cfg(feature = "zstd")]
const DICTIONARY_VALUE_BYTES_MIN: usize = 16;

/// A dictionary that is ready for use, by many threads at once. Its bytes never change, and its number is never given to another.
pub(crate) struct Dictionary {
    number: u16,
    bytes: Vec<u8>,
    #[cfg(feature = "zstd")]
    prepared: Prepared,
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Dictionary {
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(not(feature = "zstd"))]
impl Dictionary {
    /// Only a build with zstd makes use of it: its bytes are kept for copies of the store.
    pub(crate) fn new(number: u16, bytes: Vec<u8>, _level: Option<i32>) -> Option<Dictionary> {
        Some(Dictionary { number, bytes })
    }

    pub(crate) fn can_compress(&self) -> bool {
        false
    }

    pub(crate) fn compress(&self, _value: &[u8]) -> Option<Vec<u8>> {
        None
    }

    pub(super) fn decompress(&self, _stored: &[u8], _bytes_max: usize) -> Result<Vec<u8>, ValueFault> {
        Err(ValueFault::NoZstd)
    }
}

#[cfg(not(feature = "zstd"))]
pub(crate) fn train(_samples: &[&[u8]], _bytes_max: usize) -> Option<Vec<u8>> {
    None
}

#[cfg(feature = "zstd")]
pub(crate) use with_zstd::train;
#[cfg(feature = "zstd")]
use with_zstd::Prepared;

#[cfg(feature = "zstd")]
mod with_zstd {
    use super::*;
    use std::cell::RefCell;
    use zstd::zstd_safe::{compress_bound, get_frame_content_size, CCtx, CDict, DCtx, DDict};

    /// What every frame begins with (RFC 8878, 3.1.1).
    const FRAME_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    /// What a trained dictionary begins with, before its identifier (RFC 8878, 5).
    const DICTIONARY_MAGIC: [u8; 4] = 0xec30_a437_u32.to_le_bytes();

    pub(super) struct Prepared {
        /// `None` where nothing is compressed with it.
        encoder: Option<CDict<'static>>,
        decoder: DDict<'static>,
    }

    /// What a thread needs to compress and decompress, made at its first use: some 300 KiB.
    #[derive(Default)]
    struct Contexts {
        encoder: Option<CCtx<'static>>,
        decoder: Option<DCtx<'static>>,
        frame: Vec<u8>,
    }

    thread_local! {
        static CONTEXTS: RefCell<Contexts> = RefCell::default();
    }

    /// Calls `with` with the thread's contexts, or with new ones where it has none any more.
    fn with_contexts<T>(mut with: impl FnMut(&mut Contexts) -> T) -> T {
        CONTEXTS
            .try_with(|contexts| contexts.try_borrow_mut().ok().map(|mut contexts| with(&mut contexts)))
            .ok()
            .flatten()
            .unwrap_or_else(|| with(&mut Contexts::default()))
    }

    impl Dictionary {
        /// Prepares a dictionary; with a level also to compress with. `None` if zstd cannot make anything of it.
        pub(crate) fn new(number: u16, bytes: Vec<u8>, level: Option<i32>) -> Option<Dictionary> {
            let decoder = DDict::try_create(&bytes)?;
            let encoder = level.map(|level| CDict::try_create(&bytes, level));
            if matches!(encoder, Some(None)) {
                return None;
            }
            Some(Dictionary { number, bytes, prepared: Prepared { encoder: encoder.flatten(), decoder } })
        }

        pub(crate) fn can_compress(&self) -> bool {
            self.prepared.encoder.is_some()
        }

        /// The stored form of a value; `None` where it would not be smaller than the value.
        pub(crate) fn compress(&self, value: &[u8]) -> Option<Vec<u8>> {
            if !(DICTIONARY_VALUE_BYTES_MIN..=DICTIONARY_VALUE_BYTES_MAX).contains(&value.len()) {
                return None;
            }
            let dictionary = self.prepared.encoder.as_ref()?;
            with_contexts(|Contexts { encoder, frame, .. }| {
                if encoder.is_none() {
                    *encoder = CCtx::try_create();
                }
                frame.clear();
                frame.reserve(compress_bound(value.len()));
                encoder.as_mut()?.compress_using_cdict(frame, value, dictionary).ok()?;
                let stored = frame.strip_prefix(&FRAME_MAGIC)?;
                (stored.len() < value.len()).then(|| stored.to_vec())
            })
        }

        pub(in super::super) fn decompress(
            &self,
            stored: &[u8],
            bytes_max: usize,
        ) -> Result<Vec<u8>, ValueFault> {
            let damaged = |reason: &str| ValueFault::Damaged(reason.into());
            with_contexts(|Contexts { decoder, frame, .. }| {
                if decoder.is_none() {
                    *decoder = DCtx::try_create();
                }
                let decoder = decoder.as_mut().ok_or_else(|| damaged("no memory to decompress it"))?;
                frame.clear();
                frame.extend_from_slice(&FRAME_MAGIC);
                frame.extend_from_slice(stored);
                let claimed = get_frame_content_size(frame).ok().flatten();
                let claimed = claimed.ok_or_else(|| damaged("it has no length"))?;
                let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
                let max = bytes_max.min(DICTIONARY_VALUE_BYTES_MAX);
                if claimed > max {
                    return Err(ValueFault::TooLong { claimed, max });
                }
                let mut value = Vec::with_capacity(claimed);
                let fault = |code| damaged(zstd::zstd_safe::get_error_name(code));
                decoder.decompress_using_ddict(&mut value, frame, &self.prepared.decoder).map_err(fault)?;
                match value.len() == claimed {
                    true => Ok(value),
                    false => Err(damaged("its length is not the one claimed")),
                }
            })
        }
    }

    /// A dictionary of at most so many bytes for values like these: zstd's `ZDICT_trainFromBuffer`, which is COVER with segments
    /// picked by the frequency of their parts (Liao, Petri, Moffat and Wirth, WWW 2016). `None` where they have too little in common.
    pub(crate) fn train(samples: &[&[u8]], bytes_max: usize) -> Option<Vec<u8>> {
        let mut dictionary = zstd::dict::from_samples(samples, bytes_max).ok()?;
        // Its random identifier would stand in each frame: records name dictionaries by a number of ours.
        let identifier = dictionary.strip_prefix(&DICTIONARY_MAGIC[..])?.get(..4)?.len();
        dictionary.get_mut(DICTIONARY_MAGIC.len()..DICTIONARY_MAGIC.len() + identifier)?.fill(0);
        Some(dictionary)
    }
}

#[cfg(test)]
#[cfg(feature = "zstd")]
mod tests {
    use super::super::layout::flags;
    use super::super::value::restore;
    use super::*;

    fn value(n: u32) -> Vec<u8> {
        format!("{{\"name\":\"package-{n}\",\"version\":\"{}.{}\",\"license\":\"MIT\"}}", n % 7, n % 11)
            .into()
    }

    fn dictionary() -> Dictionary {
        let samples: Vec<Vec<u8>> = (0..2_000).map(value).collect();
        let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
        Dictionary::new(7, train(&samples, 4096).unwrap(), Some(3)).unwrap()
    }

    #[test]
    fn a_value_comes_back_smaller_than_without_and_only_with_its_dictionary() {
        let dictionary = dictionary();
        let value = value(5_000);
        let stored = dictionary.compress(&value).unwrap();
        assert!(stored.len() * 2 < value.len(), "{} of {} bytes", stored.len(), value.len());
        assert_eq!(restore(flags::ZSTD, Some(&dictionary), &stored, 1 << 20).unwrap(), &value[..]);
        assert!(restore(flags::ZSTD, None, &stored, 1 << 20).is_err());
        let max = value.len() - 1;
        assert!(matches!(
            restore(flags::ZSTD, Some(&dictionary), &stored, max),
            Err(ValueFault::TooLong { .. })
        ));
        assert_eq!(dictionary.compress(b"short"), None);
        assert_eq!(dictionary.compress(&vec![0; DICTIONARY_VALUE_BYTES_MAX + 1]), None);
    }

    #[test]
    fn stored_bytes_that_are_cut_or_changed_are_refused_or_read_but_never_longer_than_allowed() {
        let dictionary = dictionary();
        let stored = dictionary.compress(&value(77)).unwrap();
        for len in 0..stored.len() {
            assert!(dictionary.decompress(&stored[..len], 1 << 20).is_err(), "cut to {len}");
        }
        for bit in 0..stored.len() * 8 {
            let mut changed = stored.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(value) = dictionary.decompress(&changed, 200) {
                assert!(value.len() <= 200);
            }
        }
    }
}
