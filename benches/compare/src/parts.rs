//! What is measured of all peers, in turn.

use crate::child::{Request, Setup, Task, Work};
use crate::engine::{Level, Peer};
use crate::keys::Spread;
use crate::peers;
use crate::results::Results;
use crate::rounds::{loaded, setup, Runner};

/// How much of everything: `KV_BENCH_QUICK=1` only shows that all of it works.
pub struct Scale {
    /// Turns of each peer on a store that stays.
    pub rounds: usize,
    /// Repetitions of what needs a new store each time.
    pub stores: usize,
    pub keys: u64,
    /// With values of 4 KiB.
    pub large_keys: u64,
    /// Where writes are synced.
    pub synced_keys: u64,
    pub run_ms: u64,
    pub sync_run_ms: u64,
    pub churn_ms: u64,
    /// By how much the store grows whose gets are compared.
    pub growth: u64,
}

impl Scale {
    pub fn described(&self) -> String {
        format!(
            "{} rounds of {} ms ({} ms where writes are synced), {} where each needs a new store; {} keys, {} with values of 4 KiB, {} where writes are synced",
            self.rounds, self.run_ms, self.sync_run_ms, self.stores, self.keys, self.large_keys, self.synced_keys
        )
    }

    pub fn from_env() -> Scale {
        if std::env::var_os("KV_BENCH_QUICK").is_some() {
            let (keys, large_keys, synced_keys) = (20_000, 1_000, 1_000);
            return Scale {
                rounds: 1,
                stores: 1,
                keys,
                large_keys,
                synced_keys,
                run_ms: 5,
                sync_run_ms: 20,
                churn_ms: 2_000,
                growth: 2,
            };
        }
        Scale {
            rounds: 5,
            stores: 3,
            keys: 1_000_000,
            large_keys: 50_000,
            synced_keys: 10_000,
            run_ms: 200,
            sync_run_ms: 1_000,
            churn_ms: 8_000,
            growth: 10,
        }
    }
}

pub const SMALL: usize = 100;
pub const LARGE: usize = 4096;

pub fn said(level: Level) -> &'static str {
    match level {
        Level::Memory => "In memory",
        Level::ProcessCrash => "Persistent, process crash",
        Level::PowerLoss => "Persistent, power loss",
    }
}

pub fn part(level: Level, value_bytes: usize) -> String {
    let level = said(level);
    let size = if value_bytes == LARGE { "4 KiB".into() } else { format!("{value_bytes} B") };
    format!("{level}, values of {size}")
}

pub fn case(work: Work, spread: Spread, threads: usize) -> String {
    let work = match work {
        Work::Get => "get, hit".into(),
        Work::Miss => "get, miss".into(),
        Work::GetPinned => "get, 64 a pin".into(),
        Work::GetMany => "get_many(16)".into(),
        Work::Mixed(gets) => format!("{gets}/{} get/set", 100 - gets),
        Work::Overwrite => "overwrite".into(),
    };
    let spread = if spread == Spread::Zipf { "zipf" } else { "uniform" };
    let s = if threads == 1 { "" } else { "s" };
    format!("{work}, {spread}, {threads} thread{s}")
}

/// Reads first: what writes leave behind for the background is done with before the next round reads.
fn cases() -> Vec<(Work, Spread)> {
    use Spread::{Uniform, Zipf};
    vec![
        (Work::Get, Uniform),
        (Work::Get, Zipf),
        (Work::Miss, Uniform),
        (Work::GetPinned, Uniform),
        (Work::GetMany, Uniform),
        (Work::Mixed(95), Uniform),
        (Work::Mixed(95), Zipf),
        (Work::Mixed(50), Uniform),
        (Work::Mixed(50), Zipf),
        (Work::Overwrite, Uniform),
        (Work::Overwrite, Zipf),
    ]
}

fn can(peer: &Peer, work: Work) -> bool {
    match work {
        Work::GetPinned => peer.pins,
        Work::GetMany => peer.many,
        _ => true,
    }
}

/// Everybody in turn, beginning with another one in each round.
fn in_turn(runners: &mut [Runner], round: usize, mut measure: impl FnMut(&mut Runner)) {
    let first = round % runners.len();
    let (before, after) = runners.split_at_mut(first);
    after.iter_mut().chain(before).for_each(&mut measure);
}

