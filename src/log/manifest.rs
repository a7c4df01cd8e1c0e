//! The manifest: which segments make up the store.
//!
//! Two files are written in turn, so that a crash inside one write leaves the other; the highest valid
//! generation wins. A segment counts only while a durable manifest lists it.

use super::bytes::{Reader, Writer};
use super::files::Directory;
use super::header::FORMAT_VERSION;
use crate::error::{Error, Result};
use crate::io::{Access, Disk, File};
use std::path::{Path, PathBuf};

const MANIFEST_MAGIC: [u8; 8] = *b"libkvman";
const NAMES: [&str; 2] = ["MANIFEST-0", "MANIFEST-1"];
/// What is added to a name while the file is not whole.
const DRAFT: &str = "new";
const HEAD_BYTES: usize = 8 + 4 + 4 + 16 + 8 * 3;
const ENTRY_BYTES: usize = 8 * 10;
const CRC_BYTES: usize = 4;
#[cfg(test)]
const HISTORY_BYTES: usize = 8 + 8 + 4;
/// Files grow in steps of this, ahead of need, so that a full disk does not stop a manifest write.
const GROWTH_BYTES: u64 = 4 << 10;
/// Entries that a file has room for beyond those in it: what a full disk's deletes and compactions list.
const ENTRIES_AHEAD: usize = 8;

/// Of a store whose records may name dictionaries, which a reader of version 1 alone would not look for.
const VERSION_WITH_DICTIONARIES: u32 = FORMAT_VERSION + 1;

/// Ids and LSNs from here on are forged: a store that wrote 100 GB a second would take months.
pub(super) const COUNT_MAX: u64 = 1 << 61;

/// What is known of a segment that no longer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seal {
    /// End of the last record, from the start of the file.
    pub(crate) used_bytes: u64,
    pub(crate) records: u32,
    pub(crate) committed: u32,
    pub(crate) highest_lsn: u64,
    /// Latest expiry of a record in it, Unix milliseconds; 0 when none expires.
    pub(crate) latest_expiry_ms: u64,
    /// Of the records without their values, so that an open need not read those (`record::heads_crc`).
    pub(crate) heads_crc: u32,
}

/// One segment in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: u64,
    pub(crate) base_lsn: u64,
    pub(crate) born: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) seal: Option<Seal>,
}

/// One generation of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store_uuid: [u8; 16],
    pub(crate) generation: u64,
    /// Segment ids from here on were never used.
    pub(crate) next_segment_id: u64,
    /// LSNs from here on were never inside a listed segment (I17).
    pub(crate) next_base_lsn: u64,
    /// Whether records may name dictionaries (I18).
    pub(crate) has_dictionaries: bool,
    /// What changed behind this LSN can be told from the log (W3): no mask with a higher one was left out.
    pub(crate) history_lsn: u64,
    pub(crate) segments: Vec<Listed>,
}

