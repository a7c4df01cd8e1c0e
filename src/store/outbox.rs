//! How far the tier has the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far the tier has the log. The log is the queue to it: no list of changes stands beside.
pub(crate) struct Outbox {
    /// Everything below stands in the tier, or never has to; `u64::MAX` in a store that sends nothing.
    sent_lsn: AtomicU64,
    /// Masks that stay in the index because they were not sent yet.
    pub(crate) held_masks: AtomicU64,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox { sent_lsn: AtomicU64::new(u64::MAX), held_masks: AtomicU64::new(0) }
    }
}

impl Outbox {
    pub(crate) fn sent_lsn(&self) -> u64 {
        // Acquire: pairs with the Release in `set_sent`.
        self.sent_lsn.load(Ordering::Acquire)
    }

    /// Everything below `lsn` has been acknowledged; less than before when the tier has lost some of it.
    pub(crate) fn set_sent(&self, lsn: u64) {
        // Release: pairs with the Acquire in `sent_lsn`.
        self.sent_lsn.store(lsn, Ordering::Release);
    }

    pub(crate) fn sends(&self) -> bool {
        self.sent_lsn() != u64::MAX
    }
}
