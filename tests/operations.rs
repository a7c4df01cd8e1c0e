//! Every operation, in memory and in a directory, with the same code.

use kv::{
    Batch, Condition, Db, Error, Expiry, Format, ManualClock, Options, ScanOptions, SetOptions, Sync,
    TransferOptions, Ttl,
};
use std::sync::Arc;
use std::time::Duration;

/// Runs a test on a store in memory and on one in a directory, with a clock that stands still.
fn both(test: impl Fn(&Db, &ManualClock)) {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let options = Options::new().clock(clock.clone());
    test(&options.clone().in_memory().unwrap(), &clock);
    let dir = tempfile::tempdir().unwrap();
    test(&options.open(dir.path()).unwrap(), &clock);
}

#[test]
fn set_get_and_delete_see_each_other() {
    both(|db, _| {
        assert_eq!(db.get(b"k").unwrap(), None);
        db.set(b"k", b"1").unwrap();
        db.set(b"k", b"2").unwrap();
        assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(db.pin().unwrap().get(b"k").unwrap().as_deref(), Some(&b"2"[..]));
        let mut to = vec![9; 100];
        assert!(db.get_into(b"k", &mut to).unwrap() && to == b"2");
        assert!(!db.get_into(b"none", &mut to).unwrap() && to.is_empty());
        assert_eq!(db.get_many(&["none", "k"]).unwrap(), [None, Some(b"2".to_vec())]);
        assert!(db.contains(b"k").unwrap() && db.len() == 1);
        assert!(db.delete(b"k").unwrap() && !db.delete(b"k").unwrap());
        assert!(!db.contains(b"k").unwrap() && db.is_empty());
    });
}

#[test]
fn conditions_hold_on_the_value_that_is_replaced() {
    both(|db, _| {
        assert!(!db.replace(b"k", b"0").unwrap());
        assert!(db.add(b"k", b"1").unwrap() && !db.add(b"k", b"2").unwrap());
        assert!(db.replace(b"k", b"3").unwrap());
        let version = db.version(b"k").unwrap().unwrap();
        assert_eq!(db.compare_and_swap(b"k", version + 8, b"x").unwrap(), None);
        let next = db.compare_and_swap(b"k", version, b"4").unwrap().unwrap();
        assert!(next > version);
        assert!(db.compare_and_swap(b"new", 0, b"5").unwrap().is_some());
        assert_eq!(db.compare_and_swap(b"new", 0, b"6").unwrap(), None);
        let if_present = SetOptions::new().condition(Condition::IfPresent);
        assert_eq!(db.set_with(b"absent", b"", if_present).unwrap(), None);
        assert_eq!(db.get_many(&["k", "new"]).unwrap(), [Some(b"4".to_vec()), Some(b"5".to_vec())]);
        assert_eq!(db.take(b"k").unwrap().as_deref(), Some(&b"4"[..]));
        assert_eq!(db.take(b"k").unwrap(), None);
    });
}

#[test]
fn increments_are_checked() {
    both(|db, _| {
        assert_eq!(db.increment(b"n", 5).unwrap(), 5);
        assert_eq!(db.increment(b"n", -7).unwrap(), -2);
        db.set(b"n", i64::MAX.to_string().as_bytes()).unwrap();
        assert!(matches!(db.increment(b"n", 1), Err(Error::Overflow { value: i64::MAX, delta: 1 })));
        db.set(b"n", b"1.5").unwrap();
        assert!(matches!(db.increment(b"n", 1), Err(Error::NotAnInteger { len: 3 })));
        assert_eq!(db.get(b"n").unwrap().as_deref(), Some(&b"1.5"[..]));
    });
}

#[test]
fn an_entry_is_gone_the_moment_its_time_is_over_and_its_memory_soon_after() {
    both(|db, clock| {
        let second = Duration::from_secs(1);
        db.set_with(b"a", b"1", SetOptions::new().ttl(second)).unwrap();
        db.set_with(b"b", b"1", SetOptions::new().ttl(second)).unwrap();
        assert_eq!(db.ttl(b"a").unwrap(), Some(Ttl::Remaining(second)));
        assert!(db.persist(b"b").unwrap());
        assert_eq!(db.ttl(b"b").unwrap(), Some(Ttl::Never));
        clock.advance(Duration::from_millis(999));
        assert!(db.contains(b"a").unwrap());
        clock.advance(Duration::from_millis(1));
        assert!(!db.contains(b"a").unwrap() && !db.delete(b"a").unwrap());
        assert!(db.expire(b"b", second).unwrap() && !db.expire(b"a", second).unwrap());
        assert_eq!(db.increment(b"a", 1).unwrap(), 1);
        assert_eq!(db.ttl(b"a").unwrap(), Some(Ttl::Never));
        clock.advance(Duration::from_secs(2));
        db.sweep().unwrap();
        assert_eq!(db.len(), 1);
    });
}

