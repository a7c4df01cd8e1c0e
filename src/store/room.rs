//! Room for what comes, where the options set a limit (`capacity/`). An entry that has to go gets a tombstone like any that is
//! deleted, written over exactly the record that was chosen: so what is newer stays, and what went stays gone (I3, I5).

use super::{Found, Map, New, NewValue, Seen, Slot, Step, Store};
use crate::capacity::{one_more, Capacity, Load, Weigher};
use crate::error::Result;
use crate::index::Address;
use crate::log::{Place, Segment, View};
use crate::record::{flags, Draft, Kind};
use crate::testing::besides;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Choices in a row that somebody else was faster than, until a writer leaves it to the next one.
const LOST_CHOICES_MAX: u32 = 16;

/// Values that a conditional write has weighed in vain, since each decision made another, until it weighs while it holds its guard.
const WEIGHED_IN_VAIN_MAX: u32 = 8;

/// From one part of the tickets to another.
const NEXT_SHARD: u64 = 1 << 60;

/// What became of a choice.
enum Outcome {
    /// Its tombstone has this LSN.
    Evicted(u64),
    /// Somebody was faster, with a new value or by removing it; or its time was over.
    Lost,
    /// All are about to go or spared, or the tier was not told of them yet.
    NoneToGo,
}

/// What an entry counts as where nothing else is said: by its stored value.
fn bytes_of(key: &[u8], value: &[u8]) -> u32 {
    u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX)
}

fn load(weight: u32) -> Load {
    Load { entries: 1, bytes: weight.into() }
}

fn sum<'l>(loads: impl IntoIterator<Item = &'l Load>) -> Load {
    let add =
        |sum: Load, one: &Load| Load { entries: sum.entries + one.entries, bytes: sum.bytes + one.bytes };
    loads.into_iter().fold(Load::default(), add)
}

/// What is more when a put of `new` takes the place of `old`.
fn more(new: Load, old: Option<Load>) -> Load {
    let old = old.unwrap_or_default();
    Load { entries: new.entries - old.entries, bytes: new.bytes - old.bytes }
}

/// What a record counts as: as its weigher said, if there is one. What was counted when it came is what is taken away when it goes, also
/// where there is no memory to note it in.
fn noted(segment: &Segment, offset: u64, key: &[u8], value: &[u8]) -> Load {
    let weight = segment.marks().and_then(|marks| marks.weight(offset));
    load(weight.unwrap_or_else(|| bytes_of(key, value)))
}

fn load_at(segment: &Segment, offset: u64, view: &View<'_>) -> Load {
    noted(segment, offset, view.key, view.value)
}

fn load_of_slot(slot: &Slot<'_>) -> Load {
    let (segment, view) = slot.record();
    load_at(segment, slot.address().offset_bytes(), &view)
}

impl Seen<'_> {
    /// What the entry counts as, if it is alive.
    fn load(&self) -> Option<Load> {
        self.standing().as_ref().map(load_of_slot)
    }
}

/// What the weigher has said to a conditional write, which asks before it takes the guard that it writes under: the weigher is
/// the user's code, and no grace period waits for that.
#[derive(Default)]
pub(super) struct Weighed {
    /// Of the value that was given, which stays the same, or else of `made`.
    load: Option<Load>,
    made: Option<Vec<u8>>,
    times: u32,
}

impl Weighed {
    /// What a value counts as, if it is the one that was weighed.
    #[inline]
    pub(super) fn of(&self, value: &NewValue) -> Option<Load> {
        self.load.filter(|_| match value {
            NewValue::Given => self.made.is_none(),
            NewValue::Made(bytes) => self.made.as_ref() == Some(bytes),
            NewValue::Kept => false,
        })
    }
}

fn evicted() -> New {
    // Not told the tier: it forgets nothing.
    New { flags: flags::EVICTED | flags::FROM_TIER, ..New::tombstone() }
}

