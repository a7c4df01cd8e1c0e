//! A store whose keys are divided: over the nodes of a cluster, each part for itself.

use super::cluster::Cluster;
use super::common::{count, seed, Rng};
use super::fresh::one_run;
use super::gate::until;
use super::server::Redis;
use super::{bytes, hears, options, PATIENCE};
use kv::{Batch, Db, Error, LoadOptions, Options, SetOptions, TierOptions, Ttl, WhenDeaf, Writes};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const SHARDS: usize = 8;
/// A node that is down stops its own slots alone, and comes back with what it had.
const PARTIAL: [&str; 6] =
    ["--cluster-require-full-coverage", "no", "--appendonly", "yes", "--appendfsync", "always"];

/// As Redis says it (`CLUSTER KEYSLOT`), computed another way than the store does.
fn slot(name: &str) -> usize {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(name);
    let mut crc: u32 = 0;
    for byte in hashed.bytes() {
        crc ^= u32::from(byte) << 8;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x1_0000 != 0 {
                crc ^= 0x1_1021;
            }
        }
    }
    crc as usize % 16_384
}

fn named(prefix: &str, key: &str, shards: usize) -> String {
    format!("{{{prefix}{}}}{key}", slot(key) % shards)
}

/// Number of the master that has a name at first.
fn node_of(name: &str) -> usize {
    [5460, 10922, 16383].iter().position(|last| slot(name) <= *last).unwrap()
}

fn node_of_key(key: &str) -> usize {
    node_of(&named("t:", key, SHARDS))
}

fn at<'c>(cluster: &'c Cluster, key: &str) -> &'c Redis {
    &cluster.nodes[node_of_key(key)]
}

fn there(cluster: &Cluster, key: &str) -> Option<Vec<u8>> {
    at(cluster, key).get(&named("t:", key, SHARDS))
}

/// What these servers hold of a store, by its keys; each has to have the name that says its shard.
fn held<'r>(nodes: impl IntoIterator<Item = &'r Redis>, shards: usize) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for node in nodes {
        for (name, value) in node.entries("{t:") {
            let key = name.split_once('}').unwrap().1.to_string();
            assert_eq!(name, named("t:", &key, shards));
            assert!(all.insert(key, value).is_none(), "{name} is there twice");
        }
    }
    all
}

fn options_of(tier: TierOptions, shards: usize) -> Options {
    Options::new().tier(tier.prefix("t:").shards(shards).backoff_max(Duration::from_millis(50)))
}

fn open(tier: TierOptions) -> Db {
    options_of(tier, SHARDS).in_memory().unwrap()
}

fn listening(tier: TierOptions) -> Db {
    let db = open(tier.fresh(WhenDeaf::Drop));
    until("changes are heard", || hears(&db));
    db
}

/// A few keys of each node.
fn keys_by_node(each: usize) -> [Vec<String>; 3] {
    let mut keys: [Vec<String>; 3] = Default::default();
    for key in (0..).map(|n| format!("k{n}")) {
        let of_node = &mut keys[node_of_key(&key)];
        if of_node.len() < each {
            of_node.push(key);
        }
        if keys.iter().all(|of_node| of_node.len() == each) {
            return keys;
        }
    }
    unreachable!()
}

