//! How far the tier has the log.

use crate::tier_options::shard_of;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the tier has the log, each of its shards for itself. The log is the queue to it: no list of changes stands beside.
pub(crate) struct Outbox {
    /// Everything below that a shard is to be told stands there, or never has to; `u64::MAX` in a store that sends nothing.
    sent_lsn: Box<[AtomicU64]>,
    /// Masks that stay in the index because they were not sent yet, of each shard.
    held_masks: Box<[AtomicU64]>,
    /// What `sent_lsn` was when they were counted.
    counted_at_lsn: Box<[AtomicU64]>,
}

impl Outbox {
    pub(crate) fn new(shards: usize) -> Outbox {
        let nothing_to_send = || AtomicU64::new(u64::MAX);
        Outbox {
            sent_lsn: std::iter::repeat_with(nothing_to_send).take(shards).collect(),
            held_masks: std::iter::repeat_with(AtomicU64::default).take(shards).collect(),
            counted_at_lsn: std::iter::repeat_with(AtomicU64::default).take(shards).collect(),
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

    /// Everything below `lsn` that a shard is to be told has been acknowledged; less than before when it has lost some of it. Whether
    /// masks were held until then: the maintenance thread has to look at them.
    pub(crate) fn set_sent(&self, shard: usize, lsn: u64) -> bool {
        let Some(sent_lsn) = self.sent_lsn.get(shard) else { return false };
        // Release: pairs with the Acquire in `sent_lsn`. SeqCst, both: one of this and `note_held_masks` sees what the other
        // stored, so that masks that were just counted are not left behind.
        sent_lsn.store(lsn, Ordering::SeqCst);
        self.held_masks.get(shard).is_some_and(|held| held.load(Ordering::SeqCst) > 0)
    }

    /// As of when masks were looked at last.
    pub(crate) fn held_masks(&self, shard: usize) -> u64 {
        // Relaxed: a figure, and in `masks_that_wait` the count after its LSN.
        self.held_masks.get(shard).map_or(0, |held| held.load(Ordering::Relaxed))
    }

    /// The same, and none where the shard was told of some of them since.
    pub(crate) fn masks_that_wait(&self, shard: usize) -> u64 {
        // Acquire: the count is of this LSN or a later one; pairs with the Release in `note_held_masks`.
        let counted_at_lsn = self.counted_at_lsn.get(shard).map(|lsn| lsn.load(Ordering::Acquire));
        match counted_at_lsn == Some(self.sent_lsn(shard)) {
            true => self.held_masks(shard),
            false => 0,
        }
    }

    /// Notes how many masks were held when everything below `sent_lsn` had been sent. Whether that is over.
    pub(crate) fn note_held_masks(&self, shard: usize, masks: usize, sent_lsn: u64) -> bool {
        let (Some(held), Some(counted_at_lsn)) = (self.held_masks.get(shard), self.counted_at_lsn.get(shard))
        else {
            return false;
        };
        // SeqCst, both: as in `set_sent`.
        held.store(masks as u64, Ordering::SeqCst);
        // Release: publishes the count; pairs with the Acquire in `masks_that_wait`.
        counted_at_lsn.store(sent_lsn, Ordering::Release);
        let is_sent = self.sent_lsn.get(shard).is_some_and(|now| now.load(Ordering::SeqCst) != sent_lsn);
        masks > 0 && is_sent
    }

    pub(crate) fn sends(&self) -> bool {
        self.sent_lsn(0) != u64::MAX
    }
}
