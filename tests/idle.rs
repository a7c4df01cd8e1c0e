//! Entries that nobody uses, times to live that differ, and what a listener is told of values that go.

use kv::{Batch, Cause, Db, Expiry, ManualClock, Options, ScanOptions, SetOptions, Sync, Ttl};
use std::collections::BTreeSet;
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::Duration;

const START_MS: u64 = 1_700_000_000_000;
const IDLE: Duration = Duration::from_secs(10);
/// By when an entry is gone whose time ends: a tick late, and never early.
const LATE: Duration = Duration::from_millis(300);

type Events = Receiver<(Vec<u8>, Vec<u8>, Cause)>;

fn options(clock: &Arc<ManualClock>) -> Options {
    Options::new().segment_bytes(64 << 10).sync(Sync::Never).clock(clock.clone()).time_to_idle(Some(IDLE))
}

fn hearing(options: Options) -> (Options, Events) {
    let (sender, events) = channel();
    let listener = move |event: &kv::Event| {
        let _ = sender.send((event.key.clone(), event.value.clone(), event.cause));
    };
    (options.listener(listener), events)
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START_MS))
}

fn heard(events: &Events) -> (Vec<u8>, Vec<u8>, Cause) {
    events.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn an_entry_that_nobody_uses_goes_and_each_use_begins_its_time_anew() {
    let uses: [fn(&Db); 6] = [
        |db| assert!(db.get(b"used").unwrap().is_some()),
        |db| assert!(db.get_with(b"used", |_| ()).unwrap().is_some()),
        |db| assert!(db.get_many(&["used"]).unwrap()[0].is_some()),
        |db| db.set(b"used", b"0").unwrap(),
        |db| assert!(db.increment(b"used", 1).is_ok()),
        |db| assert!(db.get_with_metadata(b"used").unwrap().is_some()),
    ];
    for dir in [None, Some(tempfile::tempdir().unwrap())] {
        let clock = clock();
        let open = || match &dir {
            None => options(&clock).in_memory().unwrap(),
            Some(dir) => options(&clock).open(dir.path()).unwrap(),
        };
        let db = open();
        db.set(b"used", b"0").unwrap();
        for each in uses {
            db.set(b"idle", b"").unwrap();
            db.set(b"looked at", b"").unwrap();
            for _ in 0..3 {
                clock.advance(IDLE / 3);
                each(&db);
            }
            // Not early.
            assert!(db.contains(b"idle").unwrap() && db.ttl(b"looked at").unwrap() == Some(Ttl::Never));
            clock.advance(LATE);
            each(&db);
            assert_eq!(db.get(b"idle").unwrap(), None);
            let found = db.scan(ScanOptions::new().snapshot(true)).unwrap().map(|entry| entry.unwrap().key);
            assert_eq!(found.collect::<Vec<_>>(), [b"used"]);
            let found = db.scan(ScanOptions::new()).unwrap().map(|entry| entry.unwrap().key);
            assert_eq!(found.collect::<Vec<_>>(), [b"used"], "scans and looks are no use");
            assert!(!db.delete(b"idle").unwrap() && db.add(b"idle", b"anew").unwrap());
        }
    }
}

#[test]
fn the_background_removes_what_is_idle_and_it_stays_gone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (options_, events) = hearing(options(&clock));
    let db = options_.open(dir.path()).unwrap();
    (0..500u32).for_each(|n| db.set(&n.to_le_bytes(), &[7; 100]).unwrap());
    let soon = SetOptions::new().expiry(Expiry::After(IDLE / 2));
    db.set_with(b"soon", b"", soon).unwrap();
    clock.advance(IDLE / 2);
    db.sweep().unwrap();
    assert_eq!((db.len(), heard(&events)), (500, (b"soon".to_vec(), b"".to_vec(), Cause::Expired)));
    // Some are moved meanwhile, and take their times along.
    (0..250u32).for_each(|n| assert!(db.get(&n.to_le_bytes()).unwrap().is_some()));
    (0..400u32).for_each(|n| db.set(b"often", &[n as u8; 300]).unwrap());
    db.compact().unwrap();
    assert!(db.stats().unwrap().relocated_bytes > 0);
    clock.advance(IDLE / 2 + LATE);
    db.sweep().unwrap();
    assert_eq!(db.len(), 251, "those that were read stay, and what was written");
    let gone: BTreeSet<_> =
        (0..250).map(|_| heard(&events)).collect::<Vec<_>>().into_iter().map(|e| (e.0, e.1)).collect();
    assert_eq!(gone, (250..500u32).map(|n| (n.to_le_bytes().to_vec(), vec![7; 100])).collect());
    assert_eq!(db.stats().unwrap().expired, 251);
    db.abandon();
    drop(db);
    let db = Options::new().clock(clock.clone()).open(dir.path()).unwrap();
    assert_eq!(db.len(), 251, "also without the option, after a crash");
    drop(db);
    // Times begin anew with an open; what was there before it has a hint too.
    let db = options(&clock).open(dir.path()).unwrap();
    clock.advance(IDLE - LATE);
    db.sweep().unwrap();
    assert_eq!(db.len(), 251);
    assert!(db.get(&0u32.to_le_bytes()).unwrap().is_some());
    clock.advance(2 * LATE);
    db.sweep().unwrap();
    assert_eq!(db.len(), 1);
}

