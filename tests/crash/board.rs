//! What the child's threads were about to do and have done, where it outlives the child.

use super::words::Words;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub const THREADS: usize = 8;
pub const KEYS: usize = 48;
/// One more slot for the thread's counter, and one for its share of the counter that all increment.
pub const SLOTS: usize = KEYS + 2;
pub const OWN_COUNTER: usize = KEYS;
pub const SHARED_COUNTER: usize = KEYS + 1;
pub const BATCH_KEYS_MAX: usize = 6;

pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// What a key holds, in one word: kind, deadline in milliseconds after `Board::epoch_ms`, number of the write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held(pub u64);

pub const PUT: u64 = 1;
pub const DELETED: u64 = 2;
pub const EXPIRING: u64 = 3;

impl Held {
    pub fn new(kind: u64, deadline_ms: u64, sequence: u64) -> Held {
        assert!(deadline_ms < 1 << 30 && sequence < 1 << 30);
        Held(kind << 60 | deadline_ms << 30 | sequence)
    }

    pub fn kind(self) -> u64 {
        self.0 >> 60
    }

    pub fn deadline_ms(self) -> u64 {
        self.0 >> 30 & ((1 << 30) - 1)
    }

    pub fn sequence(self) -> u64 {
        self.0 & ((1 << 30) - 1)
    }
}

/// How far a thread's call has come.
pub const IDLE: u64 = 0;
pub const PREPARING: u64 = 1;
pub const CALLING: u64 = 2;
pub const RETURNED: u64 = 3;

/// Words of a thread: held by each slot as acknowledged, as intended, phase, number of the last write, slots in flight.
pub const INTENT_AT: usize = SLOTS;
pub const PHASE_AT: usize = 2 * SLOTS;
pub const SEQUENCE_AT: usize = PHASE_AT + 1;
pub const IN_FLIGHT_AT: usize = PHASE_AT + 2;
pub const THREAD_WORDS: usize = IN_FLIGHT_AT + 1 + BATCH_KEYS_MAX;
pub const READY_AT: usize = THREADS * THREAD_WORDS;
pub const EPOCH_AT: usize = READY_AT + 1;
pub const COMPACTIONS_AT: usize = EPOCH_AT + 1;
/// The highest generated number that a thread was given.
pub const GENERATED_AT: usize = COMPACTIONS_AT + 1;
/// What the store may hold, in a campaign with a cache; 0: all.
pub const ENTRIES_MAX_AT: usize = GENERATED_AT + 1;
pub const WORDS: usize = ENTRIES_MAX_AT + 1;

/// Memory that outlives the child.
pub struct Board {
    words: Words,
}

impl Board {
    /// A new one, in a file.
    pub fn create(path: &Path) -> Board {
        std::fs::write(path, vec![0; WORDS * 8]).unwrap();
        let board = Board::open(path);
        board.word(EPOCH_AT).store(unix_ms(), Ordering::SeqCst);
        board
    }

    pub fn open(path: &Path) -> Board {
        Board { words: Words::in_file(path) }
    }

    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS);
        self.words.at(at)
    }

    /// The child has opened the store.
    pub fn set_ready(&self) {
        self.word(READY_AT).store(1, Ordering::SeqCst);
    }

    pub fn is_ready(&self) -> bool {
        self.word(READY_AT).load(Ordering::SeqCst) == 1
    }

    pub fn clear_ready(&self) {
        self.word(READY_AT).store(0, Ordering::SeqCst);
    }

    /// Compactions that children have seen to their end.
    pub fn compactions(&self) -> &AtomicU64 {
        self.word(COMPACTIONS_AT)
    }

    pub fn set_entries_max(&self, max: u64) {
        self.word(ENTRIES_MAX_AT).store(max, Ordering::SeqCst);
    }

    /// What the store may hold, if it is a cache: then entries may be gone that nobody removed.
    pub fn entries_max(&self) -> Option<u64> {
        Some(self.word(ENTRIES_MAX_AT).load(Ordering::SeqCst)).filter(|max| *max != 0)
    }

    pub fn of(&self, thread: usize, at: usize) -> &AtomicU64 {
        self.word(thread * THREAD_WORDS + at)
    }

    pub fn epoch_ms(&self) -> u64 {
        self.word(EPOCH_AT).load(Ordering::SeqCst)
    }

    pub fn acked(&self, thread: usize, slot: usize) -> Held {
        Held(self.of(thread, slot).load(Ordering::SeqCst))
    }

    pub fn intent(&self, thread: usize, slot: usize) -> Held {
        Held(self.of(thread, INTENT_AT + slot).load(Ordering::SeqCst))
    }

    pub fn in_flight(&self, thread: usize) -> Vec<usize> {
        let len = self.of(thread, IN_FLIGHT_AT).load(Ordering::SeqCst) as usize;
        (1..=len).map(|n| self.of(thread, IN_FLIGHT_AT + n).load(Ordering::SeqCst) as usize).collect()
    }

    /// Notes what a call is about to do, runs it, and notes that it returned.
    pub fn run(&self, thread: usize, changes: &[(usize, Held)], call: impl FnOnce()) {
        let phase = self.of(thread, PHASE_AT);
        phase.store(PREPARING, Ordering::SeqCst);
        self.of(thread, IN_FLIGHT_AT).store(changes.len() as u64, Ordering::SeqCst);
        for (n, (slot, held)) in changes.iter().enumerate() {
            self.of(thread, IN_FLIGHT_AT + 1 + n).store(*slot as u64, Ordering::SeqCst);
            self.of(thread, INTENT_AT + slot).store(held.0, Ordering::SeqCst);
        }
        phase.store(CALLING, Ordering::SeqCst);
        call();
        phase.store(RETURNED, Ordering::SeqCst);
        for (slot, held) in changes {
            self.of(thread, *slot).store(held.0, Ordering::SeqCst);
        }
        phase.store(IDLE, Ordering::SeqCst);
    }
}
