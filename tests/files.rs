//! Files for people, and those of other stores: CSV and Redis commands go in and come out as what they say.

use kv::{Db, Error, Format, ScanOptions, SetOptions, TransferOptions, Transferred, Ttl};
use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn exported(db: &Db, format: Format) -> Vec<u8> {
    let mut text = Vec::new();
    db.export(&mut text, format, ScanOptions::new().ordered(true)).unwrap();
    text
}

/// What an import of `text` leaves.
fn imported<'o>(text: impl AsRef<[u8]>, options: impl Into<TransferOptions<'o>>) -> (Db, Transferred) {
    let db = Db::in_memory().unwrap();
    let done = db.import(text.as_ref(), options).unwrap_or_else(|e| panic!("{e}"));
    (db, done)
}

fn refused<'o>(text: impl AsRef<[u8]>, options: impl Into<TransferOptions<'o>>) -> (u64, String) {
    let db = Db::in_memory().unwrap();
    match db.import(text.as_ref(), options) {
        Err(Error::Import { line, reason }) => (line, reason),
        other => panic!("{:?} gives {other:?}", text.as_ref().escape_ascii().to_string()),
    }
}

fn value(db: &Db, key: &str) -> Option<String> {
    db.get(key.as_bytes()).unwrap().map(|value| value.escape_ascii().to_string())
}

#[test]
fn every_form_that_takes_all_bytes_gives_back_the_same_entries_and_expiries() {
    let db = Db::in_memory().unwrap();
    let hour = SetOptions::new().ttl(Duration::from_secs(3600));
    for (key, bytes) in [
        (&b""[..], &b""[..]),
        (b"plain", b"text"),
        (b"quote\"d,", b"a \"b\"\r\nc,d\n"),
        (&[0xff, 0], &[0xfe, b'"', b',']),
        (&[0x80], b"\xef\xbb\xbf"),
        ("k\u{e9}y".as_bytes(), "caf\u{e9}\u{feff}".as_bytes()),
        (b"*1\r\n$4", b"$3\r\nSET\r\n"),
    ] {
        db.set(key, bytes).unwrap();
        db.set_with(&[key, b"'"].concat(), bytes, hour).unwrap();
    }
    let first = exported(&db, Format::Ndjson);
    for format in [Format::Ndjson, Format::Csv, Format::Resp] {
        let text = exported(&db, format);
        let (other, done) = imported(&text, format);
        assert_eq!(done.entries, 14, "{format:?}");
        assert_eq!(done.text_bytes, text.len() as u64, "{format:?}");
        assert_eq!(exported(&other, Format::Ndjson), first, "{format:?}");
    }
}

/// Each read is interrupted by a signal once, as those of a pipe are where the process has a handler.
struct Interrupted<'t> {
    text: &'t [u8],
    is_next: bool,
}

impl Read for Interrupted<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.is_next = !self.is_next;
        match self.is_next {
            true => Err(ErrorKind::Interrupted.into()),
            false => self.text.read(to),
        }
    }
}

#[test]
fn a_signal_ends_no_import() {
    let db = Db::in_memory().unwrap();
    db.set(b"key", b"a value, and\na \"line\"").unwrap();
    db.set(b"other", b"1").unwrap();
    for format in [Format::Ndjson, Format::Json, Format::Csv, Format::Resp] {
        let text = exported(&db, format);
        let from = BufReader::with_capacity(3, Interrupted { text: &text, is_next: false });
        let copy = Db::in_memory().unwrap();
        copy.import(from, format).unwrap_or_else(|e| panic!("{format:?}: {e}"));
        assert_eq!((value(&copy, "key"), copy.len()), (value(&db, "key"), 2), "{format:?}");
    }
}

