//! What the Redis tier promises of speed, against Redis used directly. Writes a page of Markdown to the path that it is given.

#[path = "../../host.rs"]
mod host;
mod invalidation;
mod latency;
mod preload;
#[path = "../../results.rs"]
#[allow(dead_code)] // The peers' run uses the rest.
mod results;
#[path = "../../../../../tests/tier/server.rs"]
#[allow(dead_code)] // So do the tests.
mod server;
mod shards;
mod workload;

use kv::{Db, Options, Sync, TierOptions};
use results::{median, Results};
use server::Redis;
use std::fmt::Write;

pub struct Scale {
    repetitions: usize,
    callers: u64,
    keys: u64,
    messages: usize,
    calls: u64,
}

const FULL: Scale = Scale { repetitions: 3, callers: 200, keys: 1_000_000, messages: 1_000, calls: 400_000 };
const QUICK: Scale = Scale { repetitions: 1, callers: 200, keys: 20_000, messages: 100, calls: 20_000 };

impl Scale {
    fn described(&self) -> String {
        format!(
            "{} repetitions; {} callers, {} keys; {} changes that are heard; {} calls a round of those that are timed each by itself",
            self.repetitions, self.callers, self.keys, self.messages, self.calls
        )
    }
}

/// What was measured.
#[derive(Default)]
pub struct Report {
    results: Results,
    /// Name, and what was found, that no target is set for.
    notes: Vec<(String, String)>,
}

impl Report {
    fn note(&mut self, name: &str, found: String) {
        self.notes.push((name.into(), found));
    }

    fn page(&self) -> String {
        let mut page = String::from(include_str!("page.md"));
        for line in &self.results.host {
            let _ = writeln!(page, "- {line}");
        }
        page.push_str("\n| measure | target | reached | |\n|---|---|---|---|\n");
        for row in &self.results.targets {
            let said = if row.holds { "reached" } else { "**missed**" };
            let _ = writeln!(page, "| {} | {} | {} | {said} |", row.measure, row.target, row.reached);
        }
        page.push_str("\n| also | |\n|---|---|\n");
        for (name, found) in &self.notes {
            let _ = writeln!(page, "| {name} | {found} |");
        }
        page
    }
}

/// A store on disk, which outlives the process, where the other side outlives nothing.
fn store(dir: &tempfile::TempDir, tier: Option<TierOptions>) -> Db {
    let options = Options::new().sync(Sync::Never);
    let options = match tier {
        Some(tier) => options.tier(tier),
        None => options,
    };
    options.open(dir.path().join("store")).expect("a store")
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn seconds(all: &[f64]) -> String {
    format!("{:.1} s", median(all))
}

type Part = fn(&mut Report, &Scale);
const PARTS: [(&str, Part); 5] = [
    ("workload", workload::run),
    ("preload", preload::run),
    ("invalidation", invalidation::run),
    ("latency", latency::run),
    ("shards", shards::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [invalidation::LISTENER, url] => invalidation::listen(url),
        [path, ref parts @ ..] => {
            let scale = if std::env::var_os("KV_BENCH_QUICK").is_some() { QUICK } else { FULL };
            let mut report = Report::default();
            report.results.host = host::described(scale.described());
            for (name, run) in PARTS.iter().filter(|(name, _)| parts.is_empty() || parts.contains(name)) {
                eprintln!("{name}");
                run(&mut report, &scale);
            }
            report.results.host.push(host::load("at its end"));
            let page = report.page();
            print!("{page}");
            std::fs::write(path, page).expect("the page");
        }
        _ => eprintln!("usage: tier PAGE [PART…]"),
    }
}
