//! Segment roll: writers that reserve, close, pad and go on, while the next segment is prepared.

use crate::check;
use crate::log::{Active, Link, Next, Reserved, Rolled, TailOffset};
use crate::record::{Kind, LiveWord, State, Word, HEADER_BYTES};
use crate::sync::{AtomicU64, Condvar, Mutex};
use loom::cell::UnsafeCell;

const UNIT_BYTES: u64 = HEADER_BYTES as u64;
const CAPACITY_BYTES: u64 = 3 * UNIT_BYTES;
const SEGMENTS: usize = 3;

/// A rule of the protocol, taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The full segment is left open when the next is installed.
    LeftOpen,
    /// The next segment is offered before its header is written.
    OfferedUnprepared,
    /// Everyone who does not fit pads, from where the reservation stood.
    EveryonePads,
}

/// What stands behind a record's word.
#[derive(Clone, Copy, Default)]
struct Body {
    bytes: u64,
    writer: u64,
}

struct Segment {
    /// The header page, which the preparing thread writes.
    base_lsn: UnsafeCell<u64>,
    tail: TailOffset,
    next: Next<Segment>,
    words: Vec<AtomicU64>,
    bodies: Vec<UnsafeCell<Body>>,
    fault: Option<Fault>,
}

struct Log {
    segments: Vec<Segment>,
    active: Active<Segment>,
    waiting: Mutex<()>,
    room_changed: Condvar,
}

// SAFETY: bodies are reached only as M1 and M2 allow, and loom checks every access.
unsafe impl Sync for Log {}
// SAFETY: as above.
unsafe impl Send for Log {}

impl Link for Segment {
    fn next(&self) -> &Next<Segment> {
        &self.next
    }

    fn close(&self) {
        if self.fault != Some(Fault::LeftOpen) {
            self.tail.close(CAPACITY_BYTES).into_iter().for_each(|offset| self.pad(offset));
        }
    }
}

impl Segment {
    fn new(fault: Option<Fault>) -> Segment {
        let units = (CAPACITY_BYTES / UNIT_BYTES) as usize;
        Segment {
            base_lsn: UnsafeCell::new(0),
            tail: TailOffset::new(0),
            next: Next::none(),
            words: (0..units).map(|_| AtomicU64::new(0)).collect(),
            bodies: (0..units).map(|_| UnsafeCell::new(Body::default())).collect(),
            fault,
        }
    }

    fn fill(&self, offset: u64, kind: Kind, body: Body) {
        let unit = (offset / UNIT_BYTES) as usize;
        let word = LiveWord(&self.words[unit]);
        assert_eq!(word.load().0, 0, "written twice");
        // SAFETY: M1: this thread reserved the range; loom checks that nobody else reaches it.
        self.bodies[unit].with_mut(|at| unsafe { *at = body });
        word.publish(Word::new(0, kind, 0, 0, State::Committed));
    }

    fn pad(&self, offset: u64) {
        self.fill(offset, Kind::Pad, Body { bytes: CAPACITY_BYTES - offset, writer: 0 });
    }

    fn append(&self, bytes: u64, writer: u64) -> bool {
        match self.tail.reserve(bytes, CAPACITY_BYTES) {
            Reserved::At(offset) => {
                self.fill(offset, Kind::Put, Body { bytes, writer });
                true
            }
            Reserved::Full { pad_at } => {
                let wrong = (self.fault == Some(Fault::EveryonePads)).then_some(CAPACITY_BYTES - UNIT_BYTES);
                pad_at.or(wrong).into_iter().for_each(|offset| self.pad(offset));
                false
            }
        }
    }

    /// Goes from the start to the first record that is not written, as the log thread does; where that is, and whose records
    /// stand before it.
    fn walk(&self) -> (u64, Vec<u64>) {
        let end = self.tail.end(CAPACITY_BYTES);
        let (mut at, mut writers) = (0, Vec::new());
        while at < end {
            let unit = (at / UNIT_BYTES) as usize;
            let word = LiveWord(&self.words[unit]).load();
            if word.0 == 0 {
                break;
            }
            // SAFETY: M2: the word was found written.
            let body = self.bodies[unit].with(|at| unsafe { *at });
            at += body.bytes;
            writers.extend((word.kind() == Some(Kind::Put)).then_some(body.writer));
        }
        (at, writers)
    }

    /// Writers whose records stand in the chain from the start; it must reach the tail.
    fn chain(&self) -> Vec<u64> {
        let (end, writers) = self.walk();
        assert_eq!(end, self.tail.end(CAPACITY_BYTES), "a gap, or an end elsewhere than the tail");
        writers
    }
}

impl Log {
    fn new(fault: Option<Fault>) -> Log {
        let segments: Vec<Segment> = (0..SEGMENTS).map(|_| Segment::new(fault)).collect();
        let active = Active::new(&segments[0]);
        Log { segments, active, waiting: Mutex::default(), room_changed: Condvar::default() }
    }

    /// Which segment takes appends.
    fn active(&self) -> usize {
        let active = self.active.get();
        self.segments.iter().position(|segment| std::ptr::eq(segment, active)).expect("one of them")
    }

    /// The log thread: makes the segments behind the first ready.
    fn prepare(&self) {
        for n in 1..SEGMENTS {
            let (last, next) = (&self.segments[n - 1], &self.segments[n]);
            // SAFETY: M1: it is not offered yet, so it is this thread's alone; loom checks that.
            let write = || next.base_lsn.with_mut(|at| unsafe { *at = n as u64 * CAPACITY_BYTES });
            if next.fault == Some(Fault::OfferedUnprepared) {
                last.next.offer(next);
                write();
            } else {
                write();
                last.next.offer(next);
            }
            drop(self.waiting.lock().unwrap());
            self.room_changed.notify_all();
        }
    }

