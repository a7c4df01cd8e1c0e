//! P7 on a real file system of 1 to 64 MiB that eight writers fill: no SIGBUS, reads and deletes go on, compaction gives
//! space back, and writes resume.
//!
//! The file system is a tmpfs in a mount namespace of this process, of a user namespace too where it is not root. Where
//! neither may be made this fails, unless `KV_WITHOUT_FULL_DISK` is set: then it says that nothing was tried.

mod common;

use common::{count, seed, value, Rng};
use kv::{Db, Error, Options, Sync};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{Error as IoError, Result};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const WRITERS: usize = 8;
const MIB: u64 = 1 << 20;
const SIZES_MIB: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What each key holds, of one writer.
type Entries = BTreeMap<String, Vec<u8>>;

fn checked(result: libc::c_int) -> Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(IoError::last_os_error())
    }
}

/// Makes mounts of this process its own. There is one thread yet.
fn leave_mounts() -> Result<&'static str> {
    // SAFETY: plain system calls.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    // SAFETY: as above.
    let how = if uid == 0 && checked(unsafe { libc::unshare(libc::CLONE_NEWNS) }).is_ok() {
        "as root"
    } else {
        // SAFETY: as above.
        checked(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
        "in a user namespace"
    };
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)?;
    Ok(how)
}

fn mount(kind: Option<&str>, at: &Path, options: Option<&str>, flags: libc::c_ulong) -> Result<()> {
    let text = |text: &str| CString::new(text).unwrap();
    let (at, kind, options) = (text(at.to_str().unwrap()), kind.map(text), options.map(text));
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: strings that end in NUL and outlive the call, or null.
    checked(unsafe {
        libc::mount(pointer(&kind), at.as_ptr(), pointer(&kind), flags, pointer(&options).cast())
    })
}

fn free_bytes(dir: &Path) -> u64 {
    let path = CString::new(dir.to_str().unwrap()).unwrap();
    // SAFETY: all zeros are a value of this plain struct.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends in NUL, and a place for the answer.
    checked(unsafe { libc::statvfs(path.as_ptr(), &mut found) }).unwrap();
    found.f_bavail * found.f_frsize
}

fn options(bytes: u64) -> Options {
    Options::new().segment_bytes((bytes / 16).max(64 << 10)).sync(Sync::Every(Duration::from_millis(5)))
}

