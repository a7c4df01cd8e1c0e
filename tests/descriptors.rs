//! P7 with few descriptors: a store holds a handful, however many segments it has; without one left, what needs one fails and
//! says so, and goes on once there are some.
//!
//! Each case runs in a process of its own, under a limit that the system keeps.

mod common;

use common::{value, Rng};
use kv::{Db, Error, Options, Sync};
use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Case = (&'static str, fn());

const CASES: [Case; 3] = [
    ("p6_a_pin_over_many_more_segments_than_descriptors_keeps_nobody_from_writing", under_a_pin),
    ("p7_without_a_descriptor_writes_fail_and_resume_and_the_store_does_not_break_down", without_any),
    ("p7_descriptors_that_come_and_go_cost_nothing_acknowledged", come_and_go),
];

/// Descriptors that a process may have.
const LIMIT: u64 = 64;
/// Descriptors of a store: lock, directory, the segments that writers have and will have, an output, a manifest.
const OF_A_STORE_MAX: usize = 10;
const CASE: &str = "KV_DESCRIPTORS_CASE";
/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    if let Ok(wanted) = std::env::var(CASE) {
        let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
        // SAFETY: a plain system call with a value that outlives it.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        return CASES.iter().filter(|(name, _)| *name == wanted).for_each(|(_, case)| case());
    }
    // What cargo passes on: a part of a name, and options of the usual harness, which mean nothing here.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    for (name, _) in CASES.iter().filter(|(name, _)| is_wanted(name)) {
        println!("test {name} ...");
        let status = run_alone(name);
        assert!(status.success(), "{name}: {status}");
        println!("test {name} ... ok");
    }
}

fn run_alone(case: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap()).env(CASE, case).spawn().unwrap();
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{case}: hangs, {}", child.wait().unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Open descriptors, the one that lists them apart.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

fn options(sync: Sync) -> Options {
    Options::new().segment_bytes(64 << 10).sync(sync)
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn check(db: &Db, entries: &Entries) {
    assert_eq!(db.len(), entries.len());
    for (key, value) in entries {
        assert!(db.get(key).unwrap().as_ref() == Some(value), "{}", String::from_utf8_lossy(key));
    }
}

/// No descriptor: and not a store that refuses everything until it is opened again.
fn check_lacking(error: &Error) {
    let Error::Io { op, source, .. } = error else { panic!("{error}") };
    assert_eq!(source.raw_os_error(), Some(libc::EMFILE), "{op}: {error}");
}

/// Takes every descriptor that is left.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn set(db: &Db, entries: &mut Entries, key: String, sequence: u64, bytes: usize) -> kv::Result<()> {
    let bytes = value(&key, sequence, bytes);
    db.set(key.as_bytes(), &bytes)?;
    entries.insert(key.into_bytes(), bytes);
    Ok(())
}

fn under_a_pin() {
    let segments = 4 * LIMIT;
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("store");
    let without = descriptors();
    let check_descriptors = |when: &str| {
        let held = descriptors() - without;
        assert!(held <= OF_A_STORE_MAX, "{held} descriptors {when}");
    };
    let mut entries = Entries::new();
    let db = options(Sync::Never).open(&dir).unwrap();
    (0..50).for_each(|n| set(&db, &mut entries, format!("old-{n}"), n, 1000).unwrap());
    let pin = db.pin().unwrap();
    let pinned = pin.get(b"old-7").unwrap().unwrap();
    let expected = pinned.to_vec();
    // Not in the thread that holds the pin: that would be no proof.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Of each segment two thirds live.
            for n in 0.. {
                set(&db, &mut entries, format!("new-{n}"), n, 2000).unwrap();
                set(&db, &mut entries, "always".into(), n, 1000).unwrap();
                if n % 100 == 0 && db.stats().unwrap().segments > segments {
                    break;
                }
            }
        });
    });
    check_descriptors("under the pin");
    assert!(*pinned == expected[..]);
    // As another process would, of which the store is not.
    let report = kv::verify(&dir).unwrap();
    assert!(report.is_sound() && report.segments > segments && report.entries == entries.len() as u64);
    db.sync().unwrap();
    let copy = temporary.path().join("copy");
    db.backup(&copy).unwrap();
    check(&options(Sync::Never).open(&copy).unwrap(), &entries);
    assert!(kv::verify(&copy).unwrap().is_sound());
    db.abandon();
    drop(pinned);
    drop(pin);
    drop(db);
    assert_eq!(descriptors(), without, "a store that is gone");

    let db = options(Sync::Never).background(false).open(&dir).unwrap();
    assert!(db.stats().unwrap().segments > segments);
    check_descriptors("after an open");
    check(&db, &entries);
    // It makes more copies than there are descriptors.
    db.compact().unwrap();
    check_descriptors("after a compaction");
    let copies = db.stats().unwrap().segments;
    assert!(copies > 2 * LIMIT && copies < segments, "{copies} segments");
    check(&db, &entries);
    db.close().unwrap();
    drop(db);
    check(&options(Sync::Never).open(&dir).unwrap(), &entries);
}

