//! Watching: what a watch gives, in which order, behind what, and what it says when it comes too late.

#[path = "common/mod.rs"]
mod common;
#[path = "support/gate.rs"]
#[allow(dead_code)] // The maintenance thread is held by tests/mechanisms.rs.
mod gate;

use common::{count, seed, Rng};
use gate::Gate;
use kv::testing::Point;
use kv::{
    Batch, Cause, Change, CreateOptions, Db, Entry, Error, ManualClock, OpenMode, Options, ScanOptions,
    SetOptions, Sync, Wait, Watch, WatchOptions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

const SEGMENT_BYTES: u64 = 64 << 10;
const START_MS: u64 = 1_700_000_000_000;
/// Long enough to tell a wake-up from its lack.
const A_WHILE: Wait = Wait::AtMost(Duration::from_secs(30));

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT_BYTES).sync(Sync::Never)
}

fn watch(db: &Db, after: u64) -> Watch {
    db.watch(WatchOptions::new().after(after)).unwrap()
}

/// All that there is by now.
fn drain(watch: &mut Watch) -> Vec<Change> {
    let next = || watch.next_change(Wait::No).unwrap();
    std::iter::from_fn(next).collect()
}

/// A change in a word.
fn told(change: &Change) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match change {
        Change::Put(entry) => format!("{}={}", text(&entry.key), text(&entry.value)),
        Change::Removed { key, cause, .. } => format!("{} {cause:?}", text(key)),
        Change::Cleared { .. } => "cleared".into(),
        _ => panic!("{change:?}"),
    }
}

fn all_told(watch: &mut Watch) -> Vec<String> {
    drain(watch).iter().map(told).collect()
}

/// What somebody has who applies the changes.
#[derive(Default)]
struct Follower {
    entries: BTreeMap<Vec<u8>, Entry>,
    last: u64,
}

impl Follower {
    fn apply(&mut self, change: Change) {
        assert!(change.version() > self.last, "{change:?} after {}", self.last);
        self.last = change.version();
        match change {
            Change::Put(entry) => drop(self.entries.insert(entry.key.clone(), entry)),
            Change::Removed { key, .. } => drop(self.entries.remove(&key)),
            Change::Cleared { .. } => self.entries.clear(),
            _ => panic!("{change:?}"),
        }
    }

