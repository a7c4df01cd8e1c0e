//! The store's core: how a record is found, published, tagged and forgotten. Everything that reads or changes the
//! index goes through here: the operations in `db`, the sweeper, the compactor, and recovery.

mod idle;
mod keys;
mod numbers;
#[cfg(feature = "redis")]
mod outbox;
mod records;
mod room;
mod unsent;
mod values;
mod waits;

pub(crate) use values::Packed;

use crate::capacity::{Capacity, Load};
use crate::clock::Ratchet;
use crate::counters::Counters;
use crate::dictionaries::Dictionaries;
use crate::error::{Error, Result};
use crate::events::{Cause, Event, Events};
use crate::index::{Address, Entry, Index, Pinned, Records};
use crate::loads::Loads;
use crate::locks::Locks;
use crate::log::{Log, NoRoom, Place, Segment, Table, View};
use crate::options::Options;
use crate::ordered::KeyList;
use crate::reclaim::Protected;
use crate::record::{flags, Draft, Kind, State};
use crate::tag::Tag;
#[cfg(feature = "redis")]
use crate::tag::Tagged;
use crate::testing::{Fault, Point};
use crossbeam_epoch::Guard;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use idle::{notes_for, Idle};
#[cfg(feature = "redis")]
use outbox::Outbox;
use room::Weighed;

/// Losses after which a writer of a large value queues with others that lose on keys like its own.
const LOSSES_MAX: u32 = 3;
const LARGE_VALUE_BYTES: usize = 4096;
const TURNS: usize = 64;
/// Entries that a writer lets go before it decides anew, until it writes all the same.
const ROOM_MADE_MAX: u32 = 64;

pub(crate) struct Store {
    pub(crate) log: Arc<Log>,
    pub(crate) index: Index,
    pub(crate) clock: Ratchet,
    /// Highest time that stands in a segment's cell (I15).
    pub(crate) stored_time_ms: Arc<AtomicU64>,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    pub(crate) loads: Loads,
    pub(crate) locks: Locks,
    pub(crate) dictionaries: Dictionaries,
    pub(crate) options: Options,
    /// Why writes are refused, in a store that was opened for reading.
    pub(crate) read_only: Option<String>,
    /// Keys in order, if the options ask for them.
    pub(crate) keys: Option<KeyList>,
    /// What it may hold, if the options set a limit.
    pub(crate) capacity: Option<Capacity>,
    /// How long its entries may be idle, if the options say so.
    pub(crate) idle: Option<Idle>,
    /// LSN of the last clear of this open (I14).
    pub(crate) cleared_lsn: AtomicU64,
    /// What the tier has and has not.
    #[cfg(feature = "redis")]
    pub(crate) outbox: Outbox,
    turns: Vec<Mutex<()>>,
}

/// A record where it lies.
pub(crate) type Found<'g> = (&'g Segment, View<'g>);
/// The index, with the table that its addresses lead through.
pub(crate) type Map<'g> = Pinned<'g, Table>;
pub(crate) type Slot<'g> = Entry<'g, Table>;

/// What stands for a key, as one moment saw it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'g> {
    slot: Option<Slot<'g>>,
    /// LSN of the record there; 0 without one.
    pub(crate) lsn: u64,
    /// The record, if it is alive.
    pub(crate) live: Option<View<'g>>,
}

impl<'g> Seen<'g> {
    /// The entry, if it is alive.
    #[inline]
    fn standing(&self) -> Option<Slot<'g>> {
        self.slot.filter(|_| self.live.is_some())
    }

    /// Whether what stands here is a copy of what the tier holds, or the mark that one was dropped.
    #[cfg(feature = "redis")]
    pub(crate) fn is_from_tier(&self) -> bool {
        self.slot.is_some_and(|slot| slot.record().1.word.flags() & flags::FROM_TIER != 0)
    }

    /// Version of the live value, 0 when there is none.
    pub(crate) fn version(&self) -> u64 {
        self.live.map_or(0, |view| view.lsn)
    }
}

/// What a record says at the moment.
enum Judged {
    Gone,
    Alive,
    /// Its time is over, and nobody has tagged it yet (I5).
    Due,
    /// The same, since nobody has used it for too long.
    Idle,
}

/// The outcome of a write that decided on what it saw.
pub(crate) enum Step<T> {
    /// Nothing is written.
    Leave(T),
    /// The key gets this record.
    Write(New, T),
}

