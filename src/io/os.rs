//! The real disk.

use super::{uninterrupted, Access, Disk, Entry, File, Identity, LockAttempt, LockKind, Map, OpenDir};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd;
#[cfg(feature = "redis")]
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// The operating system's files. `std` opens every file with `O_CLOEXEC`.
pub(crate) struct OsDisk;

struct OsFile(fs::File);

struct OsDir {
    file: fs::File,
    path: PathBuf,
}

/// A lock that is held until this goes.
struct Lock(fs::File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started by another thread holds a copy of the descriptor
        // until it executes its program, and would keep the store locked until then.
        // SAFETY: a plain system call on a descriptor that the file keeps open.
        let _ = checked(|| unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) });
    }
}

/// A system call that returns 0 or sets the error, repeated while a signal interrupts it.
fn checked(mut call: impl FnMut() -> libc::c_int) -> Result<()> {
    uninterrupted(|| if call() == 0 { Ok(()) } else { Err(Error::last_os_error()) })
}

/// Waits until a socket takes bytes, or says why it does not: so also until a connection that was begun stands or has failed. `false` if
/// `wait` is over before, which is rounded up to milliseconds, or a signal comes.
#[cfg(feature = "redis")]
pub(crate) fn wait_writable(socket: BorrowedFd<'_>, wait: std::time::Duration) -> Result<bool> {
    let wait_ms = libc::c_int::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
    let mut asked = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: a system call on one `pollfd`, which outlives it; the descriptor is borrowed for as long.
    match unsafe { libc::poll(&mut asked, 1, wait_ms) } {
        // Not repeated: who is interrupted often would never look at the time.
        -1 => match Error::last_os_error() {
            error if error.kind() == ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        ready => Ok(ready > 0),
    }
}

fn allocate(file: &fs::File, bytes: u64) -> Result<()> {
    let len = libc::off_t::try_from(bytes).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    // posix_fallocate writes zeros where the file system cannot allocate; it returns the error.
    // SAFETY: a plain system call on a descriptor that `file` keeps open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        code => Err(Error::from_raw_os_error(code)),
    }
}

fn open_with(options: &mut OpenOptions, path: &Path) -> Result<fs::File> {
    // O_NONBLOCK: opening a FIFO that stands in a segment's place must not hang.
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(Error::new(ErrorKind::InvalidInput, "not a regular file"))
    }
}

impl Disk for OsDisk {
    fn create(&self, path: &Path, bytes: u64) -> Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        let file = open_with(options.read(true).write(true).create_new(true).mode(FILE_MODE), path)?;
        if let Err(error) = if bytes > 0 { uninterrupted(|| allocate(&file, bytes)) } else { Ok(()) } {
            // A file that was created but not allocated would hold the space that is lacking.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        let file = open_with(options.read(true).write(access == Access::ReadWrite), path)?;
        Ok(Box::new(OsFile(file)))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        uninterrupted(|| fs::remove_file(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        uninterrupted(|| fs::rename(from, to))
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        uninterrupted(|| fs::read_dir(dir))?
            .map(|entry| {
                let entry = entry?;
                Ok(Entry { is_file: entry.file_type()?.is_file(), name: entry.file_name() })
            })
            .collect()
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        match DirBuilder::new().mode(DIR_MODE).create(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            result => result,
        }
    }

    fn open_dir(&self, dir: &Path) -> Result<Box<dyn OpenDir>> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(dir)?;
        Ok(Box::new(OsDir { file, path: dir.to_path_buf() }))
    }

    fn lock(&self, path: &Path, kind: LockKind) -> Result<LockAttempt> {
        let mut options = OpenOptions::new();
        options.read(true);
        if kind == LockKind::Exclusive {
            options.write(true).create(true).truncate(false).mode(FILE_MODE);
        }
        let file = open_with(&mut options, path)?;
        let operation = match kind {
            LockKind::Shared => libc::LOCK_SH,
            LockKind::Exclusive => libc::LOCK_EX,
        };
        // SAFETY: a plain system call on a descriptor that `file` keeps open.
        match checked(|| unsafe { libc::flock(file.as_raw_fd(), operation | libc::LOCK_NB) }) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let holder = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
                return Ok(LockAttempt::Taken(holder));
            }
            Err(error) => return Err(error),
        }
        if kind == LockKind::Exclusive {
            // For the message of a second opener only: the lock itself is the kernel's.
            let pid = format!("{:<10}\n", std::process::id());
            file.write_all_at(pid.as_bytes(), 0)?;
        }
        Ok(LockAttempt::Held(Box::new(Lock(file))))
    }

    fn boot_id(&self) -> Result<[u8; 16]> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        u128::from_str_radix(&hex, 16)
            .map(u128::to_be_bytes)
            .map_err(|_| Error::new(ErrorKind::InvalidData, "boot id is no UUID"))
    }
}

impl OpenDir for OsDir {
    fn sync(&self) -> Result<()> {
        // The system syncs a directory that was removed, or renamed, without a word.
        let (held, named) = (self.file.metadata()?, fs::metadata(&self.path)?);
        if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
            return Err(Error::new(ErrorKind::NotFound, "another directory has taken its place"));
        }
        self.file.sync_all()
    }
}

impl File for OsFile {
    fn bytes(&self) -> Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn identity(&self) -> Result<Identity> {
        let meta = self.0.metadata()?;
        Ok(Identity { device: meta.dev(), inode: meta.ino() })
    }

    fn read_some(&self, offset: u64, to: &mut [u8]) -> Result<usize> {
        self.0.read_at(to, offset)
    }

