//! Values that are compressed with dictionaries: they come back, wherever their records go, and what a dictionary's loss costs is
//! told and nothing else (I18).

#![cfg(feature = "zstd")]

use kv::testing::{on, Call, Choice, Moment, SimDisk};
use kv::{Compression, CreateOptions, Db, Error, OpenMode, Options, Sync, Wait};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LEVEL: i32 = 3;

/// Dictionaries are trained by a compaction that is asked for, and not whenever there is time.
fn options() -> Options {
    Options::new().background(false).compression(Compression::ZstdDictionary { level: LEVEL })
}

fn key(n: u32) -> Vec<u8> {
    format!("package/{n}").into()
}

/// Of three kinds that have little in common; each alike in itself.
fn value(kind: u32, n: u32) -> Vec<u8> {
    let mixed = n.wrapping_mul(2_654_435_761);
    match kind {
        0 => format!(
            "{{\"name\":\"package-{n}\",\"version\":\"{}.{}.{}\",\"architecture\":\"amd64\",\"section\":\"libs\",\
             \"maintainer\":\"Somebody <somebody@example.org>\",\"checksum\":\"{mixed:08x}\"}}",
            n % 7,
            n % 11,
            n % 5
        ),
        1 => format!(
            "<order id='{mixed}'><customer>Customer number {n}</customer><street>{} Long Street</street>\
             <status>delivered on the {}th of the month</status></order>",
            n % 100,
            n % 28
        ),
        _ => format!(
            "[2026-11-22] WARN request {mixed} from host-{n}.example.net took {} milliseconds, which is above the limit \
             of 250 milliseconds; retried {} times",
            n % 977,
            n % 3
        ),
    }
    .into()
}

/// Enough for a dictionary.
const ENTRIES: u32 = 3_000;

fn fill(db: &Db, kind: u32, from: u32) {
    for n in from..from + ENTRIES {
        db.set(&key(n), &value(kind, n)).unwrap();
    }
}

fn holds(db: &Db, kind: u32, from: u32) {
    for n in from..from + ENTRIES {
        assert_eq!(db.get(&key(n)).unwrap(), Some(value(kind, n)), "{n}");
    }
}

fn dictionaries(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("DICT-")).collect();
    found.sort();
    found
}

/// The same store, of which nothing lies in the tail, which compaction leaves alone.
fn rewritten(db: Db, dir: &Path) -> Db {
    db.close().unwrap();
    let db = options().open(dir).unwrap();
    db.compact().unwrap();
    db
}

/// A store whose first dictionary is trained and all of whose values of kind 0 are compressed with it.
fn trained(dir: &Path) -> Db {
    let db = options().open(dir).unwrap();
    fill(&db, 0, 0);
    db.compact().unwrap();
    let db = rewritten(db, dir);
    assert_eq!(dictionaries(dir), [dir.join("DICT-1")]);
    db
}

#[test]
fn values_come_back_from_every_place_that_their_records_go_to_and_take_half_of_what_zstd_alone_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let db = trained(&store);
    holds(&db, 0, 0);
    let plain = Options::new().compression(Compression::Zstd { level: LEVEL, threshold_bytes: 0 });
    let plain = plain.in_memory().unwrap();
    fill(&plain, 0, 0);
    // Keys and record headers are the same in both.
    let heads: u64 = (0..ENTRIES).map(|n| 32 + key(n).len() as u64).sum();
    let values = |db: &Db| db.stats().unwrap().live_bytes - heads;
    assert!(values(&db) * 2 < values(&plain), "{} and {} bytes", values(&db), values(&plain));
    // Written with the dictionary at once, in batches too.
    fill(&db, 0, ENTRIES);
    let entries: Vec<_> = (0..100).map(|n| (format!("batch/{n}"), value(0, n))).collect();
    db.set_many(&entries).unwrap();
    let backup = dir.path().join("backup");
    db.backup(&backup).unwrap();
    let live = options().mode(OpenMode::ReadOnly).open(&store).unwrap();
    db.close().unwrap();
    let ways = [
        live,
        options().open(&store).unwrap(),
        Options::new().mode(OpenMode::ReadOnly).open(&backup).unwrap(),
        Options::new().open(&backup).unwrap(),
    ];
    for db in ways {
        holds(&db, 0, 0);
        holds(&db, 0, ENTRIES);
        for (key, value) in &entries {
            assert_eq!(db.get(key.as_bytes()).unwrap().as_ref(), Some(value));
        }
        assert!(db.damage().is_empty());
    }
    assert!(kv::verify(&store).unwrap().is_sound());
    let salvaged = dir.path().join("salvaged");
    assert_eq!(kv::salvage(&store, &salvaged).unwrap().entries, u64::from(2 * ENTRIES) + 100);
    holds(&Db::open(&salvaged).unwrap(), 0, 0);
    assert!(dictionaries(&salvaged).is_empty());
}