    /// Takes what there is; how often it was told to begin anew.
    fn follow(&mut self, watch: &mut Watch) -> u32 {
        let mut lags = 0;
        loop {
            match watch.next_change(Wait::No) {
                Ok(Some(change)) => self.apply(change),
                Ok(None) => return lags,
                Err(Error::Lagged { .. }) => {
                    *self = Follower::default();
                    lags += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn alive(&self, now_ms: u64) -> Vec<Entry> {
        let is_alive = |entry: &&Entry| entry.expires_at_ms.is_none_or(|at| at > now_ms);
        self.entries.values().filter(is_alive).cloned().collect()
    }
}

fn standing(db: &Db, prefix: &[u8]) -> Vec<Entry> {
    db.scan(ScanOptions::new().prefix(prefix).ordered(true)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_kind_of_change_is_given_in_the_order_of_writes() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = options().clock(clock.clone()).in_memory().unwrap();
    db.set(b"before", b"").unwrap();
    let mut watch = db.watch(WatchOptions::new()).unwrap();
    assert_eq!(watch.next_change(Wait::No).unwrap(), None);
    db.set(b"a", b"1").unwrap();
    db.increment(b"n", 5).unwrap();
    db.apply(Batch::new().set("b", "2").delete("a").set("c", "3")).unwrap();
    assert!(!db.add(b"b", b"no").unwrap(), "a write that was not met is no change");
    db.set_with(b"t", b"short", SetOptions::new().ttl(Duration::from_millis(5))).unwrap();
    let mut session = db.create_and_lock(b"s", Wait::No, CreateOptions::new()).unwrap().unwrap();
    session.metadata_mut().insert("by".into(), b"Alice".to_vec());
    session.value_mut().extend_from_slice(b"edited");
    let version = session.commit().unwrap();
    db.clear().unwrap();
    db.set(b"z", b"last").unwrap();
    let changes = drain(&mut watch);
    let words: Vec<String> = changes.iter().map(told).collect();
    assert_eq!(words, ["a=1", "n=5", "b=2", "a Deleted", "c=3", "t=short", "s=edited", "cleared", "z=last"]);
    assert!(changes.windows(2).all(|pair| pair[0].version() < pair[1].version()));
    assert_eq!(watch.position(), changes[8].version().max(watch.position()));
    let Change::Put(of_session) = &changes[6] else { panic!() };
    assert_eq!((of_session.version, &of_session.metadata["by"][..]), (version, &b"Alice"[..]));
    let Change::Put(expiring) = &changes[5] else { panic!() };
    assert_eq!(expiring.expires_at_ms, Some(START_MS + 5));
    assert_eq!((changes[8].key(), changes[7].key()), (Some(&b"z"[..]), None));
}

#[test]
fn a_prefix_selects_and_a_clear_is_told_to_all() {
    let db = options().in_memory().unwrap();
    let mut watch = db.watch(WatchOptions::new().prefix("user:")).unwrap();
    db.set(b"user:1", b"a").unwrap();
    db.set(b"order:1", b"b").unwrap();
    db.apply(Batch::new().set("order:2", "c").set("user:2", "d")).unwrap();
    db.delete(b"order:1").unwrap();
    db.clear().unwrap();
    assert_eq!(all_told(&mut watch), ["user:1=a", "user:2=d", "cleared"]);
    // What was not asked for counts as given: who comes back has nothing to read again.
    db.set(b"order:3", b"").unwrap();
    let before = watch.position();
    assert_eq!(watch.next_change(Wait::No).unwrap(), None);
    assert!(watch.position() > before);
}

#[test]
fn an_entry_whose_time_is_over_is_given_as_removed() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let dir = tempfile::tempdir().unwrap();
    let open = || options().clock(clock.clone()).open(dir.path()).unwrap();
    let db = open();
    let mut watch = db.watch(WatchOptions::new()).unwrap();
    let version = db.set_with(b"k", b"v", SetOptions::new().ttl(Duration::from_millis(5))).unwrap().unwrap();
    clock.advance(Duration::from_millis(5));
    let expired = Change::Removed { key: b"k".to_vec(), version, cause: Cause::Expired };
    assert_eq!(drain(&mut watch), std::slice::from_ref(&expired));
    // Also once compaction has made a tombstone of it, or an open.
    db.sweep().unwrap();
    db.close().unwrap();
    let db = open();
    assert_eq!(drain(&mut self::watch(&db, version - 1)), [expired]);
}

#[test]
fn a_watch_goes_on_after_a_restart_where_the_last_one_stood() {
    for dies in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        // So large that nothing is compacted.
        let open = || Options::new().sync(Sync::Never).open(dir.path()).unwrap();
        let mut db = open();
        let mut follower = Follower::default();
        let mut position = 0;
        for round in 0..5u32 {
            for n in 0..40u32 {
                db.set(format!("k{}", (n * 7 + round) % 25).as_bytes(), &n.to_le_bytes()).unwrap();
                db.delete(format!("k{}", (n * 3 + round) % 25).as_bytes()).unwrap();
            }
            let mut watch = watch(&db, position);
            // Some of it, or all but the last, and the rest from where it stands.
            let ahead = drain(&mut self::watch(&db, position)).len();
            for _ in 0..if round % 2 == 0 { 20 } else { ahead - 1 } {
                follower.apply(watch.next_change(Wait::No).unwrap().unwrap());
            }
            position = watch.position();
            drop(watch);
            if dies {
                db.abandon();
            } else {
                db.close().unwrap();
            }
            db = open();
            let mut watch = self::watch(&db, position);
            assert_eq!(follower.follow(&mut watch), 0, "round {round}: nothing was lost");
            position = watch.position();
            assert_eq!(follower.alive(0), standing(&db, b""), "round {round}");
        }
        // Nothing is told twice.
        assert_eq!(drain(&mut watch(&db, position)), []);
    }
}

/// Not a test of its own: the process that the next one kills.
#[test]
fn writes_until_it_is_killed() {
    let Ok(dir) = std::env::var("KV_WATCHED_DIR") else { return };
    let db = Options::new().sync(Sync::Never).open(dir).unwrap();
    // Little enough to stay in one segment: nothing is compacted.
    for n in 0..3000u64 {
        db.set(format!("k{}", n % 50).as_bytes(), &n.to_le_bytes()).unwrap();
        db.delete(format!("k{}", (n * 7) % 50).as_bytes()).unwrap();
        db.set(b"last", &n.to_be_bytes()).unwrap();
        if n % 100 == 0 {
            let version = db.version(b"last").unwrap().unwrap();
            println!("\nwritten {n} {version}");
        }
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn a_watch_goes_on_after_the_process_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut follower = Follower::default();
    let mut position = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_it_is_killed", "--nocapture"])
            .env("KV_WATCHED_DIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = lines.map(Result::unwrap).filter_map(|line| {
            let mut numbers = line.strip_prefix("written ")?.split(' ').map(|n| n.parse::<u64>().unwrap());
            Some((numbers.next()?, numbers.next()?))
        });
        let (n, version) = acknowledged.nth(3).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let db = Options::new().sync(Sync::Never).open(dir.path()).unwrap();
        let mut watch = watch(&db, position);
        let lags = follower.follow(&mut watch);
        position = watch.position();
        assert!(position >= version, "{position} in round {round}, acknowledged {version}");
        let last = &follower.entries[&b"last"[..]];
        assert!(last.value[..] >= n.to_be_bytes()[..] && last.version >= version);
        assert_eq!(follower.alive(0), standing(&db, b""), "round {round}");
        assert_eq!(lags, 0, "round {round}");
        db.close().unwrap();
    }
}

/// Fills segments with what is worth compacting, and compacts.
fn churn(db: &Db, rounds: u32) {
    for n in 0..rounds {
        db.set(b"churn", &[n as u8; 1000]).unwrap();
    }
    db.compact().unwrap();
}

#[test]
fn what_newer_writes_outdate_may_be_skipped_and_that_is_no_lag() {
    let db = options().in_memory().unwrap();
    let before = watch(&db, 0).position();
    for n in 0..50u32 {
        db.set(b"k", &n.to_le_bytes()).unwrap();
        db.set(format!("once{n}").as_bytes(), b"").unwrap();
        churn(&db, 10);
    }
    // Nothing was removed, so nothing is missed.
    let mut late = watch(&db, before.max(1));
    let changes = drain(&mut late);
    let of_k: Vec<_> = changes.iter().filter(|change| change.key() == Some(b"k")).collect();
    assert!(of_k.len() < 50, "{} versions: nothing was compacted", of_k.len());
    assert!(matches!(of_k.last(), Some(Change::Put(entry)) if entry.value == 49u32.to_le_bytes()));
    assert_eq!(changes.iter().filter(|change| change.key().unwrap().starts_with(b"once")).count(), 50);
}

#[test]
fn a_watch_that_comes_too_late_for_a_removal_says_so_once_and_gives_all_that_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut db = options().open(dir.path()).unwrap();
    db.set(b"a", b"1").unwrap();
    db.set(b"b", b"2").unwrap();
    let mut slow = db.watch(WatchOptions::new()).unwrap();
    let stood_at = slow.position();
    db.delete(b"a").unwrap();
    let is_missed = || matches!(watch(&db, stood_at).next_change(Wait::No), Err(Error::Lagged { .. }));
    let mut tries = 0;
    while !is_missed() {
        tries += 1;
        assert!(tries < 50, "the delete stays");
        churn(&db, 200);
    }
    assert!(tries > 0, "missed before it was compacted");
    for is_reopened in [false, true] {
        if is_reopened {
            db.close().unwrap();
            db = options().open(dir.path()).unwrap();
            slow = watch(&db, stood_at);
        }
        match slow.next_change(Wait::No) {
            Err(Error::Lagged { after }) => assert_eq!(after, stood_at),
            other => panic!("{other:?}"),
        }
        let mut follower = Follower::default();
        assert_eq!(follower.follow(&mut slow), 0, "said once");
        assert_eq!(follower.alive(0), standing(&db, b""));
        assert!(!follower.entries.contains_key(&b"a"[..]));
        // Who begins with nothing has missed nothing, nor who has come this far.
        assert_eq!(Follower::default().follow(&mut watch(&db, 0)), 0);
        assert_eq!(drain(&mut watch(&db, slow.position())), []);
    }
}

#[test]
fn who_applies_the_changes_has_what_the_store_holds() {
    let seed = seed("KV_SEED");
    for case in 0..count("KV_CASES", 6) {
        let mut rng = Rng::new(seed + case);
        let is_in_memory = rng.one_in(3);
        let clock = Arc::new(ManualClock::new(START_MS));
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let options = options().clock(clock.clone());
            if is_in_memory {
                options.in_memory().unwrap()
            } else {
                options.open(dir.path()).unwrap()
            }
        };
        let mut db = open();
        let prefixes: [&[u8]; 3] = [b"", b"a", b"b1"];
        let follow = |db: &Db, prefix: &[u8], after| {
            db.watch(WatchOptions::new().prefix(prefix).after(after)).unwrap()
        };
        let mut followers: Vec<_> = prefixes.iter().map(|_| Follower::default()).collect();
        let mut watches: Vec<_> = prefixes.iter().map(|prefix| follow(&db, prefix, 0)).collect();
        let mut lags = 0;
        for step in 0..3000u32 {
            let mut key = || {
                let letter = [b'a', b'b', b'c'][rng.below(3) as usize];
                [&[letter][..], rng.below(20).to_string().as_bytes()].concat()
            };
            let (one, other) = (key(), key());
            let filler = vec![step as u8; rng.below(600) as usize];
            match rng.below(200) {
                0 => db.clear().unwrap(),
                1 => db.compact().unwrap(),
                2 => clock.advance(Duration::from_millis(rng.below(3000))),
                3 => db.sweep().unwrap(),
                4..=6 if !is_in_memory => {
                    let positions: Vec<u64> = watches.iter().map(Watch::position).collect();
                    if rng.one_in(2) {
                        db.close().unwrap();
                    } else {
                        db.abandon();
                    }
                    db = open();
                    let again = prefixes.iter().zip(positions);
                    watches = again.map(|(prefix, after)| follow(&db, prefix, after)).collect();
                }
                7..=20 => db.apply(Batch::new().set(one, filler).delete(other)).unwrap(),
                21..=70 => drop(db.delete(&one).unwrap()),
                71..=100 => {
                    let ttl = Duration::from_millis(rng.below(2000));
                    db.set_with(&one, &filler, SetOptions::new().ttl(ttl)).unwrap();
                }
                _ => db.set(&one, &filler).unwrap(),
            }
            for ((prefix, follower), watch) in prefixes.iter().zip(&mut followers).zip(&mut watches) {
                // Some lag behind, and so far that they miss what compaction drops.
                if rng.one_in(3 + prefix.len() as u64 * 60) {
                    lags += follower.follow(watch);
                    assert_eq!(
                        follower.alive(db.now_ms()),
                        standing(&db, prefix),
                        "case {case}, step {step}, prefix {prefix:?}"
                    );
                }
            }
        }
        eprintln!("case {case}: {lags} lags");
    }
}

