//! The file of a mirror: written beside, synced, and renamed; and the store's note of what it last left there.

use crate::error::{Error, Result};
use crate::io::{Access, Disk, File, LockAttempt, LockKind};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BUFFER_BYTES: usize = 256 << 10;
/// Longest note, in bytes.
const NOTE_BYTES_MAX: u64 = 1 << 10;
/// Contents that a note names.
const KNOWN_MAX: usize = 8;
/// In the directory of the store.
const NOTE: &str = "MIRROR";

/// By what a content is known again: its length and its CRC-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Print {
    bytes: u64,
    crc32: u32,
}

/// What a store knows of its mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// The file is being taken into the store, which may hold a part of it.
    pub(super) loading: bool,
    /// What the file is, or one of both while it is replaced.
    pub(super) known: Vec<Print>,
}

/// The file, which is this store's alone while it is open.
pub(super) struct MirrorFile {
    disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    /// Where the note stands, in a store that is not in memory.
    note: Option<PathBuf>,
    _lock: Box<dyn Send + Sync>,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(suffix);
    path.with_file_name(name)
}

/// An error of the system, with what was done to which file.
fn at<'p>(op: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> Error + 'p {
    move |error| Error::io(op, path, error)
}

impl MirrorFile {
    /// Takes the file at `path` for the store in `dir`.
    pub(super) fn take(disk: Arc<dyn Disk>, path: &Path, dir: Option<&Path>) -> Result<MirrorFile> {
        let lock = beside(path, ".lock");
        let held = match disk.lock(&lock, LockKind::Exclusive).map_err(at("lock", &lock))? {
            LockAttempt::Held(held) => held,
            LockAttempt::Taken(pid) => return Err(Error::Locked { path: path.to_path_buf(), pid }),
        };
        Ok(MirrorFile { disk, path: path.to_path_buf(), note: dir.map(|dir| dir.join(NOTE)), _lock: held })
    }

    fn open(&self, path: &Path) -> Result<Option<Box<dyn File>>> {
        match self.disk.open(path, Access::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", path, error)),
        }
    }

    /// Reads the file from its beginning; `None` where there is none.
    pub(super) fn read(&self) -> Result<Option<Reader>> {
        Ok(self.open(&self.path)?.map(Reader::new))
    }

    /// By what the file is known again; `None` where there is none.
    pub(super) fn print(&self) -> Result<Option<Print>> {
        let Some(mut reader) = self.read()? else { return Ok(None) };
        std::io::copy(&mut reader, &mut std::io::sink()).map_err(at("read", &self.path))?;
        Ok(Some(reader.print()))
    }

    pub(super) fn note(&self) -> Result<Note> {
        let Some(path) = &self.note else { return Ok(Note::default()) };
        let Some(file) = self.open(path)? else { return Ok(Note::default()) };
        let mut text = Vec::new();
        Reader::new(file).take(NOTE_BYTES_MAX).read_to_end(&mut text).map_err(at("read", path))?;
        serde_json::from_slice(&text).map_err(|e| Error::corrupt(path, 0, e.to_string()))
    }

    /// Keeps a note; a store in memory has none to keep.
    pub(super) fn keep(&self, note: &Note) -> Result<()> {
        let Some(path) = &self.note else { return Ok(()) };
        self.replace(
            path,
            |fresh| serde_json::to_writer(&mut *fresh, note).map_err(Into::into).map_err(at("write", path)),
            |_| Ok(true),
        )
        .map(drop)
    }

    /// Writes the file anew, unless it is that for certain; whether it did. `known` is what it may be: more than one where a rename took
    /// place, or was to, and nobody knows what a loss of power leaves.
    pub(super) fn write(
        &self,
        known: &mut Vec<Print>,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<bool> {
        let mut is_new = false;
        let print = self.replace(&self.path, fill, |print| {
            if known[..] == [print] {
                return Ok(false);
            }
            is_new = true;
            if !known.contains(&print) {
                // What was tried first is what is least likely to be there still.
                known.drain(..(known.len() + 1).saturating_sub(KNOWN_MAX));
                known.push(print);
            }
            // Before the rename: whatever a crash leaves, the store knows it again.
            self.keep(&Note { loading: false, known: known.clone() })?;
            Ok(true)
        })?;
        if known.len() > 1 {
            *known = vec![print];
            // Who puts the content of before back has edited the file. Best effort: with the note of all it is known.
            let _ = self.keep(&Note { loading: false, known: known.clone() });
        }
        Ok(is_new)
    }

    /// Writes a file beside another, makes it durable, and gives it the other's name if it `is_wanted`.
    fn replace(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
        is_wanted: impl FnOnce(Print) -> Result<bool>,
    ) -> Result<Print> {
        let fresh = beside(path, ".new");
        // A crash may have left one.
        match self.disk.remove(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove", &fresh, error))
            }
            _ => {}
        }
        let file = self.disk.create(&fresh, 0).map_err(at("create", &fresh))?;
        let replaced = (|| {
            if let Some(old) = self.open(path)? {
                let mode = old.mode().map_err(at("stat", path))?;
                file.set_mode(mode).map_err(at("change the mode of", &fresh))?;
            }
            let mut to = BufWriter::with_capacity(BUFFER_BYTES, Writer::new(&*file));
            fill(&mut to)?;
            let print = to.into_inner().map_err(|e| Error::io("write", &fresh, e.into_error()))?.print();
            file.sync().map_err(at("sync", &fresh))?;
            if is_wanted(print)? {
                self.disk.rename(&fresh, path).map_err(at("rename", &fresh))?;
                let dir = path.parent().unwrap_or(Path::new("."));
                self.disk.sync_dir(dir).map_err(at("sync directory", dir))?;
            } else {
                self.disk.remove(&fresh).map_err(at("remove", &fresh))?;
            }
            Ok(print)
        })();
        if replaced.is_err() {
            // Where it was renamed there is none.
            let _ = self.disk.remove(&fresh);
        }
        replaced
    }
}

/// Bytes of a file, and by what they are known again.
pub(super) struct Reader {
    file: Box<dyn File>,
    seen: Seen,
}

impl Reader {
    fn new(file: Box<dyn File>) -> Reader {
        Reader { file, seen: Seen::default() }
    }

    pub(super) fn print(&self) -> Print {
        self.seen.print()
    }
}

impl Read for Reader {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let len = self.file.read_some(self.seen.bytes, to)?;
        self.seen.add(to.get(..len).unwrap_or_default());
        Ok(len)
    }
}

struct Writer<'f> {
    file: &'f dyn File,
    seen: Seen,
}

impl Writer<'_> {
    fn new(file: &dyn File) -> Writer<'_> {
        Writer { file, seen: Seen::default() }
    }

    fn print(&self) -> Print {
        self.seen.print()
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        let len = self.file.write_some(self.seen.bytes, from)?;
        self.seen.add(from.get(..len).unwrap_or_default());
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes that went by.
#[derive(Default)]
struct Seen {
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Seen {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc.update(bytes);
    }

    fn print(&self) -> Print {
        Print { bytes: self.bytes, crc32: self.crc.clone().finalize() }
    }
}
