//! Reads that fall through to Redis, and the copies that they leave.

use super::gate::until;
use super::proxy::Proxy;
use super::server::Redis;
use super::{bytes, in_memory, options, with, PATIENCE, PATIENT};
use kv::testing::loads_under_way;
use kv::{Batch, Condition, Db, Error, Expiry, Json, SetOptions, Tag, TierOptions, Ttl, Writes};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_miss_brings_value_and_remaining_time_and_the_next_read_is_local() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    redis.set("t:k", "v");
    let _: () =
        redis::cmd("SET").arg("t:e").arg("w").arg("PX").arg(60_000).query(&mut redis.client()).unwrap();
    assert_eq!(db.get(b"k").unwrap(), bytes("v"));
    assert_eq!(db.get_many(&["e", "none", "k"]).unwrap(), [bytes("w"), None, bytes("v")]);
    // Asked first: what is left becomes less until the copy is looked at.
    let there = redis.pttl("t:e") as u128;
    let Some(Ttl::Remaining(left)) = db.ttl(b"e").unwrap() else { panic!("the copy lost its time") };
    assert!(left.as_millis() <= there + 5 && left > Duration::from_secs(50), "{left:?}, {there} ms in Redis");
    assert_eq!(db.ttl(b"k").unwrap(), Some(Ttl::Never));
    let fetches = db.tier_stats().unwrap().unwrap().fetches;
    redis.set("t:k", "changed");
    assert_eq!(db.get(b"k").unwrap(), bytes("v"), "a copy, until it is told otherwise");
    assert_eq!(db.tier_stats().unwrap().unwrap().fetches, fetches);
    assert_eq!(db.get_with(b"k", |value| value.len()).unwrap(), Some(1));
    let mut to = Vec::new();
    redis.set("t:into", "x");
    assert!(db.get_into(b"into", &mut to).unwrap() && to == b"x");
    assert_eq!(db.get_with(b"none", |value| value.len()).unwrap(), None);
    // Copies are not sent back.
    db.flush(PATIENCE).unwrap();
    assert_eq!(db.tier_stats().unwrap().unwrap().sent_keys, 0);
}

#[test]
fn of_several_shards_each_is_asked_before_any_is_waited_for() {
    const SHARDS: usize = 8;
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let of_shards = |url: String| with(TierOptions::new(url).shards(SHARDS).timeout(PATIENCE * 2));
    let writer = of_shards(redis.url()).in_memory().unwrap();
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| writer.set(key.as_bytes(), b"v").unwrap());
    writer.flush(PATIENCE).unwrap();
    let db = of_shards(proxy.url()).in_memory().unwrap();
    // Each connects to ask: none is answered before all have come.
    let asked = Arc::new((Mutex::new((0, true)), Condvar::new()));
    let of_proxy = Arc::clone(&asked);
    proxy.before_answer("HELLO", move || {
        let (state, come) = &*of_proxy;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        come.notify_all();
        let are_awaited = |(count, all_come): &mut (usize, bool)| *count < SHARDS && *all_come;
        let (mut state, waited) = come.wait_timeout_while(state, PATIENCE / 2, are_awaited).unwrap();
        state.1 &= !waited.timed_out();
    });
    let values = db.get_many(&keys).unwrap();
    assert!(values.iter().all(|value| *value == bytes("v")));
    assert_eq!(*asked.0.lock().unwrap(), (SHARDS, true), "one was answered before all were asked");
}

