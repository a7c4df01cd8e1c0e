//! Threads with keys of their own, while the log rolls, the compactor runs and the index grows: each sees exactly what it
//! wrote, and so does whoever opens the store afterwards.

use kv::{Batch, Db, Options, SetOptions, Sync};
use std::collections::HashMap;
use std::time::Duration;

const THREADS: u64 = 4;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn seed() -> u64 {
    let fresh =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("KV_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(fresh) | 1;
    println!("KV_SEED={seed}");
    seed
}

type Expected = HashMap<Vec<u8>, Vec<u8>>;

/// Works on keys that only this thread writes, and compares each read with what it wrote.
fn work(db: &Db, thread: u64, seed: u64, steps: u64, mut mine: Expected) -> Expected {
    let mut rng = Rng(seed ^ (thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for step in 0..steps {
        let key = format!("{thread}/{}", rng.below(200)).into_bytes();
        let value = vec![step as u8; rng.below(300) as usize];
        match rng.below(10) {
            0..=3 => {
                db.set(&key, &value).unwrap();
                mine.insert(key, value);
            }
            4 => assert_eq!(db.delete(&key).unwrap(), mine.remove(&key).is_some()),
            5 => {
                // Long enough that only the store's close ends it.
                let kept = SetOptions::new().ttl(Duration::from_secs(3600));
                db.set_with(&key, &value, kept).unwrap();
                mine.insert(key, value);
            }
            6 => {
                let other = format!("{thread}/{}", rng.below(200)).into_bytes();
                let mut batch = Batch::new();
                batch.set(key.clone(), value.clone()).delete(other.clone());
                db.apply(&batch).unwrap();
                mine.insert(key, value);
                mine.remove(&other);
            }
            7 => assert_eq!(db.take(&key).unwrap(), mine.remove(&key)),
            8 => {
                let added = db.add(&key, &value).unwrap();
                assert_eq!(added, !mine.contains_key(&key));
                mine.entry(key).or_insert(value);
            }
            _ => assert_eq!(db.get(&key).unwrap(), mine.get(&key).cloned()),
        }
    }
    mine
}

fn check(db: &Db, expected: &[Expected]) {
    let all: usize = expected.iter().map(HashMap::len).sum();
    for (key, value) in expected.iter().flatten() {
        assert_eq!(db.get(key).unwrap().as_ref(), Some(value), "{}", String::from_utf8_lossy(key));
    }
    for entry in db.scan(kv::ScanOptions::new()).unwrap() {
        let entry = entry.unwrap();
        assert!(expected.iter().any(|mine| mine.contains_key(&entry.key)), "back from the dead: {entry:?}");
    }
    assert_eq!(db.len(), all);
}

fn run(options: &Options, db: &mut Db, reopen: impl Fn(&Options, &Db) -> Option<Db>) {
    let seed = seed();
    let mut expected: Vec<Expected> = (0..THREADS).map(|_| Expected::new()).collect();
    for round in 0..6 {
        let stop = std::sync::atomic::AtomicBool::new(false);
        expected = std::thread::scope(|scope| {
            let compactor = scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    db.compact().unwrap();
                    db.sweep().unwrap();
                }
            });
            let workers: Vec<_> = expected
                .drain(..)
                .enumerate()
                .map(|(thread, mine)| {
                    let db = &*db;
                    scope.spawn(move || work(db, thread as u64, seed ^ round, 4000, mine))
                })
                .collect();
            let done = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            compactor.join().unwrap();
            done
        });
        check(db, &expected);
        if let Some(next) = reopen(options, db) {
            *db = next;
            check(db, &expected);
        }
    }
    assert!(db.stats().unwrap().segments > 0);
}

#[test]
fn threads_see_their_own_writes_in_memory() {
    let options = Options::new().segment_bytes(64 << 10);
    let mut db = options.clone().in_memory().unwrap();
    run(&options, &mut db, |_, _| None);
}

#[test]
fn threads_see_their_own_writes_across_crashes_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_bytes(64 << 10).sync(Sync::Never);
    let mut db = options.clone().open(dir.path()).unwrap();
    run(&options, &mut db, |options, db| {
        db.abandon();
        Some(options.clone().open(dir.path()).unwrap())
    });
}

#[test]
fn threads_see_their_own_writes_across_closes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_bytes(64 << 10).sync(Sync::Every(Duration::from_millis(5)));
    let mut db = options.clone().open(dir.path()).unwrap();
    run(&options, &mut db, |options, db| {
        db.close().unwrap();
        Some(options.clone().open(dir.path()).unwrap())
    });
}
