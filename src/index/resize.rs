//! Moving a table's entries to a larger or smaller one, by whoever writes, a portion at a time.

use super::slot::Word;
use super::table::{Table, BITS_MAX, BITS_MIN, CROWDED};
use super::{Pinned, Record, Records};

/// Units that a writer moves with each write while a move is under way. In models moves are made by hand.
const UNITS_A_WRITE: usize = if cfg!(loom) { 0 } else { 8 };
/// Entries a bucket, on the average, below which a table shrinks, and that a smaller one has at most at first.
const SPARSE_BUCKETS_AN_ENTRY: usize = 2;
const SHRUNK: usize = 2;
/// Buckets that one move brings together, at most.
const SHRINK_BITS_MAX: u32 = 3;

impl<'g, R: Records> Pinned<'g, R> {
    /// Does a portion of the move that is under way; false if none is.
    pub(super) fn help(&self) -> bool {
        let table = self.index.root.get(self.protected);
        let Some(next) = table.next.get(self.protected) else { return false };
        let units = table.units(next);
        for unit in table.hand_out(UNITS_A_WRITE) {
            self.move_unit(table, next, unit & (units - 1));
        }
        if table.moved() >= units {
            self.advance(table);
        }
        true
    }

    /// Leaves a table of which everything was moved.
    fn advance(&self, table: &'g Table) {
        if self.index.root.advance(table, self.protected) {
            self.index.tell_of_move();
        }
    }

    /// Lets the table grow if it holds too much.
    pub(super) fn grow_if_crowded(&self, table: &'g Table) {
        if table.next.get(self.protected).is_none() && self.index.entries() > table.buckets() * CROWDED {
            // Without memory for a larger table the chains of this one become longer.
            let _ = self.begin_move(table, table.bits + 1);
        }
    }

    /// Lets the table shrink if it holds too little.
    pub(super) fn shrink_if_sparse(&self) {
        let table = self.index.root.get(self.protected);
        let entries = self.index.entries();
        if table.bits > BITS_MIN
            && table.next.get(self.protected).is_none()
            && entries * SPARSE_BUCKETS_AN_ENTRY < table.buckets()
        {
            let needed = (entries / SHRUNK).next_power_of_two().trailing_zeros();
            let bits =
                needed.max(BITS_MIN).max(table.bits.saturating_sub(SHRINK_BITS_MAX)).min(table.bits - 1);
            let _ = self.begin_move(table, bits);
        }
    }

    /// Makes sure that the table is being moved: a bucket of it takes no more.
    pub(super) fn outgrow(&self, table: &'g Table) -> &'g Table {
        loop {
            if let Some(next) = table.next.get(self.protected) {
                return next;
            }
            // X9: only the root begins a move, so a move that leads to `table` is finished first.
            let is_root = std::ptr::eq(self.index.root.get(self.protected), table);
            if is_root && self.begin_move(table, table.bits + 1).is_err() {
                // As for any allocation that fails.
                std::alloc::handle_alloc_error(std::alloc::Layout::new::<Table>());
            }
            if !is_root {
                self.help();
            }
        }
    }

    fn begin_move(&self, table: &'g Table, bits: u32) -> std::io::Result<()> {
        // X9: a root was filled completely before it became the root.
        if !std::ptr::eq(self.index.root.get(self.protected), table) {
            return Ok(());
        }
        let next = table.successor(bits.min(BITS_MAX))?;
        if table.next.set(Box::new(next)) {
            self.index.tell_of_move();
        }
        Ok(())
    }

    /// Moves the buckets that bucket `number` is moved with, or sees to it that they are (X6).
    pub(super) fn move_unit_of(&self, table: &'g Table, next: &'g Table, number: usize) {
        self.move_unit(table, next, number & (table.units(next) - 1));
    }

    fn move_unit(&self, table: &'g Table, next: &'g Table, unit: usize) {
        let units = table.units(next);
        // The last is marked last, so it speaks for all.
        if table.of_unit(units, unit).next_back().is_none_or(|bucket| bucket.load().is_moved()) {
            return;
        }
        let mut entries = Vec::with_capacity(32);
        for number in (unit..table.buckets()).step_by(units) {
            self.freeze(table, next, number, &mut entries);
        }
        for number in (unit..next.buckets()).step_by(units) {
            let words = entries.iter().filter(|(to, _)| *to == number).map(|(_, word)| *word);
            next.bucket(number).fill(words, &next.lines);
        }
        let mut was_last = false;
        for bucket in table.of_unit(units, unit) {
            was_last = bucket.mark_moved();
        }
        if was_last && table.count_moved() == units {
            self.advance(table);
        }
    }

    /// Freezes a bucket, and adds what stands there for good, with its number and tag in `next`.
    fn freeze(&self, table: &'g Table, next: &'g Table, number: usize, entries: &mut Vec<(usize, Word)>) {
        let bucket = table.bucket(number);
        let header = bucket.freeze();
        for found in bucket.counted(header) {
            let word = found.freeze();
            let Some(address) = word.address() else { continue };
            if let Some(to) = table.number_in(next, number, word.tag()) {
                entries.push((to, Word::new(word.tag(), address)));
                continue;
            }
            // X1: the record is there, and has the key that it had. (Where several buckets are moved together, one may be
            // marked while another is not, and its records may be on their way out; but only growth looks at keys, and
            // moves one bucket at a time.)
            if let Some(record) = self.records.read(address, self.protected) {
                let hash = self.index.hash(record.key());
                entries.push((next.number_of(hash), Word::new(next.tag_of(hash), address)));
            }
        }
    }
}
