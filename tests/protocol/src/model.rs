//! A run's bounds, its actions, and the writers' side of the log: reserve, roll, decide.

use crate::rules::{Break, Broken};
use crate::spec::{Monitors, Op};
use crate::state::*;

/// What a scenario starts from: records of sealed segments.
#[derive(Clone, Copy, Debug)]
pub enum Given {
    /// Key, value.
    P(u8, u8),
    /// Key, value, deadline.
    E(u8, u8, u8),
    /// Key: a tombstone.
    T(u8),
}

/// The bounds of one exhaustive search.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub threads: Vec<Vec<Op>>,
    /// Threads whose writes wait for a sync.
    pub always: [bool; THREADS],
    pub given: Vec<Vec<Given>>,
    /// Masks of what is given have left the index.
    pub masks_gone: bool,
    /// Units that a tail segment holds.
    pub capacity: u8,
    pub clock_max: u8,
    pub compactions: u8,
    pub victims_max: u32,
    pub seals: bool,
    /// Judges what power loss would leave at every state.
    pub power: bool,
    /// Process deaths and power losses that are gone through, recovery and all.
    pub crashes: u8,
    /// Loads the active segment in a step of its own.
    pub fine_roll: bool,
    /// Begins and ends a sync in steps of their own, and manifests likewise.
    pub fine_sync: bool,
    /// A reader loads an address and follows it in steps of their own.
    pub fine_read: bool,
    /// Compactions may stop half-way, and may fail to be listed.
    pub failures: bool,
    /// Batches are whole after the death of the process.
    pub atomic: bool,
    /// The wall clock may be back at zero after the death of the process.
    pub clock_back: bool,
    pub backup: bool,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            name: String::new(),
            threads: Vec::new(),
            always: [false; THREADS],
            given: Vec::new(),
            masks_gone: false,
            capacity: 20,
            clock_max: 0,
            compactions: 0,
            victims_max: 1,
            seals: false,
            power: true,
            crashes: 0,
            fine_roll: false,
            fine_sync: false,
            fine_read: false,
            failures: false,
            atomic: false,
            clock_back: false,
            backup: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Thread(u8),
    Compact(u16),
    Pick(u8),
    PickUnread(u8),
    Compactor,
    GiveUp,
    FailListing,
    Sync,
    Seal(u8),
    List(u8),
    SyncManifest,
    Forget(u8),
    Unmap(u8),
    Sweep(u8),
    Tick,
    Die(bool),
    LosePower(u8, u8),
    Recover(u16, u16),
}

/// Why a step has no successor.
#[derive(Clone, Debug)]
pub enum Stop {
    /// A promise is broken.
    Broken(String),
    /// The model's arrays are too small for this run.
    Bound,
}

pub type Step<T = ()> = Result<T, Stop>;

pub fn broken<T>(what: impl Into<String>) -> Step<T> {
    Err(Stop::Broken(what.into()))
}

pub struct Model<'s> {
    pub scenario: &'s Scenario,
    pub broken: Broken,
    pub monitors: Monitors,
    /// The step in words, when somebody wants to read it.
    pub words: Option<String>,
}

macro_rules! say {
    ($model:expr, $($words:tt)*) => {
        if let Some(words) = &mut $model.words {
            use std::fmt::Write;
            let _ = write!(words, "{} ", format_args!($($words)*));
        }
    };
}
pub(crate) use say;

