//! Values of one type: what a codec wrote is read by that codec and by no other, wherever it has been meanwhile.

use kv::{
    Batch, Change, Codec, CodecError, CreateOptions, Db, Error, Expiry, Format, Json, KeyOptions,
    LoadOptions, ManualClock, Options, ScanOptions, SetOptions, Store, Tag, Text, Ttl, Wait, WatchOptions,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
struct User {
    name: String,
    age: u32,
}

fn alice(age: u32) -> User {
    User { name: "Alice".into(), age }
}

fn users(db: &Db) -> Store<User> {
    db.typed()
}

/// Numbers, of which each key has its own form; 13 has none.
#[derive(Clone, Default)]
struct Keyed;

impl Codec<u8> for Keyed {
    const TAG: Tag = Tag::user::<200>();

    fn encode(&self, key: &[u8], value: &u8, to: &mut Vec<u8>) -> Result<(), CodecError> {
        if *value == 13 {
            return Err("13 has no form".into());
        }
        to.push(*value ^ key[0]);
        Ok(())
    }

    fn decode(&self, key: &[u8], bytes: &[u8]) -> Result<u8, CodecError> {
        match bytes {
            [byte] => Ok(byte ^ key[0]),
            _ => Err(format!("{} bytes", bytes.len()).into()),
        }
    }
}

#[track_caller]
fn is_wrong<T: std::fmt::Debug>(outcome: Result<T, Error>, expected: Tag, found: Tag) {
    match outcome {
        Err(Error::WrongCodec { expected: e, found: f, .. }) => assert_eq!((e, f), (expected, found)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_verb_writes_and_reads_values() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let db = Options::new().clock(clock.clone()).in_memory().unwrap();
    let users = users(&db);
    assert_eq!(users.get(b"a").unwrap(), None);
    assert!(!users.replace(b"a", &alice(1)).unwrap());
    assert!(users.add(b"a", &alice(2)).unwrap() && !users.add(b"a", &alice(3)).unwrap());
    assert!(users.replace(b"a", &alice(4)).unwrap());
    let entry = users.entry(b"a").unwrap().unwrap();
    assert_eq!((entry.value, entry.codec), (alice(4), Tag::JSON));
    assert_eq!(users.compare_and_swap(b"a", entry.version + 1, &alice(5)).unwrap(), None);
    let version = users.compare_and_swap(b"a", entry.version, &alice(6)).unwrap().unwrap();
    assert_eq!(db.version(b"a").unwrap(), Some(version));
    users.set_for(b"b", &alice(7), Duration::from_secs(60)).unwrap();
    assert_eq!(db.ttl(b"b").unwrap(), Some(Ttl::Remaining(Duration::from_secs(60))));
    users.update(b"b", |user| user.map(|user| alice(user.age + 1))).unwrap().unwrap();
    assert_eq!(users.get(b"b").unwrap(), Some(alice(8)));
    assert_eq!(db.ttl(b"b").unwrap(), Some(Ttl::Remaining(Duration::from_secs(60))), "an update keeps it");
    users.set_many(&[("c", alice(9)), ("d", alice(10))]).unwrap();
    assert_eq!(users.get_many(&["d", "none", "c"]).unwrap(), [Some(alice(10)), None, Some(alice(9))]);
    let mut batch = Batch::new();
    users.set_in(&mut batch, b"e", &alice(11), Expiry::After(Duration::from_secs(1))).unwrap();
    db.typed::<_, Text>().set_in(&mut batch, b"f", &"text".into(), Expiry::Never).unwrap();
    batch.delete("c");
    db.apply(&batch).unwrap();
    assert_eq!(db.codec(b"f").unwrap(), Some(Tag::TEXT));
    let ages = |users: &Store<User>| -> Vec<u32> {
        let entries = users.scan(ScanOptions::new().start("a").end("f")).unwrap();
        entries.map(|entry| entry.unwrap().value.age).collect()
    };
    assert_eq!(ages(&users), [6, 8, 10, 11]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(ages(&users), [6, 8, 10]);
    assert_eq!(users.take(b"a").unwrap(), Some(alice(6)));
    assert_eq!(users.take(b"a").unwrap(), None);
    assert_eq!(users.update(b"d", |_| None).unwrap(), None);
    assert_eq!(users.update(b"d", |user| user).unwrap(), None);
    assert!(users.delete(b"b").unwrap() && !users.delete(b"b").unwrap());
    assert_eq!(db.len(), 1);
}

#[test]
fn a_value_of_another_codec_is_an_error_for_every_typed_read_and_stays() {
    let db = Db::in_memory().unwrap();
    let users = users(&db);
    db.set(b"raw", br#"{"name":"Alice","age":1}"#).unwrap();
    db.typed::<String, Text>().set(b"text", &r#"{"name":"Alice","age":1}"#.into()).unwrap();
    for (key, found) in [(&b"raw"[..], Tag::RAW), (b"text", Tag::TEXT)] {
        let value = db.get(key).unwrap();
        is_wrong(users.get(key), Tag::JSON, found);
        is_wrong(users.entry(key), Tag::JSON, found);
        is_wrong(users.get_many(&[key]), Tag::JSON, found);
        is_wrong(users.take(key), Tag::JSON, found);
        is_wrong(users.update(key, |_| None), Tag::JSON, found);
        is_wrong(db.get_as(key, Tag::JSON), Tag::JSON, found);
        let loader = || -> Result<_, Error> { panic!("there is a value") };
        is_wrong(users.get_or_load(key, SetOptions::new(), loader), Tag::JSON, found);
        is_wrong(users.get_or_load_with(key, LoadOptions::new(), loader), Tag::JSON, found);
        assert_eq!(db.get(key).unwrap(), value, "a plain read takes any");
        assert_eq!(db.get_as(key, Tag::RAW).unwrap(), value);
        assert_eq!(db.codec(key).unwrap(), Some(found));
    }
    let message = users.get(b"raw").unwrap_err().to_string();
    assert_eq!(message, "the value of a key of 3 bytes was written as raw bytes, not as json");
    let message = users.get(b"text").unwrap_err().to_string();
    assert_eq!(message, "the value of a key of 4 bytes was written as text, not as json");
    // A scan goes on behind what it cannot read.
    users.set(b"user", &alice(1)).unwrap();
    let outcomes: Vec<_> = users.scan(ScanOptions::new().ordered(true)).unwrap().map(|e| e.is_ok()).collect();
    assert_eq!(outcomes, [false, false, true]);
    // Overwritten, they are values.
    users.set(b"raw", &alice(2)).unwrap();
    assert_eq!(users.get(b"raw").unwrap(), Some(alice(2)));
    db.set(b"raw", b"{}").unwrap();
    is_wrong(users.get(b"raw"), Tag::JSON, Tag::RAW);
}

#[test]
fn bytes_that_the_codec_cannot_read_are_an_error_that_names_it() {
    let db = Db::in_memory().unwrap();
    db.set_with(b"key", b"[1, 2", SetOptions::new().codec(Tag::JSON)).unwrap();
    let error = users(&db).get(b"key").unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("a value of a key of 3 bytes cannot be decoded as json: "), "{text}");
    is_codec_error(users(&db).take(b"key"));
    assert_eq!(db.get(b"key").unwrap().as_deref(), Some(&b"[1, 2"[..]), "what cannot be read is not taken");
}

fn is_codec_error<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Codec { .. })), "{outcome:?}");
}

#[test]
fn a_codec_of_ones_own_has_the_key_in_hand_and_may_refuse_a_value() {
    let db = Db::in_memory().unwrap();
    let numbers = db.typed::<u8, Keyed>();
    numbers.set(b"a", &7).unwrap();
    numbers.set(b"b", &7).unwrap();
    assert_ne!(db.get(b"a").unwrap(), db.get(b"b").unwrap());
    assert_eq!(numbers.get_many(&["a", "b"]).unwrap(), [Some(7), Some(7)]);
    assert_eq!(db.codec(b"a").unwrap(), Some(Tag::user::<200>()));
    is_wrong(users(&db).get(b"a"), Tag::JSON, Tag::user::<200>());
    is_codec_error(numbers.set(b"a", &13));
    is_codec_error(numbers.set_many(&[("x", 1), ("y", 13)]));
    let loaded = numbers.get_or_load(b"z", SetOptions::new(), || Ok::<_, Error>(Some(13)));
    assert!(
        matches!(&loaded, Err(Error::Loader { reason }) if reason.contains("13 has no form")),
        "{loaded:?}"
    );
    assert_eq!((numbers.get(b"a").unwrap(), db.len()), (Some(7), 2));
}

#[test]
fn the_codec_stays_with_a_value_through_compaction_crash_reopen_backup_and_export() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new().compression(kv::Compression::Zstd { level: 3, threshold_bytes: 64 });
    let check = |db: &Db| {
        for n in 0..500u32 {
            let key = n.to_be_bytes();
            assert_eq!(users(db).get(&key).unwrap(), Some(alice(n)), "{n}");
        }
        let long = db.typed::<String, Text>().get(b"long").unwrap();
        assert_eq!(long, Some("text ".repeat(100)));
        is_wrong(db.get_as(b"plain", Tag::JSON), Tag::JSON, Tag::RAW);
        assert_eq!(db.typed::<u8, Keyed>().get(b"own").unwrap(), Some(7));
    };
    {
        let db = options().open(dir.path().join("store")).unwrap();
        for n in 0..500u32 {
            users(&db).set(&n.to_be_bytes(), &alice(n)).unwrap();
            db.set(b"often", &n.to_be_bytes()).unwrap();
        }
        db.typed::<String, Text>().set(b"long", &"text ".repeat(100)).unwrap();
        db.set(b"plain", b"1").unwrap();
        db.typed::<u8, Keyed>().set(b"own", &7).unwrap();
        db.compact().unwrap();
        check(&db);
        db.abandon();
    }
    let db = options().open(dir.path().join("store")).unwrap();
    check(&db);
    db.compact().unwrap();
    db.backup(dir.path().join("backup")).unwrap();
    let mut text = Vec::new();
    db.export(&mut text, Format::Ndjson, ScanOptions::new()).unwrap();
    db.close().unwrap();
    check(&options().open(dir.path().join("store")).unwrap());
    check(&options().open(dir.path().join("backup")).unwrap());
    let other = Db::in_memory().unwrap();
    other.import(&text[..], Format::Ndjson).unwrap();
    check(&other);
    let salvaged = dir.path().join("salvaged");
    kv::salvage(dir.path().join("backup"), &salvaged).unwrap();
    check(&options().open(&salvaged).unwrap());
}