/// A record to be, without its key.
pub(crate) struct New {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) codec: u8,
    pub(crate) dictionary: u16,
    pub(crate) expire_at_ms: u64,
    pub(crate) value: NewValue,
}

/// Stored form of a new record's value.
pub(crate) enum NewValue {
    /// What the caller of `write` gave.
    Given,
    /// That of the record that is replaced.
    Kept,
    Made(Vec<u8>),
}

impl New {
    /// The record of it, with the value that `value` stands for.
    fn draft<'d>(&self, key: &'d [u8], value: &'d [u8]) -> Draft<'d> {
        let New { kind, flags, codec, dictionary, expire_at_ms, .. } = *self;
        Draft { kind, flags, codec, dictionary, lsn: 0, expire_at_ms, key, value }
    }

    pub(crate) fn tombstone() -> New {
        New {
            kind: Kind::Tombstone,
            flags: 0,
            codec: 0,
            dictionary: 0,
            expire_at_ms: 0,
            value: NewValue::Made(Vec::new()),
        }
    }
}

impl Store {
    pub(crate) fn new(
        log: Arc<Log>,
        index: Index,
        clock: Ratchet,
        events: Events,
        options: Options,
    ) -> Store {
        #[cfg(feature = "redis")]
        let shards = options.tier.as_ref().map_or(1, |tier| tier.shards);
        let idle = options.time_to_idle.map(|time| Idle::new(time, clock.now_ms()));
        Store {
            log,
            index,
            clock,
            stored_time_ms: Arc::default(),
            counters: Counters::default(),
            events,
            loads: Loads::new(Arc::clone(&options.clock)),
            locks: Locks::default(),
            dictionaries: Dictionaries::new(options.compression.dictionary_level()),
            options,
            read_only: None,
            keys: None,
            capacity: None,
            idle,
            cleared_lsn: AtomicU64::new(0),
            #[cfg(feature = "redis")]
            outbox: Outbox::new(shards),
            turns: std::iter::repeat_with(Mutex::default).take(TURNS).collect(),
        }
    }

    /// Which codec what comes from the tier is said to be written by.
    #[cfg(feature = "redis")]
    pub(crate) fn tier_codec(&self) -> Tag {
        self.options.tier.as_ref().map_or(Tag::RAW, |tier| tier.codec)
    }

    /// A value that comes from the tier.
    #[cfg(feature = "redis")]
    pub(crate) fn of_tier(&self, value: Vec<u8>) -> Tagged {
        Tagged { value, codec: self.tier_codec() }
    }

    /// As `value_seen`, a copy, with its codec.
    #[cfg(feature = "redis")]
    pub(crate) fn tagged_seen(&self, seen: &Seen<'_>) -> Result<Tagged> {
        let codec = seen.live.map_or(Tag::RAW, |view| Tag::found(view.word.codec()));
        Ok(Tagged { value: self.value_seen(seen)?.into_owned(), codec })
    }

    pub(crate) fn say(&self, line: &str) {
        if let Some(logger) = &self.options.logger {
            logger(line);
        }
    }

    /// The record that an address leads to.
    pub(crate) fn at<'g>(&'g self, address: Address, guard: &'g Guard) -> Option<Found<'g>> {
        self.log.table.read(address, guard.into())
    }

    /// Whether a record counts, and if it does whether its time is over. One that is pending is committed first (I4).
    #[inline]
    fn judge(&self, address: Address, record: Found<'_>) -> Judged {
        let (segment, view) = record;
        if view.word.is(State::Pending) && !self.options.faults.has(Fault::PendingNotCommitted) {
            segment.resolve(address.offset_bytes(), State::Committed);
        }
        if address.is_expired() || !view.word.is_of(Kind::Put) {
            return Judged::Gone;
        }
        if self.is_due(view.expire_at_ms) {
            return Judged::Due;
        }
        if self.is_idle(address.offset_bytes(), record) {
            return Judged::Idle;
        }
        Judged::Alive
    }

    #[inline]
    fn is_due(&self, expire_at_ms: u64) -> bool {
        // The clock is read after the record was loaded: a record that is alive by a later clock was alive when it was
        // loaded, and one that is not is tagged by compare-exchange before anybody says so (docs/design.md, "Time").
        expire_at_ms != 0 && self.clock.now_ms() >= expire_at_ms
    }

