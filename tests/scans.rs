//! Scans: what their options select, in which order, and what a snapshot is.

#[path = "common/mod.rs"]
mod common;

use common::{count, seed, Rng};
use kv::testing::{listed_keys, Hooks, Point};
use kv::{Batch, Db, Entry, Error, Expiry, ManualClock, Options, ScanOptions, SetOptions, Sync};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

const SEGMENT_BYTES: u64 = 64 << 10;
const START_MS: u64 = 1_700_000_000_000;

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT_BYTES).sync(Sync::Never)
}

fn found(db: &Db, options: ScanOptions) -> Vec<Entry> {
    db.scan(options).unwrap().map(Result::unwrap).collect()
}

fn keys(db: &Db, options: ScanOptions) -> Vec<Vec<u8>> {
    found(db, options).into_iter().map(|entry| entry.key).collect()
}

/// A key of few letters, so that many share a beginning.
fn any_key(rng: &mut Rng, len_max: u64) -> Vec<u8> {
    const LETTERS: [u8; 4] = [0, b'a', b'b', 0xff];
    (0..rng.below(len_max + 1)).map(|_| LETTERS[rng.below(4) as usize]).collect()
}

#[test]
fn a_scan_gives_what_its_options_select_in_their_order() {
    let mut rng = Rng::new(seed("KV_SEED"));
    for is_listed in [false, true] {
        let clock = Arc::new(ManualClock::new(START_MS));
        let db = options().ordered_index(is_listed).clock(clock.clone()).in_memory().unwrap();
        let mut expected = BTreeMap::new();
        for n in 0..3000u32 {
            let key = any_key(&mut rng, 6);
            let value = n.to_le_bytes();
            match rng.below(5) {
                0 => drop((db.delete(&key).unwrap(), expected.remove(&key))),
                1 => {
                    db.set_with(&key, &value, SetOptions::new().ttl(Duration::from_millis(5))).unwrap();
                    expected.remove(&key);
                }
                _ => drop((db.set(&key, &value).unwrap(), expected.insert(key, value.to_vec()))),
            }
        }
        clock.advance(Duration::from_millis(5));
        for _ in 0..count("KV_CASES", 600) {
            let (prefix, start, end) = (any_key(&mut rng, 2), any_key(&mut rng, 3), any_key(&mut rng, 3));
            let (is_reverse, is_snapshot) = (rng.one_in(2), rng.one_in(2));
            let limit = [0, 1, 2, 50, usize::MAX][rng.below(5) as usize];
            let asked = ScanOptions::new().prefix(prefix.clone()).snapshot(is_snapshot);
            let is_meant = |key: &[u8]| {
                key.starts_with(&prefix) && key >= &start[..] && (end.is_empty() || key < &end[..])
            };
            let mut meant: Vec<_> = expected.iter().filter(|(key, _)| is_meant(key)).collect();
            if is_reverse {
                meant.reverse();
            }
            let asked = asked.start(start.clone()).end(end.clone()).ordered(true).reverse(is_reverse);
            let told = format!("{asked:?} limit {limit}");
            let got = found(&db, asked.limit(limit));
            let got: Vec<_> = got.iter().map(|entry| (&entry.key, &entry.value)).collect();
            assert_eq!(got, meant.into_iter().take(limit).collect::<Vec<_>>(), "listed {is_listed}: {told}");
            let all = ScanOptions::new().prefix(prefix.clone()).snapshot(is_snapshot);
            let mut unordered = keys(&db, all);
            unordered.sort();
            let of_prefix: Vec<_> = expected.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
            assert_eq!(unordered, of_prefix);
        }
    }
}

