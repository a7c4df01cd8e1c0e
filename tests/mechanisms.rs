//! Each mechanism is needed: the same schedule keeps the promise with it and breaks the promise without it.

#[path = "support/gate.rs"]
mod gate;

use gate::{until, Gate};
use kv::testing::{Fault, Faults, Point};
use kv::{Db, ManualClock, Options, SetOptions, Sync};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SEGMENT_BYTES: u64 = 64 << 10;
const PADDING: [u8; 4000] = [b'p'; 4000];
const KEY: &[u8] = b"key";

struct Scene {
    clock: Arc<ManualClock>,
    gate: Arc<Gate>,
    faults: Faults,
}

impl Scene {
    fn new(faults: Faults) -> Scene {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        Scene { clock, gate: Arc::new(Gate::default()), faults }
    }

    /// Nothing is compacted before a scene asks.
    fn options(&self) -> Options {
        Options::new()
            .segment_bytes(SEGMENT_BYTES)
            .sync(Sync::Never)
            .background(false)
            .clock(self.clock.clone())
            .hooks(self.gate.hooks())
            .faults(self.faults)
    }

    fn in_memory(&self) -> Db {
        self.options().in_memory().unwrap()
    }

    fn open(&self, path: &Path) -> Db {
        self.options().open(path).unwrap()
    }
}

/// Fails unless `is_broken` says no with every mechanism and yes without the one.
fn assert_needed(fault: Fault, is_broken: impl Fn(&Scene) -> bool) {
    assert!(!is_broken(&Scene::new(Faults::default())), "the promise is broken with {fault:?} off");
    assert!(is_broken(&Scene::new(Faults::default().with(fault))), "nobody notices {fault:?}");
}

/// The segment of the tail that `KEY`'s padding stands in, by number.
fn tail(db: &Db, key: &[u8]) -> u64 {
    db.version(key).unwrap().unwrap() / SEGMENT_BYTES
}

/// Fills the tail's segment with entries that live, until the log goes on in the next and this one is sealed.
fn fill_with_what_lives(db: &Db) {
    fill(db, |n| format!("cold-{n}"));
}

/// As above, with one entry again and again.
fn fill_with_garbage(db: &Db) {
    fill(db, |_| "hot".into());
}

fn fill(db: &Db, key: impl Fn(u32) -> String) {
    db.set(key(0).as_bytes(), &PADDING).unwrap();
    let first = tail(db, key(0).as_bytes());
    for n in 1.. {
        db.set(key(n).as_bytes(), &PADDING).unwrap();
        if tail(db, key(n).as_bytes()) > first {
            break;
        }
    }
    // What goes on is the log thread's: it answers once it has sealed.
    db.stats().unwrap();
}

/// Lets all masks leave the index: the second sweep is answered after the first one's masks have left.
fn forget_masks(db: &Db) {
    let masked = |db: &Db| db.stats().unwrap().index_entries > db.len() as u64;
    until("masks leave the index", || {
        db.sweep().unwrap();
        !masked(db)
    });
}

/// Lets the picker take what is mostly garbage, and leave what mostly lives.
fn compact_garbage(db: &Db) {
    fill_with_garbage(db);
    fill_with_garbage(db);
    fill_with_garbage(db);
    let before = db.stats().unwrap().compactions;
    db.resume().unwrap();
    until("a compaction", || db.stats().unwrap().compactions > before);
    db.pause().unwrap();
}

/// What stands for `KEY` after the process has died and the store was opened again.
fn after_crash(scene: &Scene, db: &Db, path: &Path) -> Option<Vec<u8>> {
    db.abandon();
    scene.open(path).get(KEY).unwrap()
}

#[test]
fn p4_a_deleted_value_stays_hidden_by_its_tombstone_while_older_segments_stand_i6() {
    assert_needed(Fault::TombstonesDroppedEarly, |scene| {
        let dir = tempfile::tempdir().unwrap();
        let db = scene.open(dir.path());
        db.set(KEY, b"deleted").unwrap();
        fill_with_what_lives(&db);
        assert!(db.delete(KEY).unwrap());
        forget_masks(&db);
        compact_garbage(&db);
        assert_eq!(db.get(KEY).unwrap(), None);
        after_crash(scene, &db, dir.path()).is_some()
    });
}

#[test]
fn p4_an_expired_value_goes_on_hiding_the_one_that_it_replaced_i6() {
    assert_needed(Fault::ExpiredDroppedWithoutMask, |scene| {
        let dir = tempfile::tempdir().unwrap();
        let db = scene.open(dir.path());
        db.set(KEY, b"replaced").unwrap();
        fill_with_what_lives(&db);
        db.set_with(KEY, b"expires", SetOptions::new().ttl(Duration::from_secs(1))).unwrap();
        scene.clock.advance(Duration::from_secs(2));
        forget_masks(&db);
        compact_garbage(&db);
        assert_eq!(db.get(KEY).unwrap(), None);
        after_crash(scene, &db, dir.path()).is_some()
    });
}