    /// As `Log::append_with` and `wait_for_room`. `takes` says whether a segment takes such records.
    fn append(&self, bytes: u64, writer: u64, takes: impl Fn(usize) -> bool) -> u64 {
        loop {
            let n = self.active();
            let segment = &self.segments[n];
            // SAFETY: M2: who finds a segment active finds its header written; loom checks that.
            let base_lsn = segment.base_lsn.with(|at| unsafe { *at });
            if let Some(before) = n.checked_sub(1).map(|n| &self.segments[n]) {
                assert_eq!(before.tail.end(CAPACITY_BYTES), CAPACITY_BYTES, "the segment before is open");
            }
            if takes(n) && segment.append(bytes, writer) {
                return base_lsn;
            }
            if self.active.roll(segment) == Rolled::NoNext {
                let mut waiting = self.waiting.lock().unwrap();
                while self.active() == n && !segment.next.is_offered() {
                    waiting = self.room_changed.wait(waiting).unwrap();
                }
            }
        }
    }

    /// Every record stands in the log once, and every segment that another follows is a chain to its end.
    fn assert_holds(&self, mut expected: Vec<u64>) {
        let last = self.active();
        let mut found: Vec<u64> = self.segments[..=last].iter().flat_map(Segment::chain).collect();
        for segment in &self.segments[..last] {
            assert_eq!(segment.tail.end(CAPACITY_BYTES), CAPACITY_BYTES);
        }
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "a record is lost or doubled");
    }
}

/// Two writers of records of different length and the thread that prepares segments.
fn roll(fault: Option<Fault>) {
    let long = |log: &Log| {
        log.append(2 * UNIT_BYTES, 1, |_| true);
        log.append(2 * UNIT_BYTES, 2, |_| true);
    };
    let short = |log: &Log| {
        log.append(UNIT_BYTES, 3, |_| true);
        log.append(UNIT_BYTES, 4, |_| true);
    };
    let threads: Vec<crate::Thread<Log>> = vec![Box::new(long), Box::new(short), Box::new(Log::prepare)];
    check(2, move || Log::new(fault), threads, |log| log.assert_holds(vec![1, 2, 3, 4]));
}

#[test]
fn no_record_is_lost_or_doubled_and_one_thread_pads() {
    roll(None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_segment_must_be_prepared_before_it_is_offered() {
    roll(Some(Fault::OfferedUnprepared));
}

#[test]
#[should_panic(expected = "written twice")]
fn only_the_reservation_that_crosses_the_end_may_pad() {
    roll(Some(Fault::EveryonePads));
}

#[test]
fn whoever_walks_the_log_beside_a_writer_reads_whole_records() {
    let write = |log: &Log| {
        log.append(UNIT_BYTES, 1, |_| true);
        log.append(UNIT_BYTES, 2, |_| true);
    };
    let walk = |log: &Log| assert!([1, 2].starts_with(&log.segments[0].walk().1));
    check(3, || Log::new(None), vec![Box::new(write), Box::new(walk)], |log| log.assert_holds(vec![1, 2]));
}

/// The first segment takes one writer's records only (P7); the other's must go on to the next.
fn roll_early(fault: Option<Fault>) {
    let tombstones = |log: &Log| {
        let first = log.append(UNIT_BYTES, 1, |_| true);
        assert!(first <= log.append(UNIT_BYTES, 2, |_| true), "the log ran backwards");
    };
    let put = |log: &Log| assert!(log.append(UNIT_BYTES, 3, |n| n > 0) > 0);
    let state = move || {
        let log = Log::new(fault);
        log.prepare();
        log
    };
    check(3, state, vec![Box::new(tombstones), Box::new(put)], |log| log.assert_holds(vec![1, 2, 3]));
}

#[test]
fn a_segment_that_is_left_before_it_is_full_takes_nothing_more() {
    roll_early(None);
}

#[test]
#[should_panic(expected = "the segment before is open")]
fn a_segment_must_be_closed_before_the_next_is_installed() {
    roll_early(Some(Fault::LeftOpen));
}

/// Writers of one segment beside a close, which takes down what it seals.
fn close_against_calls(fault: Option<Fault>) {
    type Shared = (Log, Mutex<Vec<u64>>, Mutex<Vec<u64>>);
    let write = |writer: u64| {
        move |(log, acknowledged, _): &Shared| {
            if log.segments[0].append(UNIT_BYTES, writer) {
                acknowledged.lock().unwrap().push(writer);
            }
        }
    };
    // As `Keeper::close`: nothing is reserved any more, and what was reserved is waited for.
    let close = |(log, _, sealed): &Shared| {
        let segment = &log.segments[0];
        segment.close();
        loop {
            let (end, writers) = segment.walk();
            if end == segment.tail.end(CAPACITY_BYTES) {
                *sealed.lock().unwrap() = writers;
                return;
            }
            loom::thread::yield_now();
        }
    };
    let state = move || (Log::new(fault), Mutex::default(), Mutex::default());
    check(
        2,
        state,
        vec![Box::new(write(1)), Box::new(write(2)), Box::new(close)],
        |(_, acknowledged, sealed)| {
            let (mut acknowledged, mut sealed) = (acknowledged.lock().unwrap(), sealed.lock().unwrap());
            acknowledged.sort_unstable();
            sealed.sort_unstable();
            assert_eq!(*acknowledged, *sealed, "acknowledged, and not sealed");
        },
    );
}

#[test]
fn a_close_seals_what_is_acknowledged() {
    close_against_calls(None);
}

#[test]
#[should_panic(expected = "acknowledged, and not sealed")]
fn a_close_must_end_reservations_before_it_walks() {
    close_against_calls(Some(Fault::LeftOpen));
}
