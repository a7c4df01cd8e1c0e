//! The segment table: from the number in a record address to the mapped segment.
//!
//! - **T1** A number leads to one segment as long as any guard that was held while it did is held: `remove` takes the
//!   segment out a grace period after the last pointer has left the index (I8). Who has kept a number without a guard finds its
//!   segment by `standing` alone, which `leave` ends before that grace period begins.

use super::marks::Notes;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::io::Map;
use crate::limits::SEGMENTS_MAX;
use crate::reclaim::Protected;
use crossbeam_epoch::Guard;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

const WORD_BYTES: usize = 8;

/// Pointers by number, in memory that costs nothing until it is used.
pub(crate) struct Table {
    /// Each word is what `Arc::into_raw` gave, or zero.
    words: Map,
    numbers: Mutex<Numbers>,
    notes: Notes,
}

#[derive(Default)]
struct Numbers {
    /// Numbers from here on were never used.
    fresh: usize,
    released: Vec<u16>,
    /// Those whose segments are about to go.
    leaving: Vec<u16>,
}

impl Table {
    /// `notes`: for what its segments have a place.
    pub(crate) fn new(notes: Notes) -> Result<Table> {
        let words = Map::anonymous(SEGMENTS_MAX * WORD_BYTES)
            .map_err(|e| Error::io("map memory for", Path::new("the segment table"), e))?;
        Ok(Table { words, numbers: Mutex::default(), notes })
    }

    /// Takes a number that leads to no segment.
    pub(crate) fn reserve(&self) -> Result<u16> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.released.pop() {
            return Ok(number);
        }
        let number = u16::try_from(numbers.fresh).ok().filter(|_| numbers.fresh < SEGMENTS_MAX);
        let number = number.ok_or_else(|| Error::InvalidOption {
            name: "segment_bytes".into(),
            reason: format!("the store needs more than {SEGMENTS_MAX} segments: make them larger"),
        })?;
        numbers.fresh += 1;
        Ok(number)
    }

    /// Makes a reserved number free again. The caller knows that nobody can hold an address with it (T1).
    pub(crate) fn release(&self, number: u16) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.leaving.retain(|leaving| *leaving != number);
        numbers.released.push(number);
    }

    /// The segment goes after the grace period that begins next: `standing` finds it no more.
    pub(crate) fn leave(&self, number: u16) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).leaving.push(number);
    }

    /// The segment that has this number now, for who has not just read it in the index: it may be another than the one that had it
    /// then. `None` if it is about to go.
    pub(crate) fn standing<'g>(&self, number: u16, guard: &'g Guard) -> Option<&'g Segment> {
        // T1: where it does not leave yet, the guard, which is held already, is one that the grace period waits for.
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_leaving = numbers.leaving.contains(&number);
        drop(numbers);
        if is_leaving {
            None
        } else {
            self.get(number, guard)
        }
    }

    /// Lets the segment's number lead to it.
    pub(crate) fn insert(&self, segment: &Arc<Segment>) {
        if self.notes != Notes::default() {
            segment.keep_marks(self.notes);
        }
        if let Some(word) = self.words.word(usize::from(segment.number()) * WORD_BYTES) {
            // Release: publishes the segment; pairs with the Acquire in `get`.
            word.store(Arc::into_raw(Arc::clone(segment)) as u64, Ordering::Release);
        }
    }

    /// The segment with this number, for as long as the guard is held.
    #[inline]
    pub(crate) fn get<'g>(&self, number: u16, _protected: impl Into<Protected<'g>>) -> Option<&'g Segment> {
        // SAFETY: T1: the word came from `Arc::into_raw`, and the count that it stands for is given up only a grace
        // period after the word was cleared; the guard was taken before this load.
        unsafe { self.load(number)?.as_ref() }
    }

    #[inline]
    fn load(&self, number: u16) -> Option<*const Segment> {
        // Acquire: pairs with the Release in `insert`.
        let word = self.words.word(usize::from(number) * WORD_BYTES)?.load(Ordering::Acquire);
        Some(word as *const Segment)
    }

    /// A share of the segment with this number.
    pub(crate) fn share<'g>(
        &self,
        number: u16,
        _protected: impl Into<Protected<'g>>,
    ) -> Option<Arc<Segment>> {
        let segment = self.load(number).filter(|segment| !segment.is_null())?;
        // SAFETY: T1: as in `get`; the share that the word stands for lasts as long as the guard.
        unsafe {
            Arc::increment_strong_count(segment);
            Some(Arc::from_raw(segment))
        }
    }

    /// Lets the number lead nowhere and returns the table's share, which the caller drops a grace period later (T1).
    pub(crate) fn remove(&self, number: u16) -> Option<Arc<Segment>> {
        // AcqRel: one caller gets the share; pairs with `insert` and `get`.
        let word = self.words.word(usize::from(number) * WORD_BYTES)?.swap(0, Ordering::AcqRel);
        if word == 0 {
            return None;
        }
        // SAFETY: the word came from `Arc::into_raw` in `insert`, and the swap took it exactly once.
        Some(unsafe { Arc::from_raw(word as *const Segment) })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Nobody else is left: whoever holds a guard for this store also holds the store (M3).
        for number in 0..=u16::MAX {
            if usize::from(number) >= self.numbers.get_mut().map_or(SEGMENTS_MAX, |n| n.fresh) {
                break;
            }
            drop(self.remove(number));
        }
    }
}
