//! A store with limits under a scheduler: evictions beside writes of every kind, deletes, expiry, compaction and clear.

#[macro_use]
extern crate scheduled_std as std;

#[allow(dead_code)] // What finds faults is for `engine.rs`.
mod explore;

use explore::{below, explore};
use kv::testing::{on, SimDisk};
use kv::{Batch, Db, ManualClock, Options, ScanOptions, SetOptions, Sync};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;
const MAX: u64 = 4;
/// Eight of them fill a segment.
const PADDING: [u8; 8000] = [b'p'; 8000];
/// Keys that the writers have between them.
const KEYS: u64 = 8;
const WRITERS: u64 = 3;

fn options(clock: &Arc<ManualClock>) -> Options {
    Options::new().segment_bytes(64 << 10).sync(Sync::Never).clock(clock.clone())
}

fn entries(db: &Db) -> BTreeMap<Vec<u8>, Vec<u8>> {
    db.scan(ScanOptions::new()).unwrap().map(|entry| entry.unwrap()).map(|e| (e.key, e.value)).collect()
}

fn write_anything(db: &Db, writer: u64, step: u64) {
    let key = || vec![b'k', below(KEYS) as u8];
    let value = [writer as u8, step as u8];
    match below(10) {
        0..=2 => db.set(&key(), &value).unwrap(),
        3 => drop(db.add(&key(), &value).unwrap()),
        4 => drop(db.delete(&key()).unwrap()),
        5 => drop(db.take(&key()).unwrap()),
        6 => drop(db.increment(&[b'n', below(2) as u8], 1).unwrap()),
        7 => {
            let mut batch = Batch::new();
            batch.set(key(), value).set(key(), value).delete(key());
            db.apply(&batch).unwrap();
        }
        8 => {
            let soon = SetOptions::new().ttl(Duration::from_millis(1 + below(3)));
            db.set_with(&key(), &value, soon).unwrap();
        }
        _ => db.set(&key(), &PADDING).unwrap(),
    }
}

/// Never more than the limit but for one entry a writer; afterwards what is counted is what is there, no ticket is left or lacking
/// (C1), and what is read is what the next process finds (P2, P4).
#[test]
fn a_cache_keeps_to_its_limit_and_counts_what_it_holds() {
    explore(|| {
        let (disk, clock) = (SimDisk::new(), Arc::new(ManualClock::new(START_MS)));
        let bytes_max = if below(2) == 0 { Some(20_000) } else { None };
        let cache = || on(options(&clock).max_entries(Some(MAX)).max_bytes(bytes_max), &disk);
        let db = cache().open(Path::new("/store")).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let db = &db;
                scope.spawn(move || (0..6).for_each(|step| write_anything(db, writer, step)));
            }
            scope.spawn(|| {
                (0..2).for_each(|_| db.compact().unwrap());
                if below(4) == 0 {
                    db.clear().unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..4 {
                    clock.advance(Duration::from_millis(1));
                    drop(db.get(&[b'k', below(KEYS) as u8]).unwrap());
                    // A batch of two may come while each other writer adds one.
                    let count = db.len() as u64;
                    assert!(count <= MAX + WRITERS + 1, "{count} entries while {WRITERS} write");
                }
            });
        });
        db.sweep().unwrap();
        let held = entries(&db);
        let stats = db.stats().unwrap();
        assert_eq!((stats.entries, db.len()), (held.len() as u64, held.len()));
        assert_eq!(
            stats.weight,
            held.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>()
        );
        assert!(stats.entries <= MAX && bytes_max.is_none_or(|max| stats.weight <= max), "{stats:?}");
        db.abandon();
        drop(db);
        let db = on(options(&clock), &disk).open(Path::new("/store")).unwrap();
        assert_eq!(entries(&db), held, "after the death of the process");
        db.close().unwrap();
    });
}

/// C1: each eviction finds an entry at its first choice, so no ticket stands for none, and every entry has one.
#[test]
fn tickets_are_those_of_the_entries_once_no_writer_is_between_the_two() {
    explore(|| {
        let clock = Arc::new(ManualClock::new(START_MS));
        let db = options(&clock).max_entries(Some(MAX)).in_memory().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let db = &db;
                scope.spawn(move || (0..5).for_each(|step| write_anything(db, writer, step)));
            }
        });
        clock.advance(Duration::from_millis(10));
        db.sweep().unwrap();
        let (held, tickets) = (db.len(), kv::testing::tickets(&db));
        assert_eq!(tickets, held, "tickets and entries");
        db.close().unwrap();
    });
}