#[test]
fn what_rewrites_a_record_without_its_value_or_with_metadata_keeps_it_readable() {
    let dir = tempfile::tempdir().unwrap();
    let db = trained(dir.path());
    assert!(db.expire(&key(1), Duration::from_secs(1_000)).unwrap());
    assert_eq!(db.get(&key(1)).unwrap(), Some(value(0, 1)));
    assert!(db.persist(&key(1)).unwrap());
    let version = db.version(&key(2)).unwrap().unwrap();
    assert!(db.compare_and_swap(&key(2), version, &value(0, 20_000)).unwrap().is_some());
    let existing = CreateOptions::new().allow_existing(true);
    let mut session = db.create_and_lock(&key(3), Wait::Forever, existing).unwrap().unwrap();
    session.metadata_mut().insert("made by".into(), b"a test".to_vec());
    session.commit().unwrap();
    assert_eq!(db.take(&key(4)).unwrap(), Some(value(0, 4)));
    let look = |db: &Db| {
        assert_eq!(db.get(&key(1)).unwrap(), Some(value(0, 1)));
        assert_eq!(db.get(&key(2)).unwrap(), Some(value(0, 20_000)));
        let (found, metadata) = db.get_with_metadata(&key(3)).unwrap().unwrap();
        assert_eq!((found, &metadata["made by"][..]), (value(0, 3), &b"a test"[..]));
    };
    look(&db);
    // Another dictionary, so that compaction makes the stored form anew, metadata behind it or not.
    fill(&db, 1, 10_000);
    fill(&db, 1, 20_000);
    db.compact().unwrap();
    let db = rewritten(db, dir.path());
    look(&db);
    db.close().unwrap();
    look(&options().open(dir.path()).unwrap());
}

#[test]
fn a_dictionary_stays_as_long_as_a_record_names_it_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let db = trained(dir.path());
    fill(&db, 1, ENTRIES);
    fill(&db, 1, 2 * ENTRIES);
    db.compact().unwrap();
    assert_eq!(dictionaries(dir.path()).len(), 2, "retrained for values that are another kind");
    db.close().unwrap();
    let db = options().open(dir.path()).unwrap();
    holds(&db, 0, 0);
    assert_eq!(dictionaries(dir.path()).len(), 2);
    for n in 0..ENTRIES {
        db.delete(&key(n)).unwrap();
    }
    db.compact().unwrap();
    db.close().unwrap();
    let db = options().open(dir.path()).unwrap();
    assert_eq!(dictionaries(dir.path()), [dir.path().join("DICT-2")]);
    holds(&db, 1, ENTRIES);
    // A number is given once.
    fill(&db, 2, 0);
    fill(&db, 2, 3 * ENTRIES);
    fill(&db, 2, 4 * ENTRIES);
    db.compact().unwrap();
    assert_eq!(dictionaries(dir.path()), [dir.path().join("DICT-2"), dir.path().join("DICT-3")]);
}