#[test]
fn the_keys_of_a_store_spread_over_the_nodes_and_are_shared_as_in_one() {
    let cluster = Cluster::with(0, &[]);
    let tier = || cluster.named_all();
    let (a, b) = (listening(tier()), listening(tier()));
    for n in 0..1000 {
        a.set(format!("k{n}").as_bytes(), n.to_string().as_bytes()).unwrap();
    }
    let mut batch = Batch::new();
    for n in 0..20 {
        batch.set(format!("batch{n}"), "b");
    }
    batch.delete("k7");
    a.apply(&batch).unwrap();
    a.set_with(b"short", b"t", SetOptions::new().ttl(Duration::from_secs(100))).unwrap();
    a.flush(PATIENCE).unwrap();
    let all = held(&cluster.nodes, SHARDS);
    assert_eq!((all.len(), all.get("k7")), (1020, None));
    assert!((0..1000).filter(|n| *n != 7).all(|n| all[&format!("k{n}")] == n.to_string().as_bytes()));
    for node in &cluster.nodes {
        let share = node.entries("{t:").len();
        assert!((200..550).contains(&share), "{share} of 1020 keys at one node");
        assert_eq!(node.run::<usize>("CLUSTER KEYSLOT {t:3}x"), slot("{t:3}"));
    }
    assert!((1..=100_000).contains(&at(&cluster, "short").pttl(&named("t:", "short", SHARDS))));
    // Read elsewhere, one by one and many at once.
    assert!(matches!(b.ttl(b"short").unwrap(), Some(Ttl::Remaining(_))));
    let keys: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
    let expected: Vec<_> = (0..1000).map(|n| bytes(&n.to_string()).filter(|_| n != 7)).collect();
    assert_eq!(b.get_many(&keys).unwrap(), expected);
    // What Redis decides, and what is heard, in every shard.
    std::thread::scope(|scope| {
        for db in [&a, &b] {
            scope.spawn(|| {
                for n in 0..200 {
                    db.increment_shared(format!("n{}", n % 20).as_bytes(), 1).unwrap();
                }
            });
        }
    });
    for n in 0..20 {
        assert_eq!(there(&cluster, &format!("n{n}")), bytes("20"));
        let (key, name) = (format!("k{n}"), named("t:", &format!("k{n}"), SHARDS));
        at(&cluster, &key).set(&name, "theirs");
        until("it is heard", || [&a, &b].iter().all(|db| db.get(key.as_bytes()).unwrap() == bytes("theirs")));
        b.set(key.as_bytes(), b"b's").unwrap();
        until("it is heard", || a.get(key.as_bytes()).unwrap() == bytes("b's"));
    }
    // A lease is beside its key, and a key that others have put under another shard's prefix is none of the store's.
    let leased = LoadOptions::new().ttl(Duration::from_secs(100)).lease(PATIENCE);
    let loaded = a.get_or_load_with(b"loaded", leased, || Ok::<_, String>(bytes("once")));
    assert_eq!(loaded.unwrap(), bytes("once"));
    assert_eq!(there(&cluster, "loaded"), bytes("once"));
    let through = open(tier().writes(Writes::Through));
    for n in 0..10 {
        let key = format!("through{n}");
        through.set(key.as_bytes(), b"v").unwrap();
        assert_eq!(there(&cluster, &key), bytes("v"));
        assert!(through.delete(key.as_bytes()).unwrap());
        assert_eq!(there(&cluster, &key), None);
    }
    // Clear deletes what is held here; what is heard late of b's changes may have dropped a copy.
    until("what is held here is cleared in every shard", || {
        (0..20).for_each(|n| drop(a.get(format!("k{n}").as_bytes()).unwrap()));
        a.clear().unwrap();
        a.flush(PATIENCE).unwrap();
        held(&cluster.nodes, SHARDS).keys().all(|key| !key.starts_with('k'))
    });
}