pub fn throughput(results: &mut Results, scale: &Scale, level: Level, value_bytes: usize) {
    let part = part(level, value_bytes);
    eprintln!("{part}");
    let root = tempfile::tempdir().expect("a directory");
    let keys = if value_bytes == SMALL { scale.keys } else { scale.large_keys };
    let mut runners = loaded(level, root.path(), keys, value_bytes);
    for runner in &mut runners {
        runner.ask(&Request::Settle);
        space(results, runner, "loaded");
    }
    for round in 0..scale.rounds {
        eprintln!("  round {}", round + 1);
        for runner in &mut runners {
            runner.ask(&Request::Settle);
        }
        for threads in [1, 2] {
            for (work, spread) in cases() {
                let case = case(work, spread, threads);
                in_turn(&mut runners, round, |runner| {
                    if can(runner.peer, work) {
                        let done = runner.run(Task { work, spread, threads, run_ms: scale.run_ms });
                        results.add(&part, &case, runner.peer.name, done);
                    }
                });
            }
        }
    }
    for runner in &mut runners {
        runner.ask(&Request::Settle);
        space(results, runner, "after the writes of all rounds");
    }
}

/// Memory and disk, of the smaller values.
fn space(results: &mut Results, runner: &mut Runner, when: &str) {
    let setup = &runner.setup;
    if setup.value_bytes != SMALL {
        return;
    }
    let (level, name) = (setup.level, runner.peer.name);
    let data = (setup.keys * 116) as f64;
    let memory = runner.ask(&Request::Memory);
    let part = format!("{}: space", part(level, SMALL));
    results.add(&part, &format!("resident memory, {when}"), name, memory[0] / data);
    if level != Level::Memory {
        results.add(&part, &format!("of which no file backs, {when}"), name, memory[1] / data);
        results.add(&part, &format!("disk, {when}"), name, runner.disk_bytes() / data);
    }
}

/// Synced writes; one cannot be faster than the disk, many can share a sync.
pub fn synced(results: &mut Results, scale: &Scale, value_bytes: usize) {
    let part = part(Level::PowerLoss, value_bytes);
    eprintln!("{part}");
    let root = tempfile::tempdir().expect("a directory");
    let mut runners = loaded(Level::PowerLoss, root.path(), scale.synced_keys, value_bytes);
    for round in 0..scale.rounds {
        for threads in [1, 2, 32] {
            let task =
                Task { work: Work::Overwrite, spread: Spread::Uniform, threads, run_ms: scale.sync_run_ms };
            in_turn(&mut runners, round, |runner| {
                // What others left unwritten is not this one's to wait for.
                // SAFETY: a plain system call.
                unsafe { libc::sync() };
                let done = runner.run(task);
                results.add(&part, &case(task.work, task.spread, threads), runner.peer.name, done);
            });
        }
    }
}

pub const FILL: &str = "New keys, 1 thread, a fresh process each";
pub const ON_DISK: &str = "libkv, on disk";

/// Sets of new keys: the maps grow from nothing.
pub fn fill(results: &mut Results, scale: &Scale) {
    eprintln!("{FILL}");
    let in_memory = peers::all().into_iter().filter(|peer| peer.levels.contains(&Level::Memory));
    let mut sides: Vec<_> = in_memory.map(|peer| (peer.name, peer, Level::Memory)).collect();
    sides.push((ON_DISK, peers::named(peers::LIBKV), Level::ProcessCrash));
    for _ in 0..scale.stores {
        for (name, peer, level) in &sides {
            let root = tempfile::tempdir().expect("a directory");
            let mut runner = Runner::start(peer, setup(peer, *level, root.path(), scale.keys, SMALL, None));
            results.add(FILL, "set", name, runner.ask(&Request::SetAll)[0]);
            if *level == Level::ProcessCrash {
                runner.ask(&Request::Settle);
                memory_of_an_entry(results, &mut runner);
            }
        }
    }
}

pub const ENTRY: &str = "Bytes of memory an entry that no file backs";

