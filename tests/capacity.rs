//! Stores that hold no more than they may: how much, what goes, and that it stays gone.

#[path = "common/mod.rs"]
mod common;

use common::{seed, Rng};
use kv::testing::{on, tickets, Hooks, Point, SimDisk};
use kv::{Batch, Cause, Db, Expiry, ManualClock, Options, ScanOptions, Sync};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{mpsc, Arc, OnceLock};
use std::time::{Duration, Instant};

const START_MS: u64 = 1_700_000_000_000;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).sync(Sync::Never)
}

fn entries(max: u64) -> Options {
    options().max_entries(Some(max))
}

fn key(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

fn held(db: &Db) -> BTreeSet<Vec<u8>> {
    db.scan(ScanOptions::new()).unwrap().map(|entry| entry.unwrap().key).collect()
}

/// Waits for what the background does.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_store_holds_no_more_than_it_may_while_threads_write() {
    const MAX: u64 = 2000;
    const THREADS: u64 = 4;
    let seed = seed("KV_SEED");
    let db = entries(MAX).in_memory().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(db.len() as u64);
            }
            most
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let db = &db;
                scope.spawn(move || {
                    let mut rng = Rng::new(seed ^ thread);
                    for _ in 0..15_000 {
                        let n = key(rng.below(3 * MAX));
                        match rng.below(10) {
                            0 => drop(db.delete(&n).unwrap()),
                            1 => drop(db.add(&n, b"added").unwrap()),
                            2 => drop(db.increment(&key(rng.below(50) + 10 * MAX), 1).unwrap()),
                            3 => {
                                let mut batch = Batch::new();
                                for _ in 0..5 {
                                    batch.set(key(rng.below(3 * MAX)), *b"batch");
                                }
                                batch.delete(key(rng.below(3 * MAX)));
                                db.apply(&batch).unwrap();
                            }
                            4..7 => drop(db.get(&n).unwrap()),
                            _ => db.set(&n, b"set").unwrap(),
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ended.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap();
        assert!(most <= MAX + MAX / 100, "{most} entries");
    });
    assert_eq!(tickets(&db), db.len(), "C1");
    // The store fills up to its limit and no further.
    for n in 0..2 * MAX {
        db.set(&key(20 * MAX + n), b"last").unwrap();
        assert!(db.len() as u64 <= MAX, "{} entries", db.len());
    }
    assert_eq!((db.len() as u64, held(&db).len() as u64), (MAX, MAX));
    let stats = db.stats().unwrap();
    assert!(stats.entries == MAX && stats.evicted > MAX, "{stats:?}");
}

#[test]
fn weight_is_that_of_keys_and_values_and_never_more_than_it_may_be() {
    let mut rng = Rng::new(seed("KV_SEED"));
    let db = options().max_bytes(Some(10_000)).in_memory().unwrap();
    for n in 0..3000 {
        db.set(&key(rng.below(200)), &vec![1; rng.below(400) as usize]).unwrap();
        let stats = db.stats().unwrap();
        assert!(stats.weight <= 10_000, "{} bytes after {n} writes", stats.weight);
    }
    let weigh =
        |entry: kv::Result<kv::Entry>| entry.map(|entry| entry.key.len() + entry.value.len()).unwrap();
    let held: usize = db.scan(ScanOptions::new()).unwrap().map(weigh).sum();
    assert_eq!(db.stats().unwrap().weight, held as u64);
    assert!(held > 9_000, "{held} bytes are held");
}

#[test]
fn an_entry_that_is_too_heavy_goes_alone() {
    let db = options().max_bytes(Some(1000)).in_memory().unwrap();
    (0..10).for_each(|n| db.set(&key(n), &[1; 80]).unwrap());
    db.set(b"large", &[2; 2000]).unwrap();
    assert_eq!(db.get(b"large").unwrap(), None);
    db.set(&key(3), &[2; 2000]).unwrap();
    assert_eq!(db.get(&key(3)).unwrap(), None, "nor does the value stay that it replaced");
    assert_eq!((db.len(), db.stats().unwrap().weight), (9, 9 * 88));
    assert_eq!(db.stats().unwrap().evicted, 2);
    for n in 100..200 {
        db.set(&key(n), &[1; 80]).unwrap();
        assert!(db.stats().unwrap().weight <= 1000);
    }
    assert_eq!(db.len(), 11);
}

#[test]
fn what_was_evicted_stays_gone_after_a_reopen_and_a_crash() {
    for crashes in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let db = entries(100).open(dir.path()).unwrap();
        for n in 0..5000 {
            db.set(&key(n % 700), &n.to_le_bytes()).unwrap();
        }
        let before = held(&db);
        assert_eq!(before.len(), 100);
        if crashes {
            db.abandon();
        }
        drop(db);
        assert_eq!(held(&options().open(dir.path()).unwrap()), before, "without a limit, crashes: {crashes}");
        let db = entries(100).open(dir.path()).unwrap();
        assert_eq!((held(&db), db.len()), (before, 100));
    }
}

