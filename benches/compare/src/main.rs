//! libkv against its peers, in one run: `make bench`. What is measured, and how, stands in `docs/benchmarks.md`, whose figures
//! this program writes.
//!
//! `compare OUT [PART…]` measures all parts, or those named, keeps the figures in OUT/results.json, and writes the page
//! OUT/benchmarks.md and its plots. `compare OUT page` writes the page anew, from the figures that are there.

mod child;
mod engine;
mod host;
mod keys;
mod parts;
mod peers;
mod plot;
mod report;
mod results;
mod rounds;
mod tail;
mod targets;

use engine::Level;
use parts::{Scale, LARGE, SMALL};
use results::Results;
use std::path::{Path, PathBuf};

type Part = (&'static str, fn(&mut Results, &Scale));

const PARTS: [Part; 10] = [
    ("memory", |results, scale| parts::throughput(results, scale, Level::Memory, SMALL)),
    ("memory-large", |results, scale| parts::throughput(results, scale, Level::Memory, LARGE)),
    ("fill", parts::fill),
    ("disk", |results, scale| parts::throughput(results, scale, Level::ProcessCrash, SMALL)),
    ("disk-large", |results, scale| parts::throughput(results, scale, Level::ProcessCrash, LARGE)),
    ("synced", |results, scale| {
        parts::synced(results, scale, SMALL);
        parts::synced(results, scale, LARGE);
    }),
    ("reopen", parts::reopen),
    ("churn", parts::churn),
    ("tail", tail::targets),
    ("growth", parts::growth),
];

fn main() {
    if let Ok(setup) = std::env::var(rounds::CHILD) {
        let setup: child::Setup = serde_json::from_str(&setup).expect("a setup");
        let serve = peers::named(&setup.peer).serve;
        return serve(child::Child { setup });
    }
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(arguments.next().expect("usage: compare OUT [PART…]"));
    let wanted: Vec<String> = arguments.collect();
    let kept = out.join("results.json");
    if wanted == ["page"] {
        let text = std::fs::read_to_string(&kept).expect("figures");
        return publish(&serde_json::from_str(&text).expect("figures"), &out);
    }
    for name in &wanted {
        assert!(PARTS.iter().any(|(part, _)| part == name), "no part {name}");
    }
    std::fs::create_dir_all(&out).expect("a directory");
    let scale = Scale::from_env();
    let mut results = Results { host: host::described(scale.described()), ..Results::default() };
    for (_, part) in PARTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        part(&mut results, &scale);
        std::fs::write(&kept, serde_json::to_string_pretty(&results).expect("figures")).expect("a file");
    }
    targets::derive(&mut results, &scale);
    results.host.push(host::load("at its end"));
    std::fs::write(&kept, serde_json::to_string_pretty(&results).expect("figures")).expect("a file");
    publish(&results, &out);
}

fn publish(results: &Results, out: &Path) {
    plot::draw(results, out);
    report::write(results, &out.join("benchmarks.md"));
    println!("{}", report::targets(results));
}
