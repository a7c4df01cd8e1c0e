//! P7: files with hostile bytes give the right value or an error that names file and offset, never another value, and what is
//! intact can be saved.

mod common;

use common::value;
use kv::testing::{on, sign_record, SimDisk};
use kv::{Batch, Db, Error, OpenMode, Options, Recover, SetOptions, Sync};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "store";
/// Where a segment's first record stands, and its salt (docs/format.md).
const FIRST_RECORD_AT: usize = 4096;
const SALT: std::ops::Range<usize> = 64..72;

/// Counts what a thread asks for.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn options(disk: &Arc<SimDisk>) -> Options {
    on(Options::new().sync(Sync::Never).segment_bytes(64 << 10), disk)
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn read_all(db: &Db) -> Entries {
    db.scan(Default::default()).unwrap().map(|e| e.unwrap()).map(|e| (e.key, e.value)).collect()
}

/// A store of a few records of every kind.
fn small_store() -> (Arc<SimDisk>, Entries) {
    let disk = SimDisk::new();
    let db = options(&disk).background(false).open(DIR).unwrap();
    for n in 0..8u64 {
        let key = format!("key-{n}");
        db.set(key.as_bytes(), &value(&key, n, 20 + n as usize)).unwrap();
    }
    db.delete(b"key-3").unwrap();
    let mut batch = Batch::new();
    batch.set("key-4", value("key-4", 100, 30)).delete("key-5").set("other", value("other", 101, 5));
    db.apply(&batch).unwrap();
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    db.set_with(b"expiring", &value("expiring", 102, 9), hour).unwrap();
    let entries = read_all(&db);
    db.close().unwrap();
    (disk, entries)
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let is_segment = |name: &PathBuf| name.extension().is_some_and(|e| e == "seg");
    disk.names(Path::new(DIR)).into_iter().filter(is_segment).map(|name| Path::new(DIR).join(name)).collect()
}

/// Whether an error names a file of the store and says what is wrong there.
fn is_named(error: &Error) -> bool {
    match error {
        Error::Corrupt { path, reason, .. } => path.starts_with(DIR) && !reason.is_empty(),
        Error::UnsupportedVersion { path, .. } => path.starts_with(DIR),
        _ => false,
    }
}

/// Opens a damaged copy strictly, for reading, and to salvage: an error that names a file of the store, or values that
/// were written. Returns whether the strict open refused, or what it opened refused a value.
fn judge(damaged: &Arc<SimDisk>, entries: &Entries, written: &Entries, told: &str) -> bool {
    let salvaged = damaged.copy();
    let read_only = options(damaged).mode(OpenMode::ReadOnly).open(DIR);
    match &read_only {
        Ok(db) => check_values(db, written, told),
        Err(error) => assert!(is_named(error), "{told}, read-only: {error}"),
    }
    drop(read_only);
    match options(damaged).background(false).open(DIR) {
        Ok(db) => {
            if !refuses_a_value(&db, entries, told) {
                return false;
            }
        }
        Err(error) => assert!(is_named(&error), "{told}: {error}"),
    }
    match options(&salvaged).background(false).recover(Recover::Salvage).open(DIR) {
        Ok(db) => {
            check_values(&db, written, told);
            assert!(!db.damage().is_empty(), "{told}: refused, and nothing to list");
            db.set(b"after", b"x").unwrap();
        }
        Err(error) => assert!(is_named(&error), "{told}, salvage: {error}"),
    }
    true
}

/// What was opened strictly has every key, and each value is the one that was written or an error that names its file.
fn refuses_a_value(db: &Db, entries: &Entries, told: &str) -> bool {
    let mut refuses = false;
    for (key, value) in entries {
        match db.get(key) {
            Ok(found) => assert_eq!(found.as_ref(), Some(value), "{told}: opened, with other values"),
            Err(error) => {
                assert!(is_named(&error), "{told}: {error}");
                assert!(db.contains(key).unwrap(), "{told}");
                refuses = true;
            }
        }
    }
    assert_eq!(db.len(), entries.len(), "{told}");
    refuses
}