#[test]
fn a_preload_goes_through_the_keys_of_each_node_and_on_from_its_cursor() {
    let cluster = Cluster::with(0, &[]);
    let tier = || cluster.named_all();
    let writer = open(tier());
    for n in 0..1500 {
        writer.set(format!("user:{n}").as_bytes(), n.to_string().as_bytes()).unwrap();
    }
    writer.set(b"other", b"v").unwrap();
    writer.flush(PATIENCE).unwrap();
    // One that stands in a shard where nobody would look for it.
    let wrong = (0..).map(|n| format!("user:wrong{n}")).find(|key| slot(key) % SHARDS != 3).unwrap();
    let name = format!("{{t:3}}{wrong}");
    cluster.nodes[node_of(&name)].set(&name, "lost");
    let local =
        |db: &Db, key: &str| db.pin().unwrap().get(key.as_bytes()).unwrap().map(|value| value.into_vec());
    let db = listening(tier());
    // It breaks off after each portion, and goes on.
    let (mut cursor, mut copied, mut calls) = (0, 0, 0);
    loop {
        let done = db.preload(b"user:*", cursor, |_| ControlFlow::Break(())).unwrap();
        copied += done.copied;
        calls += 1;
        if done.is_complete {
            break;
        }
        assert_ne!(done.cursor, cursor);
        cursor = done.cursor;
        assert!(calls < 1000);
        if cursor == u64::MAX {
            db.preload(b"user:*", cursor, |_| ControlFlow::Continue(())).unwrap();
            break;
        }
    }
    assert!(calls >= SHARDS, "{calls}");
    assert_eq!((copied, db.len()), (1500, 1500));
    for n in 0..1500 {
        assert_eq!(local(&db, &format!("user:{n}")), bytes(&n.to_string()));
    }
    // Elsewhere some are changed and some deleted, where it is not heard.
    let deaf = open(tier());
    let again = |db: &Db| db.preload(b"*", 0, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(again(&deaf).copied, 1501);
    for n in 0..1500 {
        match n % 5 {
            0 => drop(writer.delete(format!("user:{n}").as_bytes()).unwrap()),
            1 => writer.set(format!("user:{n}").as_bytes(), b"new").unwrap(),
            _ => {}
        }
    }
    writer.flush(PATIENCE).unwrap();
    let done = again(&deaf);
    assert_eq!((done.copied, done.removed), (300, 300));
    assert_eq!((local(&deaf, "user:5"), local(&deaf, "user:6")), (None, bytes("new")));
    let refused = db.preload(b"*", 9 << 57, |_| ControlFlow::Continue(())).unwrap_err();
    assert!(refused.to_string().contains("is of no shard"), "{refused}");
}

#[test]
fn a_preload_leaves_out_the_shards_of_a_node_that_is_down_and_goes_on_with_these_alone() {
    let mut cluster = Cluster::with(0, &PARTIAL);
    let names = cluster.named_all();
    let (writer, db) = (open(names.clone()), open(names));
    let keys = keys_by_node(60);
    let local = |key: &str| db.pin().unwrap().get(key.as_bytes()).unwrap().map(|value| value.into_vec());
    for key in keys.iter().flatten() {
        writer.set(key.as_bytes(), b"before").unwrap();
    }
    writer.flush(PATIENCE).unwrap();
    let mut cursor = 0;
    let preload = |cursor: &mut u64| {
        db.preload(b"*", *cursor, |done| {
            *cursor = done.cursor;
            ControlFlow::Continue(())
        })
    };
    assert_eq!(preload(&mut cursor).unwrap().copied, 180);
    // Of each node's keys some are changed, and some deleted.
    for of_node in &keys {
        for key in &of_node[..10] {
            writer.set(key.as_bytes(), b"after").unwrap();
        }
        of_node[10..30].iter().for_each(|key| assert!(writer.delete(key.as_bytes()).unwrap()));
    }
    writer.flush(PATIENCE).unwrap();
    // A node in the middle, so that there is something behind it.
    let down = node_of_key("k0");
    cluster.nodes[down].kill();
    let survivor = &cluster.nodes[(down + 1) % 3];
    until("it is known to be down", || survivor.run::<String>("CLUSTER NODES").contains("fail"));
    let of_down: Vec<String> =
        (0..SHARDS).filter(|n| node_of(&format!("{{t:{n}}}")) == down).map(|n| n.to_string()).collect();
    let is_copied = |node: usize| {
        let value = |n: usize| match n {
            0..=9 => bytes("after"),
            10..=29 => None,
            _ => bytes("before"),
        };
        keys[node].iter().enumerate().all(|(n, key)| local(key) == value(n))
    };
    cursor = 0;
    for _ in 0..2 {
        let failed = preload(&mut cursor).unwrap_err().to_string();
        for shard in &of_down {
            assert!(failed.contains(&format!(" {shard}")), "{shard} is not among {failed}");
        }
        assert!(failed.contains("shards ") && failed.contains("not copied"), "{failed}");
        assert!((0..3).all(|node| is_copied(node) == (node != down)), "{failed}");
        assert!(keys[down].iter().all(|key| local(key) == bytes("before")));
    }
    cluster.nodes[down].up();
    let serves = |node: &Redis| node.run::<String>("CLUSTER INFO").contains("cluster_state:ok");
    until("it serves again", || serves(&cluster.nodes[down]));
    // What is changed in the others now is not looked at: these are done.
    let other = &keys[(down + 1) % 3][40];
    at(&cluster, other).set(&named("t:", other, SHARDS), "later");
    let done = preload(&mut cursor).unwrap();
    assert!(done.is_complete);
    assert_eq!((done.copied, done.removed, cursor), (10, 20, u64::MAX));
    assert!(is_copied(down) && local(other) == bytes("before"));
}

#[test]
fn a_node_that_is_down_stops_its_shards_alone() {
    let mut cluster = Cluster::with(0, &PARTIAL);
    let keys = keys_by_node(40);
    let names = cluster.named_all();
    let tier = || names.clone();
    let fresh = listening(tier());
    let dir = tempfile::tempdir().unwrap();
    let kept = || options_of(names.clone(), SHARDS).segment_bytes(64 << 10);
    let db = kept().open(dir.path()).unwrap();
    let through = open(tier().writes(Writes::Through));
    for key in keys.iter().flatten() {
        db.set(key.as_bytes(), b"before").unwrap();
    }
    db.flush(PATIENCE).unwrap();
    for key in keys.iter().flatten() {
        assert_eq!(fresh.get(key.as_bytes()).unwrap(), bytes("before"));
    }
    let down = node_of_key("k0");
    let up: Vec<&String> = (0..3).filter(|node| *node != down).flat_map(|node| &keys[node]).collect();
    cluster.nodes[down].kill();
    let survivor = &cluster.nodes[(down + 1) % 3];
    until("it is known to be down", || survivor.run::<String>("CLUSTER NODES").contains("fail"));
    // Half of the keys are deleted, half set: of the others' shards all of it arrives.
    let change = |db: &Db, value: &str| {
        for of_node in &keys {
            for (n, key) in of_node.iter().enumerate() {
                match n % 2 {
                    0 => drop(db.delete(key.as_bytes()).unwrap()),
                    _ => db.set(key.as_bytes(), value.as_bytes()).unwrap(),
                }
            }
        }
    };
    change(&db, "while down");
    let failed = db.flush(Duration::from_millis(300)).unwrap_err();
    assert!(matches!(failed, Error::Tier { .. }), "{failed}");
    let arrived = |value: &str| {
        up.iter().enumerate().all(|(n, key)| there(&cluster, key) == bytes(value).filter(|_| n % 2 == 1))
    };
    until("what the others have arrives", || arrived("while down"));
    until("the rest waits, and is known to", || {
        let stats = db.tier_stats().unwrap().unwrap();
        stats.unsent_keys == 40 && stats.failing.is_some()
    });
    until("the others' masks leave", || {
        db.sweep().unwrap();
        db.tier_stats().unwrap().unwrap().unsent_deletes == 20
    });
    // A change in a shard that is up is acknowledged, heard and read there; in the others it fails.
    for (n, key) in up.iter().take(20).enumerate() {
        if n % 2 == 0 {
            // Also where this store has changed it, and that was sent.
            fresh.set(key.as_bytes(), b"own").unwrap();
            until("it is sent", || there(&cluster, key) == bytes("own"));
        }
        through.set(key.as_bytes(), b"through").unwrap();
        until("it is heard", || fresh.get(key.as_bytes()).unwrap() == bytes("through"));
        let sum = through.increment_shared(format!("n{{{key}}}").as_bytes(), 1);
        assert_eq!(sum.unwrap(), 1, "in the shard of {key}");
    }
    // Another key in a shard that is down: it stands here, and is sent later.
    let late = format!("late{{{}}}", keys[down][0]);
    assert!(through.set(late.as_bytes(), b"through").is_err());
    assert_eq!(through.get(late.as_bytes()).unwrap(), bytes("through"));
    assert!(matches!(through.get(keys[down][1].as_bytes()), Err(Error::Tier { .. })));
    let some = through.get_many(&[up[1], up[3]]).unwrap();
    assert_eq!(some, [bytes("through"), bytes("through")]);
    // Deletes that are not sent stay known, though other shards have sent theirs: through compactions and opens, also after a crash.
    let mut db = db;
    for round in 0..3 {
        db.compact().unwrap();
        db.sweep().unwrap();
        for (n, key) in keys[down].iter().enumerate() {
            assert_eq!(db.get(key.as_bytes()).unwrap(), bytes("while down").filter(|_| n % 2 == 1), "{key}");
        }
        until("only those are unsent", || db.tier_stats().unwrap().unwrap().unsent_keys == 40);
        match round % 2 {
            0 => db.abandon(),
            _ => db.close().unwrap(),
        }
        drop(db);
        db = kept().open(dir.path()).unwrap();
        // In the shard of one that is up.
        let other = format!("round{round}{{{}}}", up[0]);
        db.set(other.as_bytes(), b"v").unwrap();
        db.delete(other.as_bytes()).unwrap();
    }
    // It comes back with what it had: what was deleted meanwhile does not.
    cluster.nodes[down].up();
    db.flush(PATIENCE).unwrap();
    for (n, key) in keys[down].iter().enumerate() {
        let expected = bytes("while down").filter(|_| n % 2 == 1);
        assert_eq!(
            (there(&cluster, key), db.get(key.as_bytes()).unwrap()),
            (expected.clone(), expected),
            "{key}"
        );
    }
    let stats = db.tier_stats().unwrap().unwrap();
    assert_eq!((stats.unsent_keys, stats.failing), (0, None));
    until("masks leave", || {
        db.sweep().unwrap();
        db.tier_stats().unwrap().unwrap().unsent_deletes == 0
    });
    through.flush(PATIENCE).unwrap();
    assert_eq!(there(&cluster, &late), bytes("through"));
}

#[test]
fn a_queue_in_memory_that_a_node_that_is_down_fills_refuses_changes_of_its_shards_alone() {
    let mut cluster = Cluster::with(0, &PARTIAL);
    let tier = cluster.named_all();
    let db = open(tier.unsent_deletes_max(10 * SHARDS as u64));
    let keys = keys_by_node(100);
    let down = node_of_key("k0");
    for key in keys.iter().flatten() {
        db.set(key.as_bytes(), b"before").unwrap();
    }
    db.flush(PATIENCE).unwrap();
    cluster.nodes[down].kill();
    let survivor = &cluster.nodes[(down + 1) % 3];
    until("it is known to be down", || survivor.run::<String>("CLUSTER NODES").contains("fail"));
    let mut refused = None;
    for key in &keys[down] {
        refused = db.delete(key.as_bytes()).err();
        if refused.is_some() {
            break;
        }
        // They are counted when they are looked at.
        db.sweep().unwrap();
    }
    let refused = refused.expect("it is never full").to_string();
    assert!(refused.contains("refused: shard ") && refused.contains("deletes wait for Redis"), "{refused}");
    let of_down: Vec<&String> =
        keys[down].iter().filter(|key| db.set(key.as_bytes(), b"v").is_err()).collect();
    let full = of_down.first().expect("it is full");
    // Far more of the others than the store may keep of those that wait.
    for round in 0..3 {
        for key in (0..3).filter(|node| *node != down).flat_map(|node| &keys[node]) {
            assert!(db.delete(key.as_bytes()).unwrap(), "{key}");
            until("it is sent", || there(&cluster, key).is_none());
            db.set(key.as_bytes(), round.to_string().as_bytes()).unwrap();
        }
        db.sweep().unwrap();
    }
    let other = &keys[(down + 1) % 3][0];
    until("it is sent", || there(&cluster, other) == bytes("2"));
    // What is of both, or of all, is as the one that is full.
    let mut batch = Batch::new();
    batch.set(other.as_bytes(), "batch");
    db.apply(&batch).unwrap();
    batch.delete(full.as_bytes());
    assert!(matches!(db.apply(&batch), Err(Error::Tier { .. })));
    assert!(matches!(db.set_many(&[(other, "v"), (full, "v")]), Err(Error::Tier { .. })));
    assert!(matches!(db.clear(), Err(Error::Tier { .. })));
    cluster.nodes[down].up();
    db.flush(PATIENCE).unwrap();
    until("there is room again", || db.set(full.as_bytes(), b"again").is_ok());
    db.flush(PATIENCE).unwrap();
    assert_eq!(there(&cluster, full), bytes("again"));
}

#[test]
fn a_slot_moves_while_a_store_writes_and_nothing_is_lost_or_grows_old() {
    let cluster = Cluster::with(0, &[]);
    let tier = || cluster.named_all().timeout(Duration::from_secs(10));
    let (a, b) = (listening(tier()), listening(tier()));
    let key = |n: u64| format!("k{}", n % 200);
    for n in 0..200 {
        a.set(key(n).as_bytes(), b"first").unwrap();
    }
    a.flush(PATIENCE).unwrap();
    let shard = 5;
    let prefix = format!("{{t:{shard}}}");
    let from = node_of(&prefix);
    let to = (from + 1) % 3;
    let (ends, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                match n % 7 {
                    0 => drop(a.delete(key(n).as_bytes()).unwrap()),
                    _ => a.set(key(n).as_bytes(), n.to_string().as_bytes()).unwrap(),
                }
                written.store(n + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        cluster.move_slot_of(slot(&prefix) as u64, from, to, || {});
        let before = written.load(Ordering::SeqCst);
        until("it goes on", || written.load(Ordering::SeqCst) > before + 400);
        ends.store(true, Ordering::SeqCst);
    });
    a.flush(PATIENCE).unwrap();
    let count = written.load(Ordering::SeqCst);
    let all = held(&cluster.nodes, SHARDS);
    until("changes are heard", || hears(&a) && hears(&b));
    for n in count - 200..count {
        let expected = bytes(&n.to_string()).filter(|_| n % 7 != 0);
        assert_eq!(all.get(&key(n)).cloned(), expected, "{}", key(n));
        until("it is seen", || b.get(key(n).as_bytes()).ok() == Some(expected.clone()));
    }
}

#[test]
fn a_replica_that_takes_over_is_sent_what_its_shards_lack() {
    let mut cluster = Cluster::with(1, &[]);
    let named_all = cluster.named_all();
    let db = listening(named_all);
    let keys = keys_by_node(10);
    // The replica follows the node of the prefix that the harness is about.
    let failing = (0..3).find(|node| {
        let replicas: Vec<String> =
            cluster.nodes[*node].run(&format!("CLUSTER REPLICAS {}", cluster.id(*node)));
        !replicas.is_empty()
    });
    let failing = failing.unwrap();
    let _: () = cluster.nodes[failing].run("ACL SETUSER default -psync -sync");
    let _: i64 = cluster.nodes[failing].run("CLIENT KILL TYPE replica");
    for key in keys.iter().flatten() {
        db.set(key.as_bytes(), b"1").unwrap();
    }
    // Acknowledged, and no replica has it.
    db.flush(PATIENCE).unwrap();
    cluster.nodes[failing].kill();
    for key in keys.iter().flatten() {
        db.set(format!("{key}x").as_bytes(), b"2").unwrap();
    }
    let promoted = &cluster.nodes[3];
    until("it is promoted", || promoted.run::<String>("INFO replication").contains("role:master"));
    db.flush(PATIENCE).unwrap();
    let masters = || (0..4).filter(|node| *node != failing).map(|node| &cluster.nodes[node]);
    until("all know it", || {
        masters().all(|node| node.run::<String>("CLUSTER INFO").contains("cluster_state:ok"))
    });
    let all = held(masters(), SHARDS);
    assert_eq!(all.len(), 60);
    until("changes are heard again", || hears(&db));
    let key = &keys[failing][0];
    promoted.set(&named("t:", key, SHARDS), "theirs");
    until("it is heard", || db.get(key.as_bytes()).ok() == Some(bytes("theirs")));
}

#[test]
fn of_stores_that_change_the_same_keys_of_a_cluster_the_last_to_be_sent_wins_everywhere() {
    const OF_RUN: usize = 4;
    let cluster = Cluster::with(0, &[]);
    let first = seed("KV_TIER_SHARDS_SEED") >> 16;
    let (next, runs) = (AtomicU64::new(0), count("KV_TIER_SHARDS_RUNS", 60));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| loop {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    return;
                }
                let tier = || cluster.named_all().shards(OF_RUN).backoff_max(Duration::from_millis(50));
                one_run(first + run, tier, |prefix, key| {
                    let name = named(prefix, key, OF_RUN);
                    cluster.nodes[node_of(&name)].get(&name)
                });
            });
        }
    });
}