#[test]
fn an_idle_entry_that_was_found_by_a_reader_is_removed_too() {
    let clock = clock();
    let (options, events) = hearing(options(&clock).background(false));
    let dir = tempfile::tempdir().unwrap();
    let db = options.open(dir.path()).unwrap();
    db.set(b"k", b"v").unwrap();
    clock.advance(IDLE + LATE);
    assert_eq!(db.get(b"k").unwrap(), None);
    assert_eq!((heard(&events), db.len()), ((b"k".to_vec(), b"v".to_vec(), Cause::Expired), 0));
    db.sweep().unwrap();
    drop(db);
    assert_eq!(Db::open(dir.path()).unwrap().get(b"k").unwrap(), None, "a tombstone stands for it");
}

#[test]
fn entries_that_are_idle_make_room_in_a_cache() {
    let clock = clock();
    let db = options(&clock).max_entries(Some(100)).in_memory().unwrap();
    (0..100u32).for_each(|n| db.set(&n.to_le_bytes(), b"").unwrap());
    clock.advance(IDLE + LATE);
    db.sweep().unwrap();
    (100..200u32).for_each(|n| db.set(&n.to_le_bytes(), b"").unwrap());
    assert_eq!((db.len(), db.stats().unwrap().evicted), (100, 0));
}

#[test]
fn times_to_live_that_are_asked_for_together_end_apart_and_never_late() {
    let clock = clock();
    let options = || Options::new().clock(clock.clone()).ttl_jitter_percent(20);
    let db = options().default_ttl(Some(Duration::from_secs(100))).in_memory().unwrap();
    let mut ends = BTreeSet::new();
    for n in 0..200u32 {
        let key = n.to_le_bytes();
        match n % 2 {
            0 => db.set(&key, b"").unwrap(),
            _ => {
                let after = SetOptions::new().ttl(Duration::from_secs(100));
                assert!(db.set_with(&key, b"", after).unwrap().is_some());
            }
        }
        let Some(Ttl::Remaining(left)) = db.ttl(&key).unwrap() else { panic!("no end") };
        assert!((80_000..=100_000).contains(&left.as_millis()), "{left:?}");
        ends.insert(left);
    }
    assert!(ends.len() > 150, "{} different", ends.len());
    assert!(ends.first() < Some(&Duration::from_secs(85)) && ends.last() > Some(&Duration::from_secs(95)));
    let at = std::time::UNIX_EPOCH + Duration::from_millis(START_MS + 50_000);
    db.set_with(b"at", b"", SetOptions::new().expiry(Expiry::At(at))).unwrap();
    assert_eq!(
        db.ttl(b"at").unwrap(),
        Some(Ttl::Remaining(Duration::from_secs(50))),
        "a point in time stands"
    );
    let refused = options().ttl_jitter_percent(101).in_memory().unwrap_err().to_string();
    assert_eq!(refused, "option ttl_jitter_percent: 101 percent: must be 0 to 100");
    let refused = Options::new().time_to_idle(Some(Duration::ZERO)).in_memory().unwrap_err().to_string();
    assert_eq!(refused, "option time_to_idle: a time of zero: entries would never be seen");
}

