//! A disk in memory that can lose power and fail: the twin of the real one, for tests.
//!
//! Files are memory that any number of maps share, so the engine runs on it unchanged. Beside what the system sees, each
//! file has what is surely on the disk, taken over by `sync`, and each directory the names that `sync_dir` has made
//! durable. An *image* is what another boot may find: each sector, length and name that was not synced is old or new,
//! each on its own.

mod handles;
mod image;
mod inode;
#[cfg(test)]
mod tests;

pub use image::{Choice, Image};

use super::{Access, Disk, Entry, File, LockAttempt, LockKind, OpenDir};
use handles::{Descriptor, Held, SimDir, SimFile};
use image::Rng;
use inode::{Inode, Kept};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A file operation that can be watched, and made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// A file is made.
    Create,
    /// A file or directory is opened.
    Open,
    /// A name is removed.
    Remove,
    /// A file gets another name.
    Rename,
    /// A directory is made.
    CreateDir,
    /// A directory is read.
    List,
    /// A directory is synced.
    SyncDir,
    /// A file is synced.
    Sync,
    /// Bytes are read, not through a map.
    Read,
    /// Bytes are written, not through a map.
    Write,
    /// A file's length or identity is asked for.
    Stat,
    /// A file is cut or grown.
    Truncate,
    /// A file is mapped.
    Map,
    /// The store is locked.
    Lock,
    /// The machine is asked for its boot id.
    BootId,
}

impl Call {
    /// Each of them.
    pub const ALL: [Call; 15] = [
        Call::Create,
        Call::Open,
        Call::Remove,
        Call::Rename,
        Call::CreateDir,
        Call::List,
        Call::SyncDir,
        Call::Sync,
        Call::Read,
        Call::Write,
        Call::Stat,
        Call::Truncate,
        Call::Map,
        Call::Lock,
        Call::BootId,
    ];
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call has had no effect yet.
    Before,
    /// The call has had its effect and has not returned.
    After,
}

type Hook = Arc<dyn Fn(Call, Moment) + Send + Sync>;

/// Makes calls fail, or read and write less than they were asked to.
#[derive(Debug, Clone, Copy)]
struct Failure {
    call: Call,
    /// `None`: the call is cut short.
    errno: Option<i32>,
    skip: u64,
    times: u64,
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
    /// The directory above was synced since this one was made.
    is_durable: bool,
}

struct State {
    dirs: BTreeMap<PathBuf, Dir>,
    inodes: Vec<Weak<Inode>>,
    inodes_made: u64,
    locks: BTreeMap<PathBuf, Vec<LockKind>>,
    failures: Vec<Failure>,
    failed: u64,
    calls: BTreeMap<Call, u64>,
    capacity_bytes: Option<u64>,
    descriptors: u64,
    descriptors_max: Option<u64>,
}

impl Default for State {
    fn default() -> State {
        let root = || Dir { is_durable: true, ..Dir::default() };
        State {
            dirs: BTreeMap::from([(PathBuf::new(), root()), (PathBuf::from("/"), root())]),
            inodes: Vec::new(),
            inodes_made: 0,
            locks: BTreeMap::new(),
            failures: Vec::new(),
            failed: 0,
            calls: BTreeMap::new(),
            capacity_bytes: None,
            descriptors: 0,
            descriptors_max: None,
        }
    }
}

/// See the module.
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Hook>>>,
    boot: u64,
}

