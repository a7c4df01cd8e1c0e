//! The whole engine under a scheduler that decides which thread runs after each access to an atomic, lock or guard: writers,
//! readers, the log thread, the maintenance thread and whoever closes the store.
//!
//! `KV_SHUTTLE_ITERATIONS` changes how many schedules each test runs. A schedule that fails is named by its block's seed:
//! `KV_SHUTTLE_SEED` begins with that block, and does the same again.

// What these modules and the tests ask of the standard library is the scheduler's too.
#[macro_use]
extern crate scheduled_std as std;

#[path = "../../support/history.rs"]
#[allow(dead_code)] // Its traffic goes on for as long as a history; here it has an end.
mod history;
#[path = "../../support/journal.rs"]
#[allow(dead_code)] // Cutting calls off is for histories that processes die in.
mod journal;
#[path = "../../support/register.rs"]
mod register;
#[path = "../../support/wgl.rs"]
#[allow(dead_code)] // Other tests count the calls at the same time.
mod wgl;
#[path = "../../support/words.rs"]
#[allow(dead_code)] // Words in files are for processes.
mod words;

mod explore;

use explore::{below, explore, finds, repeats};
use history::{record, Mix, Plan};
use kv::testing::{on, Choice, Fault, Faults, SimDisk};
use kv::{Batch, Db, Error, ManualClock, Options, SetOptions, Sync};
use register::Key;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wgl::is_linearizable;

const SEGMENT_BYTES: u64 = 64 << 10;
const EPOCH_MS: u64 = 1_700_000_000_000;
const PATH: &str = "/store";
/// Eight of them fill a segment.
const PADDING: [u8; 8000] = [b'p'; 8000];

/// A store on a disk in memory, and its clock.
struct Scene {
    disk: Arc<SimDisk>,
    clock: Arc<ManualClock>,
    faults: Faults,
    sync: Sync,
}

impl Scene {
    fn new(fault: Option<Fault>, sync: Sync) -> Scene {
        let faults = fault.map_or(Faults::default(), |fault| Faults::default().with(fault));
        Scene { disk: SimDisk::new(), clock: Arc::new(ManualClock::new(EPOCH_MS)), faults, sync }
    }

    fn options(&self) -> Options {
        Options::new()
            .segment_bytes(SEGMENT_BYTES)
            .sync(self.sync)
            .clock(self.clock.clone())
            .faults(self.faults)
    }

    fn open(&self) -> Db {
        self.open_on(&self.disk)
    }

    fn open_on(&self, disk: &Arc<SimDisk>) -> Db {
        on(self.options(), disk).open(Path::new(PATH)).unwrap()
    }

    /// What a process finds that opens the store after this one died.
    fn after_death(&self, db: &Db) -> BTreeMap<Vec<u8>, Vec<u8>> {
        db.abandon();
        let db = self.open();
        let found = entries(&db);
        db.close().unwrap();
        found
    }
}

fn entries(db: &Db) -> BTreeMap<Vec<u8>, Vec<u8>> {
    db.scan(kv::ScanOptions::new()).unwrap().map(|entry| entry.unwrap()).map(|e| (e.key, e.value)).collect()
}

/// Fills and rolls the log, over keys of its own.
fn roll(db: &Db, records: u64) {
    for n in 0..records {
        db.set(&[b'r', n as u8 % 3], &PADDING).unwrap();
    }
}

/// Whether a call was refused because the store has ended. One that dies calls itself closed, and then broken: a call may have
/// looked for the first before and for the second after.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::Closed | Error::SyncFailed { .. })
}

/// Lets others go ahead for a while.
fn pass_turns(turns_max: u64) {
    (0..below(turns_max)).for_each(|_| std::thread::yield_now());
}

/// P1: a history of calls on one or two keys, while the log rolls, is compacted, and time passes.
fn history(mix: Mix, fault: Option<Fault>) {
    let scene = Scene::new(fault, Sync::Never);
    let db = if below(2) == 0 { scene.open() } else { scene.options().in_memory().unwrap() };
    let plan = Plan { threads: 3 + below(3) as usize, keys: 1 + below(2) as usize, mix };
    let seed = below(u64::MAX);
    let keys = std::thread::scope(|scope| {
        scope.spawn(|| roll(&db, 20));
        scope.spawn(|| (0..2).for_each(|_| db.compact().unwrap()));
        scope.spawn(|| {
            for _ in 0..20 {
                pass_turns(100);
                scene.clock.advance(Duration::from_millis(1));
            }
        });
        // By a thread of its own: shuttle ends a scope within a scope when the outer one's threads have ended.
        let recorder = scope.spawn(|| record(&db, &scene.clock, &plan, "key-", seed));
        recorder.join().unwrap()
    });
    for calls in &keys {
        assert!(is_linearizable::<Key>(calls), "not linearizable: {calls:?}");
    }
}

#[test]
fn p1_histories_are_linearizable_while_the_log_rolls_and_compacts() {
    explore(|| history(Mix::Everything, None));
}

