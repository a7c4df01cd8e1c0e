//! What libkv promises, each a row: reached or missed.

use crate::child::Work;
use crate::engine::{Level, Peer};
use crate::keys::Spread;
use crate::parts::{self, case, part, Scale, SMALL};
use crate::peers::{self, LIBKV, REDIS};
use crate::results::{median, rate, ratio, Results, Target};
use std::path::Path;
use std::time::Instant;

/// One thread's CRC over all that was written: what reading a store costs at least.
pub fn scan_seconds(dir: &Path) -> f64 {
    let began = Instant::now();
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            sum ^= crc32fast::hash(&std::fs::read(path).expect("a segment"));
        }
    }
    std::hint::black_box(sum);
    began.elapsed().as_secs_f64()
}

/// From the figures of all parts.
pub fn derive(results: &mut Results, scale: &Scale) {
    let in_memory = part(Level::Memory, SMALL);
    let on_disk = part(Level::ProcessCrash, SMALL);
    let synced = part(Level::PowerLoss, SMALL);
    // Those of the tails come last.
    let measured = std::mem::take(&mut results.targets);
    let uniform = |work, threads| case(work, Spread::Uniform, threads);
    for (peer, limit) in [("papaya", 1.7), ("dashmap", 1.5), ("moka", 5.0), ("quick_cache", 1.5)] {
        for threads in [1, 2] {
            let measure = format!("get in memory against {peer}, {}", of_threads(threads));
            results.throughput_at_least(&measure, &in_memory, &uniform(Work::Get, threads), peer, limit);
        }
    }
    results.throughput_at_least(
        "get in memory against papaya, 1 thread, 64 gets a pin",
        &in_memory,
        &uniform(Work::GetPinned, 1),
        "papaya",
        1.7,
    );
    for (part, said) in [(&in_memory, "in memory"), (&on_disk, "persistent")] {
        let both = [Work::GetMany, Work::Get].map(|work| results.get(part, &uniform(work, 1), LIBKV));
        if let [Some(many), Some(one)] = both {
            let [many, one] =
                [many, one].map(|rates| rates.iter().map(|rate| 1e9 / rate).collect::<Vec<_>>());
            let said_ns = format!("{:.0} ns against {:.0} ns", median(&many), median(&one));
            results.at_most(&format!("get_many(16) {said}, per key, against get"), 0.5, &many, &one, said_ns);
        }
    }
    for (peer, limit) in [("papaya", 1.5), ("dashmap", 1.2), ("moka", 4.0)] {
        for threads in [1, 2] {
            let measure = format!("set of existing keys in memory against {peer}, {}", of_threads(threads));
            results.throughput_at_least(
                &measure,
                &in_memory,
                &uniform(Work::Overwrite, threads),
                peer,
                limit,
            );
        }
        results.throughput_at_least(
            &format!("set of new keys in memory against {peer}"),
            parts::FILL,
            "set",
            peer,
            limit,
        );
    }
    for threads in [1, 2] {
        let case = uniform(Work::Overwrite, threads);
        if let Some(best) = best_embedded(results, Level::ProcessCrash, &case) {
            let measure = format!(
                "set that outlives the process, {}, against the best at that level ({best})",
                of_threads(threads)
            );
            results.throughput_at_least(&measure, &on_disk, &case, best, 4.0);
        }
    }
    results.throughput_at_least(
        "persistent get against LMDB, each by itself",
        &on_disk,
        &uniform(Work::Get, 1),
        "LMDB",
        5.0,
    );
    results.throughput_at_least(
        "persistent get against LMDB, 64 a pin or transaction",
        &on_disk,
        &uniform(Work::GetPinned, 1),
        "LMDB",
        5.0,
    );
    let many = uniform(Work::Overwrite, 32);
    if let Some(best) = best_embedded(results, Level::PowerLoss, &many) {
        let measure = format!("set, `Sync::Always`, 32 threads, against the best embedded peer ({best})");
        results.throughput_at_least(&measure, &synced, &many, best, 3.0);
    }
    if let (Some(many), Some(one)) =
        (results.get(&synced, &many, LIBKV), results.get(&synced, &uniform(Work::Overwrite, 1), LIBKV))
    {
        let (found, many, one) = (ratio(many, one), median(many), median(one));
        results.targets.push(Target {
            measure: "set, `Sync::Always`, 32 threads against 1".into(),
            target: "≥ 12 × the throughput".into(),
            reached: format!("{found}; {} against {}", rate(many), rate(one)),
            holds: found.median >= 12.0,
        });
    }
    if let (Some(open), Some(scan)) =
        (results.get(parts::REOPEN, parts::SECONDS, LIBKV), results.get(parts::REOPEN, parts::SCAN, LIBKV))
    {
        let (open, scan) = (open.to_vec(), scan.to_vec());
        let said = format!("{:.0} ms against {:.0} ms", 1e3 * median(&open), 1e3 * median(&scan));
        results.at_most("reopen after SIGKILL against a CRC scan by one thread", 3.0, &open, &scan, said);
    }
    results.throughput_at_least("TTL churn against moka", parts::CHURN, parts::CHURN_SETS, "moka", 4.0);
    let memory =
        [parts::CHURN_HIGHEST, parts::CHURN_HALFWAY].map(|case| results.get(parts::CHURN, case, LIBKV));
    if let [Some(highest), Some(halfway)] = memory {
        let (highest, halfway) = (highest.to_vec(), halfway.to_vec());
        let said = format!(
            "{:.0} MiB against {:.0} MiB",
            median(&highest) / 1048576.0,
            median(&halfway) / 1048576.0
        );
        results.at_most("TTL churn: flat memory, highest against halfway", 1.2, &highest, &halfway, said);
    }
    for side in ["libkv", "libkv, on disk"] {
        let at = |times| results.get(parts::GROWTH, &format!("{} keys", scale.keys * times), side);
        if let (Some(few), Some(many)) = (at(1), at(scale.growth)) {
            let [few, many] =
                [few, many].map(|rates| rates.iter().map(|rate| 1e9 / rate).collect::<Vec<_>>());
            let said = format!("{:.0} ns against {:.0} ns", median(&many), median(&few));
            let measure = format!("get with {} × the keys ({side})", scale.growth);
            results.at_most(&measure, 1.8, &many, &few, said);
        }
    }
    entry_and_files(results);
    results.targets.extend(measured);
}

