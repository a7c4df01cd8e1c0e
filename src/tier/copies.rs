//! What becomes of a store's entries when others change theirs in Redis.
//!
//! - **H3** What was asked while changes were not heard leaves no copy once they are, nor what was asked before once they are not any
//!   more: whoever begins or ends to hear tells the loads that are under way that they were overtaken, and waits for those that did not see
//!   that. Nothing would tell later that such a copy is old.

use super::mark::is_own;
use super::Shared;
use crate::error::Result;
use crate::record::flags;
use crate::store::{New, Seen, Step, Store};

/// Forgets what stands for a key because Redis holds something else, and what is being loaded for it. `false` where that is not
/// told the tier yet: then it may be the newer one.
pub(super) fn forget(store: &Store, key: &[u8]) -> Result<bool> {
    // Before the look: a load that began earlier leaves nothing (as a delete does, `Loads::note`).
    let is_loading = store.loads.note_elsewhere(key);
    let (_, is_done) = store.write(key, |seen| {
        if store.has_unsent(seen) {
            return Ok(Step::Leave(false));
        }
        if seen.live.is_none() && !is_loading {
            return Ok(Step::Leave(true));
        }
        Ok(Step::Write(dropped(), true))
    })?;
    Ok(is_done)
}

/// Forgets what stands for a key if it is a copy.
pub(crate) fn forget_copy(store: &Store, key: &[u8]) -> Result<()> {
    let decide = |seen: &Seen<'_>| {
        let is_copy = seen.live.is_some() && seen.is_from_tier();
        Ok(if is_copy { Step::Write(dropped(), ()) } else { Step::Leave(()) })
    };
    store.write(key, decide).map(drop)
}

fn dropped() -> New {
    New { flags: flags::FROM_TIER, ..New::tombstone() }
}

impl Shared {
    /// Whether a name without the prefix is that of an entry, and of one that others look for here.
    pub(super) fn is_of(&self, key: &[u8]) -> bool {
        !is_own(key) && self.shard.holds(key)
    }

    /// Somebody else has changed a key in Redis.
    pub(super) fn hear_of(&self, key: &[u8]) {
        if !self.forget(key) {
            self.unsure().insert(key.into());
        }
    }

    /// Those of the keys that nobody was sure of whose change here was sent since.
    pub(super) fn take_unsure(&self) -> Vec<Vec<u8>> {
        let mut unsure = self.unsure();
        if unsure.is_empty() {
            return Vec::new();
        }
        let guard = crossbeam_epoch::pin();
        let mut sent = Vec::new();
        unsure.retain(|key| {
            let is_unsent = self.store.has_unsent(&self.store.look(key, &guard));
            if !is_unsent {
                sent.push(key.to_vec());
            }
            is_unsent
        });
        sent
    }

    fn forget(&self, key: &[u8]) -> bool {
        forget(&self.store, key).unwrap_or_else(|error| {
            // A store that takes no writes keeps its copy; it ends soon, or is full.
            self.store.say(&format!("tier: a copy that is old stays: {error}"));
            true
        })
    }

    /// Forgets every copy of what others wrote.
    pub(super) fn drop_copies(&self) {
        self.forget_where(|seen| seen.is_from_tier());
    }

    /// Forgets everything that Redis was told of or told us.
    pub(super) fn drop_all(&self) {
        self.forget_where(|_| true);
    }

    fn forget_where(&self, is_chosen: impl Fn(&Seen<'_>) -> bool) {
        let store = &*self.store;
        // Cannot fail: what fails for a key is told and goes on.
        let _ = store.walk_keys(|key| {
            let is_chosen = self.shard.holds(key) && {
                let guard = crossbeam_epoch::pin();
                let seen = store.look(key, &guard);
                seen.live.is_some() && is_chosen(&seen)
            };
            if is_chosen && !self.is_stopping() {
                self.forget(key);
            }
            Ok(())
        });
    }

    /// What is being loaded now leaves no copy; `false` if the store ends.
    pub(super) fn settle_loads(&self) -> bool {
        self.store.loads.note_all_elsewhere();
        // Whoever found itself not overtaken holds a guard until its copy can be found.
        self.wait_grace()
    }
}
