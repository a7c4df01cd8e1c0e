//! Group commit, and opening after a crash.

use super::{compare, in_threads, Bench, Compared, Row};
use kv::{Db, Options, Sync};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CHILD: &str = "KV_BENCH_CHILD";

pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// In a child: fills a store, so that its parent finds what SIGKILL leaves.
pub fn fill_and_die() {
    let dir = std::env::var_os(CHILD).unwrap();
    let keys: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let db = Options::new().sync(Sync::Never).open(dir).unwrap();
    for n in 0..keys {
        db.set(&Bench::key(n), &[7; 100]).unwrap();
    }
    // SAFETY: a plain system call; this process ends here.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

pub fn always(_bench: &Bench) -> Vec<Row> {
    const RUN: Duration = Duration::from_secs(2);
    let run = |threads: usize| {
        let dir = tempfile::tempdir().unwrap();
        let db = Options::new().sync(Sync::Always).open(dir.path()).unwrap();
        let (done, end) = (AtomicU64::new(0), Instant::now() + RUN);
        let took = in_threads(threads, |thread| {
            let mut n = 0u64;
            while Instant::now() < end {
                db.set(&Bench::key((thread as u64) << 32 | n), &[7; 100]).unwrap();
                n += 1;
            }
            done.fetch_add(n, Ordering::Relaxed);
        });
        done.load(Ordering::Relaxed) as f64 / took.as_secs_f64()
    };
    let mut pairs: Vec<(f64, f64)> = (0..3).map(|_| (run(1), run(32))).collect();
    pairs.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (one, many) = pairs[1];
    vec![Row {
        measure: "set, Always, 32 threads against 1",
        target: "≥ 12 × the throughput",
        reached: format!("{:.1} ×; {many:.0}/s against {one:.0}/s", many / one),
        holds: many / one >= 12.0,
    }]
}

pub fn reopen(bench: &Bench) -> Vec<Row> {
    let dir = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .arg(bench.keys.to_string())
        .env(CHILD, dir.path())
        .status()
        .unwrap();
    assert!(!status.success(), "the child was to be killed");
    let scan = || {
        let began = Instant::now();
        let mut sum = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "seg") {
                sum ^= crc32fast::hash(&std::fs::read(path).unwrap());
            }
        }
        std::hint::black_box(sum);
        began.elapsed()
    };
    let open = || {
        let began = Instant::now();
        let db = Db::open(dir.path()).unwrap();
        let took = began.elapsed();
        assert_eq!(db.len(), bench.keys);
        db.abandon();
        took
    };
    let Compared { ratio, range: (lowest, highest), ours, theirs } = compare(open, scan);
    vec![Row {
        measure: "reopen after SIGKILL against a one-thread CRC scan",
        target: "≤ 10 ×",
        reached: format!("{ratio:.1} × ({lowest:.1} to {highest:.1}); {ours:.0?} against {theirs:.0?}"),
        holds: ratio <= 10.0,
    }]
}
