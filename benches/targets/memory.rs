//! Memory of an entry, and an empty store's files.

use super::{in_fresh_process, Bench, Row};
use kv::{Db, Options, Sync};

/// Memory of this process that no file backs, in bytes.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

fn allocated_bytes(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// Fills a store and gives the bytes that its entries take beyond key and value: in the index, and in records.
pub fn fill(bench: &Bench) -> [u64; 2] {
    let dir = tempfile::tempdir().unwrap();
    let before = anonymous_bytes();
    let db = Options::new().sync(Sync::Never).open(dir.path()).unwrap();
    for n in 0..bench.keys as u64 {
        db.set(&Bench::key(n), &[7; 100]).unwrap();
    }
    let index = anonymous_bytes() - before;
    [index, db.stats().unwrap().live_bytes - 116 * bench.keys as u64]
}

pub fn rows(bench: &Bench) -> Vec<Row> {
    let [index, record] = in_fresh_process("memory", bench);
    let (index, record) = (index as f64 / bench.keys as f64, record as f64 / bench.keys as f64);
    let total = index + record;
    let entry = Row {
        measure: "memory per entry beyond key and value",
        target: "≤ 140 bytes",
        reached: format!("{total:.0} bytes: {index:.0} index, {record:.0} record"),
        holds: total <= 140.0,
    };
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    // The second question comes after the first round of the log thread, which prepares all that it holds back.
    db.sync().unwrap();
    db.stats().unwrap();
    let open = allocated_bytes(dir.path());
    db.close().unwrap();
    let closed = allocated_bytes(dir.path());
    vec![
        entry,
        Row {
            measure: "an empty store on disk, open",
            target: "≤ 5 MiB",
            reached: format!("{:.2} MiB", open as f64 / f64::from(1 << 20)),
            holds: open <= 5 << 20,
        },
        Row {
            measure: "an empty store on disk, closed",
            target: "≤ 32 KiB",
            reached: format!("{} KiB", closed >> 10),
            holds: closed <= 32 << 10,
        },
    ]
}
