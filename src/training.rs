//! Training dictionaries from the store's own values. Runs in the maintenance thread.
//!
//! Samples come from the newest part of the log, since that is what values to come will be like. Every fifth is held back, and a
//! dictionary is taken only if it makes those smaller, by a twentieth, than what there was before: the dictionary in use, or none.
//!
//! It is tried first when 256 KiB of values were written, or are there at open, and then again when eight times as much came as
//! before the last attempt, or when new values become a tenth larger, compared with their plain length, than they did at best.

use crate::error::Result;
use crate::log::{Manifest, Request, Segment, View};
use crate::record::{compress, train, Dictionary, Kind, State};
use crate::store::Store;
use std::sync::Arc;

/// Values that are worth a sample.
const SAMPLE_BYTES_MIN: usize = 50;
const SAMPLE_BYTES_MAX: usize = 2_000;
/// Samples of one training, altogether.
const SAMPLES_BYTES_MAX: usize = 2 << 20;
/// With fewer nothing is trained.
const SAMPLES_BYTES_MIN: usize = 128 << 10;
/// Samples are spread over so much of the log.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// A larger one gains little more and costs cache.
const DICTIONARY_BYTES_MAX: usize = 64 << 10;
/// One of so many samples is held back to judge by.
const HELD_BACK: usize = 5;
/// Bytes of values written before the first attempt.
const FIRST_AFTER_BYTES: u64 = 256 << 10;
/// How many times more until the next.
const NEXT_AFTER: u64 = 8;
const NEXT_AFTER_BYTES_MAX: u64 = 1 << 30;
/// New values are judged by so many bytes of them at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Values written and what they took, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    plain: u64,
    stored: u64,
}

impl Written {
    fn by(store: &Store) -> Written {
        let counters = &store.counters;
        Written { plain: counters.compressed_from_bytes.sum(), stored: counters.compressed_to_bytes.sum() }
    }

    fn since(self, earlier: Written) -> Written {
        Written {
            plain: self.plain.saturating_sub(earlier.plain),
            stored: self.stored.saturating_sub(earlier.stored),
        }
    }

    /// Stored bytes for a thousand plain ones.
    fn permille(self) -> u64 {
        self.stored.saturating_mul(1_000) / self.plain.max(1)
    }
}

/// Decides when to train.
pub(crate) struct Trainer {
    /// As of the last attempt, and as of the last look.
    tried: Written,
    looked: Written,
    /// Bytes of values after which it is tried again.
    next_after_bytes: u64,
    /// What new values took at best, of a thousand bytes, since the newest dictionary.
    best_permille: u64,
    is_first: bool,
    /// Of the last attempt: values that were counted then may not have been in the log yet.
    lacked_samples: bool,
}

impl Default for Trainer {
    fn default() -> Self {
        Trainer {
            tried: Written::default(),
            looked: Written::default(),
            next_after_bytes: FIRST_AFTER_BYTES,
            best_permille: u64::MAX,
            is_first: true,
            lacked_samples: false,
        }
    }
}

impl Trainer {
    /// Trains if it is time for it.
    pub(crate) fn train_if_due(&mut self, store: &Store) {
        if self.is_due(store) {
            self.train(store);
        }
    }

    fn is_due(&mut self, store: &Store) -> bool {
        if store.dictionaries.level().is_none() || !store.dictionaries.has_room() {
            return false;
        }
        let is_any_used = store.dictionaries.newest().is_some();
        (self.is_first && !is_any_used) || self.is_due_after(Written::by(store), is_any_used)
    }

    /// The same by what was written alone: so much, or values that a dictionary in use makes less smaller than it did.
    fn is_due_after(&mut self, now: Written, is_any_used: bool) -> bool {
        if now.since(self.tried).plain >= self.next_after_bytes {
            return true;
        }
        let window = now.since(self.looked);
        if !is_any_used || window.plain < WINDOW_BYTES {
            return false;
        }
        self.looked = now;
        let has_dropped = window.permille() > self.best_permille.saturating_add(self.best_permille / 10);
        self.best_permille = match has_dropped {
            // Should it turn out that nothing better is to be had, this is what the next are compared with.
            true => window.permille(),
            false => self.best_permille.min(window.permille()),
        };
        has_dropped
    }

