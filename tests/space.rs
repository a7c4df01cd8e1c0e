//! P8: once idle, the log takes at most 1.5 × what lives plus five segments, without a call from the user.

use kv::{Db, Options, SetOptions, Sync};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

const SEGMENT_BYTES: u64 = 128 << 10;

fn allocated_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().filter_map(|e| e.unwrap().metadata().ok()).map(|m| m.blocks() * 512).sum()
}

/// Runs a workload and waits for the log to shrink by itself.
fn shrinks_after(workload: impl Fn(&Db)) {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().segment_bytes(SEGMENT_BYTES).sync(Sync::Never).open(dir.path()).unwrap();
    workload(&db);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = db.stats().unwrap();
        let (log, limit) = (allocated_bytes(dir.path()), stats.live_bytes * 3 / 2 + 5 * SEGMENT_BYTES);
        if log <= limit {
            break;
        }
        assert!(Instant::now() < deadline, "{log} bytes on disk, allowed are {limit}: {stats:?}");
        std::thread::yield_now();
    }
    let before: Vec<_> = db.scan(kv::ScanOptions::new().ordered(true)).unwrap().map(Result::unwrap).collect();
    db.abandon();
    let db = Db::open(dir.path()).unwrap();
    let after: Vec<_> = db.scan(kv::ScanOptions::new().ordered(true)).unwrap().map(Result::unwrap).collect();
    assert!(before == after, "the store changed across a crash");
}

fn key(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

#[test]
fn overwriting_everything_again_and_again_leaves_no_garbage() {
    shrinks_after(|db| {
        for n in 0..60_000 {
            db.set(&key(n * n % 3001), &[1; 100]).unwrap();
        }
    });
}

#[test]
fn a_log_of_deletes_goes_away_beside_a_record_that_never_changes() {
    shrinks_after(|db| {
        db.set(b"cold", &[1; 100]).unwrap();
        for n in 0..30_000 {
            db.set(&key(n), b"").unwrap();
            db.delete(&key(n)).unwrap();
        }
    });
}

#[test]
fn expired_entries_give_their_space_back() {
    shrinks_after(|db| {
        for n in 0..2000 {
            db.set(&key(n), &[1; 200]).unwrap();
        }
        for n in 0..20_000 {
            let short = SetOptions::new().ttl(Duration::from_millis(20));
            db.set_with(&key(n % 4000), &[2; 100], short).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while !db.is_empty() {
            assert!(Instant::now() < deadline, "{} entries are still there", db.len());
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_store_that_was_large_and_is_nearly_empty_is_small_again() {
    shrinks_after(|db| {
        for n in 0..30_000 {
            db.set(&key(n), &[1; 100]).unwrap();
        }
        for n in 10..30_000 {
            db.delete(&key(n)).unwrap();
        }
    });
}

#[test]
fn clearing_gives_everything_back() {
    shrinks_after(|db| {
        for n in 0..30_000 {
            db.set(&key(n), &[1; 100]).unwrap();
        }
        db.clear().unwrap();
        db.set(b"k", b"v").unwrap();
    });
}

#[test]
fn opening_and_closing_does_not_leave_a_segment_each_time() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..60u64 {
        let db = Db::open(dir.path()).unwrap();
        db.set(&key(n), b"v").unwrap();
        db.close().unwrap();
    }
    let db = Db::open(dir.path()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while db.stats().unwrap().segments > 12 {
        assert!(Instant::now() < deadline, "{:?}", db.stats().unwrap());
        std::thread::yield_now();
    }
    assert_eq!(db.len(), 60);
}
