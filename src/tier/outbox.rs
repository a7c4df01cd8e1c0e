//! What the log holds that the tier has not: the log is the queue.
//!
//! - **O1** As long as a record is unsent, the index holds an entry for its key with at least its LSN, or a batch is about to
//!   publish one: masks that are unsent stay in the index (`expiry::Sweeper`), and copies of the tier's never replace what is
//!   unsent. So what the index says of a key that has an unsent record is what the tier has to be told.
//! - **O2** A listing holds a share of each segment, so what compaction removes meanwhile stays readable; and each record below
//!   its resolved point that O1 asks about lies in one of them.
//! - **O3** After Redis has lost something, records are unsent again that an entry need not stand for any more: a delete whose mask
//!   left, or a value that others have replaced and that was dropped here. Of such a key, and of one that a copy stands for, nothing
//!   is said: what this store knew of it may be older than what others tell Redis.

use crate::log::{parts_from, resolved_lsn, Extent, Part, View};
use crate::record::{flags, Kind, State};
use crate::tier_options::Shard;
use std::collections::HashMap;

/// Changed keys, each once.
pub(super) type Keys = HashMap<Box<[u8]>, Noted, ahash::RandomState>;

/// What the log says of a changed key.
pub(super) struct Noted {
    /// Its last record that was met. Keys in this order are values in the order in which they stand in memory.
    pub(super) lsn: u64,
    /// The LSN that the index must have reached before it is asked: batches publish their members after they committed.
    pub(super) publish_lsn: u64,
}

/// The unsent part of the log as of a moment.
pub(super) struct Unsent {
    parts: Vec<Part>,
    shard: Shard,
    from_lsn: u64,
    /// Everything below is resolved, and stands in the parts.
    pub(super) end_lsn: u64,
    /// The parts are the log's tail, in its order: whoever has read up to an LSN has read all below it.
    is_ordered: bool,
}

impl Unsent {
    /// What of a listing has an LSN of `from_lsn` or more, as far as its key is of the shard. `reached_lsn` is where an earlier reading of
    /// this process came to: a number from a file or from Redis is not taken for the beginning of a record.
    pub(super) fn new(extents: &[Extent], shard: Shard, from_lsn: u64, reached_lsn: u64) -> Unsent {
        let parts = parts_from(extents, from_lsn, from_lsn == reached_lsn);
        let is_ordered = parts.iter().all(Part::is_ordered);
        Unsent { parts, shard, from_lsn, end_lsn: resolved_lsn(extents), is_ordered }
    }

    /// Puts the keys that were changed into `keys`, and calls `pause` behind each record with what is read completely by then,
    /// if that can be told, until it says stop.
    pub(super) fn read<E>(
        &self,
        keys: &mut Keys,
        mut pause: impl FnMut(&mut Keys, Option<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut result = Ok(());
        for part in &self.parts {
            if result.is_err() {
                break;
            }
            let segment = &part.segment;
            segment.walk(part.at, |offset, view| {
                if result.is_err() || view.word.state() != Some(State::Committed) {
                    return;
                }
                if view.word.kind() == Some(Kind::Batch) {
                    segment.members(offset, view, |_, member| self.note(keys, member, member.lsn));
                } else {
                    self.note(keys, view, 0);
                }
                let done_lsn = self.is_ordered.then(|| segment.header().base_lsn + offset + view.bytes());
                result = pause(keys, done_lsn.filter(|lsn| *lsn <= self.end_lsn));
            });
        }
        result
    }

    fn note(&self, keys: &mut Keys, view: &View<'_>, publish_lsn: u64) {
        let is_put_or_mask = matches!(view.word.kind(), Some(Kind::Put | Kind::Tombstone));
        let is_wanted = is_put_or_mask && view.word.flags() & flags::FROM_TIER == 0;
        let is_unsent = || (self.from_lsn..self.end_lsn).contains(&view.lsn);
        if !is_wanted || !is_unsent() || !self.shard.holds(view.key) {
            return;
        }
        match keys.get_mut(view.key) {
            Some(noted) => {
                *noted = Noted { lsn: view.lsn, publish_lsn: publish_lsn.max(noted.publish_lsn) };
            }
            None => drop(keys.insert(view.key.into(), Noted { lsn: view.lsn, publish_lsn })),
        }
    }

    /// How many keys were changed. Reads all of it.
    pub(super) fn count_keys(&self) -> u64 {
        let hasher = ahash::RandomState::new();
        let mut hashes = std::collections::HashSet::new();
        let counted: Result<(), std::convert::Infallible> = self.read(&mut Keys::default(), |keys, _| {
            hashes.extend(keys.drain().map(|(key, _)| hasher.hash_one(key)));
            Ok(())
        });
        let Ok(()) = counted;
        hashes.len() as u64
    }
}