#[test]
fn a_listener_that_asks_for_it_is_told_of_values_that_were_replaced() {
    for asks in [false, true] {
        let (options, events) = hearing(Options::new().listener_replaced(asks));
        let db = options.in_memory().unwrap();
        db.set(b"k", b"1").unwrap();
        db.set(b"k", b"2").unwrap();
        assert!(db.replace(b"k", b"3").unwrap());
        // The value stays.
        assert!(db.expire(b"k", Duration::from_secs(1000)).unwrap() && db.persist(b"k").unwrap());
        assert_eq!(db.increment(b"k", 1).unwrap(), 4);
        db.set_many(&[(b"k", b"5"), (b"l", b"6")]).unwrap();
        assert!(db.delete(b"k").unwrap());
        let told = |value: &[u8], cause| (b"k".to_vec(), value.to_vec(), cause);
        for value in [b"1", b"2", b"3", b"4"].into_iter().filter(|_| asks) {
            assert_eq!(heard(&events), told(value, Cause::Replaced));
        }
        assert_eq!(heard(&events), told(b"5", Cause::Deleted));
    }
}

#[test]
fn what_was_over_when_it_was_overwritten_deleted_or_cleared_is_told_as_expired() {
    let clock = clock();
    let options = Options::new().clock(clock.clone()).listener_replaced(true);
    // A sweep would be the first to find what is over.
    let (options, events) = hearing(options.background(false));
    let db = options.in_memory().unwrap();
    let brief = SetOptions::new().expiry(Expiry::After(Duration::from_secs(1)));
    for key in [b"set", b"del", b"all"] {
        db.set_with(key, b"old", brief).unwrap();
    }
    clock.advance(Duration::from_secs(1));
    db.set(b"set", b"new").unwrap();
    let mut batch = Batch::new();
    batch.delete(b"del");
    db.apply(&batch).unwrap();
    db.delete(b"set").unwrap();
    db.clear().unwrap();
    let told = |key: &[u8], value: &[u8], cause| (key.to_vec(), value.to_vec(), cause);
    assert_eq!(heard(&events), told(b"set", b"old", Cause::Expired));
    assert_eq!(heard(&events), told(b"del", b"old", Cause::Expired));
    assert_eq!(heard(&events), told(b"set", b"new", Cause::Deleted));
    assert_eq!(heard(&events), told(b"all", b"old", Cause::Expired));
}

#[test]
fn what_expires_while_the_store_is_closed_is_told_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let brief = SetOptions::new().expiry(Expiry::After(Duration::from_secs(1)));
    let db = Options::new().clock(clock.clone()).open(dir.path()).unwrap();
    db.set_with(b"closed", b"1", brief).unwrap();
    db.close().unwrap();
    clock.advance(Duration::from_secs(1));
    let (options, events) = hearing(Options::new().clock(clock.clone()));
    let db = options.open(dir.path()).unwrap();
    db.set_with(b"open", b"2", brief).unwrap();
    clock.advance(Duration::from_secs(1));
    db.sweep().unwrap();
    assert_eq!((db.len(), heard(&events)), (0, (b"open".to_vec(), b"2".to_vec(), Cause::Expired)));
    db.close().unwrap();
    assert!(events.try_recv().is_err(), "nothing else is told");
}
