//! What the model remembers: memory, index, files and manifests of one store, and what the checks compare them with.

use std::hash::{Hash, Hasher};

pub const KEYS: usize = 2;
pub const THREADS: usize = 3;
/// The compactor's bit among the guards.
pub const COMPACTOR: usize = THREADS;
pub const RECORDS: usize = 24;
pub const SEGMENTS: usize = 9;
pub const NOBODY: u8 = 0xff;

/// Room that records take, in units. A gap smaller than a header holds nothing, not even a pad.
pub const HEADER_UNITS: u8 = 2;
pub const BIG_UNITS: u8 = 3;
pub const FRAME_UNITS: u8 = HEADER_UNITS * 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    #[default]
    None,
    Put,
    Tombstone,
    Frame,
    Clear,
    Pad,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Reserved, not filled.
    #[default]
    Hole,
    Pending,
    Committed,
    Aborted,
}

impl Stage {
    pub fn is_decided(self) -> bool {
        self >= Stage::Committed
    }
}

/// A record where it was appended. Copies are bits of the segment that holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    pub kind: Kind,
    pub stage: Stage,
    /// What is surely on disk of it.
    pub disk: Stage,
    pub lsn: u8,
    pub key: u8,
    /// Value in the low three bits, deadline above.
    pub value: u8,
    /// Where it was appended; `NOBODY` once that segment's memory is gone.
    pub segment: u8,
    /// Its frame, plus one.
    pub frame: u8,
    /// It was published, or committed with its frame: a write that a prefix may hold.
    pub is_published: bool,
}

impl Record {
    pub fn may_mask(&self) -> bool {
        matches!(self.kind, Kind::Tombstone | Kind::Clear)
            || (self.kind == Kind::Put && deadline(self.value) > 0)
    }
}

pub fn value(number: u8, deadline: u8) -> u8 {
    number | deadline << 3
}
pub fn number(value: u8) -> u8 {
    value & 7
}
pub fn deadline(value: u8) -> u8 {
    value >> 3
}
/// The value at a time; 0 is absent.
pub fn at_time(value: u8, clock: u8) -> u8 {
    if deadline(value) > 0 && deadline(value) <= clock {
        0
    } else {
        value
    }
}

/// What a key's slot of the index leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Word(u16);

impl Word {
    pub const NONE: Word = Word(0);

    pub fn new(segment: usize, record: usize, is_mask: bool) -> Word {
        Word(0x8000 | u16::from(is_mask) << 9 | (segment as u16) << 5 | record as u16)
    }
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
    pub fn record(self) -> usize {
        usize::from(self.0 & 31)
    }
    pub fn segment(self) -> usize {
        usize::from(self.0 >> 5 & 15)
    }
    /// A copy that was made as a tombstone.
    pub fn is_mask(self) -> bool {
        self.0 & 0x200 != 0
    }
    pub fn is_tagged(self) -> bool {
        self.0 & 0x400 != 0
    }
    pub fn tagged(self) -> Word {
        Word(self.0 | 0x400)
    }
    pub fn untagged(self) -> Word {
        Word(self.0 & !0x400)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Mapped: following an address into it is allowed.
    pub is_mapped: bool,
    pub is_file: bool,
    pub is_output: bool,
    /// An output whose copies are surely on disk.
    pub is_synced: bool,
    pub is_closed: bool,
    pub base: u8,
    pub born: u8,
    pub capacity: u8,
    pub used: u8,
    /// Units that count, plus one, once it is sealed.
    pub sealed: u8,
    /// Records copied as they are, and as tombstones of their LSN.
    pub copies: u32,
    pub masks: u32,
    /// Batches that are publishing.
    pub publishing: u8,
    /// Highest LSN of a mask that the compaction under way left out of it.
    pub freed: u8,
    /// Guards that its unmapping waits for, once it left the manifest.
    pub waits: u8,
}

impl Segment {
    pub fn is_free(&self) -> bool {
        !self.is_mapped && !self.is_file
    }
}

/// Among what a manifest lists: a segment whose file and memory are gone.
pub const GONE: u16 = 1 << 15;

/// One generation of the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation {
    /// 0: no good bytes.
    pub number: u8,
    pub listed: u16,
    pub sealed: u16,
}

