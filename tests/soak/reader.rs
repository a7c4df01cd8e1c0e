//! `KV_SOAK_READER_SECONDS` (0): a reader holds a pin while what is written is ten times the log, and for that long.

use crate::common::{self, Rng};
use crate::held::{self, DESCRIPTORS, DISK, INDEX, LIVE, MAPS, MEMORY, THREADS};
use kv::{Options, Sync};
use std::time::{Duration, Instant};

const KEYS: u64 = 1000;
const VALUE_BYTES: usize = 1000;
const SEGMENT_BYTES: u64 = 1 << 20;
const TURNS: u64 = 10;
const SETS_A_REST: u64 = 200;
const REST: Duration = Duration::from_millis(40);

pub fn run() {
    let mut rng = Rng::new(common::seed("KV_SOAK_SEED"));
    let length = Duration::from_secs(common::count("KV_SOAK_READER_SECONDS", 0));
    held::wait_for_threads(1);
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().segment_bytes(SEGMENT_BYTES).sync(Sync::Never).open(dir.path()).unwrap();
    let key = |n: u64| format!("key {n}");
    let value = |n: u64, sequence: u64| common::value(&key(n), sequence, VALUE_BYTES);
    (0..KEYS).for_each(|n| db.set(key(n).as_bytes(), &value(n, 0)).unwrap());
    let before = held::sample(dir.path(), Some(&db));
    let turned_bytes = TURNS * db.stats().unwrap().log_bytes;

    let pin = db.pin().unwrap();
    let pinned: Vec<_> = (0..KEYS).map(|n| pin.get(key(n).as_bytes()).unwrap().unwrap()).collect();
    // One thread writes, and not this one: a writer that holds a pin would be no proof. And always the same: what a thread
    // leaves behind that ends is kept by a pin too.
    let (written_bytes, sets) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let began = Instant::now();
            let (mut written_bytes, mut sets) = (0, 0);
            while written_bytes < turned_bytes || began.elapsed() < length {
                sets += 1;
                let n = rng.below(KEYS);
                let value = value(n, sets);
                written_bytes += value.len() as u64;
                db.set(key(n).as_bytes(), &value).unwrap();
                // As fast as it may for the turns; then only so fast that the log that is kept fits on a disk.
                if written_bytes >= turned_bytes && sets % SETS_A_REST == 0 {
                    std::thread::sleep(REST);
                }
            }
            (written_bytes, sets)
        });
        while !writer.is_finished() {
            for (n, pinned) in (0..KEYS).zip(&pinned) {
                assert!(**pinned == value(n, 0), "the value of key {n} has changed under the pin");
            }
        }
        writer.join().unwrap()
    });
    held::wait_for_threads(before[THREADS]);
    let under_pin = held::sample(dir.path(), Some(&db));
    drop(pinned);
    drop(pin);

    let allowed_kib = |live_kib: u64| live_kib * 3 / 2 + 5 * (SEGMENT_BYTES >> 10);
    let given_up_at = Instant::now() + Duration::from_secs(60);
    let after = loop {
        let now = held::sample(dir.path(), Some(&db));
        // The files that have no name any more too: their space is held until they are unmapped.
        if now[DISK] <= allowed_kib(now[LIVE]) && now[MAPS] <= before[MAPS] + 24 {
            break now;
        }
        assert!(Instant::now() < given_up_at, "the space does not come back: {now:?}, before: {before:?}");
        std::thread::yield_now();
    };
    println!("  {} KiB written in {sets} sets under one pin", written_bytes >> 10);
    for (n, name) in held::NAMES.iter().enumerate() {
        println!(
            "  {name:<12} {:>9} before, {:>9} under the pin, {:>9} after",
            before[n], under_pin[n], after[n]
        );
    }
    // The log is what a pin keeps: it holds all that was written, with a map a segment. Nothing else grows.
    assert!(under_pin[INDEX] <= before[INDEX], "the index grows under the pin");
    assert!(under_pin[DESCRIPTORS] <= before[DESCRIPTORS] + 5, "descriptors under the pin");
    assert!(under_pin[MEMORY] <= before[MEMORY] + (4 << 10), "memory under the pin");
    assert!(after[DESCRIPTORS] <= before[DESCRIPTORS] + 5, "after the pin");
    drop(db);
}
