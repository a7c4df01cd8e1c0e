//! What was changed here reaches Redis, whatever happens in between.

use super::gate::until;
use super::server::Redis;
use super::{bytes, in_memory, options, until_failing, with, PATIENCE, PATIENT};
use kv::{
    Batch, Clock, Db, Error, Expiry, ManualClock, Options, SetOptions, SystemClock, TierOptions, Ttl,
    WhenDeaf, Writes,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn ttl(seconds: u64) -> SetOptions {
    SetOptions::new().ttl(Duration::from_secs(seconds))
}

fn flushed(db: &Db) {
    db.flush(PATIENCE).unwrap();
}

#[test]
fn every_kind_of_change_reaches_redis() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    for db in [in_memory(&redis), options(&redis).open(dir.path()).unwrap()] {
        redis.set("t:stale", "old");
        db.set(b"plain", b"1").unwrap();
        db.set(b"gone", b"1").unwrap();
        flushed(&db);
        db.set_with(b"expires", b"2", ttl(100)).unwrap();
        db.delete(b"gone").unwrap();
        // Not here, but there.
        db.delete(b"stale").unwrap();
        db.increment(b"n", 41).unwrap();
        db.increment(b"n", 1).unwrap();
        let mut batch = Batch::new();
        batch.set("b1", "x").set("b2", "y").delete("b1");
        db.apply(&batch).unwrap();
        db.set(b"binary", &[0, 13, 10, 255]).unwrap();
        flushed(&db);
        let entries = redis.entries("t:");
        let expected = [
            ("t:b2", &b"y"[..]),
            ("t:binary", &[0, 13, 10, 255]),
            ("t:expires", b"2"),
            ("t:n", b"42"),
            ("t:plain", b"1"),
        ];
        assert_eq!(entries, expected.map(|(key, value)| (key.to_string(), value.to_vec())));
        let left = redis.pttl("t:expires");
        assert!((1..=100_000).contains(&left) && redis.pttl("t:plain") == -1, "{left} ms");
        db.persist(b"expires").unwrap();
        db.expire(b"plain", Duration::from_secs(50)).unwrap();
        flushed(&db);
        assert_eq!(redis.pttl("t:expires"), -1);
        assert!((1..=50_000).contains(&redis.pttl("t:plain")));
        db.clear().unwrap();
        flushed(&db);
        assert_eq!(redis.entries("t:"), []);
        db.close().unwrap();
    }
}

#[test]
fn a_time_to_live_is_the_same_by_a_clock_that_is_hours_apart() {
    const HOUR_MS: u64 = 3_600_000;
    let redis = Redis::start();
    let now_ms = SystemClock.unix_ms();
    for clock_ms in [now_ms - HOUR_MS, now_ms + HOUR_MS] {
        let db = options(&redis).clock(Arc::new(ManualClock::new(clock_ms))).in_memory().unwrap();
        db.set_with(b"k", b"v", ttl(100)).unwrap();
        flushed(&db);
        let there = redis.pttl("t:k");
        assert!((50_000..=100_000).contains(&there), "{there} ms in Redis");
        let _: () = redis.run("SET t:theirs v PX 60000");
        assert_eq!(db.get(b"theirs").unwrap(), bytes("v"));
        let Some(Ttl::Remaining(here)) = db.ttl(b"theirs").unwrap() else { panic!("the copy lost its time") };
        assert!((1..=60).contains(&here.as_secs()), "{here:?} here");
        // What Redis decides, too.
        assert!(db.add_shared(b"added", b"v", Expiry::After(Duration::from_secs(100))).unwrap());
        let there = redis.pttl("t:added");
        assert!((50_000..=100_000).contains(&there), "{there} ms in Redis");
        let _: () = redis.run("FLUSHALL");
    }
}

#[test]
fn a_value_that_expired_before_it_was_sent_leaves_nothing_in_redis() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    redis.set("t:k", "old");
    redis.kill();
    let db = in_memory(&redis);
    db.set_with(b"k", b"new", SetOptions::new().ttl(Duration::from_millis(20))).unwrap();
    until("the entry leaves the store", || db.is_empty());
    redis.up();
    flushed(&db);
    assert_eq!(redis.get("t:k"), None);
}

