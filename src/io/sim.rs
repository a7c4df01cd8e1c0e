//! A disk in memory that can lose power: the twin of the real one, for tests.
//!
//! Files are memory that any number of maps share, so the engine runs on it unchanged. Beside what the system sees, each
//! file has what is surely on the disk, taken over by `sync`, and each directory the names that `sync_dir` has made
//! durable. An *image* is what another boot may find: each sector that was not synced is old or new, each name that was
//! not synced is there or not.

use super::{Access, Disk, Entry, File, Identity, LockAttempt, LockKind, Map};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;

/// A file operation that can be watched, and made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// A file is made.
    Create,
    /// A file is opened.
    Open,
    /// A name is removed.
    Remove,
    /// A file gets another name.
    Rename,
    /// A directory is synced.
    SyncDir,
    /// A file is synced.
    Sync,
    /// Bytes are written, not through a map.
    Write,
    /// A file is cut or grown.
    Truncate,
    /// A file is mapped.
    Map,
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call has had no effect yet.
    Before,
    /// The call has had its effect and has not returned.
    After,
}

/// What an image takes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// Nothing.
    Nothing,
    /// All of it: as if every page had just been written.
    Everything,
    /// Each sector and name at random, with this chance in percent.
    Percent(u64),
    /// Of each file the last sector alone.
    LastSector,
    /// Of each file the first page, where headers and cells stand, and every name.
    FirstPage,
    /// Every sector, and no name.
    DataWithoutNames,
    /// Every name, and no sector.
    NamesWithoutData,
}

type Hook = Arc<dyn Fn(Call, Moment) + Send + Sync>;

/// Makes calls fail.
#[derive(Debug, Clone, Copy)]
struct Failure {
    call: Call,
    errno: i32,
    skip: u64,
    times: u64,
}

/// xorshift64*: an image is the same for the same seed.
struct Rng(u64);

impl Rng {
    fn percent(&mut self, percent: u64) -> bool {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % 100 < percent
    }
}

struct Inode {
    number: u64,
    memory: std::fs::File,
    kept: Mutex<Kept>,
    handles: AtomicUsize,
}

#[derive(Default)]
struct Kept {
    /// What is surely on the disk.
    durable: Vec<u8>,
    /// What the system believes to be there: after a failed sync more than is (P7).
    clean: Vec<u8>,
}

#[derive(Clone)]
enum NameChange {
    Link(OsString, Arc<Inode>),
    Unlink(OsString),
    Rename(OsString, OsString, Arc<Inode>),
}

type Names = BTreeMap<OsString, Arc<Inode>>;

#[derive(Default)]
struct Dir {
    names: Names,
    durable: Names,
    /// Changes since the last `sync_dir`, in order.
    unsynced: Vec<NameChange>,
}

#[derive(Default)]
struct State {
    dirs: BTreeMap<PathBuf, Dir>,
    inodes: Vec<Weak<Inode>>,
    inodes_made: u64,
    locks: BTreeMap<PathBuf, Vec<LockKind>>,
    failures: Vec<Failure>,
    capacity_bytes: Option<u64>,
}

/// See the module.
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
    boot: u64,
    images: AtomicU64,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sectors(bytes: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..bytes).step_by(SECTOR_BYTES).map(move |at| at..(at + SECTOR_BYTES).min(bytes))
}

/// A part of a file, with zeros where the file does not reach.
fn part(of: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = of.get(range.start.min(of.len())..range.end.min(of.len())).unwrap_or_default().to_vec();
    bytes.resize(range.len(), 0);
    bytes
}