impl Store {
    /// Begins to keep to the options' limits, before there are writers. What stands here counts as it came.
    pub(crate) fn begin_limits(&mut self) {
        let capacity = Capacity::new(&self.options.limits);
        let mut found = Vec::new();
        self.walk(|map, address, (segment, view)| {
            if view.word.is_of(Kind::Put) && !address.is_expired() {
                found.push((view.lsn, map.hash(view.key)));
                let offset = address.offset_bytes();
                if let (Some(weigher), Some(marks)) = (capacity.weigher(), segment.marks()) {
                    let value = self.value_at(offset, (segment, view));
                    let weight = value.ok().and_then(|value| self.weigh(weigher, view.key, &value));
                    marks.set_weight(offset, weight.unwrap_or_else(|| bytes_of(view.key, view.value)));
                }
                capacity.count(load_at(segment, offset, &view));
            }
        });
        found.sort_unstable();
        found.iter().for_each(|(_, hash)| capacity.put_back(*hash));
        self.capacity = Some(capacity);
    }

    /// What a record to be will count as; nothing without limits, and unless it is a put. `seen` is what stands for the key, if the value
    /// stays: then so does the weight.
    #[inline]
    pub(crate) fn load_of(&self, draft: &Draft<'_>, seen: Option<&Seen<'_>>) -> Load {
        match &self.capacity {
            Some(capacity) if draft.kind == Kind::Put => self.load_in(capacity, draft, seen),
            _ => Load::default(),
        }
    }

    #[cold]
    fn load_in(&self, capacity: &Capacity, draft: &Draft<'_>, seen: Option<&Seen<'_>>) -> Load {
        let bytes = bytes_of(draft.key, draft.value);
        let Some(weigher) = capacity.weigher() else { return load(bytes) };
        match seen.and_then(Seen::load) {
            Some(kept) => kept,
            None => {
                let value = self.unwrapped_value(draft);
                load(value.and_then(|value| self.weigh(weigher, draft.key, &value)).unwrap_or(bytes))
            }
        }
    }

    /// Whether the weigher has to be asked of what was decided on.
    #[inline]
    pub(super) fn is_to_be_weighed(&self, new: &New, weighed: &Weighed) -> bool {
        self.capacity.as_ref().is_some_and(|capacity| capacity.weigher().is_some())
            && new.kind == Kind::Put
            && !matches!(new.value, NewValue::Kept)
            && weighed.times < WEIGHED_IN_VAIN_MAX
            && weighed.of(&new.value).is_none()
    }

    /// Asks it. Call without a guard.
    #[cold]
    pub(super) fn weigh_new(&self, key: &[u8], given: &[u8], new: New, weighed: &mut Weighed) {
        let value = if let NewValue::Made(bytes) = &new.value { bytes } else { given };
        weighed.load = Some(self.load_of(&new.draft(key, value), None));
        weighed.made = if let NewValue::Made(bytes) = new.value { Some(bytes) } else { None };
        weighed.times += 1;
    }

    /// Asks the weigher; `None` if it panics.
    fn weigh(&self, weigher: &Weigher, key: &[u8], value: &[u8]) -> Option<u32> {
        let weight = catch_unwind(AssertUnwindSafe(|| weigher(key, value))).ok();
        if weight.is_none() {
            self.say(&format!("weigher: panicked on a key of {} bytes: it weighs its bytes", key.len()));
        }
        weight
    }

    /// Notes what a record counts as, before it is found by anybody.
    pub(super) fn note_load(&self, place: &Place<'_>, load: Load) {
        if let Some(marks) = place.segment.marks() {
            marks.set_weight(place.offset, u32::try_from(load.bytes).unwrap_or(u32::MAX));
        }
    }

    /// Counts a publication: what came at `place`, and what it `ended` that was alive.
    pub(super) fn settle_room(
        &self,
        capacity: &Capacity,
        draft: &Draft<'_>,
        place: &Place<'_>,
        ended: Option<&Slot<'_>>,
    ) {
        let new = match draft.kind {
            Kind::Put => noted(place.segment, place.offset, draft.key, draft.value),
            _ => Load::default(),
        };
        let old = ended.map(load_of_slot);
        capacity.count(more(new, old));
        match (draft.kind == Kind::Put, ended) {
            (true, Some(slot)) => {
                // A write of what is there is a hit.
                let (segment, _) = slot.record();
                let hits = segment.marks().map_or(0, |marks| marks.hits(slot.address().offset_bytes()));
                if let Some(marks) = place.segment.marks() {
                    marks.set_hits(place.offset, one_more(hits).unwrap_or(hits));
                }
            }
            (true, None) => capacity.push(self.index.hash(draft.key)),
            // Whoever chose it has its ticket.
            (false, Some(_)) if draft.flags & flags::EVICTED == 0 => {
                capacity.void(self.index.hash(draft.key))
            }
            (false, _) => {}
        }
    }