/// Runs eight writers, each on its own entries. Gives what `work` counts.
fn with_writers(
    db: &Db,
    entries: &[Mutex<Entries>],
    rng: &mut Rng,
    work: impl Fn(&Db, usize, &mut Entries, &mut Rng) -> u64 + std::marker::Sync,
) -> u64 {
    std::thread::scope(|scope| {
        let writers: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(n, entries)| {
                let (work, mut rng) = (&work, Rng::new(rng.next()));
                scope.spawn(move || work(db, n, &mut entries.lock().unwrap(), &mut rng))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    })
}

fn check_full(error: &Error, dir: &Path) {
    assert!(error.is_disk_full() && error.to_string().contains(dir.to_str().unwrap()), "{error}");
}

/// Writes new entries, and some again, until the disk is full or `bytes` are written.
fn fill(db: &Db, dir: &Path, n: usize, bytes: u64, entries: &mut Entries, rng: &mut Rng) -> u64 {
    let (mut written, first) = (0, rng.next() >> 32);
    for sequence in first.. {
        let key = match rng.one_in(4) {
            true => format!("w{n}-{}", first + rng.below(sequence - first + 1)),
            false => format!("w{n}-{sequence}"),
        };
        let bytes_of_it = value(&key, sequence, [60, 400, 3000][rng.below(3) as usize]);
        match db.set(key.as_bytes(), &bytes_of_it) {
            Ok(()) => {
                written += bytes_of_it.len() as u64;
                entries.insert(key, bytes_of_it);
            }
            Err(error) => {
                check_full(&error, dir);
                break;
            }
        }
        if written >= bytes {
            break;
        }
    }
    written
}

fn check(db: &Db, entries: &[Mutex<Entries>], told: &str) {
    let mut len = 0;
    for entries in entries {
        let entries = entries.lock().unwrap();
        len += entries.len();
        for (key, expected) in &*entries {
            assert!(db.get(key.as_bytes()).unwrap().as_ref() == Some(expected), "{told}: {key}");
        }
    }
    assert_eq!(db.len(), len, "{told}");
}

fn fill_and_go_on(dir: &Path, bytes: u64, rng: &mut Rng) {
    let store = dir.join("store");
    let db = options(bytes).open(&store).unwrap();
    let entries: Vec<Mutex<Entries>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    let filled =
        with_writers(&db, &entries, rng, |db, n, entries, rng| fill(db, &store, n, u64::MAX, entries, rng));
    assert!(filled > bytes / 4, "{filled} bytes fitted");
    check(&db, &entries, "full");
    let free_when_full = free_bytes(dir);
    let db = if rng.one_in(2) {
        // The process dies on the full disk: what was held back is what recovery needs.
        db.abandon();
        drop(db);
        options(bytes).open(&store).unwrap()
    } else {
        db
    };
    check(&db, &entries, "full, perhaps reopened");
    let deleted = with_writers(&db, &entries, rng, |db, _, entries, _| {
        let keys: Vec<String> = entries.keys().step_by(2).cloned().collect();
        for key in &keys {
            assert!(db.delete(key.as_bytes()).unwrap(), "{key}");
            entries.remove(key);
        }
        keys.len() as u64
    });
    check(&db, &entries, "half deleted");
    db.compact().unwrap_or_else(|error| {
        let files: Vec<_> = std::fs::read_dir(&store)
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.file_name(), e.metadata().unwrap().len()))
            .collect();
        panic!("{error}: {files:?}, {:?}", db.stats());
    });
    check(&db, &entries, "compacted");
    let free = free_bytes(dir);
    assert!(free > free_when_full + filled / 8, "{free_when_full} bytes free, then {free}");
    let resumed = with_writers(&db, &entries, rng, |db, n, entries, rng| {
        fill(db, &store, n, filled / WRITERS as u64 / 8, entries, rng)
    });
    assert!(resumed >= filled / 8, "{resumed} bytes, and full again");
    check(&db, &entries, "resumed");
    if rng.one_in(2) {
        db.close().unwrap();
    } else {
        db.abandon();
    }
    drop(db);
    let db = options(bytes).open(&store).unwrap();
    check(&db, &entries, "reopened");
    db.set(b"after", b"x").unwrap();
    println!(
        "{:2} MiB: {filled} bytes of values fitted, {deleted} entries deleted, {free} bytes free, {resumed} written again",
        bytes / MIB
    );
}

/// Ends the process where a test would fail: nothing else can end a thread that hangs.
fn watch_time() {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE * SIZES_MIB.len() as u32);
        eprintln!("full_disk: hangs");
        std::process::abort();
    });
}

fn main() {
    let how = match leave_mounts() {
        Ok(how) => how,
        Err(error) if std::env::var_os("KV_WITHOUT_FULL_DISK").is_some() => {
            println!("full_disk: NOTHING WAS TRIED: no mount namespace: {error}");
            return;
        }
        Err(error) => panic!("no mount namespace, as root or in a user namespace: {error}"),
    };
    watch_time();
    let mut rng = Rng::new(seed("KV_FULL_DISK_SEED"));
    let began = Instant::now();
    for round in 0..count("KV_FULL_DISK_ROUNDS", 2) {
        for size_mib in SIZES_MIB {
            let temporary = tempfile::tempdir().unwrap();
            let dir = temporary.path();
            mount(Some("tmpfs"), dir, Some(&format!("size={size_mib}m")), 0).unwrap();
            fill_and_go_on(dir, size_mib * MIB, &mut rng);
            let path = CString::new(dir.to_str().unwrap()).unwrap();
            // SAFETY: a plain system call with a string that ends in NUL.
            checked(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).unwrap();
            if round == 0 && size_mib == SIZES_MIB[0] {
                println!("tmpfs mounted {how}");
            }
        }
    }
    println!(
        "test a_full_file_system_refuses_writes_until_space_comes_back ... ok, {:.1} s",
        began.elapsed().as_secs_f32()
    );
}
