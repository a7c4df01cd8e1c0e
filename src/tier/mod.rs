//! The tier: what a store shares with others through Redis (docs/tier.md).
//!
//! One thread sends what the log holds and Redis has not (`pusher`), one asks for what the store has not (`fetch`). Neither
//! holds a guard while it waits for Redis, and no call of the store waits for either, but for reads that fall through and
//! writes through.
//!
//! A tier has one or more parts, which share out the keys of the store (`tier_options::Shard`): each a tier of its own with its mark,
//! threads and connections, so what holds for one (C, D, K, O) holds for the keys of each.
//!
//! - **H2** A part sends, hears of, compares, copies and drops keys of its shard alone, whatever stands in Redis under its prefix (H1:
//!   `store::unsent`).

mod backoff;
mod codec;
mod conn;
mod connect;
mod copies;
mod decide;
mod fetch;
mod figures;
mod glob;
mod lease;
mod line;
mod listener;
mod mark;
mod names;
mod notices;
mod outbox;
mod part;
mod preload;
mod pusher;
mod remaining;
mod servers;
mod shared;
mod states;

pub(crate) use copies::forget_copy;
pub(crate) use decide::{Act, Change, Decided};
pub(crate) use fetch::{Fetched, KEYS_MAX as FETCHED_KEYS_MAX};
pub(crate) use glob::matches as is_meant;
pub(crate) use lease::Lease;
pub(crate) use part::Part;
pub(crate) use preload::Scanning;
pub(crate) use remaining::Remaining;

use crate::error::{Error, Result};
use crate::log::{Sent, SentFile};
use crate::maintenance::Inbox;
use crate::store::Store;
use crate::tier_options::{Shard, TierOptions, Writes};
use conn::{moment_after, Failure};
use shared::{Ear, Shared};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What Redis takes as one value, unless it is configured otherwise.
pub(crate) const REDIS_VALUE_BYTES_MAX: usize = 512 << 20;

/// Figures of a store's tier, as of about one moment. Counts begin at open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Keys whose change Redis has not acknowledged.
    pub unsent_keys: u64,
    /// Bytes of log that hold those changes, the ones that were overtaken included; of several shards those of the one that is
    /// furthest behind.
    pub unsent_bytes: u64,
    /// For how long at most a change has waited; 0 when none does.
    pub unsent_for: Duration,
    /// Deletes and expiries that are kept because Redis was not told of them.
    pub unsent_deletes: u64,
    /// Keys sent, each change that was coalesced into one counted once.
    pub sent_keys: u64,
    /// Transactions that they were sent in.
    pub batches: u64,
    /// Reads that asked Redis.
    pub fetches: u64,
    /// Whether changes by others are heard, in each shard.
    pub hears: bool,
    /// Attempts to send that failed.
    pub failures: u64,
    /// Why the last of them did, of the first shard of which one did; `None` once one has succeeded.
    pub failing: Option<String>,
}

/// A store's tier.
pub(crate) struct Tier {
    store: Arc<Store>,
    options: TierOptions,
    parts: Vec<Part>,
}

fn tier_error(failure: &Failure) -> Error {
    Error::Tier { reason: failure.reason.clone() }
}

impl Tier {
    /// Starts what the store's options ask for; `None` without a tier.
    pub(crate) fn start(store: &Arc<Store>, inbox: &Arc<Inbox>) -> Result<Option<Tier>> {
        let Some(mut options) = store.options.tier.clone().filter(|_| store.read_only.is_none()) else {
            return Ok(None);
        };
        let server = options.check()?;
        let count = options.shards;
        let parts: Vec<Part> = (0..count)
            .map(|number| Part::new(store, inbox, &options, server.clone(), Shard { number, count }))
            .collect();
        // Before any of them looks for the first time.
        let _ = store.log.moved.set(parts.iter().map(Part::signal).collect());
        let mut files = match options.writes {
            Writes::Refused => Vec::new(),
            _ => sent_files(store, count)?,
        }
        .into_iter();
        let tier = Tier { store: Arc::clone(store), options, parts };
        let begun = tier.parts.iter().try_for_each(|part| part.run(files.next()));
        if begun.is_err() {
            tier.stop();
        }
        begun.map(|()| Some(tier))
    }

    /// Lets nobody wait for Redis any more, and lets the threads end.
    pub(crate) fn begin_stop(&self) {
        self.parts.iter().for_each(Part::begin_stop);
    }

    /// Ends the threads. What Redis has not acknowledged stays in the log; a store in memory loses it.
    pub(crate) fn stop(&self) {
        self.begin_stop();
        self.parts.iter().for_each(Part::stop);
    }

    pub(crate) fn options(&self) -> &TierOptions {
        &self.options
    }

    /// The part that has a key.
    pub(crate) fn of(&self, key: &[u8]) -> &Part {
        self.part(self.store.shard_of(key))
    }

    fn part(&self, shard: usize) -> &Part {
        // As many as the store counts.
        &self.parts[shard]
    }