/// What a damaged store still gives was written once, if perhaps outdated by what was lost.
fn check_values(db: &Db, written: &Entries, told: &str) {
    for (key, found) in read_all(db) {
        let stem = String::from_utf8(key.clone()).unwrap();
        let crc = found.len().checked_sub(4).map(|at| found.split_at(at));
        let is_whole = crc.is_some_and(|(body, crc)| crc32fast::hash(body).to_le_bytes() == crc);
        assert!(
            written.get(&key) == Some(&found) || (is_whole && found.starts_with(stem.as_bytes())),
            "{told}: {stem}"
        );
    }
}

/// A closed store whose files take 64 KiB at least.
fn store_of_64_kib() -> (Arc<SimDisk>, Entries) {
    let disk = SimDisk::new();
    let db = options(&disk).background(false).open(DIR).unwrap();
    for n in 0..520u64 {
        let key = format!("key-{}", n % 100);
        db.set(key.as_bytes(), &value(&key, n, 40 + n as usize % 30)).unwrap();
        if n % 9 == 0 {
            db.delete(format!("key-{}", n % 70).as_bytes()).unwrap();
        }
    }
    let entries = read_all(&db);
    db.close().unwrap();
    (disk, entries)
}

fn files(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.names(Path::new(DIR)).into_iter().map(|name| Path::new(DIR).join(name));
    paths.map(|path| (path.clone(), disk.read(&path).unwrap())).collect()
}

/// Opens for reading: an error that names a file, or values that were written; all of them where no damage is listed.
fn judge_read_only(damaged: &Arc<SimDisk>, entries: &Entries, told: &dyn Fn() -> String) -> bool {
    match options(damaged).mode(OpenMode::ReadOnly).open(DIR) {
        Ok(db) if db.damage().is_empty() => {
            assert_eq!(&read_all(&db), entries, "{}: no damage listed, and other values", told());
            false
        }
        Ok(db) => {
            check_values(&db, entries, &told());
            assert!(db.damage().iter().all(|damage| damage.path.starts_with(DIR)), "{}", told());
            true
        }
        Err(error) => {
            assert!(is_named(&error), "{}: {error}", told());
            true
        }
    }
}

/// Runs `case` for each number below `cases`, on as many threads as there are processors, each with a disk of its own.
fn each(disk: &Arc<SimDisk>, cases: usize, case: impl Fn(&Arc<SimDisk>, usize) + std::marker::Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let disk = disk.copy();
                loop {
                    // Relaxed: hands out numbers.
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= cases {
                        break;
                    }
                    case(&disk, at);
                }
            });
        }
    });
}

#[test]
fn a_flipped_bit_anywhere_in_a_64_kib_store_is_named_or_harmless_and_never_a_wrong_value() {
    let (disk, entries) = store_of_64_kib();
    let files = files(&disk);
    let bits: usize = files.iter().map(|(_, bytes)| bytes.len() * 8).sum();
    assert!(bits >= 524_288, "{bits} bits");
    // Every byte has one of its bits flipped; in the campaign each has all of them.
    let one_in = common::count("KV_FLIP_ONE_IN", 8) as usize;
    let noticed = AtomicUsize::new(0);
    each(&disk, bits / 8, |disk, at| {
        let mut byte = at;
        let (path, good) = files
            .iter()
            .find(|(_, bytes)| {
                let is_here = byte < bytes.len();
                byte -= if is_here { 0 } else { bytes.len() };
                is_here
            })
            .unwrap();
        for bit in (0..8).filter(|bit| (at + bit) % one_in == 0) {
            let mut bytes = good.clone();
            bytes[byte] ^= 1 << bit;
            disk.write(path, bytes).unwrap();
            let told = || format!("{}, byte {byte}, bit {bit}", path.display());
            let is_noticed = judge_read_only(disk, &entries, &told);
            // Relaxed: a count, read when all have ended.
            noticed.fetch_add(usize::from(is_noticed), Ordering::Relaxed);
            // What opens for writing and to salvage changes the files, and costs more.
            if (at * 8 + bit) / one_in % 61 == 0 {
                judge(&disk.copy(), &entries, &entries, &told());
            }
        }
        disk.write(path, good.clone()).unwrap();
    });
    let noticed = noticed.into_inner();
    let flipped = bits / one_in;
    println!("{flipped} flipped bits of {bits}, {noticed} noticed");
    assert!(noticed > flipped / 2, "{noticed} of {flipped} flips were noticed");
}

