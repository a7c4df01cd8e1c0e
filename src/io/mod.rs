//! The seam to the operating system: every file operation of the engine passes through [`Disk`] and
//! [`File`], so that a test can fail, tear, drop and reorder them (docs/design.md, "Proof").
//!
//! Errors are plain `std::io::Error`; the caller knows what it was doing and adds operation and path.

mod map;
mod os;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod sim;

pub(crate) use map::{prefetch, Map, HUGE_PAGE_BYTES};
#[cfg(feature = "redis")]
pub(crate) use os::wait_writable;
pub(crate) use os::OsDisk;

use std::io::{ErrorKind, Result};
use std::path::Path;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// Which file this is, on which file system: a copy of a store has other identities (I12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: std::ffi::OsString,
    /// A regular file: not a directory, symbolic link, FIFO or device.
    pub(crate) is_file: bool,
}

/// Who may hold a store open at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    /// Readers of a store that nobody writes.
    Shared,
    /// The one writer.
    Exclusive,
}

/// Outcome of an attempt to lock that did not fail.
pub(crate) enum LockAttempt {
    /// Held until the value is dropped.
    Held(Box<dyn Send + Sync>),
    /// Somebody else holds it: the pid that the file names, if it names one.
    Taken(Option<u32>),
}

/// A directory tree.
pub(crate) trait Disk: Send + Sync {
    /// Creates a file that must not exist, readable by its owner alone, with `bytes` zeros that are
    /// allocated: a hole on a full disk would be a SIGBUS at the first store into its mapping.
    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn File>>;
    /// Opens a regular file; a symbolic link, directory or FIFO in its place is an error.
    fn open(&self, path: &Path, access: Access) -> Result<Box<dyn File>>;
    /// Removes a file's name. Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Renames a file over another. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> Result<Vec<Entry>>;
    /// Creates a directory in one that is there, readable by its owner alone; one that exists is no error. Durable after
    /// `sync_dir` of the directory above.
    fn create_dir(&self, dir: &Path) -> Result<()>;
    /// Opens a directory, to sync it.
    fn open_dir(&self, dir: &Path) -> Result<Box<dyn OpenDir>>;
    /// Makes created, renamed and removed names of a directory durable.
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.open_dir(dir)?.sync()
    }
    /// Takes the lock file's lock without waiting, creating the file for a writer.
    fn lock(&self, path: &Path, kind: LockKind) -> Result<LockAttempt>;
    /// Names this start of the machine: another value after each boot of the system (I12).
    fn boot_id(&self) -> Result<[u8; 16]>;
}

/// One open directory.
pub(crate) trait OpenDir: Send + Sync {
    /// Makes created, renamed and removed names durable. Takes no descriptor. An error where the path that it was opened by
    /// leads elsewhere by now: that is where names are made.
    fn sync(&self) -> Result<()>;
}

/// One open file.
pub(crate) trait File: Send + Sync {
    fn bytes(&self) -> Result<u64>;
    fn identity(&self) -> Result<Identity>;
    /// Reads up to as many bytes as `to` has room for; 0 at the end of the file.
    fn read_some(&self, offset: u64, to: &mut [u8]) -> Result<usize>;
    /// Writes some of `from`, from its beginning on.
    fn write_some(&self, offset: u64, from: &[u8]) -> Result<usize>;
    /// Cuts or grows the file. The caller holds no mapping beyond the new end.
    fn truncate(&self, bytes: u64) -> Result<()>;
    /// Makes the file's data durable, what was stored through a mapping included. Never call it again
    /// after a failure: the kernel may have dropped the pages that it could not write (P7).
    fn sync(&self) -> Result<()>;
    /// Who may read and write the file, as `chmod` has it.
    fn mode(&self) -> Result<u32>;
    /// Changes who may.
    fn set_mode(&self, mode: u32) -> Result<()>;
    /// Maps the whole file, shared, at its current length. The map outlives this, and keeps the file and its space.
    fn map(&self) -> Result<Map>;
    /// As `map`, for a file opened for reading: a store into the mapping would be a fault.
    fn map_read_only(&self) -> Result<Map>;

    /// Fills all of `to`; an end of file before that is an error.
    fn read_at(&self, mut offset: u64, mut to: &mut [u8]) -> Result<()> {
        while !to.is_empty() {
            match uninterrupted(|| self.read_some(offset, to))? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                len => {
                    to = to.get_mut(len..).unwrap_or_default();
                    offset += len as u64;
                }
            }
        }
        Ok(())
    }

    /// Writes all of `from`.
    fn write_at(&self, mut offset: u64, mut from: &[u8]) -> Result<()> {
        while !from.is_empty() {
            match uninterrupted(|| self.write_some(offset, from))? {
                0 => return Err(ErrorKind::WriteZero.into()),
                len => {
                    from = from.get(len..).unwrap_or_default();
                    offset += len as u64;
                }
            }
        }
        Ok(())
    }
}

/// Repeats a call that a signal interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Creates a directory with those above it that lack, durably; one that exists is no error.
pub(crate) fn create_dirs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        // Whoever made it may have died before its name was synced, and nobody asks for that again once it holds this one.
        match sync_name_of(disk, above) {
            // It lacks, or its name is on a file system that is not written.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ReadOnlyFilesystem | ErrorKind::InvalidInput
                ) => {}
            result => result?,
        }
    }
    match disk.create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_dirs(disk, above.ok_or(error)?)?;
            disk.create_dir(dir)?;
        }
        result => result?,
    }
    sync_name_of(disk, dir)
}

/// Makes a directory's own name durable: without it, all that is synced inside may be gone when power is lost.
pub(crate) fn sync_name_of(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let Some(above) = dir.parent() else { return Ok(()) };
    match disk.sync_dir(if above.as_os_str().is_empty() { Path::new(".") } else { above }) {
        // Who may not read the directory above has not made this one, and leaves its name to whoever did.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// A number that nobody can foretell, from the operating system's generator.
pub(crate) fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // SipHash under a key that the OS drew at random; the standard library offers no plainer way.
    RandomState::new().build_hasher().finish()
}