    /// Counts a copy that took the place of a put; its stored value may be shorter.
    pub(crate) fn count_copy(&self, old: (Address, Found<'_>), copy: (Address, Found<'_>)) {
        let ((_, (_, old_view)), (_, (_, copy_view))) = (old, copy);
        let longer_by = copy_view.bytes() as i64 - old_view.bytes() as i64;
        if longer_by != 0 {
            self.counters.live_bytes.add(longer_by);
        }
        if let Some(capacity) = &self.capacity {
            let load = |(address, (segment, view)): (Address, Found<'_>)| {
                load_at(segment, address.offset_bytes(), &view)
            };
            let change = more(load(copy), Some(load(old)));
            if change != Load::default() {
                capacity.count(change);
            }
        }
    }

    /// Counts an entry that left without a record of its own.
    pub(super) fn leave_room(&self, address: Address, record: Found<'_>) {
        let (segment, view) = record;
        if let Some(capacity) = &self.capacity {
            let old = load_at(segment, address.offset_bytes(), &view);
            capacity.count(more(Load::default(), Some(old)));
            capacity.void(self.index.hash(view.key));
        }
    }

    /// Entries that are held. Parts of a sum that writers add to are of several moments, and could make more of them than there may be.
    pub(crate) fn entries(&self) -> u64 {
        self.capacity.as_ref().map_or_else(|| self.counters.entries.sum(), Capacity::entries)
    }

    /// Whether a put over what was seen would find no room.
    #[inline]
    pub(super) fn lacks_room(&self, new: Load, seen: &Seen<'_>) -> bool {
        let Some(capacity) = self.capacity.as_ref().filter(|_| new.entries != 0) else { return false };
        !capacity.is_too_heavy(new) && capacity.lacks_room_for(more(new, seen.load()))
    }

