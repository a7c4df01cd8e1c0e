//! What stands in Redis for a value is what the encoder makes of it, in every part of the exchange.

use super::gate::until;
use super::server::Redis;
use super::{bytes, hears, with, PATIENCE, PATIENT};
use kv::encoders::{JsonFromMsgpack, MsgpackFromJson};
use kv::{Db, Encoder, EncoderError, Error, Expiry, Hashes, Options, TierOptions, WhenDeaf};
use redis::Commands;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

/// MessagePack of `{"name": "Al", "age": 3}` with the keys in this order, which is not the one that comes back.
const AL: &[u8] = b"\x82\xa4name\xa2Al\xa3age\x03";
const AL_SORTED: &[u8] = b"\x82\xa3age\x03\xa4name\xa2Al";
const AL_JSON: &str = r#"{"age":3,"name":"Al"}"#;
/// MessagePack of bytes, which JSON does not have.
const NO_JSON: &[u8] = b"\xc4\x01x";

fn json(redis: &Redis) -> TierOptions {
    TierOptions::new(redis.url()).timeout(PATIENT).encoder(JsonFromMsgpack)
}

fn fetches(db: &Db) -> u64 {
    db.tier_stats().unwrap().unwrap().fetches
}

/// Options whose log lines are kept.
fn logged(options: Options) -> (Options, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&lines);
    (options.logger(move |line| to.lock().unwrap().push(line.to_string())), lines)
}

fn preload(db: &Db) -> (u64, u64) {
    let done = db.preload(b"*", 0, |_| ControlFlow::Continue(())).unwrap();
    (done.copied, done.removed)
}

#[test]
fn values_are_json_in_redis_and_json_of_others_is_read() {
    let redis = Redis::start();
    let (a, b) = (with(json(&redis)).in_memory().unwrap(), with(json(&redis)).in_memory().unwrap());
    a.set(b"al", AL).unwrap();
    a.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:al"), bytes(AL_JSON));
    assert_eq!(a.get(b"al").unwrap().as_deref(), Some(AL), "what was set is left as it is");
    assert_eq!(b.get(b"al").unwrap().as_deref(), Some(AL_SORTED));
    redis.set("t:theirs", " [1, 2.5,\n\"x\"] ");
    assert_eq!(b.get(b"theirs").unwrap().as_deref(), Some(&b"\x93\x01\xcb\x40\x04\0\0\0\0\0\0\xa1x"[..]));
    let other =
        with(TierOptions::new(redis.url()).timeout(PATIENT).encoder(MsgpackFromJson)).in_memory().unwrap();
    other.set(b"m", AL_JSON.as_bytes()).unwrap();
    other.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:m").as_deref(), Some(AL_SORTED));
}

