//! What others change is heard, and what could not be heard is found out.

use super::common::{count, seed, Rng};
use super::gate::until;
use super::reads::{change_fives, set_fives};
use super::server::Redis;
use super::{bytes, hears, with, PATIENCE, PATIENT};
use kv::testing::{Hooks, Point};
use kv::{Db, Encoder, EncoderError, Error, Options, SetOptions, TierOptions, Ttl, WhenDeaf, Writes};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

fn tier(redis: &Redis, when_deaf: WhenDeaf) -> TierOptions {
    TierOptions::new(redis.url()).fresh(when_deaf).timeout(PATIENT)
}

fn listening(redis: &Redis, when_deaf: WhenDeaf) -> Db {
    let db = with(tier(redis, when_deaf)).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    db
}

#[test]
fn a_change_elsewhere_is_seen_within_moments() {
    let redis = Redis::start();
    let (a, b) = (listening(&redis, WhenDeaf::Drop), listening(&redis, WhenDeaf::Keep));
    let follower = with(tier(&redis, WhenDeaf::Drop).writes(Writes::Refused)).in_memory().unwrap();
    until("changes are heard", || hears(&follower));
    let mut slowest = Duration::ZERO;
    for n in 0..100 {
        let value = n.to_string();
        let (writer, reader) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        writer.set(b"k", value.as_bytes()).unwrap();
        writer.flush(PATIENCE).unwrap();
        let sent = Instant::now();
        until("it is seen", || reader.get(b"k").is_ok_and(|found| found == bytes(&value)));
        slowest = slowest.max(sent.elapsed());
        until("a follower sees it", || follower.get(b"k").is_ok_and(|found| found == bytes(&value)));
        assert_eq!(writer.get(b"k").unwrap(), bytes(&value));
    }
    assert!(slowest < PATIENCE, "{slowest:?}");
    a.delete(b"k").unwrap();
    until("a delete is seen", || b.get(b"k").unwrap().is_none() && follower.get(b"k").unwrap().is_none());
    // Anybody's changes, and what Redis does by itself.
    redis.set("t:k", "by another client");
    until("it is seen", || a.get(b"k").is_ok_and(|value| value == bytes("by another client")));
    let _: () = redis::cmd("PEXPIRE").arg("t:k").arg(60_000).query(&mut redis.client()).unwrap();
    until("a shorter time is seen", || {
        a.get(b"k").is_ok() && matches!(a.ttl(b"k").unwrap(), Some(Ttl::Remaining(_)))
    });
    let _: () = redis::cmd("FLUSHDB").query(&mut redis.client()).unwrap();
    until("all is gone", || [&a, &b, &follower].iter().all(|db| db.get(b"k").unwrap().is_none()));
}

#[test]
fn own_changes_drop_no_copies_and_ask_nothing() {
    let redis = Redis::start();
    let db = listening(&redis, WhenDeaf::Drop);
    for n in 0..100 {
        db.set(b"k", n.to_string().as_bytes()).unwrap();
        db.flush(PATIENCE).unwrap();
        assert_eq!(db.get(b"k").unwrap(), bytes(&n.to_string()));
    }
    assert_eq!(db.tier_stats().unwrap().unwrap().fetches, 0);
}

