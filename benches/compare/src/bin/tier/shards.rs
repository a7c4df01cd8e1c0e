//! A store that shares its entries through a cluster, by its number of shards: one is at one node, of three each at another.

use crate::results::{median, rate, ratio};
use crate::{directory, store, Redis, Report, Scale};
use kv::TierOptions;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const NODES: usize = 3;
const SHARES: [&str; NODES] = ["0 5460", "5461 10922", "10923 16383"];

fn cluster() -> Vec<Redis> {
    let nodes: Vec<Redis> = (0..NODES).map(|_| Redis::with(&["--cluster-enabled", "yes"])).collect();
    for (node, share) in nodes.iter().zip(SHARES) {
        let _: () = node.run(&format!("CLUSTER ADDSLOTSRANGE {share}"));
    }
    for node in &nodes[1..] {
        let _: () = node.run(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port()));
    }
    let is_whole = |node: &Redis| {
        let info: String = node.run("CLUSTER INFO");
        info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{NODES}"))
    };
    while !nodes.iter().all(is_whole) {
        std::thread::sleep(Duration::from_millis(10));
    }
    nodes
}

/// One with which each of the shards is at another node.
fn spreading_prefix(nodes: &[Redis]) -> String {
    let node_of = |prefix: &str, shard: usize| {
        let slot: usize = nodes[0].run(&format!("CLUSTER KEYSLOT {{{prefix}{shard}}}"));
        slot / 5462
    };
    let spreads = |prefix: &String| (0..NODES).all(|n| (0..NODES).any(|shard| node_of(prefix, shard) == n));
    (0..).map(|n| format!("s{n}:")).find(spreads).expect("one of them")
}

pub fn run(report: &mut Report, scale: &Scale) {
    let nodes = cluster();
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let url = format!("redis-cluster://{}", addresses.join(","));
    let spreading = spreading_prefix(&nodes);
    let tiers = [("{s}:", 1), (&spreading, NODES)]
        .map(|(prefix, shards)| TierOptions::new(&url).prefix(prefix).shards(shards));
    let (mut sent, mut copied) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for repetition in 0..scale.repetitions {
        eprintln!("  repetition {repetition}");
        for (at, tier) in tiers.iter().enumerate() {
            nodes.iter().for_each(|node| node.run::<()>("FLUSHALL"));
            let (from, to) = (directory(), directory());
            let writer = store(&from, Some(tier.clone()));
            let began = Instant::now();
            for n in 0..scale.keys {
                writer.set(format!("user:{n:016x}").as_bytes(), &[n as u8; 100]).expect("a set");
            }
            writer.flush(Duration::from_secs(600)).expect("Redis has everything");
            sent[at].push(began.elapsed().as_secs_f64());
            let reader = store(&to, Some(tier.clone()));
            let began = Instant::now();
            let done = reader.preload(b"*", 0, |_| ControlFlow::Continue(())).expect("Redis answers");
            copied[at].push(began.elapsed().as_secs_f64());
            assert_eq!(done.copied, scale.keys);
        }
    }
    for (name, [one, three]) in [("sets until Redis has them", &sent), ("a preload", &copied)] {
        let [of_one, of_three] = [one, three].map(|all| rate(scale.keys as f64 / median(all)));
        report.note(
            &format!("{name}, at a cluster of {NODES} nodes: {NODES} shards against 1"),
            format!("{}; {of_three} against {of_one}", ratio(one, three)),
        );
    }
}
