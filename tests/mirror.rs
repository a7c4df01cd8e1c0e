//! The JSON mirror: what people write is taken, what the store holds is written, and nothing is ever half.

use kv::testing::{leave_pending, on, Call, Choice, Hooks, Moment, Point, SimDisk};
use kv::{Db, Error, Json, Options, ScanOptions, SetOptions, Tag, WhenEdited};
use std::fs;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PEOPLE: &str = "{\n  \"age\": 30,\n  \"name\": \"Alice\"\n}\n";

/// A directory with the paths of a file and of a store in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("people.json")
    }

    fn with(&self, text: &str) -> &Place {
        fs::write(self.file(), text).unwrap();
        self
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// One that writes the file at the end, or when it is told to.
    fn options(&self) -> Options {
        Options::new().json_mirror(self.file()).json_mirror_every(Duration::from_secs(3600))
    }

    fn in_memory(&self) -> Db {
        self.options().in_memory().unwrap()
    }

    fn open(&self) -> Db {
        self.try_open(self.options()).unwrap()
    }

    fn try_open(&self, options: Options) -> kv::Result<Db> {
        options.open(self.dir.path().join("store"))
    }
}

fn get(db: &Db, key: &str) -> Option<String> {
    db.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_people_wrote_is_there_with_its_types_and_a_close_writes_what_has_changed() {
    let place = Place::new();
    place.with(
        r#"{"name": "Alice", "age": 30, "tags": ["a", null], "pi": 3.14159265358979323846264338327950288}"#,
    );
    let db = place.in_memory();
    assert_eq!((get(&db, "name").unwrap(), get(&db, "age").unwrap()), ("Alice".into(), "30".into()));
    assert_eq!(db.typed::<u32, Json>().get(b"age").unwrap(), Some(30));
    db.increment(b"age", 1).unwrap();
    db.set(b"city", b"B\"\n").unwrap();
    db.delete(b"tags").unwrap();
    db.close().unwrap();
    let expected = "{\n  \"age\": 31,\n  \"city\": \"B\\\"\\n\",\n  \"name\": \"Alice\",\n  \"pi\": 3.14159265358979323846264338327950288\n}\n";
    assert_eq!(place.text(), expected);
    assert_eq!(place.in_memory().typed::<u32, Json>().get(b"age").unwrap(), Some(31));
}

#[test]
fn whatever_a_store_holds_comes_back_from_its_file() {
    let place = Place::new();
    let db = place.in_memory();
    db.set(&[0xff, 0], &[0xfe]).unwrap();
    db.set(b"$kv:", b"{\"$kv\": 1}").unwrap();
    db.set_with(b"soon", b"1", SetOptions::new().ttl(Duration::from_secs(3600))).unwrap();
    db.set_with(b"text", b"\"30\"", SetOptions::new().codec(Tag::JSON)).unwrap();
    let mut session = db.get_and_lock(b"soon", kv::Wait::No).unwrap().unwrap();
    session.metadata_mut().insert("by".into(), b"me".to_vec());
    session.commit().unwrap();
    let entries = |db: &Db| -> Vec<kv::Entry> {
        let entries = db.scan(ScanOptions::new().ordered(true)).unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                entry.version = 0;
                entry
            })
            .collect()
    };
    let before = entries(&db);
    assert_eq!(before.len(), 4);
    db.close().unwrap();
    assert_eq!(entries(&place.in_memory()), before);
}