#[test]
fn a_store_at_one_server_may_have_several_shards() {
    const FOUR: usize = 4;
    let redis = Redis::start();
    let tier = || TierOptions::new(redis.url());
    let dir = tempfile::tempdir().unwrap();
    let db = options_of(tier(), FOUR).open(dir.path()).unwrap();
    let mut rng = Rng::new(seed("KV_TIER_SHARDS_ONE_SEED"));
    let mut model = BTreeMap::new();
    for n in 0..3000 {
        let key = format!("k{}", rng.below(300));
        match rng.below(4) {
            0 => {
                db.delete(key.as_bytes()).unwrap();
                model.remove(&key);
            }
            _ => {
                db.set(key.as_bytes(), n.to_string().as_bytes()).unwrap();
                model.insert(key, n.to_string().into_bytes());
            }
        }
        if rng.one_in(500) {
            db.flush(PATIENCE).unwrap();
        }
    }
    db.flush(PATIENCE).unwrap();
    assert_eq!(held([&redis], FOUR), model);
    let stats = db.tier_stats().unwrap().unwrap();
    assert_eq!((stats.unsent_keys, stats.unsent_bytes, stats.unsent_deletes), (0, 0, 0));
    // What each shard has is known to the next open, and to a backup: nothing is sent again.
    let copy = dir.path().join("copy");
    db.backup(&copy).unwrap();
    db.close().unwrap();
    for path in [dir.path(), &copy] {
        let db = options_of(tier(), FOUR).open(path).unwrap();
        db.set(b"later", b"v").unwrap();
        db.flush(PATIENCE).unwrap();
        assert_eq!(db.tier_stats().unwrap().unwrap().sent_keys, 1, "{}", path.display());
        db.delete(b"later").unwrap();
        db.flush(PATIENCE).unwrap();
        db.close().unwrap();
    }
}