#[test]
fn a_seed_does_the_same_again() {
    repeats(|| history(Mix::Everything, None));
}

#[test]
fn p1_a_blind_write_that_calls_itself_overwritten_is_found_i2() {
    let fault = Fault::BlindWriteCallsItselfOverwritten;
    finds("not linearizable", move || history(Mix::SetsAndIncrements, Some(fault)));
}

/// I5: one thread finds an entry expired while another makes it stay.
fn expiry_against_persist(fault: Option<Fault>) {
    let scene = Scene::new(fault, Sync::Never);
    let db = scene.open();
    db.set_with(b"key", b"expires", SetOptions::new().ttl(Duration::from_millis(1))).unwrap();
    let (is_absent, is_persisted) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            pass_turns(3);
            scene.clock.advance(Duration::from_millis(1));
            db.get(b"key").unwrap().is_none()
        });
        let keeper = scope.spawn(|| db.persist(b"key").unwrap());
        (reader.join().unwrap(), keeper.join().unwrap())
    });
    assert_ne!(is_absent, is_persisted, "gone and kept, or neither");
    assert_eq!(db.contains(b"key").unwrap(), is_persisted);
    db.close().unwrap();
}

#[test]
fn p4_an_entry_that_was_seen_expired_is_not_brought_back_i5() {
    explore(|| expiry_against_persist(None));
}

#[test]
fn p4_an_expired_record_that_is_called_absent_and_not_tagged_is_found_i5() {
    finds("gone and kept", || expiry_against_persist(Some(Fault::ExpiredNotTagged)));
}

/// One write of any kind to one of a few keys.
fn write_anything(db: &Db, thread: u64, step: u64) {
    let key = |n: u64| vec![b'k', n as u8];
    let value = [thread as u8, step as u8];
    match below(9) {
        0..=2 => drop(db.set(&key(below(3)), &value).unwrap()),
        3 => drop(db.delete(&key(below(3))).unwrap()),
        4 => drop(db.take(&key(below(3))).unwrap()),
        5 => drop(db.add(&key(below(3)), &value).unwrap()),
        6 => {
            let soon = SetOptions::new().ttl(Duration::from_millis(1 + below(3)));
            db.set_with(&key(below(3)), &value, soon).unwrap();
        }
        7 => drop(db.persist(&key(below(3))).unwrap()),
        _ => drop(db.delete(&key(below(3))).unwrap()),
    }
}

/// P2, P4: what is read once all calls have returned is what the next process finds, whatever ran beside each other.
fn what_is_read_is_what_recovers(fault: Option<Fault>) {
    let scene = Scene::new(fault, Sync::Never);
    let db = scene.open();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let db = &db;
            scope.spawn(move || (0..6).for_each(|step| write_anything(db, thread, step)));
        }
        scope.spawn(|| roll(&db, 18));
        scope.spawn(|| (0..2).for_each(|_| db.compact().unwrap()));
        scope.spawn(|| db.clear().unwrap());
        scope.spawn(|| {
            scene.clock.advance(Duration::from_millis(2));
            db.sweep().unwrap();
        });
    });
    let read = entries(&db);
    assert_eq!(db.len(), read.len(), "the count of entries is off");
    assert_eq!(scene.after_death(&db), read, "recovery finds something else");
}

#[test]
fn p2_p4_what_is_read_after_writes_clear_expiry_and_compaction_is_what_recovers() {
    explore(|| what_is_read_is_what_recovers(None));
}

#[test]
fn p2_a_clear_that_does_not_wait_for_writers_below_it_is_found_i14() {
    finds("recovery finds something else", || what_is_read_is_what_recovers(Some(Fault::ClearWithoutGrace)));
}

/// I13: after a death both members of a batch are there or none, while the log rolls and is compacted.
#[test]
fn p2_a_batch_is_whole_after_a_death_beside_compaction_i13() {
    explore(|| {
        let scene = Scene::new(None, Sync::Never);
        let db = scene.open();
        let whole = |at: &BTreeMap<Vec<u8>, Vec<u8>>, thread: u8| {
            let (a, b) = (at.get(&vec![b'a', thread]), at.get(&vec![b'b', thread]));
            assert_eq!(a, b, "half of a batch");
            a.map_or(0, |value| value[0])
        };
        let acknowledged = std::thread::scope(|scope| {
            let write = |thread: u8| {
                let db = &db;
                scope.spawn(move || {
                    for n in 1..=5 {
                        let mut batch = Batch::new();
                        let value = [&[n][..], &PADDING[..3000]].concat();
                        batch.set(vec![b'a', thread], value.clone()).set(vec![b'b', thread], value);
                        match db.apply(&batch) {
                            Ok(_) => {}
                            Err(error) if is_end(&error) => return n - 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    5
                })
            };
            let writers = [write(0), write(1)];
            scope.spawn(|| (0..3).for_each(|_| drop(db.compact())));
            scope.spawn(|| {
                pass_turns(200);
                db.abandon();
            });
            writers.map(|writer| writer.join().unwrap())
        });
        let found = scene.after_death(&db);
        for thread in [0, 1] {
            assert!(
                whole(&found, thread) >= acknowledged[usize::from(thread)],
                "an acknowledged batch is lost"
            );
        }
    });
}

/// Writers with a key each go on until the store closes under them; what each was told stands in the result.
fn write_until_closed(db: &Db, thread: u8) -> u64 {
    for n in 1..=12u64 {
        match db.set(&[thread], &n.to_le_bytes()) {
            Ok(_) => {}
            Err(error) if is_end(&error) => return n - 1,
            Err(error) => panic!("{error}"),
        }
    }
    12
}

fn assert_kept(db: &Db, acknowledged: &[u64]) {
    for (thread, acknowledged) in acknowledged.iter().enumerate() {
        let value = db.get(&[thread as u8]).unwrap();
        let found = value.map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()));
        assert!((*acknowledged..=acknowledged + 1).contains(&found), "{found} after {acknowledged}");
    }
}