#[test]
fn csv_is_read_as_spreadsheets_write_it() {
    let text = "\u{feff}name,id,mail\r\nAlice,1,a@example.org\r\n\"Bob \"\"B\"\" Jones\",2,\n\r\n\"two\nlines, one comma\",3,\"x\"";
    let columns = TransferOptions::new(Format::Csv).key_column("id").value_column("name");
    let (db, done) = imported(text, columns);
    assert_eq!(done.entries, 3);
    assert_eq!(value(&db, "1").unwrap(), "Alice");
    assert_eq!(value(&db, "2").unwrap(), "Bob \\\"B\\\" Jones");
    assert_eq!(value(&db, "3").unwrap(), "two\\nlines, one comma");

    let (db, done) = imported("key,value,ttl_ms\na,1,60000\nb,2,\nc,3,0\n", Format::Csv);
    assert_eq!((done.entries, done.expired), (2, 1));
    assert!(matches!(db.ttl(b"a").unwrap(), Some(Ttl::Remaining(left)) if left <= Duration::from_secs(60)));
    assert_eq!(db.ttl(b"b").unwrap(), Some(Ttl::Never));

    let (db, _) = imported("key,value,base64\nAP8=,AQ==,key value\n_,/w==,value\n", Format::Csv);
    assert_eq!(db.get(&[0, 0xff]).unwrap().unwrap(), [1]);
    assert_eq!(db.get(b"_").unwrap().unwrap(), [0xff]);
    assert_eq!(imported("", Format::Csv).1.entries, 0);
}

#[test]
fn csv_that_was_cut_or_put_together_wrongly_is_refused_with_its_line() {
    let refused = |text: &str| refused(text, Format::Csv);
    assert_eq!(refused("id,value\n"), (1, "no column is named \"key\"".into()));
    assert_eq!(refused("key,value,key\n"), (1, "two columns are named \"key\"".into()));
    assert_eq!(refused("key,value\na\n"), (2, "1 fields, where the first row has 2".into()));
    assert_eq!(refused("key,value\na,b\nc,d,e\n"), (3, "3 fields, where the first row has 2".into()));
    assert_eq!(refused("key,value\n\"a\nb\",1\nc,\"cut"), (4, "a quote that is never closed".into()));
    assert_eq!(refused("key,value\na,\"b\"c\n"), (2, "text behind a quoted field".into()));
    assert_eq!(refused("key,value\na,b\"c\n"), (2, "a quote in a field that does not begin with one".into()));
    assert!(refused("key,value,ttl_ms\na,b,soon\n").1.contains("no number of milliseconds"));
    assert_eq!(refused("key,value,ttl_ms,expires_at_ms\na,b,1,1\n").1, "both expires_at_ms and ttl_ms");
    assert!(refused("key,value,base64\na,b,values\n").1.contains("is not key, value or key value"));
    assert!(refused("key,value,base64\na,*,value\n").1.starts_with("value: "));
}

/// Commands one a line, as they are typed.
const COMMANDS: &str = "\
SELECT 0
SET plain 1
SET gone 1
DEL gone nothing
SET soon 1 EX 3600
SET \"quoted key\" \"\\x00\\xff\"
SETEX short 100 v
PSETEX shorter 100000 v
SETNX plain 2
SETNX fresh 2
SET plain 3 XX
SET lacking 3 XX
SET soon 2 KEEPTTL
MSET m1 a m2 b
MSETNX m2 x m3 x
INCR n
INCRBY n 10
DECR n
DECRBY n 2
APPEND text ab
APPEND text cd
SET over 1
SET over 2 PXAT 1
SET past 1
PEXPIREAT past 1
SET never 1 EX 100
PERSIST never
SET later 1
EXPIRE later 1000
SET from 1 EX 100
RENAME from to
MULTI
SET t1 1
INCR t1
EXEC
MULTI
SET dropped 1
DISCARD
PING
";

fn check_commands(db: &Db) {
    let expected = [
        ("plain", "3"),
        ("soon", "2"),
        ("quoted key", "\\x00\\xff"),
        ("short", "v"),
        ("shorter", "v"),
        ("fresh", "2"),
        ("m1", "a"),
        ("m2", "b"),
        ("n", "8"),
        ("text", "abcd"),
        ("never", "1"),
        ("later", "1"),
        ("to", "1"),
        ("t1", "2"),
    ];
    let found: BTreeMap<String, String> = db
        .scan(ScanOptions::new())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (String::from_utf8(entry.key).unwrap(), entry.value.escape_ascii().to_string()))
        .collect();
    assert_eq!(found, expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
    let left = |key: &str| match db.ttl(key.as_bytes()).unwrap().unwrap() {
        Ttl::Never => None,
        Ttl::Remaining(left) => Some(left.as_secs_f64().ceil() as u64),
    };
    for (key, seconds) in [("soon", 3600), ("short", 100), ("shorter", 100), ("later", 1000), ("to", 100)] {
        assert!(left(key).is_some_and(|left| left <= seconds && left + 60 > seconds), "{key}");
    }
    for key in ["plain", "never", "m1", "n", "text"] {
        assert_eq!(left(key), None, "{key}");
    }
}

