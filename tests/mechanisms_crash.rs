//! Each mechanism that keeps a promise over a crash is taken out, and the loss is seen.

use kv::testing::{leave_hole, leave_open_batch, leave_pending, on, Call, Choice, Fault, Faults, SimDisk};
use kv::{Db, Error, Options, Sync};
use std::sync::{Arc, Mutex};

const DIR: &str = "store";

fn options(disk: &Arc<SimDisk>, sync: Sync) -> Options {
    on(Options::new().sync(sync).segment_bytes(64 << 10).background(false), disk)
}

fn key(n: u32) -> Vec<u8> {
    format!("key-{n:04}").into_bytes()
}

/// Synced entries are overwritten, the log is compacted, and power is lost. How many entries are left.
fn entries_left_after_compaction(faults: Faults) -> usize {
    const ENTRIES: u32 = 400;
    let disk = SimDisk::new();
    let db = options(&disk, Sync::Never).faults(faults).open(DIR).unwrap();
    // Enough for several segments: all but the last are sealed.
    for n in 0..ENTRIES {
        db.set(&key(n), &[1; 600]).unwrap();
    }
    db.sync().unwrap();
    for n in 0..ENTRIES {
        db.set(&key(n), &[2; 20]).unwrap();
    }
    db.compact().unwrap();
    // The names are written, what is in memory only is not.
    let image = disk.image(Choice::NamesWithoutData, 1);
    db.abandon();
    let db = match options(&image, Sync::Never).open(DIR) {
        Ok(db) => db,
        Err(Error::Corrupt { .. }) => return 0,
        Err(error) => panic!("{error}"),
    };
    (0..ENTRIES).filter(|n| db.get(&key(*n)).unwrap().is_some()).count()
}

#[test]
fn victims_go_only_after_what_outdates_them_is_on_disk() {
    assert_eq!(entries_left_after_compaction(Faults::default()), 400);
    let left = entries_left_after_compaction(Faults::default().with(Fault::UnlinkBeforeSync));
    assert!(left < 400, "the loss was not seen: {left} entries left");
}