#[test]
fn a_batch_is_applied_in_its_order() {
    both(|db, _| {
        db.set(b"gone", b"x").unwrap();
        let mut batch = Batch::new();
        batch.set("a", "1").set("a", "2").delete("gone").set("b", "").delete("b");
        db.apply(&batch).unwrap();
        assert_eq!(db.get_many(&["a", "b", "gone"]).unwrap(), [Some(b"2".to_vec()), None, None]);
        db.set_many(&[("x", "1"), ("y", "2")]).unwrap();
        assert_eq!(db.delete_many(&["x", "z", "y"]).unwrap(), 2);
        assert_eq!(db.len(), 1);
    });
}

#[test]
fn a_scan_gives_each_entry_with_its_prefix_once() {
    both(|db, _| {
        for n in 0..100 {
            db.set(format!("a{n:03}").as_bytes(), b"v").unwrap();
            db.set(format!("b{n:03}").as_bytes(), b"v").unwrap();
        }
        let keys: Vec<_> =
            db.scan(ScanOptions::new().prefix("a").ordered(true)).unwrap().map(|e| e.unwrap().key).collect();
        let expected: Vec<_> = (0..100).map(|n| format!("a{n:03}").into_bytes()).collect();
        assert_eq!(keys, expected);
        assert_eq!(db.scan(ScanOptions::new().prefix("b").limit(7)).unwrap().count(), 7);
        assert_eq!(db.scan(ScanOptions::new()).unwrap().count(), 200);
    });
}

#[test]
fn clear_leaves_nothing_and_later_writes_stay() {
    both(|db, _| {
        for n in 0..1000u32 {
            db.set(&n.to_le_bytes(), b"v").unwrap();
        }
        db.clear().unwrap();
        assert_eq!((db.len(), db.scan(ScanOptions::new()).unwrap().count()), (0, 0));
        db.set(b"k", b"v").unwrap();
        assert_eq!(db.len(), 1);
    });
}

#[test]
fn values_from_nothing_to_more_than_a_segment_and_keys_to_the_limit() {
    both(|db, _| {
        let large = vec![7u8; 5 << 20];
        let key = vec![1u8; 65_535];
        db.set(b"", b"empty key").unwrap();
        db.set(b"empty", b"").unwrap();
        db.set(&key, &large).unwrap();
        db.set(b"after", b"x").unwrap();
        assert_eq!(db.get(b"").unwrap().as_deref(), Some(&b"empty key"[..]));
        assert_eq!(db.get(b"empty").unwrap().as_deref(), Some(&b""[..]));
        assert!(db.get(&key).unwrap() == Some(large.clone()));
        assert_eq!(db.get(b"after").unwrap().as_deref(), Some(&b"x"[..]));
        assert!(matches!(db.set(&vec![0; 65_536], b""), Err(Error::KeyTooLong { len: 65_536, max: 65_535 })));
        assert!(matches!(db.get(&vec![0; 65_536]), Err(Error::KeyTooLong { .. })));
    });
}

#[test]
fn get_or_load_runs_one_loader_and_sets_what_it_brings() {
    both(|db, _| {
        let load = |db: &Db, value: &str| {
            let value = value.as_bytes().to_vec();
            db.get_or_load(b"k", SetOptions::new(), || Ok::<_, Error>(Some(value))).unwrap().unwrap()
        };
        assert_eq!(load(db, "1"), b"1");
        assert_eq!(load(db, "2"), b"1");
        assert_eq!(db.get_or_load(b"n", SetOptions::new(), || Ok::<_, Error>(None)).unwrap(), None);
        let failed = db.get_or_load(b"n", SetOptions::new(), || Err("no network"));
        assert!(matches!(failed, Err(Error::Loader { reason }) if reason == "no network"));
        let own = db.get_or_load(b"n", SetOptions::new(), || {
            db.get_or_load(b"n", SetOptions::new(), || Ok::<_, Error>(None))
        });
        assert!(matches!(own, Err(Error::Loader { .. })), "{own:?}");
        // A change while the loader runs is newer than what it brings.
        let stale = db.get_or_load(b"s", SetOptions::new(), || {
            assert!(!db.delete(b"s").unwrap());
            Ok::<_, Error>(Some(b"old".to_vec()))
        });
        assert_eq!(stale.unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(db.get(b"s").unwrap(), None);
    });
}

#[test]
fn everything_is_there_after_close_and_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().sync(Sync::Never);
    for round in 0..4u32 {
        let db = options.clone().open(dir.path()).unwrap();
        for n in 0..round * 1000 {
            assert_eq!(db.get(&n.to_le_bytes()).unwrap(), Some(vec![round as u8 - 1; 50]), "round {round}");
        }
        assert_eq!(db.len() as u32, round * 1000);
        for n in 0..(round + 1) * 1000 {
            db.set(&n.to_le_bytes(), &[round as u8; 50]).unwrap();
        }
        db.set(b"deleted", b"x").unwrap();
        db.delete(b"deleted").unwrap();
        if round % 2 == 0 {
            db.abandon();
        } else {
            db.close().unwrap();
        }
        assert!(matches!(db.get(b"k"), Err(Error::Closed)));
        assert!(matches!(db.set(b"k", b"v"), Err(Error::Closed)));
    }
}

