//! What a store does with its tier: asks it, keeps copies of what it holds, waits for it.

use super::read::refuse_pinned;
use super::write::{deadline_ms, Expiry, Stored};
use super::Db;
use crate::error::{Error, Result};
use crate::loads::Overtaken;
use crate::record::flags;
use crate::store::{Seen, Step, Store};
use crate::tag::Tagged;
use crate::tier::{forget_copy, Act, Change, Decided, Fetched, Tier, TierStats, REDIS_VALUE_BYTES_MAX};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Whether a change of this store says that a key is gone, and the tier was not told yet: then only the store knows.
pub(super) fn is_gone_unsent(store: &Store, seen: &Seen<'_>) -> bool {
    seen.live.is_none() && store.has_unsent(seen)
}

fn gone_each_time() -> Error {
    Error::Tier {
        reason: "others change the key whenever it was asked for: nothing was decided in time".into(),
    }
}

/// Which copies are kept.
#[derive(Clone, Copy)]
pub(super) enum Keeps<'a> {
    /// Those that cannot grow old unnoticed, where that is not wanted.
    Heard,
    /// Every one that no change made here has overtaken, for who decides on it: the cell says whether it is to be dropped then.
    ToDecide(&'a Cell<bool>),
}

impl Db {
    /// What Redis holds for a key that this store has not; a copy of it is kept. One thread asks for a key at a time, and what
    /// was changed here meanwhile stays.
    pub(super) fn ask_tier(&self, key: &[u8]) -> Result<Option<Tagged>> {
        match &self.shared.tier {
            Some(tier) if tier.options().reads => {
                tier.miss_if_unreachable(self.read_through(tier, key, Keeps::Heard))
            }
            _ => Ok(None),
        }
    }

    #[cold]
    pub(super) fn read_through(&self, tier: &Tier, key: &[u8], keeps: Keeps<'_>) -> Result<Option<Tagged>> {
        let store = self.open_store()?;
        {
            let guard = crossbeam_epoch::pin();
            let seen = store.look(key, &guard);
            if is_gone_unsent(store, &seen) {
                return Ok(None);
            }
            if seen.live.is_some() {
                return store.tagged_seen(&seen).map(Some);
            }
        }
        let loads = &store.loads;
        if loads.is_not_to_be_joined(key) {
            if let Keeps::ToDecide(_) = keeps {
                loads.expect(key);
                let asked = tier.of(key).fetch(key);
                let asked = asked.and_then(|said| {
                    self.take_answer(tier, key, said, keeps, || loads.answer_overtaken(key))
                });
                loads.expect_no_more(key);
                return asked;
            }
            return Ok(match tier.of(key).fetch(key)? {
                Fetched::Found { value, .. } => Some(store.of_tier(value)),
                Fetched::Absent => None,
            });
        }
        // A loader may be waiting for this thread's pin.
        let may_wait = || refuse_pinned("a read that falls through");
        loads.fly(key, may_wait, || match self.get_local(key)? {
            Some(value) => Ok(Some(value)),
            None => self.load_from(tier, key, keeps),
        })
    }

    /// Asks the tier, in the one thread that loads the key, and keeps a copy.
    pub(super) fn load_shared(&self, key: &[u8]) -> Result<Option<Tagged>> {
        match &self.shared.tier {
            Some(tier) if tier.options().reads => {
                tier.miss_if_unreachable(self.load_from(tier, key, Keeps::Heard))
            }
            _ => Ok(None),
        }
    }

    fn load_from(&self, tier: &Tier, key: &[u8], keeps: Keeps<'_>) -> Result<Option<Tagged>> {
        let store = self.open_store()?;
        let is_gone = {
            let guard = crossbeam_epoch::pin();
            is_gone_unsent(store, &store.look(key, &guard))
        };
        if is_gone {
            return Ok(None);
        }
        self.take_answer(tier, key, tier.of(key).fetch(key)?, keeps, || store.loads.overtaken(key))
    }