#[test]
fn start_end_and_reverse_imply_the_order_and_a_range_the_wrong_way_round_is_empty() {
    for is_listed in [false, true] {
        let db = options().ordered_index(is_listed).in_memory().unwrap();
        for n in 0..500u32 {
            db.set(format!("{n:03}").as_bytes(), b"").unwrap();
        }
        let names =
            |range: std::ops::Range<u32>| range.map(|n| format!("{n:03}").into_bytes()).collect::<Vec<_>>();
        assert_eq!(keys(&db, ScanOptions::new().start("450")), names(450..500));
        assert_eq!(keys(&db, ScanOptions::new().end("050")), names(0..50));
        let mut backwards = names(0..500);
        backwards.reverse();
        assert_eq!(keys(&db, ScanOptions::new().reverse(true)), backwards);
        for is_snapshot in [false, true] {
            let wrong = ScanOptions::new().start("300").end("200").snapshot(is_snapshot);
            assert_eq!(found(&db, wrong), []);
            assert_eq!(found(&db, ScanOptions::new().start("300").end("300").snapshot(is_snapshot)), []);
        }
        let long = vec![b'a'; 65_536];
        for asked in [ScanOptions::new().start(long.clone()), ScanOptions::new().end(long.clone())] {
            assert!(matches!(db.scan(asked), Err(Error::KeyTooLong { len: 65_536, .. })));
        }
    }
}

#[test]
fn a_snapshot_keeps_what_is_overwritten_deleted_compacted_and_past_its_time() {
    for is_listed in [false, true] {
        let clock = Arc::new(ManualClock::new(START_MS));
        let dir = tempfile::tempdir().unwrap();
        let db = options().ordered_index(is_listed).clock(clock.clone()).open(dir.path()).unwrap();
        let value = |n: u32| vec![n as u8; 500];
        for n in 0..1000u32 {
            db.set(&n.to_be_bytes(), &value(n)).unwrap();
        }
        db.set_with(b"\xffsoon", b"s", SetOptions::new().ttl(Duration::from_millis(10))).unwrap();
        // A pin of this thread is not waited for.
        let pin = db.pin().unwrap();
        let mut scan = db.scan(ScanOptions::new().ordered(true).snapshot(true)).unwrap();
        drop(pin);
        for n in 0..1000u32 {
            if n % 2 == 0 {
                db.delete(&n.to_be_bytes()).unwrap();
            } else {
                db.set(&n.to_be_bytes(), b"other").unwrap();
            }
        }
        db.set(b"new", b"").unwrap();
        clock.advance(Duration::from_millis(10));
        db.sweep().unwrap();
        db.compact().unwrap();
        for n in 0..1000u32 {
            let entry = scan.next().unwrap().unwrap();
            assert_eq!((&entry.key[..], entry.value), (&n.to_be_bytes()[..], value(n)));
        }
        assert_eq!(scan.next().unwrap().unwrap().key, b"\xffsoon");
        assert!(scan.next().is_none());
        assert_eq!(found(&db, ScanOptions::new().snapshot(true)).len(), 501);
        let mut scan = db.scan(ScanOptions::new().snapshot(true)).unwrap();
        db.close().unwrap();
        assert!(matches!(scan.next(), Some(Err(Error::Closed))));
        assert!(scan.next().is_none());
    }
}

#[test]
fn a_store_that_is_only_read_gives_snapshots_too() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().open(dir.path()).unwrap();
    db.set_many(&[("a", "1"), ("b", "2")]).unwrap();
    for is_listed in [false, true] {
        let read =
            Options::new().mode(kv::OpenMode::ReadOnly).ordered_index(is_listed).open(dir.path()).unwrap();
        assert_eq!(keys(&read, ScanOptions::new().snapshot(true).reverse(true)), [b"b", b"a"]);
        assert_eq!(keys(&read, ScanOptions::new().ordered(true)), [b"a", b"b"]);
    }
}

/// More would make each snapshot slow.
const GROWN_MAX: u64 = 20_000;
/// Pairs of keys that each writer keeps in step.
const PAIRS: u64 = 12;

fn name(kind: char, of: u64) -> Vec<u8> {
    format!("{kind}{of:06}").into_bytes()
}

/// Half a kilobyte, so that the log rolls.
fn padded(n: u64) -> Vec<u8> {
    let mut value = vec![b' '; 500];
    value[..8].copy_from_slice(&n.to_le_bytes());
    value
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

/// What threads of the test tell each other.
#[derive(Default)]
struct Beside {
    is_over: AtomicBool,
    /// What writers in turn have had acknowledged for each pair.
    acknowledged: Vec<AtomicU64>,
    grown: AtomicU64,
}

impl Beside {
    fn rounds(&self) -> impl Iterator<Item = u64> + '_ {
        (1..).take_while(|_| !self.is_over.load(Ordering::Relaxed))
    }
}

