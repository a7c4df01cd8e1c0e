//! A file of the simulated disk: what the system sees of it, and what is surely on the disk.

use super::image::{Choice, Fate, Rng};
use super::lock;
use std::io::{Error, Result};
use std::ops::Range;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

/// What a disk writes as a whole.
pub(super) const SECTOR_BYTES: usize = 512;

pub(super) struct Inode {
    pub(super) number: u64,
    /// What the system sees, in memory that any number of maps share.
    pub(super) memory: std::fs::File,
    pub(super) kept: Mutex<Kept>,
    /// Open descriptors and maps.
    pub(super) shares: AtomicUsize,
}

/// Content, and the offsets of sectors in it that are neither old nor new.
pub(super) type Found = (Arc<Vec<u8>>, Vec<(usize, Fate)>);

#[derive(Clone, Default)]
pub(super) struct Kept {
    /// What is surely on the disk.
    pub(super) durable: Arc<Vec<u8>>,
    /// What the system believes to be there, where that is more than is: after a failed sync (P7).
    clean: Option<Vec<u8>>,
    /// Given up by a `write` over it, and not synced since: it may hold anything.
    overwritten: Vec<Range<usize>>,
}

impl Kept {
    pub(super) fn synced(content: Arc<Vec<u8>>) -> Kept {
        Kept { durable: content, ..Kept::default() }
    }

    pub(super) fn note_overwritten(&mut self, offset: u64, len: usize) {
        let start = offset as usize;
        self.overwritten.push(start..start + len);
    }

    /// Whether no sync has promised that what this sector holds stays: it was never synced with anything in it, or was
    /// written over as a whole range. A disk keeps the other bytes of a sector while it writes some of them.
    fn is_expendable(&self, sector: &Range<usize>) -> bool {
        // Zeros may be the end of what was synced; then something stands right before them.
        let held = part(&self.durable, &(sector.start.saturating_sub(8)..sector.end));
        held.iter().all(|byte| *byte == 0)
            || self.overwritten.iter().any(|range| range.start <= sector.start && sector.start < range.end)
    }
}

fn sectors(bytes: usize) -> impl Iterator<Item = Range<usize>> {
    (0..bytes).step_by(SECTOR_BYTES).map(move |at| at..(at + SECTOR_BYTES).min(bytes))
}

/// A part of a file, as far as the file reaches.
fn part<'b>(of: &'b [u8], range: &Range<usize>) -> &'b [u8] {
    of.get(range.start.min(of.len())..range.end.min(of.len())).unwrap_or_default()
}

/// Whether a part is the same in both, with zeros where a file does not reach.
fn is_same(a: &[u8], b: &[u8], range: &Range<usize>) -> bool {
    let (a, b) = (part(a, range), part(b, range));
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.starts_with(short) && long.iter().skip(short.len()).all(|byte| *byte == 0)
}

fn take_over(to: &mut [u8], from: &[u8], range: &Range<usize>) {
    let from = part(from, range);
    if let Some(to) = to.get_mut(range.start..range.start + from.len()) {
        to.copy_from_slice(from);
    }
}

impl Inode {
    /// A file that another boot finds with this content.
    pub(super) fn new(number: u64, content: Arc<Vec<u8>>) -> Result<Inode> {
        // SAFETY: a plain system call with a string that ends in NUL.
        let descriptor = unsafe { libc::memfd_create(c"kv-sim".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let memory = unsafe { std::fs::File::from_raw_fd(descriptor) };
        memory.write_all_at(&content, 0)?;
        Ok(Inode { number, memory, kept: Mutex::new(Kept::synced(content)), shares: AtomicUsize::new(0) })
    }

    /// The same file once more, of which the same is on the disk.
    pub(super) fn copy(&self) -> Result<Inode> {
        let (now, kept) = (self.content(), lock(&self.kept));
        // Shared where nothing is dirty.
        let now = if *kept.durable == now { Arc::clone(&kept.durable) } else { Arc::new(now) };
        let copy = Inode::new(self.number, now)?;
        *lock(&copy.kept) = kept.clone();
        Ok(copy)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.memory.metadata().map_or(0, |meta| meta.len())
    }

    pub(super) fn content(&self) -> Vec<u8> {
        let mut all = vec![0; self.bytes() as usize];
        // A memory file gives what it has.
        let _ = self.memory.read_exact_at(&mut all, 0);
        all
    }

    /// Takes what the system believes to be dirty over to the disk, where `takes` says so.
    pub(super) fn write_out(&self, mut takes: impl FnMut() -> bool) {
        let now = self.content();
        let mut kept = lock(&self.kept);
        let Kept { durable, clean, .. } = &mut *kept;
        if clean.is_none() && **durable == now {
            return;
        }
        if durable.len() != now.len() && takes() {
            Arc::make_mut(durable).resize(now.len(), 0);
        }
        for range in sectors(now.len().min(durable.len())) {
            let believed = clean.as_deref().unwrap_or(durable);
            if !is_same(believed, &now, &range) && takes() {
                take_over(Arc::make_mut(durable).as_mut_slice(), &now, &range);
                if let Some(clean) = clean {
                    clean.resize(now.len().max(clean.len()), 0);
                    take_over(clean, &now, &range);
                }
            }
        }
    }

    /// Everything dirty is on the disk now.
    pub(super) fn sync(&self) {
        self.write_out(|| true);
        lock(&self.kept).overwritten.clear();
    }

    /// What the kernel does when it cannot write: the pages count as clean, and no later sync writes them.
    pub(super) fn lose(&self) {
        lock(&self.kept).clean = Some(self.content());
    }

    /// What is found of the file when power is lost now, and which sectors of that are neither old nor new. `stale` is what
    /// another file holds.
    pub(super) fn image(&self, choice: Choice, rng: &mut Rng, stale: &[u8]) -> Found {
        let (now, kept) = (self.content(), lock(&self.kept));
        if *kept.durable == now {
            return (Arc::clone(&kept.durable), Vec::new());
        }
        let has_new_len = now.len() == kept.durable.len() || choice.takes_len(rng);
        let len = if has_new_len { now.len() } else { kept.durable.len() };
        let mut image = kept.durable.as_ref().clone();
        image.resize(len, 0);
        let dirty: Vec<_> =
            sectors(len.min(now.len())).filter(|range| !is_same(&kept.durable, &now, range)).collect();
        let mut spoilt = Vec::new();
        for (n, range) in dirty.iter().enumerate() {
            let fate = choice.fate(n, dirty.len(), range.start, kept.is_expendable(range), rng);
            if !matches!(fate, Fate::Old | Fate::New) {
                spoilt.push((range.start, fate));
            }
            match fate {
                Fate::Old => {}
                Fate::New => take_over(&mut image, &now, range),
                Fate::Zeros => image[range.clone()].fill(0),
                Fate::Stale => take_over(&mut image, stale, range),
                Fate::Garbage => image[range.clone()].fill_with(|| rng.next() as u8),
            }
        }
        (Arc::new(image), spoilt)
    }
}