#[test]
fn what_comes_from_redis_has_the_codec_that_the_options_say_and_what_was_written_here_its_own() {
    let redis = Redis::start();
    redis.set("t:n", "41");
    redis.set("t:many", "1");
    redis.set("t:load", "2");
    let plain = in_memory(&redis);
    let wrong = plain.typed::<i64, Json>().get(b"n");
    assert!(matches!(wrong, Err(Error::WrongCodec { found: Tag::RAW, .. })), "{wrong:?}");
    let db = with(TierOptions::new(redis.url()).timeout(PATIENT).codec(Tag::JSON)).in_memory().unwrap();
    let numbers = db.typed::<i64, Json>();
    assert_eq!(numbers.get(b"n").unwrap(), Some(41), "from Redis");
    assert_eq!(numbers.get(b"n").unwrap(), Some(41), "the copy");
    assert_eq!(numbers.get_many(&["many", "n"]).unwrap(), [Some(1), Some(41)]);
    let unasked = || -> Result<_, Error> { panic!("Redis has it") };
    assert_eq!(numbers.get_or_load(b"load", SetOptions::new(), unasked).unwrap(), Some(2));
    assert_eq!(
        numbers.update(b"n", |n| n.map(|n| n + 1)).map(drop).and(numbers.get(b"n")).unwrap(),
        Some(42)
    );
    assert_eq!(db.increment_shared(b"shared", 5).unwrap(), 5);
    assert_eq!(numbers.get(b"shared").unwrap(), Some(5));
    assert!(db.add_shared(b"added", b"7", Expiry::Default).unwrap());
    assert_eq!(numbers.get(b"added").unwrap(), Some(7));
    db.set_with(b"text", b"t", SetOptions::new().codec(Tag::TEXT)).unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(db.codec(b"text").unwrap(), Some(Tag::TEXT));
    assert_eq!(redis.get("t:n").as_deref(), Some(&b"42"[..]), "bytes alone travel");
}

#[test]
fn a_sum_is_no_value_of_a_codec_that_would_take_its_digits_for_something_else() {
    let redis = Redis::start();
    let db =
        with(TierOptions::new(redis.url()).timeout(PATIENT).codec(Tag::MESSAGE_PACK)).in_memory().unwrap();
    // The digit 5 in MessagePack is 53.
    assert_eq!(db.increment_shared(b"n", 5).unwrap(), 5);
    assert_eq!((db.get(b"n").unwrap(), db.codec(b"n").unwrap()), (Some(b"5".to_vec()), Some(Tag::RAW)));
    assert!(matches!(db.get_as(b"n", Tag::MESSAGE_PACK), Err(Error::WrongCodec { .. })));
    assert!(db.add_shared(b"added", b"\x05", Expiry::Default).unwrap());
    assert_eq!(db.codec(b"added").unwrap(), Some(Tag::MESSAGE_PACK), "the caller has encoded it");
    // Where numbers are kept as MessagePack they are values of it.
    let options = TierOptions::new(redis.url())
        .timeout(PATIENT)
        .codec(Tag::MESSAGE_PACK)
        .encoder(kv::encoders::JsonFromMsgpack);
    let db = with(options).in_memory().unwrap();
    assert_eq!(db.increment_shared(b"m", 5).unwrap(), 5);
    assert_eq!(db.get_as(b"m", Tag::MESSAGE_PACK).unwrap(), Some(vec![5]));
    assert_eq!(db.increment_as(b"here", 6, Tag::MESSAGE_PACK).unwrap(), 6);
    assert_eq!(db.get_as(b"here", Tag::MESSAGE_PACK).unwrap(), Some(vec![6]));
    assert!(matches!(db.increment_as(b"json", 6, Tag::JSON), Err(Error::NotAnInteger { .. })));
}

#[test]
fn a_miss_is_asked_once_and_never_again_for_the_same_call() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    for n in 0..200 {
        assert_eq!(db.get(format!("none{n}").as_bytes()).unwrap(), None);
    }
    assert_eq!(db.tier_stats().unwrap().unwrap().fetches, 200);
}

