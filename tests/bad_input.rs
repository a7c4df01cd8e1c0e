//! P5 and P7: what is wrong outside gives an error that names what and where, and nothing is lost.

mod common;

use common::value;
use kv::testing::{on, Call, SimDisk};
use kv::{Batch, Compression, Db, Error, ManualClock, OpenMode, Options, SetOptions, Sync};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "store";

fn options(disk: &Arc<SimDisk>) -> Options {
    on(Options::new().sync(Sync::Never).segment_bytes(64 << 10), disk)
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn read_all(db: &Db) -> Entries {
    db.scan(Default::default()).unwrap().map(|e| e.unwrap()).map(|e| (e.key, e.value)).collect()
}

#[test]
fn option_values_out_of_range_are_refused_by_name() {
    let base = Options::new;
    let zstd = |level| Compression::Zstd { level, threshold_bytes: 1 };
    let cases = [
        ("segment_bytes", base().segment_bytes(1)),
        ("segment_bytes", base().segment_bytes(1 << 40)),
        ("value_bytes_max", base().value_bytes_max(u32::MAX)),
        ("compression", base().compression(zstd(99))),
        ("sync", base().sync(Sync::Every(Duration::ZERO))),
        ("default_ttl", base().default_ttl(Some(Duration::ZERO))),
        ("listener_queue", base().listener_queue(0)),
    ];
    for (expected, options) in cases {
        match options.in_memory() {
            Err(Error::InvalidOption { name, reason }) => assert!(name == expected && !reason.is_empty()),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn keys_and_values_that_are_too_long_are_refused_and_change_nothing() {
    let db = Options::new().value_bytes_max(100).in_memory().unwrap();
    assert!(matches!(db.set(b"k", &[0; 101]), Err(Error::ValueTooLong { len: 101, max: 100 })));
    assert!(matches!(db.set(&vec![0; 70_000], b""), Err(Error::KeyTooLong { len: 70_000, max: 65_535 })));
    let mut batch = Batch::new();
    batch.set("a", "1").set("b", vec![0; 101]);
    assert!(matches!(db.apply(&batch), Err(Error::ValueTooLong { .. })));
    assert!(matches!(
        db.set_many(&[(vec![1], vec![]), (vec![0; 70_000], vec![])]),
        Err(Error::KeyTooLong { .. })
    ));
    assert!(db.is_empty());
    db.set(b"k", &[0; 100]).unwrap();
}

#[test]
fn a_path_that_is_no_store_is_refused_and_left_as_it_is() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let told = Db::open(&file).unwrap_err();
    assert!(matches!(&told, Error::NotAStore { path, .. } if *path == file), "{told}");
    let foreign = temporary.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), "text").unwrap();
    let told = Db::open(&foreign).unwrap_err();
    assert!(told.to_string().contains("notes.txt"), "{told}");
    assert_eq!(std::fs::read(foreign.join("notes.txt")).unwrap(), b"text");
    for mode in [OpenMode::MustExist, OpenMode::ReadOnly] {
        let missing = temporary.path().join("missing");
        let told = Options::new().mode(mode).open(&missing).unwrap_err();
        assert!(matches!(&told, Error::NotAStore { path, .. } if *path == missing), "{told}");
        assert!(!missing.exists());
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Options::new().mode(mode).open(empty.path()), Err(Error::NotAStore { .. })));
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_named() {
    let disk = SimDisk::new();
    disk.fail(Call::Create, libc::EACCES, 0, u64::MAX);
    match options(&disk).open(DIR) {
        Err(Error::Io { path, source, .. }) => {
            assert!(path.starts_with(DIR) && source.raw_os_error() == Some(libc::EACCES));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_that_another_process_holds_names_it() {
    let temporary = tempfile::tempdir().unwrap();
    Db::open(temporary.path()).unwrap().close().unwrap();
    let lock = temporary.path().join("LOCK");
    let script = "echo $$ > \"$0\"; echo $$; read line";
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", script])
        .arg(&lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told = Db::open(temporary.path()).unwrap_err();
    assert_eq!(
        told.to_string(),
        format!("{}: locked by process {}", temporary.path().display(), line.trim())
    );
    holder.stdin.take().unwrap().write_all(b"\n").unwrap();
    holder.wait().unwrap();
    Db::open(temporary.path()).unwrap();
}

#[test]
fn on_a_full_disk_reads_deletes_and_compaction_go_on_and_writes_come_back() {
    let disk = SimDisk::new();
    let db = options(&disk).open(DIR).unwrap();
    disk.limit(Some(1 << 20));
    let key = |n: u64| format!("key-{n:05}").into_bytes();
    let mut acknowledged = 0;
    let told = loop {
        match db.set(&key(acknowledged), &value("v", acknowledged, 400)) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the disk never fills");
    };
    assert!(told.is_disk_full(), "{told}");
    assert!(db.set(&key(99_999), &[1; 400]).is_err(), "and stays full");
    let check = |db: &Db, from: u64| {
        for n in 0..acknowledged {
            let expected = (n >= from).then(|| value("v", n, 400));
            assert_eq!(db.get(&key(n)).unwrap(), expected, "entry {n}");
        }
        assert!(db.get(&key(99_999)).unwrap().is_none(), "refused");
    };
    check(&db, 0);
    let half = acknowledged / 2;
    for n in 0..half {
        assert!(db.delete(&key(n)).unwrap(), "delete {n}");
    }
    check(&db, half);
    db.compact().unwrap();
    check(&db, half);
    for n in 0..half / 2 {
        db.set(format!("new-{n}").as_bytes(), &[1; 400]).unwrap();
    }
    db.abandon();
    drop(db);
    disk.limit(None);
    let db = options(&disk).open(DIR).unwrap();
    check(&db, half);
    assert_eq!(db.len() as u64, acknowledged - half + half / 2);
}

#[test]
fn p7_without_a_descriptor_writes_fail_until_there_are_some_and_nothing_breaks_down() {
    let disk = SimDisk::new();
    let db = options(&disk).background(false).open(DIR).unwrap();
    let mut entries = Entries::new();
    for round in 0..30u64 {
        // The call that lacks one is another each time.
        disk.limit_descriptors(Some(disk.descriptors() + round % 4));
        let mut n = 0;
        let told = loop {
            n += 1;
            let (key, value) = (format!("key-{}", n % 60).into_bytes(), value("v", round << 32 | n, 1500));
            match db.set(&key, &value) {
                Ok(()) => entries.insert(key, value),
                Err(error) => break Some(error),
            };
            if n == 300 {
                break None;
            }
        };
        if let Some(told) = &told {
            let Error::Io { source, .. } = told else { panic!("{told}") };
            assert_eq!(source.raw_os_error(), Some(libc::EMFILE), "{told}");
        }
        assert!(told.is_some() || round % 4 > 0, "one was found");
        db.sync().unwrap();
        let after_power_loss = options(&disk.image(kv::testing::Choice::Nothing, round)).open(DIR).unwrap();
        assert!(read_all(&after_power_loss) == entries, "round {round}");
        let _ = db.compact();
        disk.limit_descriptors(None);
        assert!(read_all(&db) == entries, "round {round}");
        db.set(b"resumed", &round.to_le_bytes()).unwrap();
        entries.insert(b"resumed".to_vec(), round.to_le_bytes().to_vec());
    }
    assert!(disk.descriptors() < 8, "{} descriptors", disk.descriptors());
    db.abandon();
    drop(db);
    assert_eq!(disk.descriptors(), 0);
    assert!(read_all(&options(&disk).open(DIR).unwrap()) == entries);
}

#[test]
fn a_backup_of_a_store_that_could_not_list_a_seal_has_everything() {
    let mut broken = 0;
    for failing in 0..20 {
        let disk = SimDisk::new();
        let db = options(&disk).background(false).open(DIR).unwrap();
        disk.fail(Call::Sync, libc::EIO, failing, 1);
        let mut entries = Entries::new();
        for n in 0..90u64 {
            let value = value("v", n, 2000);
            if db.set(&n.to_le_bytes(), &value).is_ok() {
                entries.insert(n.to_le_bytes().to_vec(), value);
            }
        }
        broken += u64::from(db.sync().is_err());
        disk.heal();
        db.backup("copy").unwrap();
        assert!(read_all(&db) == entries, "sync {failing}");
        assert!(read_all(&options(&disk).open("copy").unwrap()) == entries, "sync {failing}");
    }
    assert!(broken > 3, "{broken} stores refused writes");
}

#[test]
fn a_store_that_cannot_recover_for_want_of_space_opens_for_reading() {
    let disk = SimDisk::new();
    let db = options(&disk).background(false).open(DIR).unwrap();
    for n in 0..300u64 {
        db.set(&n.to_le_bytes(), &value("v", n, 600)).unwrap();
    }
    db.abandon();
    drop(db);
    for name in ["RESERVE-TOMBSTONES", "RESERVE-COMPACTION"] {
        disk.delete(&Path::new(DIR).join(name)).unwrap();
    }
    disk.limit(Some(disk.used_bytes()));
    let db = options(&disk).open(DIR).unwrap();
    assert!(matches!(db.set(b"k", b"v"), Err(Error::ReadOnly { .. })));
    for n in 0..300u64 {
        assert_eq!(db.get(&n.to_le_bytes()).unwrap(), Some(value("v", n, 600)));
    }
    drop(db);
    disk.limit(None);
    let db = options(&disk).open(DIR).unwrap();
    assert_eq!(db.len(), 300);
    db.set(b"k", b"v").unwrap();
}

#[test]
fn an_entry_that_was_seen_expired_stays_gone_when_the_clock_is_set_back() {
    let disk = SimDisk::new();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let open = || options(&disk).clock(clock.clone()).background(false).open(DIR).unwrap();
    for how in 0..3 {
        let db = open();
        db.set(b"k", b"old").unwrap();
        db.set_with(b"k", b"v", SetOptions::new().ttl(Duration::from_secs(10))).unwrap();
        clock.advance(Duration::from_secs(10));
        assert_eq!(db.get(b"k").unwrap(), None);
        match how {
            0 => db.abandon(),
            1 => db.close().unwrap(),
            _ => {
                db.compact().unwrap();
                db.abandon();
            }
        }
        drop(db);
        clock.set(1_700_000_000_000);
        let db = open();
        assert_eq!(db.get(b"k").unwrap(), None, "way {how}");
        assert!(db.now_ms() >= 1_700_000_010_000);
        db.close().unwrap();
        drop(db);
        clock.set(1_700_000_010_000 + (how + 1) * 20_000);
    }
}

#[test]
fn a_failed_sync_refuses_writes_until_the_store_is_reopened_and_loses_nothing_acknowledged() {
    for closes in [false, true] {
        let disk = SimDisk::new();
        let open = || options(&disk).sync(Sync::Always).open(DIR);
        let db = open().unwrap();
        for n in 0..50u64 {
            db.set(&n.to_le_bytes(), b"v").unwrap();
        }
        disk.fail(Call::Sync, libc::EIO, 0, 1);
        let told = db.set(b"doubtful", b"v").unwrap_err();
        assert!(matches!(told, Error::SyncFailed { .. }), "{told}");
        for _ in 0..3 {
            let told = db.set(b"later", b"v").unwrap_err();
            assert!(matches!(&told, Error::SyncFailed { reason } if !reason.is_empty()), "{told}");
            assert!(db.delete(&0u64.to_le_bytes()).is_err() && db.sync().is_err());
        }
        assert_eq!(db.get(&7u64.to_le_bytes()).unwrap().as_deref(), Some(&b"v"[..]), "reads go on");
        if closes {
            assert!(matches!(db.close(), Err(Error::SyncFailed { .. })));
        } else {
            db.abandon();
        }
        drop(db);
        let db = open().unwrap();
        for n in 0..50u64 {
            assert_eq!(db.get(&n.to_le_bytes()).unwrap().as_deref(), Some(&b"v"[..]), "entry {n}");
        }
        assert_eq!(db.get(b"later").unwrap(), None);
        db.set(b"later", b"v").unwrap();
        // I17: what was visible after the reopening is on the disk now, whatever the failed sync left out.
        let seen = read_all(&db);
        let image = disk.image(kv::testing::Choice::Nothing, 1);
        db.abandon();
        assert_eq!(read_all(&options(&image).open(DIR).unwrap()), seen);
    }
}

#[test]
fn a_compaction_that_could_not_sync_its_copies_is_the_last_one_and_its_victims_stay() {
    // Two ask at once, so that one may be carried out after the other has failed.
    for _ in 0..40 {
        let disk = SimDisk::new();
        let db = options(&disk).background(false).open(DIR).unwrap();
        let mut entries = Entries::new();
        for n in 0..120u64 {
            let (key, value) = ((n % 70).to_le_bytes().to_vec(), value("v", n, 2000));
            db.set(&key, &value).unwrap();
            entries.insert(key, value);
        }
        db.sync().unwrap();
        disk.fail(Call::SyncDir, libc::EIO, 0, u64::MAX);
        std::thread::scope(|scope| {
            let compactions = [(); 2].map(|()| scope.spawn(|| db.compact()));
            compactions.into_iter().for_each(|c| assert!(c.join().unwrap().is_err()));
        });
        assert_eq!(read_all(&db), entries);
        db.abandon();
        drop(db);
        disk.heal();
        assert_eq!(read_all(&options(&disk).open(DIR).unwrap()), entries);
    }
}

#[test]
fn a_segment_listed_by_a_manifest_that_was_written_stays_whatever_failed_then() {
    // Each call that may fail while segments are listed; not the sync, which another test fails.
    for call in [Call::Stat, Call::Write, Call::Open, Call::Rename, Call::SyncDir] {
        for skip in 0..40 {
            let disk = SimDisk::new();
            let db = options(&disk).background(false).open(DIR).unwrap();
            disk.fail(call, libc::EIO, skip, 1);
            let mut entries = Entries::new();
            for n in 0..90u64 {
                let value = value("v", n, 2000);
                if db.set(&n.to_le_bytes(), &value).is_ok() {
                    entries.insert(n.to_le_bytes().to_vec(), value);
                }
            }
            db.abandon();
            drop(db);
            disk.heal();
            let db = options(&disk).open(DIR).unwrap_or_else(|error| panic!("{call:?} {skip}: {error}"));
            let found = read_all(&db);
            assert!(entries.iter().all(|(key, value)| found.get(key) == Some(value)), "{call:?} {skip}");
        }
    }
}

#[test]
fn a_store_that_was_never_finished_is_made_anew_whatever_the_disk_holds_of_its_manifest() {
    use kv::testing::{Choice, Moment};
    use std::sync::Mutex;
    for seed in 0..40 {
        let disk = SimDisk::new();
        let images: Arc<Mutex<Vec<Arc<SimDisk>>>> = Arc::default();
        let (of, into) = (Arc::downgrade(&disk), Arc::clone(&images));
        disk.watch(move |call, moment| {
            if let (Some(disk), Call::Sync | Call::Rename | Call::SyncDir, Moment::Before) =
                (of.upgrade(), call, moment)
            {
                into.lock().unwrap().push(disk.image(Choice::Garbage, seed));
            }
        });
        let db = options(&disk).background(false).open(DIR).unwrap();
        disk.unwatch();
        let image = disk.image(Choice::Nothing, seed);
        db.abandon();
        for image in images.lock().unwrap().drain(..) {
            assert!(options(&image).open(DIR).unwrap().is_empty());
        }
        // The directory's own name is on disk once the store is open.
        assert!(options(&image).mode(OpenMode::MustExist).open(DIR).unwrap().is_empty());
    }
}