fn without_dictionary(spoil: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let db = trained(dir.path());
    db.set(b"plain", b"x").unwrap();
    db.close().unwrap();
    let file = dir.path().join("DICT-1");
    let kept = std::fs::read(&file).unwrap();
    spoil(&file);
    let report = kv::verify(dir.path()).unwrap();
    assert!(report.damage.iter().any(|damage| damage.path == file), "{:?}", report.damage);
    let db = options().open(dir.path()).unwrap();
    assert_eq!(db.get(b"plain").unwrap().as_deref(), Some(&b"x"[..]));
    match db.get(&key(5)) {
        Err(Error::Corrupt { path, .. }) => assert_eq!(path, file),
        other => panic!("{other:?}"),
    }
    // New values are stored, another dictionary is trained, and nothing that needs the lost one goes.
    fill(&db, 0, ENTRIES);
    for n in 0..100 {
        db.delete(&key(n)).unwrap();
    }
    db.compact().unwrap();
    holds(&db, 0, ENTRIES);
    assert!(db.get(&key(200)).is_err());
    db.close().unwrap();
    drop(options().open(dir.path()).unwrap());
    std::fs::write(&file, kept).unwrap();
    let db = options().open(dir.path()).unwrap();
    for n in 100..ENTRIES {
        assert_eq!(db.get(&key(n)).unwrap(), Some(value(0, n)), "{n}");
    }
    holds(&db, 0, ENTRIES);
    assert_eq!(db.get(&key(50)).unwrap(), None);
}

#[test]
fn without_its_dictionary_a_record_is_an_error_that_names_the_file_and_survives_until_that_is_back() {
    without_dictionary(|file| std::fs::remove_file(file).unwrap());
}

#[test]
fn a_damaged_dictionary_is_as_one_that_is_missing() {
    without_dictionary(|file| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    });
}

#[test]
fn a_forged_dictionary_gives_errors_or_other_values_and_nothing_worse() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path()).close().unwrap();
    let file = dir.path().join("DICT-1");
    let kept = std::fs::read(&file).unwrap();
    let forged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = kept[..kept.len() - 4].to_vec();
        change(&mut bytes);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        std::fs::write(&file, bytes).unwrap();
        let db = options().open(dir.path()).unwrap();
        for n in 0..ENTRIES {
            let _ = db.get(&key(n));
        }
    };
    for step in [1, 7, 97, 1_009] {
        forged(&|bytes| {
            bytes.iter_mut().skip(36).step_by(step).for_each(|byte| *byte = byte.wrapping_add(1))
        });
    }
    for len in [0, 1, 8, 100] {
        forged(&|bytes| {
            bytes.truncate(36 + len);
            bytes[32..36].copy_from_slice(&(len as u32).to_le_bytes());
        });
    }
    forged(&|bytes| bytes[32..36].copy_from_slice(&u32::MAX.to_le_bytes()));
    forged(&|bytes| bytes[12..16].copy_from_slice(&2u32.to_le_bytes()));
}

#[test]
fn a_store_with_dictionaries_is_refused_by_versions_that_know_none_and_others_stay_as_they_were() {
    let version = |options: Options| {
        let dir = tempfile::tempdir().unwrap();
        options.open(dir.path()).unwrap().close().unwrap();
        let newest = ["MANIFEST-0", "MANIFEST-1"].map(|name| std::fs::read(dir.path().join(name)).ok());
        let newest = newest.into_iter().flatten().max_by_key(|bytes| bytes[32..40].to_vec()).unwrap();
        newest[8]
    };
    assert_eq!(version(Options::new()), 1);
    assert_eq!(version(Options::new().set("compression", "zstd").unwrap()), 1);
    assert_eq!(version(Options::new().set("compression", "zstd-dictionary").unwrap()), 2);
}