#[test]
fn copies_are_dropped_or_served_while_nothing_is_heard_and_compared_afterwards() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (drops, keeps) = (listening(&redis, WhenDeaf::Drop), listening(&redis, WhenDeaf::Keep));
    redis.set("t:theirs", "1");
    redis.set("t:same", "s");
    for db in [&drops, &keeps] {
        // What is heard of them may come after the first copies.
        until("copies are kept", || {
            assert_eq!((db.get(b"theirs").unwrap(), db.get(b"same").unwrap()), (bytes("1"), bytes("s")));
            db.len() == 2
        });
    }
    drops.set(b"ours", b"o").unwrap();
    drops.set_with(b"short", b"t", SetOptions::new().ttl(Duration::from_secs(100))).unwrap();
    drops.flush(PATIENCE).unwrap();
    redis.kill();
    until("it is noticed", || !hears(&drops) && !hears(&keeps));
    until("copies go", || matches!(drops.get(b"theirs"), Err(Error::Tier { .. })));
    assert_eq!(drops.get(b"ours").unwrap(), bytes("o"), "not a copy: its own");
    assert_eq!(keeps.get(b"theirs").unwrap(), bytes("1"));
    // Changed while neither can hear.
    redis.up();
    redis.set("t:theirs", "2");
    redis.set("t:ours", "taken over");
    for db in [&drops, &keeps] {
        until("the change is found", || db.get(b"theirs").is_ok_and(|value| value == bytes("2")));
        until("the other too", || db.get(b"ours").is_ok_and(|value| value == bytes("taken over")));
        assert_eq!(db.get(b"same").unwrap(), bytes("s"));
    }
    let Some(Ttl::Remaining(left)) = drops.ttl(b"short").unwrap() else { panic!("it lost its time") };
    assert!(left <= Duration::from_secs(100));
}

#[test]
fn a_connection_that_is_cut_loses_no_change() {
    let redis = Redis::start();
    let db = listening(&redis, WhenDeaf::Keep);
    for n in 0..30 {
        let value = n.to_string();
        let _ = db.get(b"k");
        // Whichever it is: the one that hears, the one that sends, or both; and the change comes in the gap.
        let kind = ["normal", "pubsub"][n % 2];
        let _: i64 =
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).query(&mut redis.client()).unwrap();
        redis.set("t:k", &value);
        until("it is seen", || db.get(b"k").is_ok_and(|found| found == bytes(&value)));
        if n % 3 == 0 {
            db.set(b"mine", value.as_bytes()).unwrap();
        }
    }
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:mine"), bytes("27"));
}

#[test]
fn a_redis_that_hangs_is_noticed_though_its_connections_stand() {
    let redis = Redis::start();
    let db = with(tier(&redis, WhenDeaf::Drop).timeout(Duration::from_millis(500))).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    redis.set("t:k", "1");
    until("it is read", || db.get(b"k").is_ok_and(|value| value == bytes("1")));
    redis.hang();
    until("it is noticed", || !hears(&db));
    redis.go_on();
    until("it is heard again", || hears(&db));
}

#[test]
fn nothing_is_lost_when_a_shared_redis_comes_back_empty() {
    let mut redis = Redis::start();
    for when_deaf in [WhenDeaf::Drop, WhenDeaf::Keep] {
        let (a, b) = (listening(&redis, when_deaf), listening(&redis, when_deaf));
        for n in 0..200 {
            a.set(format!("a{n}").as_bytes(), b"1").unwrap();
            b.set(format!("b{n}").as_bytes(), b"2").unwrap();
        }
        a.flush(PATIENCE).unwrap();
        b.flush(PATIENCE).unwrap();
        assert_eq!(a.get(b"b7").unwrap(), bytes("2"));
        redis.kill();
        redis.up();
        until("all is back", || redis.entries("t:").len() == 400);
        for n in 0..200 {
            until("each has all", || {
                a.get(format!("b{n}").as_bytes()).is_ok_and(|value| value == bytes("2"))
                    && b.get(format!("a{n}").as_bytes()).is_ok_and(|value| value == bytes("1"))
            });
        }
        a.clear().unwrap();
        b.clear().unwrap();
        a.flush(PATIENCE).unwrap();
        b.flush(PATIENCE).unwrap();
    }
}

#[test]
fn what_depends_on_a_value_sees_what_redis_holds_while_nothing_is_heard() {
    // Changes cannot be heard here, so no copies are kept.
    let redis = Redis::with(&["--rename-command", "CLIENT", "DEAF"]);
    let db = with(tier(&redis, WhenDeaf::Drop)).in_memory().unwrap();
    set_fives(&redis);
    assert_eq!(db.get(b"n").unwrap(), bytes("5"));
    assert!(db.contains(b"n").unwrap() && db.version(b"n").unwrap().is_some());
    assert_eq!(db.ttl(b"n").unwrap(), Some(Ttl::Never));
    change_fives(&redis, &db);
    assert!(!hears(&db));
    redis.set("t:add", "6");
    assert_eq!(db.get(b"add").unwrap(), bytes("6"), "a copy was kept");
}

