//! Entries a second of scans over a million entries: 16-byte keys, values of 100 bytes, one thread. The best of five passes.
//! `cargo bench --manifest-path benches/core/Cargo.toml --bench scans`.

use kv::{Db, Options, ScanOptions};
use std::hint::black_box;
use std::time::Instant;

const ENTRIES: u64 = 1_000_000;
/// Entries of a short scan.
const SHORT: usize = 100;

fn key(n: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

fn filled(is_listed: bool) -> Db {
    let db = Options::new().ordered_index(is_listed).in_memory().expect("a store");
    let began = Instant::now();
    (0..ENTRIES).for_each(|n| db.set(&key(n), &[7; 100]).expect("a set"));
    let each_ns = began.elapsed().as_nanos() as f64 / ENTRIES as f64;
    println!(
        "{:<52} {each_ns:>8.0} ns each",
        if is_listed { "set new keys, listed" } else { "set new keys" }
    );
    db
}

/// Runs `pass`, which gives the number of entries that it scanned.
fn measure(name: &str, pass: impl Fn() -> u64) {
    let rate = || {
        let began = Instant::now();
        pass() as f64 / began.elapsed().as_secs_f64()
    };
    let best = (0..5).map(|_| rate()).fold(0.0, f64::max);
    println!("{name:<52} {:>8.2} million entries/s", best / 1e6);
}

fn scan(db: &Db, options: ScanOptions) -> u64 {
    let mut entries = 0;
    for entry in db.scan(options).expect("a scan") {
        black_box(entry.expect("an entry"));
        entries += 1;
    }
    entries
}

fn short(db: &Db, options: &ScanOptions) -> u64 {
    (0..2_000).map(|n| scan(db, options.clone().start(key(n * 7_919)).limit(SHORT))).sum()
}

fn main() {
    let db = filled(false);
    measure("in no order", || scan(&db, ScanOptions::new()));
    measure("collected and sorted", || scan(&db, ScanOptions::new().ordered(true)));
    measure("as of one moment, in no order", || scan(&db, ScanOptions::new().snapshot(true)));
    measure("as of one moment, sorted", || scan(&db, ScanOptions::new().snapshot(true).ordered(true)));
    drop(db);
    let db = filled(true);
    measure("ordered index, all", || scan(&db, ScanOptions::new().ordered(true)));
    measure("ordered index, all, reverse", || scan(&db, ScanOptions::new().reverse(true)));
    measure("ordered index, 100 from a random key", || short(&db, &ScanOptions::new()));
    measure("ordered index, 100 before a random key, reverse", || {
        (0..2_000).map(|n| scan(&db, ScanOptions::new().end(key(n * 7_919)).reverse(true).limit(SHORT))).sum()
    });
    measure("ordered index, as of one moment", || scan(&db, ScanOptions::new().snapshot(true).ordered(true)));
}