#[test]
fn what_changes_no_value_keeps_its_codec_and_a_plain_write_takes_it_away() {
    let db = Db::in_memory().unwrap();
    let numbers = db.typed::<i64, Json>();
    numbers.set(b"n", &41).unwrap();
    assert_eq!(db.increment(b"n", 1).unwrap(), 42);
    assert_eq!(db.increment_as(b"new", 1, Tag::JSON).unwrap(), 1);
    assert_eq!(numbers.get(b"new").unwrap(), Some(1));
    is_wrong(db.increment_as(b"n", 1, Tag::TEXT), Tag::TEXT, Tag::JSON);
    assert_eq!(db.increment_as(b"n", 0, Tag::JSON).unwrap(), 42);
    assert!(db.expire(b"n", Duration::from_secs(60)).unwrap() && db.persist(b"n").unwrap());
    let mut session = db.get_and_lock(b"n", Wait::No).unwrap().unwrap();
    assert_eq!(session.codec(), Tag::JSON);
    *session.value_mut() = b"43".to_vec();
    session.commit().unwrap();
    assert_eq!(numbers.get(b"n").unwrap(), Some(43));
    let mut session = db.get_and_lock(b"n", Wait::No).unwrap().unwrap();
    session.set_codec(Tag::TEXT);
    session.commit().unwrap();
    is_wrong(numbers.get(b"n"), Tag::JSON, Tag::TEXT);
    db.set(b"n", b"44").unwrap();
    assert_eq!(db.codec(b"n").unwrap(), Some(Tag::RAW));
}

