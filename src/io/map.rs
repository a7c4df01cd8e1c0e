//! A mapped range of memory, and the only code that turns its addresses into references.
//!
//! Rules that callers keep, cited by SAFETY comments elsewhere:
//!
//! - **M1** A byte range is written by the one thread that reserved it, before the range's first word is
//!   stored (Release); after that the range never changes, but for the word itself, which is atomic.
//! - **M2** A range is read as bytes only after its word was loaded (Acquire) and found written.
//! - **M3** Whoever holds a reference into the map holds the map, or a guard that delays its unmapping (I8).

use super::uninterrupted;
use memmap2::{MmapOptions, MmapRaw};
use std::io::Result;
use std::sync::atomic::AtomicU64;

/// Of x86-64, and of most else.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory of a file, or of nothing but the process.
pub(crate) struct Map {
    raw: MmapRaw,
    /// The file, where the disk that it is on is a simulated one.
    #[cfg(any(test, feature = "testing"))]
    file: Option<Box<dyn super::File>>,
}

impl From<MmapRaw> for Map {
    fn from(raw: MmapRaw) -> Map {
        Map {
            raw,
            #[cfg(any(test, feature = "testing"))]
            file: None,
        }
    }
}

impl Map {
    /// Zeroed private memory, for a store without a path.
    pub(crate) fn anonymous(bytes: usize) -> Result<Map> {
        MmapOptions::new().len(bytes).map_anon().map(|map| Map::from(MmapRaw::from(map)))
    }

    pub(super) fn of_file(file: &std::fs::File, bytes: usize) -> Result<Map> {
        MmapOptions::new().len(bytes).map_raw(file).map(Map::from)
    }

    pub(super) fn of_file_read_only(file: &std::fs::File, bytes: usize) -> Result<Map> {
        MmapOptions::new().len(bytes).map_raw_read_only(file).map(Map::from)
    }

    /// The same map, which syncs through `file` and keeps it.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn keeping(self, file: Box<dyn super::File>) -> Map {
        Map { file: Some(file), ..self }
    }

    /// Makes what was stored durable, as `File::sync` does, and without a descriptor: the system keeps the open file that was
    /// mapped, and reports what it could not write since then. Nothing to do where no file is mapped.
    pub(crate) fn sync(&self) -> Result<()> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(file) = &self.file {
            return file.sync();
        }
        uninterrupted(|| self.raw.flush())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.raw.len()
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }

    /// The eight bytes at `offset` as an atomic; `None` outside of the map or off a multiple of eight.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> Option<&AtomicU64> {
        let end = offset.checked_add(8)?;
        if offset % 8 != 0 || end > self.bytes() {
            return None;
        }
        // SAFETY: in bounds and aligned by the check above (a map begins on a page); words are only
        // ever accessed as atomics once the map is shared (M1).
        Some(unsafe { AtomicU64::from_ptr(self.base().add(offset).cast()) })
    }

    /// Bytes that do not change any more; `None` outside of the map.
    ///
    /// # Safety
    /// M2 holds for the range, or nobody writes the map at all.
    #[inline]
    pub(crate) unsafe fn slice(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let end = offset.checked_add(len)?;
        if end > self.bytes() {
            return None;
        }
        // SAFETY: in bounds by the check above; unchanging by the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(self.base().add(offset), len) })
    }

    /// Bytes that only the caller can reach; `None` outside of the map.
    ///
    /// # Safety
    /// The caller reserved the range and has not stored its word (M1), so no other reference exists.
    #[allow(clippy::mut_from_ref)] // M1 makes the reservation, not the borrow, the proof of exclusiveness.
    pub(crate) unsafe fn reserved(&self, offset: usize, len: usize) -> Option<&mut [u8]> {
        let end = offset.checked_add(len)?;
        if end > self.bytes() {
            return None;
        }
        // SAFETY: in bounds by the check above; exclusive by the caller's promise.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base().add(offset), len) })
    }

    /// Makes the pages of a range present and writable ahead of their use. Best effort: a kernel without
    /// `MADV_POPULATE_WRITE` (before 5.14) takes the faults later instead.
    pub(crate) fn populate(&self, offset: usize, len: usize) {
        #[cfg(target_os = "linux")]
        self.advise(memmap2::Advice::PopulateWrite, offset, len);
    }

    /// As `populate`, for reading.
    pub(crate) fn populate_read(&self, offset: usize, len: usize) {
        #[cfg(target_os = "linux")]
        self.advise(memmap2::Advice::PopulateRead, offset, len);
    }

    #[cfg(target_os = "linux")]
    fn advise(&self, advice: memmap2::Advice, offset: usize, len: usize) {
        let len = len.min(self.bytes().saturating_sub(offset));
        if len > 0 {
            let _ = self.raw.advise_range(advice, offset, len);
        }
    }

    /// Asks for huge pages, which make misses of the address translation rare. Best effort.
    pub(crate) fn prefer_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.raw.advise(memmap2::Advice::HugePage);
    }
}

/// Has the cache line of an address fetched, if there is one: what is read soon, beside other work. Never faults.
#[inline]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint that reads nothing: any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
