//! A table: a power of two of buckets, and how a hash is spread over bucket number and tag.

use super::raw::{Bucket, Buckets, Lines, Next};
use super::slot::TAG_BITS;
use crate::sync::{AtomicUsize, Ordering};
use crossbeam_utils::CachePadded;

/// Of the smallest table: one page.
pub(super) const BITS_MIN: u32 = 6;
/// Tags and bucket numbers are disjoint bits of the hash up to this size.
pub(super) const BITS_MAX: u32 = 40;
/// Entries a bucket, on the average, above which a table grows.
pub(super) const CROWDED: usize = 6;
/// What a new table is made for.
const COMFORTABLE: usize = 5;
/// Tag bits that are not bucket number too, at least: below, tags are made anew, which reads every record's key.
const TELLING_BITS_MIN: u32 = 8;

pub(super) struct Table {
    pub(super) bits: u32,
    /// The tag is the hash from this bit on. It stays while tables grow: the bits that the next bucket number needs are then
    /// found in the tag, without a look at the key.
    pub(super) tag_shift: u32,
    buckets: Buckets,
    pub(super) lines: Lines,
    pub(super) next: Next,
    progress: CachePadded<Progress>,
}

/// How far the move to `next` has come, in units.
#[derive(Default)]
struct Progress {
    handed_out: AtomicUsize,
    moved: AtomicUsize,
}

impl Table {
    pub(super) fn new(bits: u32, tag_shift: u32) -> std::io::Result<Table> {
        let buckets = Buckets::new(bits)?;
        let lines = Lines::new(buckets.len());
        Ok(Table { bits, tag_shift, buckets, lines, next: Next::default(), progress: CachePadded::default() })
    }

    /// Number of bits for so many entries.
    pub(super) fn bits_for(entries: usize) -> u32 {
        entries.div_ceil(COMFORTABLE).next_power_of_two().trailing_zeros().clamp(BITS_MIN, BITS_MAX)
    }

    /// A table to move this one to.
    pub(super) fn successor(&self, bits: u32) -> std::io::Result<Table> {
        let holds_bits = self.tag_shift <= self.bits && bits + TELLING_BITS_MIN <= self.tag_shift + TAG_BITS;
        let keeps_tags = bits <= self.bits || holds_bits;
        Table::new(bits, if keeps_tags { self.tag_shift } else { bits })
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn bucket(&self, number: usize) -> &Bucket {
        self.buckets.get(number)
    }

    /// The bucket of a hash.
    pub(super) fn number_of(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    pub(super) fn tag_of(&self, hash: u64) -> u16 {
        (hash >> self.tag_shift) as u16
    }

    /// Where an entry of bucket `number` goes in `next`, if its tag can tell.
    pub(super) fn number_in(&self, next: &Table, number: usize, tag: u16) -> Option<usize> {
        // A tag that begins above the number's bits (a table that shrank) does not hold the next of them.
        let holds_bits = next.bits <= self.bits || self.tag_shift <= self.bits;
        if next.tag_shift != self.tag_shift || !holds_bits {
            return None;
        }
        // Of a smaller table, the number's low bits; of a larger one, bits of the tag besides.
        let high = if next.bits > self.bits { usize::from(tag >> (self.bits - self.tag_shift)) } else { 0 };
        Some((number | high << self.bits) & (next.buckets() - 1))
    }

    /// Buckets that are moved together: all whose entries meet in a bucket of the smaller table.
    pub(super) fn units(&self, next: &Table) -> usize {
        self.buckets().min(next.buckets())
    }

    /// The buckets of a unit.
    pub(super) fn of_unit(&self, units: usize, unit: usize) -> impl DoubleEndedIterator<Item = &Bucket> + '_ {
        (unit..self.buckets()).step_by(units).map(|number| self.bucket(number))
    }

    /// Hands out so many units to be moved; numbers go on beyond the last, so that what somebody left is met again.
    pub(super) fn hand_out(&self, units: usize) -> std::ops::Range<usize> {
        // Relaxed: only hands out numbers.
        let from = self.progress.handed_out.fetch_add(units, Ordering::Relaxed);
        from..from + units
    }

    /// Counts a unit as moved; returns how many were.
    pub(super) fn count_moved(&self) -> usize {
        // AcqRel: who counts the last comes after every move.
        self.progress.moved.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn moved(&self) -> usize {
        // Acquire: pairs with `count_moved`.
        self.progress.moved.load(Ordering::Acquire)
    }
}