impl<'s> Model<'s> {
    pub fn new(scenario: &'s Scenario, broken: Broken) -> Model<'s> {
        Model { scenario, broken, monitors: Monitors::default(), words: None }
    }

    pub fn lacks(&self, rule: Break) -> bool {
        self.broken.has(rule)
    }

    pub fn op(&self, s: &State, t: usize) -> Option<Op> {
        self.scenario.threads.get(t)?.get(usize::from(s.threads[t].op)).copied()
    }

    pub fn first(&mut self) -> State {
        let mut s = State {
            records: [Record::default(); RECORDS],
            records_len: 0,
            segments: [Segment::default(); SEGMENTS],
            index: [Word::NONE; KEYS],
            masks: [(Word::NONE, NOBODY); KEYS],
            manifests: [ManifestFile::default(); 2],
            threads: [Thread::default(); THREADS],
            compaction: Compaction::default(),
            compactions_left: self.scenario.compactions,
            pins: 0,
            active: 0,
            start: 0,
            synced: 0,
            syncing: 0,
            clock: 0,
            stored_time: 0,
            phase: Phase::Up,
            crashes_left: self.scenario.crashes,
            lost_power: false,
            cut: 0,
            monitors: [0; KEYS],
            found: [0; KEYS],
            floor: 0,
        };
        let mut base = 1;
        let mut listed = Generation { number: 2, ..Generation::default() };
        for (n, given) in self.scenario.given.iter().enumerate() {
            let used = given.len() as u8 * HEADER_UNITS;
            for (i, one) in given.iter().enumerate() {
                let (kind, key, value) = match *one {
                    Given::P(key, v) => (Kind::Put, key, value(v, 0)),
                    Given::E(key, v, d) => (Kind::Put, key, value(v, d)),
                    Given::T(key) => (Kind::Tombstone, key, 0),
                };
                let (stage, disk) = (Stage::Committed, Stage::Committed);
                let lsn = base + i as u8 * HEADER_UNITS;
                s.index[usize::from(key)] = Word::new(n, usize::from(s.records_len), false);
                let segment = n as u8;
                s.records[usize::from(s.records_len)] =
                    Record { kind, stage, disk, lsn, key, value, segment, ..Record::default() };
                s.records_len += 1;
            }
            s.segments[n] = Segment { sealed: used + 1, is_closed: true, ..tail(base, used) };
            s.segments[n].used = used;
            listed.listed |= 1 << n;
            listed.sealed |= 1 << n;
            base += used;
        }
        let n = self.scenario.given.len();
        s.segments[n] = tail(base, self.scenario.capacity);
        listed.listed |= 1 << n;
        s.manifests[0] = ManifestFile { now: listed, disk: listed, is_torn: false };
        (s.active, s.start, s.synced) = (n as u8, base, base);
        for key in 0..KEYS {
            s.found[key] = s.shown(&s.index, key, 0);
            let is_mask = s.found[key] == 0 && !s.index[key].is_none();
            if is_mask && self.scenario.masks_gone {
                s.index[key] = Word::NONE;
            } else if is_mask {
                s.masks[key] = (s.index[key], 0);
            }
            s.monitors[key] = self.monitors.still(key, s.found[key], 0);
        }
        s
    }

    // ---- guards

    pub fn pin(&self, s: &mut State, who: usize) {
        s.pins |= 1 << who;
    }

    /// Drops a guard, and with it what every grace period under way waits for.
    pub fn unpin(&self, s: &mut State, who: usize) {
        let rest = !(1u8 << who);
        s.pins &= rest;
        s.threads.iter_mut().for_each(|t| t.waits &= rest);
        s.compaction.waits &= rest;
        s.segments.iter_mut().for_each(|g| g.waits &= rest);
        s.masks.iter_mut().filter(|m| m.1 != NOBODY).for_each(|m| m.1 &= rest);
    }

    // ---- index

    /// I8: an address in hand leads to memory that is there and holds the record.
    pub fn follow(&self, s: &State, word: Word, who: &str) -> Step {
        let there = word.is_none()
            || s.segments[word.segment()].is_mapped && s.holds(word.segment(), word.record(), word.is_mask());
        if there {
            return Ok(());
        }
        broken(format!("{who} follows an address into segment {}, whose memory is gone", word.segment()))
    }

    pub fn set_index(&self, s: &mut State, key: usize, word: Word) {
        s.index[key] = word;
        // An address is used once, so the removal of another would find nothing.
        if s.masks[key].0 != word && !self.lacks(Break::MaskRemovedUnseen) {
            s.masks[key] = (Word::NONE, NOBODY);
        }
    }

    /// I5: the mask that the index leads to leaves it after a grace period that begins now. (The engine begins it when its
    /// maintenance thread comes by; that is as if the removal came later.)
    pub fn saw_mask(&self, s: &mut State, key: usize) {
        let waits = if self.lacks(Break::MaskLeavesAtOnce) { 0 } else { s.pins };
        s.masks[key] = (s.index[key], waits);
    }

    /// `record/live.rs`: decides a record, unless somebody did.
    pub fn commit(&self, s: &mut State, n: u8) {
        let r = s.record_mut(n);
        if r.stage == Stage::Pending {
            r.stage = Stage::Committed;
        }
        let r = *r;
        let key = usize::from(r.key);
        if r.kind == Kind::Tombstone
            && !s.index[key].is_none()
            && s.index[key].record() == usize::from(n)
            && s.masks[key].0 != s.index[key]
        {
            self.saw_mask(s, key);
        }
    }

    /// `Store::tag_expired`, after `is_past` stored the time (I15).
    pub fn tag(&self, s: &mut State, key: usize, word: Word) -> bool {
        if !self.lacks(Break::DeadlineNotStored) {
            s.stored_time = s.stored_time.max(deadline(s.records[word.record()].value));
        }
        if s.index[key] != word {
            return false;
        }
        s.index[key] = word.tagged();
        self.saw_mask(s, key);
        true
    }

    // ---- log

    pub fn add_record(&self, s: &mut State, record: Record) -> Step<u8> {
        let n = s.records_len;
        if usize::from(n) >= RECORDS || record.lsn > 230 {
            return Err(Stop::Bound);
        }
        *s.record_mut(n) = record;
        s.records_len += 1;
        Ok(n)
    }

    pub fn add_segment(&self, s: &mut State, segment: Segment) -> Step<u8> {
        let Some(n) = s.segments.iter().position(Segment::is_free) else { return Err(Stop::Bound) };
        s.segments[n] = segment;
        Ok(n as u8)
    }

    /// Takes `units` of a segment, or closes it; then the one who crossed the end owes the pad.
    pub fn reserve(&mut self, s: &mut State, t: usize, n: u8, units: u8) -> Step<Option<u8>> {
        let g = *s.segment(n);
        if !g.is_mapped {
            return broken(format!("T{t} appends to segment {n}, whose memory is gone (L1)"));
        }
        if !g.is_closed && g.used + units <= g.capacity {
            s.segments[usize::from(n)].used += units;
            return Ok(Some(g.base + g.used));
        }
        s.threads[t].own = NOBODY;
        if !g.is_closed && !self.lacks(Break::RollLeavesOpen) {
            self.close(s, t, n)?;
        }
        say!(self, "segment {n} is full;");
        Ok(None)
    }

    fn close(&mut self, s: &mut State, t: usize, n: u8) -> Step {
        let g = *s.segment(n);
        s.segments[usize::from(n)].is_closed = true;
        if g.capacity - g.used >= HEADER_UNITS {
            let pad = Record { kind: Kind::Pad, lsn: g.base + g.used, segment: n, ..Record::default() };
            s.threads[t].own = self.add_record(s, pad)?;
        }
        Ok(())
    }

    /// Writes the pad if it is owed, and goes on to the next segment, which the log thread prepared and listed.
    pub fn roll(&mut self, s: &mut State, t: usize) -> Step {
        let full = s.threads[t].active;
        if s.threads[t].own != NOBODY {
            s.record_mut(s.threads[t].own).stage = Stage::Committed;
            say!(self, "writes the pad of segment {full};");
        }
        if s.active == full {
            self.install(s, full)?;
        }
        s.threads[t].own = NOBODY;
        Ok(())
    }
}

impl Model<'_> {
    /// Prepared, listed and durable before it is offered: nobody could tell when.
    pub fn install(&mut self, s: &mut State, full: u8) -> Step {
        let g = *s.segment(full);
        let next = self.add_segment(s, tail(g.base + g.capacity, self.scenario.capacity))?;
        s.active = next;
        say!(self, "installs segment {next};");
        if !self.lacks(Break::RecordsBeforeListing) {
            self.list_now(s, 1 << next);
        }
        Ok(())
    }

    /// Adds to the generation that counts, wherever it is on its way to the disk.
    fn list_now(&self, s: &mut State, add: u16) {
        let newest = usize::from(s.manifests[1].now.number > s.manifests[0].now.number);
        s.manifests[newest].now.listed |= add;
        let durable = usize::from(s.manifests[1].disk.number > s.manifests[0].disk.number);
        s.manifests[durable].disk.listed |= add;
        if s.manifests[durable].now.number == s.manifests[durable].disk.number {
            s.manifests[durable].now.listed |= add;
        }
    }
}

/// A fresh tail segment.
pub fn tail(base: u8, capacity: u8) -> Segment {
    Segment { is_mapped: true, is_file: true, base, born: base, capacity, ..Segment::default() }
}
