//! Words that many threads share; in a file, also processes, and what stands there outlives them.

use std::path::Path;
use std::sync::atomic::AtomicU64;

pub struct Words(memmap2::MmapRaw);

impl Words {
    pub fn in_memory(words: usize) -> Words {
        Words(memmap2::MmapOptions::new().len(words * 8).map_anon().unwrap().into())
    }

    /// Maps a file, which is as long as the words.
    pub fn in_file(path: &Path) -> Words {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        Words(memmap2::MmapOptions::new().map_raw(&file).unwrap())
    }

    pub fn at(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.0.len() / 8, "word {at}");
        // SAFETY: in bounds by the check, aligned since a map begins on a page, and only ever used as atomics.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast::<u64>().add(at)) }
    }
}
