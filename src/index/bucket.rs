//! A bucket's chain: a header word that says which slots count, and the slots.
//!
//! ```text
//! bit 63 … 29  version: grows with each change of what counts
//!     28       moved: everything stands in the next table
//!     27       frozen: nothing changes any more but `moved`
//!     26 …  0  which of the first 27 slots count
//! ```

use super::raw::{Bucket, Lines, Link, HEAD_SLOTS, LINE_SLOTS};
use super::slot::{Address, Word};
use crate::sync::{AtomicU64, Ordering};

/// Slots that the header speaks for: the bucket's own and three lines. Slots behind them are filled by a move only, and
/// count as long as they hold an address (X7).
pub(super) const COUNTED_SLOTS: usize = HEAD_SLOTS + 3 * LINE_SLOTS;

const FROZEN: u64 = 1 << COUNTED_SLOTS;
const MOVED: u64 = FROZEN << 1;
const VERSION: u64 = MOVED << 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header(u64);

impl Header {
    /// Of a bucket that was filled with so many entries.
    fn filled(entries: usize) -> Header {
        Header(VERSION | ((1 << entries.min(COUNTED_SLOTS)) - 1))
    }

    pub(super) fn counts(self, position: usize) -> bool {
        position >= COUNTED_SLOTS || self.0 >> position & 1 != 0
    }

    /// As `counts`, of the positions from `first` on, a bit each. Lines end where the bits do, or hold none of them.
    fn counted_from(self, first: usize) -> u64 {
        if first >= COUNTED_SLOTS {
            return u64::MAX;
        }
        (self.0 & (FROZEN - 1)) >> first
    }

    pub(super) fn is_frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    pub(super) fn is_moved(self) -> bool {
        self.0 & MOVED != 0
    }

    fn toggled(self, position: usize) -> Header {
        Header((self.0 ^ 1 << position).wrapping_add(VERSION))
    }
}

/// A slot that was read.
#[derive(Clone, Copy)]
pub(super) struct Found<'t> {
    pub(super) slot: &'t AtomicU64,
    pub(super) position: usize,
    pub(super) word: Word,
}

/// The lines of a chain, each with its first slot's position.
pub(super) struct Chain<'t> {
    at: Option<(usize, &'t [AtomicU64], &'t Link)>,
}

impl<'t> Iterator for Chain<'t> {
    type Item = (usize, &'t [AtomicU64]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (first, slots, link) = self.at.take()?;
        self.at = link.get().map(|line| (first + slots.len(), &line.slots[..], &line.link));
        Some((first, slots))
    }
}

/// As `Chain`, but with a new line behind each last one.
struct Growing<'t> {
    at: (usize, &'t [AtomicU64], &'t Link),
    lines: &'t Lines,
    began: bool,
}

impl<'t> Iterator for Growing<'t> {
    type Item = (usize, &'t AtomicU64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.began {
            let (position, slots, link) = self.at;
            self.at = match slots {
                [_, rest @ ..] if !rest.is_empty() => (position + 1, rest, link),
                _ => {
                    let line = link.get_or_add(self.lines);
                    (position + 1, &line.slots[..], &line.link)
                }
            };
        }
        self.began = true;
        Some((self.at.0, self.at.1.first()?))
    }
}

impl Bucket {
    #[inline]
    pub(super) fn load(&self) -> Header {
        // Acquire: what counts is filled; pairs with the AcqRel in `change` and `fill`.
        Header(self.header.load(Ordering::Acquire))
    }