    /// Makes room for records that are about to be written whatever stands there. What fails here is for the write to tell.
    #[inline]
    pub(crate) fn make_room(&self, drafts: &[Draft<'_>], loads: &[Load]) {
        if let Some(capacity) = &self.capacity {
            self.make_room_in(capacity, drafts, loads);
        }
    }

    #[cold]
    fn make_room_in(&self, capacity: &Capacity, drafts: &[Draft<'_>], loads: &[Load]) {
        let puts = || drafts.iter().zip(loads).filter(|(draft, _)| draft.kind == Kind::Put);
        let all = sum(loads);
        if !capacity.lacks_room_for(all) || !capacity.could_hold(all) {
            return;
        }
        let more = {
            let guard = crossbeam_epoch::pin();
            let one = |(draft, new): (&Draft<'_>, &Load)| more(*new, self.look(draft.key, &guard).load());
            sum(&puts().map(one).collect::<Vec<_>>())
        };
        let spared = puts().next().map(|(draft, _)| draft.key);
        let _ = self.evict_while(capacity, spared, || capacity.lacks_room_for(more));
    }

    /// Makes room for a put of this key, as far as that goes, and not of what stands for it: what the put is to be may rest on that.
    pub(super) fn make_room_near(&self, key: &[u8]) {
        if let Some(capacity) = &self.capacity {
            let hash = self.index.hash(key);
            let _ = self.evict_one(capacity, hash, Some(hash));
        }
    }

    /// Sees to the limits after a record became visible: several writers may have found the same room. Waits until what went for it
    /// is as safe as the record will be.
    #[inline]
    pub(crate) fn keep_limits(&self, key: &[u8], load: Load) {
        if let Some(capacity) = self.capacity.as_ref().filter(|_| load.entries != 0) {
            self.keep_limits_of(capacity, key, load);
        }
    }

    #[cold]
    fn keep_limits_of(&self, capacity: &Capacity, key: &[u8], load: Load) {
        let mut last = None;
        if capacity.is_too_heavy(load) {
            // It would drive out everything else and still not fit.
            let is_heavy = |seen: &Seen<'_>| seen.load().is_some_and(|load| capacity.is_too_heavy(load));
            last = besides(|| self.evict(key, is_heavy)).ok().flatten();
            if last.is_some() {
                capacity.void(self.index.hash(key));
            }
        }
        // The put stands all the same; the next one tries again.
        let evicted = self.evict_while(capacity, Some(key), || capacity.lacks_room_for(Load::default()));
        last = last.max(evicted.ok().flatten());
        if let Some(last) = last {
            // Of a failed sync the put itself is told.
            let _ = self.log.wait_acknowledged(last);
        }
    }

    /// Makes the store keep to its limits; it may have been opened with lower ones than before.
    pub(crate) fn keep_to_limits(&self) -> Result<()> {
        let Some(capacity) = &self.capacity else { return Ok(()) };
        self.evict_while(capacity, None, || capacity.lacks_room_for(Load::default())).map(drop)
    }

    /// Lets entries go as long as `lacks` says so and some can go, but not that of a key that is `spared`. Returns the last tombstone's
    /// LSN.
    fn evict_while(
        &self,
        capacity: &Capacity,
        spared: Option<&[u8]>,
        lacks: impl Fn() -> bool,
    ) -> Result<Option<u64>> {
        let (mut last, mut lost) = (None, 0);
        let spared = spared.map(|key| self.index.hash(key));
        let mut near = spared.unwrap_or_default();
        while lost < LOST_CHOICES_MAX && lacks() {
            match self.evict_one(capacity, near, spared)? {
                Outcome::Evicted(tombstone) => (last, lost) = (Some(tombstone), 0),
                Outcome::Lost => lost += 1,
                Outcome::NoneToGo => break,
            }
            near = near.wrapping_add(NEXT_SHARD);
        }
        Ok(last)
    }

    /// Lets one entry go: of those whose hashes are near, and not of the one that is `spared`.
    fn evict_one(&self, capacity: &Capacity, near: u64, spared: Option<u64>) -> Result<Outcome> {
        let (hash, found) = {
            let guard = crossbeam_epoch::pin();
            let map = self.map(&guard);
            let look = |hash| self.hits_of(&map, hash).filter(|_| Some(hash) != spared);
            let lower = |hash, hits| self.set_hits(&map, hash, hits);
            let Some(hash) = capacity.choose(near, look, lower) else { return Ok(Outcome::NoneToGo) };
            (hash, map.find_hash(hash).map(|(_, (_, view))| (view.key.to_vec(), view.lsn)))
        };
        let evicted = match &found {
            Some((key, lsn)) => besides(|| self.evict(key, |seen| seen.lsn == *lsn)),
            None => Ok(None),
        };
        if let Ok(Some(tombstone)) = evicted {
            return Ok(Outcome::Evicted(tombstone));
        }
        capacity.put_back(hash);
        evicted.map(|_| Outcome::Lost)
    }

    /// Writes the tombstone, if what stands for the key is what was chosen. Returns its LSN.
    fn evict(&self, key: &[u8], is_chosen: impl Fn(&Seen<'_>) -> bool) -> Result<Option<u64>> {
        let (tombstone, ()) = self.write(key, |seen| {
            let is_chosen = seen.live.is_some() && is_chosen(seen) && !self.has_unsent(seen);
            Ok(if is_chosen { Step::Write(evicted(), ()) } else { Step::Leave(()) })
        })?;
        if tombstone.is_some() {
            self.counters.evicted.add(1);
        }
        Ok(tombstone)
    }

    /// Hits of the entry that stands for a hash and may go.
    fn hits_of(&self, map: &Map<'_>, hash: u64) -> Option<u8> {
        let (address, (segment, view)) = map.find_hash(hash)?;
        let may_go = view.word.is_of(Kind::Put) && !address.is_expired() && !self.is_unsent_change(&view);
        may_go.then(|| segment.marks().map_or(0, |marks| marks.hits(address.offset_bytes())))
    }

    fn set_hits(&self, map: &Map<'_>, hash: u64, hits: u8) {
        let found = map.find_hash(hash);
        if let Some((address, marks)) =
            found.and_then(|(address, (segment, _))| Some((address, segment.marks()?)))
        {
            marks.set_hits(address.offset_bytes(), hits);
        }
    }
}