/// P2: a process dies beside calls.
fn death_beside_calls(fault: Option<Fault>) {
    let scene = Scene::new(fault, Sync::Never);
    let db = scene.open();
    let acknowledged = std::thread::scope(|scope| {
        let db = &db;
        let writers = [0, 1, 2].map(|thread| scope.spawn(move || write_until_closed(db, thread)));
        scope.spawn(|| drop(db.compact()));
        scope.spawn(|| {
            pass_turns(300);
            db.abandon();
        });
        writers.map(|writer| writer.join().unwrap())
    });
    let db = scene.open();
    assert_kept(&db, &acknowledged);
    db.close().unwrap();
}

#[test]
fn p2_a_death_beside_calls_loses_nothing_acknowledged() {
    explore(|| death_beside_calls(None));
}

#[test]
fn p2_a_write_that_is_acknowledged_while_pending_is_found_i2() {
    finds(" after ", || death_beside_calls(Some(Fault::AcknowledgedPending)));
}

#[test]
fn p2_a_close_beside_calls_keeps_what_was_acknowledged_and_ends() {
    explore(|| {
        let scene = Scene::new(None, [Sync::Never, Sync::Always][below(2) as usize]);
        let db = scene.open();
        let acknowledged = std::thread::scope(|scope| {
            let db = &db;
            let writers = [0, 1, 2].map(|thread| scope.spawn(move || write_until_closed(db, thread)));
            scope.spawn(|| {
                for _ in 0..4 {
                    match db.compact() {
                        Ok(()) => {}
                        Err(Error::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            scope.spawn(|| assert!(matches!(db.clear(), Ok(()) | Err(Error::Closed))));
            scope.spawn(|| {
                pass_turns(300);
                db.close().unwrap();
            });
            writers.map(|writer| writer.join().unwrap())
        });
        db.close().unwrap();
        drop(db);
        let db = scene.open();
        // A clear may have come last; whatever is there is the last that was acknowledged, or the one cut off.
        for (thread, acknowledged) in acknowledged.iter().enumerate() {
            if db.contains(&[thread as u8]).unwrap() {
                let value = db.get(&[thread as u8]).unwrap().unwrap();
                let found = u64::from_le_bytes(value.try_into().unwrap());
                assert!(found == *acknowledged, "{found} after {acknowledged}");
            }
        }
        db.close().unwrap();
    });
}

/// P3: with group commit, power may be lost once the calls have returned.
#[test]
fn p3_what_a_group_commit_has_acknowledged_survives_a_loss_of_power() {
    explore(|| {
        let scene = Scene::new(None, Sync::Always);
        let db = scene.open();
        let acknowledged = std::thread::scope(|scope| {
            let db = &db;
            let writers = [0, 1, 2].map(|thread| scope.spawn(move || write_until_closed(db, thread)));
            scope.spawn(|| roll(db, 9));
            scope.spawn(|| db.compact().unwrap());
            writers.map(|writer| writer.join().unwrap())
        });
        let lost = scene.disk.image(Choice::Nothing, 0);
        db.close().unwrap();
        let db = scene.open_on(&lost);
        assert_kept(&db, &acknowledged);
        db.close().unwrap();
    });
}

/// I8: what is read under a pin stays, while its segment is compacted away.
#[test]
fn p5_what_is_read_under_a_pin_stays_while_the_log_turns_over() {
    explore(|| {
        let scene = Scene::new(None, Sync::Never);
        let db = scene.open();
        db.set(b"key", &PADDING).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    let pin = db.pin().unwrap();
                    let value = pin.get(b"key").unwrap().unwrap();
                    let version = value.version();
                    pass_turns(100);
                    assert!(
                        value.iter().all(|byte| *byte == PADDING[0]),
                        "the value of {version} has changed"
                    );
                }
            });
            scope.spawn(|| {
                roll(&db, 18);
                db.set(b"key", &PADDING).unwrap();
            });
            scope.spawn(|| (0..3).for_each(|_| db.compact().unwrap()));
        });
        db.close().unwrap();
    });
}
