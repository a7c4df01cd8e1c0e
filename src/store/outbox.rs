//! How far the tier has the log.

use crate::tier_options::shard_of;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the tier has the log, each of its shards for itself. The log is the queue to it: no list of changes stands beside.
pub(crate) struct Outbox {
    /// Everything below that a shard is to be told stands there, or never has to; `u64::MAX` in a store that sends nothing.
    sent_lsn: Box<[AtomicU64]>,
    /// Masks that stay in the index because they were not sent yet, of each shard.
    held_masks: Box<[AtomicU64]>,
    /// LSN that all of them lie below.
    held_below_lsn: Box<[AtomicU64]>,
}

impl Outbox {
    pub(crate) fn new(shards: usize) -> Outbox {
        let nothing_to_send = || AtomicU64::new(u64::MAX);
        Outbox {
            sent_lsn: std::iter::repeat_with(nothing_to_send).take(shards).collect(),
            held_masks: std::iter::repeat_with(AtomicU64::default).take(shards).collect(),
            held_below_lsn: std::iter::repeat_with(AtomicU64::default).take(shards).collect(),
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

    /// As of when masks were looked at last: none if all of those were sent since.
    pub(crate) fn held_masks(&self, shard: usize) -> u64 {
        let (Some(held), Some(below_lsn)) = (self.held_masks.get(shard), self.held_below_lsn.get(shard))
        else {
            return 0;
        };
        // Acquire: the count is of these masks or of later ones; pairs with the Release in `note_held_masks`.
        match self.sent_lsn(shard) >= below_lsn.load(Ordering::Acquire) {
            true => 0,
            // Relaxed: behind the Acquire.
            false => held.load(Ordering::Relaxed),
        }
    }

    /// Notes how many masks, all below an LSN, were held when a shard was to be told from another one on. Whether that has changed.
    pub(crate) fn note_held_masks(
        &self,
        shard: usize,
        masks: usize,
        below_lsn: u64,
        unsent_from: u64,
    ) -> bool {
        let (Some(held), Some(held_below_lsn)) = (self.held_masks.get(shard), self.held_below_lsn.get(shard))
        else {
            return false;
        };
        // SeqCst, both: as in `set_sent`.
        held.store(masks as u64, Ordering::SeqCst);
        // Release: publishes the count; pairs with the Acquire in `held_masks`.
        held_below_lsn.store(below_lsn, Ordering::Release);
        let has_changed =
            self.sent_lsn.get(shard).is_some_and(|now| now.load(Ordering::SeqCst) != unsent_from);
        masks > 0 && has_changed
    }

    pub(crate) fn sends(&self) -> bool {
        self.sent_lsn(0) != u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_held_until_all_that_were_counted_are_sent_and_counted_anew_when_some_are() {
        let outbox = Outbox::new(2);
        assert!(!outbox.set_sent(0, 5));
        assert!(!outbox.note_held_masks(0, 10, 100, 5));
        assert_eq!((outbox.held_masks(0), outbox.held_masks(1)), (10, 0));
        // A tier that takes some all the time has room no sooner.
        assert!(outbox.set_sent(0, 99));
        assert_eq!(outbox.held_masks(0), 10);
        assert!(outbox.note_held_masks(0, 1, 100, 5), "counted as of before");
        assert!(outbox.set_sent(0, 100));
        assert_eq!(outbox.held_masks(0), 0);
        assert!(outbox.set_sent(0, 7), "it has lost some");
        assert_eq!(outbox.held_masks(0), 1);
        assert!(!outbox.note_held_masks(0, 0, 0, 3), "nothing is left to look at");
    }
}