/// Another start of a machine.
fn next_boot() -> u64 {
    static BOOTS: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only uniqueness counts.
    BOOTS.fetch_add(1, Ordering::Relaxed)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn split(path: &Path) -> Result<(&Path, OsString)> {
    path.parent()
        .zip(path.file_name())
        .map(|(dir, name)| (dir, name.to_owned()))
        .ok_or(ErrorKind::NotFound.into())
}

impl State {
    fn dir(&mut self, path: &Path) -> Result<&mut Dir> {
        // "." is how the engine names the directory above a relative path.
        let path = if path == Path::new(".") { Path::new("") } else { path };
        self.dirs.get_mut(path).ok_or(ErrorKind::NotFound.into())
    }

    fn change(&mut self, dir: &Path, change: NameChange) -> Result<()> {
        let dir = self.dir(dir)?;
        change.apply(&mut dir.names);
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
        // Relaxed: counts shares of files, whose holders this thread has met.
        let holds = |inode: &&Arc<Inode>| inode.shares.load(Ordering::Relaxed) > 0 || is_named(inode);
        inodes.iter().filter(holds).map(|inode| inode.bytes()).sum()
    }

    fn take_room(&mut self, bytes: u64) -> Result<()> {
        let Some(capacity_bytes) = self.capacity_bytes else { return Ok(()) };
        if self.used_bytes().saturating_add(bytes) > capacity_bytes {
            return Err(Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    /// Fails where no descriptor is left; a call takes it once it has succeeded.
    fn need_descriptor(&self) -> Result<()> {
        match self.descriptors_max {
            Some(max) if self.descriptors >= max => Err(Error::from_raw_os_error(libc::EMFILE)),
            _ => Ok(()),
        }
    }

    fn add(&mut self, content: Arc<Vec<u8>>) -> Result<Arc<Inode>> {
        self.inodes_made += 1;
        let inode = Arc::new(Inode::new(self.inodes_made, content)?);
        self.inodes.push(Arc::downgrade(&inode));
        Ok(inode)
    }

    /// Counts a call and lets it fail if it has to; whether it is to be cut short.
    fn begin(&mut self, call: Call) -> Result<bool> {
        *self.calls.entry(call).or_default() += 1;
        for failure in self.failures.iter_mut().filter(|failure| failure.call == call) {
            if failure.skip > 0 {
                failure.skip -= 1;
            } else if failure.times > 0 {
                failure.times -= 1;
                self.failed += 1;
                return failure.errno.map_or(Ok(true), |errno| Err(Error::from_raw_os_error(errno)));
            }
        }
        Ok(false)
    }
}

impl SimDisk {
    /// An empty one.
    #[allow(clippy::new_ret_no_self)] // A disk is always shared.
    pub fn new() -> Arc<SimDisk> {
        SimDisk::with(Arc::default(), next_boot())
    }

    fn with(state: Arc<Mutex<State>>, boot: u64) -> Arc<SimDisk> {
        Arc::new(SimDisk { state, hook: Arc::default(), boot })
    }

    /// What is found when power is lost now.
    pub fn lose_power(&self, choice: Choice, seed: u64) -> Image {
        Image::of(&lock(&self.state), next_boot(), choice, seed)
    }

    /// The disk of the machine that starts after power was lost now.
    pub fn image(&self, choice: Choice, seed: u64) -> Arc<SimDisk> {
        self.lose_power(choice, seed).start()
    }

    /// The same files once more, for a process on the same boot, as if the one before died now: it sees what that one saw,
    /// and what was not synced is not on the disk either.
    pub fn copy(&self) -> Arc<SimDisk> {
        SimDisk::with(Arc::new(Mutex::new(lock(&self.state).copy())), self.boot)
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
        let mut rng = Rng::new(seed);
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
        lock(&self.state).failures.push(Failure { call, errno: Some(errno), skip, times });
    }

    /// Lets `times` calls that read or write do half of what they were asked to, after `skip` more that do all.
    pub fn cut_short(&self, call: Call, skip: u64, times: u64) {
        lock(&self.state).failures.push(Failure { call, errno: None, skip, times });
    }

    /// How many calls there were, those included that failed.
    pub fn calls(&self, call: Call) -> u64 {
        lock(&self.state).calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls failed, or were cut short, because they were told to.
    pub fn failed(&self) -> u64 {
        lock(&self.state).failed
    }

    /// Lets no call fail any more.
    pub fn heal(&self) {
        lock(&self.state).failures.clear();
    }

    /// Limits what all files may take together.
    pub fn limit(&self, capacity_bytes: Option<u64>) {
        lock(&self.state).capacity_bytes = capacity_bytes;
    }

    /// Limits how many files, directories and locks may be open at one time.
    pub fn limit_descriptors(&self, max: Option<u64>) {
        lock(&self.state).descriptors_max = max;
    }

    /// How many files, directories and locks are open.
    pub fn descriptors(&self) -> u64 {
        lock(&self.state).descriptors
    }

    /// Bytes that files take, those included that have no name any more and are still open or mapped.
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
        let bytes = Arc::new(bytes);
        if let Ok(inode) = state.find(path) {
            inode.memory.set_len(bytes.len() as u64)?;
            inode.memory.write_all_at(&bytes, 0)?;
            *lock(&inode.kept) = Kept::synced(bytes);
            return Ok(());
        }
        let inode = state.add(bytes)?;
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
        self.run_some(call, 0, |state, _| effect(state))
    }

    /// As `run`, of a call that may be told to do less than `len` bytes.
    fn run_some<T>(
        &self,
        call: Call,
        len: usize,
        effect: impl FnOnce(&mut State, usize) -> Result<T>,
    ) -> Result<T> {
        self.tell(call, Moment::Before);
        let result = {
            let mut state = lock(&self.state);
            let is_short = state.begin(call);
            is_short.and_then(|is_short| effect(&mut state, if is_short { len.div_ceil(2) } else { len }))
        };
        self.tell(call, Moment::After);
        result
    }

    /// The same disk.
    fn share(&self) -> SimDisk {
        SimDisk { state: Arc::clone(&self.state), hook: Arc::clone(&self.hook), boot: self.boot }
    }

    /// Of what a call has opened that took a descriptor.
    fn descriptor(&self) -> Descriptor {
        Descriptor { state: Arc::clone(&self.state) }
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn File>> {
        let (dir, name) = split(path)?;
        let inode = self.run(Call::Create, |state| {
            state.need_descriptor()?;
            if state.find(path).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.take_room(bytes)?;
            let inode = state.add(Arc::new(vec![0; bytes as usize]))?;
            *lock(&inode.kept) = Kept::default();
            state.change(dir, NameChange::Link(name, Arc::clone(&inode)))?;
            state.descriptors += 1;
            Ok(inode)
        })?;
        Ok(Box::new(SimFile::open(inode, self.share(), self.descriptor())))
    }

    fn open(&self, path: &Path, _access: Access) -> Result<Box<dyn File>> {
        let inode = self.run(Call::Open, |state| {
            state.need_descriptor()?;
            let inode = state.find(path)?;
            state.descriptors += 1;
            Ok(inode)
        })?;
        Ok(Box::new(SimFile::open(inode, self.share(), self.descriptor())))
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
        self.run(Call::List, |state| {
            state.need_descriptor()?;
            let names = state.dir(dir)?.names.keys().map(|name| Entry { name: name.clone(), is_file: true });
            Ok(names.collect())
        })
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.run(Call::CreateDir, |state| {
            state.dir(dir.parent().unwrap_or(dir))?;
            state.dirs.entry(dir.to_path_buf()).or_default();
            Ok(())
        })
    }

    fn open_dir(&self, dir: &Path) -> Result<Box<dyn OpenDir>> {
        self.run(Call::Open, |state| {
            state.need_descriptor()?;
            state.dir(dir)?;
            state.descriptors += 1;
            Ok(())
        })?;
        Ok(Box::new(SimDir::open(dir.to_path_buf(), self.share(), self.descriptor())))
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<LockAttempt> {
        let is_held = self.run(Call::Lock, |state| {
            state.need_descriptor()?;
            let holders = state.locks.entry(path.to_path_buf()).or_default();
            let is_free = match kind {
                LockKind::Exclusive => holders.is_empty(),
                LockKind::Shared => !holders.contains(&LockKind::Exclusive),
            };
            if is_free {
                holders.push(kind);
                state.descriptors += 1;
            }
            Ok(is_free)
        })?;
        if !is_held {
            return Ok(LockAttempt::Taken(Some(std::process::id())));
        }
        let held = Held::new(self.descriptor(), path.to_path_buf(), kind);
        Ok(LockAttempt::Held(Box::new(held)))
    }

    fn boot_id(&self) -> Result<[u8; 16]> {
        self.run(Call::BootId, |state| {
            state.need_descriptor()?;
            Ok(u128::from(self.boot).to_le_bytes())
        })
    }
}
