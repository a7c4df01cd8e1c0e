//! Copying a store while it is written.

use crate::error::{Error, Result};
use crate::io::create_dirs;
#[cfg(feature = "redis")]
use crate::log::SentFile;
use crate::log::{
    segment_path, store_dictionary, Directory, Extent, Listed, Manifest, Request, FIRST_RECORD_AT,
};
use crate::store::Store;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Copies the resolved log into an empty directory, as a store that was closed.
///
/// The listing holds a share of each segment, so what compaction removes meanwhile stays readable, and the lengths in it
/// are the cut: everything resolved below it, nothing after.
pub(crate) fn backup(store: &Store, to: &Path) -> Result<()> {
    // Nobody answers for a store that is only read.
    if let Some(reason) = &store.read_only {
        return Err(Error::ReadOnly { reason: reason.clone() });
    }
    // Before the cut: what Redis has lies below it. Without it everything is only sent once more.
    #[cfg(feature = "redis")]
    let from = store.log.files.directory.as_ref();
    #[cfg(feature = "redis")]
    let sent = from.and_then(|from| SentFile::peek(from.disk.as_ref(), &from.path).ok());
    let extents = store.log.ask(Request::Listing)?;
    let disk = &*store.options.disk;
    create_dirs(disk, to).map_err(|e| Error::io("create directory", to, e))?;
    let names = disk.list(to).map_err(|e| Error::io("list", to, e))?;
    if let Some(entry) = names.first() {
        let reason = format!("it holds {} already", entry.name.to_string_lossy());
        return Err(Error::NotAStore { path: to.to_path_buf(), reason });
    }
    let directory = Directory::open(&store.options.disk, to)?;
    let mut segments = Vec::new();
    for extent in extents.iter().filter(|extent| extent.seal.records > 0) {
        segments.push(copy(store, extent, to)?);
    }
    // I15: the time leaves with no segment. Acquire: pairs with `store_time`.
    if let (true, Some(tail)) =
        (segments.is_empty() && store.stored_time_ms.load(Ordering::Acquire) > 0, extents.last())
    {
        segments.push(copy(store, tail, to)?);
    }
    let next_base_lsn = extents.iter().map(|extent| extent.segment.end_lsn()).max().unwrap_or(0);
    let manifest = Manifest {
        store_uuid: store.log.files.store_uuid,
        generation: 1,
        next_segment_id: segments.iter().map(|listed| listed.id + 1).max().unwrap_or(1),
        has_dictionaries: store.dictionaries.is_used(),
        // Watches of the original may have been told of what comes behind the cut, at LSNs that this store skips.
        history_lsn: next_base_lsn,
        next_base_lsn,
        segments,
    };
    // After the cut: whatever a record below it names is there (I18).
    for dictionary in store.dictionaries.all() {
        store_dictionary(&directory, store.log.files.store_uuid, dictionary.number(), dictionary.bytes())?;
    }
    directory.sync()?;
    manifest.store(&directory)?;
    // After the manifest: beside none it would say of a new store that Redis has what is written to it.
    #[cfg(feature = "redis")]
    if let Some(sent) = sent.filter(|sent| sent.iter().any(|sent| sent.lsn > 0)) {
        let mut files = SentFile::open(disk, to, sent.len())?;
        files.iter_mut().zip(&sent).try_for_each(|((file, _), sent)| file.store(sent))?;
        files.iter().take(1).try_for_each(|(file, _)| file.sync())?;
    }
    Ok(())
}

fn copy(store: &Store, extent: &Extent, to: &Path) -> Result<Listed> {
    let header = *extent.segment.header();
    // I15: the time may stand in the cell of a tail without records, which is not copied.
    extent.segment.cell().raise_time(store.stored_time_ms.load(Ordering::Acquire));
    let path = segment_path(to, header.id);
    let used = usize::try_from(extent.used_bytes).unwrap_or(usize::MAX);
    let len = used.max(FIRST_RECORD_AT as usize);
    // SAFETY: M2: everything up to the resolved length was written and is decided; the header page holds the cell,
    // which is read here as of any moment: its checks tell a torn one.
    let bytes = unsafe { extent.segment.map().slice(0, len) };
    let bytes = bytes.ok_or_else(|| Error::corrupt(extent.segment.path(), 0, "shorter than its records"))?;
    let disk = &*store.options.disk;
    let file = disk.create(&path, len as u64).map_err(|e| Error::io("create", &path, e))?;
    file.write_at(0, bytes).map_err(|e| Error::io("write", &path, e))?;
    file.sync().map_err(|e| Error::io("sync", &path, e))?;
    Ok(Listed {
        id: header.id,
        base_lsn: header.base_lsn,
        born: header.born,
        capacity_bytes: header.capacity_bytes,
        seal: Some(extent.seal),
    })
}
