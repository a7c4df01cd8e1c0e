//! What becomes of connections that stand while others are made, or break between two questions.

use super::gate::until;
use super::proxy::{Fault, Proxy};
use super::server::Redis;
use super::{bytes, hears, with, PATIENCE, PATIENT};
use kv::{Db, Hashes, Options, TierOptions, WhenDeaf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A cluster of one node.
fn alone() -> Redis {
    let node = Redis::with(&["--cluster-enabled", "yes"]);
    let _: () = node.run("CLUSTER ADDSLOTSRANGE 0 16383");
    until("the cluster stands", || node.run::<String>("CLUSTER INFO").contains("cluster_state:ok"));
    node
}

fn fetches(db: &Db) -> u64 {
    db.tier_stats().unwrap().unwrap().fetches
}

fn cut_ear(redis: &Redis) -> u64 {
    let ear = redis.ear().unwrap();
    let _: i64 = redis.run(&format!("CLIENT KILL ID {ear}"));
    ear
}

/// Two names of one node, of which each knows that it is that one alone.
#[test]
fn a_connection_to_another_server_than_the_one_found_last_is_left() {
    let node = alone();
    let proxy = Proxy::to(node.socket());
    let url = format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", proxy.port(), node.port());
    let tier = TierOptions::new(url)
        .prefix("{t}:")
        .timeout(PATIENT)
        .fresh(WhenDeaf::Drop)
        .backoff_max(Duration::from_millis(50));
    let db = Options::new().tier(tier).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    assert_eq!(db.get(b"none").unwrap(), None);
    // The one that asks stands; who looks for the server anew finds the other name.
    proxy.set_down(true);
    let ear = cut_ear(&node);
    until("changes are heard by the other name", || {
        hears(&db) && node.ear().is_some_and(|other| other != ear)
    });
    node.set("{t}:k", "v");
    until("copies are kept again", || {
        let before = fetches(&db);
        // The figure may come after the answer.
        (0..10).all(|_| db.get(b"k").ok() == Some(bytes("v"))) && fetches(&db) < before + 5
    });
}

/// Whenever Redis has taken what was sent, there is more.
#[test]
fn changes_are_heard_again_though_a_writer_never_pauses() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let db = with(TierOptions::new(proxy.url()).fresh(WhenDeaf::Keep).timeout(PATIENT)).in_memory().unwrap();
    until("changes are heard", || hears(&db));
    let (writer, number) = (db.clone(), Arc::new(AtomicU64::new(0)));
    let written = Arc::clone(&number);
    proxy.before_answer("EXEC", move || {
        let n = written.fetch_add(1, Ordering::SeqCst);
        writer.set(b"k", n.to_string().as_bytes()).unwrap();
    });
    db.set(b"k", b"begin").unwrap();
    until("it goes on by itself", || number.load(Ordering::SeqCst) > 100);
    let ear = cut_ear(&redis);
    until("the new one is told", || redis.ear().is_some_and(|other| other != ear) && hears(&db));
    let sent = number.load(Ordering::SeqCst);
    until("it still goes on", || number.load(Ordering::SeqCst) > sent);
    proxy.before_no_answer();
    db.flush(PATIENCE).unwrap();
}

fn set_hash(redis: &Redis, name: &str) {
    let _: i64 = redis.run(&format!("HSET {name} f v"));
}

/// A question for values, then one for hashes: the connection is cut in the middle of either, or refuses a part of one.
#[test]
fn hashes_that_a_cut_connection_leaves_unanswered_are_asked_for_again() {
    let redis = Redis::start();
    set_hash(&redis, "t:h1");
    set_hash(&redis, "t:h2");
    redis.set("t:s1", "1");
    redis.set("t:s2", "2");
    // Four commands a key, and of hashes four more.
    for skipped in 0..24 {
        let proxy = Proxy::to(redis.socket());
        let tier = TierOptions::new(proxy.url()).hashes(Hashes::Json).timeout(PATIENCE);
        let db = with(tier).in_memory().unwrap();
        // One that has served and is cut costs no caller anything.
        assert_eq!(db.get(b"none").unwrap(), None);
        proxy.plan(skipped, Fault::CutBefore);
        let hash = || bytes(r#"{"f":"v"}"#);
        let found = db.get_many(&["h1", "s1", "h2", "s2"]);
        assert!(proxy.has_struck());
        assert_eq!(found.unwrap(), [hash(), bytes("1"), hash(), bytes("2")], "cut after {skipped} commands");
    }
}

#[test]
fn hashes_beside_a_key_that_has_moved_are_answered() {
    let node = alone();
    set_hash(&node, "{t}:h1");
    set_hash(&node, "{t}:h2");
    node.set("{t}:s1", "1");
    node.set("{t}:s2", "2");
    // An EXEC that the proxy refuses would leave the server with a transaction that has begun.
    for skipped in (0..24).filter(|skipped| skipped % 4 != 3) {
        let proxy = Proxy::to(node.socket());
        let url = format!("redis-cluster://127.0.0.1:{}", proxy.port());
        let tier = TierOptions::new(url).prefix("{t}:").hashes(Hashes::Json).timeout(PATIENCE);
        let db = Options::new().tier(tier).in_memory().unwrap();
        assert_eq!(db.get(b"none").unwrap(), None);
        proxy.plan(skipped, Fault::Refuse("MOVED 1 127.0.0.1:1"));
        let hash = || bytes(r#"{"f":"v"}"#);
        let found = db.get_many(&["h1", "s1", "h2", "s2"]);
        assert!(proxy.has_struck());
        assert_eq!(found.unwrap(), [hash(), bytes("1"), hash(), bytes("2")], "refused after {skipped}");
    }
}