#[test]
fn digits_are_added_to_no_value_that_is_something_else() {
    let db = Db::in_memory().unwrap();
    // In MessagePack that is 52.
    db.set_with(b"packed", b"4", SetOptions::new().codec(Tag::MESSAGE_PACK)).unwrap();
    for codec in [Tag::MESSAGE_PACK, Tag::PROTOBUF, Tag::POSTCARD, Tag::GOB, Tag::PICKLE] {
        assert!(matches!(db.increment_as(b"new", 1, codec), Err(Error::NotAnInteger { .. })), "{codec}");
    }
    assert!(matches!(db.increment(b"packed", 1), Err(Error::NotAnInteger { .. })));
    assert_eq!((db.get(b"packed").unwrap(), db.len()), (Some(b"4".to_vec()), 1));
    assert_eq!(db.increment_as(b"own", 1, Keyed::TAG).unwrap(), 1);
    assert_eq!(db.codec(b"own").unwrap(), Some(Keyed::TAG), "only its users know what is a value of it");
}

#[test]
fn updates_of_many_threads_are_all_counted() {
    const THREADS: u32 = 4;
    const UPDATES: u32 = 500;
    let db = Db::in_memory().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..UPDATES {
                    let add = |user: Option<User>| Some(alice(user.map_or(0, |user| user.age) + 1));
                    users(&db).update(b"k", add).unwrap();
                }
            });
        }
    });
    assert_eq!(users(&db).get(b"k").unwrap(), Some(alice(THREADS * UPDATES)));
}