#[test]
fn a_store_that_is_opened_with_a_lower_limit_comes_down_to_it_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().open(dir.path()).unwrap();
    (0..1000).for_each(|n| db.set(&key(n), b"value").unwrap());
    drop(db);
    let db = entries(50).open(dir.path()).unwrap();
    assert_eq!(held(&db), (950..1000).map(|n| key(n).to_vec()).collect());
    drop(db);
    let db = options().max_bytes(Some(13 * 20)).open(dir.path()).unwrap();
    assert_eq!(held(&db), (980..1000).map(|n| key(n).to_vec()).collect());
}

#[test]
fn what_is_asked_for_again_stays_while_a_scan_passes_and_the_log_is_compacted() {
    let db = entries(1000).in_memory().unwrap();
    (0..800).for_each(|n| db.set(&key(n), &[1; 50]).unwrap());
    (0..800).for_each(|n| assert!(db.get(&key(n)).unwrap().is_some()));
    for n in 10_000..20_000 {
        db.set(&key(n), &[2; 50]).unwrap();
        if n % 100 == 0 {
            // Each way to read counts.
            (0..200).for_each(|n| assert!(db.get(&key(n)).unwrap().is_some(), "{n}"));
            (200..400).for_each(|n| assert!(db.get_with(&key(n), |_| ()).unwrap().is_some(), "{n}"));
            let keys: Vec<_> = (400..600).map(key).collect();
            assert!(db.get_many(&keys).unwrap().iter().all(Option::is_some));
            let mut to = Vec::new();
            (600..800).for_each(|n| assert!(db.get_into(&key(n), &mut to).unwrap(), "{n}"));
        }
        if n % 2_500 == 0 {
            db.compact().unwrap();
        }
    }
    assert!(db.stats().unwrap().relocated_bytes > 0);
}

#[test]
fn a_value_that_is_newer_than_the_one_that_was_chosen_stays() {
    static DB: OnceLock<Db> = OnceLock::new();
    static IS_ARMED: AtomicBool = AtomicBool::new(false);
    let hooks = Hooks::new(|point| {
        // Between the choice and the tombstone: what came last stands in the small queue, so it is what was chosen.
        if point == Point::Decided && IS_ARMED.swap(false, Ordering::SeqCst) {
            DB.get().unwrap().set(&key(2), b"new").unwrap();
        }
    });
    let db = DB.get_or_init(|| entries(3).hooks(hooks).in_memory().unwrap());
    (0..3).for_each(|n| db.set(&key(n), b"old").unwrap());
    IS_ARMED.store(true, Ordering::SeqCst);
    db.set(&key(3), b"new").unwrap();
    assert!(!IS_ARMED.load(Ordering::SeqCst));
    assert_eq!(db.get(&key(2)).unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(held(db), [1, 2, 3].map(|n| key(n).to_vec()).into());
}

#[test]
fn a_batch_finds_room_before_it_is_visible_and_a_larger_one_comes_down_to_the_limit() {
    let db = entries(100).in_memory().unwrap();
    (0..100).for_each(|n| db.set(&key(n), b"").unwrap());
    let of = |range: std::ops::Range<u64>| range.map(|n| (key(n), *b"batch")).collect::<Vec<_>>();
    db.set_many(&of(90..130)).unwrap();
    assert_eq!(db.len(), 100);
    let late = db.get_many(&(90..130).map(key).collect::<Vec<_>>()).unwrap();
    assert!(late.iter().flatten().count() >= 30, "what came is not what goes");
    db.set_many(&of(1000..1500)).unwrap();
    assert_eq!((db.len(), held(&db).len()), (100, 100));
}

#[test]
fn what_expires_or_is_deleted_makes_room_and_nothing_else_goes() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let db = entries(100).clock(clock.clone()).in_memory().unwrap();
    let soon = kv::SetOptions::new().expiry(Expiry::After(Duration::from_secs(5)));
    (0..50).for_each(|n| assert!(db.set_with(&key(n), b"", soon).unwrap().is_some()));
    (50..100).for_each(|n| db.set(&key(n), b"").unwrap());
    clock.advance(Duration::from_secs(6));
    db.sweep().unwrap();
    (50..60).for_each(|n| assert!(db.delete(&key(n)).unwrap()));
    (100..160).for_each(|n| db.set(&key(n), b"").unwrap());
    assert_eq!((db.len(), db.stats().unwrap().evicted), (100, 0));
    db.clear().unwrap();
    (200..300).for_each(|n| db.set(&key(n), b"").unwrap());
    assert_eq!((db.len(), db.stats().unwrap().evicted), (100, 0));
    // What is chosen and whose time is over goes as expired.
    (200..300).for_each(|n| assert!(db.set_with(&key(n), b"", soon).unwrap().is_some()));
    db.pause().unwrap();
    clock.advance(Duration::from_secs(6));
    db.set(&key(300), b"").unwrap();
    let stats = db.stats().unwrap();
    assert_eq!((stats.entries, stats.evicted, stats.expired), (100, 0, 51));
}

