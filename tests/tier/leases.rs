//! Of all processes that miss a key one loads it, as long as that saves work, and nothing hangs on it.

use super::gate::until;
use super::proxy::Proxy;
use super::server::Redis;
use super::{bytes, hears, in_memory, with, PATIENCE, PATIENT};
use kv::testing::loads_under_way;
use kv::{Db, Error, LoadOptions, TierOptions, Ttl, WhenDeaf, Writes};
use redis::Commands;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LEASE: &str = "t:__libkv:lease:k";

fn leased(time: Duration) -> LoadOptions {
    LoadOptions::new().ttl(Duration::from_secs(100)).lease(time)
}

fn brings(
    calls: &Arc<AtomicUsize>,
    value: &'static str,
) -> impl FnOnce() -> Result<Option<Vec<u8>>, String> + Send {
    let calls = Arc::clone(calls);
    move || {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(bytes(value))
    }
}

fn hold(redis: &Redis, time_ms: u64) {
    let _: () =
        redis::cmd("SET").arg(LEASE).arg("other").arg("PX").arg(time_ms).query(&mut redis.client()).unwrap();
}

#[test]
fn of_all_stores_that_miss_a_key_one_loads_it() {
    let redis = Redis::start();
    let dbs: Vec<Db> = (0..3).map(|_| in_memory(&redis)).collect();
    for round in 0..20 {
        let calls = Arc::new(AtomicUsize::new(0));
        let key = format!("k{round}");
        std::thread::scope(|scope| {
            for db in dbs.iter().chain(&dbs) {
                let (key, calls) = (&key, &calls);
                scope.spawn(move || {
                    let loaded = db.get_or_load_with(key.as_bytes(), leased(PATIENCE), brings(calls, "v"));
                    assert_eq!(loaded.unwrap(), bytes("v"));
                });
            }
        });
        assert_eq!(calls.load(Ordering::SeqCst), 1, "round {round}");
    }
    let left: Vec<String> = redis.client().keys("t:__libkv:lease:*").unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_holder_that_dies_loses_the_lease_and_one_that_brings_nothing_is_not_waited_for_for_ever() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    let calls = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    hold(&redis, 300);
    let loaded = db.get_or_load_with(b"k", leased(PATIENCE), brings(&calls, "v")).unwrap();
    assert_eq!((loaded, calls.load(Ordering::SeqCst)), (bytes("v"), 1));
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}: the lease was held", began.elapsed());
    db.delete(b"k").unwrap();
    db.flush(PATIENCE).unwrap();
    hold(&redis, 600_000);
    let began = Instant::now();
    let loaded = db.get_or_load_with(b"k", leased(Duration::from_millis(100)), brings(&calls, "w")).unwrap();
    assert_eq!((loaded, calls.load(Ordering::SeqCst)), (bytes("w"), 2));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(
        redis.client().get::<_, String>(LEASE).unwrap(),
        "other",
        "a lease of somebody else was removed"
    );
}

#[test]
fn who_waits_gets_what_the_holder_brings() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    hold(&redis, 600_000);
    let calls = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| db.get_or_load_with(b"k", leased(PATIENCE), brings(&calls, "unwanted")));
        until("it has asked", || db.tier_stats().unwrap().unwrap().fetches > 0);
        redis.set("t:k", "brought");
        assert_eq!(waits.join().unwrap().unwrap(), bytes("brought"));
    });
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[test]
fn a_lease_is_given_back_once_redis_has_the_value_and_also_by_a_loader_that_fails() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    let failed = db.get_or_load_with(b"k", leased(PATIENCE), || Err::<Option<Vec<u8>>, _>("no network"));
    assert!(matches!(failed, Err(Error::Loader { .. })));
    assert!(!redis.client().exists::<_, bool>(LEASE).unwrap());
    assert_eq!(
        db.get_or_load_with(b"k", leased(PATIENCE), || Ok::<_, String>(bytes("v"))).unwrap(),
        bytes("v")
    );
    assert_eq!((redis.get("t:k"), redis.client().exists::<_, bool>(LEASE).unwrap()), (bytes("v"), false));
    // Its time was over, and another's has begun.
    let mut client = redis.client();
    let steals = move || {
        let _: () = client.set(LEASE, "other").map_err(|error| error.to_string())?;
        Ok::<_, String>(bytes("w"))
    };
    db.delete(b"k").unwrap();
    db.get_or_load_with(b"k", leased(PATIENCE), steals).unwrap();
    assert_eq!(redis.client().get::<_, String>(LEASE).unwrap(), "other");
}

