//! What a disk that fails may cost: an operation, never what was acknowledged (P7).

use super::Db;
use crate::io::{Access, Disk, Entry, File, Identity, LockAttempt, LockKind, Map, OsDisk};
use crate::options::Options;
use std::io::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The real disk, but for manifests, whose sync fails on demand.
#[derive(Default)]
struct UnsyncedManifests(Arc<AtomicBool>);

struct Faulty {
    file: Box<dyn File>,
    fails: Option<Arc<AtomicBool>>,
}

impl UnsyncedManifests {
    fn wrap(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        let is_manifest = path.to_string_lossy().contains("MANIFEST-");
        Box::new(Faulty { file, fails: is_manifest.then(|| Arc::clone(&self.0)) })
    }
}

impl Disk for UnsyncedManifests {
    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn File>> {
        Ok(self.wrap(path, OsDisk.create(path, bytes)?))
    }
    fn open(&self, path: &Path, access: Access) -> Result<Box<dyn File>> {
        Ok(self.wrap(path, OsDisk.open(path, access)?))
    }
    fn remove(&self, path: &Path) -> Result<()> {
        OsDisk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        OsDisk.rename(from, to)
    }
    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        OsDisk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> Result<()> {
        OsDisk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        OsDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path, kind: LockKind) -> Result<LockAttempt> {
        OsDisk.lock(path, kind)
    }
    fn boot_id(&self) -> Result<[u8; 16]> {
        OsDisk.boot_id()
    }
}

impl File for Faulty {
    fn bytes(&self) -> Result<u64> {
        self.file.bytes()
    }
    fn identity(&self) -> Result<Identity> {
        self.file.identity()
    }
    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, to)
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.file.write_at(offset, from)
    }
    fn truncate(&self, bytes: u64) -> Result<()> {
        self.file.truncate(bytes)
    }
    fn sync(&self) -> Result<()> {
        if self.fails.as_ref().is_some_and(|fails| fails.load(Ordering::SeqCst)) {
            return Err(Error::from_raw_os_error(libc::EIO));
        }
        self.file.sync()
    }
    fn map(&self) -> Result<Map> {
        self.file.map()
    }
    fn map_read_only(&self) -> Result<Map> {
        self.file.map_read_only()
    }
}

fn options(disk: Arc<UnsyncedManifests>) -> Options {
    Options::new().segment_bytes(64 << 10).background(false).sync(crate::Sync::Never).disk(disk)
}

#[test]
fn a_store_whose_manifest_could_not_be_synced_while_it_ran_opens_again_with_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(UnsyncedManifests::default());
    let db: Db = options(disk.clone()).open(dir.path()).unwrap();
    db.set(b"first", b"1").unwrap();
    disk.0.store(true, Ordering::SeqCst);
    let mut acknowledged = 0u32;
    while db.set(&acknowledged.to_be_bytes(), &[7; 1000]).is_ok() {
        acknowledged += 1;
    }
    assert!(db.close().is_err());
    drop(db);
    disk.0.store(false, Ordering::SeqCst);
    let db = options(disk).open(dir.path()).unwrap();
    assert!(db.contains(b"first").unwrap());
    for n in 0..acknowledged {
        assert!(db.contains(&n.to_be_bytes()).unwrap(), "lost {n} of {acknowledged}");
    }
}

#[test]
fn an_open_whose_manifest_could_not_be_synced_costs_nothing_but_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(UnsyncedManifests::default());
    let db: Db = options(disk.clone()).open(dir.path()).unwrap();
    db.set(b"k", b"v").unwrap();
    db.abandon();
    drop(db);
    disk.0.store(true, Ordering::SeqCst);
    assert!(options(disk.clone()).open(dir.path()).is_err());
    disk.0.store(false, Ordering::SeqCst);
    let db = options(disk).open(dir.path()).unwrap();
    assert_eq!(db.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}