#[test]
fn a_wait_ends_with_a_write_a_wake_up_the_close_and_the_last_handle() {
    let db = options().in_memory().unwrap();
    let mut watch = db.watch(WatchOptions::new().prefix("k")).unwrap();
    assert_eq!(watch.next_change(Wait::AtMost(Duration::from_millis(1))).unwrap(), None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            db.set(b"other", b"").unwrap();
            db.set(b"k1", b"").unwrap();
        });
        assert_eq!(watch.next_change(A_WHILE).unwrap().unwrap().key(), Some(&b"k1"[..]));
    });
    let waker = watch.waker();
    waker.wake();
    assert_eq!(watch.next_change(Wait::Forever).unwrap(), None, "woken before it waits");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| watch.next_change(Wait::Forever).unwrap());
        waker.wake();
        assert_eq!(waits.join().unwrap(), None);
    });
    let waits = std::thread::spawn(move || (watch.next(), watch.next_change(Wait::No)));
    db.close().unwrap();
    let (next, later) = waits.join().unwrap();
    assert!(next.is_none() && matches!(later, Err(Error::Closed)));
    // A watch keeps no store open, and is no reason not to end it.
    let db = options().in_memory().unwrap();
    let mut watch = db.watch(WatchOptions::new()).unwrap();
    let waits = std::thread::spawn(move || watch.next().is_none());
    drop(db);
    assert!(waits.join().unwrap());
}

