//! Copies of what Redis holds, before anybody asks for them.

use super::write::Stored;
use super::Db;
use crate::error::{Error, Result};
use crate::limits::CLOCKS_DIFFER_MS;
use crate::loads::Loads;
use crate::record::flags;
use crate::store::{New, Seen, Step, Store};
use crate::tier::{is_meant, Fetched, Remaining, Scanning, Tier};
use std::ops::ControlFlow;

/// Keys that are asked about at once.
const PORTION: usize = 256;

/// How far a preload has come, for [`Db::preload`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preloaded {
    /// Where to go on: what a later call takes to do the rest.
    pub cursor: u64,
    /// Nothing is left to do.
    pub is_complete: bool,
    /// Keys looked at in Redis, some perhaps twice.
    pub keys: u64,
    /// Copies that were made, or replaced because Redis holds something else.
    pub copied: u64,
    /// Entries that were removed because Redis does not hold them.
    pub removed: u64,
}

/// What Redis holds for a key.
struct There<'v> {
    value: &'v [u8],
    expire_at_ms: u64,
    /// It is the value of the version that was asked about.
    is_same: bool,
}

/// Keys that are asked about, each with the LSN of what stands for it. What happens to them is noted as long as this lives.
struct Portion<'a> {
    loads: &'a Loads,
    keys: Vec<(Vec<u8>, u64)>,
}

impl<'a> Portion<'a> {
    /// Those of `keys` that Redis was told of: what is unsent now comes to it after what it says now.
    fn new(store: &'a Store, keys: Vec<Vec<u8>>) -> Self {
        keys.iter().for_each(|key| store.loads.expect(key));
        let mut portion = Portion { loads: &store.loads, keys: Vec::with_capacity(keys.len()) };
        for key in keys {
            match known_version(store, &key) {
                Some(version) => portion.keys.push((key, version)),
                None => store.loads.expect_no_more(&key),
            }
        }
        portion
    }

    fn names(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.keys.iter().map(|(key, _)| key.as_slice())
    }
}

impl Drop for Portion<'_> {
    fn drop(&mut self) {
        self.keys.iter().for_each(|(key, _)| self.loads.expect_no_more(key));
    }
}