/// Each pair is written one key after the other: in a log's beginning the first is ahead of the second by at most one.
fn write_in_turn(db: &Db, beside: &Beside) {
    for n in beside.rounds() {
        for pair in 0..PAIRS {
            db.set(&name('a', pair), &padded(n)).unwrap();
            db.set(&name('b', pair), &padded(n)).unwrap();
            beside.acknowledged[pair as usize].store(n, Ordering::Release);
        }
    }
}

/// Each pair is written as one batch; both expire together.
fn write_batches(db: &Db, beside: &Beside) {
    for n in beside.rounds() {
        for pair in 0..PAIRS {
            let at = Expiry::At(UNIX_EPOCH + Duration::from_millis(db.now_ms() + 1 + n % 3));
            let mut batch = Batch::new();
            batch.set(name('c', pair), padded(n)).set(name('d', pair), padded(n));
            batch.set_expiring(name('g', pair), padded(n), at).set_expiring(name('h', pair), padded(n), at);
            db.apply(&batch).unwrap();
        }
    }
}

/// The second of a pair is there only while the first is.
fn come_and_go(db: &Db, beside: &Beside) {
    for n in beside.rounds() {
        let pair = n % PAIRS;
        db.set(&name('e', pair), &padded(n)).unwrap();
        db.set(&name('f', pair), &padded(n)).unwrap();
        db.delete(&name('f', pair)).unwrap();
        db.delete(&name('e', pair)).unwrap();
    }
}

/// A unit moves from one account to the other and is in neither for a moment.
fn move_units(db: &Db, beside: &Beside) {
    for n in beside.rounds() {
        let (from, to) = (name('m', n % 7), name('m', (n + 1) % 7));
        db.increment(&from, -1).unwrap();
        db.increment(&to, 1).unwrap();
    }
}

/// Keys come in their order, so that the index grows; and go again, so that it shrinks.
fn grow(db: &Db, beside: &Beside) {
    for n in beside.rounds() {
        if n <= GROWN_MAX {
            db.set(&name('n', n), b"").unwrap();
            beside.grown.store(n, Ordering::Release);
        }
        db.set(&name('q', n % 5000), b"").unwrap();
        if n % 5000 == 0 {
            (0..5000).for_each(|n| assert!(db.delete(&name('q', n)).unwrap()));
        }
    }
}

fn check_snapshot(db: &Db, beside: &Beside, is_ordered: bool) {
    let acknowledged: Vec<u64> = beside.acknowledged.iter().map(|n| n.load(Ordering::Acquire)).collect();
    let grown = beside.grown.load(Ordering::Acquire);
    let entries = found(db, ScanOptions::new().snapshot(true).ordered(is_ordered));
    let count = entries.len();
    let state: BTreeMap<Vec<u8>, Vec<u8>> =
        entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
    assert_eq!(state.len(), count, "an entry appears twice");
    let of = |kind: char, pair: u64| state.get(&name(kind, pair)).map(|value| number(value));
    for pair in 0..PAIRS {
        let (a, b) = (of('a', pair).unwrap_or(0), of('b', pair).unwrap_or(0));
        assert!(a == b || a == b + 1, "a{pair} is {a} and b{pair} is {b}");
        assert!(b >= acknowledged[pair as usize], "what was acknowledged before is not there");
        assert_eq!(of('c', pair), of('d', pair), "half of a batch");
        assert_eq!(of('g', pair), of('h', pair), "half of what expires together");
        let (e, f) = (of('e', pair), of('f', pair));
        assert!(f.is_none() || e == f, "e{pair} is {e:?} and f{pair} is {f:?}");
    }
    let sum: i64 = (0..7)
        .filter_map(|m| state.get(&name('m', m)))
        .map(|sum| std::str::from_utf8(sum).unwrap().parse::<i64>().unwrap())
        .sum();
    assert!(sum == 0 || sum == -1, "{sum} units");
    let last = state.range(name('n', 0)..name('o', 0)).map(|(key, _)| key).next_back();
    let last = last.map_or(0, |key| std::str::from_utf8(&key[1..]).unwrap().parse().unwrap());
    assert_eq!(state.range(name('n', 0)..name('o', 0)).count() as u64, last, "a gap before n{last}");
    assert!(last >= grown, "n{grown} was acknowledged before");
}