#[test]
fn watches_see_every_write_of_many_threads_and_what_they_see_is_visible() {
    const WRITERS: u64 = 3;
    const BATCHES: u64 = 400;
    let db = options().in_memory().unwrap();
    let is_over = AtomicBool::new(false);
    let start = db.watch(WatchOptions::new()).unwrap().position();
    std::thread::scope(|scope| {
        let see = |watch: Watch| {
            let (mut open, mut seen, mut begun) = (None, 0u64, BTreeSet::new());
            let mut last = 0;
            for change in watch.map(Result::unwrap) {
                let Change::Put(entry) = change else { panic!() };
                assert!(entry.version > last);
                last = entry.version;
                assert!(db.version(&entry.key).unwrap() >= Some(entry.version), "not visible yet");
                let (key, value) = (entry.key, entry.value);
                if key == b"end" {
                    return seen;
                }
                // The members of a batch, which have one value, one after the other.
                match open.take() {
                    None if key == b"first" && begun.insert(value.clone()) => open = Some(value),
                    Some(first) => {
                        assert_eq!((&key[..], &first), (&b"second"[..], &value), "a batch in two");
                        seen += 1;
                    }
                    // A member that met a newer record was written again, on its own.
                    None => {}
                }
            }
            panic!("the store is open");
        };
        let watchers: Vec<_> = (0..3)
            .map(|_| {
                let watch = watch(&db, start);
                scope.spawn(move || see(watch))
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (db, is_over) = (&db, &is_over);
                scope.spawn(move || {
                    for n in 0..BATCHES {
                        let value = (writer * BATCHES + n).to_le_bytes();
                        db.apply(Batch::new().set("first", value).set("second", value)).unwrap();
                        db.set(format!("own{writer}").as_bytes(), &value).unwrap();
                    }
                    is_over.store(true, Ordering::SeqCst);
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        db.set(b"end", b"").unwrap();
        for watcher in watchers {
            assert!(watcher.join().unwrap() > 0);
        }
    });
    assert!(is_over.into_inner());
}

/// W1: the log is read in its order, so what is not decided yet holds back what stands behind it.
#[test]
fn a_write_that_is_under_way_is_not_passed_over() {
    let gate = Arc::new(Gate::default());
    let db = options().background(false).hooks(gate.hooks()).in_memory().unwrap();
    let mut watch = watch(&db, 0);
    db.set(b"first", b"").unwrap();
    assert_eq!(all_told(&mut watch), ["first="]);
    std::thread::scope(|scope| {
        let slow = gate.hold(scope, Point::Reserved, || db.set(b"slow", b"").unwrap());
        db.set(b"fast", b"").unwrap();
        let stood_at = watch.position();
        let (told_early, told_from_start) = (all_told(&mut watch), all_told(&mut self::watch(&db, 0)));
        let position = watch.position();
        gate.open();
        slow.join().unwrap();
        assert_eq!((told_early, told_from_start), (vec![], vec!["first=".into()]));
        assert!(position - stood_at < 8, "it stands before the record that is under way");
    });
    assert_eq!(all_told(&mut watch), ["slow=", "fast="]);
}

/// W5: a batch counts in the log before its members are visible.
#[test]
fn a_batch_is_told_of_once_its_members_are_visible() {
    let gate = Arc::new(Gate::default());
    let db = options().background(false).hooks(gate.hooks()).in_memory().unwrap();
    let mut watch = watch(&db, 0);
    let (told, version) = std::thread::scope(|scope| {
        let batch = || db.apply(Batch::new().set("a", "1").set("b", "2")).unwrap();
        gate.hold(scope, Point::Committed, batch);
        scope.spawn(|| {
            gate.wait_for_waits(1);
            gate.open();
        });
        let told = watch.next_change(Wait::No);
        let version = db.version(b"a").unwrap();
        gate.nobody_waits();
        gate.open();
        (told.unwrap().unwrap(), version)
    });
    assert_eq!(
        (told.key(), Some(told.version())),
        (Some(&b"a"[..]), version),
        "told of before it is visible"
    );
    assert_eq!(all_told(&mut watch), ["b=2"]);
}

#[test]
fn more_changes_than_are_found_at_once_come_in_order() {
    const KEYS: u32 = 300_000;
    let db = Options::new().sync(Sync::Never).in_memory().unwrap();
    let entries: Vec<_> = (0..KEYS).map(|n| (n.to_be_bytes(), [])).collect();
    for portion in entries.chunks(10_000) {
        db.set_many(portion).unwrap();
    }
    let mut watch = watch(&db, 0);
    let mut last = 0;
    for n in 0..KEYS {
        if n == KEYS / 2 {
            // What was found is elsewhere now.
            db.compact().unwrap();
        }
        let change = watch.next_change(Wait::No).unwrap().unwrap();
        assert_eq!(change.key(), Some(&n.to_be_bytes()[..]));
        assert!(change.version() > last);
        last = change.version();
    }
    assert_eq!(watch.next_change(Wait::No).unwrap(), None);
}

#[test]
fn a_damaged_value_is_told_and_what_comes_behind_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().open(dir.path()).unwrap();
    for key in ["a", "damaged", "z"] {
        db.set(key.as_bytes(), b"value of a length that is found").unwrap();
    }
    db.set(b"damaged", b"0123456789012345678901234567890123456789").unwrap();
    db.set(b"last", b"").unwrap();
    db.close().unwrap();
    flip(dir.path(), b"01234567890123456789012345678901234567");
    // Nothing looks at the values but who asks for them.
    let db = options().background(false).open(dir.path()).unwrap();
    let mut watch = watch(&db, 0);
    let mut told = Vec::new();
    loop {
        match watch.next_change(Wait::No) {
            Ok(Some(change)) => told.push(self::told(&change)),
            Err(Error::Corrupt { .. }) => told.push("corrupt".into()),
            Ok(None) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(told.iter().filter(|word| *word == "corrupt").count(), 1, "{told:?}");
    assert_eq!(told.last().unwrap(), "last=");
}

/// Changes a byte where a file of the store holds these.
fn flip(dir: &Path, bytes: &[u8]) {
    for file in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
        let mut content = std::fs::read(&file).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            content[at + 3] ^= 1;
            std::fs::write(&file, content).unwrap();
            return;
        }
    }
    panic!("no file holds them");
}

#[test]
fn where_part_of_the_log_may_be_lost_a_watch_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let db = options().open(dir.path()).unwrap();
    db.set(b"a", b"1").unwrap();
    let position = watch(&db, 0).map(Result::unwrap).next().unwrap().version();
    db.abandon();
    // Other files than those that the process died with: what they lack nobody knows.
    for file in std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let db = options().open(copy.path()).unwrap();
    let mut watch = watch(&db, position);
    assert!(matches!(watch.next_change(Wait::No), Err(Error::Lagged { after }) if after == position));
    assert_eq!(all_told(&mut watch).len(), db.len() as usize);
}

#[test]
fn a_backup_lets_a_watch_of_the_original_begin_anew() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = options().open(dir.path()).unwrap();
    db.set(b"kept", b"1").unwrap();
    db.backup(copy.path().join("store")).unwrap();
    // Told, and not in the backup.
    db.set(b"later", b"2").unwrap();
    let mut original = watch(&db, 0);
    assert_eq!(all_told(&mut original), ["kept=1", "later=2"]);
    let restored = options().open(copy.path().join("store")).unwrap();
    let mut again = watch(&restored, original.position());
    let next = again.next_change(Wait::No);
    assert!(matches!(next, Err(Error::Lagged { .. })), "{next:?}");
    assert_eq!(all_told(&mut again), ["kept=1"]);
    // From then on the copy tells its own changes.
    let position = again.position();
    restored.set(b"new", b"3").unwrap();
    restored.close().unwrap();
    let restored = options().open(copy.path().join("store")).unwrap();
    assert_eq!(all_told(&mut watch(&restored, position)), ["new=3"]);
}

#[test]
fn a_watch_of_what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().open(dir.path()).unwrap();
    db.set(b"a", b"1").unwrap();
    let beyond = db.version(b"a").unwrap().unwrap() + (1 << 30);
    let refused = db.watch(WatchOptions::new().after(beyond));
    assert!(matches!(refused, Err(Error::InvalidOption { .. })), "{refused:?}");
    let refused = db.watch(WatchOptions::new().prefix(vec![b'k'; 70_000]));
    assert!(matches!(refused, Err(Error::KeyTooLong { .. })), "{refused:?}");
    db.close().unwrap();
    assert!(matches!(db.watch(WatchOptions::new()), Err(Error::Closed)));
    let db = Options::new().mode(OpenMode::ReadOnly).open(dir.path()).unwrap();
    assert!(matches!(db.watch(WatchOptions::new()), Err(Error::ReadOnly { .. })));
}