#[test]
fn a_stale_copy_is_refreshed_from_redis_where_somebody_has_loaded_it_and_by_one_of_all_where_nobody_has() {
    let redis = Redis::start();
    let (a, b) = (in_memory(&redis), in_memory(&redis));
    let calls = Arc::new(AtomicUsize::new(0));
    let options = leased(PATIENCE).fresh_for(Duration::from_millis(200));
    let load = |db: &Db, value| db.get_or_load_with(b"k", options, brings(&calls, value)).unwrap();
    assert_eq!((load(&a, "1"), load(&b, "unwanted")), (bytes("1"), bytes("1")));
    let local = |db: &Db| db.get(b"k").unwrap();
    until("one loads it anew", || {
        assert!(load(&a, "2").is_some());
        local(&a) == bytes("2")
    });
    a.flush(PATIENCE).unwrap();
    until("the other takes that", || load(&b, "3") != bytes("1"));
    // Unless that had grown stale as well before it was asked for.
    let (now, count) = (local(&b), calls.load(Ordering::SeqCst));
    assert!(now == bytes("2") || now == bytes("3"), "{now:?}");
    // While another process loads it, what is stale is served and no loader is called.
    hold(&redis, 600_000);
    let stale = Duration::from_secs(100) - Duration::from_millis(200);
    until("it is stale", || matches!(b.ttl(b"k").unwrap(), Some(Ttl::Remaining(left)) if left < stale));
    let before = b.tier_stats().unwrap().unwrap().fetches;
    until("it has looked", || {
        let value = load(&b, "3");
        assert!(value == bytes("2") || value == bytes("3"), "{value:?}");
        b.tier_stats().unwrap().unwrap().fetches > before + 1
    });
    assert!(calls.load(Ordering::SeqCst) <= count + 1, "a refresh that was under way");
}

#[test]
fn a_redis_that_cannot_be_asked_keeps_nobody_from_loading() {
    let mut redis = Redis::start();
    let tier = TierOptions::new(redis.url()).unreachable_is_miss(true).timeout(Duration::from_millis(200));
    let db = with(tier).in_memory().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    redis.kill();
    let began = Instant::now();
    let loaded = db.get_or_load_with(b"k", leased(PATIENCE), brings(&calls, "v")).unwrap();
    assert_eq!((loaded, calls.load(Ordering::SeqCst)), (bytes("v"), 1));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_redis_that_takes_no_lease_has_everybody_load() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    let all_but_leases = ["SETUSER", "default", "resetkeys", "~t:k", "~t:__libkv:mark:*"];
    redis::cmd("ACL").arg(&all_but_leases).query::<()>(&mut redis.client()).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let loaded = db.get_or_load_with(b"k", leased(PATIENCE), brings(&calls, "v")).unwrap();
    assert_eq!((loaded, calls.load(Ordering::SeqCst)), (bytes("v"), 1));
    assert!(began.elapsed() < PATIENCE, "it waited for a lease that nobody holds: {:?}", began.elapsed());
}

#[test]
fn leases_are_no_entries() {
    let redis = Redis::start();
    redis.set("t:a", "1");
    let db = with(TierOptions::new(redis.url()).fresh(WhenDeaf::Drop).timeout(PATIENT)).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    hold(&redis, 600_000);
    let done = db.preload(b"*", 0, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((done.keys, done.copied, db.len()), (1, 1, 1));
}

/// Loaded for 100 s, and stale after a moment.
fn stale_at_once() -> LoadOptions {
    LoadOptions::new().ttl(Duration::from_secs(100)).fresh_for(Duration::from_millis(1))
}

#[test]
fn close_waits_for_no_answer_that_a_refresh_waits_for() {
    let redis = Redis::start();
    let db = with(TierOptions::new(redis.url()).timeout(PATIENCE * 10)).in_memory().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let options = stale_at_once().lease(PATIENCE);
    db.get_or_load_with(b"k", options, brings(&calls, "1")).unwrap();
    db.flush(PATIENCE).unwrap();
    let stale = Duration::from_secs(100) - Duration::from_millis(1);
    until("it is stale", || matches!(db.ttl(b"k").unwrap(), Some(Ttl::Remaining(left)) if left < stale));
    let (says, runs) = std::sync::mpsc::channel();
    let (tells, told) = std::sync::mpsc::channel();
    let held = move || {
        says.send(()).map_err(|error| error.to_string())?;
        told.recv().map_err(|error| error.to_string())
    };
    db.get_or_load_with(b"k", options, held).unwrap();
    runs.recv_timeout(PATIENCE).unwrap();
    redis.hang();
    tells.send(bytes("2")).unwrap();
    // From here on it waits until Redis has that, to give its lease back.
    until("it is loaded anew", || db.get(b"k").unwrap() == bytes("2"));
    let began = Instant::now();
    db.close().unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    redis.go_on();
}

#[test]
fn a_key_that_a_copy_came_for_while_its_loader_ran_is_not_remembered_as_absent() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    let calls = Arc::new(AtomicUsize::new(0));
    let options = stale_at_once().absent_for(PATIENCE * 10);
    db.get_or_load_with(b"k", options, brings(&calls, "1")).unwrap();
    db.flush(PATIENCE).unwrap();
    let _: () =
        redis::cmd("SET").arg("t:k").arg("there").arg("PX").arg(5000).query(&mut redis.client()).unwrap();
    let inner = db.clone();
    let (says, ran) = std::sync::mpsc::channel();
    let finds_nothing = move || {
        let done =
            inner.preload(b"k", 0, |_| ControlFlow::Continue(())).map_err(|error| error.to_string())?;
        says.send(done.copied).map_err(|error| error.to_string())?;
        Ok::<_, String>(None)
    };
    let stale = Duration::from_secs(100) - Duration::from_millis(1);
    until("it is stale", || matches!(db.ttl(b"k").unwrap(), Some(Ttl::Remaining(left)) if left < stale));
    db.get_or_load_with(b"k", options, finds_nothing).unwrap();
    assert_eq!(ran.recv_timeout(PATIENCE).unwrap(), 1, "one copy");
    until("that is done", || loads_under_way(&db) == (0, 0));
    until("the copy has ended", || db.get(b"k").unwrap().is_none());
    db.get_or_load_with(b"k", options, brings(&calls, "2")).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2, "what was not looked for was taken for absent");
}