/// Of libkv on disk, where records lie in files.
fn memory_of_an_entry(results: &mut Results, runner: &mut Runner) {
    let keys = runner.setup.keys;
    let per_entry = runner.ask(&Request::Memory)[1] / keys as f64;
    results.add(ENTRY, &format!("{keys} keys"), ON_DISK, per_entry);
}

pub const REOPEN: &str = "Reopen after SIGKILL";

/// All peers at the level of a process crash: loaded, killed, opened again.
pub fn reopen(results: &mut Results, scale: &Scale) {
    eprintln!("{REOPEN}");
    for _ in 0..scale.stores {
        for peer in peers::all().into_iter().filter(|peer| peer.levels.contains(&Level::ProcessCrash)) {
            if peer.name == "Redis, pipelined" {
                continue;
            }
            let root = tempfile::tempdir().expect("a directory");
            let setup: Setup = setup(peer, Level::ProcessCrash, root.path(), scale.keys, SMALL, None);
            let mut runner = Runner::start(peer, setup.clone());
            runner.ask(&Request::Load);
            drop(runner);
            if peer.name == peers::LIBKV {
                results.add(REOPEN, SCAN, peer.name, crate::targets::scan_seconds(&setup.dir));
            }
            let mut runner = Runner::start(peer, setup);
            results.add(REOPEN, SECONDS, peer.name, runner.open_seconds);
            let lost = scale.keys as f64 - runner.ask(&Request::Count)[0];
            results.add(REOPEN, LOST, peer.name, lost);
            assert!(
                lost == 0.0 || peer.weaker.contains(&Level::ProcessCrash),
                "{} lost {lost} acknowledged writes",
                peer.name
            );
        }
    }
}

pub const SECONDS: &str = "seconds";
pub const SCAN: &str = "seconds of a CRC scan by one thread";
pub const LOST: &str = "acknowledged writes lost";

pub const CHURN: &str = "TTL churn";
pub const CHURN_SETS: &str = "set of new keys that live a second";
pub const CHURN_HALFWAY: &str = "resident bytes, halfway";
pub const CHURN_HIGHEST: &str = "resident bytes, highest after that";

/// In memory: each entry lives for a second, so that as many go as come.
pub fn churn(results: &mut Results, scale: &Scale) {
    eprintln!("{CHURN}");
    for _ in 0..scale.stores {
        for peer in peers::all().into_iter().filter(|peer| peer.expires) {
            let root = tempfile::tempdir().expect("a directory");
            let setup = setup(peer, Level::Memory, root.path(), scale.keys, SMALL, Some(1_000));
            let answer = Runner::start(peer, setup).ask(&Request::Churn { run_ms: scale.churn_ms });
            for (case, figure) in [CHURN_SETS, CHURN_HALFWAY, CHURN_HIGHEST].into_iter().zip(answer) {
                results.add(CHURN, case, peer.name, figure);
            }
        }
    }
}

pub const GROWTH: &str = "Growth: get, hit, uniform, 1 thread";

/// The same gets on a store that holds more.
pub fn growth(results: &mut Results, scale: &Scale) {
    eprintln!("{GROWTH}");
    let sides = [("libkv", Level::Memory), ("papaya", Level::Memory), ("libkv", Level::ProcessCrash)];
    for (name, level) in sides {
        let peer = peers::named(name);
        let (few, many) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let mut runners = [(&few, 1), (&many, scale.growth)].map(|(root, times)| {
            let mut runner =
                Runner::start(peer, setup(peer, level, root.path(), scale.keys * times, SMALL, None));
            runner.ask(&Request::Load);
            runner.ask(&Request::Settle);
            if level == Level::ProcessCrash {
                memory_of_an_entry(results, &mut runner);
            }
            runner
        });
        let said = if level == Level::Memory { name } else { ON_DISK };
        for _ in 0..scale.rounds {
            for runner in &mut runners {
                let task =
                    Task { work: Work::Get, spread: Spread::Uniform, threads: 1, run_ms: scale.run_ms };
                let case = format!("{} keys", runner.setup.keys);
                let done = runner.run(task);
                results.add(GROWTH, &case, said, done);
            }
        }
    }
}