/// How often Redis had something to read.
fn reads_processed(redis: &Redis) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query(&mut redis.client()).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn the_misses_of_one_call_share_a_few_round_trips() {
    const KEYS: usize = 1000;
    let redis = Redis::start();
    let mut pipe = redis::pipe();
    (0..KEYS).filter(|n| n % 2 == 0).for_each(|n| {
        pipe.set(format!("t:{n}"), format!("v{n}")).ignore();
    });
    pipe.exec(&mut redis.client()).unwrap();
    let _: () = redis::cmd("PEXPIRE").arg("t:0").arg(60_000).query(&mut redis.client()).unwrap();
    let db = in_memory(&redis);
    db.set(b"1", b"own").unwrap();
    db.set(b"2", b"gone").unwrap();
    db.delete(b"2").unwrap();
    db.flush(PATIENCE).unwrap();
    // The connection that asks is there.
    assert_eq!(db.get(b"none").unwrap(), None);
    // Some come twice.
    let keys: Vec<String> = (0..KEYS).chain([0, 3]).map(|n| n.to_string()).collect();
    let before = reads_processed(&redis);
    let values = db.get_many(&keys).unwrap();
    let reads = reads_processed(&redis) - before;
    for (key, value) in keys.iter().zip(values) {
        let expected = match key.as_str() {
            "1" => bytes("own"),
            "2" => None,
            even if even.ends_with(['0', '2', '4', '6', '8']) => bytes(&format!("v{key}")),
            _ => None,
        };
        assert_eq!(value, expected, "{key}");
    }
    assert!(reads < 60, "{reads} reads for {KEYS} keys");
    assert_eq!(db.tier_stats().unwrap().unwrap().fetches, KEYS as u64);
    let Some(Ttl::Remaining(left)) = db.ttl(b"0").unwrap() else { panic!("the copy lost its time") };
    assert!(left <= Duration::from_secs(60), "{left:?}");
    // Copies were kept, and a key that Redis has not is a miss anew.
    assert_eq!(db.get_many(&["0", "4", "998"]).unwrap(), [bytes("v0"), bytes("v4"), bytes("v998")]);
    assert_eq!(db.tier_stats().unwrap().unwrap().fetches, KEYS as u64);
}

#[test]
fn calls_for_the_same_keys_at_once_ask_for_each_of_them_once() {
    const KEYS: usize = 300;
    let redis = Redis::start();
    (0..KEYS).for_each(|n| redis.set(&format!("t:{n}"), "v"));
    let db = with(TierOptions::new(redis.url()).timeout(PATIENCE)).in_memory().unwrap();
    redis.hang();
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for reader in 0..8 {
            let db = &db;
            readers.push(scope.spawn(move || {
                let mut keys: Vec<String> = (0..KEYS).map(|n| n.to_string()).collect();
                // Each begins elsewhere, so that each waits for some that others have asked for.
                keys.rotate_left(reader * KEYS / 8);
                assert_eq!(db.get_many(&keys).unwrap(), vec![bytes("v"); KEYS]);
            }));
            let single = (reader * KEYS / 8).to_string();
            readers.push(scope.spawn(move || assert_eq!(db.get(single.as_bytes()).unwrap(), bytes("v"))));
        }
        std::thread::sleep(Duration::from_millis(100));
        redis.go_on();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(db.tier_stats().unwrap().unwrap().fetches, KEYS as u64);
}

#[test]
fn copies_of_one_call_leave_alone_what_was_changed_meanwhile() {
    const KEYS: usize = 300;
    let redis = Redis::start();
    let db = with(TierOptions::new(redis.url()).timeout(PATIENCE)).in_memory().unwrap();
    (0..KEYS).for_each(|n| redis.set(&format!("t:{n}"), "old"));
    let keys: Vec<String> = (0..KEYS).map(|n| n.to_string()).collect();
    redis.hang();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| db.get_many(&keys).unwrap());
        // The reader is on its way once Redis, which does not read, has more to read.
        std::thread::sleep(Duration::from_millis(50));
        for (n, key) in keys.iter().enumerate() {
            match n % 3 {
                0 => db.set(key.as_bytes(), b"new").unwrap(),
                1 => assert!(!db.delete(key.as_bytes()).unwrap()),
                _ => {}
            }
        }
        redis.go_on();
        reader.join().unwrap();
    });
    for again in 0..2 {
        for (n, value) in db.get_many(&keys).unwrap().into_iter().enumerate() {
            let expected = [bytes("new"), None, bytes("old")][n % 3].clone();
            assert_eq!(value, expected, "{n}, time {again}");
        }
        db.flush(PATIENCE).unwrap();
    }
    assert_eq!((redis.get("t:0"), redis.get("t:1"), redis.get("t:2")), (bytes("new"), None, bytes("old")));
}

#[test]
fn changes_that_depend_on_what_stands_see_what_redis_holds() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    set_fives(&redis);
    change_fives(&redis, &db);
}

/// Values for `change_fives`.
pub fn set_fives(redis: &Redis) {
    for key in ["n", "add", "replace", "take", "expire"] {
        redis.set(&format!("t:{key}"), "5");
    }
}