#[test]
fn changes_made_while_redis_is_down_come_when_it_is_up_the_newest_of_each_key_once() {
    let mut redis = Redis::start();
    redis.kill();
    let db = in_memory(&redis);
    for n in 0..500 {
        for key in 0..20 {
            db.set(format!("k{key}").as_bytes(), format!("{n}").as_bytes()).unwrap();
        }
    }
    db.delete(b"k7").unwrap();
    assert!(matches!(db.flush(Duration::from_millis(50)), Err(Error::Tier { .. })));
    until("it is known to be down", || db.tier_stats().unwrap().unwrap().failing.is_some());
    let stats = db.tier_stats().unwrap().unwrap();
    assert_eq!(stats.unsent_keys, 20);
    assert!(stats.unsent_bytes > 20 * 32 && stats.unsent_for > Duration::ZERO && stats.failures > 0);
    assert!(stats.failing.is_some());
    redis.up();
    flushed(&db);
    let stats = db.tier_stats().unwrap().unwrap();
    assert_eq!((stats.unsent_keys, stats.unsent_bytes, stats.failing), (0, 0, None));
    assert!(stats.sent_keys < 200, "{} keys sent for 20", stats.sent_keys);
    let entries = redis.entries("t:");
    assert_eq!(entries.len(), 19);
    assert!(entries.iter().all(|(key, value)| value == b"499" && key != "t:k7"));
}

/// Changes of a store whose Redis is down: sets, overwrites, deletes of what Redis holds, entries that expire.
fn change_offline(db: &Db) {
    for n in 0..2000 {
        db.set(format!("k{}", n % 300).as_bytes(), format!("{n}").as_bytes()).unwrap();
    }
    for n in (0..300).step_by(3) {
        db.delete(format!("k{n}").as_bytes()).unwrap();
    }
    db.set_with(b"k1", b"soon", SetOptions::new().ttl(Duration::from_millis(1))).unwrap();
}

fn check_converged(redis: &Redis, db: &Db) {
    for n in 0..300 {
        let key = format!("k{n}");
        assert_eq!(redis.get(&format!("t:{key}")), db.get(key.as_bytes()).unwrap(), "{key}");
        assert_eq!(db.contains(key.as_bytes()).unwrap(), n % 3 != 0 && n != 1, "{key}");
    }
}

#[test]
fn what_was_not_sent_survives_a_crash_and_compactions_and_is_sent_by_the_next_open() {
    for ends_cleanly in [false, true] {
        let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let dir = tempfile::tempdir().unwrap();
        let small = || options(&redis).segment_bytes(64 << 10);
        let db = small().open(dir.path()).unwrap();
        for n in 0..300 {
            db.set(format!("k{n}").as_bytes(), b"before").unwrap();
        }
        flushed(&db);
        redis.kill();
        let small = || options(&redis).segment_bytes(64 << 10);
        change_offline(&db);
        db.compact().unwrap();
        if ends_cleanly {
            db.close().unwrap();
        } else {
            db.abandon();
        }
        drop(db);
        // A month without Redis, with a restart each week.
        for _ in 0..3 {
            let db = small().open(dir.path()).unwrap();
            db.compact().unwrap();
            assert_eq!(db.get(b"k0").unwrap(), None, "deleted here, and Redis cannot be asked");
            drop(db);
        }
        redis.up();
        let db = options(&redis).segment_bytes(64 << 10).open(dir.path()).unwrap();
        flushed(&db);
        check_converged(&redis, &db);
        assert_eq!(db.tier_stats().unwrap().unwrap().unsent_deletes, 0);
    }
}