#[test]
fn a_limit_in_bytes_counts_values_as_they_are_stored_also_when_compaction_makes_them_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().max_bytes(Some(10 << 20)).open(dir.path()).unwrap();
    fill(&db, 0, 0);
    db.compact().unwrap();
    db.close().unwrap();
    let db = options().max_bytes(Some(10 << 20)).open(dir.path()).unwrap();
    let before = db.stats().unwrap().weight;
    db.compact().unwrap();
    let after = db.stats().unwrap().weight;
    assert!(after * 2 < before, "{before}, {after}");
    for n in 0..ENTRIES {
        db.delete(&key(n)).unwrap();
    }
    assert_eq!(db.stats().unwrap().weight, 0);
    assert_eq!(db.stats().unwrap().live_bytes, 0);
}

#[test]
fn in_memory_dictionaries_work_without_files() {
    let db = options().in_memory().unwrap();
    fill(&db, 0, 0);
    let before = db.stats().unwrap().live_bytes;
    db.compact().unwrap();
    fill(&db, 0, 0);
    holds(&db, 0, 0);
    assert!(db.stats().unwrap().live_bytes < before);
}

/// What is acknowledged as synced can be read whenever power is lost: the dictionary that it names came to the disk before it (I18).
#[test]
fn what_power_loss_leaves_of_a_record_it_leaves_of_the_dictionary_that_the_record_names() {
    const DIR: &str = "store";
    const AFTER: u32 = 12;
    let disk = SimDisk::new();
    let open = |disk: &Arc<SimDisk>| {
        on(options().sync(Sync::Always).segment_bytes(128 << 10), disk).open(DIR).unwrap()
    };
    let db = open(&disk);
    let entries: Vec<_> = (0..ENTRIES).map(|n| (key(n), value(0, n))).collect();
    db.set_many(&entries).unwrap();
    let images = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::new(AtomicU32::new(0));
    let take = {
        let (disk, images, written) = (Arc::downgrade(&disk), Arc::clone(&images), Arc::clone(&written));
        move |call: Call, _: Moment| {
            let Some(disk) = disk.upgrade() else { return };
            if [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::SyncDir].contains(&call) {
                let mut images = images.lock().unwrap();
                // The number of acknowledged writes is read first: more than those may be there.
                let acknowledged = written.load(Ordering::SeqCst);
                let choice = Choice::ALL[images.len() % Choice::ALL.len()];
                let image = disk.lose_power(choice, images.len() as u64);
                images.push((acknowledged, choice, image));
            }
        }
    };
    disk.watch(take);
    db.compact().unwrap();
    for n in ENTRIES..ENTRIES + AFTER {
        db.set(&key(n), &value(0, n)).unwrap();
        written.fetch_add(1, Ordering::SeqCst);
        // At rest too, with each choice: nothing but what was promised need be there.
        let mut images = images.lock().unwrap();
        let choice = Choice::ALL[n as usize % Choice::ALL.len()];
        images.push((n + 1 - ENTRIES, choice, disk.lose_power(choice, u64::from(n))));
    }
    disk.unwatch();
    db.close().unwrap();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 2 * AFTER as usize, "{} images", images.len());
    let mut with_dictionary = 0;
    for (acknowledged, choice, image) in images {
        let disk = image.start();
        let db = open(&disk);
        with_dictionary += u32::from(db.stats().unwrap().dictionaries > 0);
        for n in (0..ENTRIES).step_by(50).chain(ENTRIES..ENTRIES + acknowledged) {
            assert_eq!(db.get(&key(n)).unwrap(), Some(value(0, n)), "{n} of {acknowledged}, {choice:?}");
        }
        for n in ENTRIES + acknowledged..ENTRIES + AFTER {
            assert!(db.get(&key(n)).unwrap().is_none_or(|found| found == value(0, n)), "{n}, {choice:?}");
        }
        db.abandon();
    }
    assert!(with_dictionary >= AFTER);
}