impl Inode {
    fn new(number: u64, content: Vec<u8>) -> Result<Inode> {
        // SAFETY: a plain system call with a string that ends in NUL.
        let descriptor = unsafe { libc::memfd_create(c"kv-sim".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let memory = unsafe { std::fs::File::from_raw_fd(descriptor) };
        memory.write_all_at(&content, 0)?;
        let kept = Mutex::new(Kept { clean: content.clone(), durable: content });
        Ok(Inode { number, memory, kept, handles: AtomicUsize::new(0) })
    }

    fn bytes(&self) -> u64 {
        self.memory.metadata().map_or(0, |meta| meta.len())
    }

    fn content(&self) -> Vec<u8> {
        let mut all = vec![0; self.bytes() as usize];
        // A memory file gives what it has.
        let _ = self.memory.read_exact_at(&mut all, 0);
        all
    }

    /// Takes what the system believes to be dirty over to the disk, where `takes` says so.
    fn write_out(&self, mut takes: impl FnMut() -> bool) {
        let now = self.content();
        let mut kept = lock(&self.kept);
        let kept = &mut *kept;
        if takes() || kept.durable.len() == now.len() {
            kept.durable.resize(now.len(), 0);
            kept.clean.resize(now.len(), 0);
        }
        for range in sectors(now.len().min(kept.durable.len())) {
            let new = part(&now, range.clone());
            if part(&kept.clean, range.clone()) != new && takes() {
                for of in [&mut kept.durable, &mut kept.clean] {
                    if let Some(to) = of.get_mut(range.clone()) {
                        to.copy_from_slice(&new);
                    }
                }
            }
        }
    }

    fn image(&self, choice: Choice, rng: &mut Rng) -> Vec<u8> {
        let (now, kept) = (self.content(), lock(&self.kept));
        let mut takes = |range: &std::ops::Range<usize>, last: usize| match choice {
            Choice::Nothing | Choice::NamesWithoutData => false,
            Choice::Everything | Choice::DataWithoutNames => true,
            Choice::Percent(percent) => rng.percent(percent),
            Choice::LastSector => range.start == last,
            Choice::FirstPage => range.end <= PAGE_BYTES,
        };
        let has_new_length = now.len() == kept.durable.len() || takes(&(0..0), usize::MAX);
        let len = if has_new_length { now.len() } else { kept.durable.len() };
        let differs =
            |range: &std::ops::Range<usize>| part(&kept.durable, range.clone()) != part(&now, range.clone());
        let last = sectors(len).filter(|range| differs(range)).last().map_or(usize::MAX, |range| range.start);
        let mut image = part(&kept.durable, 0..len);
        for range in sectors(len.min(now.len())) {
            if differs(&range) && takes(&range, last) {
                let new = part(&now, range.clone());
                if let Some(to) = image.get_mut(range) {
                    to.copy_from_slice(&new);
                }
            }
        }
        image
    }
}

fn apply(names: &mut Names, change: &NameChange) {
    match change.clone() {
        NameChange::Link(name, inode) => drop(names.insert(name, inode)),
        NameChange::Unlink(name) => drop(names.remove(&name)),
        NameChange::Rename(from, to, inode) => {
            names.remove(&from);
            names.insert(to, inode);
        }
    }
}

fn split(path: &Path) -> Result<(&Path, OsString)> {
    path.parent()
        .zip(path.file_name())
        .map(|(dir, name)| (dir, name.to_owned()))
        .ok_or(ErrorKind::NotFound.into())
}

impl State {
    fn dir(&mut self, path: &Path) -> Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or(ErrorKind::NotFound.into())
    }

    fn change(&mut self, dir: &Path, change: NameChange) -> Result<()> {
        let dir = self.dir(dir)?;
        apply(&mut dir.names, &change);
        dir.unsynced.push(change);
        Ok(())
    }

    fn find(&mut self, path: &Path) -> Result<Arc<Inode>> {
        let (dir, name) = split(path)?;
        self.dir(dir)?.names.get(&name).cloned().ok_or(ErrorKind::NotFound.into())
    }

    fn used_bytes(&mut self) -> u64 {
        self.inodes.retain(|inode| inode.strong_count() > 0);
        let inodes: Vec<Arc<Inode>> = self.inodes.iter().filter_map(Weak::upgrade).collect();
        let is_named = |inode: &Arc<Inode>| {
            self.dirs.values().any(|dir| dir.names.values().any(|named| Arc::ptr_eq(named, inode)))
        };
        // Relaxed: counts handles of files, whose holders this thread has met.
        let holds = |inode: &&Arc<Inode>| inode.handles.load(Ordering::Relaxed) > 0 || is_named(inode);
        inodes.iter().filter(holds).map(|inode| inode.bytes()).sum()
    }

    fn take_room(&mut self, bytes: u64) -> Result<()> {
        let Some(capacity_bytes) = self.capacity_bytes else { return Ok(()) };
        if self.used_bytes().saturating_add(bytes) > capacity_bytes {
            return Err(Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    fn add(&mut self, content: Vec<u8>, durable: Kept) -> Result<Arc<Inode>> {
        self.inodes_made += 1;
        let inode = Arc::new(Inode::new(self.inodes_made, content)?);
        *lock(&inode.kept) = durable;
        self.inodes.push(Arc::downgrade(&inode));
        Ok(inode)
    }

    fn fail_if_asked(&mut self, call: Call) -> Result<()> {
        for failure in self.failures.iter_mut().filter(|failure| failure.call == call) {
            if failure.skip > 0 {
                failure.skip -= 1;
            } else if failure.times > 0 {
                failure.times -= 1;
                return Err(Error::from_raw_os_error(failure.errno));
            }
        }
        Ok(())
    }
}

impl SimDisk {
    /// An empty one.
    #[allow(clippy::new_ret_no_self)] // A disk is always shared.
    pub fn new() -> Arc<SimDisk> {
        Arc::new(SimDisk { state: Arc::default(), hook: Arc::default(), boot: 1, images: AtomicU64::new(0) })
    }

    /// What is found when power is lost now and the machine starts again.
    pub fn image(&self, choice: Choice, seed: u64) -> Arc<SimDisk> {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let state = lock(&self.state);
        let mut image = State { inodes_made: state.inodes_made, ..State::default() };
        for (path, dir) in &state.dirs {
            let mut names = dir.durable.clone();
            for change in &dir.unsynced {
                let takes = match choice {
                    Choice::Nothing | Choice::DataWithoutNames => false,
                    Choice::Percent(percent) => rng.percent(percent),
                    _ => true,
                };
                if takes {
                    apply(&mut names, change);
                }
            }
            let mut found = Dir::default();
            for (name, inode) in names {
                let content = inode.image(choice, &mut rng);
                if let Ok(mut copy) = Inode::new(inode.number, content) {
                    copy.number = inode.number;
                    let copy = Arc::new(copy);
                    image.inodes.push(Arc::downgrade(&copy));
                    found.names.insert(name, copy);
                }
            }
            found.durable = found.names.clone();
            image.dirs.insert(path.clone(), found);
        }
        // Relaxed: only differs from one image to the next.
        let boot = self.boot * 1_000_003 + 1 + self.images.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(Mutex::new(image));
        Arc::new(SimDisk { state, hook: Arc::default(), boot, images: AtomicU64::new(0) })
    }

    /// The same files once more, for a process on the same boot.
    pub fn copy(&self) -> Arc<SimDisk> {
        let image = self.image(Choice::Everything, 0);
        let (state, hook) = (Arc::clone(&image.state), Arc::clone(&image.hook));
        Arc::new(SimDisk { state, hook, boot: self.boot, images: AtomicU64::new(0) })
    }

    /// Removes a file, durably.
    pub fn delete(&self, path: &Path) -> Result<()> {
        let (dir, name) = split(path)?;
        let mut state = lock(&self.state);
        let dir = state.dir(dir)?;
        dir.durable.remove(&name);
        dir.names.remove(&name).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    /// Writes each dirty sector to the disk with a chance in percent, as the system does when it likes.
    pub fn write_back(&self, percent: u64, seed: u64) {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let state = lock(&self.state);
        for inode in state.inodes.iter().filter_map(Weak::upgrade) {
            inode.write_out(|| rng.percent(percent));
        }
    }

    /// Calls `hook` before and after each call that changes the disk or makes something durable.
    pub fn watch(&self, hook: impl Fn(Call, Moment) + Send + Sync + 'static) {
        *lock(&self.hook) = Some(Arc::new(hook));
    }

    /// Stops watching.
    pub fn unwatch(&self) {
        *lock(&self.hook) = None;
    }

    /// Lets `times` calls fail after `skip` more that go well.
    pub fn fail(&self, call: Call, errno: i32, skip: u64, times: u64) {
        lock(&self.state).failures.push(Failure { call, errno, skip, times });
    }

    /// Lets no call fail any more.
    pub fn heal(&self) {
        lock(&self.state).failures.clear();
    }

    /// Limits what all files may take together.
    pub fn limit(&self, capacity_bytes: Option<u64>) {
        lock(&self.state).capacity_bytes = capacity_bytes;
    }

    /// Bytes that files take, those included that have no name any more and are still open.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.state).used_bytes()
    }

    /// The names in a directory, in order.
    pub fn names(&self, dir: &Path) -> Vec<PathBuf> {
        let mut state = lock(&self.state);
        state.dir(dir).map_or(Vec::new(), |dir| dir.names.keys().map(PathBuf::from).collect())
    }

    /// A file's bytes.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        Some(lock(&self.state).find(path).ok()?.content())
    }

    /// Puts a durable file of these bytes in a path's place, as the same inode where there is one.
    pub fn write(&self, path: &Path, bytes: Vec<u8>) -> Result<()> {
        let (dir, name) = split(path)?;
        let mut state = lock(&self.state);
        let kept = || Kept { durable: bytes.clone(), clean: bytes.clone() };
        if let Ok(inode) = state.find(path) {
            inode.memory.set_len(bytes.len() as u64)?;
            inode.memory.write_all_at(&bytes, 0)?;
            *lock(&inode.kept) = kept();
            return Ok(());
        }
        let inode = state.add(bytes.clone(), kept())?;
        let dir = state.dir(dir)?;
        dir.names.insert(name.clone(), Arc::clone(&inode));
        dir.durable.insert(name, inode);
        Ok(())
    }

    fn tell(&self, call: Call, moment: Moment) {
        let hook = lock(&self.hook).clone();
        if let Some(hook) = hook {
            hook(call, moment);
        }
    }

    /// Runs a call under the disk's lock, so that an image is of one moment.
    fn run<T>(&self, call: Call, effect: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.tell(call, Moment::Before);
        let result = {
            let mut state = lock(&self.state);
            state.fail_if_asked(call).and_then(|()| effect(&mut state))
        };
        self.tell(call, Moment::After);
        result
    }

    fn handle(&self, inode: Arc<Inode>) -> Box<dyn File> {
        // Relaxed: a count.
        inode.handles.fetch_add(1, Ordering::Relaxed);
        let disk = SimDisk {
            state: Arc::clone(&self.state),
            hook: Arc::clone(&self.hook),
            boot: self.boot,
            images: AtomicU64::new(0),
        };
        Box::new(SimFile { inode, disk })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn File>> {
        let (dir, name) = split(path)?;
        let inode = self.run(Call::Create, |state| {
            if state.find(path).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.take_room(bytes)?;
            let inode = state.add(vec![0; bytes as usize], Kept::default())?;
            state.change(dir, NameChange::Link(name, Arc::clone(&inode)))?;
            Ok(inode)
        })?;
        Ok(self.handle(inode))
    }

    fn open(&self, path: &Path, _access: Access) -> Result<Box<dyn File>> {
        let inode = self.run(Call::Open, |state| state.find(path))?;
        Ok(self.handle(inode))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let (dir, name) = split(path)?;
        self.run(Call::Remove, |state| {
            state.find(path)?;
            state.change(dir, NameChange::Unlink(name))
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (dir, from_name) = split(from)?;
        let (_, to_name) = split(to)?;
        self.run(Call::Rename, |state| {
            let inode = state.find(from)?;
            state.change(dir, NameChange::Rename(from_name, to_name, inode))
        })
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        let mut state = lock(&self.state);
        let names = state.dir(dir)?.names.keys().map(|name| Entry { name: name.clone(), is_file: true });
        Ok(names.collect())
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        lock(&self.state).dirs.entry(dir.to_path_buf()).or_default();
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.run(Call::SyncDir, |state| {
            let dir = state.dir(dir)?;
            dir.durable = dir.names.clone();
            dir.unsynced.clear();
            Ok(())
        })
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<LockAttempt> {
        let mut state = lock(&self.state);
        let holders = state.locks.entry(path.to_path_buf()).or_default();
        let is_free = match kind {
            LockKind::Exclusive => holders.is_empty(),
            LockKind::Shared => !holders.contains(&LockKind::Exclusive),
        };
        if !is_free {
            return Ok(LockAttempt::Taken(Some(std::process::id())));
        }
        holders.push(kind);
        Ok(LockAttempt::Held(Box::new(Held {
            state: Arc::clone(&self.state),
            path: path.to_path_buf(),
            kind,
        })))
    }

    fn boot_id(&self) -> Result<[u8; 16]> {
        Ok(u128::from(self.boot).to_le_bytes())
    }
}

struct Held {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    kind: LockKind,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(holders) = lock(&self.state).locks.get_mut(&self.path) {
            if let Some(at) = holders.iter().position(|kind| *kind == self.kind) {
                holders.swap_remove(at);
            }
        }
    }
}

struct SimFile {
    inode: Arc<Inode>,
    disk: SimDisk,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // Relaxed: a count.
        self.inode.handles.fetch_sub(1, Ordering::Relaxed);
    }
}

impl File for SimFile {
    fn bytes(&self) -> Result<u64> {
        Ok(self.inode.bytes())
    }

    fn identity(&self) -> Result<Identity> {
        Ok(Identity { device: 1, inode: self.inode.number })
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        self.inode.memory.read_exact_at(to, offset)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        self.disk.run(Call::Write, |state| {
            state.take_room((offset + from.len() as u64).saturating_sub(self.inode.bytes()))?;
            self.inode.memory.write_all_at(from, offset)
        })
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        self.disk.run(Call::Truncate, |_| self.inode.memory.set_len(bytes))
    }

    fn sync(&self) -> Result<()> {
        self.disk.tell(Call::Sync, Moment::Before);
        let result = {
            let mut state = lock(&self.disk.state);
            let result = state.fail_if_asked(Call::Sync);
            if result.is_ok() {
                self.inode.write_out(|| true);
            } else {
                // What the kernel does: the pages count as clean, and no later sync writes them.
                lock(&self.inode.kept).clean = self.inode.content();
            }
            result
        };
        self.disk.tell(Call::Sync, Moment::After);
        result
    }

    fn map(&self) -> Result<Map> {
        self.disk.run(Call::Map, |_| Map::of_file(&self.inode.memory, self.inode.bytes() as usize))
    }

    fn map_read_only(&self) -> Result<Map> {
        self.disk.run(Call::Map, |_| Map::of_file_read_only(&self.inode.memory, self.inode.bytes() as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: &str = "d";

    fn disk_with(name: &str, bytes: u64) -> (Arc<SimDisk>, Box<dyn File>, PathBuf) {
        let disk = SimDisk::new();
        disk.create_dir(Path::new(DIR)).unwrap();
        let path = Path::new(DIR).join(name);
        let file = disk.create(&path, bytes).unwrap();
        (disk, file, path)
    }

    #[test]
    fn what_was_synced_is_in_every_image_and_the_rest_only_where_it_is_taken() {
        let (disk, file, path) = disk_with("a", 8192);
        let map = file.map().unwrap();
        map.word(0).unwrap().store(1, Ordering::Release);
        file.sync().unwrap();
        assert!(disk.image(Choice::Nothing, 1).read(&path).is_none(), "the name is not synced");
        disk.sync_dir(Path::new(DIR)).unwrap();
        map.word(0).unwrap().store(2, Ordering::Release);
        map.word(4096).unwrap().store(3, Ordering::Release);
        let first = |image: Arc<SimDisk>| {
            let bytes = image.read(&path).unwrap();
            (bytes[0], bytes[4096])
        };
        assert_eq!(first(disk.image(Choice::Nothing, 1)), (1, 0));
        assert_eq!(first(disk.image(Choice::Everything, 1)), (2, 3));
        assert_eq!(first(disk.image(Choice::LastSector, 1)), (1, 3));
        assert_eq!(first(disk.image(Choice::FirstPage, 1)), (2, 0));
        let seen: std::collections::BTreeSet<_> =
            (0..50).map(|seed| first(disk.image(Choice::Percent(50), seed))).collect();
        assert_eq!(seen.len(), 4, "each sector on its own: {seen:?}");
        assert_ne!(disk.image(Choice::Nothing, 1).boot_id().unwrap(), disk.boot_id().unwrap());
    }

    #[test]
    fn a_failed_sync_leaves_pages_that_no_later_sync_writes() {
        let (disk, file, path) = disk_with("a", 4096);
        file.sync().unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        file.map().unwrap().word(0).unwrap().store(1, Ordering::Release);
        disk.fail(Call::Sync, libc::EIO, 0, 1);
        assert!(file.sync().is_err() && file.sync().is_ok());
        assert_eq!(disk.image(Choice::Nothing, 1).read(&path).unwrap()[0], 0);
    }

    #[test]
    fn a_full_disk_refuses_until_something_goes() {
        let (disk, file, path) = disk_with("a", 4096);
        disk.limit(Some(8192));
        let other = Path::new(DIR).join("b");
        assert!(disk.create(&other, 8192).is_err());
        disk.remove(&path).unwrap();
        assert!(disk.create(&other, 8192).is_err(), "an open file keeps its space");
        drop(file);
        assert!(disk.create(&other, 8192).is_ok());
    }
}
