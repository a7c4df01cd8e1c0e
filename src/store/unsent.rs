//! What the tier has not been told of yet.
//!
//! - **H1** Whether a change is unsent says the number of its key's shard alone. By a higher one a mask would leave whose delete was not
//!   sent, and the key come back; by a lower one what others change there would be taken for older than what stands here.

use super::{Seen, Store};
use crate::log::View;
use crate::record::flags;

impl Store {
    /// Whether the tier still has to be told of a change: copies are no news to it.
    pub(crate) fn is_unsent_change(&self, view: &View<'_>) -> bool {
        view.word.flags() & flags::FROM_TIER == 0 && view.lsn >= self.unsent_from(self.shard_of(view.key))
    }

    /// The same of what stands for a key.
    pub(crate) fn has_unsent(&self, seen: &Seen<'_>) -> bool {
        seen.slot.is_some_and(|slot| self.is_unsent_change(&slot.record().1))
    }

    /// LSN from which on a shard of the tier still has to be told. It says nothing about keys of another one.
    pub(crate) fn unsent_from(&self, shard: usize) -> u64 {
        #[cfg(feature = "redis")]
        return self.outbox.sent_lsn(shard);
        #[cfg(not(feature = "redis"))]
        {
            let _ = shard;
            u64::MAX
        }
    }

    /// Number of the tier's shard that has a key.
    pub(crate) fn shard_of(&self, key: &[u8]) -> usize {
        #[cfg(feature = "redis")]
        return self.outbox.shard_of(key);
        #[cfg(not(feature = "redis"))]
        {
            let _ = key;
            0
        }
    }

    pub(crate) fn shards(&self) -> usize {
        #[cfg(feature = "redis")]
        return self.outbox.shards();
        #[cfg(not(feature = "redis"))]
        return 1;
    }

    /// Notes how many masks of a shard, all below an LSN, wait for that, as of the LSN from which on it was to be told. Whether it is
    /// another one now.
    pub(crate) fn note_held_masks(
        &self,
        shard: usize,
        masks: usize,
        below_lsn: u64,
        unsent_from: u64,
    ) -> bool {
        #[cfg(feature = "redis")]
        return self.outbox.note_held_masks(shard, masks, below_lsn, unsent_from);
        #[cfg(not(feature = "redis"))]
        {
            let _ = (shard, masks, below_lsn, unsent_from);
            false
        }
    }

    /// Whether local changes are sent to a tier.
    pub(crate) fn has_outbox(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.outbox.sends();
        #[cfg(not(feature = "redis"))]
        return false;
    }
}
