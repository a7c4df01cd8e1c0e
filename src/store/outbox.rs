//! How far the tier has the log.

use crate::tier_options::shard_of;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the tier has the log, each of its shards for itself. The log is the queue to it: no list of changes stands beside.
pub(crate) struct Outbox {
    /// Everything below that a shard is to be told stands there, or never has to; `u64::MAX` in a store that sends nothing.
    sent_lsn: Box<[AtomicU64]>,
    /// Masks that stay in the index because they were not sent yet, of each shard.
    held_masks: Box<[AtomicU64]>,
}

impl Outbox {
    pub(crate) fn new(shards: usize) -> Outbox {
        let nothing_to_send = || AtomicU64::new(u64::MAX);
        Outbox {
            sent_lsn: std::iter::repeat_with(nothing_to_send).take(shards).collect(),
            held_masks: std::iter::repeat_with(AtomicU64::default).take(shards).collect(),
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.sent_lsn.len()
    }

    pub(crate) fn shard_of(&self, key: &[u8]) -> usize {
        shard_of(key, self.shards())
    }

    pub(crate) fn sent_lsn(&self, shard: usize) -> u64 {
        // Acquire: pairs with the Release in `set_sent`.
        self.sent_lsn.get(shard).map_or(u64::MAX, |lsn| lsn.load(Ordering::Acquire))
    }

    /// Everything below `lsn` that a shard is to be told has been acknowledged; less than before when it has lost some of it.
    pub(crate) fn set_sent(&self, shard: usize, lsn: u64) {
        if let Some(sent_lsn) = self.sent_lsn.get(shard) {
            // Release: pairs with the Acquire in `sent_lsn`.
            sent_lsn.store(lsn, Ordering::Release);
        }
    }

    /// A figure, as of when masks were looked at last.
    pub(crate) fn held_masks(&self, shard: usize) -> u64 {
        // Relaxed: nothing is read by it.
        self.held_masks.get(shard).map_or(0, |held| held.load(Ordering::Relaxed))
    }

    pub(crate) fn note_held_masks(&self, shard: usize, masks: usize) {
        if let Some(held) = self.held_masks.get(shard) {
            // Relaxed: as in `held_masks`.
            held.store(masks as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn sends(&self) -> bool {
        self.sent_lsn(0) != u64::MAX
    }
}