fn of_threads(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// Who does most, of the embedded peers that keep what the level promises.
fn best_embedded(results: &Results, level: Level, case: &str) -> Option<&'static str> {
    let in_contest =
        |peer: &&Peer| !peer.weaker.contains(&level) && peer.name != LIBKV && peer.krate != REDIS;
    let candidates = peers::all().into_iter().filter(in_contest);
    let part = part(level, SMALL);
    let rates = candidates.filter_map(|peer| Some((peer.name, median(results.get(&part, case, peer.name)?))));
    rates.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
}

/// Memory of an entry, and an empty store's files.
fn entry_and_files(results: &mut Results) {
    const ENTRIES: u64 = 1_000;
    let dir = tempfile::tempdir().expect("a directory");
    let db = kv::Db::open(dir.path()).expect("a store");
    // The second question comes after the first round of the log thread, which prepares all that it holds back.
    db.sync().expect("a sync");
    db.stats().expect("figures");
    let mut row = |measure: &str, target: &str, reached: String, holds| {
        results.targets.push(Target { measure: measure.into(), target: target.into(), reached, holds });
    };
    let open = crate::rounds::disk_bytes(dir.path());
    row(
        "an empty store on disk, open",
        "≤ 5 MiB",
        format!("{:.2} MiB", open / 1048576.0),
        open <= 5.0 * 1048576.0,
    );
    for n in 0..ENTRIES {
        db.set(&crate::keys::key(n), &[7; SMALL]).expect("a set");
    }
    let record = (db.stats().expect("figures").live_bytes / ENTRIES) as f64 - 116.0;
    db.close().expect("a close");
    let empty = tempfile::tempdir().expect("a directory");
    kv::Db::open(empty.path()).and_then(|db| db.close()).expect("a store");
    let closed = crate::rounds::disk_bytes(empty.path());
    row(
        "an empty store on disk, closed",
        "≤ 32 KiB",
        format!("{} KiB", closed / 1024.0),
        closed <= 32.0 * 1024.0,
    );
    let of_index = results.figures.iter().filter(|figure| figure.part == parts::ENTRY);
    let rows: Vec<_> = of_index.map(|figure| (figure.case.clone(), median(&figure.samples))).collect();
    for (keys, index) in rows {
        let reached = format!("{:.1} bytes: {index:.1} index, {record:.0} record", index + record);
        results.targets.push(Target {
            measure: format!("memory of an entry beyond key and value, {keys}"),
            target: "≤ 56 bytes".into(),
            reached,
            holds: index + record <= 56.0,
        });
    }
}

impl Results {
    /// A throughput of ours against a peer's.
    fn throughput_at_least(&mut self, measure: &str, part: &str, case: &str, peer: &str, limit: f64) {
        let (Some(ours), Some(theirs)) = (self.get(part, case, LIBKV), self.get(part, case, peer)) else {
            return;
        };
        let (ours, theirs) = (ours.to_vec(), theirs.to_vec());
        let said = format!("{} against {}", rate(median(&ours)), rate(median(&theirs)));
        self.at_least(measure, limit, &ours, &theirs, said);
    }
}