    pub(super) fn chain(&self) -> Chain<'_> {
        Chain { at: Some((0, &self.slots[..], &self.link)) }
    }

    fn growing<'t>(&'t self, lines: &'t Lines) -> Growing<'t> {
        Growing { at: (0, &self.slots[..], &self.link), lines, began: false }
    }

    /// The slots that count under `header`, as they are now: what they hold is to be believed only if the header is still
    /// the same afterwards (X3).
    pub(super) fn counted(&self, header: Header) -> impl Iterator<Item = Found<'_>> {
        self.chain().flat_map(move |(first, slots)| {
            slots.iter().enumerate().filter_map(move |(at, slot)| {
                let position = first + at;
                // Acquire: the record behind the address is filled; pairs with the AcqRel that stored it.
                header.counts(position).then(|| Found {
                    slot,
                    position,
                    word: Word(slot.load(Ordering::Acquire)),
                })
            })
        })
    }

    /// What `read` makes of the first slot with this tag, and its address, that it makes something of.
    #[inline]
    pub(super) fn find<'t, T>(
        &'t self,
        header: Header,
        tag: u16,
        mut read: impl FnMut(Found<'t>, Address) -> Option<T>,
    ) -> Option<T> {
        let (mut first, mut slots, mut link) = (0, &self.slots[..], &self.link);
        let mut candidates = header.counted_from(0) & with_tag(&self.slots, tag);
        loop {
            while candidates == 0 {
                let line = link.get()?;
                (first, slots, link) = (first + slots.len(), &line.slots[..], &line.link);
                candidates = header.counted_from(first) & with_tag(&line.slots, tag);
            }
            let at = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let slot = slots.get(at)?;
            // Acquire: as in `counted`.
            let word = Word(slot.load(Ordering::Acquire));
            let found = Found { slot, position: first + at, word };
            if let Some(made) = word.address().and_then(|address| read(found, address)) {
                return Some(made);
            }
        }
    }

    /// What the first slot of the bucket's own line holds that counts and has this tag.
    #[inline]
    pub(super) fn first_with_tag(&self, header: Header, tag: u16) -> Option<Word> {
        let candidates = header.counted_from(0) & with_tag(&self.slots, tag);
        let slot = self.slots.get(candidates.trailing_zeros() as usize)?;
        // Acquire: as in `counted`.
        Some(Word(slot.load(Ordering::Acquire)))
    }

    /// Puts `word` into a slot that is free and does not count; `None` if every slot that can count is taken.
    pub(super) fn claim<'t>(
        &'t self,
        header: Header,
        word: Word,
        lines: &'t Lines,
    ) -> Option<(usize, &'t AtomicU64)> {
        self.growing(lines).take(COUNTED_SLOTS).find(|(position, slot)| {
            let found = Word(slot.load(Ordering::Relaxed));
            // AcqRel: publishes the record, and comes after the release of the slot (X4).
            !header.counts(*position)
                && found.is_free()
                && slot.compare_exchange(found.0, word.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Takes a slot that the caller sealed out of the header and releases it (X4).
    pub(super) fn take_out(&self, sealed: &Found<'_>) {
        // X7: there is no bit to take out.
        if sealed.position >= COUNTED_SLOTS {
            return;
        }
        let mut header = self.load();
        // A bucket that is being moved leaves it behind.
        while !header.is_frozen() {
            if self.toggle(header, sealed.position) {
                return release(sealed.slot);
            }
            header = self.load();
        }
    }

    /// Lets a slot count, or no longer count, if the header is still `header`.
    pub(super) fn toggle(&self, header: Header, position: usize) -> bool {
        self.change(header, header.toggled(position))
    }

    fn change(&self, from: Header, to: Header) -> bool {
        // AcqRel: publishes the slot, and comes after all that `from` covers; pairs with the Acquire in `load`.
        self.header.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Stops every change; returns what stands here for good.
    pub(super) fn freeze(&self) -> Header {
        // AcqRel: comes after every change that succeeded; pairs with the AcqRel in `change`.
        Header(self.header.fetch_or(FROZEN, Ordering::AcqRel) | FROZEN)
    }

    /// Marks the bucket as moved; false if it was before.
    pub(super) fn mark_moved(&self) -> bool {
        // AcqRel: the targets are filled; pairs with the Acquire in `load`.
        self.header.fetch_or(MOVED, Ordering::AcqRel) & MOVED == 0
    }

    /// Fills a bucket that nothing was ever in with what is moved there. Every helper of a move comes with the same words in
    /// the same order, and does nothing where another was faster (X6).
    pub(super) fn fill(&self, words: impl Iterator<Item = Word>, lines: &Lines) {
        let mut slots = self.growing(lines);
        let mut entries = 0;
        for word in words {
            let Some((_, slot)) = slots.next() else { break };
            // AcqRel: hands on what the source's loads acquired. It fails where the slot is not virgin: filled (X5).
            let _ = slot.compare_exchange(Word::VIRGIN.0, word.0, Ordering::AcqRel, Ordering::Relaxed);
            entries += 1;
        }
        self.change(Header(0), Header::filled(entries));
    }
}

/// Which of a line's slots have this tag, a bit each: without a branch for each, since which one it is is random, and a branch
/// guessed wrong on a line that comes from memory keeps the processor from going on to the next read meanwhile.
#[inline]
fn with_tag<const SLOTS: usize>(slots: &[AtomicU64; SLOTS], tag: u16) -> u64 {
    // Relaxed: a guess. What is found is loaded again. A tag stands in a word's highest bits: what is left when it is taken
    // away is small. Adding the comparison to twice the sum is one instruction, the carry.
    let small = Word::of_tag(1);
    let without_tag = |slot: &AtomicU64| slot.load(Ordering::Relaxed) ^ Word::of_tag(tag);
    slots.iter().rev().fold(0, |found, slot| found + found + u64::from(without_tag(slot) < small))
}

/// Gives a slot back that does not count and that the caller claimed or sealed.
pub(super) fn release(slot: &AtomicU64) {
    // Release: whoever claims it next comes after what took it out of the header (X3); pairs with `claim`.
    slot.store(Word::FREE.0, Ordering::Release);
}

impl Found<'_> {
    /// Lets nobody change the slot any more; returns what it holds for good.
    pub(super) fn freeze(&self) -> Word {
        // AcqRel: comes after the last change; pairs with `replace`.
        Word(self.slot.fetch_or(Word::FROZEN, Ordering::AcqRel))
    }

    /// Changes the slot from the word that was read.
    pub(super) fn replace(&self, to: Word) -> bool {
        // AcqRel: publishes the record that `to` leads to; pairs with the Acquire in `find` and `counted`.
        !self.word.is_frozen()
            && self.slot.compare_exchange(self.word.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}
