//! The one error type: each variant carries the facts that a user needs to act.

use crate::tag::Tag;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Absence of a key is never an error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },
    /// Bytes in a file are not what this library wrote there.
    #[error("{}, offset {offset}: {reason}", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The file has a format version that this build does not read.
    #[error("{}: format version {found}, this library reads up to version {supported}", path.display())]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Version found in it.
        found: u32,
        /// Version that this build reads and writes.
        supported: u32,
    },
    /// The path holds something that is not a libkv store.
    #[error("{}: not a libkv store: {reason}", path.display())]
    NotAStore {
        /// The path that was opened.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// Another process, or another handle of this one, has the store open.
    #[error("{}: locked by process {}", path.display(), pid.map_or("unknown".into(), |p| p.to_string()))]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// Process that holds the lock, where it could be told.
        pid: Option<u32>,
    },
    /// The key is longer than a record can hold.
    #[error("key of {len} bytes: the limit is {max}")]
    KeyTooLong {
        /// Length of the key, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The value is longer than the store accepts.
    #[error("value of {len} bytes: the limit is {max}")]
    ValueTooLong {
        /// Length of the value, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The members of one batch need more bytes than a frame can hold.
    #[error("batch of {len} bytes: the limit is {max}")]
    BatchTooLarge {
        /// Bytes that the batch's records need.
        len: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// An option has a value outside of its range.
    #[error("option {name}: {reason}")]
    InvalidOption {
        /// Name of the option.
        name: Cow<'static, str>,
        /// Which values are accepted.
        reason: String,
    },
    /// The value is no decimal 64-bit integer, so it cannot be incremented.
    #[error("value of {len} bytes is not a decimal 64-bit integer")]
    NotAnInteger {
        /// Length of the value found, in bytes.
        len: usize,
    },
    /// The increment would leave the range of `i64`; nothing was changed.
    #[error("increment of {value} by {delta} overflows a 64-bit integer")]
    Overflow {
        /// The stored number.
        value: i64,
        /// The increment asked for.
        delta: i64,
    },
    /// A value was written by another codec than the one that is to read it. Nothing was changed.
    #[error("the value of a key of {key_len} bytes {}, not as {expected}", written(*found))]
    WrongCodec {
        /// Length of the key, in bytes.
        key_len: usize,
        /// The codec that was to read it.
        expected: Tag,
        /// The one that wrote it; [`Tag::RAW`] when none did.
        found: Tag,
    },
    /// A codec cannot write a value, or cannot read what stands there.
    #[error("a value of a key of {key_len} bytes cannot be {attempted} as {codec}: {reason}")]
    Codec {
        /// `encoded` or `decoded`.
        attempted: &'static str,
        /// Length of the key, in bytes.
        key_len: usize,
        /// The codec.
        codec: Tag,
        /// What it says.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store was opened for reading, or had no space to recover for writing.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// Why writes are refused.
        reason: String,
    },
    /// A sync failed earlier: what the disk holds is unknown, so writes are refused until the store is reopened (P7).
    #[error("writes are refused until the store is reopened: {reason}")]
    SyncFailed {
        /// The sync that failed.
        reason: String,
    },
    /// This process was forked from the one that opened the store.
    #[error("the store belongs to the parent of this forked process")]
    Forked,
    /// The calling thread holds a pin, for which this call would wait without end.
    #[error("{call} waits until every pin is released, and this thread holds one")]
    Pinned {
        /// The call that was refused.
        call: &'static str,
    },
    /// The loader of `get_or_load` failed, panicked, or asked for its own key.
    #[error("loader: {reason}")]
    Loader {
        /// What the loader reported.
        reason: String,
    },
    /// Another session has the key, and the time for which this call would wait for it is over.
    #[error("another session has the key")]
    KeyLocked,
    /// The key was written or removed by somebody else while a session had it, so the session's commit changed nothing.
    #[error("the key was changed since the session read it")]
    Conflict,
    /// A watch comes too late: removals behind where it stands, or entries that a crash of the machine or damage took, may not be in
    /// the log any more. Whoever keeps what it was told has to forget that: the watch goes on with all that stands.
    #[error("the log no longer tells all that changed behind version {after}: what stands follows")]
    Lagged {
        /// Where the watch stood.
        after: u64,
    },
    /// Redis could not be asked, or did not acknowledge in time. A change that was made with a tier stands locally all the
    /// same, and is sent when Redis answers; unless the reason says that it was refused.
    #[cfg(feature = "redis")]
    #[error("tier: {reason}")]
    Tier {
        /// What went wrong.
        reason: String,
    },
    /// An export to one JSON object met bytes that are not UTF-8: NDJSON takes them.
    #[error("{name} of {len} bytes is not UTF-8: export it as NDJSON")]
    NotText {
        /// Key or value.
        name: &'static str,
        /// Its length, in bytes.
        len: usize,
    },
    /// The progress function of an export or import has ended it.
    #[error("cancelled by the progress function")]
    Cancelled,
    /// An import found a line that it cannot take.
    #[error("line {line}: {reason}")]
    Import {
        /// Line of the input, counted from 1, where the entry or command begins.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// How a value was written, as a verb.
fn written(codec: Tag) -> Cow<'static, str> {
    match codec {
        Tag::RAW => "was written as raw bytes".into(),
        codec => format!("was written as {codec}").into(),
    }
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Error::Io { op, path: path.to_path_buf(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Error::Corrupt { path: path.to_path_buf(), offset, reason: reason.into() }
    }

    /// Whether the operating system had no space (or quota) left.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Error::Io { source, .. }
            if matches!(source.raw_os_error(), Some(libc::ENOSPC) | Some(libc::EDQUOT)))
    }

    /// Whether it is over once there is space, or a descriptor, and nothing has reached the disk.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_disk_full() || matches!(self, Error::Io { source, .. } if lacks_descriptors(source))
    }
}

/// Whether the process, or the system, has as many files open as it may.
pub(crate) fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE) | Some(libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_sentences_with_file_and_offset() {
        let e = Error::corrupt(Path::new("s/7.seg"), 4096, "checksum mismatch");
        assert_eq!(e.to_string(), "s/7.seg, offset 4096: checksum mismatch");
        let e = Error::Locked { path: "s".into(), pid: Some(12) };
        assert_eq!(e.to_string(), "s: locked by process 12");
    }

    #[test]
    fn disk_full_is_told_from_other_failures() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(Error::io("allocate", Path::new("x"), full).is_disk_full());
        let other = io::Error::from_raw_os_error(libc::EIO);
        assert!(!Error::io("sync", Path::new("x"), other).is_disk_full());
    }
}
