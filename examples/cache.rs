//! A cache in memory: values that expire, one loader per key however many ask, and a limit on what is held.

use kv::{Db, Options, SetOptions};
use std::convert::Infallible;
use std::time::Duration;

fn main() -> kv::Result<()> {
    let db: Db = Options::new().default_ttl(Some(Duration::from_secs(300))).in_memory()?;
    let mut queries = 0;
    for _ in 0..3 {
        let name = db.get_or_load(b"user:7", SetOptions::new(), || {
            // Stands for a slow query.
            queries += 1;
            Ok::<_, Infallible>(Some(b"name of user:7".to_vec()))
        })?;
        println!("{}", String::from_utf8_lossy(&name.unwrap_or_default()));
    }
    println!("queries: {queries}");
    let soon =
        matches!(db.ttl(b"user:7")?, Some(kv::Ttl::Remaining(left)) if left <= Duration::from_secs(300));
    println!("expires within five minutes: {}", if soon { "yes" } else { "no" });
    db.close()?;

    // Holds a hundred entries, or a thousand lines; what nobody asks for goes.
    let lines = |_: &[u8], value: &[u8]| value.split(|byte| *byte == b'\n').count() as u32;
    let pages = Options::new().max_entries(Some(100)).max_bytes(Some(1000)).weigher(lines).in_memory()?;
    for n in 0..500 {
        pages.set(format!("page {n}").as_bytes(), b"one\ntwo\nthree")?;
    }
    let stats = pages.stats()?;
    println!("pages: {}, lines: {}, evicted: {}", stats.entries, stats.weight, stats.evicted);
    pages.close()
}