/// The process dies at any call of an open that removes dictionaries, or of a compaction: what is found is readable.
#[test]
fn a_process_that_dies_at_any_call_leaves_every_value_readable() {
    const DIR: &str = "store";
    let disk = SimDisk::new();
    let open = |disk: &Arc<SimDisk>| {
        on(options().sync(Sync::Never).segment_bytes(256 << 10), disk).open(DIR).unwrap()
    };
    let db = open(&disk);
    fill(&db, 0, 0);
    db.compact().unwrap();
    fill(&db, 1, ENTRIES);
    fill(&db, 1, 2 * ENTRIES);
    let (deaths, calls) = (Arc::new(Mutex::new(Vec::new())), AtomicU32::new(0));
    let watch = {
        let (disk, deaths) = (Arc::downgrade(&disk), Arc::clone(&deaths));
        move |call: Call, _: Moment| {
            let Some(disk) = disk.upgrade() else { return };
            if [Call::Create, Call::Rename, Call::Remove, Call::Sync].contains(&call) {
                // One in three: each is a whole disk.
                if calls.fetch_add(1, Ordering::SeqCst) % 3 == 0 {
                    deaths.lock().unwrap().push(disk.copy());
                }
            }
        }
    };
    disk.watch(watch);
    db.compact().unwrap();
    db.close().unwrap();
    let db = open(&disk);
    db.compact().unwrap();
    db.close().unwrap();
    disk.unwatch();
    let deaths = std::mem::take(&mut *deaths.lock().unwrap());
    assert!(deaths.len() > 10, "{} deaths", deaths.len());
    for disk in deaths {
        let db = open(&disk);
        for n in (0..3 * ENTRIES).step_by(97) {
            assert_eq!(db.get(&key(n)).unwrap(), Some(value(u32::from(n >= ENTRIES), n)), "{n}");
        }
        db.abandon();
    }
}

#[test]
fn a_full_disk_or_a_failed_write_leaves_no_dictionary_and_a_failed_sync_ends_writing() {
    const DIR: &str = "store";
    for (call, errno) in [(Call::Create, 28), (Call::Write, 28), (Call::Sync, 5)] {
        let disk = SimDisk::new();
        let db = on(options().sync(Sync::Never), &disk).open(DIR).unwrap();
        fill(&db, 0, 0);
        db.sync().unwrap();
        // The file of a dictionary is the first that a compaction makes.
        disk.fail(call, errno, 0, 1);
        let _ = db.compact();
        assert_eq!(disk.failed(), 1, "{call:?}");
        disk.heal();
        holds(&db, 0, 0);
        let name = Path::new("DICT-1");
        assert!(!disk.names(Path::new(DIR)).iter().any(|found| found == name), "{call:?}");
        match call {
            Call::Sync => assert!(matches!(db.set(b"k", b"v"), Err(Error::SyncFailed { .. }))),
            _ => {
                // Another attempt, as soon as there is something new.
                fill(&db, 0, ENTRIES);
                db.compact().unwrap();
                assert!(db.stats().unwrap().dictionaries > 0, "{call:?}");
                fill(&db, 0, 2 * ENTRIES);
                holds(&db, 0, 2 * ENTRIES);
            }
        }
        let _ = db.close();
        drop(db);
        holds(&on(options(), &disk).open(DIR).unwrap(), 0, 0);
    }
}

#[test]
fn dictionaries_are_trained_without_being_asked_for_and_anew_when_values_change() {
    let dir = tempfile::tempdir().unwrap();
    let db = options().background(true).open(dir.path()).unwrap();
    let began = Instant::now();
    let write_until = |kind: u32, dictionaries: u64| {
        for from in (0..).step_by(ENTRIES as usize) {
            fill(&db, kind, from);
            let stats = db.stats().unwrap();
            if stats.dictionaries >= dictionaries {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{stats:?}");
        }
        holds(&db, kind, 0);
    };
    write_until(0, 1);
    write_until(1, 2);
    let stats = db.stats().unwrap();
    assert!(stats.compressed_to_bytes < stats.compressed_from_bytes, "{stats:?}");
}
