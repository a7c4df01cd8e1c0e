//! Group commit: writers that wait for a sync, and the log thread that finds the resolved point and syncs for all (I10).

use crate::check;
use crate::log::{Crowd, Reserved, Signal, TailOffset};
use crate::record::{Kind, LiveWord, State, Word, HEADER_BYTES};
use crate::sync::{AtomicU64, Ordering};

const RECORD_BYTES: u64 = HEADER_BYTES as u64;
const RECORDS: u64 = 2;
const CAPACITY_BYTES: u64 = RECORDS * RECORD_BYTES;

/// A rule of the protocol, taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// What is said to be synced is found after the sync.
    PointAfterTheSync,
    /// The resolved point passes a pending record.
    PendingIsResolved,
}

struct Log {
    tail: TailOffset,
    words: Vec<AtomicU64>,
    signal: Signal,
    /// Highest offset that somebody waits for, and what is surely on the disk.
    wanted: AtomicU64,
    synced: AtomicU64,
    waiters: Crowd,
    /// Records that the disk holds committed, a bit for each.
    disk: AtomicU64,
}

impl Log {
    fn new() -> Log {
        Log {
            tail: TailOffset::new(0),
            words: (0..RECORDS).map(|_| AtomicU64::new(0)).collect(),
            signal: Signal::default(),
            wanted: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            waiters: Crowd::default(),
            disk: AtomicU64::new(0),
        }
    }

    fn state(&self, n: u64) -> Option<State> {
        let word = LiveWord(&self.words[n as usize]).load();
        (word.0 != 0).then(|| word.state()).flatten()
    }

    /// As a write in `Sync::Always`: when it returns, the disk holds its record.
    fn write(&self) {
        let Reserved::At(offset) = self.tail.reserve(RECORD_BYTES, CAPACITY_BYTES) else { panic!("no room") };
        let n = offset / RECORD_BYTES;
        let word = LiveWord(&self.words[n as usize]);
        word.publish(Word::new(0, Kind::Put, 0, 0, State::Pending));
        word.resolve(State::Committed);
        // SeqCst: as in `Log::wait_synced`.
        self.wanted.fetch_max(offset + 1, Ordering::SeqCst);
        self.signal.wake();
        self.waiters.wait_until(|| self.synced.load(Ordering::Acquire) > offset);
        assert!(self.disk.load(Ordering::Relaxed) & 1 << n != 0, "acknowledged, and not on the disk");
    }

    fn resolved(&self, fault: Option<Fault>) -> u64 {
        let is_resolved = |n: &u64| match self.state(*n) {
            None => false,
            Some(State::Pending) => fault == Some(Fault::PendingIsResolved),
            Some(_) => true,
        };
        (0..RECORDS).take_while(is_resolved).count() as u64 * RECORD_BYTES
    }

    fn sync(&self) {
        let committed = (0..RECORDS).filter(|n| self.state(*n) == Some(State::Committed));
        self.disk.store(committed.map(|n| 1 << n).sum(), Ordering::Relaxed);
    }

    /// As `Keeper::run`, until all is synced.
    fn keep(&self, fault: Option<Fault>) {
        let mut synced = 0;
        while synced < CAPACITY_BYTES {
            let before = self.resolved(fault);
            if self.wanted.load(Ordering::SeqCst) > synced {
                self.sync();
                let point =
                    if fault == Some(Fault::PointAfterTheSync) { self.resolved(fault) } else { before };
                synced = point;
                self.synced.fetch_max(point, Ordering::Release);
                self.waiters.wake_all();
            }
            if synced < CAPACITY_BYTES {
                self.signal.sleep(None);
            }
        }
    }
}

fn commit(fault: Option<Fault>) {
    let threads: Vec<crate::Thread<Log>> =
        vec![Box::new(Log::write), Box::new(Log::write), Box::new(move |log| log.keep(fault))];
    check(1, Log::new, threads, |_| ());
}

#[test]
fn whoever_is_acknowledged_is_on_the_disk() {
    commit(None);
}

#[test]
#[should_panic(expected = "acknowledged, and not on the disk")]
fn the_synced_point_must_be_found_before_the_sync() {
    commit(Some(Fault::PointAfterTheSync));
}

#[test]
#[should_panic(expected = "acknowledged, and not on the disk")]
fn the_resolved_point_must_not_pass_a_pending_record() {
    commit(Some(Fault::PendingIsResolved));
}