impl Manifest {
    fn encode(&self) -> Option<Vec<u8>> {
        let bytes = HEAD_BYTES + self.segments.len() * ENTRY_BYTES + CRC_BYTES;
        let mut page = Writer(Vec::with_capacity(bytes));
        page.bytes(&MANIFEST_MAGIC);
        page.u32(if self.has_dictionaries { VERSION_WITH_DICTIONARIES } else { FORMAT_VERSION });
        page.u32(u32::try_from(self.segments.len()).ok()?);
        page.bytes(&self.store_uuid);
        for field in [self.generation, self.next_segment_id, self.next_base_lsn] {
            page.u64(field);
        }
        for listed in &self.segments {
            let seal = listed.seal.unwrap_or_default();
            for field in [listed.id, listed.base_lsn, listed.born, listed.capacity_bytes] {
                page.u64(field);
            }
            page.u64(u64::from(listed.seal.is_some()));
            page.u64(seal.used_bytes);
            page.u32(seal.records);
            page.u32(seal.committed);
            page.u64(seal.highest_lsn);
            page.u64(seal.latest_expiry_ms);
            page.u64(u64::from(seal.heads_crc));
        }
        // Behind the checksum of the rest: who reads only that needs no history.
        let mut page = Writer(page.finish());
        page.u64(self.generation);
        page.u64(self.history_lsn);
        page.u32(history_crc(self.generation, self.history_lsn));
        Some(page.0)
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Manifest> {
        let short = || Error::corrupt(path, bytes.len() as u64, "the manifest ends too early");
        let mut page = Reader::new(bytes);
        let magic: [u8; 8] = page.array().ok_or_else(short)?;
        if magic != MANIFEST_MAGIC {
            return Err(Error::corrupt(path, 0, "not a libkv manifest"));
        }
        let version = page.u32().ok_or_else(short)?;
        if !(FORMAT_VERSION..=VERSION_WITH_DICTIONARIES).contains(&version) {
            let (path, supported) = (path.to_path_buf(), VERSION_WITH_DICTIONARIES);
            return Err(Error::UnsupportedVersion { path, found: version, supported });
        }
        let has_dictionaries = version == VERSION_WITH_DICTIONARIES;
        let count = page.u32().ok_or_else(short)? as usize;
        let store_uuid = page.array().ok_or_else(short)?;
        let mut next = || page.u64().ok_or_else(short);
        let (generation, next_segment_id, next_base_lsn) = (next()?, next()?, next()?);
        // The count is hostile until the checksum was good: it must not size an allocation.
        let room = bytes.len().saturating_sub(HEAD_BYTES + CRC_BYTES) / ENTRY_BYTES;
        if count > room {
            return Err(Error::corrupt(path, 12, format!("{count} segments claimed, room for {room}")));
        }
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            segments.push(decode_listed(&mut page).ok_or_else(short)?);
        }
        if !page.checksum_is_good().ok_or_else(short)? {
            return Err(Error::corrupt(path, 0, "checksum mismatch in the manifest"));
        }
        let ends = segments.iter().flat_map(|s| [s.id, s.born, s.base_lsn, s.capacity_bytes]);
        if ends.chain([generation, next_segment_id, next_base_lsn]).any(|count| count >= COUNT_MAX) {
            return Err(Error::corrupt(path, 0, "the manifest names impossible ids or lengths"));
        }
        // Not written, or torn: then nothing of the past can be told.
        let history_lsn = decode_history(&mut page, generation).unwrap_or(next_base_lsn);
        Ok(Manifest {
            store_uuid,
            generation,
            next_segment_id,
            next_base_lsn,
            has_dictionaries,
            history_lsn,
            segments,
        })
    }

    fn path(dir: &Path, generation: u64) -> PathBuf {
        dir.join(if generation % 2 == 0 { NAMES[0] } else { NAMES[1] })
    }