fn without_any() {
    for sync in [Sync::Never, Sync::Always] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("store");
        let mut entries = Entries::new();
        let db = options(sync).background(false).open(&dir).unwrap();
        let mut sequence = 0;
        for round in 0..20u64 {
            let mut all = Vec::new();
            let told = (0..1000).find_map(|n| {
                // The log thread may have had one in use.
                all.extend(take_all());
                sequence += 1;
                set(&db, &mut entries, format!("key-{}", (round + n) % 200), sequence, 2000).err()
            });
            let told = told.expect("nobody notices");
            check_lacking(&told);
            assert!(told.to_string().contains(dir.to_str().unwrap()), "{told}");
            all.extend(take_all());
            check_lacking(&set(&db, &mut entries, "again".into(), sequence, 2000).unwrap_err());
            check(&db, &entries);
            db.sync().unwrap();
            db.compact().err().iter().for_each(check_lacking);
            all.extend(take_all());
            check_lacking(&db.backup(temporary.path().join("copy")).unwrap_err());
            check(&db, &entries);
            drop(all);
            sequence += 1;
            set(&db, &mut entries, format!("resumed-{round}"), sequence, 2000).unwrap();
        }
        db.compact().unwrap();
        check(&db, &entries);
        let mut all = take_all();
        // As on a full disk: what cannot write its last manifest ends as if the process had died.
        assert!(db.close().is_err());
        drop(db);
        all.extend(take_all());
        let told = options(sync).open(&dir).unwrap_err();
        check_lacking(&told);
        drop(all);
        let db = options(sync).open(&dir).unwrap();
        check(&db, &entries);
        db.close().unwrap();
        drop(db);
        assert!(kv::verify(&dir).unwrap().is_sound());
    }
}

fn come_and_go() {
    const WRITERS: u64 = 4;
    const SETS: u64 = 3000;
    let mut rng = Rng::new(common::seed("KV_DESCRIPTORS_SEED"));
    for sync in [Sync::Never, Sync::Always] {
        let dir = tempfile::tempdir().unwrap();
        let db = options(sync).open(dir.path()).unwrap();
        let (ends, refused) = (AtomicBool::new(false), AtomicU64::new(0));
        let entries = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (db, refused) = (&db, &refused);
                    scope.spawn(move || {
                        let mut entries = Entries::new();
                        for n in 0..SETS {
                            let key = format!("{writer}-{}", n % 100);
                            if let Err(error) = set(db, &mut entries, key, n, 1000) {
                                check_lacking(&error);
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        entries
                    })
                })
                .collect();
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let mut all = take_all();
                    all.truncate(all.len().saturating_sub(rng.below(4) as usize));
                    // Until somebody has met that, or nobody needs one.
                    let (before, began) = (refused.load(Ordering::Relaxed), Instant::now());
                    while refused.load(Ordering::Relaxed) == before
                        && began.elapsed() < Duration::from_millis(5)
                    {
                        std::thread::yield_now();
                    }
                    drop(all);
                    std::thread::yield_now();
                }
            });
            let entries = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Entries>();
            ends.store(true, Ordering::Relaxed);
            entries
        });
        println!("  {} of {} sets refused", refused.load(Ordering::Relaxed), WRITERS * SETS);
        check(&db, &entries);
        set(&db, &mut Entries::new(), "0-0".into(), 0, 1000).unwrap();
        db.abandon();
        drop(db);
        let mut entries = entries;
        entries.insert(b"0-0".to_vec(), value("0-0", 0, 1000));
        check(&options(sync).open(dir.path()).unwrap(), &entries);
        assert!(kv::verify(dir.path()).unwrap().is_sound());
    }
}
