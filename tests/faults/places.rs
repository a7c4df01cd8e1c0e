//! Something other than a file where a file should be, and a directory that goes.

use crate::in_time;
use kv::testing::{leave_hole, Hooks, Point};
use kv::{Db, Error, OpenMode, Options, Sync};
use std::ffi::CString;
use std::os::unix::fs::{symlink, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

fn options() -> Options {
    Options::new().sync(Sync::Never).segment_bytes(64 << 10)
}

/// A closed store of two manifests and a few segments.
fn store(dir: &Path) {
    for round in 0..2u32 {
        let db = options().open(dir).unwrap();
        for n in 0..60u32 {
            db.set(format!("key-{n}").as_bytes(), &[round as u8; 3000]).unwrap();
        }
        db.close().unwrap();
    }
}

/// What stands in a file's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Impostor {
    LinkToTheFile,
    LinkToNothing,
    Fifo,
    Directory,
    Device,
}

const IMPOSTORS: [Impostor; 5] =
    [Impostor::LinkToTheFile, Impostor::LinkToNothing, Impostor::Fifo, Impostor::Directory, Impostor::Device];

/// Puts an impostor in the place of `path`, whose file goes to `aside`.
fn replace(path: &Path, aside: &Path, by: Impostor) {
    if path.exists() {
        std::fs::rename(path, aside).unwrap();
    }
    match by {
        Impostor::LinkToTheFile => symlink(aside, path).unwrap(),
        Impostor::LinkToNothing => symlink("/nothing/is/here", path).unwrap(),
        Impostor::Directory => std::fs::create_dir(path).unwrap(),
        // A device may be made by root alone.
        Impostor::Device => symlink("/dev/zero", path).unwrap(),
        Impostor::Fifo => {
            let name = CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: a plain system call with a string that ends in NUL.
            assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        }
    }
}