#[test]
fn compaction_gives_the_space_of_the_dead_back_and_keeps_the_living() {
    let dir = tempfile::tempdir().unwrap();
    for memory in [true, false] {
        let options = Options::new().sync(Sync::Never).segment_bytes(256 << 10);
        let db = if memory { options.in_memory() } else { options.open(dir.path()) }.unwrap();
        for round in 0..20u32 {
            for n in 0..2000u32 {
                db.set(&n.to_le_bytes(), &[round as u8; 200]).unwrap();
            }
        }
        for n in 0..1000u32 {
            db.delete(&n.to_le_bytes()).unwrap();
        }
        db.compact().unwrap();
        let stats = db.stats().unwrap();
        assert!(stats.log_bytes <= stats.live_bytes * 3 / 2 + 5 * (256 << 10), "{stats:?}");
        assert_eq!(stats.index_entries, 1000, "masks have left the index");
        for n in 0..2000u32 {
            let expected = (n >= 1000).then(|| vec![19; 200]);
            assert_eq!(db.get(&n.to_le_bytes()).unwrap(), expected);
        }
        db.close().unwrap();
    }
    let db = Db::open(dir.path()).unwrap();
    assert_eq!(db.len(), 1000);
}

#[test]
fn a_backup_is_a_store_of_the_same_entries() {
    both(|db, _| {
        for n in 0..5000u32 {
            db.set(&n.to_le_bytes(), &[3; 100]).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        db.backup(dir.path()).unwrap();
        assert!(matches!(db.backup(dir.path()), Err(Error::NotAStore { .. })));
        let copy = Db::open(dir.path()).unwrap();
        assert_eq!((copy.len(), copy.get(&7u32.to_le_bytes()).unwrap()), (5000, Some(vec![3; 100])));
    });
}

#[test]
fn a_listener_hears_of_each_removal_once_and_may_call_the_store() {
    let clock = Arc::new(ManualClock::new(1_000_000));
    let (sender, events) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let db = Options::new()
        .clock(clock.clone())
        .listener(move |event| sender.lock().unwrap().send(event.clone()).unwrap())
        .in_memory()
        .unwrap();
    db.set(b"d", b"1").unwrap();
    db.set(b"d", b"2").unwrap();
    db.delete(b"d").unwrap();
    db.set_with(b"e", b"3", SetOptions::new().expiry(Expiry::After(Duration::from_millis(5)))).unwrap();
    clock.advance(Duration::from_millis(5));
    assert_eq!(db.get(b"e").unwrap(), None);
    db.close().unwrap();
    let heard: Vec<_> = events.try_iter().map(|e| (e.key, e.value, e.cause)).collect();
    let expected = [
        (b"d".to_vec(), b"2".to_vec(), kv::Cause::Deleted),
        (b"e".to_vec(), b"3".to_vec(), kv::Cause::Expired),
    ];
    assert_eq!(heard, expected);
}

#[test]
fn calls_that_would_wait_for_ones_own_pin_are_refused() {
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let pin = db.pin().unwrap();
    assert!(matches!(db.clear(), Err(Error::Pinned { .. })));
    assert!(matches!(db.compact(), Err(Error::Pinned { .. })));
    assert!(matches!(db.sweep(), Err(Error::Pinned { .. })));
    let value = pin.get(b"k").unwrap().unwrap();
    db.close().unwrap();
    assert_eq!(&*value, b"v", "a pin outlives close");
}

#[test]
fn a_second_opener_is_told_who_holds_the_store_and_a_reader_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    db.set(b"k", b"v").unwrap();
    let me = std::process::id();
    assert!(matches!(Db::open(dir.path()), Err(Error::Locked { pid: Some(pid), .. }) if pid == me));
    let reader = Options::new().mode(kv::OpenMode::ReadOnly).open(dir.path()).unwrap();
    assert_eq!(reader.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    assert!(matches!(reader.set(b"k", b"w"), Err(Error::ReadOnly { .. })));
    db.close().unwrap();
    let reader = Options::new().mode(kv::OpenMode::ReadOnly).open(dir.path()).unwrap();
    assert_eq!(reader.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn an_empty_store_is_small_while_open_and_nearly_nothing_when_closed() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    db.sync().unwrap();
    db.stats().unwrap();
    let bytes = || -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().blocks() * 512).sum()
    };
    assert!(bytes() <= 5 << 20, "{} bytes open", bytes());
    db.close().unwrap();
    assert!(bytes() <= 32 << 10, "{} bytes closed", bytes());
}