/// Changes that depend on what stands, each seeing a five that only Redis has.
pub fn change_fives(redis: &Redis, db: &Db) {
    assert_eq!(db.increment(b"n", 2).unwrap(), 7);
    assert!(!db.add(b"add", b"x").unwrap());
    let present = SetOptions::new().condition(Condition::IfPresent);
    assert!(db.set_with(b"replace", b"x", present).unwrap().is_some());
    assert_eq!(db.take(b"take").unwrap(), bytes("5"));
    assert!(db.expire(b"expire", Duration::from_secs(9)).unwrap());
    db.flush(PATIENCE).unwrap();
    assert_eq!(
        [redis.get("t:n"), redis.get("t:add"), redis.get("t:replace"), redis.get("t:take")],
        [bytes("7"), bytes("5"), bytes("x"), None]
    );
    assert!((1..=9000).contains(&redis.pttl("t:expire")));
}

#[test]
fn many_readers_of_a_missing_key_ask_once() {
    let redis = Redis::start();
    redis.set("t:k", "v");
    let db = in_memory(&redis);
    redis.hang();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..16).map(|_| scope.spawn(|| db.get(b"k").unwrap())).collect();
        until("one asks and the others wait for it", || loads_under_way(&db) == (1, 15));
        redis.go_on();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), bytes("v"));
        }
    });
    assert_eq!(db.tier_stats().unwrap().unwrap().fetches, 1);
}

/// What changes a key, and its name.
type Change<'a> = (&'a str, &'a dyn Fn(&[u8]));

#[test]
fn a_copy_neither_overwrites_a_newer_change_nor_brings_back_what_was_deleted_meanwhile() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    let changes: [Change<'_>; 4] = [
        ("set", &|key| db.set(key, b"new").unwrap()),
        ("delete", &|key| assert!(!db.delete(key).unwrap())),
        ("batch", &|key| {
            let mut batch = Batch::new();
            batch.set(key, "new").set("other", "x");
            db.apply(&batch).unwrap();
        }),
        ("set and delete", &|key| {
            db.set(key, b"new").unwrap();
            db.delete(key).unwrap();
        }),
    ];
    for (name, change) in changes {
        let key = format!("k {name}");
        redis.set(&format!("t:{key}"), "old");
        redis.hang();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| db.get(key.as_bytes()).unwrap());
            until("the reader is on its way", || loads_under_way(&db).0 == 1);
            change(key.as_bytes());
            let local = db.get(key.as_bytes()).unwrap();
            assert_eq!(local.is_some(), !name.contains("delete"), "{name}");
            redis.go_on();
            reader.join().unwrap();
        });
        let expected = (!name.contains("delete")).then(|| b"new".to_vec());
        assert_eq!(db.get(key.as_bytes()).unwrap(), expected, "{name}");
        db.flush(PATIENCE).unwrap();
        assert_eq!(db.get(key.as_bytes()).unwrap(), expected, "{name}");
        assert_eq!(redis.get(&format!("t:{key}")), expected, "{name}");
    }
}

#[test]
fn readers_beside_deleters_never_see_a_deleted_key_again() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (db, ends) = (&db, &ends);
            scope.spawn(move || {
                let keys: Vec<String> = (0..8).map(|key| format!("{key}")).collect();
                while !ends.load(Ordering::Relaxed) {
                    if reader == 0 {
                        let _ = db.get_many(&keys);
                    }
                    for key in &keys {
                        let _ = db.get(key.as_bytes());
                    }
                }
            });
        }
        for round in 0..300 {
            for key in 0..8 {
                let key = format!("{key}");
                db.set(key.as_bytes(), format!("{round}").as_bytes()).unwrap();
                if round % 3 == 0 {
                    db.flush(PATIENCE).unwrap();
                }
                db.delete(key.as_bytes()).unwrap();
                for _ in 0..3 {
                    assert_eq!(db.get(key.as_bytes()).unwrap(), None, "{key} in round {round}");
                }
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.entries("t:"), []);
}