/// C1: whatever way an entry goes, its ticket and its weight go with it.
#[test]
fn what_is_removed_in_any_way_leaves_no_ticket_and_no_weight() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let options = || options().clock(clock.clone()).max_bytes(Some(1 << 20));
    let keys = |round: u64| (0..100u64).map(move |n| key(1000 * round + n));
    type Removal = fn(&Db, &[[u8; 8]], &ManualClock);
    let removals: [Removal; 6] = [
        |db, keys, _| keys.iter().for_each(|key| assert!(db.delete(key).unwrap())),
        |db, keys, _| keys.iter().for_each(|key| assert!(db.take(key).unwrap().is_some())),
        |db, keys, _| assert_eq!(db.delete_many(keys).unwrap(), keys.len()),
        |db, keys, _| {
            let mut batch = Batch::new();
            for key in keys {
                batch.delete(*key);
            }
            db.apply(&batch).unwrap();
        },
        |db, keys, clock| {
            keys.iter().for_each(|key| assert!(db.expire(key, Duration::from_secs(1)).unwrap()));
            clock.advance(Duration::from_secs(2));
            db.sweep().unwrap();
        },
        |db, _, _| db.clear().unwrap(),
    ];
    let db = options().max_entries(Some(100)).in_memory().unwrap();
    for (round, remove) in (1..).zip(removals) {
        for n in keys(round) {
            db.set(&n, &[0; 92]).unwrap();
        }
        let stats = db.stats().unwrap();
        assert_eq!((stats.entries, stats.weight, stats.evicted), (100, 100 * 100, 0), "removal {round}");
        let keys: Vec<_> = keys(round).collect();
        remove(&db, &keys, &clock);
        let stats = db.stats().unwrap();
        assert_eq!((stats.entries, stats.weight, stats.evicted), (0, 0, 0), "removal {round}");
    }
    // Each choice finds an entry at once: of what went, none is looked for any more.
    for n in 0..300 {
        db.set(&key(1_000_000 + n), b"").unwrap();
        assert!(db.len() <= 100, "{} entries", db.len());
    }
    assert_eq!(db.stats().unwrap().evicted, 200);
}

#[test]
fn the_listener_is_told_what_was_evicted_and_why() {
    let (sender, events) = mpsc::channel();
    let listener =
        move |event: &kv::Event| drop(sender.send((event.key.clone(), event.value.clone(), event.cause)));
    let db = entries(2).listener(listener).in_memory().unwrap();
    (0..3).for_each(|n| db.set(&key(n), &[n as u8]).unwrap());
    let (gone, value, cause) = events.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((db.get(&gone).unwrap(), &gone[7..], cause), (None, &value[..], Cause::Evicted));
    assert!(db.delete(&held(&db).first().unwrap().clone()).unwrap());
    assert_eq!(events.recv_timeout(Duration::from_secs(20)).unwrap().2, Cause::Deleted);
}

