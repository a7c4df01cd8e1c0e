//! Text of hostile make, imported in all formats; what an import has taken, an export gives back.
#![no_main]

use kv::{Db, Format, ManualClock, Options, ScanOptions, TransferOptions};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fn exported(db: &Db) -> Vec<u8> {
    let mut text = Vec::new();
    db.export(&mut text, Format::Ndjson, ScanOptions::new().ordered(true)).expect("an export");
    text
}

/// Time stands still, or an entry would be there in one store and over in the next.
fn store() -> Db {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    Options::new().clock(clock).background(false).value_bytes_max(1 << 16).in_memory().expect("a store")
}

fuzz_target!(|data: &[u8]| {
    let [format, text @ ..] = data else { return };
    let format = match format % 4 {
        0 => Format::Ndjson,
        1 => Format::Json,
        2 => Format::Csv,
        _ => Format::Resp,
    };
    let db = store();
    let done = db.import(text, TransferOptions::new(format).skip_unknown(true));
    if let Ok(done) = done {
        assert!(db.len() as u64 <= done.entries);
    }
    let first = exported(&db);
    // Metadata and codecs, which CSV and RESP leave out, come from NDJSON and JSON alone.
    let forms = match format {
        Format::Ndjson | Format::Json => &[Format::Ndjson][..],
        _ => &[Format::Ndjson, Format::Csv, Format::Resp],
    };
    for form in forms {
        let (mut text, again) = (Vec::new(), store());
        db.export(&mut text, *form, ScanOptions::new()).expect("an export");
        again.import(&text[..], *form).expect("what was exported is imported");
        assert_eq!(exported(&again), first);
    }
});
