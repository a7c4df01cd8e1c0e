//! Watches and the JSON mirror, under a scheduler that decides which thread runs after each step: `engine.rs` says how.

// What these modules and the tests ask of the standard library is the scheduler's too.
#[macro_use]
extern crate scheduled_std as std;

#[allow(dead_code)] // What finds faults is for `engine.rs`.
mod explore;

use explore::{below, explore};
use kv::testing::{on, SimDisk};
use kv::{Batch, Change, Db, Error, ManualClock, Options, Sync, Wait, Watch, WatchOptions};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;
const PATH: &str = "/store";
const FILE: &str = "/people.json";
/// Eight of them fill a segment.
const PADDING: [u8; 8000] = [b'p'; 8000];

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).sync(Sync::Never).clock(Arc::new(ManualClock::new(START_MS)))
}

/// Fills and rolls the log, over keys that nobody watches.
fn roll(db: &Db, records: u64) {
    for n in 0..records {
        match db.set(&[b'r', n as u8 % 3], &PADDING) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Whether a call was refused because the store has ended; `engine.rs` says why there are two ways.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::Closed | Error::SyncFailed { .. })
}

fn watch(db: &Db, prefix: &[u8], after: u64) -> Watch {
    db.watch(WatchOptions::new().prefix(prefix).after(after)).unwrap()
}

/// What was told, by version.
#[derive(Default)]
struct Told {
    changes: Vec<(u64, Vec<u8>)>,
}

impl Told {
    /// Each once, in the order of versions.
    fn take(&mut self, change: &Change) {
        let last = self.changes.last().map_or(0, |(version, _)| *version);
        assert!(change.version() > last, "{change:?} after {last}");
        self.changes.push((change.version(), change.key().unwrap().to_vec()));
    }

    fn times(&self, key: &[u8]) -> usize {
        self.changes.iter().filter(|(_, told)| told == key).count()
    }
}