#[test]
fn what_cannot_be_decoded_fails_its_reader_with_the_reason_and_nobody_else() {
    let redis = Redis::start();
    redis.set("t:bad", "{\"a\":");
    redis.set("t:good", "7");
    for is_miss in [false, true] {
        let db = with(json(&redis).unreachable_is_miss(is_miss)).in_memory().unwrap();
        let Err(Error::Tier { reason }) = db.get(b"bad") else { panic!("it was read") };
        for part in ["of 3 bytes", "its 5 bytes", "EOF"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(matches!(db.increment(b"bad", 1), Err(Error::Tier { .. })));
        assert!(matches!(db.increment_shared(b"bad", 1), Err(Error::Tier { .. })));
        assert_eq!(db.get(b"good").unwrap(), Some(vec![7]));
        assert_eq!(preload(&db), (0, 0), "good is here, bad cannot be");
        assert_eq!(db.tier_stats().unwrap().unwrap().failing, None);
    }
    assert_eq!(redis.get("t:bad"), bytes("{\"a\":"));
}

#[test]
fn what_a_preload_cannot_decode_is_told_with_and_without_reads_by_a_thread_of_the_store() {
    let redis = Redis::start();
    redis.set("t:bad", "{\"a\":");
    redis.set("t:worse", "[");
    for reads in [true, false] {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        let here = std::thread::current().id();
        let log = move |line: &str| {
            assert_ne!(std::thread::current().id(), here);
            to.lock().unwrap().push(line.to_string());
        };
        let db = with(json(&redis).reads(reads)).background(false).logger(log).in_memory().unwrap();
        assert_eq!(preload(&db), (0, 0));
        until("both are told", || {
            let lines = lines.lock().unwrap();
            lines.iter().filter(|line| line.contains("tier: not copied: ")).count() == 2
        });
    }
}

#[test]
fn what_cannot_be_encoded_is_told_holds_nothing_up_and_stays_here() {
    let mut redis = Redis::start();
    redis.set("t:k", "\"older\"");
    let tier = json(&redis).fresh(WhenDeaf::Drop);
    let (options, lines) = logged(with(tier));
    let db = options.in_memory().unwrap();
    until("changes are heard", || hears(&db));
    db.set(b"k", NO_JSON).unwrap();
    db.set(b"next", AL).unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!((redis.get("t:k"), redis.get("t:next")), (None, bytes(AL_JSON)));
    let told = lines.lock().unwrap().iter().filter(|line| line.contains("1 bytes is not sent")).count();
    assert_eq!(told, 1, "{:?}", lines.lock().unwrap());
    // It is not taken for one that was removed elsewhere: neither by who compares nor by who preloads.
    assert_eq!(preload(&db), (0, 0));
    redis.kill();
    until("it is noticed", || !hears(&db));
    redis.up();
    until("all is sent again", || redis.get("t:next") == bytes(AL_JSON));
    until("changes are heard", || hears(&db));
    redis.set("t:next", "1");
    until("the comparison is over", || db.get(b"next").is_ok_and(|value| value == Some(vec![1])));
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(NO_JSON));
    // Unless somebody else says what it is.
    redis.set("t:k", "2");
    until("it is seen", || db.get(b"k").is_ok_and(|value| value == Some(vec![2])));
    let refused = db.add_shared(b"shared", NO_JSON, Expiry::Never).unwrap_err().to_string();
    assert!(refused.contains("not applied"), "{refused}");
}

#[test]
fn one_value_in_another_form_is_not_taken_for_another_value() {
    let redis = Redis::start();
    redis.set("t:theirs", "[ 1 ]");
    let db = with(json(&redis).fresh(WhenDeaf::Drop)).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    db.set(b"al", AL).unwrap();
    assert_eq!(db.get(b"theirs").unwrap(), Some(vec![0x91, 1]));
    db.flush(PATIENCE).unwrap();
    assert_eq!(preload(&db), (0, 0));
    let version = db.version(b"al").unwrap();
    for kind in ["pubsub", "normal"] {
        let _: i64 =
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).query(&mut redis.client()).unwrap();
        // Its keys are compared after the ones that stood here.
        let last = format!("last {kind}");
        db.set(last.as_bytes(), &[1]).unwrap();
        db.flush(PATIENCE).unwrap();
        until("changes are heard", || hears(&db));
        redis.set(&format!("t:{last}"), "2");
        until("it is seen", || db.get(last.as_bytes()).is_ok_and(|value| value == Some(vec![2])));
    }
    assert_eq!(db.version(b"al").unwrap(), version);
    assert_eq!(db.get(b"al").unwrap().as_deref(), Some(AL));
}

