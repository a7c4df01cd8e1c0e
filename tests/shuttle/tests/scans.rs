//! Snapshots and the list of keys, under a scheduler that decides which thread runs after each step: `engine.rs` says how.

// What these modules and the tests ask of the standard library is the scheduler's too.
#[macro_use]
extern crate scheduled_std as std;

#[allow(dead_code)] // What finds faults is for `engine.rs`.
mod explore;

use explore::{below, explore};
use kv::{Batch, Db, ManualClock, Options, ScanOptions, SetOptions, Sync};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;
/// Eight of them fill a segment.
const PADDING: [u8; 8000] = [b'p'; 8000];

fn store(clock: &Arc<ManualClock>, is_listed: bool) -> Db {
    let options = Options::new().segment_bytes(64 << 10).sync(Sync::Never).clock(clock.clone());
    options.ordered_index(is_listed).in_memory().unwrap()
}

fn found(db: &Db, options: ScanOptions) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let entries: Vec<_> = db.scan(options).unwrap().map(|entry| entry.unwrap()).collect();
    let count = entries.len();
    let found: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    assert_eq!(found.len(), count, "an entry appears twice");
    found
}

fn roll(db: &Db, records: u64) {
    for n in 0..records {
        db.set(&[b'r', n as u8 % 3], &PADDING).unwrap();
    }
}

/// Writers keep pairs of keys in step, each in its way; what each snapshot has to hold of them is at most one step apart.
#[test]
fn a_snapshot_is_a_beginning_of_the_log() {
    explore(|| {
        let clock = Arc::new(ManualClock::new(START_MS));
        let db = store(&clock, below(2) == 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=4u8 {
                    db.set(b"a", &[n]).unwrap();
                    db.set(b"b", &[n]).unwrap();
                }
            });
            scope.spawn(|| {
                for n in 1..=3u8 {
                    let mut batch = Batch::new();
                    batch.set(*b"c", [n]).set(*b"d", [n]);
                    db.apply(&batch).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..3 {
                    db.set(b"e", b"").unwrap();
                    db.set(b"f", b"").unwrap();
                    db.delete(b"f").unwrap();
                    db.delete(b"e").unwrap();
                }
            });
            scope.spawn(|| roll(&db, 12));
            scope.spawn(|| {
                db.sweep().unwrap();
                db.compact().unwrap();
            });
            scope.spawn(|| {
                for _ in 0..3 {
                    let state = found(&db, ScanOptions::new().snapshot(true));
                    let of = |key: &[u8]| state.get(key).map_or(0, |value| value[0]);
                    assert!(of(b"a") == of(b"b") || of(b"a") == of(b"b") + 1, "in turn: {state:?}");
                    assert_eq!(of(b"c"), of(b"d"), "half of a batch");
                    let (e, f) = (state.contains_key(&b"e"[..]), state.contains_key(&b"f"[..]));
                    assert!(e || !f, "a later write without an earlier one");
                }
            });
        });
        db.close().unwrap();
    });
}

/// A clear between runs of writes: a snapshot holds a beginning of one run and nothing of another.
#[test]
fn a_snapshot_holds_nothing_of_what_was_cleared() {
    explore(|| {
        let clock = Arc::new(ManualClock::new(START_MS));
        let db = store(&clock, below(2) == 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for run in 1..=2u8 {
                    (0..3u8).for_each(|n| db.set(&[b'k', n], &[run]).unwrap());
                    db.clear().unwrap();
                }
            });
            scope.spawn(|| drop(db.compact()));
            scope.spawn(|| {
                for _ in 0..4 {
                    let state = found(&db, ScanOptions::new().snapshot(true));
                    let is_beginning = state.keys().zip(0..).all(|(key, n)| key[..] == [b'k', n]);
                    assert!(is_beginning, "not a beginning: {state:?}");
                    let runs: std::collections::BTreeSet<_> = state.values().collect();
                    assert!(runs.len() < 2, "of two runs: {state:?}");
                }
            });
        });
        db.close().unwrap();
    });
}

/// A thread finds each of its writes in the next ordered scan, while others write the same keys' neighbours and masks leave the
/// index.
#[test]
fn the_list_of_keys_lacks_none_that_stands() {
    explore(|| {
        let clock = Arc::new(ManualClock::new(START_MS));
        let db = store(&clock, true);
        std::thread::scope(|scope| {
            for thread in 0..2u8 {
                let (db, clock) = (&db, &clock);
                scope.spawn(move || {
                    let key = [b'k', thread];
                    for _ in 0..4 {
                        let is_there = match below(4) {
                            0 => db.set(&key, b"").map(|()| true).unwrap(),
                            1 => db.add(&key, b"").map(|_| true).unwrap(),
                            2 => db.delete(&key).map(|_| false).unwrap(),
                            _ => {
                                let soon = SetOptions::new().ttl(Duration::from_millis(1));
                                db.set_with(&key, b"", soon).unwrap();
                                clock.advance(Duration::from_millis(1));
                                false
                            }
                        };
                        let state = found(db, ScanOptions::new().ordered(true));
                        assert_eq!(state.contains_key(&key[..]), is_there);
                        let _ = (db.add(b"shared", b"").unwrap(), db.delete(b"shared").unwrap());
                    }
                    db.delete(&key).unwrap();
                });
            }
            scope.spawn(|| (0..4).for_each(|_| db.sweep().unwrap()));
        });
        let mut rounds = 0;
        while kv::testing::listed_keys(&db) > 0 {
            rounds += 1;
            assert!(rounds < 1000, "a key stays in the list for nothing");
            db.sweep().unwrap();
        }
        db.close().unwrap();
    });
}