#[test]
fn commands_do_what_redis_does() {
    let (db, done) = imported(COMMANDS, Format::Resp);
    check_commands(&db);
    assert_eq!((done.deleted, done.expired), (3, 1));
    let (db, done) =
        imported("SET a 1\nSELECT 3\nSET a 3\nSELECT 0\nSET b 1\nFLUSHDB\nSET c 1\n", Format::Resp);
    assert_eq!((value(&db, "a"), value(&db, "b"), value(&db, "c")), (None, None, Some("1".into())));
    assert_eq!(done.skipped, [("database 3".to_owned(), 1)].into());
    let third = TransferOptions::new(Format::Resp).database(3);
    assert_eq!(value(&imported("SET a 1\nSELECT 3\nSET a 3\n", third).0, "a").unwrap(), "3");
}

#[test]
fn a_command_that_is_not_on_strings_ends_the_import_or_is_counted_by_its_name() {
    let text = "SET a 1\nHSET h f v\nhset h g v\nLPUSH l 1\nSET b 2\n";
    assert_eq!(refused(text, Format::Resp), (2, "HSET: no command on strings that this import knows".into()));
    let (db, done) = imported(text, TransferOptions::new(Format::Resp).skip_unknown(true));
    assert_eq!(done.skipped, [("HSET".to_owned(), 2), ("LPUSH".to_owned(), 1)].into());
    assert_eq!((done.entries, db.len()), (2, 2));
    // As many names as anybody likes do not fill the memory.
    let many: String = (0..1000).map(|n| format!("X{n}\n")).collect();
    let (_, done) = imported(many, TransferOptions::new(Format::Resp).skip_unknown(true));
    assert_eq!((done.skipped.len(), done.skipped.values().sum::<u64>()), (257, 1000));
}

#[test]
fn commands_that_were_cut_or_forged_are_refused_and_take_no_memory() {
    let resp = |text: &str| refused(text, Format::Resp).1;
    for cut in
        ["*1", "*1\r\n", "*1\r\n$3", "*1\r\n$3\r\nSE", "*1\r\n$3\r\nSET", "*2\r\n$3\r\nSET\r\n", "SET a 1"]
    {
        assert_eq!(resp(cut), "the input ends within a command", "{cut:?}");
    }
    assert!(resp("SET a 1\nMULTI\nSET b 2\n").contains("ends within a transaction"));
    assert!(resp("EXEC\n").contains("no transaction"));
    assert!(resp("MULTI\nMULTI\n").contains("no transaction"));
    assert_eq!(
        refused("SET a 1\n*1\r\n:1\r\n", Format::Resp),
        (2, "':' where a bulk string ($) must begin".into())
    );
    assert!(resp("*1048577\r\n").contains("the limit is 1048576"));
    assert!(resp("*1\r\n$2147483649\r\n").contains("more than 2147483648 bytes"));
    assert_eq!(resp("*1\r\n$2147483648\r\nx"), "the input ends within a command");
    assert!(resp("*18446744073709551616\r\n").contains("is no length"));
    assert!(resp("*-1\r\n").contains("is no length"));
    assert!(resp(&format!("*{}\r\n", "1".repeat(100))).contains("too long"));
    assert!(resp("*1\r\n$3\r\nSETX\r\n").contains("goes on"));
    assert!(resp(&"x".repeat(70_000)).contains("more than 65536 bytes"));
    assert!(resp("SET \"a\n").contains("quotes"));
    assert!(resp("REDIS0011\u{fa}...").contains("aof-use-rdb-preamble"));
    for bad in
        ["SET a\n", "SET a 1 EX\n", "SET a 1 EX x\n", "SET a 1 NO\n", "INCRBY a 1 2\n", "DEL\n", "MSET a\n"]
    {
        assert_eq!(refused(bad, Format::Resp).0, 1, "{bad}");
    }
    assert!(resp("SET a 1 EX 9223372036854775807\n").contains("too large"));
}