#[test]
fn deletes_that_redis_has_leave_index_and_log() {
    let redis = Redis::start();
    let db = options(&redis).segment_bytes(64 << 10).in_memory().unwrap();
    for round in 0..5 {
        for n in 0..3000 {
            db.set(format!("{n}").as_bytes(), &[round; 100]).unwrap();
        }
        for n in 0..3000 {
            db.delete(format!("{n}").as_bytes()).unwrap();
        }
    }
    flushed(&db);
    until("masks leave the index", || db.stats().unwrap().index_entries == 0);
    db.compact().unwrap();
    until("the log is small", || db.stats().unwrap().log_bytes < 1 << 20);
}

#[test]
fn a_redis_that_comes_back_empty_is_given_everything_again() {
    let mut redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let db = options(&redis).open(dir.path()).unwrap();
    for n in 0..1000 {
        db.set(format!("{n}").as_bytes(), b"v").unwrap();
    }
    flushed(&db);
    redis.kill();
    redis.up();
    assert_eq!(redis.entries("t:"), []);
    // The loss shows when the store next speaks to Redis.
    db.set(b"one more", b"v").unwrap();
    until("all is back", || redis.entries("t:").len() == 1001);
    flushed(&db);
    // Also when the store was closed meanwhile.
    db.close().unwrap();
    redis.kill();
    redis.up();
    let db = options(&redis).open(dir.path()).unwrap();
    db.set(b"and another", b"v").unwrap();
    until("all is back", || redis.entries("t:").len() == 1002);
}

#[test]
fn an_open_after_everything_was_sent_sends_nothing_again() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    for crashes in [false, true, false] {
        let db = options(&redis).open(dir.path()).unwrap();
        db.set(b"k", b"ours").unwrap();
        flushed(&db);
        if crashes {
            db.abandon();
        }
        drop(db);
        // Somebody else changes it: later, so theirs is the newest.
        redis.set("t:k", "theirs");
        let db = options(&redis).open(dir.path()).unwrap();
        db.set(b"other", b"x").unwrap();
        flushed(&db);
        assert_eq!(redis.get("t:k"), bytes("theirs"));
        assert_eq!(db.tier_stats().unwrap().unwrap().sent_keys, 1);
    }
}

#[test]
fn a_write_through_returns_when_redis_has_it_and_fails_in_time_when_it_does_not_answer() {
    let mut redis = Redis::start();
    let timeout = Duration::from_millis(300);
    let open = |timeout: Duration| {
        let tier = TierOptions::new(redis.tcp_url()).writes(Writes::Through);
        with(tier.timeout(timeout)).in_memory().unwrap()
    };
    let patient = open(PATIENT);
    for n in 0..50 {
        patient.set(b"k", format!("{n}").as_bytes()).unwrap();
        assert_eq!(redis.get("t:k"), bytes(&n.to_string()));
    }
    patient.delete(b"k").unwrap();
    assert_eq!(redis.get("t:k"), None);
    patient.close().unwrap();
    let db = open(timeout);
    // It has connected, in time or not.
    let _ = db.set(b"k", b"on time");
    flushed(&db);
    redis.hang();
    let began = Instant::now();
    assert!(matches!(db.set(b"k", b"late"), Err(Error::Tier { .. })));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(db.get(b"k").unwrap(), bytes("late"), "it stands here, and is sent later");
    redis.go_on();
    flushed(&db);
    assert_eq!(redis.get("t:k"), bytes("late"));
    redis.kill();
    until("it is known to be down", || {
        let began = Instant::now();
        let refused = db.set(b"k", b"x").is_err();
        refused && began.elapsed() < timeout / 2
    });
}

#[test]
fn a_full_queue_in_memory_refuses_changes_until_redis_takes_some() {
    let mut redis = Redis::start();
    redis.kill();
    let tier = TierOptions::new(redis.url()).unsent_deletes_max(100);
    let db = with(tier).in_memory().unwrap();
    let mut n = 0;
    let refused = loop {
        let key = format!("{n}");
        let result = db.set(key.as_bytes(), b"v").and_then(|()| db.delete(key.as_bytes()));
        match result {
            Err(error) => break error,
            Ok(_) => n += 1,
        }
        if n % 50 == 0 {
            // Held masks are counted by the background.
            db.sweep().unwrap();
        }
        assert!(n < 100_000, "never refused");
    };
    assert!(matches!(refused, Error::Tier { .. }), "{refused}");
    redis.up();
    flushed(&db);
    until("there is room again", || db.set(b"k", b"v").is_ok());
}

