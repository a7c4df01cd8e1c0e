//! A small store on a simulated disk, whose files a target damages.
#![allow(dead_code)] // Each target uses its part.

use kv::testing::{on, SimDisk};
use kv::{Batch, Compression, Db, ManualClock, OpenMode, Options, Recover, ScanOptions, SetOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub const DIR: &str = "/store";

type Values = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

pub struct Template {
    disk: Arc<SimDisk>,
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Every value that each key ever had.
    written: Values,
}

fn options(disk: &Arc<SimDisk>) -> Options {
    let clock = Arc::new(ManualClock::new(1_000_000_000_000));
    let compression = Compression::Zstd { level: 1, threshold_bytes: 256 };
    on(Options::new().clock(clock).background(false).segment_bytes(64 << 10).compression(compression), disk)
}

/// Made once: several segments with sets, deletes, expiries, batches, compressed and large values; one is active.
pub fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let disk = SimDisk::new();
        let db = options(&disk).open(DIR).expect("a store");
        let mut written = Values::new();
        let mut write = |db: &Db, key: &[u8], value: &[u8], options: SetOptions| {
            db.set_with(key, value, options).expect("a set");
            written.entry(key.to_vec()).or_default().insert(value.to_vec());
        };
        for n in 0..300u32 {
            let key = format!("key {}", n % 20).into_bytes();
            let value = vec![n as u8; 50 + 13 * (n as usize % 40)];
            let ttl = Duration::from_secs(1 + u64::from(n));
            write(&db, &key, &value, if n % 7 == 0 { SetOptions::new().ttl(ttl) } else { SetOptions::new() });
            if n % 11 == 0 {
                db.delete(&key).expect("a delete");
            }
        }
        write(&db, b"large", &[7; 40_000], SetOptions::new());
        let mut batch = Batch::new();
        batch.set(*b"batch 1", *b"one").set(*b"batch 2", *b"two").delete(*b"key 3");
        db.apply(&batch).expect("a batch");
        written.entry(b"batch 1".to_vec()).or_default().insert(b"one".to_vec());
        written.entry(b"batch 2".to_vec()).or_default().insert(b"two".to_vec());
        // As a process leaves it that dies here.
        let disk = disk.copy();
        db.close().expect("a close");
        let names = disk.names(Path::new(DIR)).into_iter().map(|name| Path::new(DIR).join(name));
        let files = names.map(|path| (path.clone(), disk.read(&path).expect("a file"))).collect();
        Template { disk, files, written }
    })
}

impl Template {
    /// Opens a copy of the store in which `path` holds `bytes`, in each way, and reads everything: whatever is answered without
    /// an error must be something that was written, unless the bytes were `forged` with good checksums.
    pub fn open_with(&self, path: &Path, bytes: &[u8], mode: u8, forged: bool) {
        let disk = self.disk.copy();
        disk.write(path, bytes.to_vec()).expect("a file on a simulated disk");
        let options = match mode % 3 {
            0 => options(&disk),
            1 => options(&disk).recover(Recover::Salvage),
            _ => options(&disk).mode(OpenMode::ReadOnly),
        };
        let Ok(db) = options.open(DIR) else { return };
        for entry in db.scan(ScanOptions::new()).expect("a scan") {
            let Ok(entry) = entry else { continue };
            let known = self.written.get(&entry.key).is_some_and(|values| values.contains(&entry.value));
            assert!(forged || known, "{:?} was never written", entry.key);
        }
        // Writes may be refused where the damage forbids them.
        if db.set(b"new", b"value").is_ok() {
            assert_eq!(db.get(b"new").expect("a get").as_deref(), Some(&b"value"[..]));
        }
        let _ = db.compact();
        let _ = db.close();
    }
}
