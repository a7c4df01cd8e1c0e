//! `KV_SOAK_SECONDS` (10): threads overwrite, delete and let expire, each on keys of its own, and know what has to be there at
//! the end.

use crate::common::{self, Rng};
use crate::held::{self, Sample, DESCRIPTORS, DISK, INDEX, LIVE, MAPS, MEMORY, SEGMENTS, THREADS};
use kv::{Batch, Db, Options, SetOptions, Sync};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: u64 = 3;
const KEYS: u64 = 2000;
const VALUE_BYTES_MAX: u64 = 2000;
const SEGMENT_BYTES: u64 = 1 << 20;
const SAMPLES: u32 = 200;
/// Writers rest this long after so many writes, and go on once compaction is no further behind than that: what is looked for is
/// what piles up, not how fast compaction can be. More than P8 leaves to an idle store, so that it is never waited for in vain.
const REST: Duration = Duration::from_millis(10);
const WRITES_A_REST: u64 = 64;
const BEHIND_SEGMENTS: u64 = 8;
/// What is written between two looks, and copies whose victims are still there.
const MORE_SEGMENTS: u64 = 16;
/// By then each key was written a few times, and as many are there as go on to be.
const WARM_BYTES: u64 = 32 << 20;
/// How far apart the means of two halves may be for that.
const APART_SEGMENTS: u64 = 8;
/// For what has to come about at last, on any machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn allowed_kib(live_kib: u64, behind_segments: u64) -> u64 {
    live_kib * 3 / 2 + behind_segments * (SEGMENT_BYTES >> 10)
}

fn most_kib(samples: &[Sample]) -> u64 {
    allowed_kib(held::highest(samples)[LIVE], BEHIND_SEGMENTS + MORE_SEGMENTS)
}

/// What a key has to hold, and when it expires, or its value's end in the log if it never does.
type Expected = HashMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// Waits until compaction has caught up.
fn rest(db: &Db, dir: &Path) {
    let given_up_at = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(REST);
        let (disk_kib, live_kib) = (held::disk_bytes(dir) >> 10, db.stats().unwrap().live_bytes >> 10);
        if disk_kib <= allowed_kib(live_kib, BEHIND_SEGMENTS) {
            return;
        }
        assert!(
            Instant::now() < given_up_at,
            "the space does not come back: {disk_kib} KiB, {live_kib} live"
        );
    }
}

fn write(
    db: &Db,
    dir: &Path,
    writer: u64,
    goes_on: &AtomicBool,
    written: &AtomicU64,
    mut rng: Rng,
) -> Expected {
    let mut mine = Expected::new();
    let mut sequence = 0;
    while goes_on.load(Ordering::Relaxed) {
        sequence += 1;
        if sequence % WRITES_A_REST == 0 {
            rest(db, dir);
        }
        let key = format!("{writer}/{}", rng.below(KEYS));
        let value = common::value(&key, sequence, rng.below(VALUE_BYTES_MAX) as usize);
        let bytes = key.as_bytes();
        written.fetch_add(value.len() as u64, Ordering::Relaxed);
        match rng.below(10) {
            0..=4 => {
                db.set(bytes, &value).unwrap();
                mine.insert(bytes.into(), (value, None));
            }
            5..=6 => {
                let ttl = Duration::from_millis(1 + rng.below(1500));
                // Before the call: the deadline is counted from a clock that the call reads later.
                let earliest_ms = db.now_ms() + ttl.as_millis() as u64;
                db.set_with(bytes, &value, SetOptions::new().ttl(ttl)).unwrap();
                mine.insert(bytes.into(), (value, Some(earliest_ms)));
            }
            7 => {
                db.delete(bytes).unwrap();
                mine.remove(bytes);
            }
            8 => {
                let other = format!("{writer}/{}", rng.below(KEYS)).into_bytes();
                let mut batch = Batch::new();
                batch.set(bytes, value.clone()).delete(other.clone());
                db.apply(&batch).unwrap();
                mine.insert(bytes.into(), (value, None));
                mine.remove(&other);
            }
            _ => {
                let found = db.get(bytes).unwrap();
                let expected = mine.get(bytes);
                let may_be_gone = expected.is_none_or(|(_, deadline)| deadline.is_some());
                assert!(
                    found.as_ref() == expected.map(|(value, _)| value) || found.is_none() && may_be_gone,
                    "{key}"
                );
            }
        }
    }
    mine
}