    fn write_some(&self, offset: u64, from: &[u8]) -> Result<usize> {
        self.0.write_at(from, offset)
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync_data()
    }

    fn mode(&self) -> Result<u32> {
        Ok(self.0.metadata()?.mode() & 0o777)
    }

    fn set_mode(&self, mode: u32) -> Result<()> {
        self.0.set_permissions(fs::Permissions::from_mode(mode))
    }

    fn map(&self) -> Result<Map> {
        let bytes = usize::try_from(self.bytes()?).map_err(|_| Error::from(ErrorKind::InvalidData))?;
        Map::of_file(&self.0, bytes)
    }

    fn map_read_only(&self) -> Result<Map> {
        let bytes = usize::try_from(self.bytes()?).map_err(|_| Error::from(ErrorKind::InvalidData))?;
        Map::of_file_read_only(&self.0, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_store_into_the_mapping_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = OsDisk.create(&path, 8192).unwrap();
        let map = file.map().unwrap();
        map.populate(0, 8192);
        // SAFETY: M1: the map is this test's alone.
        unsafe { map.reserved(4104, 5).unwrap() }.copy_from_slice(b"hello");
        map.word(4096).unwrap().store(7, Ordering::Release);
        file.sync().unwrap();
        let mut got = [0u8; 13];
        file.read_at(4096, &mut got).unwrap();
        assert_eq!(&got, b"\x07\0\0\0\0\0\0\0hello");
    }

    #[test]
    fn a_map_keeps_and_syncs_its_file_without_a_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let map = OsDisk.create(&path, 8192).unwrap().map().unwrap();
        // Cut off, as a sealed segment is.
        OsDisk.open(&path, Access::ReadWrite).unwrap().truncate(4096).unwrap();
        map.word(8).unwrap().store(7, Ordering::Release);
        map.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap()[8], 7);
        Map::anonymous(4096).unwrap().sync().unwrap();
    }

    #[test]
    fn a_directory_that_is_not_where_it_was_opened_cannot_be_synced() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a");
        fs::create_dir(&path).unwrap();
        let dir = OsDisk.open_dir(&path).unwrap();
        dir.sync().unwrap();
        fs::rename(&path, above.path().join("b")).unwrap();
        assert_eq!(dir.sync().unwrap_err().kind(), ErrorKind::NotFound);
        fs::create_dir(&path).unwrap();
        assert_eq!(dir.sync().unwrap_err().kind(), ErrorKind::NotFound, "another one stands there");
        fs::write(above.path().join("c"), "").unwrap();
        assert!(OsDisk.open_dir(&above.path().join("c")).is_err(), "a file is no directory");
    }

    #[test]
    fn nothing_outside_of_a_map_can_be_reached() {
        let map = Map::anonymous(4096).unwrap();
        assert!(map.word(4096).is_none() && map.word(4).is_none() && map.word(usize::MAX - 7).is_none());
        // SAFETY: nobody writes this map.
        assert!(unsafe { map.slice(4090, 7) }.is_none() && unsafe { map.slice(usize::MAX, 2) }.is_none());
        // SAFETY: M1: the map is this test's alone.
        assert!(unsafe { map.reserved(0, 4097) }.is_none());
    }

    #[test]
    fn a_new_file_is_its_owners_and_fully_allocated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        OsDisk.create(&path, 1 << 20).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o600);
        assert!(meta.blocks() * 512 >= 1 << 20, "{} blocks", meta.blocks());
        assert!(OsDisk.create(&path, 1).is_err(), "files are never recycled");
    }

    #[test]
    fn a_link_directory_or_fifo_in_a_files_place_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        OsDisk.create(&at("file"), 0).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        let name = std::ffi::CString::new(at("fifo").to_str().unwrap()).unwrap();
        // SAFETY: a plain system call with a string that ends in NUL.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        for name in ["link", "dir", "fifo"] {
            assert!(OsDisk.open(&at(name), Access::Read).is_err(), "{name}");
            assert!(OsDisk.open(&at(name), Access::ReadWrite).is_err(), "{name}");
        }
    }

    #[test]
    fn a_second_lock_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let LockAttempt::Held(held) = OsDisk.lock(&path, LockKind::Exclusive).unwrap() else {
            panic!("a fresh lock is free");
        };
        for kind in [LockKind::Exclusive, LockKind::Shared] {
            let LockAttempt::Taken(pid) = OsDisk.lock(&path, kind).unwrap() else {
                panic!("{kind:?} beside a writer");
            };
            assert_eq!(pid, Some(std::process::id()));
        }
        drop(held);
        assert!(matches!(OsDisk.lock(&path, LockKind::Shared).unwrap(), LockAttempt::Held(_)));
    }

    #[test]
    fn a_lock_goes_although_a_child_has_a_copy_of_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let LockAttempt::Held(held) = OsDisk.lock(&path, LockKind::Exclusive).unwrap() else {
            panic!("a fresh lock is free");
        };
        let fds = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        let fd = fds.into_iter().find(|fd| fs::read_link(fd).is_ok_and(|to| to == path)).unwrap();
        let fd: libc::c_int = fd.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // SAFETY: plain system calls on descriptors that this test owns.
        let copy = unsafe { libc::dup(fd) };
        drop(held);
        assert!(matches!(OsDisk.lock(&path, LockKind::Exclusive).unwrap(), LockAttempt::Held(_)));
        // SAFETY: as above.
        unsafe { libc::close(copy) };
    }

    #[test]
    fn the_boot_id_is_the_same_until_the_next_boot() {
        assert_eq!(OsDisk.boot_id().unwrap(), OsDisk.boot_id().unwrap());
    }
}