    /// Whether a deadline has passed; if so, that time is on record before anybody acts on it (I15).
    pub(crate) fn is_past<'g>(&'g self, expire_at_ms: u64, protected: impl Into<Protected<'g>>) -> bool {
        let is_past = self.is_due(expire_at_ms);
        if is_past {
            self.store_time(expire_at_ms, protected.into());
        }
        is_past
    }

    fn store_time(&self, at_least_ms: u64, protected: Protected<'_>) {
        // Acquire: a time found here stands in a cell; pairs with the Release below.
        if self.read_only.is_some() || self.stored_time_ms.load(Ordering::Acquire) >= at_least_ms {
            return;
        }
        self.log.active(protected).cell().raise_time(at_least_ms);
        self.stored_time_ms.fetch_max(at_least_ms, Ordering::Release);
    }

    /// The index under a guard: what it gives stays readable while that is held.
    pub(crate) fn map<'g>(&'g self, protected: impl Into<Protected<'g>>) -> Map<'g> {
        self.index.pin(&self.log.table, protected)
    }

    /// Calls `visit` with what stands for each key, in no order: what is there throughout exactly once. Holds no guard for long.
    pub(crate) fn walk(&self, mut visit: impl FnMut(&Map<'_>, Address, Found<'_>)) {
        let mut cursor = self.index.cursor(&crossbeam_epoch::pin());
        loop {
            let guard = crossbeam_epoch::pin();
            let map = self.map(&guard);
            if !cursor.step(&map, |address, record| visit(&map, address, record)) {
                return;
            }
        }
    }

    /// Calls `visit` with every key that stands in the index, without a guard: it may write.
    pub(crate) fn walk_keys(&self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut cursor = self.index.cursor(&crossbeam_epoch::pin());
        let mut goes_on = true;
        while goes_on {
            let mut keys: Vec<Vec<u8>> = Vec::new();
            {
                let guard = crossbeam_epoch::pin();
                goes_on = cursor.step(&self.map(&guard), |_, (_, view)| keys.push(view.key.to_vec()));
            }
            keys.iter().try_for_each(|key| visit(key))?;
        }
        Ok(())
    }

    /// The record of a key, if it takes no more than a look: one that is alive and has its value as it is. `None` says nothing:
    /// `read` it.
    #[inline(always)]
    pub(crate) fn read_at_once<'g>(&'g self, key: &[u8], protected: Protected<'g>) -> Option<View<'g>> {
        let (_, view) = self.map(protected).get_at_once(key)?;
        (!self.is_due(view.expire_at_ms)).then_some(view)
    }

    /// The record of a key that is alive: `look` for who only reads.
    #[inline]
    pub(crate) fn read<'g>(&'g self, key: &[u8], protected: Protected<'g>) -> Option<(Address, Found<'g>)> {
        loop {
            let (address, record) = self.map(protected).get(key)?;
            match self.judge(address, record) {
                Judged::Gone => return None,
                Judged::Alive => return Some((address, record)),
                Judged::Due | Judged::Idle if self.look(key, protected).live.is_none() => return None,
                // Somebody wrote meanwhile.
                Judged::Due | Judged::Idle => {}
            }
        }
    }

    /// What stands for a key. A record that is pending is committed first (I4), one that has expired is tagged (I5).
    pub(crate) fn look<'g>(&'g self, key: &[u8], protected: impl Into<Protected<'g>>) -> Seen<'g> {
        let protected = protected.into();
        let map = self.map(protected);
        loop {
            let Some(slot) = map.find(key) else { return Seen { slot: None, lsn: 0, live: None } };
            let (address, record) = (slot.address(), slot.record());
            let view = record.1;
            let gone = Seen { slot: Some(slot), lsn: view.lsn, live: None };
            match self.judge(address, record) {
                Judged::Gone => return gone,
                Judged::Alive => return Seen { live: Some(view), ..gone },
                Judged::Due => self.store_time(view.expire_at_ms, protected),
                Judged::Idle => {}
            }
            if self.options.faults.has(Fault::ExpiredNotTagged) || self.read_only.is_some() {
                return gone;
            }
            // Whoever tagged it, or wrote instead: look again.
            self.tag_expired(&map, address, record);
        }
    }

    /// Turns an expired record into a mask (I5); false if its key leads elsewhere by now.
    pub(crate) fn tag_expired(&self, map: &Map<'_>, address: Address, record: Found<'_>) -> bool {
        let (_, view) = record;
        if !map.redirect(view.key, address, address.expired()) {
            return false;
        }
        self.count_gone(address, record);
        self.counters.expired.add(1);
        self.tell(address, record, Cause::Expired, true);
        true
    }

    fn count_gone(&self, address: Address, record: Found<'_>) {
        self.counters.entries.add(-1);
        self.counters.live_bytes.add(-(record.1.bytes() as i64));
        self.leave_room(address, record);
    }

    /// Tells the listener of an entry that went, or of a value. `has_looked`: it was alive for who decided on it; who wrote blindly, or
    /// cleared, has not looked whether its time was over.
    fn tell(&self, address: Address, record: Found<'_>, cause: Cause, has_looked: bool) {
        if !self.events.is_on() {
            return;
        }
        let view = record.1;
        let cause = match cause {
            Cause::Deleted | Cause::Replaced if !has_looked && self.was_over(address, record) => {
                Cause::Expired
            }
            cause => cause,
        };
        let is_untold = match cause {
            Cause::Expired => self.events.come_too_late_for(view.lsn, view.expire_at_ms),
            Cause::Replaced => !self.options.listener_replaced,
            Cause::Deleted | Cause::Evicted => false,
        };
        if is_untold {
            return;
        }
        let (value, unreadable) = match self.value_of(address, record) {
            Ok(value) => (value.into_owned(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let (key, codec) = (view.key.to_vec(), Tag::found(view.word.codec()));
        self.events.tell(Event { key, value, codec, version: view.lsn, cause }, unreadable);
    }

    fn was_over(&self, address: Address, record: Found<'_>) -> bool {
        self.is_past(record.1.expire_at_ms, &crossbeam_epoch::pin())
            || self.is_idle(address.offset_bytes(), record)
    }

    /// Publishes an appended record over whatever stands there, unless that is newer (I2). True when it won.
    pub(crate) fn publish_blind(
        &self,
        draft: &Draft<'_>,
        load: Load,
        place: &Place<'_>,
        guard: &Guard,
    ) -> bool {
        let Some(new) = address_of(place) else { return false };
        let map = self.map(guard);
        self.note_use(place.segment, place.offset);
        self.note_load(place, load);
        self.note_key(draft, place.lsn, || map.find(draft.key).is_some_and(|slot| is_put(&slot)));
        let old = map.publish_over_older(draft.key, new, place.lsn);
        old.map(|old| self.settle(draft, place, old, Some(Cause::Replaced), false)).is_ok()
    }

    /// Publishes an appended record over exactly what was seen (I3), wherever the compactor has moved that.
    fn publish_over<'g>(
        &'g self,
        draft: &Draft<'_>,
        load: Load,
        place: &Place<'_>,
        seen: &Seen<'g>,
        guard: &'g Guard,
        replaced: Option<Cause>,
    ) -> bool {
        let Some(new) = address_of(place) else { return false };
        let is_moved = |slot: &Slot<'_>| {
            let (_, view) = slot.record();
            seen.live.is_some()
                && !slot.address().is_expired()
                && view.lsn == seen.lsn
                && view.word.kind() == Some(Kind::Put)
        };
        self.note_use(place.segment, place.offset);
        self.note_load(place, load);
        let is_noted = self.note_key(draft, place.lsn, || seen.live.is_some());
        let old = self.map(guard).publish_over_seen(draft.key, new, seen.slot.as_ref(), is_moved);
        if is_noted && old.is_err() {
            self.stray_key(draft.key);
        }
        old.map(|old| self.settle(draft, place, old, replaced, true)).is_ok()
    }

    /// Counts a publication: what came and what went; `replaced` is what a put does to a value that was there.
    fn settle(
        &self,
        draft: &Draft<'_>,
        place: &Place<'_>,
        old: Option<Slot<'_>>,
        replaced: Option<Cause>,
        has_looked: bool,
    ) {
        let mut change = Change::default();
        let bytes = crate::record::record_bytes(draft.key.len(), draft.value.len());
        let ended = change.count(draft.kind, bytes, old);
        self.count(&change);
        if let Some(capacity) = &self.capacity {
            self.settle_room(capacity, draft, place, ended.as_ref());
        }
        let cause = match draft.flags & (flags::EVICTED | flags::FROM_TIER) {
            _ if draft.kind == Kind::Put => replaced,
            0 => Some(Cause::Deleted),
            // A copy of the tier's that is dropped is not gone.
            flags::FROM_TIER => None,
            _ => Some(Cause::Evicted),
        };
        if let (Some(slot), Some(cause)) = (ended, cause) {
            self.tell(slot.address(), slot.record(), cause, has_looked);
        }
    }

    pub(crate) fn count(&self, change: &Change) {
        if change.entries != 0 {
            self.counters.entries.add(change.entries);
        }
        self.counters.live_bytes.add(change.live_bytes);
    }

    /// A record that lost its race: it never counts, and its bytes are dead (I2).
    fn abort(&self, draft: &Draft<'_>, place: &Place<'_>) {
        place.resolve(State::Aborted);
        place.segment.account.charge(crate::record::record_bytes(draft.key.len(), draft.value.len()));
        self.counters.aborted.add(1);
    }

    /// Where writers of large values that keep losing wait for each other, so that the log does not fill with copies.
    fn turn(&self, key: &[u8], value_bytes: usize, losses: u32) -> Option<MutexGuard<'_, ()>> {
        if losses < LOSSES_MAX || value_bytes < LARGE_VALUE_BYTES {
            return None;
        }
        let turn = self.turns.get(crc32fast::hash(key) as usize % TURNS)?;
        Some(turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if let Some(reason) = &self.read_only {
            return Err(Error::ReadOnly { reason: reason.clone() });
        }
        self.log.check_writable()
    }

    /// Writes a record for a key whatever stands there. Returns its LSN once it is visible.
    pub(crate) fn write_blind(&self, draft: &Draft<'_>) -> Result<u64> {
        let load = self.load_of(draft, None);
        self.make_room(std::slice::from_ref(draft), &[load]);
        self.write_weighed(draft, load)
    }

    /// The same, of a record that was weighed, and that room was made for.
    pub(crate) fn write_weighed(&self, draft: &Draft<'_>, load: Load) -> Result<u64> {
        let mut losses = 0;
        loop {
            self.check_writable()?;
            let _turn = self.turn(draft.key, draft.value.len(), losses);
            match self.try_blind(draft, load) {
                Ok(Some(lsn)) => {
                    self.keep_limits(draft.key, load);
                    return Ok(lsn);
                }
                Ok(None) => losses += 1,
                Err(no_room) => self.log.wait_for_room(no_room)?,
            }
        }
    }

    /// One attempt of `write_blind`; `None` when a newer record stood there.
    fn try_blind(&self, draft: &Draft<'_>, load: Load) -> Result<Option<u64>, NoRoom> {
        let guard = crossbeam_epoch::pin();
        // What it replaces comes from memory meanwhile: the bucket while room is reserved, for which a processor waits until all
        // that it has asked of memory is there, and the record while the new one is filled.
        let map = self.map(&guard);
        let prefetch_record = map.prefetch_bucket(draft.key);
        let place = self.log.append_while(draft, &guard, prefetch_record)?;
        self.options.hooks.at(Point::Reserved);
        if self.publish_blind(draft, load, &place, &guard) {
            self.options.hooks.at(Point::Published);
            if !self.options.faults.has(Fault::AcknowledgedPending) {
                place.resolve(State::Committed);
            }
            return Ok(Some(place.lsn));
        }
        self.abort(draft, &place);
        if self.options.faults.has(Fault::BlindWriteCallsItselfOverwritten) {
            return Ok(Some(place.lsn));
        }
        Ok(None)
    }

    /// Lets `decide` choose on what stands for the key, and writes what it chose if that still stands there (I3).
    /// Returns the new record's LSN, if one was written, once it is visible.
    ///
    /// `decide` may run several times; it runs before anything is reserved and must not call the store.
    pub(crate) fn write<T>(
        &self,
        key: &[u8],
        decide: impl FnMut(&Seen<'_>) -> Result<Step<T>>,
    ) -> Result<(Option<u64>, T)> {
        self.write_given(key, &[], decide, || true)
    }

    /// As `write`, with a value at hand; `confirm` is asked between reservation and publication, and when it says no nothing
    /// is written.
    pub(crate) fn write_given<T>(
        &self,
        key: &[u8],
        given: &[u8],
        mut decide: impl FnMut(&Seen<'_>) -> Result<Step<T>>,
        confirm: impl Fn() -> bool,
    ) -> Result<(Option<u64>, T)> {
        let (mut losses, mut made_room) = (0, 0);
        let mut value_bytes = 0;
        let mut weighed = Weighed::default();
        loop {
            self.check_writable()?;
            let turn = self.turn(key, value_bytes, losses);
            let (written, outcome) = {
                let guard = crossbeam_epoch::pin();
                let seen = self.look(key, &guard);
                let (new, outcome) = match decide(&seen)? {
                    Step::Leave(outcome) => return Ok((None, outcome)),
                    Step::Write(new, outcome) => (new, outcome),
                };
                if self.is_to_be_weighed(&new, &weighed) {
                    drop((guard, turn));
                    self.weigh_new(key, given, new, &mut weighed);
                    continue;
                }
                let value = match &new.value {
                    NewValue::Given => given,
                    NewValue::Kept => {
                        self.check_seen(&seen)?;
                        seen.live.map_or(&[][..], |view| view.value)
                    }
                    NewValue::Made(bytes) => bytes,
                };
                value_bytes = value.len();
                // Another deadline is no other value.
                let replaced = (!matches!(new.value, NewValue::Kept)).then_some(Cause::Replaced);
                let draft = new.draft(key, value);
                let load = match weighed.of(&new.value) {
                    Some(load) => load,
                    None => self.load_of(&draft, matches!(new.value, NewValue::Kept).then_some(&seen)),
                };
                self.options.hooks.at(Point::Decided);
                if made_room < ROOM_MADE_MAX && self.lacks_room(load, &seen) {
                    drop(guard);
                    self.make_room_near(key);
                    made_room += 1;
                    continue;
                }
                match self.log.append(&draft, &guard) {
                    Ok(place) if !confirm() => {
                        self.abort(&draft, &place);
                        return Ok((None, outcome));
                    }
                    Ok(place) => {
                        self.options.hooks.at(Point::Reserved);
                        if self.publish_over(&draft, load, &place, &seen, &guard, replaced) {
                            self.options.hooks.at(Point::Published);
                            place.resolve(State::Committed);
                            (Ok((place.lsn, load)), outcome)
                        } else {
                            self.abort(&draft, &place);
                            losses += 1;
                            continue;
                        }
                    }
                    Err(no_room) => (Err(no_room), outcome),
                }
            };
            match written {
                Ok((lsn, load)) => {
                    self.keep_limits(key, load);
                    return Ok((Some(lsn), outcome));
                }
                Err(no_room) => self.log.wait_for_room(no_room)?,
            }
        }
    }

    /// Takes an entry out that a clear masks in the log (I14); false if it changed first.
    pub(crate) fn forget_cleared(&self, map: &Map<'_>, address: Address, record: Found<'_>) -> bool {
        let (segment, view) = record;
        if !map.remove(view.key, address) {
            return false;
        }
        segment.account.charge(view.bytes());
        if view.word.kind() == Some(Kind::Put) && !address.is_expired() {
            self.count_gone(address, record);
            self.tell(address, record, Cause::Deleted, false);
        }
        true
    }
}

/// What publications change in what the store holds.
#[derive(Default)]
pub(crate) struct Change {
    entries: i64,
    live_bytes: i64,
}

impl Change {
    /// A record of so many bytes took the place of `old`, whose bytes are dead now. Returns `old` if it was alive.
    pub(crate) fn count<'g>(&mut self, kind: Kind, bytes: u64, old: Option<Slot<'g>>) -> Option<Slot<'g>> {
        if kind == Kind::Put {
            self.entries += 1;
            self.live_bytes += bytes as i64;
        }
        let slot = old?;
        let (address, (segment, view)) = (slot.address(), slot.record());
        segment.account.charge(view.bytes());
        if view.word.kind() != Some(Kind::Put) || address.is_expired() {
            return None;
        }
        self.entries -= 1;
        self.live_bytes -= view.bytes() as i64;
        Some(slot)
    }
}

/// Whether an entry leads to a put that is no mask.
fn is_put(slot: &Slot<'_>) -> bool {
    slot.record().1.word.is_of(Kind::Put) && !slot.address().is_expired()
}

/// The index address of a record.
pub(crate) fn address_of(place: &Place<'_>) -> Option<Address> {
    Address::new(place.segment.number(), place.offset)
}
