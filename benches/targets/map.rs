//! Get and set against the map that users would take otherwise.

use super::{compare, in_fresh_process, in_threads, ratio_row, Bench, Rng, Row};
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

/// Reads under one pin before it is taken anew: what a loop over keys does. A pin a read is measured beside it.
const READS_A_PIN: usize = 64;

fn fill_both(bench: &Bench, db: &Db, map: &Peer) {
    for n in 0..bench.keys as u64 {
        db.set(&Bench::key(n), &VALUE).unwrap();
        map.pin().insert(Bench::key(n)[..].into(), VALUE[..].into());
    }
}

pub fn get(bench: &Bench) -> Vec<Row> {
    let map = peer();
    let row = |db: &Db, threads: usize, reads_a_pin: usize, measure| {
        let rounds = bench.keys / reads_a_pin;
        let ours = || {
            in_threads(threads, |thread| {
                let mut rng = Rng(thread as u64 + 1);
                for _ in 0..rounds {
                    let pin = db.pin().unwrap();
                    for _ in 0..reads_a_pin {
                        let key = Bench::key(rng.below(bench.keys));
                        black_box(pin.get(&key).unwrap().unwrap()[0]);
                    }
                }
            })
        };
        let theirs = || {
            in_threads(threads, |thread| {
                let mut rng = Rng(thread as u64 + 1);
                for _ in 0..rounds {
                    let map = map.pin();
                    for _ in 0..reads_a_pin {
                        let key = Bench::key(rng.below(bench.keys));
                        black_box(map.get(&key[..]).unwrap()[0]);
                    }
                }
            })
        };
        ratio_row(measure, "≤ 1.3 ×", 1.3, &compare(ours, theirs), rounds * reads_a_pin)
    };
    let (_dir, db) = persistent();
    fill_both(bench, &db, &map);
    let in_memory = Db::in_memory().unwrap();
    fill_both(bench, &in_memory, &map);
    vec![
        row(&db, 1, READS_A_PIN, "get (zero copy) against papaya, 1 thread"),
        row(&db, 2, READS_A_PIN, "get (zero copy) against papaya, 2 threads"),
        row(&db, 1, 1, "the same, a pin for each get, 1 thread"),
        row(&db, 2, 1, "the same, a pin for each get, 2 threads"),
        row(&in_memory, 1, READS_A_PIN, "get (zero copy) in memory against papaya, 1 thread"),
        row(&in_memory, 2, READS_A_PIN, "get (zero copy) in memory against papaya, 2 threads"),
        many_row(bench, &db, "get_many(16), per key, against get"),
        many_row(bench, &in_memory, "get_many(16) in memory, per key, against get"),
    ]
}

fn many_row(bench: &Bench, db: &Db, measure: &'static str) -> Row {
    const KEYS_A_CALL: usize = 16;
    let rounds = bench.keys / KEYS_A_CALL;
    let keys =
        |rng: &mut Rng| -> [_; KEYS_A_CALL] { std::array::from_fn(|_| Bench::key(rng.below(bench.keys))) };
    let ours = || {
        in_threads(1, |_| {
            let mut rng = Rng(1);
            for _ in 0..rounds {
                black_box(db.get_many(&keys(&mut rng)).unwrap());
            }
        })
    };
    let theirs = || {
        in_threads(1, |_| {
            let mut rng = Rng(1);
            for _ in 0..rounds {
                for key in keys(&mut rng) {
                    black_box(db.get(&key).unwrap());
                }
            }
        })
    };
    ratio_row(measure, "≤ 0.5 ×", 0.5, &compare(ours, theirs), rounds * KEYS_A_CALL)
}

/// Fills one side's map with new keys; `side` is `kv-N` or `papaya-N`, for N threads.
pub fn fill(bench: &Bench, side: &str) -> Duration {
    let (name, threads) = side.split_once('-').unwrap();
    let threads: usize = threads.parse().unwrap();
    let per_thread = bench.keys / threads;
    let keys = |thread: usize| (thread * per_thread..(thread + 1) * per_thread).map(|n| Bench::key(n as u64));
    if name == "kv" {
        let (_dir, db) = persistent();
        in_threads(threads, |thread| keys(thread).for_each(|key| db.set(&key, &VALUE).unwrap()))
    } else {
        let map = peer();
        in_threads(threads, |thread| {
            keys(thread).for_each(|key| {
                map.pin().insert(key[..].into(), VALUE[..].into());
            })
        })
    }
}

pub fn set(bench: &Bench) -> Vec<Row> {
    let mut rows = Vec::new();
    for (sides, threads, measure) in [
        (["kv-1", "papaya-1"], 1, "set new keys, Every(1 s), against papaya insert, 1 thread"),
        (["kv-2", "papaya-2"], 2, "set new keys, Every(1 s), against papaya insert, 2 threads"),
    ] {
        let [ours, theirs] = sides.map(|side| {
            move || {
                let [nanoseconds] = in_fresh_process(side, bench);
                Duration::from_nanos(nanoseconds)
            }
        });
        rows.push(ratio_row(measure, "≤ 1.0 ×", 1.0, &compare(ours, theirs), bench.keys / threads));
    }
    let (_dir, db) = persistent();
    let map = peer();
    fill_both(bench, &db, &map);
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
        rows.push(ratio_row(measure, "≤ 1.0 ×", 1.0, &compare(ours, theirs), bench.keys));
    }
    rows
}