#[test]
fn an_increment_amid_constant_change_elsewhere_is_done_and_does_not_begin_at_zero() {
    let redis = Redis::start();
    let db = listening(&redis, WhenDeaf::Keep);
    redis.set("t:n", "1000000");
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = redis.client();
            while !ends.load(Ordering::Relaxed) {
                let _: () = redis::cmd("SET").arg("t:n").arg(1_000_000).query(&mut client).unwrap();
            }
        });
        let sums: Vec<_> = (0..1000).map(|_| db.increment(b"n", 1)).collect();
        ends.store(true, Ordering::Relaxed);
        let sums: Vec<i64> = sums.into_iter().map(Result::unwrap).collect();
        assert!(sums.iter().all(|sum| *sum > 1_000_000), "{:?}", sums.iter().min());
    });
}

/// Passes values on, and is held up by one key.
struct Holds {
    is_held: Arc<AtomicBool>,
    goes_on: Arc<AtomicBool>,
}

impl Encoder for Holds {
    fn encode(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, EncoderError> {
        if key == b"held" {
            self.hold();
        }
        Ok(value.to_vec())
    }

    fn decode(&self, key: &[u8], string: &[u8], _bytes_max: usize) -> Result<Vec<u8>, EncoderError> {
        if key == b"asked" {
            self.hold();
        }
        Ok(string.to_vec())
    }
}

impl Holds {
    fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
        until("it goes on", || self.goes_on.load(Ordering::SeqCst));
    }
}

#[test]
fn what_was_asked_before_changes_were_heard_leaves_no_copy() {
    for when_deaf in [WhenDeaf::Drop, WhenDeaf::Keep] {
        let redis = Redis::start();
        redis.set("t:asked", "old");
        let _: () = redis.run("ACL SETUSER default -client -psubscribe");
        let (is_held, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let holds = Holds { is_held: Arc::clone(&is_held), goes_on: Arc::clone(&goes_on) };
        let tier = TierOptions::new(redis.url()).fresh(when_deaf).timeout(PATIENCE * 4).encoder(holds);
        let db = with(tier).in_memory().unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| db.get(b"asked"));
            until("the answer is held", || is_held.load(Ordering::SeqCst));
            redis.set("t:asked", "new");
            // Tracking alone: who was just let subscribe would wait for notifications that this server does not send.
            let _: () = redis.run("ACL SETUSER default +client");
            until("changes are heard", || hears(&db));
            // What stands here is compared with Redis now: the copy must come after that.
            for n in 0..2 {
                db.set(b"probe", b"ours").unwrap();
                db.flush(PATIENCE).unwrap();
                redis.set("t:probe", &n.to_string());
                until("it is heard", || db.pin().unwrap().get(b"probe").unwrap().is_none());
            }
            goes_on.store(true, Ordering::SeqCst);
            assert_eq!(reader.join().unwrap().unwrap(), bytes("old"), "as it was asked");
        });
        assert_eq!(db.get(b"asked").unwrap(), bytes("new"), "{when_deaf:?}");
    }
}

#[test]
fn a_change_that_was_not_sent_outlives_what_is_heard_of_its_key() {
    let redis = Redis::start();
    let (is_held, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let holds = Holds { is_held: Arc::clone(&is_held), goes_on: Arc::clone(&goes_on) };
    let db = with(tier(&redis, WhenDeaf::Drop).encoder(holds)).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    redis.set("t:probe", "here");
    until("the probe is here", || db.get(b"probe").is_ok() && db.len() == 1);
    db.set(b"held", b"v").unwrap();
    until("nothing is sent", || is_held.load(Ordering::SeqCst));
    db.set(b"k", b"ours").unwrap();
    redis.set("t:k", "theirs");
    // What is changed later is heard later.
    redis.set("t:probe", "gone");
    let local = |key: &[u8]| db.pin().unwrap().get(key).unwrap().map(|value| value.into_vec());
    until("it is heard", || local(b"probe").is_none());
    assert_eq!(local(b"k"), bytes("ours"));
    goes_on.store(true, Ordering::SeqCst);
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.get("t:k"), bytes("ours"), "the last to be sent");
    until("it stays", || db.get(b"k").is_ok_and(|value| value == bytes("ours")));
}

