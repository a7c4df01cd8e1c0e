//! One key of a store: the engine's index, and a log of one segment. The steps are those of the engine's `store.rs`.

use crate::index::models::{guard, small_index};
use crate::index::{Address, Entry, Index, Pinned, Record as IndexRecord, Records};
use crate::log::{Reserved, TailOffset};
use crate::reclaim::Protected;
use crate::record::{Kind, LiveWord, State, Word, HEADER_BYTES};
use crate::sync::{AtomicU64, Ordering};
use loom::cell::UnsafeCell;

pub(crate) const KEY: &[u8] = b"k";
const RECORD_BYTES: u64 = HEADER_BYTES as u64;
const RECORDS_MAX: u64 = 10;
/// When the records that expire do.
pub(crate) const DEADLINE: u64 = 1;

/// What stands behind a record's word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) lsn: u64,
    pub(crate) value: u64,
    pub(crate) expires: bool,
}

struct Record {
    word: AtomicU64,
    body: UnsafeCell<Body>,
}

/// A rule of the protocol, taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// I2: who meets a newer record calls itself overwritten.
    LoserIsOverwritten,
    /// I2: who meets a newer record replaces it.
    LoserReplaces,
    /// I4: a pending record is read and left pending.
    PendingIsLeft,
    /// I5: an expired record is called absent and left untagged.
    ExpiredIsLeft,
}

pub(crate) struct Store {
    index: Index,
    records: Vec<Record>,
    tail: TailOffset,
    /// The ratchet of I15.
    now: AtomicU64,
    fault: Option<Fault>,
}

// SAFETY: bodies are reached only as M1 and M2 allow, and loom checks every access.
unsafe impl Sync for Store {}
// SAFETY: as above.
unsafe impl Send for Store {}

impl IndexRecord<'_> for (Word, Body) {
    fn key(&self) -> &'static [u8] {
        KEY
    }

    fn lsn(&self) -> u64 {
        self.1.lsn
    }
}

impl Records for Store {
    type Record<'g> = (Word, Body);

    fn read(&self, address: Address, _protected: Protected<'_>) -> Option<(Word, Body)> {
        Some(self.view(address))
    }

    fn prefetch(&self, _address: Address, _protected: Protected<'_>) {}
}

/// What a thread found for the key.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'s> {
    slot: Option<Entry<'s, Store>>,
    pub(crate) lsn: u64,
    pub(crate) live: Option<Body>,
}

/// An appended record that is not published.
pub(crate) struct Place {
    pub(crate) address: Address,
    lsn: u64,
}

impl Store {
    /// Where the first record lies.
    pub(crate) const FIRST: u64 = 0;

    pub(crate) fn new(fault: Option<Fault>) -> Store {
        let record = || Record { word: AtomicU64::new(0), body: UnsafeCell::new(Body::default()) };
        Store {
            index: small_index(),
            records: (0..RECORDS_MAX).map(|_| record()).collect(),
            tail: TailOffset::new(0),
            now: AtomicU64::new(0),
            fault,
        }
    }