#[test]
fn export_and_import_carry_everything_over() {
    both(|db, _| {
        db.set(b"a", b"1").unwrap();
        db.set_with(b"b", &[0xff], SetOptions::new().ttl(Duration::from_secs(60))).unwrap();
        let mut text = Vec::new();
        db.export(&mut text, Format::Ndjson, ScanOptions::new()).unwrap();
        db.clear().unwrap();
        let mut acknowledged = 0;
        let options = TransferOptions::new(Format::Ndjson).progress(|done| {
            acknowledged = done.entries;
            true
        });
        db.import(&text[..], options).unwrap();
        assert_eq!((acknowledged, db.len()), (2, 2));
        assert_eq!(db.ttl(b"b").unwrap(), Some(Ttl::Remaining(Duration::from_secs(60))));
    });
}

#[test]
fn a_segment_that_is_full_to_the_byte_may_be_compacted_before_the_next_append() {
    // Segment header, the record of a key and a value of one byte each, and the header and key of the other record.
    let value = vec![b'v'; (64 << 10) - 4096 - 40 - 33];
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let db = Options::new().segment_bytes(64 << 10).clock(clock.clone()).in_memory().unwrap();
    let ttl = |seconds| SetOptions::new().ttl(Duration::from_secs(seconds));
    db.set_with(b"a", b"1", ttl(1)).unwrap();
    db.set_with(b"b", &value, ttl(100)).unwrap();
    clock.advance(Duration::from_secs(2));
    let begun = std::time::Instant::now();
    while db.stats().unwrap().reclaimed_bytes == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the full segment is never compacted");
        db.sweep().unwrap();
        db.compact().unwrap();
    }
    // Notes the time in the active segment, which must still be mapped.
    clock.advance(Duration::from_secs(200));
    assert_eq!(db.get(b"b").unwrap(), None);
    assert_eq!(db.increment(b"b", 1).unwrap(), 1);
}

#[test]
fn an_owned_pin_reads_on_after_its_store_is_gone() {
    both(|db, _| {
        db.set(b"k", b"v").unwrap();
        let pin = db.pin_owned().unwrap();
        db.close().unwrap();
        assert!(matches!(db.check_open(), Err(Error::Closed)));
        assert_eq!(pin.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    });
    let db = Db::in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    let pin = db.pin_owned().unwrap();
    drop(db);
    assert_eq!(pin.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_store_opens_on_a_small_stack() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let small = std::thread::Builder::new().stack_size(256 << 10);
    let opened = small.spawn(move || {
        let db = Db::open(&path).unwrap();
        db.set(b"k", b"v").unwrap();
        let reader = Options::new().mode(kv::OpenMode::ReadOnly).open(&path).unwrap();
        assert_eq!(reader.get(b"k").unwrap(), db.get(b"k").unwrap());
        db.close().unwrap();
        Db::open(&path).unwrap().get(b"k").unwrap()
    });
    assert_eq!(opened.unwrap().join().unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_sweep_sees_what_was_written_just_before_it() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let ttl = SetOptions::new().ttl(Duration::from_millis(1));
    let missed = |writes: usize| {
        // A store's log thread begins with a long round: it prepares a segment.
        let db = Options::new().clock(clock.clone()).in_memory().unwrap();
        for n in 0..writes {
            db.set_with(&n.to_le_bytes(), b"v", ttl).unwrap();
        }
        clock.advance(Duration::from_millis(1));
        db.sweep().unwrap();
        db.len()
    };
    assert_eq!((0..1000).map(|round| missed(1 + round % 40)).sum::<usize>(), 0);
}