#[test]
fn p4_a_compaction_copies_nothing_that_a_writer_below_it_deletes_i9() {
    assert_needed(Fault::VictimsWithoutGrace, |scene| {
        let dir = tempfile::tempdir().unwrap();
        let db = scene.open(dir.path());
        db.set(KEY, b"deleted").unwrap();
        db.set(b"hot", b"").unwrap();
        fill_with_what_lives(&db);
        db.set(b"hot", b"").unwrap();
        forget_masks(&db);
        // The tombstone has its place in the log, below the compaction, and is published when that waits.
        std::thread::scope(|scope| {
            let deletes = scene.gate.hold(scope, Point::Reserved, || db.delete(KEY).unwrap());
            db.compact().unwrap();
            assert!(deletes.join().unwrap());
        });
        assert_eq!(db.get(KEY).unwrap(), None);
        forget_masks(&db);
        // What was copied is younger than the tombstone, which therefore seems to hide nothing.
        compact_garbage(&db);
        after_crash(scene, &db, dir.path()).is_some()
    });
}

#[test]
fn p2_a_set_that_clear_let_live_survives_a_crash_i14() {
    assert_needed(Fault::ClearWithoutGrace, |scene| {
        let dir = tempfile::tempdir().unwrap();
        let db = scene.open(dir.path());
        std::thread::scope(|scope| {
            let sets = scene.gate.hold(scope, Point::Reserved, || db.set(KEY, b"beside a clear").unwrap());
            db.clear().unwrap();
            scene.gate.open();
            sets.join().unwrap();
        });
        let before = db.get(KEY).unwrap();
        before != after_crash(scene, &db, dir.path())
    });
}

#[test]
fn p1_an_entry_that_a_reader_saw_expired_is_not_brought_back_i5() {
    assert_needed(Fault::ExpiredNotTagged, |scene| {
        let db = scene.in_memory();
        db.set_with(KEY, b"expires", SetOptions::new().ttl(Duration::from_secs(1))).unwrap();
        std::thread::scope(|scope| {
            let persists = scene.gate.hold(scope, Point::Reserved, || db.persist(KEY).unwrap());
            scene.clock.advance(Duration::from_secs(2));
            assert_eq!(db.get(KEY).unwrap(), None);
            scene.gate.open();
            let persisted = persists.join().unwrap();
            assert_eq!(persisted, db.contains(KEY).unwrap());
            persisted
        })
    });
}

#[test]
fn p1_a_blind_set_that_meets_a_newer_record_takes_place_after_it_i2() {
    assert_needed(Fault::BlindWriteCallsItselfOverwritten, |scene| {
        let db = scene.in_memory();
        db.set(KEY, b"5").unwrap();
        std::thread::scope(|scope| {
            let sets = scene.gate.hold(scope, Point::Reserved, || db.set(KEY, b"100").unwrap());
            assert_eq!(db.increment(KEY, 1).unwrap(), 6);
            scene.gate.open();
            sets.join().unwrap();
        });
        db.get(KEY).unwrap().as_deref() != Some(b"100")
    });
}

/// Set in a child: what it leaves out.
const CHILD: &str = "KV_TEST_READS_UNDER_A_PIN";

#[test]
fn p5_a_pinned_value_stays_readable_while_its_segment_is_compacted_away_i8() {
    if let Ok(fault) = std::env::var(CHILD) {
        let fault = Some(Fault::NoGraceBeforeUnmap).filter(|_| fault == "without grace");
        read_under_a_pin(&Scene::new(fault.map_or(Faults::default(), |fault| Faults::default().with(fault))));
        return;
    }
    let child = |fault: &str| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "p5_a_pinned_value_stays_readable_while_its_segment_is_compacted_away_i8"])
            .env(CHILD, fault)
            .output()
            .unwrap()
    };
    let sound = child("with grace");
    assert!(sound.status.success(), "{sound:?}");
    assert!(String::from_utf8_lossy(&sound.stdout).contains("1 passed"), "the child ran nothing: {sound:?}");
    // A fault at the address, or what another mapping holds there by now.
    assert!(!child("without grace").status.success(), "nobody notices that the segment went");
}

/// Pins a value after the compaction's own grace period, and reads it when its segment may be gone.
fn read_under_a_pin(scene: &Scene) {
    let db = &scene.in_memory();
    db.set(KEY, &PADDING).unwrap();
    db.set(b"hot", b"").unwrap();
    fill_with_what_lives(db);
    db.set(b"hot", b"").unwrap();
    forget_masks(db);
    let gate = &scene.gate;
    std::thread::scope(|scope| {
        // The maintenance thread itself is held, in front of the first record that it would move.
        gate.hold_maintenance(Point::Rewriting);
        let compacts = scope.spawn(|| {
            db.compact().unwrap();
            gate.nobody_waits();
        });
        gate.wait_arrived();
        let pin = db.pin().unwrap();
        let value = pin.get(KEY).unwrap().unwrap();
        gate.open();
        // The first wait is for the log; the second for this pin, unless nobody asks for it.
        gate.wait_for_waits(2);
        assert!(value.iter().all(|byte| *byte == b'p'), "the value has changed under the pin");
        drop(pin);
        compacts.join().unwrap();
    });
}
