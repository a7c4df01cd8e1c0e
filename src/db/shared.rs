//! What a store does with its tier: asks it, keeps copies of what it holds, waits for it.

use super::read::refuse_pinned;
use super::write::Stored;
use super::Db;
use crate::error::Result;
use crate::record::{flags, Kind};
use crate::store::{New, NewValue, Seen, Step, Store};
use crate::tier::{is_unsent, Fetched, Tier, TierStats};
use std::time::Duration;

/// Whether a change of this store says that a key is gone, and the tier was not told yet: then only the store knows.
fn is_gone_unsent(store: &Store, seen: &Seen<'_>) -> bool {
    seen.live.is_none() && is_unsent(store, seen)
}

impl Db {
    /// What Redis holds for a key that this store has not; a copy of it is kept. One thread asks for a key at a time, and what
    /// was changed here meanwhile stays.
    pub(super) fn ask_tier(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match &self.shared.tier {
            Some(tier) if tier.options().reads => self.read_through(tier, key),
            _ => Ok(None),
        }
    }

    #[cold]
    fn read_through(&self, tier: &Tier, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let store = self.open_store()?;
        {
            let guard = crossbeam_epoch::pin();
            let seen = store.look(key, &guard);
            if is_gone_unsent(store, &seen) {
                return Ok(None);
            }
            if seen.live.is_some() {
                return Ok(Some(store.value_seen(&seen)?.into_owned()));
            }
        }
        if self.shared.store.loads.is_not_to_be_joined(key) {
            return Ok(match tier.fetch(key)? {
                Fetched::Found { value, .. } => Some(value),
                Fetched::Absent => None,
            });
        }
        // A loader may be waiting for this thread's pin.
        let may_wait = || refuse_pinned("a read that falls through");
        self.shared.store.loads.fly(key, may_wait, || match self.get_local(key)? {
            Some(value) => Ok(Some(value)),
            None => self.load_shared(key),
        })
    }

    /// Asks the tier, in the one thread that loads the key, and keeps a copy.
    pub(super) fn load_shared(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(tier) = self.shared.tier.as_ref().filter(|tier| tier.options().reads) else {
            return Ok(None);
        };
        let store = self.open_store()?;
        let is_gone = {
            let guard = crossbeam_epoch::pin();
            is_gone_unsent(store, &store.look(key, &guard))
        };
        if is_gone {
            return Ok(None);
        }
        let Fetched::Found { value, expire_at_ms } = tier.fetch(key)? else { return Ok(None) };
        if expire_at_ms != 0 && expire_at_ms <= store.clock.now_ms() {
            return Ok(None);
        }
        if !tier.keeps_copies() {
            return Ok(Some(value));
        }
        if let Err(error) = self.keep_copy(store, key, &value, expire_at_ms) {
            // It was asked for and is here; that it cannot be kept costs the next caller a question.
            tier.note(format!("tier: a copy is not kept: {error}"));
        }
        Ok(Some(value))
    }

    /// Keeps what the tier holds, unless the key was changed since it was asked.
    fn keep_copy(&self, store: &Store, key: &[u8], value: &[u8], expire_at_ms: u64) -> Result<()> {
        store.options.check_lengths(key, value)?;
        let stored = Stored::new(store, value);
        let decide = |seen: &Seen<'_>| {
            if seen.live.is_some() || is_gone_unsent(store, seen) {
                return Ok(Step::Leave(()));
            }
            let flags = stored.flags | flags::FROM_TIER;
            let new = New { kind: Kind::Put, flags, codec: 0, expire_at_ms, value: NewValue::Given };
            Ok(Step::Write(new, ()))
        };
        // Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
        let is_current = || !self.shared.store.loads.is_overtaken(key);
        store.write_given(key, &stored.bytes, decide, is_current).map(drop)
    }

    /// Waits until Redis has acknowledged every change that was made before this call. Without a tier there is nothing to
    /// wait for.
    ///
    /// # Errors
    /// [`Error::Tier`](crate::Error::Tier) with what keeps Redis from it, after `timeout`: the changes stay and are still sent.
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Forked`](crate::Error::Forked).
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.open_store()?;
        self.shared.tier.as_ref().map_or(Ok(()), |tier| tier.flush(timeout))
    }

    /// Figures of the tier; `None` without one. Reads the part of the log that Redis has not acknowledged.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Forked`](crate::Error::Forked).
    pub fn tier_stats(&self) -> Result<Option<TierStats>> {
        self.open_store()?;
        self.shared.tier.as_ref().map(Tier::stats).transpose()
    }
}