/// The circuit is open, and what is asked of it takes few connections: a hang is nobody's wait but the first ones'.
#[test]
fn a_redis_that_hangs_costs_those_who_want_leases_one_wait_and_few_connections() {
    const CALLERS: usize = 64;
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let timeout = Duration::from_millis(500);
    let tier = TierOptions::new(proxy.url()).prefix("t:").unreachable_is_miss(true).timeout(timeout);
    let db = kv::Options::new().tier(tier.backoff_max(PATIENCE)).in_memory().unwrap();
    proxy.set_slow(true);
    let calls = Arc::new(AtomicUsize::new(0));
    let load = |n: usize| {
        let loaded = db.get_or_load_with(format!("k{n}").as_bytes(), leased(PATIENCE), brings(&calls, "v"));
        assert_eq!(loaded.unwrap(), bytes("v"));
    };
    std::thread::scope(|scope| {
        for n in 0..CALLERS {
            let load = &load;
            scope.spawn(move || load(n));
        }
    });
    let connections = proxy.connections();
    assert!(connections < CALLERS as u64 / 2, "{connections} connections for {CALLERS} callers");
    let began = Instant::now();
    (CALLERS..2 * CALLERS).for_each(load);
    assert!(began.elapsed() < timeout * CALLERS as u32 / 2, "{:?}", began.elapsed());
    assert_eq!(calls.load(Ordering::SeqCst), 2 * CALLERS);
    proxy.set_slow(false);
}

/// By its deadline what Redis holds was loaded later; but it has lost what this store sent, so it is of an earlier time.
#[test]
fn a_refresh_takes_nothing_of_a_redis_that_has_lost_what_it_was_sent() {
    let redis = Redis::start();
    let db = in_memory(&redis);
    let calls = Arc::new(AtomicUsize::new(0));
    let options = LoadOptions::new().ttl(Duration::from_secs(100)).fresh_for(Duration::from_millis(1));
    let load = |value| db.get_or_load_with(b"k", options, brings(&calls, value)).unwrap();
    assert_eq!(load("1"), bytes("1"));
    db.flush(PATIENCE).unwrap();
    let _: () = redis.run("FLUSHALL");
    let _: () = redis.run("SET t:k lost PX 1000000");
    let mut found = bytes("1");
    until("it is loaded anew", || {
        found = load("2");
        found != bytes("1")
    });
    assert_eq!(found, bytes("2"));
    // What was told nothing since is believed.
    db.flush(PATIENCE).unwrap();
    let _: () = redis.run("SET t:k theirs PX 1000000");
    until("theirs is taken", || load("3") != bytes("2"));
}

#[test]
fn a_follower_asks_redis_for_what_is_stale_and_runs_no_loader_whose_value_it_could_not_keep() {
    let redis = Redis::start();
    let db =
        with(TierOptions::new(redis.url()).timeout(PATIENT).writes(Writes::Refused)).in_memory().unwrap();
    let _: () = redis.run("SET t:k theirs PX 50000");
    let calls = Arc::new(AtomicUsize::new(0));
    let options = LoadOptions::new().ttl(Duration::from_secs(100)).fresh_for(Duration::from_millis(1));
    let fetches = || db.tier_stats().unwrap().unwrap().fetches;
    let before = fetches();
    until("it has looked for a later one more than once", || {
        let found = db.get_or_load_with(b"k", options, brings(&calls, "unwanted")).unwrap();
        assert_eq!(found, bytes("theirs"));
        fetches() > before + 2
    });
    let _: () = redis.run("SET t:k later PX 99999");
    until("a later one is taken", || {
        db.get_or_load_with(b"k", options, brings(&calls, "unwanted")).unwrap() == bytes("later")
    });
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}