#[test]
fn a_loader_brings_a_value_for_all_who_wait_and_none_for_those_of_another_codec() {
    let db = Db::in_memory().unwrap();
    let calls = AtomicU32::new(0);
    // The loader runs until the others have had time to queue: they meet the value, or wait for it. Either way they hear its codec.
    let begun = Barrier::new(3);
    std::thread::scope(|scope| {
        let loaded = scope.spawn(|| {
            users(&db).get_or_load(b"k", SetOptions::new(), || {
                calls.fetch_add(1, Ordering::SeqCst);
                begun.wait();
                Ok::<_, Error>(Some(alice(1)))
            })
        });
        let typed = scope.spawn(|| {
            begun.wait();
            users(&db).get_or_load(b"k", SetOptions::new(), || Ok::<_, Error>(Some(alice(2))))
        });
        let texts = scope.spawn(|| {
            begun.wait();
            let texts = db.typed::<String, Text>();
            texts.get_or_load(b"k", SetOptions::new(), || Ok::<_, Error>(Some("text".into())))
        });
        assert_eq!(loaded.join().unwrap().unwrap(), Some(alice(1)));
        assert_eq!(typed.join().unwrap().unwrap(), Some(alice(1)));
        is_wrong(texts.join().unwrap(), Tag::TEXT, Tag::JSON);
    });
    assert_eq!((calls.load(Ordering::SeqCst), db.codec(b"k").unwrap()), (1, Some(Tag::JSON)));
    let none = users(&db).get_or_load(b"none", SetOptions::new(), || Ok::<_, Error>(None));
    assert_eq!(none.unwrap(), None);
}

#[test]
fn a_value_that_is_loaded_anew_has_the_codec_too() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let db = Options::new().clock(clock.clone()).in_memory().unwrap();
    let hour = Duration::from_secs(3600);
    let options = LoadOptions::new().ttl(hour).fresh_for(hour / 2);
    let get =
        |age| users(&db).get_or_load_with(b"k", options, move || Ok::<_, Error>(Some(alice(age)))).unwrap();
    assert_eq!(get(1), Some(alice(1)));
    clock.advance(hour / 2);
    assert_eq!(get(2), Some(alice(1)));
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while users(&db).get(b"k").unwrap() != Some(alice(2)) {
        assert!(std::time::Instant::now() < until, "it is not loaded anew");
        std::thread::yield_now();
    }
}

