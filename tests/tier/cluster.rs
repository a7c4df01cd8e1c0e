//! A store in a cluster: in the slot of its prefix, wherever that goes.

use super::gate::until;
use super::server::Redis;
use super::{bytes, PATIENCE, PATIENT};
use kv::{Condition, Db, Error, Options, SetOptions, TierOptions, Ttl, WhenDeaf, Writes};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Slots of the masters.
const SHARES: [&str; 3] = ["0 5460", "5461 10922", "10923 16383"];
const PREFIX: &str = "{t}:";

pub struct Cluster {
    pub nodes: Vec<Redis>,
    slot: u64,
    /// Number of the node that has it at first.
    owner: usize,
}

impl Cluster {
    /// Three masters, and so many replicas of the one that has the slot of the prefix.
    fn with_replicas(replicas: usize) -> Cluster {
        Cluster::with(replicas, &[])
    }

    /// The same with options of the command line.
    pub fn with(replicas: usize, options: &[&str]) -> Cluster {
        let of_all = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
        let node = || Redis::with(&[&of_all, options].concat());
        let nodes: Vec<Redis> = (0..3 + replicas).map(|_| node()).collect();
        for (node, share) in nodes.iter().zip(SHARES) {
            let _: () = node.run(&format!("CLUSTER ADDSLOTSRANGE {share}"));
        }
        let slot: u64 = nodes[0].run(&format!("CLUSTER KEYSLOT {PREFIX}"));
        let owner = SHARES.iter().position(|share| {
            let (first, last) = share.split_once(' ').unwrap();
            (first.parse().unwrap()..=last.parse().unwrap()).contains(&slot)
        });
        let cluster = Cluster { nodes, slot, owner: owner.unwrap() };
        let count = cluster.nodes.len();
        let info = |node: &Redis| node.run::<String>("CLUSTER INFO");
        until("the nodes know each other", || {
            // Said again to who knows too few: hands that are not shaken in time are forgotten.
            let lacks = |node: &&Redis| !info(node).contains(&format!("cluster_known_nodes:{count}"));
            let lacking: Vec<&Redis> = cluster.nodes[1..].iter().filter(lacks).collect();
            for node in &lacking {
                let _: () = node.run(&format!("CLUSTER MEET 127.0.0.1 {}", cluster.nodes[0].port()));
            }
            lacking.is_empty()
                && cluster.nodes.iter().all(|node| !lacks(&node) && info(node).contains("cluster_state:ok"))
        });
        let id = cluster.id(cluster.owner);
        for replica in &cluster.nodes[3..] {
            let _: () = replica.run(&format!("CLUSTER REPLICATE {id}"));
            until("the replica follows", || {
                replica.run::<String>("INFO replication").contains("master_link_status:up")
            });
        }
        cluster
    }

    pub fn id(&self, node: usize) -> String {
        self.nodes[node].run("CLUSTER MYID")
    }

    fn owner(&self) -> &Redis {
        &self.nodes[self.owner]
    }

    fn other(&self) -> usize {
        (self.owner + 1) % 3
    }

    /// With one node named, that has not the slot.
    fn tier(&self) -> TierOptions {
        let url = format!("redis-cluster://127.0.0.1:{}", self.nodes[self.other()].port());
        TierOptions::new(url).timeout(PATIENT)
    }

    pub fn named_all(&self) -> TierOptions {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        TierOptions::new(format!("redis-cluster://{}", nodes.join(","))).timeout(PATIENT)
    }

    /// Moves the slot, a few keys at a time; `between` is called after each portion.
    fn move_slot(&self, from: usize, to: usize, between: impl FnMut()) {
        self.move_slot_of(self.slot, from, to, between)
    }

    pub fn move_slot_of(&self, slot: u64, from: usize, to: usize, mut between: impl FnMut()) {
        let (here, there) = (&self.nodes[from], &self.nodes[to]);
        let _: () = there.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.id(from)));
        let _: () = here.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.id(to)));
        loop {
            let keys: Vec<String> = here.run(&format!("CLUSTER GETKEYSINSLOT {slot} 20"));
            if keys.is_empty() {
                break;
            }
            let port = there.port();
            let _: String = here.run(&format!("MIGRATE 127.0.0.1 {port}  0 5000 KEYS {}", keys.join(" ")));
            between();
        }
        for node in [there, here] {
            let _: () = node.run(&format!("CLUSTER SETSLOT {slot} NODE {}", self.id(to)));
        }
    }
}

