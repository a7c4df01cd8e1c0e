//! Walking over all entries, a few at a time, with no guard held in between.
//!
//! A cursor goes over *classes* of hashes: those that are equal in their low bits. A key is in one class for ever, whatever
//! table holds it, and a class is read as of one moment of each bucket that it stands in: so a key that is there throughout
//! is met exactly once, however often the table is resized during the walk.

use super::slot::Word;
use super::table::Table;
use super::{Address, Index, Pinned, Record, Records};
use crate::reclaim::Protected;

/// Classes that are read with one step.
const CLASSES_A_STEP: usize = 32;

/// Where a walk stands.
#[derive(Debug)]
pub(crate) struct Cursor {
    class_bits: u32,
    class: usize,
    words: Vec<Word>,
}

impl Index {
    pub(crate) fn cursor<'g>(&'g self, protected: impl Into<Protected<'g>>) -> Cursor {
        Cursor { class_bits: self.root.get(protected.into()).bits, class: 0, words: Vec::new() }
    }
}

impl Cursor {
    /// Calls `visit` with the next few entries; false when there were none left.
    pub(crate) fn step<'g, R: Records>(
        &mut self,
        map: &Pinned<'g, R>,
        mut visit: impl FnMut(Address, R::Record<'g>),
    ) -> bool {
        for _ in 0..CLASSES_A_STEP {
            if self.class >> self.class_bits != 0 {
                return false;
            }
            self.words.clear();
            map.collect(map.index.root.get(map.protected), self.class, self.class_bits, &mut self.words);
            for address in self.words.iter().filter_map(|word| word.address()) {
                // X1: the word was read under this guard.
                if let Some(record) = map.records.read(address, map.protected) {
                    visit(address, record);
                }
            }
            self.class += 1;
        }
        true
    }
}

impl<'g, R: Records> Pinned<'g, R> {
    /// Adds the words of all keys whose hash ends in the `class_bits` bits of `class`.
    fn collect(&self, table: &'g Table, class: usize, class_bits: u32, words: &mut Vec<Word>) {
        if class_bits <= table.bits {
            for number in (class..table.buckets()).step_by(1 << class_bits) {
                self.collect_bucket(table, number, words);
            }
            return;
        }
        let from = words.len();
        self.collect_bucket(table, class & (table.buckets() - 1), words);
        let others = words.split_off(from).into_iter();
        words.extend(others.filter(|word| self.is_of_class(*word, class, class_bits)));
    }

    fn is_of_class(&self, word: Word, class: usize, class_bits: u32) -> bool {
        let record = word.address().and_then(|address| self.records.read(address, self.protected));
        record.is_some_and(|record| self.index.hash(record.key()) as usize & ((1 << class_bits) - 1) == class)
    }

    fn collect_bucket(&self, table: &'g Table, number: usize, words: &mut Vec<Word>) {
        let bucket = table.bucket(number);
        let from = words.len();
        loop {
            words.truncate(from);
            let header = bucket.load();
            if header.is_moved() {
                if let Some(next) = table.next.get(self.protected) {
                    self.collect(next, number, table.bits, words);
                }
                return;
            }
            words.extend(
                bucket.counted(header).map(|found| found.word).filter(|word| word.address().is_some()),
            );
            // X3: all of it stood here at once.
            if bucket.load() == header {
                return;
            }
        }
    }
}