#[test]
fn progress_is_told_with_what_is_acknowledged_and_may_end_it() {
    let lines: Vec<String> = (0..5000).map(|n| format!("SET k{n} v\n")).collect();
    let text = lines.concat();
    let db = Db::in_memory().unwrap();
    let mut told: Vec<Transferred> = Vec::new();
    let options = TransferOptions::new(Format::Resp).total_bytes(text.len() as u64).progress(|done| {
        assert_eq!(db.len() as u64, done.entries);
        told.push(done.clone());
        done.entries < 1024
    });
    assert!(matches!(db.import(text.as_bytes(), options), Err(Error::Cancelled)));
    let last = told.last().unwrap();
    assert_eq!((last.entries, last.total_bytes), (1024, Some(text.len() as u64)));
    assert_eq!(last.text_bytes, lines[..1024].concat().len() as u64);

    let mut told = 0;
    let options = TransferOptions::new(Format::Csv).progress(|_| {
        told += 1;
        told < 2
    });
    assert!(matches!(db.export(Vec::new(), options, ScanOptions::new()), Err(Error::Cancelled)));
}

/// A Redis that keeps an append-only file, and ends with this.
struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs commands on a Redis whose append-only file is as given, and returns what the file holds.
fn append_only_file(dir: &Path, begins_as_rdb: bool) -> Vec<u8> {
    let socket = dir.join("redis.sock");
    let config = [
        ("port", "0"),
        ("unixsocket", socket.to_str().unwrap()),
        ("dir", dir.to_str().unwrap()),
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("aof-use-rdb-preamble", if begins_as_rdb { "yes" } else { "no" }),
        ("save", ""),
    ];
    let mut server = Command::new("redis-server");
    server.args(config.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]));
    let spawned = server.stdout(Stdio::null()).spawn();
    let _redis = Redis(spawned.expect("redis-server: scripts/need.sh redis-server=redis-server installs it"));
    let cli = |args: &[&str], input: &str| {
        let mut cli = Command::new("redis-cli");
        cli.arg("-s")
            .arg(&socket)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut cli = cli.spawn().unwrap();
        std::io::Write::write_all(&mut cli.stdin.take().unwrap(), input.as_bytes()).unwrap();
        String::from_utf8(cli.wait_with_output().unwrap().stdout).unwrap()
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("redis starts", &|| cli(&["PING"], "").trim() == "PONG");
    cli(&[], COMMANDS);
    cli(&["SET", "big", &"x".repeat(100_000)], "");
    cli(&["-n", "5", "SET", "elsewhere", "1"], "");
    if begins_as_rdb {
        cli(&["BGREWRITEAOF"], "");
        let is_over = || cli(&["INFO", "persistence"], "").contains("aof_rewrite_in_progress:0");
        until("redis rewrites its file", &is_over);
    }
    // Since Redis 7 a directory with a base and what came after it, before that one file.
    let is_part = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("appendonly.aof") && !name.ends_with(".manifest")
    };
    let mut files: Vec<_> = walk(dir).into_iter().filter(is_part).collect();
    files.sort_by_key(|name| name.to_string_lossy().contains(".incr."));
    files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect()
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn the_append_only_file_of_a_redis_moves_in() {
    let dir = tempfile::tempdir().unwrap();
    let file = append_only_file(dir.path(), false);
    let (db, done) = imported(file, Format::Resp);
    assert_eq!(db.take(b"big").unwrap().unwrap().len(), 100_000);
    check_commands(&db);
    assert_eq!(done.skipped.keys().collect::<Vec<_>>(), ["database 5"]);
    let dir = tempfile::tempdir().unwrap();
    let (line, reason) = refused(append_only_file(dir.path(), true), Format::Resp);
    assert_eq!(line, 1);
    assert!(reason.contains("aof-use-rdb-preamble"), "{reason}");
}

#[test]
fn a_renamed_entry_keeps_its_codec_and_its_metadata() {
    let db = Db::in_memory().unwrap();
    db.set(b"from", b"7").unwrap();
    let mut session = db.get_and_lock(b"from", kv::Wait::No).unwrap().unwrap();
    session.set_codec(kv::Tag::JSON);
    session.metadata_mut().insert("who".into(), b"me".to_vec());
    session.commit().unwrap();
    db.import(&b"RENAME from to\r\n"[..], Format::Resp).unwrap();
    let entry = db.entry(b"to").unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.codec), (&b"7"[..], kv::Tag::JSON));
    assert_eq!(entry.metadata.get("who").map(Vec::as_slice), Some(&b"me"[..]));
    assert!(db.entry(b"from").unwrap().is_none());
}

#[test]
fn a_row_of_more_fields_than_any_table_has_is_refused() {
    let endless = std::io::BufReader::new(std::io::repeat(b','));
    let error = Db::in_memory().unwrap().import(endless, Format::Csv).unwrap_err().to_string();
    assert!(error.contains("more than 65536 fields"), "{error}");
}