#[test]
fn a_session_edits_a_value_and_commits_it_with_the_codec() {
    let db = Db::in_memory().unwrap();
    let users = users(&db);
    assert!(users.get_and_lock(b"k", Wait::No).unwrap().is_none());
    let mut session = users.create_and_lock(b"k", Wait::No, CreateOptions::of(alice(1))).unwrap().unwrap();
    assert_eq!((session.key(), session.version(), session.value()), (&b"k"[..], 0, &alice(1)));
    session.value_mut().age = 2;
    session.metadata_mut().insert("by".into(), b"test".to_vec());
    assert_eq!(users.get(b"k").unwrap(), None, "nobody sees it before");
    let version = session.commit_and_keep().unwrap();
    assert_eq!((users.get(b"k").unwrap(), db.version(b"k").unwrap()), (Some(alice(2)), Some(version)));
    session.value_mut().age = 3;
    session.set_expiry(Expiry::After(Duration::from_secs(60)));
    session.commit().unwrap();
    let entry = users.entry(b"k").unwrap().unwrap();
    assert_eq!((entry.value, entry.codec, &entry.metadata["by"][..]), (alice(3), Tag::JSON, &b"test"[..]));
    assert!(entry.expires_at_ms.is_some());
    // A key that has a value is taken where that is allowed, and keeps it.
    let none = users.create_and_lock(b"k", Wait::No, CreateOptions::of(alice(9))).unwrap();
    assert!(none.is_none());
    let allowed = CreateOptions::of(alice(9)).allow_existing(true);
    let mut session = users.create_and_lock(b"k", Wait::No, allowed).unwrap().unwrap();
    assert_eq!(session.value(), &alice(3));
    assert!(matches!(users.get_and_lock(b"k", Wait::No), Err(Error::KeyLocked)));
    // Somebody else was faster: the session is there still, reads anew, and then replaces that.
    session.value_mut().age = 4;
    users.set(b"k", &alice(10)).unwrap();
    let failed = session.commit_or_keep().unwrap_err();
    assert!(matches!(failed.error, Error::Conflict));
    let mut session = failed.session;
    session.reload().unwrap();
    assert_eq!(session.value(), &alice(10));
    session.delete_on_commit(true);
    assert_eq!(session.commit_and_keep().unwrap(), 0);
    assert!(!db.contains(b"k").unwrap());
    session.value_mut().age = 11;
    session.commit().unwrap();
    assert_eq!(users.get(b"k").unwrap(), Some(alice(11)));
    let session = users.create_generated_and_lock(&KeyOptions::new().prefix("user:"), alice(12)).unwrap();
    let key = session.key().to_vec();
    assert!(key.starts_with(b"user:"));
    session.commit().unwrap();
    assert_eq!(users.get(&key).unwrap(), Some(alice(12)));
}

#[test]
fn a_session_of_a_value_that_cannot_be_read_locks_nothing_and_one_that_cannot_be_written_goes_on() {
    let db = Db::in_memory().unwrap();
    db.typed::<String, Text>().set(b"text", &"{}".into()).unwrap();
    db.set_with(b"cut", b"{", SetOptions::new().codec(Tag::JSON)).unwrap();
    is_wrong(users(&db).get_and_lock(b"text", Wait::No), Tag::JSON, Tag::TEXT);
    is_codec_error(users(&db).get_and_lock(b"cut", Wait::No));
    let allowed = || CreateOptions::of(alice(1)).allow_existing(true);
    is_wrong(users(&db).create_and_lock(b"text", Wait::No, allowed()), Tag::JSON, Tag::TEXT);
    is_codec_error(users(&db).create_and_lock(b"cut", Wait::No, allowed()));
    for key in [&b"text"[..], b"cut"] {
        assert!(db.get_and_lock(key, Wait::No).unwrap().is_some(), "nobody has it");
    }
    let numbers = db.typed::<u8, Keyed>();
    numbers.set(b"n", &7).unwrap();
    let mut session = numbers.get_and_lock(b"n", Wait::No).unwrap().unwrap();
    *session.value_mut() = 13;
    let failed = session.commit_or_keep().unwrap_err();
    assert!(matches!(failed.error, Error::Codec { attempted: "encoded", .. }));
    let mut session = failed.session;
    assert_eq!((session.value(), numbers.get(b"n").unwrap()), (&13, Some(7)));
    *session.value_mut() = 8;
    session.commit().unwrap();
    assert_eq!(numbers.get(b"n").unwrap(), Some(8));
    // What somebody else wrote meanwhile with another codec is told by the reload.
    let mut session = numbers.get_and_lock(b"n", Wait::No).unwrap().unwrap();
    db.set(b"n", b"raw").unwrap();
    is_wrong(session.reload(), Keyed::TAG, Tag::RAW);
    db.delete(b"n").unwrap();
    session.reload().unwrap();
    assert_eq!((session.value(), session.version()), (&8, 0));
    session.rollback();
    assert!(!db.contains(b"n").unwrap());
}