impl Db {
    /// Copies what Redis holds under keys of `pattern` (as Redis' own: `*`, `?`, `[a-c]`, `\` before what is meant literally;
    /// without the tier's prefix), with the time that is left, and then removes what stands here under such keys and Redis does
    /// not hold any more. From `cursor` on: 0, or where an earlier call came to. `progress` is told after each portion, and after each
    /// shard that fails; where it breaks off, or Redis fails, what was told last can be gone on from. Of several shards those that fail are left out: the others
    /// are gone through to the end, the error says which failed, and the cursor that was told last leads to these alone.
    ///
    /// Changes of this store, sent or not, are not overwritten, and no read waits. Costs a connection while it runs, and the
    /// memory of a portion.
    ///
    /// # Errors
    /// [`Error::Tier`] without a tier, when Redis fails, or when no copies are kept because changes by others are not heard;
    /// else as [`Db::set`].
    pub fn preload(
        &self,
        pattern: &[u8],
        cursor: u64,
        mut progress: impl FnMut(&Preloaded) -> ControlFlow<()>,
    ) -> Result<Preloaded> {
        self.open_store()?.check_writable()?;
        let Some(tier) = &self.shared.tier else {
            return Err(Error::Tier { reason: "the store has no tier".into() });
        };
        let store = self.open_store()?;
        // What is written from here on, as the copies are, is not looked for in Redis once more.
        let began_lsn = store.log.tail_lsn(&crossbeam_epoch::pin());
        let mut done = Preloaded { cursor, ..Preloaded::default() };
        let mut remaining = Remaining::new(tier.shards(), cursor)?;
        // Of each shard the keys that are looked for in it next, on a connection that lasts.
        let mut shards: Vec<(Vec<Vec<u8>>, Option<Scanning>)> = Vec::new();
        shards.resize_with(tier.shards(), Default::default);
        let mut last = None;
        while let Some((shard, cursor)) = remaining.next() {
            self.open_store()?;
            let copied = tier.scanning(shard, pattern).and_then(|scanning| {
                let (_, scanning) = last.insert((shard, scanning));
                self.copy_all(tier, cursor, scanning, &mut remaining, &mut done, &mut progress)
            });
            match copied {
                Ok(copied) if copied.is_break() => return Ok(done),
                Ok(_) => {}
                Err(Error::Tier { reason }) => {
                    remaining.give_up(shard, reason)?;
                    // The next one may take its time as this one did.
                    done.cursor = remaining.cursor()?;
                    if progress(&done).is_break() {
                        return Ok(done);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if let Some((shard, scanning)) = last {
            shards[shard].1 = Some(scanning);
        }
        let mut here = store.index.cursor(&crossbeam_epoch::pin());
        let mut has_all = false;
        while !has_all {
            while !has_all && shards.iter().all(|(keys, _)| keys.len() < PORTION) {
                let guard = crossbeam_epoch::pin();
                let map = self.open_store()?.map(&guard);
                has_all = !here.step(&map, |_, (_, view)| {
                    if view.lsn < began_lsn && is_meant(pattern, view.key) {
                        let shard = store.shard_of(view.key);
                        if let Some((keys, _)) =
                            shards.get_mut(shard).filter(|_| !remaining.is_given_up(shard))
                        {
                            keys.push(view.key.to_vec());
                        }
                    }
                });
            }
            for (shard, (keys, scanning)) in shards.iter_mut().enumerate() {
                if keys.len() >= PORTION || (has_all && !keys.is_empty()) {
                    let keys = std::mem::take(keys);
                    match self.remove_portion(tier, (shard, pattern), scanning, keys) {
                        Ok(removed) => done.removed += removed,
                        Err(Error::Tier { reason }) => {
                            remaining.give_up(shard, reason)?;
                            done.cursor = remaining.cursor()?;
                            if progress(&done).is_break() {
                                return Ok(done);
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            done.cursor = remaining.cursor()?;
            done.is_complete = has_all && !remaining.has_given_up();
            if progress(&done).is_break() {
                return Ok(done);
            }
        }
        remaining.end().map(|()| done)
    }

    /// Copies what the next shard holds, from a cursor of its server on.
    fn copy_all(
        &self,
        tier: &Tier,
        cursor: u64,
        scanning: &mut Scanning,
        remaining: &mut Remaining,
        done: &mut Preloaded,
        progress: &mut impl FnMut(&Preloaded) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (keys, mut next) = scanning.scan(cursor)?;
        let mut looked_at = keys.len() as u64;
        let mut portion = Portion::new(self.open_store()?, keys);
        scanning.ask(portion.names(), (next != 0).then_some(next))?;
        loop {
            let store = self.open_store()?;
            let received = scanning.receive()?;
            let mut keep = |(number, fetched)| {
                done.copied += u64::from(self.copy(tier, store, &portion, number, fetched)?);
                Ok(())
            };
            if received.values.is_none() {
                let names: Vec<&[u8]> = portion.names().collect();
                scanning.fetch(&names, |number, fetched| keep((number, fetched)))?;
            }
            let following = match received.named {
                Some((keys, following)) => {
                    let looked_at = keys.len() as u64;
                    let portion = Portion::new(store, keys);
                    scanning.ask(portion.names(), (following != 0).then_some(following))?;
                    Some((portion, looked_at, following))
                }
                None => None,
            };
            received.values.into_iter().flatten().enumerate().try_for_each(keep)?;
            done.keys += looked_at;
            remaining.advance(next);
            done.cursor = remaining.cursor()?;
            if progress(done).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match following {
                Some(following) => (portion, looked_at, next) = following,
                None => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Keeps what Redis holds for the key of this number; whether it did.
    fn copy(
        &self,
        tier: &Tier,
        store: &Store,
        portion: &Portion<'_>,
        number: usize,
        fetched: Option<Fetched>,
    ) -> Result<bool> {
        let (Some((key, version)), Some(fetched)) = (portion.keys.get(number), fetched) else {
            return Ok(false);
        };
        // Of this version: what is compared may take its time, and no guard is held meanwhile.
        let is_same =
            value_at(store, key, *version).is_some_and(|here| tier.of(key).is_same(key, &here, &fetched));
        let Some(Fetched::Found { value, expire_at_ms, .. }) = tier.of(key).decode(key, fetched) else {
            return Ok(false);
        };
        let is_over = expire_at_ms != 0 && expire_at_ms <= store.clock.now_ms();
        if is_over || store.options.check_lengths(key, &value).is_err() {
            return Ok(false);
        }
        self.keep_if_other(store, key, *version, &There { value: &value, expire_at_ms, is_same })
    }

    /// Keeps a copy over exactly what stood there when it was asked for, unless that is the same.
    fn keep_if_other(&self, store: &Store, key: &[u8], version: u64, there: &There<'_>) -> Result<bool> {
        let There { value, expire_at_ms, is_same } = *there;
        let stored = Stored::new(store, value);
        let decide = |seen: &Seen<'_>| {
            let lasts_as_long = seen.live.is_some_and(|view| match (view.expire_at_ms, expire_at_ms) {
                (here, 0) => here == 0,
                // This store's own come to Redis a little earlier; a copy must not last longer than what it is a copy of.
                (0, _) => false,
                (here, there) => {
                    here <= there.saturating_add(if seen.is_from_tier() { 0 } else { CLOCKS_DIFFER_MS })
                        && there <= here.saturating_add(CLOCKS_DIFFER_MS)
                }
            });
            // Found lost since, and sent again: then it is no difference.
            if seen.lsn != version || store.has_unsent(seen) || (is_same && lasts_as_long) {
                return Ok(Step::Leave(()));
            }
            let flags = stored.flags | flags::FROM_TIER;
            Ok(Step::Write(stored.put_as(flags, store.tier_codec(), expire_at_ms), ()))
        };
        let written = store.write_given(key, &stored.bytes, decide, || self.is_current(store, key))?;
        Ok(written.0.is_some())
    }

    /// Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
    fn is_current(&self, store: &Store, key: &[u8]) -> bool {
        !store.loads.is_answer_overtaken(key)
            && self.shared.tier.as_ref().is_some_and(|tier| tier.of(key).keeps_copies())
    }

    /// Removes those of the keys that a shard does not hold.
    fn remove_portion(
        &self,
        tier: &Tier,
        (shard, pattern): (usize, &[u8]),
        scanning: &mut Option<Scanning>,
        keys: Vec<Vec<u8>>,
    ) -> Result<u64> {
        let store = self.open_store()?;
        let scanning = match scanning {
            Some(scanning) => scanning,
            None => scanning.insert(tier.scanning(shard, pattern)?),
        };
        let portion = Portion::new(store, keys);
        let mut removed = 0;
        for number in scanning.absent(&portion.names().collect::<Vec<_>>())? {
            let Some((key, version)) = portion.keys.get(number) else { continue };
            if own_value_at(store, key, *version).is_some_and(|own| tier.of(key).cannot_have(key, &own)) {
                continue;
            }
            let decide = |seen: &Seen<'_>| {
                let is_known = seen.live.is_some() && seen.lsn == *version && !store.has_unsent(seen);
                let gone = New { flags: flags::FROM_TIER, ..New::tombstone() };
                Ok(if is_known { Step::Write(gone, ()) } else { Step::Leave(()) })
            };
            let is_current = || !store.loads.is_answer_overtaken(key);
            removed += u64::from(store.write_given(key, &[], decide, is_current)?.0.is_some());
        }
        Ok(removed)
    }
}

/// The value of this version, if it stands and can be read.
fn value_at(store: &Store, key: &[u8], version: u64) -> Option<Vec<u8>> {
    let guard = crossbeam_epoch::pin();
    let seen = store.look(key, &guard);
    seen.live.filter(|view| view.lsn == version)?;
    Some(store.value_seen(&seen).ok()?.into_owned())
}

/// The same if it is no copy.
fn own_value_at(store: &Store, key: &[u8], version: u64) -> Option<Vec<u8>> {
    let is_copy = store.look(key, &crossbeam_epoch::pin()).is_from_tier();
    value_at(store, key, version).filter(|_| !is_copy)
}

/// LSN of what stands for a key, 0 where nothing does; `None` for a change that Redis was not told of.
fn known_version(store: &Store, key: &[u8]) -> Option<u64> {
    let guard = crossbeam_epoch::pin();
    let seen = store.look(key, &guard);
    (!store.has_unsent(&seen)).then_some(seen.lsn)
}