/// Others change it each time between what Redis says and what is done with that.
#[test]
fn what_depends_on_a_value_is_decided_however_often_others_change_it() {
    const PROBES: usize = 200;
    let redis = Arc::new(Redis::start());
    let opened: Arc<OnceLock<Weak<Db>>> = Arc::default();
    let changes = Arc::new(AtomicUsize::new(0));
    let (of_hook, others, count) = (Arc::clone(&opened), Arc::downgrade(&redis), Arc::clone(&changes));
    let (me, asked) = (std::thread::current().id(), AtomicU64::new(0));
    let hooks = Hooks::new(move |point| {
        if std::thread::current().id() != me || point != Point::Decided {
            return;
        }
        let Some((db, others)) = of_hook.get().and_then(Weak::upgrade).zip(others.upgrade()) else { return };
        let (here, n) = (db.pin().unwrap(), count.load(Ordering::SeqCst));
        // Once for each answer.
        let fetches = db.tier_stats().unwrap().unwrap().fetches;
        if asked.swap(fetches, Ordering::SeqCst) == fetches || n == PROBES {
            return;
        }
        // What is changed later is heard later.
        others.set("t:n", "70");
        others.set(&format!("t:probe{n}"), "gone");
        until("it is heard", || here.get(format!("probe{n}").as_bytes()).unwrap().is_none());
        count.fetch_add(1, Ordering::SeqCst);
    });
    redis.set("t:n", "5");
    (0..PROBES).for_each(|n| redis.set(&format!("t:probe{n}"), "here"));
    let db = Arc::new(with(tier(&redis, WhenDeaf::Drop)).hooks(hooks).in_memory().unwrap());
    until("changes are heard", || hears(&db));
    until("the probes are here", || {
        (0..PROBES).all(|n| db.get(format!("probe{n}").as_bytes()).is_ok()) && db.len() == PROBES
    });
    opened.set(Arc::downgrade(&db)).unwrap();
    // It has the time that it had when it was asked for, and leaves no copy that is old.
    assert_eq!(db.ttl(b"n").unwrap(), Some(Ttl::Never));
    assert_eq!(changes.load(Ordering::SeqCst), 1);
    assert!(db.pin().unwrap().get(b"n").unwrap().is_none());
    assert_eq!(db.increment(b"n", 1).unwrap(), 71);
    assert_eq!(changes.load(Ordering::SeqCst), 2);
}

#[test]
fn what_others_wrote_after_redis_lost_all_outlives_this_stores_return() {
    let redis = Redis::start();
    let (a, b) = (listening(&redis, WhenDeaf::Keep), listening(&redis, WhenDeaf::Keep));
    for key in ["taken over", "deleted", "own"] {
        a.set(key.as_bytes(), b"a").unwrap();
    }
    a.delete(b"deleted").unwrap();
    a.flush(PATIENCE).unwrap();
    b.set(b"taken over", b"b").unwrap();
    b.flush(PATIENCE).unwrap();
    until("it is heard", || a.get(b"taken over").is_ok_and(|value| value == bytes("b")));
    let _: () = redis::cmd("FLUSHDB").query(&mut redis.client()).unwrap();
    until("all is gone", || a.is_empty() && b.is_empty());
    until("masks leave", || a.stats().unwrap().index_entries == 0);
    for key in ["taken over", "deleted", "own"] {
        b.set(key.as_bytes(), b"new").unwrap();
    }
    b.flush(PATIENCE).unwrap();
    // Now this one learns that Redis has lost its mark, and sends again what it still has.
    a.set(b"another", b"a").unwrap();
    a.flush(PATIENCE).unwrap();
    for key in ["taken over", "deleted", "own"] {
        assert_eq!(redis.get(&format!("t:{key}")), bytes("new"), "{key}");
        assert_eq!(b.get(key.as_bytes()).unwrap(), bytes("new"), "{key}");
    }
}

