//! How much a store may hold, what it holds of that, and which entry goes when there is no room. What an entry is, and how it goes,
//! is the store's (`store/room.rs`).

mod policy;

use crate::error::{Error, Result};
use crossbeam_utils::CachePadded;
use policy::{Policy, Standing, COUNT_MAX};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Entries of a store for which a further part of the tickets is worth its loss of order, and the bytes that stand for as many.
const ENTRIES_A_SHARD: u64 = 8192;
const BYTES_A_SHARD: u64 = 4 << 20;
const SHARDS_MAX: u64 = 16;

/// What an entry weighs: by its key, and its value as the caller gave it.
pub(crate) type Weigher = Arc<dyn Fn(&[u8], &[u8]) -> u32 + Send + Sync>;

/// What a store may hold.
#[derive(Clone, Default)]
pub(crate) struct Limits {
    pub(crate) entries: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// What counts towards `bytes` instead of bytes.
    pub(crate) weigher: Option<Weigher>,
}

impl Limits {
    /// # Errors
    /// [`Error::InvalidOption`] for a limit under which nothing can be held.
    pub(crate) fn check(&self) -> Result<()> {
        for (name, limit) in [("max_entries", self.entries), ("max_bytes", self.bytes)] {
            if limit == Some(0) {
                let reason = "a capacity of zero: nothing could be held".into();
                return Err(Error::InvalidOption { name: name.into(), reason });
            }
        }
        if self.weigher.is_some() && self.bytes.is_none() {
            let reason = "without max_bytes there is nothing that weights count towards".into();
            return Err(Error::InvalidOption { name: "weigher".into(), reason });
        }
        Ok(())
    }

    pub(crate) fn are_set(&self) -> bool {
        self.entries.is_some() || self.bytes.is_some()
    }
}

/// What comes and what goes: entries, and their weight, in bytes or in what a weigher counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) entries: i64,
    pub(crate) bytes: i64,
}

/// Limits, and what counts towards them.
pub(crate) struct Capacity {
    limits: Limits,
    entries: CachePadded<AtomicI64>,
    bytes: CachePadded<AtomicI64>,
    /// The tickets, by hash. Only writers take these locks, and under none of them does anybody wait.
    shards: Box<[CachePadded<Mutex<Policy>>]>,
    /// Entries that a shard has room for: its part of `max_entries`, or what it had when there was no room the last time, if bytes are
    /// what it lacks room for.
    rooms: Box<[AtomicUsize]>,
    /// A shard's part of `max_entries`.
    room_max: usize,
}

impl Capacity {
    pub(crate) fn new(limits: &Limits) -> Capacity {
        let of_entries = limits.entries.map_or(SHARDS_MAX, |max| max / ENTRIES_A_SHARD);
        let of_bytes = limits.bytes.map_or(SHARDS_MAX, |max| max / BYTES_A_SHARD);
        let shards = of_entries.min(of_bytes).clamp(1, SHARDS_MAX);
        let room_max = limits
            .entries
            .map_or(usize::MAX, |max| usize::try_from(max / shards).unwrap_or(usize::MAX))
            .max(1);
        Capacity {
            limits: limits.clone(),
            entries: CachePadded::default(),
            bytes: CachePadded::default(),
            shards: std::iter::repeat_with(CachePadded::default).take(shards as usize).collect(),
            rooms: std::iter::repeat_with(|| AtomicUsize::new(room_max)).take(shards as usize).collect(),
            room_max,
        }
    }

    pub(crate) fn weigher(&self) -> Option<&Weigher> {
        self.limits.weigher.as_ref()
    }

    /// Whether there is no room for so much more.
    pub(crate) fn lacks_room_for(&self, more: Load) -> bool {
        let is_over = |limit: Option<u64>, held: &AtomicI64, more: i64| {
            // Relaxed: a count that orders nothing; who brings it above the limit sees its own addition.
            limit.is_some_and(|max| {
                held.load(Ordering::Relaxed).saturating_add(more) > i64::try_from(max).unwrap_or(i64::MAX)
            })
        };
        is_over(self.limits.entries, &self.entries, more.entries)
            || is_over(self.limits.bytes, &self.bytes, more.bytes)
    }