#[test]
fn a_connection_authenticates_and_chooses_its_database() {
    let redis = Redis::with(&[
        "--user", "app", "on", ">secret", "~t:*", "&*", "+@all", "--user", "default", "on", ">root", "~*",
        "+@all",
    ]);
    let tier = || TierOptions::new(redis.tcp_url()).username("app").database(3);
    let db = with(tier().password("secret")).in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    flushed(&db);
    let wrong = with(tier().password("wrong")).in_memory().unwrap();
    wrong.set(b"k2", b"v").unwrap();
    until_failing(&wrong, "WRONGPASS");
    let error = wrong.flush(Duration::from_millis(200)).unwrap_err().to_string();
    assert!(error.contains("WRONGPASS") && !error.contains("wrong "), "{error}");
    let url = format!("redis+unix://{}?db=3&user=default&pass=root", redis.socket().display());
    let mut client = redis::Client::open(url).unwrap().get_connection().unwrap();
    let found: Option<String> = redis::Commands::get(&mut client, "t:k").unwrap();
    assert_eq!(found.as_deref(), Some("v"));
}

#[test]
fn a_mark_from_beyond_the_log_is_not_believed() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let db = options(&redis).open(dir.path()).unwrap();
    db.set(b"k", b"1").unwrap();
    flushed(&db);
    db.close().unwrap();
    // As after a snapshot of the directory was put back, while Redis went on.
    let mut client = redis.client();
    let marks: Vec<String> = redis::Commands::keys(&mut client, "t:__libkv:mark:*").unwrap();
    let mark = String::from_utf8(redis.get(&marks[0]).unwrap()).unwrap();
    let words: Vec<&str> = mark.split(' ').collect();
    redis.set(&marks[0], &format!("1 {} {} 9", words[1], 1u64 << 50));
    let db = options(&redis).open(dir.path()).unwrap();
    for value in ["2", "3", "4"] {
        db.set(b"k", value.as_bytes()).unwrap();
        flushed(&db);
        assert_eq!(redis.get("t:k"), bytes(value));
    }
}

#[test]
fn connections_that_the_server_closed_meanwhile_fail_no_call() {
    let redis = Redis::start();
    let db =
        with(TierOptions::new(redis.url()).timeout(PATIENT).writes(Writes::Through)).in_memory().unwrap();
    for n in 0..20 {
        let (key, value) = (format!("theirs{n}"), n.to_string());
        redis.set(&format!("t:{key}"), &value);
        let _: i64 =
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut redis.client()).unwrap();
        assert_eq!(db.get(key.as_bytes()).unwrap(), bytes(&value));
        db.set(b"k", value.as_bytes()).unwrap();
        assert_eq!(redis.get("t:k"), bytes(&value));
    }
    assert_eq!(db.tier_stats().unwrap().unwrap().failures, 0);
}

#[test]
fn a_redis_that_is_back_is_known_to_be_back_before_anything_is_sent() {
    let redis = Redis::start();
    let tier = TierOptions::new(redis.url()).fresh(WhenDeaf::Keep).timeout(Duration::from_secs(4));
    let db = with(tier.writes(Writes::Through)).in_memory().unwrap();
    db.set(b"k", b"1").unwrap();
    let failing = || db.tier_stats().unwrap().unwrap().failing;
    // Who sends asks for a sign of life once somebody hears.
    until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
    redis.hang();
    until("the hang is noticed", || failing().is_some());
    redis.go_on();
    until("its end is noticed", || failing().is_none());
    db.set(b"k", b"2").unwrap();
}

