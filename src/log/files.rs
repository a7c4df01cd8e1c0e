//! Where segments come from: files of a directory, or memory.

use super::header::{SegmentHeader, SegmentKind};
use super::manifest::{Listed, Manifest, COUNT_MAX};
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::io::{random_u64, Access, Disk, File, Identity, Map, OpenDir, HUGE_PAGE_BYTES};
use crate::record::HEADER_BYTES;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

const SUFFIX: &str = "seg";
/// Held back on disk, by name of who may use it (P7).
const RESERVES: [&str; 2] = ["RESERVE-TOMBSTONES", "RESERVE-COMPACTION"];

/// What is added to a reserve's name while a larger one is made.
const LARGER: &str = "new";

/// Who may use a reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserve {
    Tombstones = 0,
    Compaction = 1,
}

/// A segment to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) kind: SegmentKind,
    pub(crate) id: u64,
    pub(crate) base_lsn: u64,
    pub(crate) born: u64,
    pub(crate) capacity_bytes: u64,
}

/// A directory that holds a store.
#[derive(Clone)]
pub(crate) struct Directory {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    /// Held open: a sync that wants a descriptor where there is none left would be one that failed (P7).
    open: Arc<dyn OpenDir>,
}

impl Directory {
    /// Opens one that is there.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Directory> {
        let open = disk.open_dir(path).map_err(|e| Error::io("open directory", path, e))?;
        Ok(Directory { disk: Arc::clone(disk), path: path.to_path_buf(), open: open.into() })
    }

    /// Makes created, renamed and removed names durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.open.sync().map_err(|e| Error::io("sync directory", &self.path, e))
    }
}

/// Makes segments.
pub(crate) struct Files {
    /// `None` for a store in memory.
    pub(crate) directory: Option<Directory>,
    pub(crate) store_uuid: [u8; 16],
    pub(crate) boot_id: [u8; 16],
    /// Least size of what is held back for a full disk.
    pub(crate) reserve_bytes: u64,
    /// What is to be held back for compaction, and what is.
    wanted_bytes: AtomicU64,
    held_bytes: AtomicU64,
}

/// The file of segment `id`.
pub(crate) fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016x}.{SUFFIX}"))
}

/// The id in a segment file's name.
pub(crate) fn id_in_name(name: &Path) -> Option<u64> {
    let stem = name.file_stem()?.to_str()?;
    let is_ours = name.extension()? == SUFFIX && stem.len() == 16;
    is_ours.then(|| u64::from_str_radix(stem, 16).ok()).flatten().filter(|id| *id < COUNT_MAX)
}

/// Whether a file of this name holds back space and nothing else.
pub(crate) fn is_reserve(name: &Path) -> bool {
    RESERVES.iter().any(|held| name == Path::new(held) || name == Path::new(held).with_extension(LARGER))
}

/// A fresh random identity.
pub(crate) fn random_uuid() -> [u8; 16] {
    (u128::from(random_u64()) << 64 | u128::from(random_u64())).to_le_bytes()
}

impl Files {
    pub(crate) fn new(
        directory: Option<Directory>,
        store_uuid: [u8; 16],
        boot_id: [u8; 16],
        reserve_bytes: u64,
    ) -> Files {
        let wanted_bytes = AtomicU64::new(reserve_bytes);
        Files { directory, store_uuid, boot_id, reserve_bytes, wanted_bytes, held_bytes: AtomicU64::new(0) }
    }

    fn header(&self, plan: &Plan, file: Identity) -> SegmentHeader {
        SegmentHeader {
            kind: plan.kind,
            store_uuid: self.store_uuid,
            id: plan.id,
            base_lsn: plan.base_lsn,
            born: plan.born,
            capacity_bytes: plan.capacity_bytes,
            salt: random_u64(),
            boot_id: self.boot_id,
            file,
        }
    }