    /// Writes this generation durably; the file of the generation before, which is on disk, stays as it is.
    pub(crate) fn store(&self, directory: &Directory) -> Result<()> {
        let path = Manifest::path(&directory.path, self.generation);
        let file = match directory.disk.open(&path, Access::ReadWrite) {
            Ok(file) => file,
            // No other generation stands in for the first one of a file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.store_whole(directory),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        self.write(file.as_ref(), &path)
    }

    /// As `store`, but the file gets its name when it is whole on disk. So does an open, which cannot know whether the
    /// generation that it found is: the process before may have died ahead of its sync, or that may have failed. Then
    /// the file that is replaced here holds the only one that is.
    pub(crate) fn store_whole(&self, directory: &Directory) -> Result<()> {
        let (disk, path) = (&directory.disk, Manifest::path(&directory.path, self.generation));
        let draft = path.with_extension(DRAFT);
        // An attempt before this one may have left it.
        let _ = disk.remove(&draft);
        let (_, room_bytes) = self.bytes_and_room(&draft)?;
        let file = disk.create(&draft, room_bytes).map_err(|e| Error::io("create", &draft, e))?;
        self.write(file.as_ref(), &draft)?;
        disk.rename(&draft, &path).map_err(|e| Error::io("rename", &draft, e))?;
        directory.sync()
    }

    /// Bytes, and those that a file of them should have.
    fn bytes_and_room(&self, path: &Path) -> Result<(Vec<u8>, u64)> {
        let bytes = self.encode().ok_or_else(|| Error::corrupt(path, 0, "too many segments to list"))?;
        let ahead_bytes = (bytes.len() + ENTRIES_AHEAD * ENTRY_BYTES) as u64;
        Ok((bytes, ahead_bytes.next_multiple_of(GROWTH_BYTES)))
    }

    fn write(&self, file: &dyn File, path: &Path) -> Result<()> {
        let (bytes, room_bytes) = self.bytes_and_room(path)?;
        // Once the bytes are written the generation may count, so nothing but the sync may fail from there on.
        let held_bytes = file.bytes().map_err(|e| Error::io("stat", path, e))?;
        file.write_at(0, &bytes).map_err(|e| Error::io("write", path, e))?;
        let held_bytes = held_bytes.max(bytes.len() as u64);
        if let Some(missing) = room_bytes.checked_sub(held_bytes).filter(|missing| *missing > 0) {
            // Best effort: room for the next entries, while the disk has some.
            let _ = file.write_at(held_bytes, &vec![0; missing as usize]);
        }
        file.sync().map_err(|e| Error::io("sync", path, e))
    }

    /// Whether a file of this name is a manifest that was never finished.
    pub(crate) fn is_draft(name: &Path) -> bool {
        NAMES.iter().any(|manifest| name == Path::new(manifest).with_extension(DRAFT))
    }

    /// Whether a generation whose `store` failed with this may be found whole by the next open: its bytes were all written,
    /// and only whether they are on disk is unknown.
    pub(crate) fn may_count(error: &Error) -> bool {
        matches!(error, Error::Io { op: "sync" | "sync directory", .. })
    }

    /// The newest generation that is whole; `None` in a directory that has no manifest file at all.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Manifest>> {
        let mut newest: Option<Manifest> = None;
        let mut damage = None;
        for name in NAMES {
            let path = dir.join(name);
            match read_whole(disk, &path) {
                Ok(None) => {}
                // Made and not yet written when the process died.
                Ok(Some(bytes)) if bytes.iter().all(|byte| *byte == 0) => {}
                Ok(Some(bytes)) => match Manifest::decode(&bytes, &path) {
                    Ok(found) if newest.as_ref().is_none_or(|n| n.generation < found.generation) => {
                        newest = Some(found)
                    }
                    Ok(_) => {}
                    // A later version's file beside an old one: the store was upgraded, this one is stale.
                    Err(error @ Error::UnsupportedVersion { .. }) => return Err(error),
                    // One damaged file is what a crash inside a write leaves.
                    Err(error) => damage = Some(error),
                },
                Err(error) => return Err(error),
            }
        }
        match (newest, damage) {
            (None, Some(error)) => Err(error),
            (newest, _) => Ok(newest),
        }
    }
}

/// With the generation: what an older, longer one has left there does not count.
fn decode_history(page: &mut Reader<'_>, generation: u64) -> Option<u64> {
    let (of_generation, history_lsn, crc) = (page.u64()?, page.u64()?, page.u32()?);
    let is_good = of_generation == generation && crc == history_crc(generation, history_lsn);
    (is_good && history_lsn < COUNT_MAX).then_some(history_lsn)
}

fn history_crc(generation: u64, history_lsn: u64) -> u32 {
    crc32fast::hash(&[generation.to_le_bytes(), history_lsn.to_le_bytes()].concat())
}

fn decode_listed(page: &mut Reader<'_>) -> Option<Listed> {
    let (id, base_lsn, born, capacity_bytes) = (page.u64()?, page.u64()?, page.u64()?, page.u64()?);
    let is_sealed = page.u64()? != 0;
    let seal = Seal {
        used_bytes: page.u64()?,
        records: page.u32()?,
        committed: page.u32()?,
        highest_lsn: page.u64()?,
        latest_expiry_ms: page.u64()?,
        heads_crc: u32::try_from(page.u64()?).unwrap_or(0),
    };
    Some(Listed { id, base_lsn, born, capacity_bytes, seal: is_sealed.then_some(seal) })
}