    /// The value that the tier has told of, of which a copy is kept. `overtaken` says what became of the key since it was asked.
    pub(super) fn take_answer(
        &self,
        tier: &Tier,
        key: &[u8],
        fetched: Fetched,
        keeps: Keeps<'_>,
        overtaken: impl Fn() -> Overtaken,
    ) -> Result<Option<Tagged>> {
        let store = self.open_store()?;
        let Fetched::Found { value, expire_at_ms, is_heard, .. } = fetched else { return Ok(None) };
        if expire_at_ms != 0 && expire_at_ms <= store.clock.now_ms() {
            return Ok(None);
        }
        let may_stay = is_heard && tier.of(key).keeps_copies();
        match keeps {
            Keeps::Heard if !may_stay => {}
            Keeps::Heard => {
                let kept = self.keep_copy(store, key, &value, expire_at_ms, || !overtaken().at_all);
                if let Err(error) = kept {
                    // It was asked for and is here; that it cannot be kept costs the next caller a question.
                    tier.of(key).note(&format!("a copy is not kept: {error}"));
                }
            }
            Keeps::ToDecide(is_to_go) => {
                // What others have changed meanwhile is no reason to ask again: they could always do so before this is sent.
                self.keep_copy(store, key, &value, expire_at_ms, || !overtaken().here)?;
                // Asked when it is kept: what is heard later drops it.
                is_to_go.set(!may_stay || overtaken().at_all);
            }
        }
        Ok(Some(store.of_tier(value)))
    }

    /// Lets `use_copy` work with a copy of what only Redis holds. It is told whether something stands for the key, and gives `None`
    /// if that went meanwhile: then it is fetched again. A Redis that cannot be asked is an error even where a read would call that a miss:
    /// what is decided here without knowing is sent.
    pub(super) fn with_copy<T>(
        &self,
        key: &[u8],
        mut use_copy: impl FnMut(bool) -> Result<Option<T>>,
    ) -> Result<T> {
        let Some(tier) = self.shared.tier.as_ref().filter(|tier| tier.options().reads) else {
            return use_copy(false)?.map_or_else(|| Err(gone_each_time()), Ok);
        };
        let until = Instant::now().checked_add(tier.options().timeout);
        loop {
            let is_here = self.peek(key)?.is_some();
            let is_to_go = Cell::new(false);
            let is_there = is_here || self.read_through(tier, key, Keeps::ToDecide(&is_to_go))?.is_some();
            // What stands here may be a copy too, and go before it is used.
            let used = use_copy(is_there);
            if is_to_go.get() {
                forget_copy(&self.shared.store, key)?;
            }
            if let Some(used) = used? {
                return Ok(used);
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Err(gone_each_time());
            }
        }
    }

    /// As `with_copy`, for who only reads.
    pub(super) fn read_copy<T>(
        &self,
        key: &[u8],
        mut read: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let found = self.with_copy(key, |is_there| {
            let found = read()?;
            Ok((found.is_some() || !is_there).then_some(found))
        });
        match &self.shared.tier {
            Some(tier) => tier.miss_if_unreachable(found),
            None => found,
        }
    }

