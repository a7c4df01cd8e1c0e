//! Copies of whole patterns: all of it, nothing that is newer here overwritten, and what is gone elsewhere removed.

use super::common::{seed, Rng};
use super::gate::until;
use super::proxy::{Fault, Proxy};
use super::server::Redis;
use super::{bytes, in_memory, with, PATIENCE, PATIENT};
use kv::{Db, Error, Options, Preloaded, SetOptions, TierOptions, Ttl, WhenDeaf};
use redis::Commands;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn fill(redis: &Redis, keys: std::ops::Range<usize>, value: &str) {
    let mut pipe = redis::pipe();
    for n in keys {
        pipe.set(format!("t:user:{n}"), format!("{value}{n}")).ignore();
    }
    pipe.exec(&mut redis.client()).unwrap();
}

fn preloaded(db: &Db, pattern: &str) -> Preloaded {
    let done = db.preload(pattern.as_bytes(), 0, |_| ControlFlow::Continue(())).unwrap();
    assert!(done.is_complete);
    done
}

/// What stands here, without a question to Redis.
fn local(db: &Db, key: &str) -> Option<Vec<u8>> {
    db.pin().unwrap().get(key.as_bytes()).unwrap().map(|value| value.into_vec())
}

#[test]
fn a_pattern_is_copied_with_its_times_and_later_only_what_differs() {
    const KEYS: usize = 3000;
    let redis = Redis::start();
    fill(&redis, 0..KEYS, "v");
    redis.set("t:other", "not meant");
    let mut client = redis.client();
    let _: () = redis::cmd("HSET").arg("t:user:hash").arg("f").arg("v").query(&mut client).unwrap();
    let _: () = redis::cmd("SET").arg("t:user:e").arg("w").arg("PX").arg(60_000).query(&mut client).unwrap();
    let db = in_memory(&redis);
    db.set_with(b"user:own", b"o", SetOptions::new().ttl(Duration::from_secs(50))).unwrap();
    db.flush(PATIENCE).unwrap();
    let mut reports = Vec::new();
    let done = db.preload(b"user:*", 0, |done| {
        reports.push(*done);
        ControlFlow::Continue(())
    });
    let done = done.unwrap();
    assert_eq!((done.copied, done.removed), (KEYS as u64 + 1, 0));
    assert_eq!((db.len(), reports.last()), (KEYS + 2, Some(&done)));
    assert!(reports.len() > 3 && reports.is_sorted_by_key(|done| done.copied));
    for n in 0..KEYS {
        assert_eq!(local(&db, &format!("user:{n}")), bytes(&format!("v{n}")));
    }
    let Some(Ttl::Remaining(left)) = db.ttl(b"user:e").unwrap() else { panic!("the copy lost its time") };
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
    assert_eq!(local(&db, "other"), None);
    // Elsewhere some are changed, some deleted.
    fill(&redis, 0..100, "new");
    let gone: Vec<String> = (100..250).map(|n| format!("t:user:{n}")).collect();
    let _: () = redis::cmd("UNLINK").arg(gone).query(&mut client).unwrap();
    let done = preloaded(&db, "user:*");
    // The one that expires as well, where asking took longer than before: then its copy seems to last too long.
    assert!((100..=101).contains(&done.copied) && done.removed == 150, "{done:?}");
    assert_eq!((local(&db, "user:7"), local(&db, "user:107")), (bytes("new7"), None));
    // None of it is sent, and nobody had to ask.
    db.flush(PATIENCE).unwrap();
    let stats = db.tier_stats().unwrap().unwrap();
    assert_eq!((stats.sent_keys, stats.fetches), (1, 0));
}

#[test]
fn what_is_written_meanwhile_is_never_overwritten() {
    const KEYS: usize = 400;
    const WRITERS: usize = 2;
    let redis = Redis::start();
    fill(&redis, 0..KEYS, "old");
    for tier in [
        TierOptions::new(redis.url()).timeout(PATIENT),
        TierOptions::new(redis.url()).timeout(PATIENT).fresh(WhenDeaf::Keep),
    ] {
        let db = with(tier).in_memory().unwrap();
        let ends = AtomicBool::new(false);
        let seed = seed("KV_TIER_PRELOAD_SEED");
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (db, ends) = (&db, &ends);
                    scope.spawn(move || {
                        let mut rng = Rng::new(seed ^ writer as u64);
                        let mut round = 0;
                        while !ends.load(Ordering::Relaxed) {
                            // Each key has one writer, which knows what it did last.
                            let key = format!(
                                "user:{}",
                                rng.below((KEYS / WRITERS) as u64) as usize * WRITERS + writer
                            );
                            let value = (rng.below(4) > 0).then(|| format!("{writer} {round}"));
                            match &value {
                                Some(value) => db.set(key.as_bytes(), value.as_bytes()).unwrap(),
                                None => drop(db.delete(key.as_bytes()).unwrap()),
                            }
                            for _ in 0..rng.below(50) {
                                assert_eq!(local(db, &key), value.clone().map(String::into_bytes), "{key}");
                            }
                            if rng.below(20) == 0 {
                                db.flush(PATIENCE).unwrap();
                                assert_eq!(local(db, &key), value.map(String::into_bytes), "{key}, sent");
                            }
                            round += 1;
                        }
                    })
                })
                .collect();
            for _ in 0..30 {
                preloaded(&db, "user:*");
                if writers.iter().any(|writer| writer.is_finished()) {
                    break;
                }
            }
            ends.store(true, Ordering::Relaxed);
        });
        db.flush(PATIENCE).unwrap();
        for n in 0..KEYS {
            let key = format!("user:{n}");
            assert_eq!(local(&db, &key), redis.get(&format!("t:{key}")), "{key}");
        }
    }
}

