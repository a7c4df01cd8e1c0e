//! The JSON mirror of the store, which stands beside its directory.

use crate::history::{read_all, Entries};
use kv::testing::{on, SimDisk};
use kv::{ManualClock, Options};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub const FILE: &str = "/people.json";

const COPY: &str = "/copy.json";

/// Contents of the file; `None`: there is none.
pub type Mirrors = BTreeSet<Option<Vec<u8>>>;

pub fn of(disk: &SimDisk) -> Option<Vec<u8>> {
    disk.read(Path::new(FILE))
}

/// What a store holds that has the file alone.
pub fn entries(text: Option<Vec<u8>>, now_ms: u64) -> Entries {
    let (disk, clock) = (SimDisk::new(), Arc::new(ManualClock::new(now_ms)));
    if let Some(text) = text {
        disk.write(Path::new(COPY), text).unwrap();
    }
    let options = Options::new().clock(clock).background(false).json_mirror(COPY);
    let db = on(options, &disk).in_memory().unwrap();
    let entries = read_all(&db);
    db.abandon();
    entries
}
