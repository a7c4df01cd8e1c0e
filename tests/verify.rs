//! `kv::verify` and `kv::salvage`: what is damaged is named, and what is intact is kept.

use kv::{Batch, Db, Error, ManualClock, OpenMode, Options, ScanOptions, SetOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const SEGMENT_BYTES: u64 = 64 << 10;

fn options() -> Options {
    Options::new().segment_bytes(SEGMENT_BYTES)
}

/// A closed store of several segments, in which nothing was overwritten.
fn store(dir: &Path) -> PathBuf {
    let path = dir.join("store");
    let db = options().open(&path).unwrap();
    for number in 0..2000 {
        db.set(format!("key {number:04}").as_bytes(), &[b'v'; 200]).unwrap();
    }
    db.set_with(b"hour", b"1", SetOptions::new().ttl(Duration::from_secs(3600))).unwrap();
    db.close().unwrap();
    path
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = names.filter(|name| name.extension().is_some_and(|e| e == "seg")).collect();
    found.sort();
    found
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_store_is_counted_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path());
    let before: Vec<_> = segments(&path).iter().map(|file| fs::read(file).unwrap()).collect();
    let report = kv::verify(&path).unwrap();
    assert!(report.is_sound(), "{:?}", report.damage);
    assert_eq!((report.entries, report.records, report.committed), (2001, 2001, 2001));
    assert_eq!(report.segments as usize, before.len());
    let after: Vec<_> = segments(&path).iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(before == after, "verify changed a segment");
}

#[test]
fn figures_of_a_store_opened_for_reading_are_those_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path());
    let db = Options::new().mode(OpenMode::ReadOnly).open(&path).unwrap();
    let stats = db.stats().unwrap();
    let files_bytes: u64 = segments(&path).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(stats.segments as usize, segments(&path).len());
    assert!(stats.log_bytes >= stats.live_bytes && stats.log_bytes <= files_bytes, "{stats:?}");
    assert_eq!(stats.unsynced_bytes, 0);
}

#[test]
fn what_expired_or_was_deleted_does_not_count_in_a_store_opened_for_reading() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let options = options().clock(clock.clone());
    let db = options.clone().open(dir.path()).unwrap();
    db.set(b"stays", b"1").unwrap();
    db.set_with(b"second", b"1", SetOptions::new().ttl(Duration::from_secs(1))).unwrap();
    db.set_with(b"hour", b"1", SetOptions::new().ttl(Duration::from_secs(3600))).unwrap();
    db.set(b"deleted", b"1").unwrap();
    db.delete(b"deleted").unwrap();
    db.close().unwrap();
    clock.advance(Duration::from_secs(2));
    let db = options.mode(OpenMode::ReadOnly).open(dir.path()).unwrap();
    let stats = db.stats().unwrap();
    assert_eq!((stats.entries, stats.index_entries, db.len()), (2, 2, 2));
    assert!(db.contains(b"hour").unwrap() && !db.contains(b"second").unwrap());
}

#[test]
fn a_store_that_is_open_elsewhere_can_be_looked_over() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    db.set(b"k", b"v").unwrap();
    let report = kv::verify(dir.path()).unwrap();
    assert!(report.is_sound() && report.entries == 1, "{report:?}");
}

#[test]
fn a_flipped_bit_is_named_by_file_and_offset_and_the_rest_is_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path());
    let hurt = segments(&path)[1].clone();
    flip(&hurt, 4096 + 100);
    let report = kv::verify(&path).unwrap();
    let damage = &report.damage[0];
    assert_eq!((damage.path.as_path(), damage.offset), (hurt.as_path(), 4096), "{damage}");
    assert!(damage.reason.contains("checksum"), "{damage}");
    assert_eq!(report.entries, 2000);

    let out = dir.path().join("out");
    let done = kv::salvage(&path, &out).unwrap();
    assert_eq!((done.entries, done.report), (2000, report));
    let db = Options::new().mode(OpenMode::MustExist).open(&out).unwrap();
    assert_eq!(db.len(), 2000);
    for entry in db.scan(ScanOptions::new().prefix("key ")).unwrap() {
        assert_eq!(entry.unwrap().value, [b'v'; 200]);
    }
    assert!(matches!(db.ttl(b"hour").unwrap(), Some(kv::Ttl::Remaining(_))));
}