#[test]
fn what_fails_in_the_middle_goes_on_from_where_it_came_to() {
    const KEYS: usize = 4000;
    let redis = Redis::start();
    fill(&redis, 0..KEYS, "v");
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::Hang, Fault::Garbage(b"$4294967296\r\nabc")] {
        let proxy = Proxy::to(redis.socket());
        let tier = TierOptions::new(proxy.url()).timeout(Duration::from_secs(4));
        let db = with(tier).in_memory().unwrap();
        let (mut cursor, mut failures, mut reports) = (0, 0, 0);
        let done = loop {
            let preloaded = db.preload(b"*", cursor, |done| {
                cursor = done.cursor;
                reports += 1;
                if reports == 3 {
                    // In the middle of the next portion.
                    proxy.plan(500, fault);
                }
                // Broken off, and gone on.
                if reports == 5 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            match preloaded {
                Ok(done) if done.is_complete => break done,
                Ok(_) => {}
                Err(Error::Tier { .. }) => failures += 1,
                Err(error) => panic!("{error}"),
            }
            assert!(failures < 5);
        };
        assert_eq!((failures, db.len(), done.removed), (1, KEYS, 0), "{fault:?}");
        assert!(cursor != 0 && done.keys < KEYS as u64, "it began anew: {done:?}");
    }
}

#[test]
fn what_redis_has_lost_is_not_removed_here() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    for n in 0..100 {
        db.set(format!("{n}").as_bytes(), b"ours").unwrap();
    }
    db.flush(PATIENCE).unwrap();
    let _: () = redis::cmd("FLUSHALL").query(&mut redis.client()).unwrap();
    let lost = db.preload(b"*", 0, |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(lost.contains("has lost"), "{lost}");
    assert_eq!(db.len(), 100);
    db.set(b"one more", b"ours").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!((redis.entries("t:").len(), preloaded(&db, "*").removed), (101, 0));
}

#[test]
fn patterns_mean_here_what_they_mean_in_redis() {
    let redis = Redis::start();
    let mut client = redis.client();
    let mut rng = Rng::new(seed("KV_TIER_PATTERN_SEED"));
    for _ in 0..60 {
        let db = in_memory(&redis);
        for _ in 0..60 {
            let key: Vec<u8> = (0..rng.below(5)).map(|_| b"ab-]["[rng.below(5) as usize]).collect();
            db.set(&key, b"v").unwrap();
        }
        db.flush(PATIENCE).unwrap();
        let pattern: Vec<u8> = (0..rng.below(7)).map(|_| b"aab*?[]^-\\"[rng.below(10) as usize]).collect();
        let said = String::from_utf8_lossy(&pattern).into_owned();
        let meant: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg([b"t:", &pattern[..]].concat()).query(&mut client).unwrap();
        // All go elsewhere, and here those that the pattern means.
        let all: Vec<Vec<u8>> = redis::cmd("KEYS").arg("t:*").query(&mut client).unwrap();
        let gone: Vec<_> = all.iter().filter(|name| !name.starts_with(b"t:__libkv")).collect();
        let _: () = redis::cmd("UNLINK").arg(&gone).query(&mut client).unwrap();
        let meant: Vec<_> = meant.iter().filter(|name| gone.contains(name)).collect();
        let done = db.preload(&pattern, 0, |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(done.removed, meant.len() as u64, "{said}: {meant:?}");
        assert!(meant.iter().all(|name| !db
            .pin()
            .unwrap()
            .get(&name[2..])
            .is_ok_and(|value| value.is_some())));
    }
    // A prefix with what would mean something in a pattern stands for itself.
    let tier =
        |prefix: &str| Options::new().tier(TierOptions::new(redis.url()).timeout(PATIENT).prefix(prefix));
    let (odd, even) = (tier("[ab]*:").in_memory().unwrap(), tier("a:").in_memory().unwrap());
    odd.set(b"k", b"odd").unwrap();
    even.set(b"k", b"even").unwrap();
    odd.flush(PATIENCE).unwrap();
    even.flush(PATIENCE).unwrap();
    let reader = tier("[ab]*:").in_memory().unwrap();
    assert_eq!((preloaded(&reader, "*").copied, local(&reader, "k")), (1, bytes("odd")));
}

#[test]
fn without_a_tier_or_while_no_copies_are_kept_nothing_is_preloaded() {
    let refused = |db: &Db, reason: &str| {
        let error = db.preload(b"*", 0, |_| ControlFlow::Continue(())).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(&Options::new().in_memory().unwrap(), "no tier");
    let redis = Redis::with(&["--rename-command", "CLIENT", "DEAF"]);
    redis.set("t:k", "v");
    let tier = TierOptions::new(redis.url()).fresh(WhenDeaf::Drop).timeout(Duration::from_millis(100));
    let deaf = with(tier).in_memory().unwrap();
    refused(&deaf, "not heard");
    assert!(deaf.is_empty());
}

/// It has lost all, and then got back what was saved before this store wrote.
#[test]
fn a_redis_that_goes_back_in_time_replaces_and_removes_nothing() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let open = || super::options(&redis).open(dir.path()).unwrap();
    let goes_back = || {
        let _: () = redis.run("FLUSHALL");
        redis.set("t:k", "older");
    };
    let preload = |db: &Db| db.preload(b"*", 0, |_| ControlFlow::Continue(()));
    let db = open();
    db.set(b"k", b"new").unwrap();
    db.set(b"lost", b"v").unwrap();
    db.flush(PATIENCE).unwrap();
    goes_back();
    assert!(matches!(preload(&db), Err(Error::Tier { .. })));
    assert_eq!((local(&db, "k"), local(&db, "lost")), (bytes("new"), bytes("v")));
    until("it is sent again", || (redis.get("t:k"), redis.get("t:lost")) == (bytes("new"), bytes("v")));
    db.close().unwrap();
    // While the store is closed; and it has nothing to send.
    goes_back();
    let db = open();
    preload(&db).unwrap();
    assert_eq!((local(&db, "k"), local(&db, "lost")), (bytes("new"), bytes("v")));
    db.flush(PATIENCE).unwrap();
    assert_eq!((redis.get("t:k"), redis.get("t:lost")), (bytes("new"), bytes("v")));
}

/// It does so while the first portion comes, whose values are asked for one by one.
#[test]
fn what_redis_holds_again_from_before_while_values_come_replaces_nothing() {
    for command in ["PTTL", "EXEC"] {
        let redis = Redis::start();
        let proxy = Proxy::to(redis.socket());
        let db = with(TierOptions::new(proxy.url()).timeout(PATIENT)).in_memory().unwrap();
        for key in ["a", "b", "c"] {
            db.set(key.as_bytes(), b"new").unwrap();
        }
        db.flush(PATIENCE).unwrap();
        let (has_gone_back, client) = (AtomicBool::new(false), std::sync::Mutex::new(redis.client()));
        proxy.before_answer(command, move || {
            if !has_gone_back.swap(true, Ordering::SeqCst) {
                let client = &mut *client.lock().unwrap();
                let _: () = redis::cmd("FLUSHALL").query(client).unwrap();
                let older = [("t:a", "older"), ("t:b", "older"), ("t:c", "older")];
                let _: () = client.mset(&older).unwrap();
            }
        });
        let lost = db.preload(b"*", 0, |_| ControlFlow::Continue(())).unwrap_err().to_string();
        assert!(lost.contains("has lost"), "{command}: {lost}");
        for key in ["a", "b", "c"] {
            assert_eq!(local(&db, key), bytes("new"), "{command}, {key}");
        }
        until("it is sent again", || ["t:a", "t:b", "t:c"].iter().all(|key| redis.get(key) == bytes("new")));
    }
}

#[test]
fn long_values_among_short_ones_are_copied_and_no_reply_holds_many_of_them() {
    const KEYS: usize = 3000;
    let redis = Redis::start();
    fill(&redis, 0..KEYS, "v");
    let mut client = redis.client();
    // In some portions more than one reply may be.
    let long = vec![b'l'; 10 << 20];
    for n in 0..8 {
        let _: () = client.set(format!("t:long:{n}"), &long).unwrap();
    }
    let db = in_memory(&redis);
    let done = preloaded(&db, "*");
    assert_eq!((done.copied, db.len()), (KEYS as u64 + 8, KEYS + 8));
    assert!((0..8).all(|n| local(&db, &format!("long:{n}")).as_ref() == Some(&long)));
}