/// W1, W5: keys that are written once are told once, in order, whatever runs beside the watch; nothing is told after the close,
/// and what was not comes behind the watch's position at the next open, also if the process has died.
#[test]
fn what_was_acknowledged_is_told_once_across_a_close_or_a_death() {
    explore(|| {
        let disk = SimDisk::new();
        let open = || on(options(), &disk).open(Path::new(PATH)).unwrap();
        let db = open();
        let mut told = Told::default();
        let mut watch = watch(&db, b"k", 0);
        let dies = below(2) == 0;
        let acknowledged = std::thread::scope(|scope| {
            let db = &db;
            let write = |thread: u8| {
                scope.spawn(move || {
                    for n in 0..4 {
                        let keys = [vec![b'k', thread, n, 0], vec![b'k', thread, n, 1]];
                        let mut batch = Batch::new();
                        keys.iter().for_each(|key| drop(batch.set(key.clone(), [n])));
                        let done = match below(2) {
                            0 => db.apply(&batch).map(drop),
                            _ => keys.iter().try_for_each(|key| db.set(key, &[n])),
                        };
                        match done {
                            Ok(()) => {}
                            Err(error) if is_end(&error) => return n,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    4
                })
            };
            let writers = [write(0), write(1)];
            scope.spawn(|| roll(db, 10));
            scope.spawn(|| (0..2).for_each(|_| drop(db.compact())));
            scope.spawn(|| {
                (0..below(300)).for_each(|_| std::thread::yield_now());
                match dies {
                    true => db.abandon(),
                    false => db.close().unwrap(),
                }
            });
            let (watch, told) = (&mut watch, &mut told);
            scope.spawn(move || loop {
                match watch.next_change(Wait::Forever) {
                    Ok(Some(change)) => {
                        // Nobody removes any: what is told is visible.
                        let seen = db.version(change.key().unwrap());
                        assert!(
                            seen.as_ref().map_or_else(is_end, |version| *version == Some(change.version())),
                            "told of before it is visible: {seen:?}"
                        );
                        told.take(&change);
                    }
                    Ok(None) => panic!("nobody wakes it"),
                    Err(error) if is_end(&error) => return,
                    Err(error) => panic!("{error}"),
                }
            });
            writers.map(|writer| writer.join().unwrap())
        });
        assert!(watch.next_change(Wait::No).is_err_and(|error| is_end(&error)), "told after the end");
        let position = watch.position();
        drop((watch, db));
        let db = open();
        let mut watch = self::watch(&db, b"k", position);
        while let Some(change) = watch.next_change(Wait::No).unwrap() {
            told.take(&change);
        }
        for (thread, acknowledged) in (0..).zip(acknowledged) {
            for n in 0..4 {
                for member in [0, 1] {
                    let times = told.times(&[b'k', thread, n, member]);
                    assert!(
                        times == 1 || (times == 0 && n >= acknowledged),
                        "{thread} {n}: told {times} times"
                    );
                }
            }
        }
        db.close().unwrap();
    });
}

/// What somebody has who applies the changes.
#[derive(Default)]
struct Follower {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    last: u64,
}

impl Follower {
    /// Takes what there is.
    fn follow(&mut self, watch: &mut Watch) {
        loop {
            let change = match watch.next_change(Wait::No) {
                Ok(Some(change)) => change,
                Ok(None) => return,
                Err(Error::Lagged { .. }) => {
                    *self = Follower::default();
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            assert!(change.version() > self.last, "{change:?} after {}", self.last);
            self.last = change.version();
            match change {
                Change::Put(entry) => drop(self.entries.insert(entry.key, entry.value)),
                Change::Removed { key, .. } => drop(self.entries.remove(&key)),
                Change::Cleared { .. } => self.entries.clear(),
                _ => panic!("{change:?}"),
            }
        }
    }
}

/// W2 to W4: who applies what is told has what the store holds, also where compaction and a clear drop what was not told yet: then
/// `Lagged` is.
#[test]
fn who_applies_what_is_told_has_what_the_store_holds() {
    explore(|| {
        let db = options().in_memory().unwrap();
        let key = |n: u64| [b'k', n as u8];
        (0..3).for_each(|n| db.set(&key(n), b"before").unwrap());
        // One has seen these and one has not.
        let (mut early, mut late) = (watch(&db, b"k", 0), watch(&db, b"k", 0));
        let (mut of_early, mut of_late) = (Follower::default(), Follower::default());
        of_early.follow(&mut early);
        std::thread::scope(|scope| {
            for thread in 0..2u8 {
                let db = &db;
                scope.spawn(move || {
                    for step in 0..5u8 {
                        match below(5) {
                            0 => drop(
                                db.apply(Batch::new().set(key(0), [thread, step]).delete(key(1))).unwrap(),
                            ),
                            1 => drop(db.add(&key(below(3)), &[thread, step]).unwrap()),
                            2 | 3 => drop(db.delete(&key(below(3))).unwrap()),
                            _ => db.set(&key(below(3)), &[thread, step]).unwrap(),
                        }
                    }
                });
            }
            scope.spawn(|| roll(&db, 18));
            scope.spawn(|| (0..3).for_each(|_| db.compact().unwrap()));
            if below(3) == 0 {
                scope.spawn(|| db.clear().unwrap());
            }
            let (early, of_early) = (&mut early, &mut of_early);
            scope.spawn(move || (0..4).for_each(|_| of_early.follow(early)));
        });
        of_early.follow(&mut early);
        of_late.follow(&mut late);
        let entries = db.scan(kv::ScanOptions::new().prefix(b"k")).unwrap().map(Result::unwrap);
        let standing: BTreeMap<_, _> = entries.map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(of_early.entries, standing, "who followed");
        assert_eq!(of_late.entries, standing, "who came late");
        db.close().unwrap();
    });
}

/// Who waits is woken by each change, by a waker, and by the last handle that goes.
#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let db = options().in_memory().unwrap();
        let mut watch = watch(&db, b"k", 0);
        let waker = watch.waker();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3u8).for_each(|n| db.set(&[b'k', n], b"").unwrap()));
            let watch = &mut watch;
            scope.spawn(move || {
                for n in 0..3u8 {
                    let change = watch.next_change(Wait::Forever).unwrap().unwrap();
                    assert_eq!(change.key(), Some(&[b'k', n][..]));
                }
            });
        });
        std::thread::scope(|scope| {
            let watch = &mut watch;
            scope.spawn(move || assert_eq!(watch.next_change(Wait::Forever).unwrap(), None));
            scope.spawn(|| waker.wake());
        });
        drop(waker);
        let waits = std::thread::spawn(move || watch.next_change(Wait::Forever).is_err());
        drop(db);
        assert!(waits.join().unwrap());
    });
}

/// J2: whoever reads the file finds a whole one, as of one moment; and what was acknowledged before a sync or a close is in it.
#[test]
fn a_mirror_is_whole_at_all_times_and_holds_what_was_synced() {
    explore(|| {
        let disk = SimDisk::new();
        let options = on(options(), &disk).json_mirror(FILE).json_mirror_every(Duration::from_millis(1));
        let db = options.in_memory().unwrap();
        // How far the file has come with two keys that are set in turn.
        let written = || {
            let Some(text) = disk.read(Path::new(FILE)) else { return 0 };
            let file: serde_json::Value = serde_json::from_slice(&text).expect("a whole file");
            let of =
                |key: &str| file.get(key).map_or(0, |value| value.as_str().unwrap().parse::<u8>().unwrap());
            assert!(of("a") == of("b") || of("a") == of("b") + 1, "not of one moment: {file}");
            of("b")
        };
        let acknowledged = std::thread::scope(|scope| {
            let set = |n: u8| {
                db.set(b"a", n.to_string().as_bytes())?;
                db.set(b"b", n.to_string().as_bytes())?;
                // The other thread writes a file in which this is not yet; then one follows.
                if n % 2 == 0 {
                    db.sync()?;
                    assert!(written() >= n, "synced, and not in the file");
                }
                Ok::<_, Error>(())
            };
            let writer = scope.spawn(move || {
                for n in 1..=6 {
                    match set(n) {
                        Ok(()) => {}
                        Err(error) if is_end(&error) => return n - 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                6
            });
            scope.spawn(|| (0..6).for_each(|_| drop(written())));
            scope.spawn(|| {
                (0..below(300)).for_each(|_| std::thread::yield_now());
                db.close().unwrap();
            });
            writer.join().unwrap()
        });
        db.close().unwrap();
        assert!(written() >= acknowledged, "closed, and not in the file");
    });
}