#[test]
fn copies_that_are_dropped_are_no_deletes_that_wait() {
    let mut redis = Redis::start();
    let db = with(tier(&redis, WhenDeaf::Drop).unsent_deletes_max(50)).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    for n in 0..300 {
        redis.set(&format!("t:{n}"), "theirs");
    }
    for n in 0..300 {
        until("it is kept", || {
            db.get(format!("{n}").as_bytes()).unwrap();
            db.len() > n
        });
    }
    redis.kill();
    db.set(b"own", b"waits").unwrap();
    until("copies go", || db.len() == 1);
    until("their masks too", || {
        db.sweep().unwrap();
        db.stats().unwrap().index_entries == 1
    });
    assert_eq!(db.tier_stats().unwrap().unwrap().unsent_deletes, 0);
    db.set(b"another", b"is taken").unwrap();
}

/// What a store did last to a key: the value, or nothing after a delete; the outer `None` where it did nothing.
type Last = Option<Option<Vec<u8>>>;

/// Several stores change the same keys at once.
pub fn one_run(seed: u64, tier: impl Fn() -> TierOptions, there: impl Fn(&str, &str) -> Option<Vec<u8>>) {
    let stores = 2 + seed as usize % 2;
    const KEYS: u64 = 5;
    let prefix = format!("run{seed}:");
    let dbs: Vec<Db> = (0..stores)
        .map(|_| {
            let tier = tier().fresh(WhenDeaf::Keep).timeout(Duration::from_secs(20));
            Options::new().tier(tier.prefix(prefix.as_str())).in_memory().unwrap()
        })
        .collect();
    dbs.iter().for_each(|db| until("changes are heard", || hears(db)));
    let lasts: Vec<Vec<Last>> = std::thread::scope(|scope| {
        let writers: Vec<_> = dbs
            .iter()
            .enumerate()
            .map(|(number, db)| {
                scope.spawn(move || {
                    let mut rng = Rng::new(seed ^ (number as u64) << 40);
                    let mut lasts: Vec<Last> = vec![None; KEYS as usize];
                    for step in 0..60 {
                        let key = rng.below(KEYS);
                        let name = format!("k{key}");
                        match rng.below(10) {
                            0..=3 => {
                                let value = format!("store {number} step {step}").into_bytes();
                                db.set(name.as_bytes(), &value).unwrap();
                                lasts[key as usize] = Some(Some(value));
                            }
                            4..=5 => {
                                db.delete(name.as_bytes()).unwrap();
                                lasts[key as usize] = Some(None);
                            }
                            6 => db.flush(PATIENCE).unwrap(),
                            _ => drop(db.get(name.as_bytes()).unwrap()),
                        }
                    }
                    lasts
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    dbs.iter().for_each(|db| db.flush(PATIENCE).unwrap());
    for key in 0..KEYS {
        let there = there(&prefix, &format!("k{key}"));
        let candidates: Vec<_> = lasts.iter().filter_map(|of| of[key as usize].clone()).collect();
        assert!(
            candidates.contains(&there) || (candidates.is_empty() && there.is_none()),
            "seed {seed}: k{key} holds {there:?}, and the stores ended with {candidates:?}"
        );
        for (number, db) in dbs.iter().enumerate() {
            let began = Instant::now();
            loop {
                let here = db.get(format!("k{key}").as_bytes()).unwrap();
                if here == there {
                    break;
                }
                assert!(
                    began.elapsed() < PATIENCE,
                    "seed {seed}: store {number} has {here:?} for k{key}, Redis {there:?}"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn of_stores_that_change_the_same_keys_the_last_to_be_sent_wins_everywhere() {
    let redis = Redis::start();
    let first = seed("KV_TIER_SEED") >> 16;
    let (next, runs) = (AtomicU64::new(0), count("KV_TIER_RUNS", 200));
    std::thread::scope(|scope| {
        // Most of a run is waiting.
        for _ in 0..8 {
            scope.spawn(|| loop {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    return;
                }
                let tier = || tier(&redis, WhenDeaf::Keep);
                one_run(first + run, tier, |prefix, key| redis.get(&format!("{prefix}{key}")));
            });
        }
    });
}
