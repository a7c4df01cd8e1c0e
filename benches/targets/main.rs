//! The figures that the project promises, as ratios against a peer in the same run. `cargo bench --bench targets`.
//!
//! One million keys of 16 bytes with values of 100 bytes, uniform access; `KV_BENCH_KEYS` makes it smaller. Sides are
//! interleaved and repeated; what is printed is the ratio of the medians, with the lowest and highest ratio of a pair.

mod compaction;
mod disk;
mod map;
mod memory;

use std::time::{Duration, Instant};

/// Repetitions of each side.
const ROUNDS: usize = 5;

/// What every figure is measured on.
struct Bench {
    keys: usize,
}

struct Row {
    measure: &'static str,
    reached: String,
    target: &'static str,
    holds: bool,
}

impl Bench {
    fn key(n: u64) -> [u8; 16] {
        // A bijection, so that neighbours in the loop are not neighbours in any table.
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut key = [b'k'; 16];
        key[..8].copy_from_slice(&mixed.to_le_bytes());
        key
    }
}

/// A cheap generator (xorshift64*): the same for both sides, so its cost is the same in both.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * n as u64) >> 32
    }
}

/// The times of two sides that ran in turn.
struct Compared {
    /// Of the medians.
    ratio: f64,
    /// Of the pairs: lowest and highest.
    range: (f64, f64),
    ours: Duration,
    theirs: Duration,
}

/// Runs two sides in turn.
fn compare(mut ours: impl FnMut() -> Duration, mut theirs: impl FnMut() -> Duration) -> Compared {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        b.push(theirs());
        a.push(ours());
    }
    let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    let range = (ratios.iter().copied().fold(f64::MAX, f64::min), ratios.iter().copied().fold(0.0, f64::max));
    a.sort();
    b.sort();
    let (ours, theirs) = (a[ROUNDS / 2], b[ROUNDS / 2]);
    Compared { ratio: ours.as_secs_f64() / theirs.as_secs_f64(), range, ours, theirs }
}

/// Variable that makes this program run one side of a comparison and print its figures.
const SIDE: &str = "KV_BENCH_SIDE";

/// Runs a side in a process of its own, so that no side finds a heap that another one has warmed.
fn in_fresh_process<const N: usize>(side: &str, bench: &Bench) -> [u64; N] {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .env(SIDE, side)
        .env("KV_BENCH_KEYS", bench.keys.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: Vec<u64> = text.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    figures.try_into().unwrap()
}

/// Runs `work` in so many threads at once and returns the time from the first start to the last end.
fn in_threads(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let barrier = std::sync::Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(thread);
                })
            })
            .collect();
        barrier.wait();
        let began = Instant::now();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        began.elapsed()
    })
}

type Part = (&'static str, fn(&Bench) -> Vec<Row>);

/// A row for a side whose time must be at most `limit` times the other's; `ops` in each thread.
fn ratio_row(measure: &'static str, target: &'static str, limit: f64, found: &Compared, ops: usize) -> Row {
    let per_op = |d: Duration| d.as_nanos() as f64 / ops as f64;
    let Compared { ratio, range, ours, theirs } = *found;
    let reached = format!(
        "{ratio:.2} × ({:.2} to {:.2}); {:.0} ns against {:.0} ns",
        range.0,
        range.1,
        per_op(ours),
        per_op(theirs)
    );
    Row { measure, reached, target, holds: ratio <= limit }
}

fn main() {
    if disk::is_child() {
        return disk::fill_and_die();
    }
    let keys = std::env::var("KV_BENCH_KEYS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let bench = Bench { keys };
    if let Ok(side) = std::env::var(SIDE) {
        if side == "memory" {
            let [index, record] = memory::fill(&bench);
            println!("{index} {record}");
        } else {
            println!("{}", map::fill(&bench, &side).as_nanos());
        }
        return;
    }
    // `cargo test --benches` only wants to see that it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [Part; 6] = [
        ("get", map::get),
        ("set", map::set),
        ("memory", memory::rows),
        ("always", disk::always),
        ("reopen", disk::reopen),
        ("compaction", compaction::rows),
    ];
    println!("| measure | target | reached | |\n|---|---|---|---|");
    for (name, part) in parts {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        for row in part(&bench) {
            let verdict = if row.holds { "holds" } else { "MISSED" };
            println!("| {} | {} | {} | {verdict} |", row.measure, row.target, row.reached);
        }
    }
}
