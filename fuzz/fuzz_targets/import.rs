//! Text of hostile make, imported in all formats and loaded as a JSON mirror; what a store has taken, an export or its own mirror gives
//! back.
#![no_main]

use kv::testing::{on, SimDisk};
use kv::{Db, Error, Format, ManualClock, Options, ScanOptions, TransferOptions};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn exported(db: &Db) -> Vec<u8> {
    let mut text = Vec::new();
    db.export(&mut text, Format::Ndjson, ScanOptions::new().ordered(true)).expect("an export");
    text
}

/// Time stands still, or an entry would be there in one store and over in the next.
fn options() -> Options {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    Options::new().clock(clock).background(false).value_bytes_max(1 << 16)
}

fn store() -> Db {
    options().in_memory().expect("a store")
}

/// A file that cannot be taken is an error that names it, and stays as it is; what another one gives comes back from the store's own.
fn mirrored(text: &[u8]) {
    const FILE: &str = "/people.json";
    let disk = SimDisk::new();
    disk.write(Path::new(FILE), text.to_vec()).expect("a file");
    let open = || {
        let options = options().json_mirror(FILE).json_mirror_every(Duration::from_secs(86_400));
        on(options, &disk).in_memory()
    };
    let db = match open() {
        Ok(db) => db,
        Err(error) => {
            match &error {
                Error::Corrupt { path, .. } => assert_eq!(path, Path::new(FILE)),
                Error::KeyTooLong { .. } | Error::ValueTooLong { .. } => {}
                other => panic!("{other}"),
            }
            assert_eq!(disk.read(Path::new(FILE)).as_deref(), Some(text), "{error}");
            return;
        }
    };
    let first = exported(&db);
    // Something has to change, or the file is left as it is.
    let fresh = (0u64..).map(u64::to_le_bytes).find(|key| !db.contains(key).expect("a look")).expect("a key");
    db.set(&fresh, b"").expect("a write");
    db.delete(&fresh).expect("a delete");
    db.close().expect("a file that is written");
    assert_eq!(exported(&open().expect("its own file")), first);
}

fuzz_target!(|data: &[u8]| {
    let [format, text @ ..] = data else { return };
    let format = match format % 5 {
        0 => Format::Ndjson,
        1 => Format::Json,
        2 => Format::Csv,
        3 => Format::Resp,
        _ => return mirrored(text),
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