#[test]
fn scans_in_order_and_snapshots_see_what_was_not_evicted() {
    for is_listed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let db = entries(300).ordered_index(is_listed).open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..20_000u64).for_each(|n| db.set(&key(n), &[3; 40]).unwrap()));
            while !writer.is_finished() {
                let snapshot = ScanOptions::new().ordered(true).snapshot(true);
                let found: Vec<_> = db.scan(snapshot).unwrap().map(|entry| entry.unwrap().key).collect();
                assert!(found.is_sorted() && found.len() <= 301, "{} entries as of one moment", found.len());
            }
        });
        let in_order: Vec<_> =
            db.scan(ScanOptions::new().ordered(true)).unwrap().map(|entry| entry.unwrap().key).collect();
        assert_eq!(in_order, held(&db).into_iter().collect::<Vec<_>>());
        if is_listed {
            eventually("keys that were evicted leave the list", || kv::testing::listed_keys(&db) == 300);
        }
    }
}

#[test]
fn limits_under_which_nothing_can_be_held_are_refused() {
    for (options, name) in [(entries(0), "max_entries"), (options().max_bytes(Some(0)), "max_bytes")] {
        let refused = options.in_memory().unwrap_err().to_string();
        assert_eq!(refused, format!("option {name}: a capacity of zero: nothing could be held"));
    }
    assert!(
        Options::new().set("max_entries", "-1").is_err() && Options::new().set("max_bytes", "1 MB").is_err()
    );
    let db = Options::new()
        .set("max_entries", "7")
        .unwrap()
        .set("max_bytes", "none")
        .unwrap()
        .in_memory()
        .unwrap();
    (0..20).for_each(|n| db.set(&key(n), b"").unwrap());
    assert_eq!(db.len(), 7);
}

#[test]
fn a_conditional_write_that_needs_room_lets_another_entry_go_and_not_its_own() {
    let db = options().max_bytes(Some(20)).in_memory().unwrap();
    // The first to go, by age: two entries of 11 and 6 bytes.
    db.set(b"a", b"0123456789").unwrap();
    db.set(b"b", b"01234").unwrap();
    assert!(db.replace(b"a", b"0123456789abcd").unwrap(), "its own entry went");
    assert_eq!(db.get(b"a").unwrap().as_deref(), Some(&b"0123456789abcd"[..]));
    assert_eq!(held(&db), BTreeSet::from([b"a".to_vec()]));
}

#[test]
fn where_bytes_are_what_there_is_no_room_for_a_scan_passes_however_many_entries_there_may_be() {
    let db = options().max_entries(Some(u64::MAX)).max_bytes(Some(100 * 108)).in_memory().unwrap();
    let set = |n: u64| db.set(&key(n), &[0; 100]).unwrap();
    (0..80).for_each(set);
    for _ in 0..3 {
        (0..80).for_each(|n| assert!(db.get(&key(n)).unwrap().is_some()));
    }
    (1000..5000).for_each(set);
    let kept = (0..80).filter(|n| db.contains(&key(*n)).unwrap()).count();
    assert!(kept >= 70, "{kept} of 80");
}

/// P7: on a full disk tombstones still have room, and what went gives space back.
#[test]
fn a_cache_on_a_full_disk_lets_entries_go_and_takes_new_ones_again() {
    const ENTRIES: u64 = 40;
    let value = |n: u64| vec![n as u8; 6000];
    let disk = SimDisk::new();
    let open = || on(options().max_bytes(Some(ENTRIES * 6008)), &disk).open("/store").unwrap();
    let db = open();
    (0..ENTRIES).for_each(|n| db.set(&key(n), &value(n)).unwrap());
    disk.limit(Some(disk.used_bytes()));
    let refused = db.set(b"large", &[1; 100_000]).unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    let evicted = db.stats().unwrap().evicted;
    assert!(evicted >= 100_000 / 6008, "{evicted} evicted");
    assert_eq!(db.len() as u64, ENTRIES - evicted);
    for n in ENTRIES..ENTRIES + 4 {
        eventually("a write finds room", || {
            let found = db.compact().and_then(|()| db.set(&key(n), &value(n)));
            assert!(found.as_ref().err().is_none_or(kv::Error::is_disk_full), "{found:?}");
            found.is_ok()
        });
        assert!(db.stats().unwrap().weight <= ENTRIES * 6008);
    }
    let entries = held(&db);
    entries.iter().for_each(|key| assert_eq!(db.get(key).unwrap(), Some(value(u64::from(key[7])))));
    db.abandon();
    drop(db);
    assert_eq!(held(&open()), entries);
}

