//! Tags what has expired and removes masks from the index. Owned by the maintenance thread.

use super::{Hint, Spot, Wheel};
use crate::index::{Address, PREFETCHED_KEYS};
use crate::log::{Segment, Sighting, View};
use crate::record::Kind;
use crate::store::{Idle, Store};
use crossbeam_epoch::Guard;

/// Hints looked at under one guard: bounds how long it delays a grace period.
const UNDER_ONE_GUARD: usize = 256;
/// What could not be removed is looked at again after this.
const AGAIN_MS: u64 = 1_000;

pub(crate) struct Sweeper {
    wheel: Wheel,
    /// Hints whose time was over when they came.
    due: Vec<Hint>,
    /// Masks that leave the index after the next grace period.
    masks: Vec<Spot>,
    /// Masks that stay until the tier was told of them, of each of its shards.
    unsent: Vec<Unsent>,
    idle: Option<Idle>,
}

#[derive(Default)]
struct Unsent {
    masks: Vec<Spot>,
    /// LSN that all of them lie below.
    below_lsn: u64,
    /// From which LSN on the shard was to be told when they were looked at last.
    from_lsn: u64,
}

impl Unsent {
    fn keep(&mut self, mask: Spot, lsn: u64) {
        if lsn < self.from_lsn {
            // The tier has lost it meanwhile, and may have it again by now: to be looked at anew, whatever it has then.
            self.from_lsn = 0;
        }
        self.below_lsn = self.below_lsn.max(lsn.saturating_add(1));
        self.masks.push(mask);
    }
}

impl Sweeper {
    pub(crate) fn new(now_ms: u64, idle: Option<Idle>) -> Sweeper {
        Sweeper { wheel: Wheel::new(now_ms), due: Vec::new(), masks: Vec::new(), unsent: Vec::new(), idle }
    }

    /// Takes over records that need a second look.
    pub(crate) fn take(&mut self, sightings: &[Sighting], now_ms: u64) {
        for sighting in sightings {
            let Ok(offset_bytes) = u32::try_from(sighting.offset) else { continue };
            let place = Spot { segment_id: sighting.segment_id, offset_bytes, segment: sighting.segment };
            match sighting.kind {
                Kind::Tombstone => self.masks.push(place),
                _ => {
                    let expires = (sighting.expire_at_ms != 0).then_some(sighting.expire_at_ms);
                    let idles = self.idle.map(|idle| idle.ends_ms(sighting.used));
                    let first = expires.into_iter().chain(idles).min();
                    first.into_iter().for_each(|deadline_ms| self.place(Hint { deadline_ms, place }, now_ms));
                }
            }
        }
    }

    /// When there is something to do next, in Unix milliseconds.
    pub(crate) fn next_wake_ms(&self) -> Option<u64> {
        self.wheel.next_wake_ms()
    }

    pub(crate) fn hints(&self) -> usize {
        self.wheel.hints()
    }

    fn place(&mut self, hint: Hint, now_ms: u64) {
        if hint.deadline_ms <= now_ms {
            self.due.push(hint);
        } else {
            self.wheel.insert(hint);
        }
    }

    /// Tags the entries whose time is over, but for those of the wheel's last tick.
    pub(crate) fn expire(&mut self, store: &Store) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(store.clock.now_ms(), |hint| due.push(hint));
        self.tag(store, &due);
    }

    /// Tags every entry whose time is over.
    pub(crate) fn expire_all(&mut self, store: &Store) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance_to_the_millisecond(store.clock.now_ms(), |hint| due.push(hint));
        self.tag(store, &due);
    }

    fn tag(&mut self, store: &Store, due: &[Hint]) {
        let mut idle = Vec::new();
        for portion in due.chunks(UNDER_ONE_GUARD) {
            let guard = crossbeam_epoch::pin();
            for group in portion.chunks(PREFETCHED_KEYS) {
                prefetch(store, group.iter().map(|hint| hint.place), &guard);
                for hint in group {
                    match expire_one(store, hint.place, &guard) {
                        Fate::Mask => self.masks.push(hint.place),
                        Fate::Idle(key, lsn) => idle.push((key, lsn, hint.place)),
                        Fate::Later(deadline_ms) => {
                            self.wheel.insert(Hint { deadline_ms, place: hint.place })
                        }
                        Fate::Nothing => {}
                    }
                }
            }
            drop(guard);
            for (key, lsn, place) in idle.drain(..) {
                if let Err(error) = store.forget_idle(&key, lsn) {
                    store.say(&format!("expiry: {error}"));
                    let deadline_ms = store.clock.now_ms().saturating_add(AGAIN_MS);
                    self.wheel.insert(Hint { deadline_ms, place });
                }
            }
        }
    }

    /// Forgets the masks that were known when this began, after a grace period (I5). `false` if the store closes.
    pub(crate) fn forget_masks(&mut self, store: &Store) -> bool {
        self.take_sent(store);
        let (strays, tail_lsn) = store.take_strays();
        if self.masks.is_empty() && strays.is_empty() {
            return true;
        }
        if !store.wait_grace() {
            return false;
        }
        let masks = std::mem::take(&mut self.masks);
        for portion in masks.chunks(UNDER_ONE_GUARD) {
            let guard = crossbeam_epoch::pin();
            for group in portion.chunks(PREFETCHED_KEYS) {
                prefetch(store, group.iter().copied(), &guard);
                for mask in group {
                    let Some((shard, lsn)) = forget_one(store, *mask, &guard) else { continue };
                    if let Some(unsent) = self.unsent.get_mut(shard) {
                        unsent.keep(*mask, lsn);
                    }
                }
            }
        }
        store.forget_strays(&strays, tail_lsn);
        true
    }

    /// Notes how many masks wait for the tier. Whether it was told of some of them since they were looked at: nobody wakes this thread
    /// for those.
    pub(crate) fn note_unsent(&self, store: &Store) -> bool {
        let shards = self.unsent.iter().enumerate();
        shards.fold(false, |any, (shard, unsent)| {
            store.note_held_masks(shard, unsent.masks.len(), unsent.below_lsn, unsent.from_lsn) || any
        })
    }

    /// Masks that the tier was told of since the last time may go. Those of a shard that was told of nothing are not looked at: they may
    /// be many, and the others are told all the time.
    fn take_sent(&mut self, store: &Store) {
        self.unsent.resize_with(store.shards(), Unsent::default);
        for (shard, unsent) in self.unsent.iter_mut().enumerate() {
            let from_lsn = store.unsent_from(shard);
            if from_lsn != std::mem::replace(&mut unsent.from_lsn, from_lsn) {
                self.masks.append(&mut unsent.masks);
                unsent.below_lsn = 0;
            }
        }
    }
}