#[test]
fn a_snapshot_is_a_beginning_of_the_log_while_everything_changes() {
    for is_listed in [false, true] {
        let clock = Arc::new(ManualClock::new(START_MS));
        let db = options().ordered_index(is_listed).clock(clock.clone()).in_memory().unwrap();
        let mut beside = Beside::default();
        beside.acknowledged.resize_with(PAIRS as usize, AtomicU64::default);
        std::thread::scope(|scope| {
            scope.spawn(|| write_in_turn(&db, &beside));
            scope.spawn(|| write_batches(&db, &beside));
            scope.spawn(|| come_and_go(&db, &beside));
            scope.spawn(|| move_units(&db, &beside));
            scope.spawn(|| grow(&db, &beside));
            scope.spawn(|| {
                for _ in beside.rounds() {
                    clock.advance(Duration::from_millis(1));
                    db.sweep().unwrap();
                    db.compact().unwrap();
                }
            });
            // Ends the others also when a check fails.
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (0..count("KV_SNAPSHOTS", 100)).for_each(|n| check_snapshot(&db, &beside, n % 2 == 0));
            }));
            beside.is_over.store(true, Ordering::Relaxed);
            if let Err(panic) = checked {
                std::panic::resume_unwind(panic);
            }
        });
        db.close().unwrap();
    }
}

/// A clear between runs of writes: a snapshot holds a beginning of one run and nothing of another.
#[test]
fn a_snapshot_beside_a_clear_holds_nothing_of_what_was_cleared() {
    const KEYS: u64 = 300;
    for is_listed in [false, true] {
        let db = options().ordered_index(is_listed).in_memory().unwrap();
        let beside = Beside::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in beside.rounds() {
                    (0..KEYS).for_each(|key| db.set(&name('k', key), &n.to_le_bytes()).unwrap());
                    db.clear().unwrap();
                }
            });
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..count("KV_SNAPSHOTS", 200) {
                    let entries = found(&db, ScanOptions::new().snapshot(true).ordered(true));
                    let runs: std::collections::BTreeSet<u64> =
                        entries.iter().map(|entry| number(&entry.value)).collect();
                    assert!(runs.len() <= 1, "of runs {runs:?}");
                    let names: Vec<_> = (0..entries.len() as u64).map(|key| name('k', key)).collect();
                    assert!(entries.iter().map(|entry| &entry.key).eq(&names), "not a beginning");
                }
            }));
            beside.is_over.store(true, Ordering::Relaxed);
            if let Err(panic) = checked {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

/// S4: what was appended since a snapshot began is read from where it was appended, whatever compaction would do with it.
#[test]
fn a_snapshot_finds_what_came_while_it_walked_though_that_is_compacted_meanwhile() {
    let (arrived, arrives) = sync_channel(1);
    let (open, gate) = sync_channel::<()>(1);
    let gate = Mutex::new(gate);
    let hooks = Hooks::new(move |point| {
        if point == Point::Walked {
            arrived.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
    });
    let db = options().background(false).hooks(hooks).in_memory().unwrap();
    db.set(b"before", b"").unwrap();
    std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| keys(&db, ScanOptions::new().snapshot(true).ordered(true)));
        arrives.recv().unwrap();
        let fill = || {
            let before = db.stats().unwrap().segments;
            let mut written = 0;
            while db.stats().unwrap().segments < before + 4 {
                db.set(b"filling", &[0; 4000]).unwrap();
                written += 1;
                assert!(written < 10_000, "the log does not roll");
            }
        };
        // The segment of "k" was none when the snapshot began; it is sealed, and nearly all of it is dead.
        fill();
        db.set(b"k", b"v").unwrap();
        fill();
        db.compact().unwrap();
        open.send(()).unwrap();
        assert_eq!(snapshot.join().unwrap(), [&b"before"[..], b"filling", b"k"]);
    });
}

