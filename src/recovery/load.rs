//! From the manifest's list to mapped segments.

use super::Damage;
use crate::error::{lacks_descriptors, Error, Result};
use crate::io::{Access, File, Map};
use crate::log::{
    segment_path, Directory, Listed, Manifest, Segment, SegmentHeader, SegmentKind, FIRST_RECORD_AT,
};
use crate::store::Store;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Begins the reason of a listed segment that is not there.
pub(super) const MISSING: &str = "the manifest lists this segment, and there is no such file";

/// How a segment's bytes are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Mapped, to go on writing.
    Mapped,
    /// Mapped for reading, of a store that nobody writes.
    MappedReadOnly,
    /// Copied into memory, of a store that another process may be writing and trimming.
    Copied,
}

pub(super) struct Found {
    pub(super) segment: Arc<Segment>,
    pub(super) listed: Listed,
}

pub(super) struct Loaded {
    pub(super) segments: Vec<Found>,
    pub(super) damage: Vec<Damage>,
    pub(super) source: Source,
}

impl Loaded {
    /// Segments that stay as they are, and those whose survivors are copied elsewhere.
    pub(super) fn split(self) -> (Vec<Arc<Segment>>, Vec<Arc<Segment>>) {
        // Relaxed: set by this thread, or by one that it has joined.
        let stays =
            |found: &Found| found.listed.seal.is_some() && !found.segment.damaged.load(Ordering::Relaxed);
        let (kept, rewritten): (Vec<_>, Vec<_>) = self.segments.into_iter().partition(stays);
        let segments = |found: Vec<Found>| found.into_iter().map(|found| found.segment).collect();
        (segments(kept), segments(rewritten))
    }
}

pub(super) fn load(
    store: &Store,
    directory: &Directory,
    manifest: &Manifest,
    source: Source,
) -> Result<Loaded> {
    let mut opened = Vec::new();
    let mut loaded = Loaded { segments: Vec::new(), damage: Vec::new(), source };
    let access = if source == Source::Mapped { Access::ReadWrite } else { Access::Read };
    for listed in &manifest.segments {
        let path = segment_path(&directory.path, listed.id);
        let file = match directory.disk.open(&path, access) {
            // More than may be open at one time: those that are come first.
            Err(e) if lacks_descriptors(&e) && !opened.is_empty() => {
                load_opened(store, manifest, &mut opened, &mut loaded)?;
                directory.disk.open(&path, access)
            }
            result => result,
        };
        match file {
            Ok(file) => opened.push((listed, path, file)),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                loaded.damage.push(Damage { path, offset: 0, reason: MISSING.into() });
            }
            Err(e) => return Err(Error::io("open", &path, e)),
        }
        // Of a running store as many as can be are opened before any is read: what it removes meanwhile stays readable.
        if source != Source::Copied {
            load_opened(store, manifest, &mut opened, &mut loaded)?;
        }
    }
    load_opened(store, manifest, &mut opened, &mut loaded)?;
    Ok(loaded)
}

/// A file that the manifest lists.
type Opened<'m> = (&'m Listed, PathBuf, Box<dyn File>);