    /// Keeps what the tier holds, if that `is_current`, and nothing stands here.
    fn keep_copy(
        &self,
        store: &Store,
        key: &[u8],
        value: &[u8],
        expire_at_ms: u64,
        is_current: impl Fn() -> bool,
    ) -> Result<()> {
        store.options.check_lengths(key, value)?;
        let stored = Stored::new(store, value);
        let decide = |seen: &Seen<'_>| {
            if seen.live.is_some() || is_gone_unsent(store, seen) {
                return Ok(Step::Leave(()));
            }
            let flags = stored.flags | flags::FROM_TIER;
            let new = stored.put_as(flags, store.tier_codec(), expire_at_ms);
            Ok(Step::Write(new, ()))
        };
        // Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
        store.write_given(key, &stored.bytes, decide, is_current).map(drop)
    }

    /// Takes what Redis holds in place of an entry of this version, if by its deadline it was loaded later; whether it did. One that
    /// this store wrote is given up only for what a Redis says that has lost nothing of it.
    pub(super) fn refresh_from_tier(&self, key: &[u8], version: u64, is_newer: impl Fn(u64) -> bool) -> bool {
        let store = &*self.shared.store;
        let Some(tier) = self.shared.tier.as_ref().filter(|tier| tier.options().reads) else { return false };
        store.loads.expect(key);
        let is_kept = || -> Result<bool> {
            let is_copy = {
                let guard = crossbeam_epoch::pin();
                let seen = store.look(key, &guard);
                if store.has_unsent(&seen) || seen.version() != version {
                    return Ok(false);
                }
                seen.is_from_tier()
            };
            let (fetched, is_kept) = match is_copy {
                true => (tier.of(key).fetch(key)?, true),
                false => tier.of(key).fetch_kept(key)?,
            };
            match fetched {
                Fetched::Found { value, expire_at_ms, is_heard: true, .. }
                    if is_kept && is_newer(expire_at_ms) && tier.of(key).keeps_copies() =>
                {
                    self.keep_over(store, key, version, &value, expire_at_ms)
                }
                _ => Ok(false),
            }
        };
        // A Redis that cannot be asked is no reason not to load.
        let is_kept = is_kept().unwrap_or(false);
        store.loads.expect_no_more(key);
        is_kept
    }

    /// Keeps a copy over what stands here, if it has this version still, and nothing was heard of the key.
    fn keep_over(
        &self,
        store: &Store,
        key: &[u8],
        version: u64,
        value: &[u8],
        expire_at_ms: u64,
    ) -> Result<bool> {
        store.options.check_lengths(key, value)?;
        let stored = Stored::new(store, value);
        let decide = |seen: &Seen<'_>| {
            if seen.live.is_none() || seen.version() != version || store.has_unsent(seen) {
                return Ok(Step::Leave(()));
            }
            let flags = stored.flags | flags::FROM_TIER;
            let new = stored.put_as(flags, store.tier_codec(), expire_at_ms);
            Ok(Step::Write(new, ()))
        };
        // Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
        let is_current = || !store.loads.is_answer_overtaken(key);
        Ok(store.write_given(key, &stored.bytes, decide, is_current)?.0.is_some())
    }

    /// Adds `delta` to the decimal number that `key` holds in Redis (0 when it is absent), keeping its expiry, and returns the sum.
    /// Redis decides: of all processes that share the key each addition counts, exactly once. What this store has changed before is
    /// sent first. The sum stays here as a copy, and is as durable as Redis; it is not sent again to a Redis that loses it. Costs
    /// two round trips, which callers that come at once share. Its codec is [`TierOptions::codec`](crate::TierOptions::codec) where that is
    /// JSON, text or a user's own; among values of another the sum is raw, so that no typed read takes its digits for something else.
    ///
    /// # Errors
    /// [`Error::NotAnInteger`], [`Error::Overflow`], and [`Error::Tier`] that begins with "not applied": nothing was changed. Any
    /// other [`Error::Tier`]: no answer came within the tier's timeout, and it was applied once or not at all. At once where Redis
    /// is known to be down. [`Error::Pinned`] when this thread holds a [`Pin`](crate::Pin); [`Error::ReadOnly`],
    /// [`Error::Closed`], [`Error::Forked`].
    ///
    /// ```no_run
    /// # let db = kv::Db::in_memory()?;
    /// let seat = db.increment_shared(b"seats taken", 1)?; // nobody else has this number
    /// # Ok::<(), kv::Error>(())
    /// ```
    pub fn increment_shared(&self, key: &[u8], delta: i64) -> Result<i64> {
        Ok(self.decide(key, &[], Act::Increment(delta), Expiry::Default)?.sum)
    }

    /// Sets `key` if it has no value in Redis; whether it did: of all processes that share the key one does. See
    /// [`Db::increment_shared`]; [`Expiry::Keep`] counts as the default.
    ///
    /// # Errors
    /// As [`Db::increment_shared`]; [`Error::KeyTooLong`], [`Error::ValueTooLong`].
    pub fn add_shared(&self, key: &[u8], value: &[u8], expiry: Expiry) -> Result<bool> {
        Ok(self.decide(key, value, Act::Add(value.to_vec()), expiry)?.is_set)
    }

    /// Sets `key` to `value`, keeping its expiry, if it holds `expected` in Redis (`None`: if it has no value); whether it did. It
    /// compares values, since versions are each store's own. See [`Db::increment_shared`].
    ///
    /// # Errors
    /// As [`Db::add_shared`].
    pub fn compare_and_swap_shared(&self, key: &[u8], expected: Option<&[u8]>, value: &[u8]) -> Result<bool> {
        let act = Act::Swap { expected: expected.map(<[u8]>::to_vec), value: value.to_vec() };
        Ok(self.decide(key, value, act, Expiry::Default)?.is_set)
    }

    fn decide(&self, key: &[u8], value: &[u8], act: Act, expiry: Expiry) -> Result<Decided> {
        let store = self.writable_store([key])?;
        store.check_writable()?;
        store.options.check_lengths(key, value)?;
        if value.len() > REDIS_VALUE_BYTES_MAX {
            return Err(Error::ValueTooLong { len: value.len(), max: REDIS_VALUE_BYTES_MAX });
        }
        // The thread that sends may be waiting for this thread's pin.
        refuse_pinned("a change that Redis decides")?;
        let Some(tier) = &self.shared.tier else {
            return Err(Error::Tier { reason: "not applied: the store has no tier".into() });
        };
        let after_lsn = {
            let guard = crossbeam_epoch::pin();
            let seen = store.look(key, &guard);
            store.has_unsent(&seen).then_some(seen.lsn)
        };
        let expire_at_ms = deadline_ms(store, expiry, None);
        tier.of(key).decide(Change { key: key.to_vec(), act, expire_at_ms, after_lsn })
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
