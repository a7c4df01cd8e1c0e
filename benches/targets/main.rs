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
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * n as u64 >> 32
    }
}

/// Runs two sides in turn and returns the ratio of their times: median of medians, lowest, highest.
fn compare(
    mut ours: impl FnMut() -> Duration,
    mut theirs: impl FnMut() -> Duration,
) -> (f64, f64, f64, Duration, Duration) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        b.push(theirs());
        a.push(ours());
    }
    let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    let lowest = ratios.iter().copied().fold(f64::MAX, f64::min);
    let highest = ratios.iter().copied().fold(0.0, f64::max);
    a.sort();
    b.sort();
    let (a, b) = (a[ROUNDS / 2], b[ROUNDS / 2]);
    (a.as_secs_f64() / b.as_secs_f64(), lowest, highest, a, b)
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

fn ratio_row(
    measure: &'static str,
    target: &'static str,
    limit: f64,
    found: (f64, f64, f64, Duration, Duration),
    ops: usize,
) -> Row {
    let (ratio, lowest, highest, ours, theirs) = found;
    let per_op = |d: Duration| d.as_nanos() as f64 / ops as f64;
    let reached = format!(
        "{ratio:.2} × ({lowest:.2} to {highest:.2}); {:.0} ns against {:.0} ns",
        per_op(ours),
        per_op(theirs)
    );
    Row { measure, reached, target, holds: ratio <= limit }
}

fn main() {
    if disk::is_child() {
        return disk::fill_and_die();
    }
    // `cargo test --benches` only wants to see that it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let keys = std::env::var("KV_BENCH_KEYS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let bench = Bench { keys };
    let parts: [(&str, fn(&Bench) -> Vec<Row>); 6] = [
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