/// One of the manifest's two files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ManifestFile {
    pub now: Generation,
    pub disk: Generation,
    /// Being written over, so that power loss may leave neither.
    pub is_torn: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Pc {
    #[default]
    Idle,
    /// Loads the active segment, or reserves.
    Append,
    Roll,
    /// Fills and loads what stands for the key.
    Load,
    Publish,
    Commit,
    Look,
    Tag,
    Read,
    Fill,
    PublishSeen,
    Members,
    Frame,
    MemberLoad,
    MemberPublish,
    ClearCommit,
    ClearWait,
    ClearWalk,
    /// Waits for a sync.
    Wait,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Thread {
    pub pc: Pc,
    /// Number of the operation in the thread's program.
    pub op: u8,
    pub own: u8,
    /// Which part: 0 the frame or clear itself, 1 + n key n's share.
    pub part: u8,
    /// Keys that come later: members to append anew, entries above a clear.
    pub later: u8,
    pub seen: Word,
    pub saw_alive: bool,
    pub result: u8,
    pub deadline: u8,
    /// LSN that has to be durable; of a clear, its own.
    pub lsn: u8,
    /// The active segment as it was loaded, or the one that is full.
    pub active: u8,
    pub waits: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Work {
    #[default]
    Idle,
    Grace,
    Next,
    Entry,
    Redirect,
    Synced,
    Unlink,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Compaction {
    pub work: Work,
    pub begun: u8,
    pub waits: u8,
    pub victims: u16,
    pub left: u16,
    pub spent: u16,
    pub victim: u8,
    /// Record in hand; from `RECORDS` on the copies made as tombstones.
    pub at: u8,
    pub born_of_others: u8,
    /// Current output, plus one.
    pub output: u8,
    pub from: Word,
    pub to: Word,
    pub tail: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    #[default]
    Up,
    /// No process has the store open.
    Down,
    /// A recovery has written its manifest, which may not be on disk.
    Opening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub records: [Record; RECORDS],
    pub records_len: u8,
    pub segments: [Segment; SEGMENTS],
    pub index: [Word; KEYS],
    /// Per key: guards that the removal of the mask in the index waits for; `NOBODY`: there is none to remove.
    pub masks: [(Word, u8); KEYS],
    pub manifests: [ManifestFile; 2],
    pub threads: [Thread; THREADS],
    pub compaction: Compaction,
    pub compactions_left: u8,
    pub pins: u8,
    pub active: u8,
    /// Where writing began at open.
    pub start: u8,
    /// Everything below is on disk, as the log thread knows and the cell says.
    pub synced: u8,
    /// Point of the sync under way, 0 none.
    pub syncing: u8,
    pub clock: u8,
    pub stored_time: u8,
    pub phase: Phase,
    pub crashes_left: u8,
    /// Power was lost since the store was last open.
    pub lost_power: bool,
    /// Decision of a recovery that is under way, 0 none.
    pub cut: u8,
    /// Checks: one automaton's state a key.
    pub monitors: [u32; KEYS],
    /// Checks: what was there at open, and the highest LSN acknowledged as durable since.
    pub found: [u8; KEYS],
    pub floor: u8,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, h: &mut H) {
        h.write_u8(self.records_len);
        for record in &self.records[..usize::from(self.records_len)] {
            record.hash(h);
        }
        for segment in &self.segments {
            if segment.is_free() {
                h.write_u8(0);
            } else {
                segment.hash(h);
            }
        }
        (self.index, self.masks, self.manifests).hash(h);
        (self.threads, self.compaction, self.compactions_left, self.pins, self.active, self.start).hash(h);
        (self.synced, self.syncing, self.clock, self.stored_time, self.phase, self.crashes_left).hash(h);
        (self.lost_power, self.cut, self.monitors, self.found, self.floor).hash(h);
    }
}

impl State {
    pub fn record(&self, n: u8) -> &Record {
        &self.records[usize::from(n)]
    }
    pub fn record_mut(&mut self, n: u8) -> &mut Record {
        &mut self.records[usize::from(n)]
    }
    pub fn all(&self) -> &[Record] {
        &self.records[..usize::from(self.records_len)]
    }
    pub fn segment(&self, n: u8) -> &Segment {
        &self.segments[usize::from(n)]
    }

    /// Records that were appended to a segment.
    pub fn originals(&self, segment: usize) -> u32 {
        let of = |(n, r): (usize, &Record)| u32::from(usize::from(r.segment) == segment) << n;
        self.all().iter().enumerate().map(of).sum()
    }

    /// Whether a segment holds a record, as it was appended or as a copy.
    pub fn holds(&self, segment: usize, record: usize, is_mask: bool) -> bool {
        let s = &self.segments[segment];
        if is_mask {
            return s.masks >> record & 1 == 1;
        }
        s.copies >> record & 1 == 1 || usize::from(self.records[record].segment) == segment
    }

    /// The value that an address leads to; `None`: a mask.
    pub fn value_at(&self, word: Word) -> Option<u8> {
        let record = &self.records[word.record()];
        (record.kind == Kind::Put && !word.is_mask() && !word.is_tagged()).then_some(record.value)
    }

    /// The value that the index shows for a key, at a time.
    pub fn shown(&self, index: &[Word; KEYS], key: usize, clock: u8) -> u8 {
        let word = index[key];
        if word.is_none() {
            return 0;
        }
        self.value_at(word).map_or(0, |v| at_time(v, clock))
    }

    /// LSN of the record in the index; 0 none.
    pub fn lsn_of(&self, word: Word) -> u8 {
        if word.is_none() {
            0
        } else {
            self.records[word.record()].lsn
        }
    }

    pub fn tail_lsn(&self) -> u8 {
        let s = self.segment(self.active);
        s.base + if s.is_closed { s.capacity } else { s.used }
    }

    /// First LSN of the tail that is not decided (I10).
    pub fn resolved(&self) -> u8 {
        let undecided = self
            .all()
            .iter()
            .filter(|r| r.lsn >= self.start && !r.stage.is_decided() && r.frame == 0 && r.segment != NOBODY);
        undecided.map(|r| r.lsn).min().unwrap_or_else(|| self.tail_lsn())
    }

    /// The file of the generation that counts, of what the system sees.
    pub fn newest_manifest(&self) -> usize {
        usize::from(self.manifests[1].now.number > self.manifests[0].now.number)
    }

    pub fn manifest(&self) -> Generation {
        self.manifests[self.newest_manifest()].now
    }

    pub fn is_listed(&self, segment: usize) -> bool {
        self.manifest().listed >> segment & 1 == 1
    }

    /// A manifest is written and not yet synced.
    pub fn is_listing(&self) -> bool {
        let newest = self.manifests[self.newest_manifest()];
        newest.now != newest.disk
    }
}