    /// Creates a segment, allocated and with its header durable; its name is durable after `sync_names`.
    pub(crate) fn create(&self, plan: &Plan, number: u16) -> Result<Segment> {
        let Some(directory) = &self.directory else {
            return in_memory(
                &self.header(&whole_huge_pages(plan), Identity { device: 0, inode: plan.id }),
                number,
            );
        };
        let path = segment_path(&directory.path, plan.id);
        let file = directory.disk.create(&path, plan.capacity_bytes);
        let file = file.map_err(|e| Error::io("create", &path, e))?;
        self.finish(directory, path, file, plan, number)
    }

    /// As `create`, out of what was held back for the case that the disk is full.
    pub(crate) fn create_from(&self, reserve: Reserve, plan: &Plan, number: u16) -> Result<Segment> {
        let Some(directory) = &self.directory else { return self.create(plan, number) };
        let held = reserve_path(directory, reserve);
        let path = segment_path(&directory.path, plan.id);
        // Before it is renamed: what is held back stays where nothing can be made of it.
        let file = directory.disk.open(&held, Access::ReadWrite).map_err(|e| Error::io("open", &held, e))?;
        // One that an open with other options left has another size, and the header must name the file's own.
        let capacity_bytes = file.bytes().map_err(|e| Error::io("stat", &held, e))?;
        directory.disk.rename(&held, &path).map_err(|e| Error::io("rename", &held, e))?;
        let plan = Plan { capacity_bytes, ..*plan };
        self.finish(directory, path, file, &plan, number)
    }

    fn finish(
        &self,
        directory: &Directory,
        path: PathBuf,
        file: Box<dyn File>,
        plan: &Plan,
        number: u16,
    ) -> Result<Segment> {
        let made = (|| {
            let identity = file.identity().map_err(|e| Error::io("stat", &path, e))?;
            let header = self.header(plan, identity);
            // Through the mapping, as everything else: a `write` would leave the file's first pages in large folios.
            let map = file.map().map_err(|e| Error::io("map", &path, e))?;
            write_header(&map, &header);
            file.sync().map_err(|e| Error::io("sync", &path, e))?;
            Ok(Segment::new(header, map, number).in_file(file, path.clone()))
        })();
        if made.is_err() {
            // Not listed yet, so nobody misses it; what cannot be removed now is a leftover at the next open.
            let _ = directory.disk.remove(&path);
        }
        made
    }

    /// Makes created, renamed and removed names durable.
    pub(crate) fn sync_names(&self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        directory.sync()
    }