#[test]
fn a_redis_that_cannot_be_asked_is_an_error_in_time_or_a_miss_where_that_was_chosen() {
    let mut redis = Redis::start();
    let timeout = Duration::from_millis(200);
    let tier = || TierOptions::new(redis.tcp_url()).timeout(timeout);
    let strict = with(tier()).in_memory().unwrap();
    let lenient = with(tier().unreachable_is_miss(true)).in_memory().unwrap();
    strict.set(b"local", b"v").unwrap();
    redis.hang();
    let began = Instant::now();
    assert!(matches!(strict.get(b"k"), Err(Error::Tier { .. })));
    assert_eq!(lenient.get(b"k").unwrap(), None);
    assert!(matches!(strict.get_many(&["k", "l", "local"]), Err(Error::Tier { .. })));
    // If each waited by itself, that would be more than a minute.
    let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(lenient.get_many(&many).unwrap(), vec![None; 300]);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(strict.get(b"local").unwrap(), bytes("v"));
    redis.go_on();
    redis.kill();
    // The circuit is open: a thousand readers do not wait a thousand timeouts.
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(strict.get(b"k").is_err());
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    redis.up();
    redis.set("t:k", "v");
    until("reads come through again", || strict.get(b"k").is_ok_and(|value| value == bytes("v")));
}

#[test]
fn a_key_of_another_type_fails_its_reader_and_nobody_else() {
    let redis = Redis::start();
    let _: () = redis::cmd("HSET").arg("t:hash").arg("f").arg("v").query(&mut redis.client()).unwrap();
    redis.set("t:k", "v");
    let db = in_memory(&redis);
    let error = db.get(b"hash").unwrap_err().to_string();
    assert!(error.contains("WRONGTYPE"), "{error}");
    assert_eq!(db.get(b"k").unwrap(), bytes("v"));
}

#[test]
fn a_follower_reads_and_refuses_changes() {
    let redis = Redis::start();
    redis.set("t:k", "v");
    let db =
        with(TierOptions::new(redis.url()).timeout(PATIENT).writes(Writes::Refused)).in_memory().unwrap();
    assert_eq!(db.get(b"k").unwrap(), bytes("v"));
    let refused = [
        db.set(b"k", b"x").err(),
        db.delete(b"k").err(),
        db.increment(b"k", 1).err(),
        db.set_many(&[("k", "x")]).err(),
        db.expire(b"k", Duration::from_secs(1)).err(),
        db.clear().err(),
    ];
    assert!(refused.iter().all(|error| matches!(error, Some(Error::ReadOnly { .. }))), "{refused:?}");
    assert_eq!((db.get(b"k").unwrap(), redis.get("t:k")), (bytes("v"), bytes("v")));
}

#[test]
fn a_loader_runs_only_for_what_redis_has_not_either_and_what_it_brings_is_sent() {
    let redis = Redis::start();
    redis.set("t:there", "v");
    let dir = tempfile::tempdir().unwrap();
    let db = options(&redis).open(dir.path()).unwrap();
    let load = |key: &[u8]| db.get_or_load(key, SetOptions::new(), || Ok::<_, String>(bytes("loaded")));
    assert_eq!(load(b"there").unwrap(), bytes("v"));
    assert_eq!(load(b"nowhere").unwrap(), bytes("loaded"));
    // A loader may read, its own key too.
    let own = db.get_or_load(b"own", SetOptions::new(), || db.get(b"own"));
    assert_eq!(own.unwrap(), None);
    let many = db.get_or_load(b"many", SetOptions::new(), || {
        assert_eq!(
            db.get_many(&["many", "there", "nowhere", "none"])?,
            [None, bytes("v"), bytes("loaded"), None]
        );
        Ok::<_, Error>(None)
    });
    assert_eq!(many.unwrap(), None);
    db.flush(PATIENCE).unwrap();
    assert_eq!((redis.get("t:there"), redis.get("t:nowhere")), (bytes("v"), bytes("loaded")));
}

/// Where copies are not kept too: what was appended to is brought in for that moment.
#[test]
fn imported_commands_append_to_and_rename_what_only_redis_holds() {
    let redis = Redis::with(&["--rename-command", "CLIENT", "DEAF"]);
    redis.set("t:k", "a");
    redis.set("t:from", "v");
    let tier = TierOptions::new(redis.url()).fresh(kv::WhenDeaf::Drop).timeout(PATIENT);
    let db = with(tier).in_memory().unwrap();
    db.import(&b"APPEND k b\r\nRENAME from to\r\n"[..], kv::Format::Resp).unwrap();
    db.flush(PATIENCE).unwrap();
    let there = ["t:k", "t:from", "t:to"].map(|key| redis.get(key));
    assert_eq!(there, [bytes("ab"), None, bytes("v")]);
}
