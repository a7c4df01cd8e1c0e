//! Counters that threads add to without meeting each other.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

const STRIPES: usize = 64;

/// A sum whose parts lie in cache lines of their own.
/// On the heap: a store's counters take 100 KiB, and hosts open stores from threads with small stacks.
pub(crate) struct Striped(Box<[CachePadded<AtomicI64>]>);

impl Default for Striped {
    fn default() -> Self {
        Striped(std::iter::repeat_with(CachePadded::default).take(STRIPES).collect())
    }
}

#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Relaxed: only spreads threads.
        static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}

impl Striped {
    pub(crate) fn add(&self, n: i64) {
        if let Some(part) = self.0.get(stripe()) {
            // Relaxed: a count that orders nothing.
            part.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Counts one, without a locked instruction, which would keep the processor from overlapping one read's cache
    /// misses with the next one's. Threads that share a stripe may lose a count to each other.
    #[inline]
    pub(crate) fn count(&self) {
        if let Some(part) = self.0.get(stripe()) {
            // Relaxed: a statistic.
            part.store(part.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        let sum: i64 = self.0.iter().map(|part| part.load(Ordering::Relaxed)).sum();
        u64::try_from(sum).unwrap_or(0)
    }
}

/// What a store counts while it runs.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) entries: Striped,
    pub(crate) live_bytes: Striped,
    pub(crate) hits: Striped,
    pub(crate) misses: Striped,
    pub(crate) writes: Striped,
    pub(crate) deletes: Striped,
    pub(crate) expired: Striped,
    pub(crate) evicted: Striped,
    pub(crate) aborted: Striped,
    pub(crate) compactions: Striped,
    pub(crate) relocated_bytes: Striped,
    pub(crate) reclaimed_bytes: Striped,
    /// Values of up to 64 KiB that were written to a store which compresses, and what they took.
    pub(crate) compressed_from_bytes: Striped,
    pub(crate) compressed_to_bytes: Striped,
    pub(crate) masks_removed: Striped,
}
