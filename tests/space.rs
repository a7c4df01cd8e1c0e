//! P8: once idle, the log takes at most 1.5 × what lives plus five segments, without a call from the user.

use kv::{Db, Options, SetOptions, Sync};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

const SEGMENT_BYTES: u64 = 128 << 10;

/// Written by a test that holds back every grace period of the process: those that wait for the log to shrink read.
static PINS: RwLock<()> = RwLock::new(());

fn nobody_pins() -> RwLockReadGuard<'static, ()> {
    PINS.read().unwrap_or_else(PoisonError::into_inner)
}

fn allocated_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().filter_map(|e| e.unwrap().metadata().ok()).map(|m| m.blocks() * 512).sum()
}

/// Runs a workload and waits for the log to shrink by itself.
fn shrinks_after(workload: impl Fn(&Db)) {
    let _lock = nobody_pins();
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
    let _lock = nobody_pins();
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

/// A reader in another store holds back every grace period, so no compaction comes to its end: the opens have to do it.
#[test]
fn p8_a_store_that_is_only_opened_for_moments_stays_small_and_keeps_everything() {
    let _lock = PINS.write().unwrap_or_else(PoisonError::into_inner);
    let other = Db::in_memory().unwrap();
    let _pin = other.pin();
    let dir = tempfile::tempdir().unwrap();
    let mut model = std::collections::BTreeMap::new();
    std::thread::scope(|scope| {
        // Not this thread: one that holds a pin is refused what would wait for it.
        let run = scope.spawn(|| {
            for n in 0..400u64 {
                let db = Options::new().sync(Sync::Never).open(dir.path()).unwrap();
                for of_session in 0..20u64 {
                    let gone = key(n << 32 | of_session);
                    db.set(&gone, &[1; 200]).unwrap();
                    db.delete(&gone).unwrap();
                    let again = key(of_session);
                    db.set(&again, &n.to_le_bytes()).unwrap();
                    model.insert(again, n);
                }
                let stays = key(n << 32 | 1 << 16);
                db.set(&stays, &n.to_le_bytes()).unwrap();
                model.insert(stays, n);
                if n % 3 == 0 {
                    db.abandon();
                } else {
                    db.close().unwrap();
                }
                let segments = kv::verify(dir.path()).unwrap().segments;
                assert!(segments <= 24, "{segments} segments after {n} sessions");
            }
        });
        run.join().unwrap();
    });
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.len(), model.len());
    for (key, n) in &model {
        assert_eq!(db.get(key).unwrap().as_deref(), Some(&n.to_le_bytes()[..]));
    }
    let bytes = allocated_bytes(dir.path());
    assert!(bytes <= 4 << 20, "{bytes} bytes for {} entries", model.len());
}

/// Whoever walks a segment beside the log thread, having read that it is not sealed, looks at the head behind its last record.
#[test]
fn p5_the_head_behind_the_last_record_stays_in_a_file_that_is_cut() {
    const PAGE: u64 = 4096;
    const RECORDS: u64 = 250;
    let _lock = nobody_pins();
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().segment_bytes(1 << 20).open(dir.path()).unwrap();
    // Each record is a page, so the last of them ends with one; the next does not fit.
    let value = vec![7; PAGE as usize - 32 - 8];
    (0..RECORDS).for_each(|n| db.set(&n.to_le_bytes(), &value).unwrap());
    db.set(b"does not fit", &vec![7; 64 << 10]).unwrap();
    let cut_bytes = |more: u64| {
        let files = std::fs::read_dir(dir.path()).unwrap();
        files.flatten().any(|file| file.metadata().is_ok_and(|is| is.len() == PAGE * (1 + RECORDS + more)))
    };
    let began = Instant::now();
    while !cut_bytes(1) {
        assert!(!cut_bytes(0), "it ends with the last record");
        assert!(began.elapsed() < Duration::from_secs(60), "it is not cut");
        db.sync().unwrap();
    }
    db.close().unwrap();
}