/// P5: an open reads no values; none is given that is not the one that was written.
#[test]
fn p5_a_value_that_the_open_left_unread_is_checked_before_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path());
    let hurt = segments(&path)[1].clone();
    flip(&hurt, 4096 + 100);
    for background in [false, true] {
        let (said, heard) = std::sync::mpsc::channel();
        let logger = move |line: &str| drop(said.send(line.to_string()));
        let db = options().background(background).logger(logger).open(&path).unwrap();
        assert_eq!(db.len(), 2001);
        if background {
            // The maintenance thread finds it without being asked.
            let line = heard.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(line.contains(&hurt.display().to_string()) && line.contains("checksum"), "{line}");
        }
        let refused: Vec<String> = (0..2000)
            .map(|number| format!("key {number:04}"))
            .filter(|key| match db.get(key.as_bytes()) {
                Ok(value) => value != Some(vec![b'v'; 200]),
                Err(Error::Corrupt { path, offset, .. }) => (path, offset) == (hurt.clone(), 4096),
                Err(error) => panic!("{error}"),
            })
            .collect();
        let [key] = &refused[..] else { panic!("{refused:?}") };
        let key = key.as_bytes();
        let refuses =
            |result: Result<(), Error>| assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}");
        refuses(db.get_many(&[key]).map(drop));
        refuses(db.take(key).map(drop));
        refuses(db.increment(key, 1).map(drop));
        refuses(db.persist(b"hour").and_then(|_| db.expire(key, Duration::from_secs(1))).map(drop));
        refuses(db.scan(ScanOptions::new()).unwrap().try_for_each(|entry| entry.map(drop)));
        refuses(db.compact().and_then(|()| db.get(key).map(drop)));
        assert!(db.contains(key).unwrap());
        db.close().unwrap();
    }
    // What is wrong with it does not keep it from being replaced, or deleted.
    let db = options().open(&path).unwrap();
    let key = (0..2000)
        .map(|number| format!("key {number:04}"))
        .find(|key| db.get(key.as_bytes()).is_err())
        .unwrap();
    assert!(db.delete(key.as_bytes()).unwrap());
    db.set(key.as_bytes(), b"new").unwrap();
    assert_eq!(db.get(key.as_bytes()).unwrap().as_deref(), Some(&b"new"[..]));
    db.close().unwrap();
}

/// P5: keys, deadlines and lengths are what an open goes by.
#[test]
fn p5_a_flipped_bit_outside_of_values_is_refused_by_the_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path());
    let hurt = segments(&path)[1].clone();
    let sound = fs::read(&hurt).unwrap();
    for at in (0..40).chain([240, 241, 250]) {
        flip(&hurt, 4096 + at);
        let error = options().open(&path).unwrap_err();
        let named =
            matches!(&error, Error::Corrupt { path, offset, .. } if *path == hurt && *offset < 4096 + 512);
        assert!(named, "byte {at}: {error}");
        fs::write(&hurt, &sound).unwrap();
    }
    options().open(&path).unwrap();
}

#[test]
fn a_segment_that_is_cut_off_or_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path());
    let (cut, gone) = (segments(&path)[0].clone(), segments(&path)[2].clone());
    fs::File::options().write(true).open(&cut).unwrap().set_len(8192).unwrap();
    fs::remove_file(&gone).unwrap();
    let damage = kv::verify(&path).unwrap().damage;
    let of = |file: &Path| damage.iter().find(|damage| damage.path == file).unwrap();
    assert!(of(&cut).reason.contains("cut off") && of(&cut).offset == 8192, "{damage:?}");
    assert!(of(&gone).reason.contains("there is no such file"), "{damage:?}");
}

#[test]
fn a_segment_that_the_manifest_does_not_know_is_no_leftover_when_it_holds_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let db = options().open(&path).unwrap();
    let first = [fs::read(path.join("MANIFEST-0")).ok(), fs::read(path.join("MANIFEST-1")).ok()];
    for number in 0..2000u32 {
        db.set(&number.to_be_bytes(), &[b'v'; 200]).unwrap();
    }
    db.close().unwrap();
    // An old state of the manifest: a backup that was put back, say.
    for (name, bytes) in ["MANIFEST-0", "MANIFEST-1"].into_iter().zip(first) {
        fs::remove_file(path.join(name)).unwrap();
        if let Some(bytes) = bytes {
            fs::write(path.join(name), bytes).unwrap();
        }
    }
    let damage = kv::verify(&path).unwrap().damage;
    assert!(damage.iter().any(|damage| damage.reason.contains("manifest does not list")), "{damage:?}");
}

#[test]
fn salvage_refuses_a_directory_that_holds_something() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path());
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("note"), "mine").unwrap();
    let error = kv::salvage(&path, &out).unwrap_err();
    assert!(matches!(&error, Error::NotAStore { path, .. } if *path == out), "{error}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn every_record_is_counted_while_writers_race_for_new_segments() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let db = options().open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u32 {
            let db = &db;
            scope.spawn(move || {
                for round in 0..60u32 {
                    let mut batch = Batch::new();
                    batch.set([thread.to_be_bytes(), round.to_be_bytes()].concat(), vec![b'v'; 20_000]);
                    batch.set([round.to_be_bytes(), thread.to_be_bytes()].concat(), vec![b'v'; 20_000]);
                    db.apply(&batch).unwrap();
                }
            });
        }
    });
    db.close().unwrap();
    let report = kv::verify(&path).unwrap();
    assert!(report.is_sound(), "{:?}", report.damage);
}