/// The record at a spot, if its segment is still there.
fn find<'g>(store: &Store, spot: Spot, guard: &'g Guard) -> Option<(&'g Segment, View<'g>, Address)> {
    let segment = store.log.table.get(spot.segment, guard)?;
    if segment.header().id != spot.segment_id {
        return None;
    }
    let offset = u64::from(spot.offset_bytes);
    Some((segment, segment.view(offset)?, Address::new(spot.segment, offset)?))
}

/// Has what the index holds of their keys fetched at once: waiting for it is most of what each costs.
fn prefetch(store: &Store, spots: impl Iterator<Item = Spot>, guard: &Guard) {
    let keys = spots.filter_map(|spot| find(store, spot, guard)).map(|(_, view, _)| view.key);
    store.map(guard).prefetch(keys);
}

/// What becomes of a record whose hint fired.
enum Fate {
    /// It is a mask now.
    Mask,
    /// The same, and it needs a tombstone: its key, and its LSN.
    Idle(Vec<u8>, u64),
    /// Its time comes at this one.
    Later(u64),
    /// It is not its key's newest, or it has no end.
    Nothing,
}

/// Tags the record if it is its key's newest and its time is over.
fn expire_one(store: &Store, spot: Spot, guard: &Guard) -> Fate {
    let Some((segment, view, address)) = find(store, spot, guard) else { return Fate::Nothing };
    let map = store.map(guard);
    let is_mask = || map.find(view.key).is_some_and(|slot| slot.address() == address.expired());
    if store.is_past(view.expire_at_ms, guard) {
        let is_tagged = store.tag_expired(&map, address, (segment, view)) || is_mask();
        return if is_tagged { Fate::Mask } else { Fate::Nothing };
    }
    if view.word.kind() != Some(Kind::Put) || segment.marks().is_none() {
        return if is_mask() { Fate::Mask } else { Fate::Nothing };
    }
    let stands = map.find(view.key).is_some_and(|slot| slot.address() == address);
    let now_ms = store.clock.now_ms();
    match store.idle_until_ms(segment, address.offset_bytes(), &view) {
        _ if is_mask() => Fate::Idle(view.key.to_vec(), view.lsn),
        _ if !stands => Fate::Nothing,
        Some(until_ms) if now_ms < until_ms => {
            let ends_ms = if view.expire_at_ms == 0 { u64::MAX } else { view.expire_at_ms };
            Fate::Later(until_ms.min(ends_ms))
        }
        Some(_) if store.tag_expired(&map, address, (segment, view)) => {
            Fate::Idle(view.key.to_vec(), view.lsn)
        }
        // A tier has to be told of it first, or somebody else was faster.
        _ => Fate::Later(now_ms.saturating_add(AGAIN_MS)),
    }
}

/// The shard that a mask has to stay for: as long as the tier holds what it hides, nothing else says that the key is gone.
fn forget_one(store: &Store, spot: Spot, guard: &Guard) -> Option<(usize, u64)> {
    let (segment, view, address) = find(store, spot, guard)?;
    let mask = if view.word.kind() == Some(Kind::Tombstone) { address } else { address.expired() };
    let map = store.map(guard);
    if store.is_unsent_change(&view) {
        let stands = map.find(view.key).is_some_and(|slot| slot.address() == mask);
        return stands.then(|| (store.shard_of(view.key), view.lsn));
    }
    if map.remove(view.key, mask) {
        segment.account.charge_mask(view.bytes());
        store.forget_key(view.key, view.lsn);
        store.counters.masks_removed.add(1);
    }
    None
}