fn read_whole(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    const MANIFEST_BYTES_MAX: u64 = 64 << 20;
    let bytes = file.bytes().map_err(|e| Error::io("stat", path, e))?;
    if bytes > MANIFEST_BYTES_MAX {
        return Err(Error::corrupt(path, 0, format!("{bytes} bytes are too many for a manifest")));
    }
    let mut all = vec![0; bytes as usize];
    file.read_at(0, &mut all).map_err(|e| Error::io("read", path, e))?;
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::OsDisk;
    use std::sync::Arc;

    fn open(dir: &Path) -> Directory {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        Directory::open(&disk, dir).unwrap()
    }

    fn manifest(generation: u64, segments: u64) -> Manifest {
        let listed = |id| Listed {
            id,
            base_lsn: id << 20,
            born: id << 19,
            capacity_bytes: 1 << 20,
            seal: (id % 2 == 0).then_some(Seal {
                used_bytes: 5000 + id,
                records: 9,
                committed: 8,
                highest_lsn: (id << 20) + 4900,
                latest_expiry_ms: id,
                heads_crc: id as u32,
            }),
        };
        Manifest {
            store_uuid: [7; 16],
            generation,
            next_segment_id: segments,
            next_base_lsn: segments << 20,
            has_dictionaries: generation % 3 == 0,
            history_lsn: generation + 5000,
            segments: (0..segments).map(listed).collect(),
        }
    }

    #[test]
    fn the_highest_generation_wins_and_grows_past_its_first_room() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::load(&OsDisk, dir.path()).unwrap(), None);
        for (generation, segments) in [(1, 1), (2, 400), (3, 900), (4, 2)] {
            manifest(generation, segments).store(&open(dir.path())).unwrap();
            let loaded = Manifest::load(&OsDisk, dir.path()).unwrap();
            assert_eq!(loaded, Some(manifest(generation, segments)));
        }
    }

    /// As it is read where what stands behind the list is torn.
    fn without_history(manifest: Manifest) -> Manifest {
        Manifest { history_lsn: manifest.next_base_lsn, ..manifest }
    }

    #[test]
    fn a_file_has_room_for_more_entries_before_they_come() {
        let dir = tempfile::tempdir().unwrap();
        for (generation, segments) in [(1, 1), (3, 50), (5, 56), (7, 400)] {
            let manifest = manifest(generation, segments);
            manifest.store(&open(dir.path())).unwrap();
            let held = std::fs::metadata(Manifest::path(dir.path(), generation)).unwrap().len();
            let needed = manifest.encode().unwrap().len() + ENTRIES_AHEAD * ENTRY_BYTES;
            assert!(held >= needed as u64, "{held} bytes for {segments} segments");
        }
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_generation_before_or_gives_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        manifest(1, 3).store(&open(dir.path())).unwrap();
        manifest(2, 4).store(&open(dir.path())).unwrap();
        let new = manifest(3, 5).encode().unwrap();
        let path = Manifest::path(dir.path(), 3);
        let old = std::fs::read(&path).unwrap();
        for cut in 0..=new.len() {
            let mut torn = old.clone();
            torn[..cut].copy_from_slice(&new[..cut]);
            std::fs::write(&path, &torn).unwrap();
            let got = Manifest::load(&OsDisk, dir.path()).unwrap().unwrap();
            let expected = match new.len() - cut {
                0 => manifest(3, 5),
                1..=HISTORY_BYTES => without_history(manifest(3, 5)),
                _ => manifest(2, 4),
            };
            assert_eq!(got, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_forged_manifest_whose_numbers_would_overflow_is_an_error() {
        let forge = |change: &dyn Fn(&mut Manifest)| {
            let mut forged = manifest(2, 2);
            change(&mut forged);
            Manifest::decode(&forged.encode().unwrap(), Path::new("m"))
        };
        assert!(forge(&|_| ()).is_ok());
        let changes: [&dyn Fn(&mut Manifest); 5] = [
            &|m| m.generation = u64::MAX,
            &|m| m.next_segment_id = u64::MAX,
            &|m| m.next_base_lsn = u64::MAX - 4096,
            &|m| m.segments[0].base_lsn = u64::MAX - (1 << 21),
            &|m| m.segments[1].id = u64::MAX,
        ];
        for change in changes {
            assert!(matches!(forge(change), Err(Error::Corrupt { .. })));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_two_damaged_files_are_corrupt() {
        let good = manifest(2, 2).encode().unwrap();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let got = Manifest::decode(&bytes, Path::new("m"));
            match bit / 8 < good.len() - HISTORY_BYTES {
                true => assert!(got.is_err(), "bit {bit}"),
                false => assert_eq!(got.unwrap(), without_history(manifest(2, 2)), "bit {bit}"),
            }
        }
        let dir = tempfile::tempdir().unwrap();
        for name in NAMES {
            std::fs::write(dir.path().join(name), b"libkvman\x01\0\0\0 and then nothing that fits").unwrap();
        }
        assert!(matches!(Manifest::load(&OsDisk, dir.path()), Err(Error::Corrupt { .. })));
    }
}