    pub(crate) fn store_manifest(&self, manifest: &Manifest) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        manifest.store(directory)
    }

    /// As `store_manifest`, for the first one of an open.
    pub(crate) fn store_manifest_whole(&self, manifest: &Manifest) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        manifest.store_whole(directory)
    }

    /// Removes the file of a segment that no durable manifest lists.
    pub(crate) fn remove(&self, segment: &Segment) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        directory.disk.remove(segment.path()).map_err(|e| Error::io("remove", segment.path(), e))
    }

    /// Holds back `bytes` for compaction from now on, while the disk has so much; whether it has.
    pub(crate) fn hold_back(&self, bytes: u64) -> bool {
        // Relaxed: this and what is held are sizes, which order nothing.
        self.wanted_bytes.store(bytes.max(self.reserve_bytes), Ordering::Relaxed);
        self.refill_reserves()
    }

    /// The largest segment whose records compaction can copy though the disk is full.
    pub(crate) fn copied_bytes_max(&self) -> u64 {
        match self.directory {
            Some(_) => self.held_bytes.load(Ordering::Relaxed).max(self.reserve_bytes),
            None => u64::MAX,
        }
    }

    /// Holds space back where it is not yet, for compaction first. Best effort: on a full disk what is lacking stays so until
    /// the next attempt. Returns whether all of it is held.
    pub(crate) fn refill_reserves(&self) -> bool {
        let wanted_bytes = self.wanted_bytes.load(Ordering::Relaxed);
        let held = self.refill(Reserve::Compaction, wanted_bytes);
        self.held_bytes.store(held.as_ref().map_or(0, |bytes| *bytes), Ordering::Relaxed);
        held.is_ok_and(|held_bytes| {
            self.refill(Reserve::Tombstones, self.reserve_bytes).is_ok() && held_bytes >= wanted_bytes
        })
    }

    /// Holds `bytes` back, or what the disk still has of that. Returns how much.
    fn refill(&self, reserve: Reserve, bytes: u64) -> std::io::Result<u64> {
        let Some(directory) = &self.directory else { return Ok(0) };
        let disk = &directory.disk;
        let path = reserve_path(directory, reserve);
        let mut made_bytes = bytes;
        loop {
            match disk.create(&path, made_bytes) {
                Ok(_) => return Ok(made_bytes),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => break,
                // In small steps: the less is held, the more of a segment must be dead for it to go.
                Err(_) if made_bytes > self.reserve_bytes => {
                    made_bytes = (made_bytes - made_bytes / 16).max(self.reserve_bytes);
                }
                Err(error) => return Err(error),
            }
        }
        let file = disk.open(&path, Access::ReadWrite)?;
        let held_bytes = file.bytes()?;
        if held_bytes >= 2 * bytes {
            file.truncate(bytes)?;
            return Ok(bytes);
        }
        if held_bytes >= bytes {
            return Ok(held_bytes);
        }
        // Beside the one that is there: it must not be gone when the disk turns out to be full.
        let larger = path.with_extension(LARGER);
        let _ = disk.remove(&larger);
        let made = disk.create(&larger, bytes).and_then(|_| disk.rename(&larger, &path));
        Ok(if made.is_ok() { bytes } else { held_bytes })
    }

    /// Gives back what was held back: a closed store holds nothing but itself.
    pub(crate) fn give_back_reserves(&self) {
        let Some(directory) = &self.directory else { return };
        for reserve in [Reserve::Tombstones, Reserve::Compaction] {
            // Best effort: what stays is used again at the next open.
            let _ = directory.disk.remove(&reserve_path(directory, reserve));
        }
    }

    /// Cuts a sealed segment's file behind its last record. Best effort: space, not safety. The head of what stood there stays: who walks
    /// the segment while it is sealed, having read that it is not, looks at it.
    pub(crate) fn trim(&self, segment: &Segment, used_bytes: u64) {
        const PAGE_BYTES: u64 = 4096;
        if let Some(file) = segment.file() {
            let keep = (used_bytes + HEADER_BYTES as u64).next_multiple_of(PAGE_BYTES);
            if keep < segment.capacity_bytes() {
                let _ = file.truncate(keep);
            }
        }
    }
}

fn reserve_path(directory: &Directory, reserve: Reserve) -> PathBuf {
    directory.path.join(RESERVES[reserve as usize])
}

/// A tail in memory that is large enough for huge pages consists of them: the system then begins it on one too. Outputs are as
/// large as what they hold.
fn whole_huge_pages(plan: &Plan) -> Plan {
    let huge = HUGE_PAGE_BYTES as u64;
    let is_large = plan.kind == SegmentKind::Tail && plan.capacity_bytes >= huge;
    let unit = if is_large { huge } else { 1 };
    Plan { capacity_bytes: plan.capacity_bytes.next_multiple_of(unit), ..*plan }
}

fn in_memory(header: &SegmentHeader, number: u16) -> Result<Segment> {
    let bytes = usize::try_from(header.capacity_bytes).unwrap_or(usize::MAX);
    let map = Map::anonymous(bytes).map_err(|e| Error::io("map memory for", Path::new("a segment"), e))?;
    map.prefer_huge_pages();
    write_header(&map, header);
    Ok(Segment::new(*header, map, number))
}

fn write_header(map: &Map, header: &SegmentHeader) {
    let bytes = header.encode();
    // SAFETY: M1: the map is new and this thread's alone.
    if let Some(page) = unsafe { map.reserved(0, bytes.len()) } {
        page.copy_from_slice(&bytes);
    }
}

/// How the manifest lists a segment that is not sealed.
pub(crate) fn listed(segment: &Segment) -> Listed {
    let header = segment.header();
    Listed {
        id: header.id,
        base_lsn: header.base_lsn,
        born: header.born,
        capacity_bytes: header.capacity_bytes,
        seal: None,
    }
}