#[test]
fn whoever_is_told_of_a_value_is_told_its_codec() {
    let (tell, told) = std::sync::mpsc::channel();
    let options = Options::new().listener_replaced(true);
    let listener = move |event: &kv::Event| {
        let _ = tell.send(event.codec);
    };
    let db = options.listener(listener).in_memory().unwrap();
    let mut watch = db.watch(WatchOptions::new()).unwrap();
    let mut put = || match watch.next_change(Wait::No).unwrap() {
        Some(Change::Put(entry)) => entry.codec,
        other => panic!("{other:?}"),
    };
    users(&db).set(b"k", &alice(1)).unwrap();
    db.typed::<String, Text>().set(b"k", &"text".into()).unwrap();
    db.set(b"k", b"raw").unwrap();
    assert_eq!([put(), put(), put()], [Tag::JSON, Tag::TEXT, Tag::RAW]);
    db.typed::<u8, Keyed>().set(b"k", &1).unwrap();
    db.delete(b"k").unwrap();
    let told: Vec<Tag> = (0..4).map(|_| told.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    assert_eq!(told, [Tag::JSON, Tag::TEXT, Tag::RAW, Keyed::TAG]);
}

#[test]
fn an_import_refuses_a_codec_that_nobody_knows() {
    let db = Db::in_memory().unwrap();
    for codec in ["yaml", "8", "255"] {
        let line = format!(r#"{{"key":"k","value":"v","codec":"{codec}"}}"#);
        let error = db.import(line.as_bytes(), Format::Ndjson).unwrap_err();
        assert!(matches!(&error, Error::Import { line: 1, reason } if reason.contains(codec)), "{error}");
    }
    assert!(db.is_empty());
}

/// What every codec promises, of two values.
#[cfg(any(feature = "msgpack", feature = "postcard", feature = "prost"))]
fn keeps<T, C>(one: T, two: T)
where
    T: Clone + PartialEq + std::fmt::Debug,
    C: Codec<T> + Default,
{
    let db = Db::in_memory().unwrap();
    let store = db.typed::<T, C>();
    for value in [&one, &two] {
        store.set(b"k", value).unwrap();
        assert_eq!(store.get(b"k").unwrap().as_ref(), Some(value));
    }
    assert_eq!(db.codec(b"k").unwrap(), Some(C::TAG));
    is_wrong(db.typed::<String, Text>().get(b"k"), Tag::TEXT, C::TAG);
    // Whoever shares the store may have written anything.
    let whole = db.get(b"k").unwrap().unwrap();
    for len in 0..whole.len() {
        db.set_with(b"cut", &whole[..len], SetOptions::new().codec(C::TAG)).unwrap();
        let _ = store.get(b"cut");
    }
    db.set_with(b"more", &[&whole[..], &[0xc1]].concat(), SetOptions::new().codec(C::TAG)).unwrap();
    is_codec_error(store.get(b"more"));
}

#[cfg(feature = "msgpack")]
#[test]
fn message_pack_keeps_values_with_the_names_of_their_fields() {
    keeps::<User, kv::MessagePack>(alice(1), User { name: String::new(), age: u32::MAX });
    let db = Db::in_memory().unwrap();
    db.typed::<User, kv::MessagePack>().set(b"k", &alice(30)).unwrap();
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"\x82\xa4name\xa5Alice\xa3age\x1e"[..]));
}

#[cfg(feature = "postcard")]
#[test]
fn postcard_keeps_values() {
    keeps::<User, kv::Postcard>(alice(1), User { name: String::new(), age: u32::MAX });
}

#[cfg(feature = "prost")]
#[test]
fn protobuf_keeps_messages() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Person {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(uint32, tag = "2")]
        age: u32,
    }
    keeps::<Person, kv::Protobuf>(Person::default(), Person { name: "Alice".into(), age: 30 });
}

/// Nests as deep as its bytes say.
#[derive(Serialize, Deserialize, Debug)]
struct Nested(Vec<Nested>);

/// Bytes that anybody may have written, of a value within a value and so on.
#[track_caller]
fn refuses_depth<C: Codec<Nested> + Default>(bytes: &[u8]) {
    let db = Db::in_memory().unwrap();
    db.set_with(b"k", bytes, SetOptions::new().codec(C::TAG)).unwrap();
    let store = db.typed::<Nested, C>();
    is_codec_error(store.get(b"k"));
}

#[test]
fn json_refuses_what_nests_too_deep_for_the_stack() {
    refuses_depth::<Json>(&[b'['; 1_000_000]);
}

#[cfg(feature = "msgpack")]
#[test]
fn message_pack_refuses_what_nests_too_deep_for_the_stack() {
    refuses_depth::<kv::MessagePack>(&[0x91; 1_000_000]);
}