#[test]
fn waits_without_an_end_may_be_asked_for() {
    let redis = Redis::start();
    let tier = TierOptions::new(redis.url()).timeout(Duration::MAX).backoff_max(Duration::MAX);
    let db = with(tier.fresh(WhenDeaf::Keep).writes(Writes::Through)).in_memory().unwrap();
    db.set(b"k", b"v").unwrap();
    assert_eq!(db.get(b"none").unwrap(), None);
    db.flush(Duration::MAX).unwrap();
    assert_eq!(redis.get("t:k"), bytes("v"));
    until("changes are heard", || db.tier_stats().unwrap().unwrap().hears);
}

#[test]
fn a_backup_knows_what_redis_had_and_overwrites_nothing_newer() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let db = options(&redis).open(dir.path().join("store")).unwrap();
    for n in 0..100 {
        db.set(format!("{n}").as_bytes(), b"1").unwrap();
    }
    db.delete(b"0").unwrap();
    flushed(&db);
    db.backup(&copy).unwrap();
    // The original lives on, and others change what it wrote.
    db.set(b"1", b"later").unwrap();
    redis.set("t:2", "theirs");
    redis.set("t:0", "theirs");
    flushed(&db);
    let restored = options(&redis).open(&copy).unwrap();
    assert_eq!(restored.get(b"1").unwrap(), bytes("1"), "as of the backup");
    restored.set(b"3", b"restored").unwrap();
    flushed(&restored);
    assert_eq!(restored.tier_stats().unwrap().unwrap().sent_keys, 1);
    // Both go on, and neither leaves out what it has to send.
    for n in 0..50 {
        db.set(b"a", n.to_string().as_bytes()).unwrap();
        restored.set(b"b", n.to_string().as_bytes()).unwrap();
        flushed(&db);
        flushed(&restored);
    }
    let there = ["0", "1", "2", "3", "a", "b"].map(|key| redis.get(&format!("t:{key}")));
    let expected = ["theirs", "later", "theirs", "restored", "49", "49"].map(bytes);
    assert_eq!(there, expected);
}

#[test]
fn a_backup_sends_what_redis_did_not_have_and_everything_to_another_one() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let mut gone = Redis::start();
    let db = options(&gone).open(dir.path().join("store")).unwrap();
    db.set(b"sent", b"1").unwrap();
    db.set(b"deleted", b"1").unwrap();
    flushed(&db);
    gone.kill();
    db.delete(b"deleted").unwrap();
    db.set(b"unsent", b"1").unwrap();
    db.backup(&copy).unwrap();
    db.close().unwrap();
    // Another one: it has no mark of this store.
    redis.set("t:deleted", "1");
    let restored = options(&redis).open(&copy).unwrap();
    flushed(&restored);
    assert_eq!(
        redis.entries("t:").into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
        ["t:sent", "t:unsent"]
    );
}

/// Cuts every connection to the server but the one that says so.
fn cut_connections(redis: &Redis) {
    redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query::<u64>(&mut redis.client())
        .unwrap();
}

/// As a Redis that restarts with what it had saved before the store was opened: the mark in it is an earlier open's.
#[test]
fn a_redis_that_goes_back_to_what_an_earlier_open_left_is_given_what_came_since() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let db = options(&redis).open(dir.path()).unwrap();
    db.set(b"early", b"1").unwrap();
    flushed(&db);
    db.close().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("t:__libkv:mark:*").query(&mut redis.client()).unwrap();
    let [mark] = &keys[..] else { panic!("{keys:?}") };
    let saved = redis.get(mark).unwrap();
    let db = options(&redis).open(dir.path()).unwrap();
    for round in ["first", "second"] {
        db.set(b"late", round.as_bytes()).unwrap();
        flushed(&db);
        let mut back = redis::pipe();
        back.atomic().del("t:late").ignore().set(mark, &saved).ignore();
        back.query::<()>(&mut redis.client()).unwrap();
        cut_connections(&redis);
        db.set(b"after", round.as_bytes()).unwrap();
        flushed(&db);
        assert_eq!((redis.get("t:late"), redis.get("t:after")), (bytes(round), bytes(round)));
    }
    assert_eq!(redis.get("t:early"), bytes("1"));
}

