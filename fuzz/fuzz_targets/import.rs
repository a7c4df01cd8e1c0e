//! Text of hostile make, imported in both formats; what an import has taken, an export gives back.
#![no_main]

use kv::{Db, Format, Options, ScanOptions};
use libfuzzer_sys::fuzz_target;

fn exported(db: &Db) -> Vec<u8> {
    let mut text = Vec::new();
    db.export(&mut text, Format::Ndjson, ScanOptions::new().ordered(true)).expect("an export");
    text
}

fn store() -> Db {
    Options::new().background(false).value_bytes_max(1 << 16).in_memory().expect("a store")
}

fuzz_target!(|data: &[u8]| {
    let [format, text @ ..] = data else { return };
    let format = if format % 2 == 0 { Format::Ndjson } else { Format::Json };
    let db = store();
    let done = db.import(text, format, |_| {});
    if let Ok(done) = done {
        assert!(db.len() as u64 <= done.entries);
    }
    let first = exported(&db);
    let again = store();
    again.import(&first[..], Format::Ndjson, |_| {}).expect("what was exported is imported");
    assert_eq!(exported(&again), first);
});
