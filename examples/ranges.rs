//! Keys in order: from one to another, the last first, and all as of one moment.

use kv::{Entry, Options, ScanOptions};

fn show(what: &str, entries: impl Iterator<Item = kv::Result<Entry>>) -> kv::Result<()> {
    let entries: Vec<Entry> = entries.collect::<kv::Result<_>>()?;
    let texts = entries.iter().map(|entry| {
        format!("{}={}", String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value))
    });
    println!("{what}: {}", texts.collect::<Vec<_>>().join(" "));
    Ok(())
}

fn main() -> kv::Result<()> {
    // Worth its memory where scans are frequent; without it they give the same.
    let db = Options::new().ordered_index(true).in_memory()?;
    db.set_many(&[("05-02", "rain"), ("05-04", "sun"), ("05-03", "fog"), ("06-01", "sun")])?;

    show("from 05-03 on", db.scan(ScanOptions::new().start("05-03"))?)?;
    show("before 06", db.scan(ScanOptions::new().end("06"))?)?;
    show("the last in May", db.scan(ScanOptions::new().prefix("05-").reverse(true).limit(1))?)?;

    let snapshot = db.scan(ScanOptions::new().ordered(true).snapshot(true))?;
    db.set(b"05-02", b"snow")?;
    db.delete(b"06-01")?;
    show("as it was", snapshot)?;
    show("as it is", db.scan(ScanOptions::new().ordered(true))?)?;
    db.close()
}
