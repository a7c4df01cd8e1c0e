//! The log thread goes to sleep while writers append: no append is left unseen.

use crate::check;
use crate::log::{Crowd, Reserved, Signal, TailOffset};
use crate::sync::{AtomicU64, Ordering};

const RECORD_BYTES: u64 = 32;
const CAPACITY_BYTES: u64 = 1 << 20;
const WRITERS: u64 = 2;

/// A rule of the protocol, taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The sleeper does not look again after it asked for a nudge.
    NoSecondLook,
    /// Writers nudge before they reserve.
    NudgedTooEarly,
}

struct Log {
    tail: TailOffset,
    signal: Signal,
}

impl Log {
    fn append(&self, fault: Option<Fault>) {
        if fault == Some(Fault::NudgedTooEarly) {
            self.signal.nudge();
        }
        assert!(matches!(self.tail.reserve(RECORD_BYTES, CAPACITY_BYTES), Reserved::At(_)));
        if fault != Some(Fault::NudgedTooEarly) {
            self.signal.nudge();
        }
    }

    /// As `Keeper::run`, until it has seen all that is written. A lost wake-up is a deadlock, which loom reports.
    fn keep(&self, fault: Option<Fault>) {
        loop {
            self.signal.set_idle(false);
            let seen = self.tail.end(CAPACITY_BYTES);
            if seen == WRITERS * RECORD_BYTES {
                return;
            }
            self.signal.set_idle(true);
            if fault != Some(Fault::NoSecondLook) && self.tail.end(CAPACITY_BYTES) > seen {
                continue;
            }
            self.signal.sleep(None);
        }
    }
}

fn append_against_sleep(fault: Option<Fault>) {
    let mut threads: Vec<crate::Thread<Log>> = vec![Box::new(move |log| log.keep(fault))];
    threads.extend((0..WRITERS).map(|_| -> crate::Thread<Log> { Box::new(move |log| log.append(fault)) }));
    let state = || Log { tail: TailOffset::new(0), signal: Signal::default() };
    check(2, state, threads, |_| ());
}

#[test]
fn no_wake_up_is_lost() {
    append_against_sleep(None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_sleeper_must_look_again_after_it_asked_for_a_nudge() {
    append_against_sleep(Some(Fault::NoSecondLook));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_writer_must_nudge_after_it_reserved() {
    append_against_sleep(Some(Fault::NudgedTooEarly));
}

/// Writers that wait for a sync, and the thread that reports it (I10).
fn sync_against_waiters(is_told: bool) {
    type Shared = (Crowd, AtomicU64);
    let wait = |(crowd, synced): &Shared| crowd.wait_until(|| synced.load(Ordering::Acquire) == 1);
    let sync = move |(crowd, synced): &Shared| {
        if !is_told {
            crowd.wake_all();
        }
        synced.store(1, Ordering::Release);
        if is_told {
            crowd.wake_all();
        }
    };
    let state = || (Crowd::default(), AtomicU64::new(0));
    check(2, state, vec![Box::new(wait), Box::new(wait), Box::new(sync)], |_| ());
}

#[test]
fn whoever_waits_for_a_sync_is_released() {
    sync_against_waiters(true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_crowd_must_be_woken_after_what_it_waits_for() {
    sync_against_waiters(false);
}