#[test]
fn counters_are_plain_numbers_in_redis_and_swaps_compare_what_they_mean() {
    let redis = Redis::start();
    let (a, b) = (with(json(&redis)).in_memory().unwrap(), with(json(&redis)).in_memory().unwrap());
    assert_eq!((a.increment_shared(b"n", 200).unwrap(), b.increment_shared(b"n", 1).unwrap()), (200, 201));
    assert_eq!(redis.get("t:n"), bytes("201"));
    let theirs: i64 = redis.client().incr("t:n", 1).unwrap();
    assert_eq!((theirs, a.increment_shared(b"n", 0).unwrap()), (202, 202));
    assert_eq!(a.get(b"n").unwrap(), Some(vec![0xcc, 202]));
    assert_eq!(a.increment(b"n", 1).unwrap(), 203);
    a.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:n"), bytes("203"));
    a.set(b"al", AL).unwrap();
    assert!(matches!(a.increment_shared(b"al", 1), Err(Error::NotAnInteger { .. })));
    // By who wrote it, in the form that it wrote; by others in theirs.
    assert!(a.compare_and_swap_shared(b"al", Some(AL), AL).unwrap());
    assert!(b.compare_and_swap_shared(b"al", Some(AL_SORTED), &[1]).unwrap());
    assert!(!a.compare_and_swap_shared(b"al", Some(AL), &[2]).unwrap());
    assert!(b.add_shared(b"new", &[0xc3], Expiry::Never).unwrap());
    assert_eq!((redis.get("t:al"), redis.get("t:new")), (bytes("1"), bytes("true")));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_frames_are_those_of_any_client_and_none_is_larger_than_allowed() {
    let redis = Redis::start();
    let open = || {
        let options =
            with(TierOptions::new(redis.url()).timeout(PATIENT)).set("tier_encoder", "zstd:5").unwrap();
        options.value_bytes_max(100_000).in_memory().unwrap()
    };
    let (a, b) = (open(), open());
    let value = b"abc".repeat(30_000);
    a.set(b"k", &value).unwrap();
    a.set(b"short", b"s").unwrap();
    assert_eq!(a.increment_shared(b"n", 5).unwrap(), 5);
    a.flush(PATIENCE).unwrap();
    let frame = redis.get("t:k").unwrap();
    assert!(frame.len() < 200 && zstd::stream::decode_all(&frame[..]).unwrap() == value);
    assert_eq!((redis.get("t:short"), redis.get("t:n")), (bytes("s"), bytes("5")));
    assert_eq!(b.get(b"k").unwrap(), Some(value));
    redis.set("t:plain", "as it is");
    assert_eq!(b.get(b"plain").unwrap(), bytes("as it is"));
    for (key, bomb) in [
        ("said", zstd::bulk::compress(&vec![0; 50_000_000], 1).unwrap()),
        ("unsaid", zstd::stream::encode_all(&vec![0; 50_000_000][..], 1).unwrap()),
        ("torn", frame[..frame.len() - 1].to_vec()),
    ] {
        let _: () = redis.client().set(format!("t:{key}"), bomb).unwrap();
        let refused = b.get(key.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("cannot be decoded"), "{key}: {refused}");
    }
}

#[test]
fn hashes_are_read_where_that_is_asked_for_and_other_types_never() {
    let redis = Redis::start();
    let mut client = redis.client();
    let _: () = client.hset_multiple("t:h", &[("name", "Al"), ("age", "3")]).unwrap();
    let _: () = client.hset_multiple("t:h2", &[("a", "1")]).unwrap();
    let _: () = client.rpush("t:list", "x").unwrap();
    redis.set("t:s", "\"s\"");
    let refuses = with(json(&redis)).in_memory().unwrap();
    let refused = refuses.get(b"h").unwrap_err().to_string();
    assert!(refused.contains("is no string: GET: WRONGTYPE"), "{refused}");
    let tier = json(&redis).hashes(Hashes::MessagePack).fresh(WhenDeaf::Drop);
    let db = with(tier).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    let al: &[u8] = b"\x82\xa3age\xa13\xa4name\xa2Al";
    assert_eq!(db.get_many(&["h", "s", "none"]).unwrap(), [Some(al.to_vec()), Some(b"\xa1s".to_vec()), None]);
    let refused = db.get(b"list").unwrap_err().to_string();
    assert!(refused.contains("WRONGTYPE"), "{refused}");
    let before = fetches(&db);
    assert_eq!(db.get(b"h").unwrap().as_deref(), Some(al), "a copy");
    assert_eq!(fetches(&db), before);
    let _: () = client.hset("t:h", "age", "4").unwrap();
    until("a change of a field is seen", || {
        db.get(b"h").unwrap().as_deref() == Some(b"\x82\xa3age\xa14\xa4name\xa2Al")
    });
    // What was heard of may be dropped once more than need be.
    until("all are copied and stay the same, and the list is none", || {
        preload(&db) == (0, 0) && db.len() == 3
    });
    // As JSON, with its time; and a change here makes it a string.
    let _: () = client.pexpire("t:h2", 60_000).unwrap();
    let plain =
        with(TierOptions::new(redis.url()).timeout(PATIENT).hashes(Hashes::Json)).in_memory().unwrap();
    assert_eq!(plain.get(b"h2").unwrap(), bytes(r#"{"a":"1"}"#));
    assert!(matches!(plain.ttl(b"h2").unwrap(), Some(kv::Ttl::Remaining(_))));
    plain.set(b"h2", b"now a string").unwrap();
    plain.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:h2"), bytes("now a string"));
}

#[test]
fn an_encoder_that_panics_has_failed_for_that_value() {
    struct Panics;
    impl Encoder for Panics {
        fn encode(&self, _key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
            assert_ne!(value, b"bad", "as the test wants it");
            Ok(value.to_vec())
        }
        fn decode(&self, key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
            assert_ne!(key, b"theirs", "as the test wants it");
            Ok(string.to_vec())
        }
    }
    let redis = Redis::start();
    let (options, lines) = logged(with(TierOptions::new(redis.url()).timeout(PATIENT).encoder(Panics)));
    let db = options.in_memory().unwrap();
    db.set(b"k", b"bad").unwrap();
    db.set(b"other", b"good").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!((redis.get("t:k"), redis.get("t:other")), (None, bytes("good")));
    redis.set("t:theirs", "x");
    let refused = db.get(b"theirs").unwrap_err().to_string();
    assert!(refused.contains("the encoder panicked"), "{refused}");
    assert!(lines.lock().unwrap().iter().any(|line| line.contains("the encoder panicked")));
}

#[cfg(feature = "protobuf")]
#[test]
fn messages_are_json_in_redis_and_a_field_without_a_name_is_not_lost_there() {
    let redis = Redis::start();
    redis.set("t:theirs", r#"{"name": "Al", "id": 7}"#);
    let descriptors = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tier/proto/person.binpb");
    let named = |name: &str| {
        let options = with(TierOptions::new(redis.url()).timeout(PATIENT));
        options.set("tier_encoder", &format!("{name}:{descriptors}:app.Person")).unwrap()
    };
    let (options, lines) = logged(named("json-from-protobuf"));
    let db = options.in_memory().unwrap();
    let al = b"\x0a\x02Al\x10\x07";
    assert_eq!(db.get(b"theirs").unwrap().as_deref(), Some(&al[..]));
    db.set(b"al", al).unwrap();
    db.set(b"newer", b"\x0a\x02Al\x48\x01").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!((redis.get("t:al"), redis.get("t:newer")), (bytes(r#"{"id":"7","name":"Al"}"#), None));
    assert_eq!(db.get(b"newer").unwrap().as_deref(), Some(&b"\x0a\x02Al\x48\x01"[..]));
    let told = lines.lock().unwrap().iter().filter(|line| line.contains("app.Person has no field 9")).count();
    assert_eq!(told, 1, "{:?}", lines.lock().unwrap());
    let other = named("protobuf-from-json").in_memory().unwrap();
    other.set(b"bo", br#"{"name":"Bo"}"#).unwrap();
    other.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:bo").as_deref(), Some(&b"\x0a\x02Bo"[..]));
}
