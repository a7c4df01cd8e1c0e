//! How far back the log tells what changed (W3 in `src/watch.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

/// LSNs of masks that were left out, for nothing that they hide was left: the log does not tell of those removals any more.
#[derive(Default)]
pub(crate) struct History {
    /// The highest of those that went before this open.
    before_lsn: AtomicU64,
    /// The highest that has gone since.
    freed_lsn: AtomicU64,
}

impl History {
    /// What the manifest said.
    pub(crate) fn begin(&self, before_lsn: u64) {
        // Relaxed: set before the store is shared.
        self.before_lsn.store(before_lsn, Ordering::Relaxed);
    }

    /// Masks up to `lsn` are about to leave the listing.
    pub(super) fn free(&self, lsn: u64) {
        // Release: whoever has a listing without those masks finds this; pairs with `freed_lsn`.
        self.freed_lsn.fetch_max(lsn, Ordering::Release);
    }

    pub(crate) fn freed_lsn(&self) -> u64 {
        // Acquire: pairs with the Release in `free`.
        self.freed_lsn.load(Ordering::Acquire)
    }

    /// Every mask behind this is in the log.
    pub(crate) fn lsn(&self) -> u64 {
        self.freed_lsn().max(self.before_lsn.load(Ordering::Relaxed))
    }
}