    /// Whether so much could be held alone.
    pub(crate) fn could_hold(&self, load: Load) -> bool {
        let fits = |limit: Option<u64>, load: i64| {
            limit.is_none_or(|max| u64::try_from(load).is_ok_and(|n| n <= max))
        };
        fits(self.limits.entries, load.entries) && fits(self.limits.bytes, load.bytes)
    }

    /// Whether an entry of this weight is too heavy even alone.
    pub(crate) fn is_too_heavy(&self, load: Load) -> bool {
        self.limits.bytes.is_some_and(|max| u64::try_from(load.bytes).is_ok_and(|bytes| bytes > max))
    }

    pub(crate) fn count(&self, change: Load) {
        // Relaxed: as in `lacks_room_for`.
        self.entries.fetch_add(change.entries, Ordering::Relaxed);
        self.bytes.fetch_add(change.bytes, Ordering::Relaxed);
    }

    /// How many entries are held.
    pub(crate) fn entries(&self) -> u64 {
        u64::try_from(self.entries.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Weight of what is held.
    pub(crate) fn weight(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn number_of(&self, hash: u64) -> usize {
        // The highest bits: the index takes the lowest for its buckets.
        ((u128::from(hash) * self.shards.len() as u128) >> u64::BITS) as usize
    }

    fn shard(&self, number: usize) -> Option<(MutexGuard<'_, Policy>, &AtomicUsize)> {
        let shard = self.shards.get(number)?.lock().unwrap_or_else(PoisonError::into_inner);
        Some((shard, self.rooms.get(number)?))
    }

    /// Tickets that are not void.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn tickets(&self) -> usize {
        (0..self.shards.len()).filter_map(|number| self.shard(number)).map(|(policy, _)| policy.len()).sum()
    }

    /// An entry has come (C1).
    pub(crate) fn push(&self, hash: u64) {
        if let Some((mut policy, room)) = self.shard(self.number_of(hash)) {
            policy.push(hash, room.load(Ordering::Relaxed));
        }
    }

    /// An entry has gone, and was not chosen here (C1).
    pub(crate) fn void(&self, hash: u64) {
        if let Some((mut policy, _)) = self.shard(self.number_of(hash)) {
            policy.void(hash);
        }
    }

    /// An entry that was chosen stays, or somebody else was faster (C1).
    pub(crate) fn put_back(&self, hash: u64) {
        if let Some((mut policy, _)) = self.shard(self.number_of(hash)) {
            policy.put_back(hash);
        }
    }

    /// Chooses the entry that goes for one of this hash, by its own: of the same part, unless that has none. `look` gives an entry's hits and
    /// `lower` sets them; neither waits.
    pub(crate) fn choose(
        &self,
        near: u64,
        look: impl Fn(u64) -> Option<u8>,
        lower: impl Fn(u64, u8),
    ) -> Option<u64> {
        let (first, count) = (self.number_of(near), self.shards.len());
        (first..first + count).find_map(|number| {
            let (mut policy, room) = self.shard(number % count)?;
            if self.limits.bytes.is_some() {
                // Relaxed: written under the shard's lock, and a matter of taste.
                room.store(policy.len().clamp(1, self.room_max), Ordering::Relaxed);
            }
            let standing = |hash| look(hash).map_or(Standing::Unknown, Standing::Hits);
            policy.choose(room.load(Ordering::Relaxed), standing, &lower)
        })
    }
}

/// Hits of an entry after one more; `None` if it does not count them any further.
pub(crate) fn one_more(hits: u8) -> Option<u8> {
    (hits < COUNT_MAX).then(|| hits + 1)
}