    /// Trains before everything is rewritten, unless nothing was written since the last attempt.
    pub(crate) fn train_anew(&mut self, store: &Store) {
        if self.is_first || self.lacked_samples || Written::by(store).since(self.tried).plain > 0 {
            self.train(store);
        }
    }

    /// Trains a dictionary now, and takes it if it gains. What fails is told to the logger: values are stored all the same.
    fn train(&mut self, store: &Store) {
        if store.dictionaries.level().is_none() || !store.dictionaries.has_room() {
            return;
        }
        self.is_first = false;
        self.tried = Written::by(store);
        self.looked = self.tried;
        let outcome = try_training(store);
        self.lacked_samples = matches!(outcome, Ok(Outcome::TooFew));
        if !self.lacked_samples {
            self.next_after_bytes = (self.next_after_bytes * NEXT_AFTER).min(NEXT_AFTER_BYTES_MAX);
        }
        match outcome {
            Ok(Outcome::Taken) => self.best_permille = u64::MAX,
            Ok(Outcome::TooFew | Outcome::NoGain) => {}
            Err(error) => {
                store.say(&format!("dictionary: {error}"));
                // As with any failed sync, what the disk holds is not known (P7).
                if Manifest::may_count(&error) {
                    store.log.break_down(&error);
                }
            }
        }
    }
}

/// What came of an attempt.
enum Outcome {
    /// There is a new dictionary.
    Taken,
    /// There are too few samples yet.
    TooFew,
    /// It would have gained too little.
    NoGain,
}

fn try_training(store: &Store) -> Result<Outcome> {
    let samples = sample(store)?;
    let bytes: usize = samples.iter().map(Vec::len).sum();
    if bytes < SAMPLES_BYTES_MIN {
        return Ok(Outcome::TooFew);
    }
    let is_held_back = |n: &usize| n % HELD_BACK == 0;
    let chosen = |held_back: bool| {
        let numbered = samples.iter().map(Vec::as_slice).enumerate();
        numbered.filter(move |(n, _)| is_held_back(n) == held_back).map(|(_, sample)| sample)
    };
    let Some(bytes) = train(&chosen(false).collect::<Vec<_>>(), DICTIONARY_BYTES_MAX) else {
        return Ok(Outcome::NoGain);
    };
    let level = store.dictionaries.level();
    let Some(new) = Dictionary::new(u16::MAX, bytes, level) else { return Ok(Outcome::NoGain) };
    let taken = |compressed: Option<Vec<u8>>, sample: &[u8]| compressed.map_or(sample.len(), |c| c.len());
    let stored: usize = chosen(true).map(|sample| taken(new.compress(sample), sample)).sum();
    let now: usize = match store.dictionaries.newest() {
        Some(newest) => chosen(true).map(|sample| taken(newest.compress(sample), sample)).sum(),
        None => chosen(true).map(|sample| taken(compress(sample, level.unwrap_or(0)), sample)).sum(),
    };
    if stored >= now - now / 20 {
        return Ok(Outcome::NoGain);
    }
    let files = &store.log.files;
    store.dictionaries.publish(files.directory.as_ref(), files.store_uuid, new.into_bytes())?;
    Ok(Outcome::Taken)
}

