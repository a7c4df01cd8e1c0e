//! Stores that share their entries through a `redis-server` which each test starts.

use super::server::Redis;
use super::{kv, Place, Ran};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Runs `kv COMMAND STORE ARGS…` with the store's tier.
fn shared(place: &Place, redis: &Redis, command: &str, args: &[&str]) -> Ran {
    let url = redis.tcp_url();
    let tier = ["--tier-url", &url, "--tier-prefix", "t:", "--tier-backoff-max", "50ms"];
    place.kv(command, &[args, &tier].concat())
}

#[test]
fn what_one_store_sets_and_deletes_another_one_sees() {
    let redis = Redis::start();
    let (here, there) = (Place::new(), Place::new());
    shared(&here, &redis, "set", &["k", "v", "--ttl", "1h"]).ok();
    assert_eq!(redis.get("t:k").as_deref(), Some(&b"v"[..]));
    shared(&there, &redis, "incr", &["n"]).ok();
    assert_eq!(shared(&there, &redis, "get", &["k"]).ok().text(), "v");
    let seconds: f64 = shared(&there, &redis, "ttl", &["k"]).ok().text().trim().parse().unwrap();
    assert!(seconds > 0.0 && seconds <= 3600.0, "{seconds}");
    // Its own copy is read without Redis, and so says which version it is.
    assert!(there.kv("get", &["k", "--json"]).ok().json()["version"].is_u64());

    shared(&there, &redis, "del", &["k"]).ok();
    assert_eq!(redis.get("t:k"), None);
    assert_eq!(shared(&there, &redis, "incr", &["n"]).ok().text(), "2\n");
    assert_eq!(shared(&here, &redis, "incr", &["n"]).ok().text(), "3\n");
    shared(&here, &redis, "get", &["none"]).failed(1, &["no key \"none\""]);
    shared(&here, &redis, "get", &["none", "--tier-reads", "false"]).failed(1, &["no key \"none\""]);
    shared(&here, &redis, "set", &["k", "w", "--tier-writes", "refused"])
        .failed(3, &["read-only", "follows"]);
}

#[test]
fn what_redis_did_not_take_is_told_and_sent_by_flush() {
    let mut redis = Redis::start();
    let place = Place::new();
    redis.kill();
    let set = shared(&place, &redis, "set", &["k", "v", "--tier-timeout", "100ms"]);
    assert!(
        set.code == Some(0) && set.err.contains("note: tier: ") && set.err.contains("kv flush"),
        "{set:?}"
    );
    let through = shared(&place, &redis, "set", &["l", "v", "--tier-writes", "through"]);
    assert!(through.code == Some(3) && through.err.contains("tier: "), "{through:?}");
    let flush = shared(&place, &redis, "flush", &["--timeout", "100ms"]);
    assert!(flush.code == Some(3) && flush.err.contains("tier: "), "{flush:?}");
    assert_eq!(shared(&place, &redis, "get", &["k"]).text(), "v");
    let absent = shared(&place, &redis, "get", &["none"]);
    assert!(absent.code == Some(3) && absent.err.contains("tier: "), "{absent:?}");
    let miss = shared(&place, &redis, "get", &["none", "--tier-unreachable-is-miss", "true"]);
    assert!(miss.code == Some(1) && miss.err.contains("no key"), "{miss:?}");

    redis.up();
    assert_eq!(shared(&place, &redis, "flush", &[]).ok().text(), "2\n");
    assert_eq!(redis.entries("t:"), [("t:k".into(), b"v".to_vec()), ("t:l".into(), b"v".to_vec())]);
    let figures = shared(&place, &redis, "flush", &["--json"]).ok().json();
    assert_eq!((figures["unsent_keys"].as_u64(), &figures["failing"]), (Some(0), &Value::Null));
}

#[test]
fn figures_of_the_tier_stand_with_those_of_the_store() {
    let redis = Redis::start();
    let place = Place::new();
    place.kv("set", &["k", "v"]).ok();
    for json in [
        shared(&place, &redis, "stats", &["--json"]),
        shared(&place, &redis, "watch", &["--json", "--for", "0s"]),
    ] {
        let json = json.ok().json();
        assert!(
            json["entries"] == 1 && json["tier_unsent_keys"].is_u64() && json["tier_failing"] == 0,
            "{json}"
        );
    }
    assert!(shared(&place, &redis, "stats", &[]).ok().text().lines().any(|line| line == "tier_failures 0"));
    let prometheus = shared(&place, &redis, "stats", &["--prometheus"]).ok();
    assert!(prometheus.text().contains("# TYPE kv_tier_unsent_keys gauge\nkv_tier_unsent_keys "));
    assert!(!place.kv("stats", &[]).ok().text().contains("tier_"));
}

#[test]
fn a_store_that_is_kept_open_sends_and_hears() {
    let redis = Redis::start();
    let (here, there) = (Place::new(), Place::new());
    here.kv("set", &["k", "v"]).ok();
    let mut watch = kv()
        .args(["watch", &here.at("store"), "--json", "--every", "10ms", "--for", "30s"])
        .args(["--tier-url", &redis.url(), "--tier-prefix", "t:", "--tier-fresh", "drop"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut figures = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let sent = figures
        .find(|line| line["tier_unsent_keys"] == 0 && line["tier_hears"] == 1)
        .expect("it is sent in 30 s");
    assert_eq!((&sent["entries"], redis.get("t:k").as_deref()), (&1.into(), Some(&b"v"[..])));
    shared(&there, &redis, "set", &["k", "w"]).ok();
    figures.find(|line| line["entries"] == 0).expect("the old value is dropped in 30 s");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn wrong_options_are_named_with_their_values_and_no_password_is_shown() {
    let redis = Redis::with(&["--requirepass", "open-sesame"]);
    let place = Place::new();
    place.kv("set", &["k", "v"]).ok();
    shared(&place, &redis, "get", &["k", "--tier-writes", "maybe"]).failed(2, &["maybe", "--tier-writes"]);
    shared(&place, &redis, "get", &["k", "--tier-database", "-1"])
        .failed(2, &["option tier_database: \"-1\""]);
    shared(&place, &redis, "get", &["k", "--tier-timeout", "0s"]).failed(2, &["0s", "--tier-timeout"]);
    place.kv("get", &["k", "--tier-fresh", "drop"]).failed(2, &["--tier-url"]);
    place.kv("flush", &[]).failed(2, &["--tier-url"]);
    let nowhere = place.at("none");
    shared(&place, &redis, "get", &["k", "--tier-password-from", &nowhere]).failed(3, &["read ", &nowhere]);
    place.kv("get", &["k", "--tier-url", "redis://u:hunter2@"]).failed(2, &["option tier: "]);

    let file = place.at("password");
    fs::write(&file, "hunter2\n").unwrap();
    let wrong = shared(&place, &redis, "flush", &["--timeout", "300ms", "--tier-password-from", &file]);
    assert!(
        wrong.code == Some(3) && wrong.err.contains("WRONGPASS") && !wrong.err.contains("hunter2"),
        "{wrong:?}"
    );
    fs::write(&file, "open-sesame\n").unwrap();
    shared(&place, &redis, "flush", &["--tier-password-from", &file]).ok();
}