/// Everything that does not expire is there, what does may be gone once its time has come, and nothing else is there.
fn check(db: &Db, expected: &[Expected]) {
    for (key, (value, earliest_ms)) in expected.iter().flatten() {
        let before_ms = db.now_ms();
        let found = db.get(key).unwrap();
        let is_early = earliest_ms.is_none_or(|earliest_ms| before_ms < earliest_ms);
        assert!(
            found.as_ref() == Some(value) || found.is_none() && !is_early,
            "{}",
            String::from_utf8_lossy(key)
        );
    }
    for entry in db.scan(kv::ScanOptions::new()).unwrap().map(Result::unwrap) {
        let is_known =
            expected.iter().any(|mine| mine.get(&entry.key).is_some_and(|(value, _)| *value == entry.value));
        assert!(is_known, "back from the dead: {}", String::from_utf8_lossy(&entry.key));
    }
}

pub fn run() {
    let seed = common::seed("KV_SOAK_SEED");
    let length = Duration::from_secs(common::count("KV_SOAK_SECONDS", 10));
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_bytes(SEGMENT_BYTES).sync(Sync::Every(Duration::from_millis(100)));
    let db = options.clone().open(dir.path()).unwrap();
    let (goes_on, written) = (AtomicBool::new(true), AtomicU64::new(0));
    let mut samples = Vec::new();
    let expected: Vec<Expected> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (db, dir, goes_on, written) = (&db, dir.path(), &goes_on, &written);
                scope.spawn(move || write(db, dir, writer, goes_on, written, Rng::new(seed ^ writer << 56)))
            })
            .collect();
        let goes_on_well = || !writers.iter().any(|writer| writer.is_finished());
        let began = Instant::now();
        while written.load(Ordering::Relaxed) < WARM_BYTES && began.elapsed() < PATIENCE && goes_on_well() {
            std::thread::sleep(REST);
        }
        let began = Instant::now();
        let is_enough = |samples: &[Sample]| written.load(Ordering::Relaxed) >> 10 > most_kib(samples);
        while began.elapsed() < length || !is_enough(&samples) && began.elapsed() < length + PATIENCE {
            if !goes_on_well() {
                break;
            }
            std::thread::sleep(length / SAMPLES);
            samples.push(held::sample(dir.path(), Some(&db)));
        }
        goes_on.store(false, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    check(&db, &expected);
    let written_kib = written.into_inner() >> 10;
    println!("  {} s, {} MiB written, {:?}", length.as_secs(), written_kib >> 10, db.stats().unwrap());
    let (first, second) = held::drift(&samples);
    let highest = held::highest(&samples);
    let most_kib = most_kib(&samples);
    assert!(highest[DISK] <= most_kib, "{} KiB on disk, allowed are {most_kib}", highest[DISK]);
    assert!(written_kib > most_kib, "too little was written to show anything");
    // A segment is a descriptor and a map; an arena is what the allocator may take once more.
    let is_flat = |n: usize, slack: u64| second[n] <= first[n] + slack;
    assert!(
        is_flat(DISK, (APART_SEGMENTS * SEGMENT_BYTES) >> 10) && is_flat(SEGMENTS, APART_SEGMENTS),
        "it grows"
    );
    assert!(is_flat(DESCRIPTORS, APART_SEGMENTS) && is_flat(MAPS, APART_SEGMENTS + 2), "it grows");
    // Of a key there is one entry at most; how many have expired depends on how fast the machine writes just then.
    assert!(is_flat(THREADS, 0) && is_flat(INDEX, first[INDEX] / 4) && is_flat(MEMORY, 4 << 10), "it grows");
    // And what a process finds that takes over.
    db.abandon();
    drop(db);
    let db = options.open(dir.path()).unwrap();
    check(&db, &expected);
}
