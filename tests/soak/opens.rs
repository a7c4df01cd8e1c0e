//! `KV_SOAK_OPENS` (500): a store is opened and closed again and again.

use crate::common;
use crate::held::{self, Sample, DESCRIPTORS, DISK, MAPS, MEMORY};
use kv::{Db, Options, Sync};
use std::path::Path;

const KEYS: u64 = 100;
const OPENS: u64 = 500;
/// What an allocator may keep: for all the opens together, so that a leak of a few bytes an open shows in the campaign.
const MEMORY_SLACK_KIB: u64 = 1 << 10;

fn open(dir: &Path) -> Db {
    Options::new().sync(Sync::Never).open(dir).unwrap()
}

/// Opens so often, and returns what the process holds with no store open, after a tenth of them and at the end.
fn open_often(dir: &Path, visit: impl Fn(&Db, u64)) -> (Sample, Sample) {
    let opens = common::count("KV_SOAK_OPENS", OPENS);
    let mut samples = Vec::new();
    for n in 0..opens {
        let db = open(dir);
        visit(&db, n);
        db.close().unwrap();
        drop(db);
        if n >= opens / 10 && n % (opens / 100).max(1) == 0 || n == opens - 1 {
            held::wait_for_threads(1);
            samples.push(held::sample(dir, None));
        }
    }
    println!("  {opens} opens");
    held::drift(&samples);
    (samples[0], *samples.last().unwrap())
}

fn assert_same_process(first: Sample, last: Sample) {
    assert_eq!(last[DESCRIPTORS], first[DESCRIPTORS], "descriptors");
    // The allocator's.
    assert!(last[MAPS] <= first[MAPS] + 2, "{} maps, {} before", last[MAPS], first[MAPS]);
    assert!(
        last[MEMORY] <= first[MEMORY] + MEMORY_SLACK_KIB,
        "{} KiB, {} before",
        last[MEMORY],
        first[MEMORY]
    );
}

pub fn reads() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    for n in 0..KEYS {
        db.set(&n.to_le_bytes(), &[n as u8; 1000]).unwrap();
    }
    db.close().unwrap();
    let (first, last) = open_often(dir.path(), |db, n| {
        let n = n % KEYS;
        assert_eq!(db.get(&n.to_le_bytes()).unwrap().unwrap(), [n as u8; 1000]);
    });
    assert_same_process(first, last);
    assert_eq!(last[DISK], first[DISK], "the disk");
}

pub fn writes() {
    let dir = tempfile::tempdir().unwrap();
    let (first, last) = open_often(dir.path(), |db, n| {
        if let Some(before) = n.checked_sub(1) {
            let held = db.get(&(before % KEYS).to_le_bytes()).unwrap().unwrap();
            assert_eq!(held, before.to_le_bytes(), "what the open before has written");
        }
        db.set(&(n % KEYS).to_le_bytes(), &n.to_le_bytes()).unwrap();
    });
    assert_same_process(first, last);
    // What lives is a page; the rest is P8's five segments, and there are fewer files than opens.
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    println!("  {names} files, {} KiB", last[DISK]);
    assert!(names < 40 && last[DISK] < 8 << 10, "{names} files, {} KiB", last[DISK]);
}