    /// What Redis holds for each of some keys. All parts are asked before any is waited for.
    pub(crate) fn fetch_many(&self, keys: &[&[u8]]) -> Vec<Result<Fetched>> {
        let mut of_parts: Vec<Vec<usize>> = vec![Vec::new(); self.parts.len()];
        for (number, key) in keys.iter().enumerate() {
            of_parts[self.store.shard_of(key)].push(number);
        }
        let asked: Vec<_> = self
            .parts
            .iter()
            .zip(&of_parts)
            .filter(|(_, numbers)| !numbers.is_empty())
            .map(|(part, numbers)| (part.want_many(numbers.iter().map(|number| keys[*number])), numbers))
            .collect();
        let mut fetched: Vec<Option<Result<Fetched>>> = vec![None; keys.len()];
        for (wanted, numbers) in asked {
            match wanted {
                Ok(wanted) => {
                    let outcomes = wanted.wait();
                    for (number, outcome) in numbers.iter().zip(outcomes) {
                        fetched[*number] = Some(outcome.map_err(|failure| tier_error(&failure)));
                    }
                }
                Err(failure) => {
                    numbers.iter().for_each(|number| fetched[*number] = Some(Err(tier_error(&failure))))
                }
            }
        }
        fetched.into_iter().map(|one| one.unwrap_or(Ok(Fetched::Absent))).collect()
    }

    /// A read that could not be answered is a miss where that was chosen. One that was answered with what is no value is not.
    pub(crate) fn miss_if_unreachable<T>(&self, answer: Result<Option<T>>) -> Result<Option<T>> {
        match answer {
            Err(Error::Tier { reason })
                if self.options.unreachable_is_miss && !codec::is_of_value(&reason) =>
            {
                Ok(None)
            }
            answer => answer,
        }
    }

    /// Refuses changes of a store that only follows.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.options.writes {
            Writes::Refused => {
                Err(Error::ReadOnly { reason: "it follows what others write to Redis".into() })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a change of a key, in a store in memory whose shard of it keeps as many deletes as it may: its share of what the store may,
    /// so that one whose Redis is gone takes no room from the others.
    pub(crate) fn check_room(&self, key: &[u8]) -> Result<()> {
        match self.store.log.files.directory {
            Some(_) => Ok(()),
            None => self.of(key).check_room(),
        }
    }

    /// The same of a change of any keys.
    pub(crate) fn check_room_of_all(&self) -> Result<()> {
        match self.store.log.files.directory {
            Some(_) => Ok(()),
            None => self.parts.iter().try_for_each(Part::check_room),
        }
    }

    /// Waits until Redis has acknowledged the change of these keys at `lsn`, if this store writes through.
    pub(crate) fn acknowledge<'k>(&self, lsn: u64, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<()> {
        if self.options.writes != Writes::Through {
            return Ok(());
        }
        let mut is_touched = vec![false; self.parts.len()];
        keys.into_iter().for_each(|key| is_touched[self.store.shard_of(key)] = true);
        let touched = || self.parts.iter().zip(&is_touched).filter(|(_, is_touched)| **is_touched);
        touched().for_each(|(part, _)| part.wake());
        let until = moment_after(self.options.timeout);
        touched().try_for_each(|(part, _)| part.wait_sent(lsn, until, true))
    }

    /// The same of a change of any keys.
    pub(crate) fn acknowledge_all(&self, lsn: u64) -> Result<()> {
        match self.options.writes {
            Writes::Through => self.wait_all_sent(lsn, moment_after(self.options.timeout), true),
            _ => Ok(()),
        }
    }

    /// Waits until Redis has acknowledged every change that was made before this call.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<()> {
        if !self.store.has_outbox() {
            return Ok(());
        }
        let tail_lsn = self.store.log.tail_lsn(&crossbeam_epoch::pin());
        self.wait_all_sent(tail_lsn.saturating_sub(1), moment_after(timeout), false)
    }

    fn wait_all_sent(&self, lsn: u64, until: Instant, gives_up_early: bool) -> Result<()> {
        self.parts.iter().for_each(Part::wake);
        self.parts.iter().try_for_each(|part| part.wait_sent(lsn, until, gives_up_early))
    }

    /// Figures. Each part reads the part of the log that it has not sent.
    pub(crate) fn stats(&self) -> Result<TierStats> {
        let mut all = TierStats { hears: true, ..TierStats::default() };
        for part in &self.parts {
            let of_part = part.stats()?;
            all.unsent_keys += of_part.unsent_keys;
            all.unsent_bytes = all.unsent_bytes.max(of_part.unsent_bytes);
            all.unsent_for = all.unsent_for.max(of_part.unsent_for);
            all.unsent_deletes += of_part.unsent_deletes;
            all.sent_keys += of_part.sent_keys;
            all.batches += of_part.batches;
            all.fetches += of_part.fetches;
            all.hears &= of_part.hears;
            all.failures += of_part.failures;
            all.failing = all.failing.or(of_part.failing);
        }
        Ok(all)
    }
}

/// Where the store notes how far each of its parts came, and what stands there.
fn sent_files(store: &Store, shards: usize) -> Result<Vec<(SentFile, Sent)>> {
    let Some(directory) = &store.log.files.directory else {
        return Ok((0..shards).map(|_| (SentFile::in_memory(), Sent::default())).collect());
    };
    let files = SentFile::open(directory.disk.as_ref(), &directory.path, shards)?;
    let tail_lsn = store.log.tail_lsn(&crossbeam_epoch::pin());
    if let Some((_, sent)) = files.iter().find(|(_, sent)| sent.lsn > tail_lsn) {
        let reason = format!("Redis has the log up to {}, it ends at {tail_lsn}", sent.lsn);
        return Err(Error::corrupt(&directory.path.join(crate::log::SENT), 0, reason));
    }
    Ok(files)
}