#[test]
fn a_file_is_written_only_when_something_has_changed() {
    let place = Place::new();
    place.with(r#"{"age": 30,   "name": "Alice"}"#);
    let inode = || fs::metadata(place.file()).unwrap().ino();
    let first = inode();
    for open in [Place::in_memory, Place::open] {
        let db = open(&place);
        db.sync().unwrap();
        db.close().unwrap();
        assert_eq!((inode(), place.text().contains("   ")), (first, true));
    }
    // Known again, it is written once in the store's own form.
    place.open().close().unwrap();
    assert_eq!(place.text(), PEOPLE);
    let first = inode();
    place.open().close().unwrap();
    assert_eq!(inode(), first);
    let db = place.in_memory();
    let writes = || db.stats().unwrap().mirror_writes;
    db.set(b"age", b"x").unwrap();
    db.sync().unwrap();
    assert_eq!((writes(), get(&place_of(&place.text()), "age").unwrap()), (1, "x".into()));
    db.sync().unwrap();
    // A change that leaves everything as it was.
    db.set(b"age", b"x").unwrap();
    db.sync().unwrap();
    assert_eq!(writes(), 1);
    let second = inode();
    assert_ne!(second, first);
    db.close().unwrap();
    assert_eq!(inode(), second);
}

/// A store that holds what a file says.
fn place_of(text: &str) -> Db {
    Place::new().with(text).in_memory()
}

#[test]
fn a_change_is_in_the_file_after_a_period_without_a_call() {
    let place = Place::new();
    let db = place.try_open(place.options().json_mirror_every(Duration::from_millis(5))).unwrap();
    until("an empty store is written", || fs::read_to_string(place.file()).is_ok_and(|text| text == "{}\n"));
    for value in ["1", "2"] {
        db.set(b"a", value.as_bytes()).unwrap();
        until("a change is written", || place.text().contains(&format!("\"a\": \"{value}\"")));
    }
    db.set_with(b"soon", b"1", SetOptions::new().ttl(Duration::from_millis(50))).unwrap();
    until("what has expired leaves the file", || place.text() == "{\n  \"a\": \"2\"\n}\n");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_stays_as_it_is() {
    for (text, offset, reason) in [
        ("", 0, "EOF"),
        ("{\"name\": \"Alice\",\n \"age\": 3", 27, "EOF"),
        ("{\"a\": 1,\n\"b\": oops}", 14, "line 2"),
        ("[1]", 0, "an object of keys and values"),
        ("{\"a\": 1}\n{", 9, "trailing"),
        ("{\"a\": 1, \"b\": {\"$kv\": {\"value\": \"\", \"codec\": \"x\"}}}", 49, "codec"),
    ] {
        let place = Place::new();
        place.with(text);
        for opened in [place.options().in_memory(), place.try_open(place.options())] {
            match opened {
                Err(Error::Corrupt { path, offset: found, reason: said }) => {
                    assert_eq!(path, place.file());
                    assert!(said.contains(reason), "{text:?}: {said}");
                    assert!(found.abs_diff(offset) <= 1, "{text:?}: offset {found}: {said}");
                }
                other => panic!("{text:?}: {other:?}"),
            }
            assert_eq!(place.text(), text);
        }
        // Nothing of it was set: corrected, it is taken.
        place.with(PEOPLE);
        assert_eq!(place.open().len(), 2, "{text:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_takes_nothing_from_the_store_that_was_to_load_it() {
    let place = Place::new();
    let db = place.open();
    db.set(b"a", b"1").unwrap();
    db.close().unwrap();
    let spoilt = r#"{"b": 2, oops"#;
    place.with(spoilt);
    let opened = place.try_open(place.options().json_mirror_edited(WhenEdited::Load));
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
    assert_eq!(place.text(), spoilt);
    let db = place.try_open(place.options().json_mirror_edited(WhenEdited::Overwrite)).unwrap();
    assert_eq!((get(&db, "a").as_deref(), db.len()), (Some("1"), 1));
    db.close().unwrap();
    assert_eq!(place.text(), "{\n  \"a\": \"1\"\n}\n");
}

#[test]
fn a_file_with_an_entry_that_no_record_can_hold_takes_nothing_from_the_store_that_was_to_load_it() {
    let place = Place::new();
    let db = place.open();
    db.set(b"a", b"1").unwrap();
    db.close().unwrap();
    let entry = |name: &str, held: &str| {
        format!(r#"{{"b": 2, "c": {{"$kv": {{"value": "1", "metadata": {{"{name}": "{held}"}}}}}}}}"#)
    };
    for spoilt in [entry(&"n".repeat(70_000), ""), entry("n", &"h".repeat(100_000))] {
        place.with(&spoilt);
        let options = place.options().value_bytes_max(90_000).json_mirror_edited(WhenEdited::Load);
        let opened = place.try_open(options);
        let is_told =
            matches!(&opened, Err(Error::InvalidOption { .. } | Error::ValueTooLong { len: 100_001.., .. }));
        assert!(is_told, "{opened:?}");
        assert_eq!(place.text(), spoilt);
        let db = place.try_open(place.options().json_mirror_edited(WhenEdited::Overwrite)).unwrap();
        assert_eq!((get(&db, "a").as_deref(), db.len()), (Some("1"), 1));
        db.close().unwrap();
    }
}

#[test]
fn the_log_is_the_truth_of_a_store_whose_process_died() {
    let place = Place::new();
    place.with(PEOPLE);
    let db = place.open();
    db.delete(b"name").unwrap();
    db.set(b"age", b"31").unwrap();
    db.abandon();
    assert_eq!(place.text(), PEOPLE);
    let db = place.open();
    assert_eq!((get(&db, "name"), get(&db, "age").unwrap()), (None, "31".into()));
    // Emptied, it does not take its own old file for that of another.
    db.clear().unwrap();
    db.abandon();
    let db = place.open();
    assert!(db.is_empty());
    db.close().unwrap();
    assert_eq!(place.text(), "{}\n");
}

#[test]
fn an_edited_file_is_refused_taken_or_written_over_as_the_options_say() {
    let place = Place::new();
    let db = place.open();
    db.set(b"a", b"1").unwrap();
    db.set(b"b", b"1").unwrap();
    db.close().unwrap();
    let edited = "{\"a\": \"2\", \"c\": 3}";
    place.with(edited);
    match place.try_open(place.options()) {
        Err(Error::InvalidOption { name, reason }) => {
            assert!(name == "json_mirror" && reason.contains("json_mirror_edited"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(place.text(), edited);
    let db = place.try_open(place.options().json_mirror_edited(WhenEdited::Load)).unwrap();
    assert_eq!(
        (get(&db, "a").unwrap(), get(&db, "b"), get(&db, "c").unwrap()),
        ("2".into(), None, "3".into())
    );
    db.close().unwrap();
    // Taken once, it is the store's own.
    place.open().close().unwrap();
    place.with("{\"x\": 1}");
    let db = place.try_open(place.options().json_mirror_edited(WhenEdited::Overwrite)).unwrap();
    db.close().unwrap();
    assert_eq!(place.text(), "{\n  \"a\": \"2\",\n  \"c\": 3\n}\n");
    // One that is gone is written anew, and one for a store without a mirror so far is not taken for its own.
    fs::remove_file(place.file()).unwrap();
    place.open().close().unwrap();
    assert_eq!(place.text(), "{\n  \"a\": \"2\",\n  \"c\": 3\n}\n");
}

#[test]
fn who_puts_the_content_of_before_back_has_edited_the_file() {
    let place = Place::new();
    let mut before = String::new();
    for value in [b"1", b"2"] {
        let db = place.open();
        db.set(b"a", value).unwrap();
        before = fs::read_to_string(place.file()).unwrap_or_default();
        db.close().unwrap();
    }
    place.with(&before);
    let refused = place.try_open(place.options());
    let is_told = matches!(&refused, Err(Error::InvalidOption { name, .. }) if name == "json_mirror");
    assert!(is_told, "{refused:?}");
    assert_eq!(place.text(), before);
    let db = place.try_open(place.options().json_mirror_edited(WhenEdited::Load)).unwrap();
    assert_eq!(get(&db, "a").as_deref(), Some("1"));
}

#[test]
fn what_was_over_before_the_file_is_read_does_not_come_back() {
    let place = Place::new();
    place.with(r#"{"old": {"$kv": {"value": "1", "expires_at_ms": 1000}}, "new": {"$kv": {"value": "1", "expires_at_ms": 99999999999999}}}"#);
    let db = place.in_memory();
    assert_eq!((get(&db, "old"), get(&db, "new").unwrap()), (None, "1".into()));
}

#[test]
fn two_stores_cannot_share_a_file() {
    let place = Place::new();
    let db = place.in_memory();
    let refused = place.options().in_memory().unwrap_err();
    assert!(
        matches!(&refused, Error::Locked { path, pid } if *path == place.file() && *pid == Some(std::process::id()))
    );
    db.close().unwrap();
    place.in_memory();
}

#[test]
fn rights_stay_and_a_symbolic_link_is_refused() {
    let place = Place::new();
    place.with(PEOPLE);
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o640)).unwrap();
    let db = place.in_memory();
    db.set(b"a", b"1").unwrap();
    db.close().unwrap();
    assert_eq!(fs::metadata(place.file()).unwrap().mode() & 0o777, 0o640);
    let other = Place::new();
    symlink(place.file(), other.file()).unwrap();
    assert!(matches!(other.options().in_memory(), Err(Error::Io { .. })));
    assert!(fs::symlink_metadata(other.file()).unwrap().is_symlink());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let place = Place::new();
    place.open().close().unwrap();
    for options in [
        place.options().mode(kv::OpenMode::ReadOnly),
        place.options().json_mirror_every(Duration::ZERO),
        Options::new().json_mirror("/"),
    ] {
        assert!(matches!(place.try_open(options), Err(Error::InvalidOption { .. })));
    }
}

const FILE: &str = "/people.json";

fn simulated(disk: &Arc<SimDisk>) -> Options {
    on(Options::new(), disk).json_mirror(FILE).json_mirror_every(Duration::from_secs(3600))
}

fn content(disk: &Arc<SimDisk>) -> Option<String> {
    disk.read(Path::new(FILE)).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_is_told_by_figures_sync_and_close() {
    for call in [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::SyncDir] {
        let disk = SimDisk::new();
        let db = simulated(&disk).in_memory().unwrap();
        db.set(b"a", b"1").unwrap();
        db.sync().unwrap();
        let old = content(&disk).unwrap();
        db.set(b"a", b"2").unwrap();
        disk.fail(call, libc_eio(), 0, u64::MAX);
        assert!(matches!(db.sync(), Err(Error::Io { .. })), "{call:?}");
        assert_eq!(db.stats().unwrap().mirror_failures, 1, "{call:?}");
        if call != Call::SyncDir {
            assert_eq!(content(&disk).unwrap(), old, "{call:?}");
        }
        disk.heal();
        // Whether the new file came in its place is not known: it is not taken for what it was before.
        db.set(b"a", b"1").unwrap();
        db.sync().unwrap();
        assert_eq!(content(&disk).unwrap(), old, "{call:?}");
        db.set(b"a", b"2").unwrap();
        db.sync().unwrap();
        assert_eq!(content(&disk).unwrap(), old.replace('1', "2"), "{call:?}");
        db.set(b"a", b"3").unwrap();
        disk.fail(call, libc_eio(), 0, u64::MAX);
        assert!(matches!(db.close(), Err(Error::Io { .. })), "{call:?}");
    }
}

fn libc_eio() -> i32 {
    5
}

#[test]
fn power_lost_at_any_call_leaves_the_old_file_or_the_new_one_and_a_store_that_knows_it() {
    let disk = SimDisk::new();
    let db = simulated(&disk).open("store").unwrap();
    db.set(b"a", b"1").unwrap();
    db.close().unwrap();
    let texts = ["{\n  \"a\": \"1\"\n}\n", "{\n  \"a\": \"1\",\n  \"b\": \"2\"\n}\n"];
    assert_eq!(content(&disk).unwrap(), texts[0]);
    let images = Arc::new(Mutex::new(Vec::new()));
    let (kept, weak) = (Arc::clone(&images), Arc::downgrade(&disk));
    let db = simulated(&disk).open("store").unwrap();
    db.set(b"b", b"2").unwrap();
    db.sync().unwrap();
    disk.watch(move |call: Call, moment: Moment| {
        let Some(disk) = weak.upgrade() else { return };
        let mut kept = kept.lock().unwrap();
        for choice in [Choice::Nothing, Choice::Everything, Choice::Percent(50), Choice::LastSector] {
            let seed = kept.len() as u64;
            kept.push((call, moment, disk.image(choice, seed)));
        }
    });
    db.close().unwrap();
    disk.unwatch();
    assert_eq!(content(&disk).unwrap(), texts[1]);
    let mut found = [0, 0];
    for (call, moment, image) in std::mem::take(&mut *images.lock().unwrap()) {
        let text = content(&image).unwrap_or_else(|| panic!("{call:?} {moment:?}: no file"));
        let which = texts.iter().position(|known| *known == text);
        found[which.unwrap_or_else(|| panic!("{call:?} {moment:?}: {text:?}"))] += 1;
        // Refused, it would be taken for one that somebody has edited.
        let db = simulated(&image).open("store").unwrap_or_else(|e| panic!("{call:?} {moment:?}: {e}"));
        assert_eq!(db.len(), 2, "{call:?} {moment:?}");
        db.close().unwrap();
        assert_eq!(content(&image).unwrap(), texts[1]);
    }
    assert!(found.iter().all(|count| *count > 3), "{found:?}");
}

#[test]
fn a_load_that_was_cut_begins_anew() {
    let disk = SimDisk::new();
    let lines: Vec<String> = (0..2000).map(|n| format!("\"k{n}\": {n}")).collect();
    disk.write(Path::new(FILE), format!("{{{}}}", lines.join(",")).into_bytes()).unwrap();
    let images = Arc::new(Mutex::new(Vec::new()));
    let (kept, weak) = (Arc::clone(&images), Arc::downgrade(&disk));
    disk.watch(move |_, moment| {
        let Some(disk) = weak.upgrade() else { return };
        if moment == Moment::After {
            kept.lock().unwrap().push(disk.copy());
        }
    });
    simulated(&disk).open("store").unwrap().abandon();
    disk.unwatch();
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() > 10);
    for image in images {
        assert_eq!(simulated(&image).open("store").unwrap().len(), 2000);
    }
}

#[test]
fn the_last_mirror_holds_each_member_of_a_batch_that_was_committed_before_the_close() {
    let place = Place::new();
    let (is_committed, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (committed, go) = (Arc::clone(&is_committed), Arc::clone(&goes_on));
    let hooks = Hooks::new(move |point| {
        if point == Point::Committed && !committed.swap(true, Ordering::SeqCst) {
            until("the close is waited for", || go.load(Ordering::SeqCst));
        }
    });
    let db = place.options().hooks(hooks).in_memory().unwrap();
    let (writer, closer) = (db.clone(), db.clone());
    let batch = std::thread::spawn(move || writer.set_many(&[("a", "1"), ("b", "2")]));
    until("the batch is committed", || is_committed.load(Ordering::SeqCst));
    let close = std::thread::spawn(move || closer.close());
    until("the close has begun", || matches!(db.get(b"a"), Err(Error::Closed)));
    goes_on.store(true, Ordering::SeqCst);
    batch.join().unwrap().unwrap();
    close.join().unwrap().unwrap();
    assert_eq!(place.text(), "{\n  \"a\": \"1\",\n  \"b\": \"2\"\n}\n");
}

#[test]
fn a_store_ends_although_the_mirror_waits_for_a_writer_that_never_comes_back() {
    let (ended, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let place = Place::new();
        let has_walked = Arc::new(AtomicBool::new(false));
        let walked = Arc::clone(&has_walked);
        let hooks = Hooks::new(move |point| {
            walked.fetch_or(point == Point::Walked, Ordering::SeqCst);
        });
        let db = place.options().hooks(hooks).in_memory().unwrap();
        db.set(b"a", b"1").unwrap();
        assert!(leave_pending(&db, b"pending", b"x"));
        let other = db.clone();
        let sync = std::thread::spawn(move || other.sync());
        until("a snapshot is taken", || has_walked.load(Ordering::SeqCst));
        db.abandon();
        let told = sync.join().unwrap();
        assert!(matches!(told, Err(Error::Closed)), "{told:?}");
        ended.send(()).unwrap();
    });
    assert_eq!(waiting.recv_timeout(Duration::from_secs(60)), Ok(()));
}

/// Where the process that is killed finds its directory.
const DIR: &str = "KV_TEST_MIRROR_DIR";

/// Entries of a round: a number in each, so that a file with two rounds in it shows.
const KEYS: usize = 300;

#[test]
#[ignore = "started by the test below, which kills it"]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = PathBuf::from(dir);
    let options =
        Options::new().json_mirror(dir.join("people.json")).json_mirror_every(Duration::from_millis(1));
    let db = options.open(dir.join("store")).unwrap();
    let first: i64 = get(&db, "round").map_or(0, |round| round.parse().unwrap());
    for round in first.. {
        let entries: Vec<_> = (0..KEYS).map(|n| (format!("k{n:04}"), round.to_string())).collect();
        db.set_many(&entries).unwrap();
        db.set(b"round", round.to_string().as_bytes()).unwrap();
    }
}

#[test]
fn a_process_killed_at_any_time_leaves_a_whole_file() {
    let place = Place::new();
    for kill in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_process_that_is_killed", "--ignored", "--test-threads", "1"]);
        let mut child =
            child.env(DIR, place.dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let before = fs::metadata(place.file()).map(|meta| meta.ino()).ok();
        let is_written = || fs::metadata(place.file()).map(|meta| meta.ino()).ok() != before;
        until("the process writes the file", || is_written() || child.try_wait_ended());
        std::thread::sleep(Duration::from_micros(kill * 613 % 9000));
        child.kill().unwrap();
        child.wait().unwrap();
        let text: serde_json::Value = serde_json::from_str(&place.text()).unwrap();
        assert!(
            [0, KEYS, KEYS + 1].contains(&text.as_object().unwrap().len()),
            "{}",
            text.as_object().unwrap().len()
        );
    }
    let db = place.open();
    assert_eq!(db.len(), KEYS + 1);
}

trait Ended {
    fn try_wait_ended(&self) -> bool;
}

impl Ended for std::process::Child {
    /// Whether the process is gone: then waiting for what it does is over too.
    fn try_wait_ended(&self) -> bool {
        !Path::new(&format!("/proc/{}", self.id())).exists()
    }
}