/// A copy stands for a key whose change is sent again: it is what others wrote, and may be old.
#[test]
fn what_others_have_replaced_is_not_sent_again_as_the_copy_that_stands_for_it() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    db.set(b"k", b"ours").unwrap();
    flushed(&db);
    redis.set("t:k", "theirs");
    db.preload(b"*", 0, |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(db.get(b"k").unwrap(), bytes("theirs"));
    redis.set("t:k", "newest");
    // As if it had lost all that this store sent.
    let marks: Vec<String> = redis.run("KEYS t:__libkv:mark:*");
    let _: i64 = redis.run(&format!("DEL {}", marks[0]));
    db.set(b"other", b"v").unwrap();
    flushed(&db);
    assert_eq!((redis.get("t:k"), redis.get("t:other")), (bytes("newest"), bytes("v")));
}

/// As one that restarts with a save of long ago.
#[test]
fn a_redis_that_goes_back_by_many_opens_is_given_what_came_since() {
    const OPENS: u32 = 12;
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let mut saved = Vec::new();
    for open in 0..OPENS {
        let db = options(&redis).open(dir.path()).unwrap();
        db.set(format!("{open}").as_bytes(), b"v").unwrap();
        flushed(&db);
        db.close().unwrap();
        let keys: Vec<String> = redis.run("KEYS t:__libkv:mark:*");
        saved.push((keys[0].clone(), redis.get(&keys[0]).unwrap()));
    }
    // Oldest last, and once while the store is open.
    for back in [OPENS - 2, OPENS / 2, 0] {
        for is_open in [false, true] {
            let opened = is_open.then(|| options(&redis).open(dir.path()).unwrap());
            if let Some(db) = &opened {
                db.set(b"before", b"v").unwrap();
                flushed(db);
            }
            let (mark, text) = &saved[back as usize];
            let mut goes_back = redis::pipe();
            goes_back.atomic().set(mark, text).ignore();
            for open in back + 1..OPENS {
                goes_back.del(format!("t:{open}")).ignore();
            }
            goes_back.query::<()>(&mut redis.client()).unwrap();
            redis.set("t:0", "theirs");
            cut_connections(&redis);
            let db = opened.unwrap_or_else(|| options(&redis).open(dir.path()).unwrap());
            db.set(b"after", b"v").unwrap();
            flushed(&db);
            for open in 1..OPENS {
                assert_eq!(redis.get(&format!("t:{open}")), bytes("v"), "{open} of {OPENS}, back to {back}");
            }
            assert_eq!(redis.get("t:0"), bytes("theirs"), "what had not been lost is not sent again");
            db.close().unwrap();
        }
    }
}

/// More keys than a transaction takes, and the server loses all of them while they are sent for the first time.
#[test]
fn a_redis_that_loses_the_first_upload_while_it_goes_on_is_given_all_of_it() {
    const KEYS: u32 = 5_000;
    for skipped in [8, 15, 24, 40] {
        let redis = Redis::start();
        let proxy = super::proxy::Proxy::to(redis.socket());
        let dir = tempfile::tempdir().unwrap();
        let db = Options::new().open(dir.path()).unwrap();
        let mut batch = Batch::new();
        for n in 0..KEYS {
            batch.set(format!("k{n}"), "v");
        }
        db.apply(&batch).unwrap();
        db.close().unwrap();
        // While it waits for an answer that does not come, it does not come back too early.
        proxy.plan(skipped, super::proxy::Fault::Hang);
        let db = with(TierOptions::new(proxy.url()).reads(false)).open(dir.path()).unwrap();
        until("an answer does not come", || proxy.has_struck());
        redis::cmd("FLUSHALL").query::<()>(&mut redis.client()).unwrap();
        db.set(b"after", b"v").unwrap();
        flushed(&db);
        // It may have ended before all was lost: then the next connection notices.
        cut_connections(&redis);
        db.set(b"after", b"w").unwrap();
        flushed(&db);
        assert_eq!(redis.entries("t:").len(), KEYS as usize + 1, "cut after {skipped} commands");
    }
}