fn open(tier: TierOptions) -> Db {
    let tier = tier.prefix(PREFIX).backoff_max(Duration::from_millis(50));
    Options::new().tier(tier).in_memory().unwrap()
}

fn listening(tier: TierOptions) -> Db {
    let db = open(tier.fresh(WhenDeaf::Drop));
    until("changes are heard", || hears(&db));
    db
}

fn hears(db: &Db) -> bool {
    db.tier_stats().unwrap().unwrap().hears
}

#[test]
fn a_store_is_in_the_slot_of_its_prefix_whichever_node_is_named() {
    let cluster = Cluster::with_replicas(0);
    let owner = cluster.owner();
    let (a, b) = (listening(cluster.tier()), listening(cluster.named_all()));
    a.set(b"k", b"1").unwrap();
    a.set_with(b"short", b"t", SetOptions::new().ttl(Duration::from_secs(100))).unwrap();
    a.set(b"gone", b"1").unwrap();
    a.flush(PATIENCE).unwrap();
    a.delete(b"gone").unwrap();
    a.flush(PATIENCE).unwrap();
    let expected = [("{t}:k", "1"), ("{t}:short", "t")];
    assert_eq!(owner.entries(PREFIX), expected.map(|(key, value)| (key.to_string(), value.into())));
    assert!((1..=100_000).contains(&owner.pttl("{t}:short")));
    assert_eq!((b.get(b"k").unwrap(), b.get(b"gone").unwrap()), (bytes("1"), None));
    assert!(matches!(b.ttl(b"short").unwrap(), Some(Ttl::Remaining(_)) | None));
    // What Redis decides, and what is heard.
    std::thread::scope(|scope| {
        for db in [&a, &b] {
            scope.spawn(|| {
                for _ in 0..50 {
                    db.increment_shared(b"n", 1).unwrap();
                }
            });
        }
    });
    assert_eq!(owner.get("{t}:n"), bytes("100"));
    owner.set("{t}:k", "theirs");
    until("it is heard", || [&a, &b].iter().all(|db| db.get(b"k").ok() == Some(bytes("theirs"))));
    let copies = open(cluster.tier());
    let done = copies.preload(b"*", 0, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((done.is_complete, done.copied), (true, 3));
    let through = open(cluster.tier().writes(Writes::Through));
    through.set(b"k", b"through").unwrap();
    assert_eq!(owner.get("{t}:k"), bytes("through"));
}

#[test]
fn a_slot_moves_under_load_and_nothing_is_lost_or_grows_old() {
    let cluster = Cluster::with_replicas(0);
    // Nothing may fail because this machine is busy.
    let tier = || cluster.tier().timeout(Duration::from_secs(10));
    let (a, b) = (listening(tier()), listening(tier()));
    let key = |n: u64| format!("k{}", n % 300);
    for n in 0..300 {
        a.set(key(n).as_bytes(), b"first").unwrap();
        a.set(format!("still{n}").as_bytes(), n.to_string().as_bytes()).unwrap();
    }
    a.flush(PATIENCE).unwrap();
    for n in 0..300 {
        assert_eq!(b.get(key(n).as_bytes()).unwrap(), bytes("first"));
    }
    let mut at = cluster.owner;
    for round in 0..2 {
        let to = if round == 0 { cluster.other() } else { cluster.owner };
        let (ends, written, counted) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !ends.load(Ordering::SeqCst) {
                    a.set(key(n).as_bytes(), format!("{round} {n}").as_bytes()).unwrap();
                    n += 1;
                    written.store(n, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            scope.spawn(|| {
                while !ends.load(Ordering::SeqCst) {
                    match b.increment_shared(format!("n{round}").as_bytes(), 1) {
                        Ok(_) => {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(Error::Tier { reason }) => {
                            assert!(reason.starts_with("not applied"), "{reason}");
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            let mut n = 0;
            cluster.move_slot(at, to, || {
                // What has moved, and what has not, is found by who does not have it.
                let reader = open(tier().writes(Writes::Refused));
                for _ in 0..10 {
                    n = (n + 37) % 300;
                    let value = reader.get(format!("still{n}").as_bytes());
                    assert_eq!(value.unwrap(), bytes(&n.to_string()), "still{n}");
                    assert_eq!(reader.get(format!("none{n}").as_bytes()).unwrap(), None);
                }
            });
            at = to;
            until("changes arrive", || a.flush(Duration::from_millis(100)).is_ok());
            let before = counted.load(Ordering::SeqCst);
            until("it is counted again", || counted.load(Ordering::SeqCst) > before);
            ends.store(true, Ordering::SeqCst);
        });
        a.flush(PATIENCE).unwrap();
        let there = &cluster.nodes[at];
        let count = written.load(Ordering::SeqCst);
        assert!(count > 300, "{count}");
        for n in count - 300..count {
            assert_eq!(there.get(&format!("{{t}}:{}", key(n))), bytes(&format!("{round} {n}")));
        }
        let counted = counted.load(Ordering::SeqCst);
        assert_eq!(there.get(&format!("{{t}}:n{round}")), bytes(&counted.to_string()));
        until("changes are heard again", || hears(&a) && hears(&b));
        for n in count - 300..count {
            let expected = bytes(&format!("{round} {n}"));
            until("it is seen", || b.get(key(n).as_bytes()).ok() == Some(expected.clone()));
        }
        there.set("{t}:k0", "theirs");
        until("it is heard", || [&a, &b].iter().all(|db| db.get(b"k0").ok() == Some(bytes("theirs"))));
        a.set(b"k0", b"ours").unwrap();
    }
}

#[test]
fn a_key_that_has_moved_already_is_read_and_its_copy_does_not_grow_old() {
    let cluster = Cluster::with_replicas(0);
    let db = listening(cluster.tier());
    for n in 0..40 {
        db.set(format!("{n}").as_bytes(), b"v").unwrap();
    }
    db.flush(PATIENCE).unwrap();
    let to = &cluster.nodes[cluster.other()];
    let change = |key: &str, value: &str| {
        // Another client's change, where the key is by now.
        let pipe = redis::pipe().cmd("ASKING").cmd("SET").arg(format!("{PREFIX}{key}")).arg(value).clone();
        let _: ((), ()) = pipe.query(&mut to.client()).unwrap();
    };
    let has_moved = |key: &str| {
        let pipe = redis::pipe().cmd("ASKING").cmd("EXISTS").arg(format!("{PREFIX}{key}")).clone();
        pipe.query::<((), bool)>(&mut to.client()).unwrap().1
    };
    let mut has_begun = false;
    cluster.move_slot(cluster.owner, cluster.other(), || {
        if std::mem::replace(&mut has_begun, true) {
            return;
        }
        let moved: Vec<String> = (0..40).map(|n| n.to_string()).filter(|key| has_moved(key)).collect();
        assert!(!moved.is_empty());
        for key in &moved {
            until("it is read", || db.get(key.as_bytes()).ok() == Some(bytes("v")));
            change(key, "theirs");
            until("it is seen", || db.get(key.as_bytes()).ok() == Some(bytes("theirs")));
        }
    });
    assert!(has_begun);
    // It sends nothing that would be refused: it has to notice by itself.
    let fetches = || db.tier_stats().unwrap().unwrap().fetches;
    until("copies are kept again", || {
        let before = fetches();
        // The figure may come after the answer.
        (0..10).all(|_| db.get(b"0").is_ok()) && fetches() < before + 5
    });
    to.set("{t}:0", "later");
    until("it is heard", || db.get(b"0").ok() == Some(bytes("later")));
}

#[test]
fn what_depends_on_a_value_is_decided_on_what_a_node_says_that_nobody_hears() {
    let cluster = Cluster::with_replicas(0);
    let db = listening(cluster.tier());
    for key in ["n", "add", "replace", "take", "expire", "ttl", "version"] {
        cluster.owner().set(&format!("{PREFIX}{key}"), "5");
    }
    let mut has_begun = false;
    cluster.move_slot(cluster.owner, cluster.other(), || {
        if std::mem::replace(&mut has_begun, true) {
            return;
        }
        // All have moved, the slot has not.
        assert_eq!(db.ttl(b"ttl").unwrap(), Some(Ttl::Never));
        assert!(db.version(b"version").unwrap().is_some());
        assert_eq!(db.increment(b"n", 2).unwrap(), 7);
        assert!(!db.add(b"add", b"x").unwrap());
        let present = SetOptions::new().condition(Condition::IfPresent);
        assert!(db.set_with(b"replace", b"x", present).unwrap().is_some());
        assert_eq!(db.take(b"take").unwrap(), bytes("5"));
        assert!(db.expire(b"expire", Duration::from_secs(900)).unwrap());
        // What only served to decide does not stay: nobody would tell that it is old.
        let pipe = redis::pipe().cmd("ASKING").cmd("SET").arg(format!("{PREFIX}ttl")).arg("later").clone();
        let _: ((), ()) = pipe.query(&mut cluster.nodes[cluster.other()].client()).unwrap();
        assert_eq!(db.get(b"ttl").unwrap(), bytes("later"));
    });
    assert!(has_begun);
    db.flush(PATIENCE).unwrap();
    let there = &cluster.nodes[cluster.other()];
    let found = ["n", "add", "replace", "take"].map(|key| there.get(&format!("{PREFIX}{key}")));
    assert_eq!(found, [bytes("7"), bytes("5"), bytes("x"), None]);
    assert!((1..=900_000).contains(&there.pttl("{t}:expire")));
}

#[test]
fn a_node_that_was_killed_comes_back_empty_and_is_sent_everything() {
    let mut cluster = Cluster::with_replicas(0);
    let db = open(cluster.named_all());
    for n in 0..100 {
        db.set(format!("{n}").as_bytes(), b"v").unwrap();
    }
    db.flush(PATIENCE).unwrap();
    let owner = cluster.owner;
    cluster.nodes[owner].kill();
    db.set(b"later", b"v").unwrap();
    db.delete(b"7").unwrap();
    assert!(db.flush(Duration::from_millis(200)).is_err());
    assert!(matches!(db.get(b"none"), Err(Error::Tier { .. })));
    let survivor = &cluster.nodes[cluster.other()];
    until("the cluster is down", || survivor.run::<String>("CLUSTER INFO").contains("cluster_state:fail"));
    let refused = db.flush(Duration::from_millis(200)).unwrap_err();
    assert!(matches!(refused, Error::Tier { .. }), "{refused}");
    cluster.nodes[owner].up();
    db.flush(PATIENCE).unwrap();
    assert_eq!(cluster.owner().entries(PREFIX).len(), 100);
    assert_eq!(cluster.owner().get("{t}:7"), None);
}

#[test]
fn a_replica_that_is_promoted_is_sent_what_it_lacks() {
    let mut cluster = Cluster::with_replicas(1);
    let db = listening(cluster.tier());
    db.set(b"k", b"1").unwrap();
    db.flush(PATIENCE).unwrap();
    // A replica answers what it is asked about its keys by a word where they are.
    until("the replica has it", || cluster.nodes[3].run::<i64>("DBSIZE") == 2);
    // From here on the master acknowledges what no replica has.
    let _: () = cluster.owner().run("ACL SETUSER default -psync -sync");
    let _: i64 = cluster.owner().run("CLIENT KILL TYPE replica");
    db.set(b"k", b"2").unwrap();
    db.set(b"new", b"2").unwrap();
    db.flush(PATIENCE).unwrap();
    assert_eq!(cluster.owner().get("{t}:new"), bytes("2"));
    let owner = cluster.owner;
    cluster.nodes[owner].kill();
    db.set(b"later", b"2").unwrap();
    let promoted = &cluster.nodes[3];
    until("it is promoted", || promoted.run::<String>("INFO replication").contains("role:master"));
    db.flush(PATIENCE).unwrap();
    let expected = ["k", "later", "new"].map(|key| (format!("{PREFIX}{key}"), b"2".to_vec()));
    assert_eq!(promoted.entries(PREFIX), expected);
    until("changes are heard again", || hears(&db));
    promoted.set("{t}:k", "theirs");
    until("it is heard", || db.get(b"k").ok() == Some(bytes("theirs")));
}