/// S1: a batch that counts when a snapshot begins is in it whole, though its writer has published none of it yet.
#[test]
fn a_snapshot_waits_for_a_batch_that_counts_and_is_not_published() {
    let (arrived, arrives) = sync_channel(1);
    let (comes, first) = sync_channel(1);
    let (open, gate) = sync_channel::<()>(1);
    let gate = Mutex::new(gate);
    let hooks = Hooks::new(move |point| match point {
        Point::Committed => {
            arrived.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        // The store's own threads wait too. Its first counts.
        Point::Waiting | Point::Walked if std::thread::current().name() == Some("snapshot") => {
            let _ = comes.try_send(point);
        }
        _ => {}
    });
    let db = options().hooks(hooks).in_memory().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| db.set_many(&[("a", "1"), ("b", "2")]).unwrap());
        arrives.recv().unwrap();
        let take = || keys(&db, ScanOptions::new().snapshot(true).ordered(true));
        let snapshot = std::thread::Builder::new().name("snapshot".into()).spawn_scoped(scope, take).unwrap();
        let first = first.recv().unwrap();
        open.send(()).unwrap();
        assert_eq!(snapshot.join().unwrap(), [b"a", b"b"]);
        assert_eq!(first, Point::Waiting, "it walks before the batch is published");
    });
}

/// Each thread scans its own keys in order after each write, while masks leave the index and the list forgets keys.
#[test]
fn the_list_of_keys_lacks_none_that_stands_while_keys_come_and_go() {
    let seed = seed("KV_SEED");
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = options().ordered_index(true).clock(clock.clone()).in_memory().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (db, clock) = (&db, &clock);
        let work = |thread: u64| {
            let mut rng = Rng::new(seed + thread);
            let mut mine = BTreeMap::new();
            // Keys that all threads write, so that some of their writes lose.
            let shared = b"shared".to_vec();
            for n in 0..count("KV_STEPS", 3000) {
                let key = format!("{thread}/{}", rng.below(8)).into_bytes();
                let value = n.to_le_bytes().to_vec();
                match rng.below(7) {
                    0 | 1 => drop((db.set(&key, &value).unwrap(), mine.insert(key, value))),
                    2 | 3 => drop((db.delete(&key).unwrap(), mine.remove(&key))),
                    4 => {
                        if db.add(&key, &value).unwrap() {
                            mine.insert(key, value);
                        }
                    }
                    5 => {
                        db.set_with(&key, b"", SetOptions::new().ttl(Duration::from_millis(1))).unwrap();
                        clock.advance(Duration::from_millis(1));
                        mine.remove(&key);
                    }
                    _ => drop((db.add(&shared, b"").unwrap(), db.delete(&shared).unwrap())),
                }
                let prefix = format!("{thread}/");
                let scan = ScanOptions::new().prefix(prefix).reverse(n % 2 == 0).ordered(true);
                let mut entries = found(db, scan);
                if n % 2 == 0 {
                    entries.reverse();
                }
                let entries = entries.into_iter().map(|entry| (entry.key, entry.value));
                assert!(entries.eq(mine.clone()), "thread {thread}, step {n}");
            }
            mine.keys().for_each(|key| assert!(db.delete(key).unwrap()));
        };
        let workers: Vec<_> = (0..3).map(|thread| scope.spawn(move || work(thread))).collect();
        let sweeper = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                db.sweep().unwrap();
            }
        });
        let joined: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        sweeper.join().unwrap();
        joined.into_iter().for_each(|worker| worker.unwrap());
    });
    assert_eq!(db.len(), 0);
    forgets_all(&db);
}

/// The list holds nothing for long that the index does not: each sweep is a round of the maintenance thread.
fn forgets_all(db: &Db) {
    let begun = std::time::Instant::now();
    while listed_keys(db) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} keys stay", listed_keys(db));
        db.sweep().unwrap();
    }
}

#[test]
fn a_clear_empties_the_list_of_keys_and_a_reopen_fills_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = || options().ordered_index(true).open(dir.path()).unwrap();
    let db = open();
    for n in 0..2000u32 {
        db.set(&n.to_be_bytes(), b"v").unwrap();
    }
    db.delete(&7u32.to_be_bytes()).unwrap();
    db.close().unwrap();
    let db = open();
    assert_eq!(listed_keys(&db), 1999);
    let expected: Vec<_> = (0..2000u32).rev().filter(|n| *n != 7).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(keys(&db, ScanOptions::new().reverse(true)), expected);
    db.clear().unwrap();
    forgets_all(&db);
    db.set(b"k", b"v").unwrap();
    assert_eq!(keys(&db, ScanOptions::new().ordered(true)), [b"k"]);
}
