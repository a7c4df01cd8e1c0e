//! Tail latency of reads while the compactor runs.

use super::{Bench, Rng, Row};
use hdrhistogram::Histogram;
use kv::{Db, Options, Sync};
use std::time::{Duration, Instant};

fn filled(bench: &Bench) -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Options::new().sync(Sync::Never).background(false).open(dir.path()).unwrap();
    for n in 0..bench.keys as u64 {
        db.set(&Bench::key(n), &[0; 100]).unwrap();
    }
    // At random, so that what lives lies among what does not.
    let mut rng = Rng(9);
    for _ in 0..2 * bench.keys {
        db.set(&Bench::key(rng.below(bench.keys)), &[1; 100]).unwrap();
    }
    db.sync().unwrap();
    (dir, db)
}

/// Latencies of reads until `goes_on` says no.
fn read(bench: &Bench, db: &Db, mut goes_on: impl FnMut(u64) -> bool) -> Histogram<u64> {
    let mut latencies = Histogram::new(3).unwrap();
    let mut rng = Rng(3);
    for n in 0.. {
        if n % 4096 == 0 && !goes_on(n) {
            break;
        }
        let key = Bench::key(rng.below(bench.keys));
        let began = Instant::now();
        let pin = db.pin().unwrap();
        std::hint::black_box(pin.get(&key).unwrap().unwrap()[0]);
        drop(pin);
        latencies.record(began.elapsed().as_nanos() as u64).unwrap();
    }
    latencies
}

pub fn rows(bench: &Bench) -> Vec<Row> {
    let mut ratios: Vec<(f64, u64, u64, u64)> = (0..3)
        .map(|_| {
            let (_dir, db) = filled(bench);
            let quiet = read(bench, &db, |n| n < 2 * bench.keys as u64);
            let before = db.stats().unwrap();
            db.resume().unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            // While there is something to give back.
            let busy = read(bench, &db, |_| {
                let stats = db.stats().unwrap();
                stats.log_bytes * 2 > before.log_bytes && Instant::now() < deadline
            });
            let relocated = db.stats().unwrap().relocated_bytes;
            let (a, b) = (busy.value_at_quantile(0.999), quiet.value_at_quantile(0.999));
            (a as f64 / b as f64, a, b, relocated)
        })
        .collect();
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, busy, quiet, relocated) = ratios[1];
    vec![Row {
        measure: "p99.9 of get while the compactor runs, against without",
        target: "≤ 3 ×",
        reached: format!("{ratio:.2} ×; {busy} ns against {quiet} ns, {} MiB relocated", relocated >> 20),
        holds: ratio <= 3.0,
    }]
}
