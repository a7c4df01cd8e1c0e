//! What holds at the moment when a call returns, and not a little later.

use super::gate::until;
use super::server::Redis;
use super::{bytes, hears, with, PATIENCE};
use kv::{Error, ScanOptions, SetOptions, TierOptions, WhenDeaf, Writes};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn who_waited_until_everything_is_there_finds_no_delete_that_waits_and_room_for_more() {
    let redis = Redis::start();
    let db = with(TierOptions::new(redis.url()).unsent_deletes_max(20)).in_memory().unwrap();
    for n in 0..200 {
        for key in 0..10 {
            db.delete(format!("{n}-{key}").as_bytes()).unwrap();
        }
        db.flush(PATIENCE).unwrap();
        let stats = db.tier_stats().unwrap().unwrap();
        assert_eq!((stats.unsent_keys, stats.unsent_deletes), (0, 0), "time {n}");
    }
    // No delete is left behind that nobody looks at any more.
    until("their masks have gone", || db.stats().unwrap().index_entries == 0);
}

#[test]
fn a_bound_that_was_reached_refuses_nothing_once_redis_takes_some() {
    let mut redis = Redis::start();
    let db = with(TierOptions::new(redis.url()).unsent_deletes_max(5)).in_memory().unwrap();
    for n in 0..20 {
        redis.kill();
        let mut keys = 0;
        until("it is full", || {
            keys += 1;
            match db.delete(format!("{n}-{keys}").as_bytes()) {
                Err(Error::Tier { reason }) => reason.contains("keeps no more"),
                result => result.is_err(),
            }
        });
        redis.up();
        db.flush(PATIENCE).unwrap();
        db.set(b"k", b"v").unwrap();
    }
}

/// Says that a test is over, also where it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn connections_that_are_closed_while_nothing_is_asked_count_as_no_failure() {
    let redis = Redis::start();
    let fresh = TierOptions::new(redis.url()).fresh(WhenDeaf::Drop).timeout(PATIENCE);
    let db = with(fresh.writes(Writes::Through)).in_memory().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let stats = db.tier_stats().unwrap().unwrap();
                assert_eq!((stats.failing, stats.failures), (None, 0));
            }
        });
        let _over = Over(&is_over);
        for n in 0..10 {
            until("changes are heard", || hears(&db));
            db.set(b"k", n.to_string().as_bytes()).unwrap();
            let ear = redis.ear();
            let _: i64 = redis.run("CLIENT KILL TYPE normal");
            until("another connection hears", || {
                hears(&db) && redis.ear().is_some_and(|now| Some(now) != ear)
            });
            assert_eq!(redis.get("t:k"), bytes(&n.to_string()));
        }
    });
}

#[test]
fn an_entry_of_ones_own_that_ends_stays_here_when_it_is_compared() {
    const KEYS: usize = 50;
    let redis = Redis::start();
    let fresh = TierOptions::new(redis.url()).fresh(WhenDeaf::Drop).timeout(PATIENCE);
    let db = with(fresh).in_memory().unwrap();
    for n in 0..KEYS {
        let ttl = SetOptions::new().ttl(Duration::from_secs(1000));
        db.set_with(format!("{n}").as_bytes(), b"v", ttl).unwrap();
    }
    db.set(b"theirs", b"ours").unwrap();
    db.flush(PATIENCE).unwrap();
    until("changes are heard", || hears(&db));
    // Behind the ear's back: what is read anew was compared, as all were.
    let mut unheard = redis::pipe();
    unheard.atomic().cmd("CLIENT").arg(&["KILL", "ID"]).arg(redis.ear().unwrap()).ignore();
    unheard.set("t:theirs", "theirs").ignore();
    for n in 0..KEYS {
        // As much as a clock that was read late, and an answer that took long, make of it.
        let ends_ms: i64 = redis.run(&format!("PEXPIRETIME t:{n}"));
        unheard.cmd("PEXPIREAT").arg(format!("t:{n}")).arg(ends_ms - 100).ignore();
    }
    let () = unheard.query(&mut redis.client()).unwrap();
    until("it is compared", || db.get(b"theirs").ok() == Some(bytes("theirs")));
    until("changes are heard", || hears(&db));
    let held = db.scan(ScanOptions::new().prefix("").start("0").end("9~")).unwrap();
    assert_eq!(held.count(), KEYS, "of those that nobody changed");
}
