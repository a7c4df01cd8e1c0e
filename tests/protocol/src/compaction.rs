//! The compactor: `src/compaction/mod.rs` and `rewriter.rs`.

use crate::model::{say, Model, Step};
use crate::rules::Break;
use crate::state::*;

/// What an entry of a victim comes to.
pub enum Fate {
    Drop,
    /// Out of the index, and copied as a mask.
    Keep,
    /// Copied, as a mask or as it is, and redirected.
    Move {
        is_mask: bool,
    },
}

impl Model<'_> {
    pub fn can_be_victim(&self, s: &State, n: usize) -> bool {
        let g = &s.segments[n];
        g.is_mapped && g.is_file && g.sealed > 0 && s.is_listed(n) && s.manifest().sealed >> n & 1 == 1
    }

    /// `Compactor::compact` begins: it reads where the log ends, and waits for those below (I9).
    pub fn compact(&mut self, s: &mut State, victims: u16) {
        let waits = if self.lacks(Break::VictimsWithoutGrace) { 0 } else { s.pins };
        s.compaction =
            Compaction { work: Work::Grace, begun: s.tail_lsn(), waits, victims, ..Compaction::default() };
        s.compactions_left -= 1;
        say!(self, "a compaction of segments {:?} begins at LSN {}", list(victims), s.compaction.begun);
    }

    pub fn can_step(&self, s: &State) -> bool {
        let c = &s.compaction;
        match c.work {
            Work::Idle => false,
            Work::Grace => c.waits == 0,
            Work::Next => c.left == 0,
            Work::Entry | Work::Redirect => true,
            Work::Synced => {
                (s.synced >= c.tail || self.lacks(Break::LogNotSynced))
                    && (!s.is_listing() || self.lacks(Break::UnlinkedBeforeListing))
            }
            Work::Unlink => !s.is_listing(),
        }
    }

    /// Moves on; picking the next victim is a step of its own.
    pub fn compactor(&mut self, s: &mut State) -> Step {
        match s.compaction.work {
            Work::Grace => self.after_grace(s),
            Work::Next => self.finish_outputs(s),
            Work::Entry => return self.entry(s),
            Work::Redirect => return self.redirect(s),
            Work::Synced => self.replace(s),
            Work::Unlink => self.unlink(s),
            Work::Idle => {}
        }
        Ok(())
    }

    fn after_grace(&mut self, s: &mut State) {
        let victims = bits(s.compaction.victims)
            .filter(|n| s.segments[*n].publishing == 0 || self.lacks(Break::BatchesNotCounted));
        let victims = victims.fold(0, |all, n| all | 1 << n);
        let stays = |n: &usize| victims >> n & 1 == 0;
        let listed = bits(s.manifest().listed);
        let unlisted = (0..SEGMENTS).filter(|n| {
            let g = &s.segments[*n];
            g.is_output && g.is_file && !s.is_listed(*n) && !self.lacks(Break::OutputsNotCounted)
        });
        let others = listed.into_iter().filter(stays).chain(unlisted).map(|n| s.segments[n].born);
        let born = others.chain([s.compaction.begun]).min().unwrap_or(0);
        let c = &mut s.compaction;
        (c.victims, c.left, c.born_of_others, c.work) = (victims, victims, born, Work::Next);
        say!(self, "the grace period is over; what stays is born at {born} or later");
    }

    pub fn can_pick(&self, s: &State, n: usize) -> bool {
        s.compaction.work == Work::Next && s.compaction.left >> n & 1 == 1
    }

    /// I6: nothing in it lives, and nothing that it hides is anywhere else.
    pub fn can_go_unread(&self, s: &State, n: usize) -> bool {
        let lives = || s.index.iter().any(|w| !w.is_none() && w.segment() == n);
        let hides =
            || highest_mask(s, n) >= s.compaction.born_of_others && !self.lacks(Break::UnreadThoughItHides);
        self.can_pick(s, n) && !lives() && !hides()
    }

    pub fn pick(&mut self, s: &mut State, n: usize, is_read: bool) {
        say!(self, "the compactor takes segment {n}{}", if is_read { "" } else { ", unread" });
        let c = &mut s.compaction;
        c.left &= !(1 << n);
        c.victim = n as u8;
        if is_read {
            (c.work, c.at) = (Work::Entry, 0);
            s.segments[n].freed = 0;
            self.skip(s, 0);
        } else {
            c.spent |= 1 << n;
            s.segments[n].freed = highest_mask(s, n);
        }
    }

    /// Goes on to the next entry of the victim from `at` on, or to the next victim.
    fn skip(&mut self, s: &mut State, at: u8) {
        let n = usize::from(s.compaction.victim);
        let next = (at..2 * RECORDS as u8).find(|at| entry(s, n, usize::from(*at)).is_some());
        let c = &mut s.compaction;
        (c.from, c.to) = (Word::NONE, Word::NONE);
        match next {
            Some(at) => (c.at, c.work) = (at, Work::Entry),
            None => {
                c.spent |= 1 << n;
                (c.work, c.victim, c.at) = (Work::Next, 0, 0);
            }
        }
    }

    /// `Rewriter::rewrite_committed`, up to where a copy would take the record's place.
    fn entry(&mut self, s: &mut State) -> Step {
        let (n, at) = (usize::from(s.compaction.victim), s.compaction.at);
        let (record, is_mask) = (usize::from(at) % RECORDS, usize::from(at) >= RECORDS);
        let born_of_others = s.compaction.born_of_others;
        let mut freed = 0;
        let key = usize::from(s.records[record].key);
        if s.records[record].kind != Kind::Clear {
            self.follow(s, s.index[key], "the compactor")?;
        }
        let fate = self.fate(s, n, record, is_mask, born_of_others, &mut freed);
        s.segments[n].freed = s.segments[n].freed.max(freed);
        say!(self, "the compactor looks at LSN {}:", s.records[record].lsn);
        match fate {
            Fate::Drop => {
                say!(self, "dropped");
                self.skip(s, at + 1);
            }
            Fate::Keep => {
                say!(self, "a mask that is kept");
                let is_clear = s.records[record].kind == Kind::Clear;
                self.copy(s, record, !is_clear)?;
                self.skip(s, at + 1);
            }
            Fate::Move { is_mask } => {
                let to = self.copy(s, record, is_mask)?;
                say!(self, "copied to segment {}", to.segment());
                self.pin(s, COMPACTOR);
                let c = &mut s.compaction;
                (c.from, c.to, c.work) = (s.index[key], to, Work::Redirect);
            }
        }
        Ok(())
    }

    /// I6. Tags what has expired. Recovery asks the same.
    pub fn fate(
        &self,
        s: &mut State,
        n: usize,
        record: usize,
        is_mask: bool,
        born_of_others: u8,
        freed: &mut u8,
    ) -> Fate {
        let r = s.records[record];
        let mut frees = || {
            let is_free = born_of_others > r.lsn;
            if is_free {
                *freed = (*freed).max(r.lsn);
            }
            is_free || self.lacks(Break::MasksDroppedEarly)
        };
        if r.kind == Kind::Clear {
            let drops = frees() || self.lacks(Break::ClearDroppedEarly);
            return if drops { Fate::Drop } else { Fate::Keep };
        }
        let key = usize::from(r.key);
        let here = Word::new(n, record, is_mask);
        let found = s.index[key];
        if found.untagged() == here {
            let is_past = s.value_at(found).is_some_and(|v| at_time(v, s.clock) == 0);
            if is_past {
                self.tag(s, key, found);
            }
            let is_mask = s.value_at(s.index[key]).is_none();
            if is_mask && r.kind == Kind::Put && self.lacks(Break::ExpiredDroppedInIndex) {
                s.index[key] = Word::NONE;
                return Fate::Drop;
            }
            return Fate::Move { is_mask };
        }
        let may_mask = is_mask || r.may_mask();
        let drops = if found.is_none() {
            !may_mask || frees() || r.kind == Kind::Put && self.lacks(Break::ExpiredDropped)
        } else {
            s.lsn_of(found) >= r.lsn || !may_mask
        };
        if drops {
            Fate::Drop
        } else {
            Fate::Keep
        }
    }

    /// Adds a copy to the current output.
    fn copy(&mut self, s: &mut State, record: usize, is_mask: bool) -> Step<Word> {
        if s.compaction.output == 0 {
            let born = if self.lacks(Break::BornAtTheEnd) { s.tail_lsn() } else { s.compaction.begun };
            let output = Segment { is_output: true, ..tail_of_copies(born) };
            s.compaction.output = self.add_segment(s, output)? + 1;
        }
        let n = usize::from(s.compaction.output - 1);
        let (mut record, mut is_mask) = (record, is_mask);
        if is_mask && self.lacks(Break::MaskCopiedAsPut) {
            let same = Record { kind: Kind::Put, segment: NOBODY, value: value(7, 0), ..s.records[record] };
            record = usize::from(self.add_record(s, same)?);
            is_mask = false;
        }
        if self.lacks(Break::CopyGetsNewLsn) {
            let lsn = s.tail_lsn();
            let same = Record { segment: NOBODY, lsn, ..s.records[record] };
            record = usize::from(self.add_record(s, same)?);
        }
        let bit = 1 << record;
        if is_mask {
            s.segments[n].masks |= bit;
        } else {
            s.segments[n].copies |= bit;
        }
        Ok(Word::new(n, record, is_mask))
    }

    /// `Rewriter::publish` (I7).
    fn redirect(&mut self, s: &mut State) -> Step {
        let c = s.compaction;
        let record = usize::from(c.at) % RECORDS;
        let key = usize::from(s.records[record].key);
        if s.index[key] == c.from || self.lacks(Break::CopyStored) {
            say!(self, "the copy of LSN {} takes its place", s.records[record].lsn);
            self.set_index(s, key, c.to);
            if s.value_at(c.to).is_none() {
                self.saw_mask(s, key);
            }
            self.unpin(s, COMPACTOR);
            self.skip(s, c.at + 1);
        } else {
            say!(self, "the copy of LSN {} is late", s.records[record].lsn);
            if self.lacks(Break::LateCopyDropped) {
                let output = &mut s.segments[c.to.segment()];
                let bit = 1 << c.to.record();
                if c.to.is_mask() {
                    output.masks &= !bit;
                } else {
                    output.copies &= !bit;
                }
            }
            self.unpin(s, COMPACTOR);
            self.skip(s, c.at);
        }
        Ok(())
    }

    /// Damage, want of space, or the store closes: this victim and those behind it stay.
    pub fn can_give_up(&self, s: &State) -> bool {
        let c = &s.compaction;
        self.scenario.failures && (c.work == Work::Entry || c.work == Work::Next && c.left != 0)
    }

    pub fn give_up(&mut self, s: &mut State) {
        say!(self, "the compaction ends early;");
        self.finish_outputs(s);
    }

    /// Of the rewritten victims those that may go: no mask that was left out of one hides anything in a victim that stays.
    pub fn without_early(&self, s: &mut State, victims: u16, mut spent: u16) -> u16 {
        loop {
            let staying = bits(victims & !spent);
            let born = staying.map(|n| s.segments[n].born).min().unwrap_or(NOBODY);
            let goes = |n: &usize| s.segments[*n].freed < born || self.lacks(Break::StayingVictimForgotten);
            let next = bits(spent).filter(goes).fold(0u16, |all, n| all | 1 << n);
            if next == spent {
                bits(victims).for_each(|n| s.segments[n].freed = 0);
                return spent;
            }
            spent = next;
        }
    }

    /// `Rewriter::finish`.
    fn finish_outputs(&mut self, s: &mut State) {
        let spent = self.without_early(s, s.compaction.victims, s.compaction.spent);
        for g in s.segments.iter_mut().filter(|g| g.is_output) {
            g.is_synced |= !self.lacks(Break::OutputsNotSynced);
        }
        s.compaction = Compaction { work: Work::Synced, spent, tail: s.tail_lsn(), ..Compaction::default() };
        say!(
            self,
            "outputs are on disk; segments {:?} may go when the log is, below LSN {}",
            list(spent),
            s.compaction.tail
        );
    }

    /// `Request::Replace`: one manifest with the outputs and without the victims.
    fn replace(&mut self, s: &mut State) {
        let now = s.manifest();
        let spent = s.compaction.spent;
        let outputs = unlisted_outputs(s);
        for n in bits(outputs) {
            s.segments[n].sealed = 1;
        }
        if self.lacks(Break::VictimsLeaveOneByOne) && spent.count_ones() > 1 {
            let last = bits(spent).last().unwrap_or(0);
            s.compaction.spent &= !(1 << last);
            s.segments[last].is_file = false;
            s.segments[last].waits = s.pins;
            let listed = (now.listed | outputs) & !(1 << last);
            return self.store(s, Generation { listed, sealed: (now.sealed | outputs) & listed, ..now });
        }
        if self.lacks(Break::UnlinkedBeforeListing) {
            bits(spent).for_each(|n| s.segments[n].is_file = false);
        }
        say!(self, "segments {:?} in place of {:?}", list(outputs), list(spent));
        s.compaction.work = Work::Unlink;
        if outputs | spent != 0 {
            let listed = (now.listed | outputs) & !spent;
            self.store(s, Generation { listed, sealed: (now.sealed | outputs) & listed, ..now });
        }
    }

    pub fn can_fail_listing(&self, s: &State) -> bool {
        self.scenario.failures && s.compaction.work == Work::Synced && unlisted_outputs(s) != 0
    }

    /// The outputs stay, for the next compaction to list.
    pub fn fail_listing(&mut self, s: &mut State) {
        say!(self, "the outputs cannot be listed");
        s.compaction = Compaction::default();
    }

    fn unlink(&mut self, s: &mut State) {
        let waits = if self.lacks(Break::UnmappedAtOnce) { 0 } else { s.pins };
        for n in bits(s.compaction.spent) {
            s.segments[n].is_file = false;
            s.segments[n].waits = waits;
        }
        say!(self, "segments {:?} are unlinked", list(s.compaction.spent));
        s.compaction = Compaction::default();
    }
}