/// Where the last record of a segment ends; what pads its end is none.
fn records_end(segment: &[u8]) -> usize {
    const PAD: u8 = 5;
    let mut at = FIRST_RECORD_AT;
    while let Some(header) = segment.get(at..at + 32).filter(|header| header[7] != 0 && header[4] != PAD) {
        let key_len = usize::from(u16::from_le_bytes([header[8], header[9]]));
        let value_len = u32::from_le_bytes(header[12..16].try_into().unwrap()) as usize;
        at += (32 + key_len + value_len).next_multiple_of(8);
    }
    at
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_named_and_the_rest_can_be_salvaged() {
    let (disk, entries) = store_of_64_kib();
    for (path, good) in files(&disk) {
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        each(&disk, good.len(), |disk, len| {
            disk.write(&path, good[..len].to_vec()).unwrap();
            let told = || format!("{} cut to {len}", path.display());
            // Behind the last record there is nothing to miss, and one manifest of two is enough.
            let holds_all = !is_segment || len >= records_end(&good);
            assert!(judge_read_only(disk, &entries, &told) || holds_all, "{}: not noticed", told());
            if len % 61 == 0 {
                judge(&disk.copy(), &entries, &entries, &told());
            }
            disk.write(&path, good.clone()).unwrap();
        });
    }
}

/// A closed store of several segments.
fn store_of_segments() -> (Arc<SimDisk>, Entries) {
    let disk = SimDisk::new();
    let db = options(&disk).background(false).open(DIR).unwrap();
    for n in 0..400u64 {
        let key = format!("key-{n}");
        db.set(key.as_bytes(), &value(&key, n, 500)).unwrap();
    }
    let entries = read_all(&db);
    db.close().unwrap();
    (disk, entries)
}

#[test]
fn segments_that_were_swapped_or_stand_in_each_others_place_are_named() {
    let (disk, entries) = store_of_segments();
    let paths = segments(&disk);
    assert!(paths.len() >= 3, "{paths:?}");
    let bytes = |path| disk.read(path).unwrap();
    for (first, second) in paths.iter().zip(&paths[1..]) {
        let swapped = disk.copy();
        swapped.write(first, bytes(second)).unwrap();
        swapped.write(second, bytes(first)).unwrap();
        assert!(judge(&swapped, &entries, &entries, "swapped"));
        let duplicated = disk.copy();
        duplicated.write(second, bytes(first)).unwrap();
        assert!(judge(&duplicated, &entries, &entries, "duplicated in another's place"));
    }
}

#[test]
fn a_copy_of_a_segment_under_another_name_changes_no_value() {
    let (disk, entries) = store_of_segments();
    let first = segments(&disk).remove(0);
    for name in ["ffffffffffffff00.seg", "0000000000000000.seg"] {
        let damaged = disk.copy();
        damaged.write(&Path::new(DIR).join(name), disk.read(&first).unwrap()).unwrap();
        judge(&damaged, &entries, &entries, name);
    }
}

#[test]
fn a_file_of_the_other_byte_order_is_refused_by_name() {
    let (disk, entries) = store_of_segments();
    for (path, good) in files(&disk).into_iter().filter(|(path, _)| !path.ends_with("LOCK")) {
        let damaged = disk.copy();
        let swapped: Vec<u8> = good.chunks(8).flat_map(|word| word.iter().rev().copied()).collect();
        damaged.write(&path, swapped).unwrap();
        judge(&damaged, &entries, &entries, "byte order");
    }
}

fn salt(segment: &[u8]) -> u64 {
    u64::from_le_bytes(segment[SALT].try_into().unwrap())
}

/// Where a text stands in a file.
fn place(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|window| window == text).expect("it is in the file")
}