fn is_still(path: &Path, by: Impostor) -> bool {
    let kind = std::fs::symlink_metadata(path).unwrap().file_type();
    match by {
        Impostor::LinkToTheFile | Impostor::LinkToNothing | Impostor::Device => kind.is_symlink(),
        Impostor::Fifo => kind.is_fifo(),
        Impostor::Directory => kind.is_dir(),
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    found.sort();
    found
}

#[test]
fn p5_a_link_fifo_directory_or_device_in_the_place_of_a_file_is_named_and_left_alone() {
    for by in IMPOSTORS {
        for name in ["segment", "MANIFEST-0", "MANIFEST-1", "LOCK"] {
            for mode in [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly] {
                in_time(&format!("{by:?} for {name}, {mode:?}"), move || {
                    let temporary = tempfile::tempdir().unwrap();
                    let dir = temporary.path().join("store");
                    store(&dir);
                    let path = match name {
                        "segment" => segments(&dir).remove(0),
                        name => dir.join(name),
                    };
                    replace(&path, &temporary.path().join("aside"), by);
                    match options().mode(mode).open(&dir) {
                        // Without a lock it reads a copy.
                        Ok(db) => {
                            assert!(mode == OpenMode::ReadOnly && name == "LOCK", "{by:?} for {name}");
                            assert_eq!(db.len(), 60);
                        }
                        Err(error) => {
                            let told = error.to_string();
                            assert!(told.contains(path.file_name().unwrap().to_str().unwrap()), "{told}");
                        }
                    }
                    assert!(is_still(&path, by), "{by:?} for {name}, {mode:?}: it was removed or replaced");
                });
            }
        }
    }
}

#[test]
fn a_link_fifo_directory_or_device_that_nothing_lists_is_left_alone_and_in_nobodys_way() {
    for by in IMPOSTORS {
        for name in ["RESERVE-TOMBSTONES", "RESERVE-COMPACTION", "00000000000000ff.seg"] {
            in_time(&format!("{by:?} for {name}"), move || {
                let temporary = tempfile::tempdir().unwrap();
                let dir = temporary.path().join("store");
                store(&dir);
                let (path, aside) = (dir.join(name), temporary.path().join("aside"));
                std::fs::write(&aside, "not a segment").unwrap();
                replace(&path, &aside, by);
                let db = options().open(&dir).unwrap_or_else(|error| panic!("{by:?} for {name}: {error}"));
                assert_eq!(db.len(), 60);
                (0..60u32).for_each(|n| db.set(&n.to_le_bytes(), &[7; 3000]).unwrap());
                db.compact().unwrap();
                db.close().unwrap();
                drop(db);
                assert_eq!(std::fs::read(&aside).unwrap(), b"not a segment");
                assert_eq!(options().open(&dir).unwrap().len(), 120);
            });
        }
    }
}

#[test]
fn p7_a_store_whose_directory_goes_reads_on_and_says_what_it_cannot_do() {
    for background in [true, false] {
        in_time("directory removed", move || {
            let temporary = tempfile::tempdir().unwrap();
            let dir = temporary.path().join("store");
            let db: Db = options().background(background).open(&dir).unwrap();
            (0..100u32).for_each(|n| db.set(&n.to_le_bytes(), &[1; 1000]).unwrap());
            // The log thread may be making the next segment.
            while std::fs::remove_dir_all(&dir).is_err() {}
            let mut written = 100u32;
            let told = loop {
                match db.set(&written.to_le_bytes(), &[1; 1000]) {
                    Ok(()) => written += 1,
                    Err(error) => break error,
                }
                assert!(written < 10_000, "nobody notices");
            };
            let is_named = |error: &Error| error.to_string().contains(dir.to_str().unwrap());
            assert!(is_named(&told), "{told}");
            for n in 0..written {
                assert_eq!(db.get(&n.to_le_bytes()).unwrap().as_deref(), Some(&[1; 1000][..]));
            }
            for result in [db.compact(), db.clear(), db.sync(), db.delete(b"k").map(drop), db.close()] {
                result.err().into_iter().for_each(|error| assert!(is_named(&error), "{error}"));
            }
            drop(db);
            assert!(!dir.exists(), "nothing is made anew by closing");
            assert!(options().open(&dir).unwrap().is_empty());
        });
    }
}

#[test]
fn a_store_that_is_locked_says_by_whom_and_the_holder_goes_on() {
    let temporary = tempfile::tempdir().unwrap();
    let db = options().open(temporary.path()).unwrap();
    db.set(b"k", b"1").unwrap();
    for _ in 0..50 {
        match in_time("locked", {
            let dir = temporary.path().to_path_buf();
            move || options().open(dir)
        }) {
            Err(Error::Locked { path, pid }) => {
                assert_eq!((path.as_path(), pid), (temporary.path(), Some(std::process::id())));
            }
            other => panic!("{other:?}"),
        }
    }
    // A copy of what somebody writes may be read.
    let reader = options().mode(OpenMode::ReadOnly).open(temporary.path()).unwrap();
    assert_eq!(reader.get(b"k").unwrap().as_deref(), Some(&b"1"[..]));
    db.set(b"k", b"2").unwrap();
    db.close().unwrap();
}

#[test]
fn a_store_ends_while_its_compaction_waits_for_a_writer_that_is_gone() {
    in_time("a compaction that waits", || {
        let temporary = tempfile::tempdir().unwrap();
        let (waits, waiting) = sync_channel(1000);
        let has_copied = AtomicBool::new(false);
        let hooks = Hooks::new(move |point| {
            has_copied.fetch_or(point == Point::Rewriting, Ordering::SeqCst);
            // The one for the log, which follows the copies, not that for a grace period.
            if point == Point::Waiting && has_copied.load(Ordering::SeqCst) {
                let _ = waits.try_send(());
            }
        });
        let db = options().background(false).hooks(hooks).open(temporary.path()).unwrap();
        (0..200u32).for_each(|n| db.set(&(n % 50).to_le_bytes(), &[n as u8; 1000]).unwrap());
        db.sync().unwrap();
        leave_hole(&db, 64);
        std::thread::scope(|scope| {
            let compacts = scope.spawn(|| db.compact());
            waiting.recv().unwrap();
            db.abandon();
            assert!(matches!(compacts.join().unwrap(), Err(Error::Closed)));
        });
        drop(db);
        let db = options().open(temporary.path()).unwrap();
        (0..50u32)
            .for_each(|n| assert_eq!(db.get(&n.to_le_bytes()).unwrap(), Some(vec![(n + 150) as u8; 1000])));
    });
}
