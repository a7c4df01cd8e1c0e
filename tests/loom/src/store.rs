//! One key of a store: its slot, and a log of one segment. The steps are those of the engine's `store.rs`.

use crate::index::{empty_slot, Address, Content, Refused, Slot};
use crate::log::{Reserved, TailOffset};
use crate::record::{Kind, LiveWord, State, Word, HEADER_BYTES};
use crate::sync::{AtomicU64, Ordering};
use loom::cell::UnsafeCell;

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
    pub(crate) slot: Slot,
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

/// What a thread found in the slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    content: Content,
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
            slot: empty_slot(),
            records: (0..RECORDS_MAX).map(|_| record()).collect(),
            tail: TailOffset::new(0),
            now: AtomicU64::new(0),
            fault,
        }
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

    pub(crate) fn look(&self, wall: u64) -> Seen {
        loop {
            let content = self.slot.load();
            let Some(address) = content.address() else { return Seen { content, lsn: 0, live: None } };
            let (word, body) = self.view(address);
            if word.state() == Some(State::Pending) && self.fault != Some(Fault::PendingIsLeft) {
                self.word(address).resolve(State::Committed);
            }
            let gone = Seen { content, lsn: body.lsn, live: None };
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
            if self.slot.compare_exchange(Content::At(address), address.expired()).is_ok() {
                return Seen { content: Content::At(address.expired()), ..gone };
            }
        }
    }

    /// Publishes over whatever is older; the caller retries.
    pub(crate) fn publish_blind(&self, slot: &Slot, place: &Place) -> Result<(), Refused> {
        let lsn_at = |address| Some(self.view(address).1.lsn);
        let lsn = if self.fault == Some(Fault::LoserReplaces) { u64::MAX } else { place.lsn };
        let result = slot.replace_older(place.address, lsn, lsn_at);
        self.word(place.address).resolve(match result {
            Ok(()) => State::Committed,
            // It goes on to the next entry of the key with the same record.
            Err(Refused::Dead) => return result,
            Err(Refused::Newer) => State::Aborted,
        });
        result
    }

    pub(crate) fn write_blind(&self, kind: Kind, value: u64, expires: bool) {
        loop {
            let place = self.append(kind, value, expires);
            match self.publish_blind(&self.slot, &place) {
                Ok(()) => return,
                Err(Refused::Newer) if self.fault == Some(Fault::LoserIsOverwritten) => return,
                Err(Refused::Newer) => {}
                Err(Refused::Dead) => panic!("nothing leaves in this model"),
            }
        }
    }

    /// Writes what `decide` makes of the live value; false if it leaves it.
    pub(crate) fn write(&self, wall: u64, decide: impl Fn(Option<Body>) -> Option<u64>) -> bool {
        loop {
            let seen = self.look(wall);
            let Some(value) = decide(seen.live) else { return false };
            let place = self.append(Kind::Put, value, false);
            let is_moved = |address: Address| {
                seen.live.is_some()
                    && !address.is_expired()
                    && self.view(address).1.lsn == seen.lsn
                    && self.view(address).0.kind() == Some(Kind::Put)
            };
            if self.slot.replace_exactly(seen.content, place.address, is_moved).is_ok() {
                self.word(place.address).resolve(State::Committed);
                return true;
            }
            self.word(place.address).resolve(State::Aborted);
        }
    }

    /// The compactor's step for one record: a copy of the same LSN takes its place, unless a write does.
    pub(crate) fn relocate(&self, victim_offset: u64) {
        let victim = Address::new(0, victim_offset).expect("a multiple of eight");
        let (_, body) = self.view(victim);
        let content = self.slot.load();
        if content != Content::At(victim) {
            return;
        }
        let copy = self.fill(self.reserve(), Kind::Put, body, State::Committed);
        let _ = self.slot.compare_exchange(content, copy.address);
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
        committed.max_by_key(|(_, body)| body.lsn)
    }

    /// I1: once all threads are done, the index shows what the log would recover to.
    pub(crate) fn assert_shows_what_recovers(&self) {
        let shown = self.slot.load().address().map(|address| self.view(address).1);
        assert_eq!(shown, self.recovered().map(|(_, body)| body), "the index and the log disagree");
    }
}