/// A thread dies between its reservation and its record, others go on, and the process dies. Whether what the others wrote
/// is there.
fn is_there_behind_a_hole(faults: Faults, hole: impl Fn(&Db)) -> bool {
    let disk = SimDisk::new();
    let db = options(&disk, Sync::Never).faults(faults).open(DIR).unwrap();
    db.set(b"before", b"1").unwrap();
    hole(&db);
    db.set(b"after", b"2").unwrap();
    let mut batch = kv::Batch::new();
    batch.set("a", "3").set("b", "4");
    db.apply(&batch).unwrap();
    db.abandon();
    drop(db);
    let db = match options(&disk, Sync::Never).faults(faults).open(DIR) {
        Ok(db) => db,
        Err(Error::Corrupt { .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(db.get(b"pending").unwrap(), None, "never acknowledged");
    assert_eq!(db.get(b"before").unwrap().as_deref(), Some(&b"1"[..]));
    let found = db.get_many(&["after", "a", "b"]).unwrap();
    let found: Vec<_> = found.iter().map(Option::as_deref).collect();
    found == [Some(&b"2"[..]), Some(b"3"), Some(b"4")]
}

#[test]
fn records_behind_one_that_was_never_filled_are_found() {
    for bytes in [32, 40, 4096, 20_000] {
        assert!(is_there_behind_a_hole(Faults::default(), |db| leave_hole(db, bytes)), "{bytes}");
    }
    let without = Faults::default().with(Fault::NoResyncOverHoles);
    assert!(!is_there_behind_a_hole(without, |db| leave_hole(db, 40)), "the loss was not seen");
}

#[test]
fn records_behind_one_that_was_never_decided_are_found_and_that_one_is_dropped() {
    let pending = |db: &Db| assert!(leave_pending(db, b"pending", b"x"));
    assert!(is_there_behind_a_hole(Faults::default(), pending));
}

#[test]
fn members_of_a_batch_that_was_never_finished_do_not_count() {
    let open_batch = |db: &Db| assert!(leave_open_batch(db, b"pending", b"x"));
    assert!(is_there_behind_a_hole(Faults::default(), open_batch));
}

/// A store goes on after a crash that left a hole; what it then acknowledges as synced must survive a loss of power.
fn survives_power_loss_after_a_crash(faults: Faults) -> bool {
    let disk = SimDisk::new();
    let db = options(&disk, Sync::Never).open(DIR).unwrap();
    db.set(b"first", b"1").unwrap();
    leave_hole(&db, 64);
    db.set(b"second", b"2").unwrap();
    db.abandon();
    drop(db);
    let db = options(&disk, Sync::Always).faults(faults).open(DIR).unwrap();
    db.set(b"third", b"3").unwrap();
    let image = disk.image(Choice::Nothing, 1);
    db.abandon();
    let db = match options(&image, Sync::Never).open(DIR) {
        Ok(db) => db,
        Err(Error::Corrupt { .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    let found = db.get_many(&["first", "second", "third"]).unwrap();
    let found: Vec<_> = found.iter().map(Option::as_deref).collect();
    found == [Some(&b"1"[..]), Some(b"2"), Some(b"3")]
}

#[test]
fn an_old_tail_is_rewritten_not_appended_to() {
    assert!(survives_power_loss_after_a_crash(Faults::default()));
    let without = Faults::default().with(Fault::OldTailReused);
    assert!(!survives_power_loss_after_a_crash(without), "the loss was not seen");
}

/// A sync fails, the store is opened again by another process, and power is lost in that opening: what the first one
/// wrote may be in the system's memory only, so what the opening writes over must not be all that is on the disk.
#[test]
fn power_lost_in_the_opening_after_a_sync_that_failed_loses_nothing_acknowledged() {
    const KEYS: u32 = 120;
    let mut images = 0;
    for failing in 0.. {
        let disk = SimDisk::new();
        let db = options(&disk, Sync::Never).open(DIR).unwrap();
        disk.fail(Call::Sync, libc::EIO, failing, 1);
        let mut synced = 0;
        for round in 1..=3u8 {
            let wrote = (0..KEYS).try_for_each(|n| db.set(&key(n), &[round; 400]));
            if wrote.and_then(|()| db.sync()).is_ok() {
                synced = round;
            }
            let _ = db.compact();
        }
        let has_failed = disk.failed() > 0;
        db.abandon();
        drop(db);
        if !has_failed {
            assert!(failing > 10 && images > 1000, "{failing} syncs, {images} images");
            return;
        }
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (into, of) = (Arc::clone(&taken), Arc::downgrade(&disk));
        disk.watch(move |call, _| {
            if let (Call::Write | Call::Sync | Call::Rename | Call::SyncDir, Some(disk)) =
                (call, of.upgrade())
            {
                let all = Choice::ALL.map(|choice| (choice, disk.lose_power(choice, failing)));
                into.lock().unwrap().extend(all);
            }
        });
        let db = options(&disk, Sync::Never).open(DIR).unwrap();
        disk.unwatch();
        db.abandon();
        for (choice, image) in taken.lock().unwrap().drain(..) {
            images += 1;
            let told = format!("sync {failing} failed, then {choice:?}");
            let db = options(&image.start(), Sync::Never).open(DIR);
            let db = db.unwrap_or_else(|error| panic!("{told}: {error}\n{image:?}"));
            for n in 0..KEYS {
                let found = db.get(&key(n)).unwrap().map_or(0, |value| value[0]);
                assert!(found >= synced, "{told}: key {n} is of round {found}, {synced} was synced");
            }
        }
    }
}

/// The makers of a store die at each call in turn; whoever comes next finds what they left, and syncs it too: the name of a
/// directory that is there may never have been synced.
#[test]
fn what_is_acknowledged_as_synced_is_there_wherever_the_maker_of_the_store_died() {
    for dir in [DIR, "new/directories/above/it"] {
        let disk = SimDisk::new();
        let deaths = Arc::new(Mutex::new(Vec::new()));
        let (into, of) = (Arc::clone(&deaths), Arc::downgrade(&disk));
        disk.watch(move |call, moment| {
            if let Some(disk) = of.upgrade() {
                into.lock().unwrap().push((call, moment, disk.copy()));
            }
        });
        options(&disk, Sync::Always).open(dir).unwrap().abandon();
        disk.unwatch();
        let deaths = std::mem::take(&mut *deaths.lock().unwrap());
        assert!(deaths.iter().any(|(call, ..)| *call == Call::CreateDir), "no death beside a new directory");
        for (call, moment, left) in deaths {
            let db = options(&left, Sync::Always).open(dir).unwrap();
            db.set(b"key", b"value").unwrap();
            for choice in [Choice::Nothing, Choice::DataWithoutNames] {
                let after = options(&left.image(choice, 1), Sync::Never).open(dir).unwrap();
                let found = after.get(b"key").unwrap();
                assert_eq!(
                    found.as_deref(),
                    Some(&b"value"[..]),
                    "death {moment:?} {call:?} of {dir}, then {choice:?}"
                );
            }
            db.abandon();
        }
    }
}