fn unlisted_outputs(s: &State) -> u16 {
    let of = |n: &usize| s.segments[*n].is_output && s.segments[*n].is_file && !s.is_listed(*n);
    (0..SEGMENTS).filter(of).fold(0, |all, n| all | 1 << n)
}

pub fn tail_of_copies(born: u8) -> Segment {
    Segment { is_mapped: true, is_file: true, is_closed: true, base: born, born, ..Segment::default() }
}

/// The segments of a set, lowest first.
pub fn bits(mut set: u16) -> impl Iterator<Item = usize> + Clone {
    set &= (1 << SEGMENTS) - 1;
    std::iter::from_fn(move || {
        let lowest = (set != 0).then_some(set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(lowest)
    })
}

/// The same of records.
pub fn records(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (set != 0).then_some(set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(lowest)
    })
}

/// For messages.
fn list(set: u16) -> Vec<usize> {
    bits(set).collect()
}

/// The committed record of a sealed segment that a cursor stands at.
pub fn entry(s: &State, n: usize, at: usize) -> Option<()> {
    let (record, is_mask) = (at % RECORDS, at >= RECORDS);
    let r = s.records.get(record)?;
    let is_whole = r.frame == 0 || s.record(r.frame - 1).stage == Stage::Committed;
    let is_entry = matches!(r.kind, Kind::Put | Kind::Tombstone | Kind::Clear);
    let is_original = usize::from(r.segment) == n && !is_mask;
    let counts = !is_original || r.stage == Stage::Committed && is_whole;
    (s.holds(n, record, is_mask) && is_entry && counts).then_some(())
}

fn highest_mask(s: &State, n: usize) -> u8 {
    let g = &s.segments[n];
    let may_mask = records(s.originals(n) | g.copies).filter(|r| s.records[*r].may_mask());
    may_mask.chain(records(g.masks)).map(|r| s.records[r].lsn).max().unwrap_or(0)
}
