//! Get and set against the map that users would take otherwise.

use super::{compare, in_threads, ratio_row, Bench, Rng, Row};
use kv::{Db, Options, Sync};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

type Peer = papaya::HashMap<Box<[u8]>, Arc<[u8]>, ahash::RandomState>;

const VALUE: [u8; 100] = [7; 100];

fn peer() -> Peer {
    papaya::HashMap::with_hasher(ahash::RandomState::new())
}

fn persistent() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().sync(Sync::Every(Duration::from_secs(1))).open(dir.path()).unwrap();
    (dir, db)
}

pub fn get(bench: &Bench) -> Vec<Row> {
    let (_dir, db) = persistent();
    let map = peer();
    for n in 0..bench.keys as u64 {
        db.set(&Bench::key(n), &VALUE).unwrap();
        map.pin().insert(Bench::key(n)[..].into(), VALUE[..].into());
    }
    let rows =
        [(1, "get (zero copy) against papaya, 1 thread"), (2, "get (zero copy) against papaya, 2 threads")];
    rows.map(|(threads, measure)| {
        let ours = || {
            in_threads(threads, |thread| {
                let mut rng = Rng(thread as u64 + 1);
                for _ in 0..bench.keys {
                    let key = Bench::key(rng.below(bench.keys));
                    let pin = db.pin().unwrap();
                    let value = pin.get(&key).unwrap().unwrap();
                    black_box(value[0]);
                }
            })
        };
        let theirs = || {
            in_threads(threads, |thread| {
                let mut rng = Rng(thread as u64 + 1);
                for _ in 0..bench.keys {
                    let key = Bench::key(rng.below(bench.keys));
                    let map = map.pin();
                    let value = map.get(&key[..]).unwrap();
                    black_box(value[0]);
                }
            })
        };
        ratio_row(measure, "≤ 1.3 ×", 1.3, compare(ours, theirs), bench.keys)
    })
    .into()
}

pub fn set(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for (threads, measure) in [
        (1, "set new keys, Every(1 s), against papaya insert, 1 thread"),
        (2, "set new keys, Every(1 s), against papaya insert, 2 threads"),
    ] {
        let per_thread = bench.keys / threads;
        let ours = || {
            let (_dir, db) = persistent();
            in_threads(threads, |thread| {
                for n in 0..per_thread {
                    db.set(&Bench::key((thread * per_thread + n) as u64), &VALUE).unwrap();
                }
            })
        };
        let theirs = || {
            let map = peer();
            in_threads(threads, |thread| {
                for n in 0..per_thread {
                    let key = Bench::key((thread * per_thread + n) as u64);
                    map.pin().insert(key[..].into(), VALUE[..].into());
                }
            })
        };
        rows.push(ratio_row(measure, "≤ 1.0 ×", 1.0, compare(ours, theirs), per_thread));
    }
    let (_dir, db) = persistent();
    let map = peer();
    for n in 0..bench.keys as u64 {
        db.set(&Bench::key(n), &VALUE).unwrap();
        map.pin().insert(Bench::key(n)[..].into(), VALUE[..].into());
    }
    for (threads, measure) in [
        (1, "set existing keys, Every(1 s), against papaya insert, 1 thread"),
        (2, "set existing keys, Every(1 s), against papaya insert, 2 threads"),
    ] {
        let ours = || {
            in_threads(threads, |thread| {
                let mut rng = Rng(thread as u64 + 1);
                for _ in 0..bench.keys {
                    db.set(&Bench::key(rng.below(bench.keys)), &VALUE).unwrap();
                }
            })
        };
        let theirs = || {
            in_threads(threads, |thread| {
                let mut rng = Rng(thread as u64 + 1);
                for _ in 0..bench.keys {
                    let key = Bench::key(rng.below(bench.keys));
                    map.pin().insert(key[..].into(), VALUE[..].into());
                }
            })
        };
        rows.push(ratio_row(measure, "≤ 1.0 ×", 1.0, compare(ours, theirs), bench.keys));
    }
    rows
}
