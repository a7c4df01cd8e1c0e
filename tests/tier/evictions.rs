//! A cache with a tier: what goes here stays there, and nothing goes that Redis was not told of.

use super::server::Redis;
use super::{bytes, options, PATIENCE};
use kv::Db;

const MAX: u64 = 10;

fn key(n: u64) -> Vec<u8> {
    format!("k{n}").into_bytes()
}

fn cache(redis: &Redis) -> Db {
    options(redis).max_entries(Some(MAX)).in_memory().unwrap()
}

#[test]
fn what_is_evicted_stays_in_redis_and_is_found_there() {
    let redis = Redis::start();
    let db = cache(&redis);
    for n in 0..100 {
        db.set(&key(n), n.to_string().as_bytes()).unwrap();
        db.flush(PATIENCE).unwrap();
        assert!(db.len() as u64 <= MAX);
    }
    assert_eq!(db.stats().unwrap().evicted, 100 - MAX);
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.entries("t:").len(), 100, "no eviction was sent");
    for n in 0..100 {
        assert_eq!(db.get(&key(n)).unwrap(), bytes(&n.to_string()));
        assert!(db.len() as u64 <= MAX, "copies count too");
    }
    // A delete is sent, of what was evicted too.
    (0..100).for_each(|n| _ = db.delete(&key(n)).unwrap());
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.entries("t:"), []);
}

#[test]
fn what_was_not_sent_is_not_evicted() {
    let mut redis = Redis::start();
    redis.kill();
    let db = cache(&redis);
    (0..50).for_each(|n| db.set(&key(n), b"v").unwrap());
    assert_eq!((db.len(), db.stats().unwrap().evicted), (50, 0), "beyond the limit, and nothing is lost");
    redis.up();
    db.flush(PATIENCE).unwrap();
    assert_eq!(redis.entries("t:").len(), 50);
    db.set(&key(50), b"v").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(db.len() as u64, MAX, "now they can go");
    assert_eq!(redis.entries("t:").len(), 51);
}