fn load_opened(
    store: &Store,
    manifest: &Manifest,
    opened: &mut Vec<Opened<'_>>,
    loaded: &mut Loaded,
) -> Result<()> {
    for (listed, path, file) in opened.drain(..) {
        match load_one(store, manifest, listed, path, file, loaded.source) {
            Ok(segment) => {
                let segment = Arc::new(segment);
                store.log.table.insert(&segment);
                loaded.segments.push(Found { segment, listed: *listed });
            }
            Err(Error::Corrupt { path, offset, reason }) => {
                loaded.damage.push(Damage { path, offset, reason });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn load_one(
    store: &Store,
    manifest: &Manifest,
    listed: &Listed,
    path: PathBuf,
    file: Box<dyn File>,
    source: Source,
) -> Result<Segment> {
    let header = read_header(file.as_ref(), &path)?;
    let expected = (manifest.store_uuid, listed.id, listed.base_lsn, listed.born, listed.capacity_bytes);
    if (header.store_uuid, header.id, header.base_lsn, header.born, header.capacity_bytes) != expected {
        return Err(Error::corrupt(&path, 0, "the header is of another segment than the manifest lists"));
    }
    let bytes = file.bytes().map_err(|e| Error::io("stat", &path, e))?;
    let needed = listed.seal.map_or(listed.capacity_bytes, |seal| seal.used_bytes);
    // A copy of a running store is cut where it ends; its writer may be trimming it.
    if bytes < needed && source != Source::Copied {
        return Err(Error::corrupt(
            &path,
            bytes,
            format!("the file is cut off: {needed} bytes were written"),
        ));
    }
    if bytes > header.capacity_bytes {
        return Err(Error::corrupt(
            &path,
            header.capacity_bytes,
            format!("the file has {bytes} bytes, too many"),
        ));
    }
    let map = match source {
        Source::Mapped => file.map(),
        Source::MappedReadOnly => file.map_read_only(),
        Source::Copied => copy(file.as_ref(), bytes),
    };
    let map = map.map_err(|e| Error::io("map", &path, e))?;
    let number = store.log.table.reserve()?;
    let segment = Segment::new(header, map, number).in_file(file, path);
    Ok(match listed.seal {
        Some(seal) => {
            segment.close_file();
            segment.holding(seal.used_bytes.min(bytes))
        }
        None => segment,
    })
}

fn copy(file: &dyn File, bytes: u64) -> std::io::Result<Map> {
    let len = usize::try_from(bytes).map_err(|_| std::io::Error::from(ErrorKind::InvalidData))?;
    let map = Map::anonymous(len)?;
    // SAFETY: M1: the map is new and this thread's alone.
    let to = unsafe { map.reserved(0, len) }.ok_or(ErrorKind::InvalidData)?;
    file.read_at(0, to)?;
    Ok(map)
}

fn read_header(file: &dyn File, path: &Path) -> Result<SegmentHeader> {
    let bytes = file.bytes().map_err(|e| Error::io("stat", path, e))?;
    let mut page = vec![0; usize::try_from(bytes.min(FIRST_RECORD_AT)).unwrap_or(0)];
    file.read_at(0, &mut page).map_err(|e| Error::io("read", path, e))?;
    if bytes < FIRST_RECORD_AT {
        return Err(Error::corrupt(path, bytes, "the file is cut off inside its header page"));
    }
    SegmentHeader::decode(&page, path)
}

/// What a file is that the manifest does not list.
pub(super) enum Unlisted {
    /// A leftover of this store, to be removed.
    Leftover,
    /// It belongs to a newer state than the manifest's.
    Newer,
    /// Not this store's.
    Foreign,
}

/// Judges a segment file that the manifest does not list. Victims of a compaction whose unlinking a crash forgot have ids
/// that the manifest knows to be used; a tail segment with a newer id was listed before it took records.
pub(super) fn judge_unlisted(directory: &Directory, path: &Path, manifest: &Manifest) -> Result<Unlisted> {
    let file = match directory.disk.open(path, Access::Read) {
        Ok(file) => file,
        // Not a file, a link, or gone: nothing that this store made.
        Err(e)
            if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput)
                || e.raw_os_error() == Some(libc::ELOOP) =>
        {
            return Ok(Unlisted::Foreign)
        }
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let header = match read_header(file.as_ref(), path) {
        Ok(header) => header,
        // Made and not finished.
        Err(Error::Corrupt { .. }) => return Ok(Unlisted::Leftover),
        Err(error) => return Err(error),
    };
    if header.store_uuid != manifest.store_uuid && manifest.generation > 0 {
        return Ok(Unlisted::Foreign);
    }
    // Without a manifest everything that holds records counts: the manifest was lost.
    if manifest.generation > 0 && (header.kind == SegmentKind::Output || header.id < manifest.next_segment_id)
    {
        return Ok(Unlisted::Leftover);
    }
    let mut word = [0; 8];
    let is_empty = file.read_at(FIRST_RECORD_AT, &mut word).is_err() || word == [0; 8];
    Ok(if is_empty { Unlisted::Leftover } else { Unlisted::Newer })
}
