//! What is open on the simulated disk: files, directories and locks, each of which takes a descriptor; and files that are mapped.

use super::inode::Inode;
use super::{lock, Call, Moment, SimDisk, State};
use crate::io::{File, Identity, LockKind, Map, OpenDir};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Given back when it goes.
pub(super) struct Descriptor {
    pub(super) state: Arc<Mutex<State>>,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        lock(&self.state).descriptors -= 1;
    }
}

pub(super) struct Held {
    descriptor: Descriptor,
    path: PathBuf,
    kind: LockKind,
}

impl Held {
    pub(super) fn new(descriptor: Descriptor, path: PathBuf, kind: LockKind) -> Held {
        Held { descriptor, path, kind }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(holders) = lock(&self.descriptor.state).locks.get_mut(&self.path) {
            if let Some(at) = holders.iter().position(|kind| *kind == self.kind) {
                holders.swap_remove(at);
            }
        }
    }
}

pub(super) struct SimDir {
    path: PathBuf,
    disk: SimDisk,
    _descriptor: Descriptor,
}

impl SimDir {
    pub(super) fn open(path: PathBuf, disk: SimDisk, descriptor: Descriptor) -> SimDir {
        SimDir { path, disk, _descriptor: descriptor }
    }
}

impl OpenDir for SimDir {
    fn sync(&self) -> Result<()> {
        self.disk.run(Call::SyncDir, |state| {
            let synced = state.dir(&self.path)?;
            synced.durable = synced.names.clone();
            synced.unsynced.clear();
            let dir = if self.path == Path::new(".") { Path::new("") } else { &self.path };
            for (path, below) in &mut state.dirs {
                below.is_durable |= path.parent() == Some(dir);
            }
            Ok(())
        })
    }
}

/// A share of a file, which keeps its space.
struct Share(Arc<Inode>);

impl Share {
    fn of(inode: &Arc<Inode>) -> Share {
        // Relaxed: a count.
        inode.shares.fetch_add(1, Ordering::Relaxed);
        Share(Arc::clone(inode))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Relaxed: a count.
        self.0.shares.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct SimFile {
    inode: Share,
    disk: SimDisk,
    /// `None` of one that a map keeps.
    _descriptor: Option<Descriptor>,
}

impl SimFile {
    pub(super) fn open(inode: Arc<Inode>, disk: SimDisk, descriptor: Descriptor) -> SimFile {
        SimFile { inode: Share::of(&inode), disk, _descriptor: Some(descriptor) }
    }

    fn inode(&self) -> &Inode {
        &self.inode.0
    }

    fn mapped(&self, map: Map) -> Map {
        let (inode, disk) = (Share::of(&self.inode.0), self.disk.share());
        map.keeping(Box::new(SimFile { inode, disk, _descriptor: None }))
    }
}

impl File for SimFile {
    fn bytes(&self) -> Result<u64> {
        self.disk.run(Call::Stat, |_| Ok(self.inode().bytes()))
    }

    fn identity(&self) -> Result<Identity> {
        self.disk.run(Call::Stat, |_| Ok(Identity { device: 1, inode: self.inode().number }))
    }

    fn read_some(&self, offset: u64, to: &mut [u8]) -> Result<usize> {
        self.disk.run_some(Call::Read, to.len(), |_, len| {
            self.inode().memory.read_at(to.get_mut(..len).unwrap_or_default(), offset)
        })
    }

    fn write_some(&self, offset: u64, from: &[u8]) -> Result<usize> {
        self.disk.run_some(Call::Write, from.len(), |state, len| {
            state.take_room((offset + len as u64).saturating_sub(self.inode().bytes()))?;
            lock(&self.inode().kept).note_overwritten(offset, len);
            self.inode().memory.write_at(from.get(..len).unwrap_or_default(), offset)
        })
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        self.disk.run(Call::Truncate, |_| self.inode().memory.set_len(bytes))
    }

    // Nobody else is there.
    fn mode(&self) -> Result<u32> {
        Ok(0o600)
    }

    fn set_mode(&self, _mode: u32) -> Result<()> {
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.disk.tell(Call::Sync, Moment::Before);
        let result = {
            let mut state = lock(&self.disk.state);
            let result = state.begin(Call::Sync).map(drop);
            match &result {
                Ok(()) => self.inode().sync(),
                // A signal came first, and everything is as dirty as it was.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.inode().lose(),
            }
            result
        };
        self.disk.tell(Call::Sync, Moment::After);
        result
    }

    fn map(&self) -> Result<Map> {
        let map = |_: &mut State| Map::of_file(&self.inode().memory, self.inode().bytes() as usize);
        self.disk.run(Call::Map, map).map(|map| self.mapped(map))
    }

    fn map_read_only(&self) -> Result<Map> {
        let map = |_: &mut State| Map::of_file_read_only(&self.inode().memory, self.inode().bytes() as usize);
        self.disk.run(Call::Map, map).map(|map| self.mapped(map))
    }
}