#[test]
fn a_preload_tells_of_each_shard_that_fails_when_it_does() {
    let mut redis = Redis::start();
    let tier = TierOptions::new(redis.url()).timeout(Duration::from_millis(200));
    let db = options_of(tier, 4).in_memory().unwrap();
    redis.kill();
    let mut told = Vec::new();
    let failed = db.preload(b"*", 0, |done| {
        told.push(done.cursor);
        ControlFlow::Continue(())
    });
    assert!(failed.unwrap_err().to_string().contains("shards 0, 1, 2, 3"));
    assert!(told.len() >= 4, "told {told:?}");
    // Whoever breaks off behind the first waits for no other.
    let mut calls = 0;
    let done = db.preload(b"*", 0, |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert_eq!((calls, done.unwrap().is_complete), (1, false));
}

#[test]
fn another_number_of_shards_is_another_tier_that_is_sent_everything() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().unwrap();
    let of = |shards: usize| match shards {
        1 => options(&redis),
        _ => options_of(TierOptions::new(redis.url()), shards),
    };
    let found = |key: &str, shards: usize| match shards {
        1 => redis.get(&format!("t:{key}")),
        _ => redis.get(&named("t:", key, shards)),
    };
    for (round, shards) in [1, 4, 1, 3, 4, 4].into_iter().enumerate() {
        let db = of(shards).open(dir.path()).unwrap();
        // Also what was changed while the store had other shards.
        let late = format!("set in round {round}");
        db.set(late.as_bytes(), b"v").unwrap();
        db.set(b"k", round.to_string().as_bytes()).unwrap();
        db.flush(PATIENCE).unwrap();
        for before in 0..=round {
            assert_eq!(found(&format!("set in round {before}"), shards), bytes("v"), "{before} in {round}");
        }
        assert_eq!(found("k", shards), bytes(&round.to_string()));
        let sent = db.tier_stats().unwrap().unwrap().sent_keys;
        assert_eq!(sent, if round == 5 { 2 } else { round as u64 + 2 }, "round {round}");
        db.close().unwrap();
    }
}
