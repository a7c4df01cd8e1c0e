//! Stores that share their entries through a `redis-server` which each test starts.

use super::server::{free_port, Redis};
use super::{kv, Place, Ran};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Runs `kv COMMAND STORE ARGS…` with the store's tier.
fn shared(place: &Place, redis: &Redis, command: &str, args: &[&str]) -> Ran {
    let url = redis.tcp_url();
    let tier = ["--tier-url", &url, "--tier-prefix", "t:", "--tier-backoff-max", "50ms"];
    // Patient unless a test says how long it waits.
    let patience = if args.contains(&"--tier-timeout") { &[][..] } else { &["--tier-timeout", "20s"] };
    place.kv(command, &[args, &tier, patience].concat())
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
fn what_redis_decides_counts_once_each_for_all_who_share() {
    let redis = Redis::start();
    let places: Vec<Place> = (0..4).map(|_| Place::new()).collect();
    std::thread::scope(|scope| {
        for place in &places {
            let redis = &redis;
            scope.spawn(move || {
                for _ in 0..5 {
                    shared(place, redis, "incr", &["n", "2", "--shared"]).ok();
                }
            });
        }
    });
    assert_eq!(redis.get("t:n").as_deref(), Some(&b"40"[..]));
    let (here, there) = (&places[0], &places[1]);
    shared(here, &redis, "set", &["lock", "me", "--shared", "--if-absent", "--ttl", "1h"]).ok();
    assert!((1..=3_600_000).contains(&redis.pttl("t:lock")));
    shared(there, &redis, "set", &["lock", "you", "--shared", "--if-absent"]).failed(1, &["a value already"]);
    shared(there, &redis, "set", &["lock", "you", "--shared", "--if-value", "you"])
        .failed(1, &["another value"]);
    let swapped = shared(there, &redis, "set", &["lock", "you", "--shared", "--if-value", "me", "--json"]);
    assert_eq!(swapped.ok().json(), serde_json::json!({"key": "lock", "set": true, "version": null}));
    assert_eq!(redis.get("t:lock").as_deref(), Some(&b"you"[..]));
    assert!(redis.pttl("t:lock") > 0, "it keeps its expiry");

    shared(here, &redis, "set", &["k", "v", "--shared"]).failed(2, &["--if-absent", "--if-value"]);
    here.kv("incr", &["n", "--shared"]).failed(2, &["--tier-url"]);
    shared(here, &redis, "set", &["k", "v", "--if-value", "w"]).failed(2, &["--shared"]);
    redis.set("t:text", "t");
    shared(here, &redis, "incr", &["text", "--shared"]).failed(4, &["text"]);
}

#[test]
fn a_pattern_is_preloaded_and_can_be_gone_on_from() {
    const KEYS: usize = 2000;
    let mut redis = Redis::start();
    let mut pipe = redis::pipe();
    for n in 0..KEYS {
        pipe.set(format!("t:user:{n}"), n).ignore();
    }
    pipe.exec(&mut redis.client()).unwrap();
    redis.set("t:other", "x");
    let (here, there) = (Place::new(), Place::new());
    assert_eq!(shared(&here, &redis, "preload", &["user:*"]).ok().text(), format!("{KEYS}\n"));
    assert_eq!(here.kv("get", &["user:7"]).ok().text(), "7");
    here.kv("get", &["other"]).failed(1, &["no key"]);

    let lines = shared(&there, &redis, "preload", &["--json"]).ok();
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert!(lines.len() > 2 && last["done"] == true && last["copied"] == KEYS + 1, "{last}");
    let cursor = lines[0]["cursor"].as_u64().unwrap().to_string();
    let later = Place::new();
    let rest = shared(&later, &redis, "preload", &["--cursor", &cursor, "--quiet"]).ok();
    let rest: u64 = rest.text().trim().parse().unwrap();
    assert_eq!(lines[0]["copied"].as_u64().unwrap() + rest, KEYS as u64 + 1);

    shared(&there, &redis, "del", &["user:7"]).ok();
    let again = shared(&here, &redis, "preload", &["user:*", "--json"]).ok();
    let last: Value = serde_json::from_str(again.text().lines().last().unwrap()).unwrap();
    assert_eq!((&last["copied"], &last["removed"]), (&0.into(), &1.into()));
    here.kv("get", &["user:7"]).failed(1, &["no key"]);
    here.kv("preload", &[]).failed(2, &["--tier-url"]);
    redis.kill();
    let failed = shared(&here, &redis, "preload", &["--cursor", "7", "--tier-timeout", "100ms"]);
    assert!(failed.code == Some(3) && failed.err.contains("--cursor 7"), "{failed:?}");
}

#[cfg(feature = "redis-tls")]
#[test]
fn a_store_with_shards_shares_its_entries_and_each_key_stands_in_its_shard() {
    let redis = Redis::start();
    let (here, there) = (Place::new(), Place::new());
    let of = |place: &Place, command: &str, args: &[&str]| {
        shared(place, &redis, command, &[args, &["--tier-shards", "2"]].concat())
    };
    for n in 0..10 {
        of(&here, "set", &[&format!("k{n}"), "v"]).ok();
        assert_eq!(of(&here, "incr", &[&format!("n{n}"), "--shared"]).ok().text(), "1\n");
    }
    let mut counts = [0, 0];
    for n in 0..10 {
        let at = |shard: usize| redis.get(&format!("{{t:{shard}}}k{n}")).is_some();
        assert_ne!(at(0), at(1), "k{n}");
        counts[usize::from(at(1))] += 1;
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(of(&there, "preload", &["k*"]).ok().text(), "10\n");
    assert_eq!(there.kv("get", &["k7"]).ok().text(), "v");
    assert_eq!(of(&there, "incr", &["n7", "--shared"]).ok().text(), "2\n");
    of(&here, "del", &["k7"]).ok();
    let again = of(&there, "preload", &["k*", "--json"]).ok();
    assert!(again.text().contains("\"removed\":1"), "{}", again.text());
    of(&here, "set", &["k", "v", "--tier-writes", "through"]).ok();
    assert_eq!(of(&there, "get", &["k"]).ok().text(), "v");
    shared(&here, &redis, "get", &["k", "--tier-shards", "65"]).failed(2, &["65"]);
}

#[test]
fn entries_go_over_tls_to_who_is_vouched_for() {
    let place = Place::new();
    let dir = place.at("certificates");
    fs::create_dir(&dir).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/certificates.sh");
    assert!(std::process::Command::new(script).arg(&dir).status().unwrap().success());
    let file = |name: &str| format!("{dir}/{name}");
    let port = std::cell::Cell::new(0);
    let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let redis = Redis::with_ports(|| {
        port.set(free_port());
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        let options = ["--tls-port".into(), port.get().to_string()];
        options.into_iter().chain(files.map(String::from)).collect()
    });
    let url = format!("rediss://127.0.0.1:{}", port.get());
    let over = |more: &[&str]| {
        let tier = ["--tier-writes", "through", "--tier-timeout", "20s", "--tier-url", &url];
        place.kv("set", &[&["k", "v"], &tier[..], more].concat())
    };
    let unknown = over(&["--tier-ca-file", &ca]);
    assert!(unknown.code == Some(3) && unknown.err.contains("tier: "), "{unknown:?}");
    over(&["--tier-ca-file", &ca, "--tier-client-key", &file("client.key")]).failed(2, &["certificate"]);
    assert_eq!(redis.get("k"), None);
    let client = [file("client.pem"), file("client.key")];
    over(&["--tier-ca-file", &ca, "--tier-client-certificate", &client[0], "--tier-client-key", &client[1]])
        .ok();
    assert_eq!(redis.get("k").as_deref(), Some(&b"v"[..]));
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
        .args(["watch", &here.at("store"), "--json", "--every", "10ms", "--for", "60s"])
        .args(["--tier-url", &redis.url(), "--tier-prefix", "t:", "--tier-fresh", "drop"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut figures = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let sent = figures
        .find(|line| line["tier_unsent_keys"] == 0 && line["tier_hears"] == 1)
        .expect("it is sent in a minute");
    assert_eq!((&sent["entries"], redis.get("t:k").as_deref()), (&1.into(), Some(&b"v"[..])));
    shared(&there, &redis, "set", &["k", "w"]).ok();
    figures.find(|line| line["entries"] == 0).expect("the old value is dropped in a minute");
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
    // It may take longer to connect than the call waits.
    let mut timeout_ms = 300;
    let wrong = loop {
        let timeout = format!("{timeout_ms}ms");
        let wrong = shared(&place, &redis, "flush", &["--timeout", &timeout, "--tier-password-from", &file]);
        if wrong.err.contains("WRONGPASS") || timeout_ms > 20_000 {
            break wrong;
        }
        timeout_ms *= 4;
    };
    assert!(
        wrong.code == Some(3) && wrong.err.contains("WRONGPASS") && !wrong.err.contains("hunter2"),
        "{wrong:?}"
    );
    fs::write(&file, "open-sesame\n").unwrap();
    shared(&place, &redis, "flush", &["--tier-password-from", &file]).ok();
}