/// Values of the newest part of the log, spread over it.
fn sample(store: &Store) -> Result<Vec<Vec<u8>>> {
    let mut extents = store.log.ask(Request::Listing)?;
    extents.sort_by_key(|extent| std::cmp::Reverse(extent.segment.header().base_lsn));
    let mut log_bytes = 0;
    extents.retain(|extent| {
        let is_near = log_bytes < LOG_BYTES_MAX;
        log_bytes += extent.used_bytes;
        is_near
    });
    let mut samples = Samples { values: Vec::new(), bytes: 0, skipped: 0 };
    let stride = log_bytes.min(LOG_BYTES_MAX) / SAMPLES_BYTES_MAX as u64;
    for extent in &extents {
        if store.log.is_closing() {
            break;
        }
        let segment = &extent.segment;
        let mut meet = |at: u64, view: &View<'_>| samples.meet(store, segment, at, view, stride);
        segment.walk(crate::log::FIRST_RECORD_AT, |at, view| match (view.word.kind(), view.word.state()) {
            (Some(Kind::Batch), Some(State::Committed)) => segment.members(at, view, &mut meet),
            (_, Some(State::Committed)) => meet(at, view),
            _ => {}
        });
    }
    Ok(samples.values)
}

struct Samples {
    values: Vec<Vec<u8>>,
    bytes: usize,
    /// Log bytes passed since the last one was taken.
    skipped: u64,
}

impl Samples {
    /// Takes a value if about `stride` times its record's bytes were passed.
    fn meet(&mut self, store: &Store, segment: &Arc<Segment>, at: u64, view: &View<'_>, stride: u64) {
        self.skipped += view.bytes();
        if self.bytes >= SAMPLES_BYTES_MAX
            || self.skipped < stride * view.bytes()
            || !view.word.is_of(Kind::Put)
            // Compressed it is shorter than the value, so this is no more than a look.
            || view.value.len() > SAMPLE_BYTES_MAX
        {
            return;
        }
        // One that cannot be read is told of when it is asked for.
        let Ok(value) = store.value_at(at, (segment, *view)) else { return };
        if (SAMPLE_BYTES_MIN..=SAMPLE_BYTES_MAX).contains(&value.len()) {
            self.skipped = 0;
            self.bytes += value.len();
            self.values.push(value.into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has trained, and will not again for the amount written alone.
    fn trainer() -> Trainer {
        Trainer { is_first: false, next_after_bytes: u64::MAX, ..Trainer::default() }
    }

    /// What a window of new values adds, at so many bytes stored of a thousand.
    fn write(written: &mut Written, stored_permille: u64) {
        written.plain += WINDOW_BYTES;
        written.stored += WINDOW_BYTES * stored_permille / 1_000;
    }

    #[test]
    fn values_that_a_dictionary_serves_less_well_are_a_reason_to_train_however_few() {
        let (mut trainer, mut written) = (trainer(), Written::default());
        for stored_permille in [300, 280, 307] {
            write(&mut written, stored_permille);
            assert!(!trainer.is_due_after(written, true), "{stored_permille}");
        }
        // A tenth more than at best, which was 280.
        write(&mut written, 320);
        assert!(trainer.is_due_after(written, true));
        // Should nothing better be had, that is what the next are compared with.
        for stored_permille in [320, 340] {
            write(&mut written, stored_permille);
            assert!(!trainer.is_due_after(written, true), "{stored_permille}");
        }
        write(&mut written, 360);
        assert!(trainer.is_due_after(written, true));
    }

    #[test]
    fn without_a_dictionary_or_enough_values_no_ratio_is_a_reason() {
        let (mut trainer, mut written) = (trainer(), Written::default());
        for stored_permille in [300, 900] {
            write(&mut written, stored_permille);
            assert!(!trainer.is_due_after(written, false), "{stored_permille}");
        }
        assert!(!trainer.is_due_after(written, true), "the first that a dictionary is judged by");
        let few =
            Written { plain: written.plain + WINDOW_BYTES - 1, stored: written.stored + WINDOW_BYTES - 1 };
        assert!(!trainer.is_due_after(few, true));
    }

    #[test]
    fn enough_values_are_a_reason_whatever_their_ratio() {
        let mut trainer = Trainer { is_first: false, ..Trainer::default() };
        let after = |plain| Written { plain, stored: 0 };
        assert!(!trainer.is_due_after(after(FIRST_AFTER_BYTES - 1), true));
        assert!(trainer.is_due_after(after(FIRST_AFTER_BYTES), true));
    }
}
