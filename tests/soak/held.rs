//! What the process and a store hold at a moment, and how that goes over a run.

use kv::Db;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The figures of a sample, by name.
pub const NAMES: [&str; 9] =
    ["disk KiB", "log KiB", "live KiB", "segments", "index", "memory KiB", "descriptors", "threads", "maps"];
pub const DISK: usize = 0;
pub const LIVE: usize = 2;
pub const SEGMENTS: usize = 3;
pub const INDEX: usize = 4;
pub const MEMORY: usize = 5;
pub const DESCRIPTORS: usize = 6;
pub const THREADS: usize = 7;
pub const MAPS: usize = 8;

pub type Sample = [u64; NAMES.len()];

fn entries(dir: &str) -> u64 {
    std::fs::read_dir(dir).unwrap().count() as u64
}

/// Memory that is the process's own: no file's.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

pub fn disk_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().filter_map(|e| e.unwrap().metadata().ok()).map(|m| m.blocks() * 512).sum()
}

/// Waits until the process has no more threads than that: one that was joined leaves /proc a moment later.
pub fn wait_for_threads(most: u64) {
    let given_up_at = Instant::now() + Duration::from_secs(60);
    while entries("/proc/self/task") > most {
        assert!(Instant::now() < given_up_at, "{} threads, {most} before", entries("/proc/self/task"));
        std::thread::yield_now();
    }
}

/// Without a store: what the process holds when none is open.
pub fn sample(dir: &Path, db: Option<&Db>) -> Sample {
    let stats = db.map(|db| db.stats().unwrap()).unwrap_or_default();
    [
        disk_bytes(dir) >> 10,
        stats.log_bytes >> 10,
        stats.live_bytes >> 10,
        stats.segments,
        stats.index_entries,
        memory_kib(),
        entries("/proc/self/fd"),
        entries("/proc/self/task"),
        std::fs::read_to_string("/proc/self/maps").unwrap().lines().count() as u64,
    ]
}

/// The highest of each figure.
pub fn highest(samples: &[Sample]) -> Sample {
    samples
        .iter()
        .fold(Sample::default(), |highest, sample| std::array::from_fn(|n| highest[n].max(sample[n])))
}

fn mean(samples: &[Sample]) -> Sample {
    std::array::from_fn(|n| samples.iter().map(|sample| sample[n]).sum::<u64>() / samples.len() as u64)
}

/// Prints how the figures went, and returns the means of the two halves, the first tenth left out as a warm-up.
pub fn drift(samples: &[Sample]) -> (Sample, Sample) {
    let warm = &samples[samples.len() / 10..];
    let (first, second) = warm.split_at(warm.len() / 2);
    let (first, second, highest) = (mean(first), mean(second), highest(samples));
    for (n, name) in NAMES.iter().enumerate().filter(|(n, _)| highest[*n] > 0) {
        let change = 100.0 * (second[n] as f64 / first[n].max(1) as f64 - 1.0);
        println!(
            "  {name:<12} mean {:>9} then {:>9} ({change:+.1} %), highest {:>9}",
            first[n], second[n], highest[n]
        );
    }
    (first, second)
}