/// Of a scan, by a weigher's own word.
fn weight_of_all(db: &Db, weigh: impl Fn(&[u8], &[u8]) -> u32) -> u64 {
    let entries = db.scan(ScanOptions::new()).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| u64::from(weigh(&entry.key, &entry.value))).sum()
}

#[test]
fn a_weigher_weighs_what_the_caller_gave_once_for_each_value_that_is_written() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    fn lines(_: &[u8], value: &[u8]) -> u32 {
        value.split(|byte| *byte == b'\n').count() as u32
    }
    let zstd = kv::Compression::Zstd { level: 1, threshold_bytes: 16 };
    let weigher = |key: &[u8], value: &[u8]| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        lines(key, value)
    };
    let dir = tempfile::tempdir().unwrap();
    let open = |max| {
        let options = options().compression(zstd).max_bytes(Some(max)).weigher(weigher);
        options.open(dir.path()).unwrap()
    };
    let db = open(1000);
    let text = "a line of text\n".repeat(20);
    let writes: [fn(&Db, &[u8]); 9] = [
        |db, text| db.set(b"a", text).unwrap(),
        |db, text| assert!(db.add(b"b", text).unwrap()),
        |db, text| assert!(db.replace(b"a", &text[..30]).unwrap()),
        |db, text| assert!(db.compare_and_swap(b"c", 0, text).unwrap().is_some()),
        |db, _| assert_eq!(db.increment(b"n", 1).unwrap(), 1),
        |db, text| db.set_many(&[(b"d", text)]).unwrap(),
        |db, text| db.apply(Batch::new().set(*b"e", text).delete(*b"f")).unwrap(),
        |db, text| {
            let mut session =
                db.create_and_lock(b"s", kv::Wait::No, kv::CreateOptions::new()).unwrap().unwrap();
            *session.value_mut() = text.to_vec();
            session.metadata_mut().insert("name".into(), vec![b'\n'; 100]);
            session.commit().unwrap();
        },
        |db, text| {
            let loaded = db.get_or_load(b"l", kv::SetOptions::new(), || Ok::<_, String>(Some(text.to_vec())));
            assert!(loaded.unwrap().is_some());
        },
    ];
    for (n, write) in (1..).zip(writes) {
        write(&db, text.as_bytes());
        assert_eq!(
            (ASKED.load(Ordering::Relaxed), db.stats().unwrap().weight),
            (n, weight_of_all(&db, lines))
        );
    }
    // The same value for another time, and copies of it, are not weighed anew.
    assert!(db.expire(b"a", Duration::from_secs(100)).unwrap() && db.persist(b"a").unwrap());
    let mut rng = Rng::new(seed("KV_SEED"));
    let mut filled = 0;
    while db.stats().unwrap().segments < 3 {
        let noise: Vec<u8> = (0..4000).map(|_| rng.below(256) as u8).collect();
        db.set(b"fill", &noise).unwrap();
        filled += 1;
    }
    db.delete(b"fill").unwrap();
    while db.stats().unwrap().relocated_bytes == 0 {
        db.compact().unwrap();
    }
    let weight = db.stats().unwrap().weight;
    assert_eq!((ASKED.swap(9, Ordering::Relaxed), weight), (9 + filled, weight_of_all(&db, lines)));
    assert_eq!(weight, 6 * 21 + 3 + 1, "lines, not bytes");
    drop(db);
    let db = open(1000);
    assert_eq!((ASKED.load(Ordering::Relaxed), db.stats().unwrap().weight), (9 + 8, weight));
    drop(db);
    let db = open(50);
    let stats = db.stats().unwrap();
    assert!(stats.weight <= 50 && stats.evicted >= 4, "{stats:?}");
    db.set(b"heavy", "\n".repeat(50).as_bytes()).unwrap();
    assert_eq!((db.get(b"heavy").unwrap(), db.stats().unwrap().entries), (None, stats.entries));
    for n in 0..100u64 {
        db.set(&key(n), text.as_bytes()).unwrap();
        assert!(db.stats().unwrap().weight <= 50);
    }
    assert!((2..=4).contains(&db.len()), "{} entries", db.len());
}