    pub(crate) fn map(&self) -> Pinned<'_, Store> {
        self.index.pin(self, guard())
    }

    fn record(&self, address: Address) -> &Record {
        &self.records[(address.offset_bytes() / RECORD_BYTES) as usize]
    }

    fn word(&self, address: Address) -> LiveWord<'_> {
        LiveWord(&self.record(address).word)
    }

    fn reserve(&self) -> u64 {
        match self.tail.reserve(RECORD_BYTES, RECORDS_MAX * RECORD_BYTES) {
            Reserved::At(offset) => offset,
            Reserved::Full { .. } => panic!("the model's log is too small"),
        }
    }

    fn fill(&self, offset: u64, kind: Kind, body: Body, state: State) -> Place {
        let address = Address::new(0, offset).expect("a multiple of eight");
        // SAFETY: M1: this thread reserved the record; loom checks that nobody else reaches it.
        self.record(address).body.with_mut(|at| unsafe { *at = body });
        self.word(address).publish(Word::new(0, kind, 0, 0, state));
        Place { address, lsn: body.lsn }
    }

    pub(crate) fn append(&self, kind: Kind, value: u64, expires: bool) -> Place {
        let offset = self.reserve();
        let lsn = offset + RECORD_BYTES;
        self.fill(offset, kind, Body { lsn, value, expires }, State::Pending)
    }

    /// The record at an address, whose body loom lets be read only if the word was published before.
    pub(crate) fn view(&self, address: Address) -> (Word, Body) {
        let word = self.word(address).load();
        assert_ne!(word.0, 0, "an address leads to a record that is not there");
        // SAFETY: M2: the word was found written; loom checks that the body is.
        (word, self.record(address).body.with(|at| unsafe { *at }))
    }

    pub(crate) fn look(&self, wall: u64) -> Seen<'_> {
        loop {
            let Some(slot) = self.map().find(KEY) else { return Seen { slot: None, lsn: 0, live: None } };
            let (address, (word, body)) = (slot.address(), slot.record());
            if word.state() == Some(State::Pending) && self.fault != Some(Fault::PendingIsLeft) {
                self.word(address).resolve(State::Committed);
            }
            let gone = Seen { slot: Some(slot), lsn: body.lsn, live: None };
            if address.is_expired() || word.kind() != Some(Kind::Put) {
                return gone;
            }
            let now = self.now.fetch_max(wall, Ordering::AcqRel).max(wall);
            if !body.expires || now < DEADLINE {
                return Seen { live: Some(body), ..gone };
            }
            if self.fault == Some(Fault::ExpiredIsLeft) {
                return gone;
            }
            self.map().redirect(KEY, address, address.expired());
        }
    }

    /// Publishes over whatever is older, on which the caller insists. Returns where the record lies.
    pub(crate) fn write_blind(&self, kind: Kind, value: u64, expires: bool) -> Address {
        loop {
            let place = self.append(kind, value, expires);
            let lsn = if self.fault == Some(Fault::LoserReplaces) { u64::MAX } else { place.lsn };
            if self.map().publish_over_older(KEY, place.address, lsn).is_ok() {
                self.word(place.address).resolve(State::Committed);
                return place.address;
            }
            self.word(place.address).resolve(State::Aborted);
            if self.fault == Some(Fault::LoserIsOverwritten) {
                return place.address;
            }
        }
    }

    /// Writes what `decide` makes of the live value; false if it leaves it.
    pub(crate) fn write(&self, wall: u64, decide: impl Fn(Option<Body>) -> Option<u64>) -> bool {
        loop {
            let seen = self.look(wall);
            let Some(value) = decide(seen.live) else { return false };
            let place = self.append(Kind::Put, value, false);
            let is_moved = |slot: &Entry<'_, Store>| {
                let (word, body) = slot.record();
                seen.live.is_some()
                    && !slot.address().is_expired()
                    && body.lsn == seen.lsn
                    && word.kind() == Some(Kind::Put)
            };
            if self.map().publish_over_seen(KEY, place.address, seen.slot.as_ref(), is_moved).is_ok() {
                self.word(place.address).resolve(State::Committed);
                return true;
            }
            self.word(place.address).resolve(State::Aborted);
        }
    }

    /// The member of a batch: its frame is committed, and then it is published.
    pub(crate) fn publish_committed(&self, value: u64) {
        let offset = self.reserve();
        let body = Body { lsn: offset + RECORD_BYTES, value, expires: false };
        let place = self.fill(offset, Kind::Put, body, State::Committed);
        assert!(self.map().publish_over_older(KEY, place.address, place.lsn).is_ok(), "nobody else writes");
    }

    /// The record of a clear: its LSN.
    pub(crate) fn append_clear(&self) -> u64 {
        let place = self.append(Kind::Clear, 0, false);
        self.word(place.address).resolve(State::Committed);
        place.lsn
    }

    /// The walk of a clear: what it masks goes, what is newer gets a tombstone.
    pub(crate) fn forget_cleared(&self, clear_lsn: u64) {
        while let Some(slot) = self.map().find(KEY) {
            if slot.record().1.lsn > clear_lsn {
                self.write_blind(Kind::Tombstone, 0, false);
                return;
            }
            if self.map().remove(KEY, slot.address()) {
                return;
            }
        }
    }

    /// Whether a record stands at an offset.
    pub(crate) fn is_filled(&self, offset: u64) -> bool {
        self.records[(offset / RECORD_BYTES) as usize].word.load(Ordering::Acquire) != 0
    }

    /// Whether the index leads to the record at an offset.
    pub(crate) fn leads_to(&self, offset: u64) -> bool {
        self.map().find(KEY).is_some_and(|slot| slot.address().offset_bytes() == offset)
    }

    /// The compactor's step for one record: a copy of the same LSN takes its place, unless a write does.
    pub(crate) fn relocate(&self, victim_offset: u64) {
        let victim = Address::new(0, victim_offset).expect("a multiple of eight");
        let (_, body) = self.view(victim);
        if self.map().find(KEY).is_some_and(|slot| slot.address() == victim) {
            let copy = self.fill(self.reserve(), Kind::Put, body, State::Committed);
            self.map().redirect(KEY, victim, copy.address);
        }
    }

    /// What a process that takes over the log now would find: the committed record of the highest LSN.
    pub(crate) fn recovered(&self) -> Option<(Kind, Body)> {
        let reserved = self.tail.end(RECORDS_MAX * RECORD_BYTES) / RECORD_BYTES;
        let addresses = (0..reserved).filter_map(|n| Address::new(0, n * RECORD_BYTES));
        let committed = addresses.filter_map(|address| {
            let word = self.word(address).load();
            let is_committed = word.state() == Some(State::Committed);
            is_committed.then(|| (word.kind().expect("a kind"), self.view(address).1))
        });
        // A clear has a higher LSN than all that it masks, and no key.
        committed.max_by_key(|(_, body)| body.lsn)
    }

    /// I1: once all threads are done, the index shows what the log would recover to; a delete and nothing are the same.
    pub(crate) fn assert_shows_what_recovers(&self) {
        let is_put = |kind: Option<Kind>| kind == Some(Kind::Put);
        let shown = self.map().find(KEY).map(|slot| slot.record());
        let shown = shown.filter(|(word, _)| is_put(word.kind())).map(|(_, body)| body);
        let recovered = self.recovered().filter(|(kind, _)| is_put(Some(*kind))).map(|(_, body)| body);
        assert_eq!(shown, recovered, "the index and the log disagree");
    }
}