/// A record as docs/format.md has it, without its checksum.
fn record(kind: u8, flags: u8, lsn: u64, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, kind, flags, 0, 0xf0];
    bytes.extend((key.len() as u16).to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend((value.len() as u32).to_le_bytes());
    bytes.extend(lsn.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend([key, value].concat());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

#[test]
fn a_record_forged_inside_a_value_is_never_taken_for_one() {
    // What a user can store is bytes; what it cannot know is the salt. With the salt of another store, and as a true copy of
    // a record of the same segment from another place.
    for knows_salt in [false, true] {
        let disk = SimDisk::new();
        let db = options(&disk).background(false).open(DIR).unwrap();
        db.set(b"victim", b"true value").unwrap();
        let path = segments(&disk).remove(0);
        let salt = salt(&disk.read(&path).unwrap());
        let mut forged = record(1, 0, FIRST_RECORD_AT as u64, b"victim", b"forged");
        assert!(sign_record(&mut forged, if knows_salt { salt } else { !salt }));
        // Every record begins at a multiple of eight: one of these copies does too.
        let padded: Vec<u8> = (0..8).flat_map(|shift| [vec![b'.'; shift], forged.clone()].concat()).collect();
        db.set(b"carrier", &padded).unwrap();
        db.set(b"last", b"x").unwrap();
        db.close().unwrap();
        let good = disk.read(&path).unwrap();
        // The carrier's own header is gone, so that what follows is searched for records.
        for at in [0, 4, 8, 12, 16] {
            let damaged = disk.copy();
            let mut bytes = good.clone();
            bytes[place(&good, b"carrier") - 32 + at] ^= 0x55;
            damaged.write(&path, bytes).unwrap();
            for options in
                [options(&damaged).recover(Recover::Salvage), options(&damaged).mode(OpenMode::ReadOnly)]
            {
                match options.background(false).open(DIR) {
                    Ok(db) => assert_eq!(db.get(b"victim").unwrap().unwrap(), b"true value"),
                    Err(error) => assert!(is_named(&error), "{error}"),
                }
            }
        }
    }
}

/// The store with its one record replaced by another of the same length.
fn store_with_record(forge: impl Fn(u64) -> Vec<u8>) -> Arc<SimDisk> {
    let disk = SimDisk::new();
    let db = options(&disk).background(false).open(DIR).unwrap();
    db.set(b"first", b"1").unwrap();
    db.set(b"k", &[b'v'; 1024]).unwrap();
    db.close().unwrap();
    let path = segments(&disk).remove(0);
    let mut bytes = disk.read(&path).unwrap();
    let at = place(&bytes, &[b'v'; 1024]) - 33;
    let lsn = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
    let forged = forge(lsn);
    let end = (at + forged.len()).min(bytes.len());
    bytes[at..end].copy_from_slice(&forged[..end - at]);
    let salt = salt(&bytes);
    // Where the lengths fit; where they don't, there is nothing to sign.
    sign_record(&mut bytes[at..], salt);
    disk.write(&path, bytes).unwrap();
    disk
}

#[cfg(feature = "zstd")]
#[test]
fn a_value_that_claims_to_decompress_to_a_gibibyte_is_refused_within_16_mib() {
    const ZSTD: u8 = 1;
    let frames = [
        // A frame whose header says 16 MiB of window, and blocks that repeat one byte 128 Ki times each.
        [vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x70], [0x02, 0, 0x10, 0].repeat(240)].concat(),
        // A gibibyte of zeros, as the library compresses it, cut to fit.
        zstd::encode_all(&vec![0; 64 << 20][..], 19).unwrap(),
        vec![0xff; 1000],
    ];
    for claimed in [1u32 << 30, u32::MAX, (1 << 30) - 1, 33 << 20] {
        for frame in &frames {
            let mut stored = claimed.to_le_bytes().to_vec();
            stored.extend(frame.iter().copied().chain(std::iter::repeat(0)).take(1020));
            let disk = store_with_record(|lsn| record(1, ZSTD, lsn, b"k", &stored));
            let db = options(&disk).value_bytes_max(1 << 30).mode(OpenMode::ReadOnly).open(DIR).unwrap();
            let before = ALLOCATED.get();
            match db.get(b"k") {
                Err(Error::Corrupt { path, offset, .. }) => {
                    assert!(path.starts_with(DIR) && offset >= 4096, "{path:?}, {offset}")
                }
                other => panic!("{claimed}: {:?}", other.map(|value| value.map(|value| value.len()))),
            }
            let allocated = ALLOCATED.get() - before;
            assert!(allocated < 16 << 20, "{claimed}: {allocated} bytes were allocated");
            assert_eq!(db.get(b"first").unwrap().unwrap(), b"1");
        }
    }
}

#[test]
fn lengths_around_every_power_of_two_are_refused_or_fit() {
    let lengths = [
        0,
        1,
        31,
        32,
        1023,
        1025,
        1 << 16,
        1 << 24,
        (1 << 31) - 1,
        1 << 31,
        u32::MAX - 64,
        u32::MAX - 1,
        u32::MAX,
    ];
    for value_len in lengths {
        for key_len in [0u16, 1, 2, 1024, u16::MAX - 1, u16::MAX] {
            let disk = store_with_record(|lsn| {
                let mut forged = record(1, 0, lsn, b"k", &[b'v'; 1024]);
                forged[8..10].copy_from_slice(&key_len.to_le_bytes());
                forged[12..16].copy_from_slice(&value_len.to_le_bytes());
                forged
            });
            for options in [
                options(&disk.copy()),
                options(&disk.copy()).recover(Recover::Salvage),
                options(&disk.copy()).mode(OpenMode::ReadOnly),
            ] {
                match options.background(false).open(DIR) {
                    Ok(db) => {
                        assert_eq!(db.get(b"first").unwrap().unwrap(), b"1");
                        read_all(&db);
                    }
                    Err(error) => assert!(is_named(&error), "{key_len}, {value_len}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_file_of_another_version_is_told_from_damage() {
    let (disk, _) = small_store();
    for name in ["MANIFEST-0", "MANIFEST-1"] {
        let copy = disk.copy();
        let path = Path::new(DIR).join(name);
        let mut bytes = copy.read(&path).unwrap();
        bytes[8] = 9;
        copy.write(&path, bytes).unwrap();
        let told = options(&copy).open(DIR).unwrap_err();
        assert!(
            matches!(&told, Error::UnsupportedVersion { path: p, found: 9, supported: 2 } if *p == path),
            "{told}"
        );
    }
    let path = segments(&disk).remove(0);
    let mut bytes = disk.read(&path).unwrap();
    bytes[8] = 9;
    disk.write(&path, bytes).unwrap();
    let told = options(&disk).open(DIR).unwrap_err();
    assert!(matches!(&told, Error::UnsupportedVersion { path: p, found: 9, .. } if *p == path), "{told}");
}

#[test]
fn a_listed_segment_that_is_missing_is_named() {
    let (disk, entries) = small_store();
    let path = segments(&disk).remove(0);
    disk.delete(&path).unwrap();
    match options(&disk).open(DIR) {
        Err(Error::Corrupt { path: named, .. }) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    }
    assert!(judge(&disk, &entries, &entries, "missing"));
}

#[test]
fn a_store_without_its_manifest_is_refused_and_its_segments_are_kept() {
    let (disk, _) = small_store();
    // Once more, so that what is there was rewritten by a recovery.
    options(&disk).open(DIR).unwrap().abandon();
    options(&disk).open(DIR).unwrap().close().unwrap();
    for is_garbage in [true, false] {
        let damaged = disk.copy();
        for name in ["MANIFEST-0", "MANIFEST-1"] {
            let path = Path::new(DIR).join(name);
            if is_garbage {
                damaged.write(&path, vec![0x5a; 5000]).unwrap();
            } else {
                damaged.delete(&path).unwrap();
            }
        }
        let before = segments(&damaged);
        for mode in [OpenMode::Create, OpenMode::MustExist, OpenMode::ReadOnly] {
            let told = options(&damaged).mode(mode).open(DIR).unwrap_err();
            assert!(matches!(told, Error::Corrupt { .. } | Error::NotAStore { .. }), "{told}");
            assert_eq!(segments(&damaged), before, "nothing is removed");
        }
    }
}