#[test]
fn a_weight_is_taken_away_as_it_was_added_whatever_the_weigher_says_meanwhile() {
    let seed = seed("KV_SEED");
    let asked = AtomicU64::new(0);
    let weigher = move |_: &[u8], _: &[u8]| (asked.fetch_add(1, Ordering::Relaxed) % 50) as u32;
    let db = options().max_bytes(Some(5000)).weigher(weigher).in_memory().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let db = &db;
            scope.spawn(move || {
                let mut rng = Rng::new(seed ^ thread);
                for _ in 0..5000 {
                    let n = key(rng.below(500));
                    match rng.below(8) {
                        0 => drop(db.delete(&n).unwrap()),
                        1 => drop(db.replace(&n, &[2; 200]).unwrap()),
                        2 => db.set_many(&[(n, [3; 30]), (key(rng.below(500)), [3; 30])]).unwrap(),
                        3 => drop(db.expire(&n, Duration::from_secs(1000)).unwrap()),
                        _ => db.set(&n, &[1; 100]).unwrap(),
                    }
                }
            });
        }
        scope.spawn(|| (0..20).for_each(|_| db.compact().unwrap()));
    });
    let stats = db.stats().unwrap();
    assert!(stats.weight <= 5000 && stats.evicted > 0 && stats.relocated_bytes > 0, "{stats:?}");
    held(&db).iter().for_each(|key| assert!(db.delete(key).unwrap()));
    assert_eq!((db.stats().unwrap().weight, tickets(&db)), (0, 0));
}

#[test]
fn no_grace_period_waits_for_a_weigher() {
    let (asks, asked) = mpsc::channel();
    let ends = asks.clone();
    let (says, cleared) = mpsc::channel::<()>();
    let cleared = std::sync::Mutex::new(cleared);
    let weigher = move |_: &[u8], _: &[u8]| {
        asks.send(true).unwrap();
        // Whoever clears waits for all guards.
        u32::from(cleared.lock().unwrap().recv_timeout(Duration::from_secs(20)).is_ok())
    };
    let db = options().max_bytes(Some(100)).weigher(weigher).in_memory().unwrap();
    let other = db.clone();
    let clears = std::thread::spawn(move || {
        while asked.recv().unwrap() {
            other.clear().unwrap();
            says.send(()).unwrap();
        }
    });
    let writes: [fn(&Db); 6] = [
        |db| db.set(b"k", b"value").unwrap(),
        |db| db.set_many(&[(b"k", b"value"), (b"l", b"value")]).unwrap(),
        |db| assert!(db.add(b"k", b"value").unwrap()),
        |db| assert!(db.compare_and_swap(b"k", 0, b"value").unwrap().is_some()),
        |db| assert_eq!(db.increment(b"k", 7).unwrap(), 7),
        |db| {
            let mut session =
                db.create_and_lock(b"k", kv::Wait::No, kv::CreateOptions::new()).unwrap().unwrap();
            session.value_mut().push(1);
            session.commit().unwrap();
        },
    ];
    for write in writes {
        db.clear().unwrap();
        write(&db);
        assert_eq!(
            db.stats().unwrap().weight,
            db.len() as u64,
            "each was weighed while the store was cleared"
        );
    }
    ends.send(false).unwrap();
    clears.join().unwrap();
}

#[test]
fn an_entry_that_cannot_be_weighed_weighs_its_bytes() {
    let (sender, lines) = mpsc::channel();
    let weigher = |key: &[u8], _: &[u8]| if key == b"bad" { panic!("no weight") } else { 0 };
    let logger = move |line: &str| drop(sender.send(line.to_string()));
    let db = options().max_bytes(Some(100)).weigher(weigher).logger(logger).in_memory().unwrap();
    db.set(b"bad", &[1; 47]).unwrap();
    let line = lines.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(line, "weigher: panicked on a key of 3 bytes: it weighs its bytes");
    (0..200).for_each(|n| db.set(&key(n), &[1; 200]).unwrap());
    let stats = db.stats().unwrap();
    assert_eq!((stats.entries, stats.weight, stats.evicted), (201, 50, 0), "the others weigh nothing");
    let refused = options().weigher(|_, _| 1).in_memory().unwrap_err().to_string();
    assert_eq!(refused, "option weigher: without max_bytes there is nothing that weights count towards");
}
