//! Copies what lives, and the masks that are still needed, out of segments that are to go (I6, I7). The compactor and
//! recovery (I17) use it.

use crate::error::{Error, Result};
use crate::index::Address;
use crate::log::{Place, Plan, Reserve, Segment, SegmentKind, Sighting, View, FIRST_RECORD_AT};
use crate::record::{flags, record_bytes, Draft, Kind, State};
use crate::store::{address_of, Store};
use crate::testing::Fault;
use crossbeam_epoch::Guard;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// What an output is filled under.
pub(crate) struct Rewriter<'s> {
    store: &'s Store,
    /// LSN that outputs are born at: nothing older than this was left out of them by mistake (I6).
    born: u64,
    /// Lowest `born` of the segments that stay: a mask below it hides nothing any more.
    born_of_others: u64,
    output_bytes: u64,
    outputs: Vec<Arc<Segment>>,
    sightings: Vec<Sighting>,
    pub(crate) copied_bytes: u64,
}

/// Why a victim cannot go.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The victim is damaged and stays as it is.
    Damage(Error),
    /// Nothing can be copied at all.
    Failed(Error),
}

impl<'s> Rewriter<'s> {
    pub(crate) fn new(store: &'s Store, born: u64, born_of_others: u64, output_bytes: u64) -> Rewriter<'s> {
        Rewriter {
            store,
            born,
            born_of_others,
            output_bytes,
            outputs: Vec::new(),
            sightings: Vec::new(),
            copied_bytes: 0,
        }
    }

    /// Copies what the records from `from` on up to about `bytes` still need; returns where it stopped.
    pub(crate) fn rewrite(&mut self, victim: &Segment, from: u64, bytes: u64) -> Result<u64, Trouble> {
        let end = victim.end();
        let mut at = from;
        let guard = crossbeam_epoch::pin();
        while at < end && at - from < bytes {
            let view = self.verified(victim, at, end)?;
            if view.word.kind() == Some(Kind::Pad) {
                return Ok(end);
            }
            if view.word.state() == Some(State::Committed) {
                self.rewrite_committed(victim, at, &view, &guard).map_err(Trouble::Failed)?;
            }
            at += view.bytes();
        }
        Ok(at)
    }

    /// Copies what one committed record still needs.
    pub(crate) fn rewrite_one(&mut self, victim: &Segment, at: u64) -> Result<()> {
        let guard = crossbeam_epoch::pin();
        match self.verified(victim, at, victim.capacity_bytes()) {
            Ok(view) => self.rewrite_committed(victim, at, &view, &guard),
            Err(Trouble::Damage(error) | Trouble::Failed(error)) => Err(error),
        }
    }

    pub(crate) fn outputs(&self) -> &[Arc<Segment>] {
        &self.outputs
    }

    fn verified<'v>(&self, victim: &'v Segment, at: u64, end: u64) -> Result<View<'v>, Trouble> {
        let damage = |reason: &str| Trouble::Damage(Error::corrupt(victim.path(), at, reason));
        let view = victim.view(at).ok_or_else(|| damage("no record where one was written"))?;
        if view.word.kind() != Some(Kind::Pad) && at.saturating_add(view.bytes()) > end {
            return Err(damage("the record reaches beyond the segment's end"));
        }
        if !victim.checksum_is_good(at, &view) {
            return Err(damage("checksum mismatch"));
        }
        Ok(view)
    }

    fn rewrite_committed(&mut self, victim: &Segment, at: u64, view: &View<'_>, guard: &Guard) -> Result<()> {
        match view.word.kind() {
            Some(Kind::Batch) => {
                let mut result = Ok(());
                victim.members(at, view, |member_at, member| {
                    if result.is_ok() {
                        result = self.rewrite_entry(victim, member_at, member, guard);
                    }
                });
                result
            }
            Some(Kind::Put | Kind::Tombstone) => self.rewrite_entry(victim, at, view, guard),
            Some(Kind::Clear) if !self.is_free(view.lsn) => self.keep_mask(Kind::Clear, view, guard),
            _ => Ok(()),
        }
    }

    /// I6: no segment that stays can hold anything that a mask of this LSN hides.
    fn is_free(&self, mask_lsn: u64) -> bool {
        self.born_of_others > mask_lsn || self.store.options.faults.has(Fault::TombstonesDroppedEarly)
    }

    fn rewrite_entry(&mut self, victim: &Segment, at: u64, view: &View<'_>, guard: &Guard) -> Result<()> {
        let store = self.store;
        let map = store.map(guard);
        let Some(here) = Address::new(victim.number(), at) else { return Ok(()) };
        loop {
            match map.find(view.key) {
                Some(entry) if entry.address().is_same_place(here) => {
                    let address = entry.address();
                    let is_put = view.word.kind() == Some(Kind::Put);
                    if is_put && !address.is_expired() && store.is_past(view.expire_at_ms, guard) {
                        store.tag_expired(&map, &entry, view);
                        continue;
                    }
                    let is_mask = address.is_expired() || !is_put;
                    let copy = if is_mask { tombstone_for(view) } else { copy_of(view) };
                    let place = self.copy(&copy, guard)?;
                    let Some(new) = address_of(&place) else { return Ok(()) };
                    if map.replace(&entry, new) {
                        victim.account.charge(view.bytes());
                        self.note(&place);
                        return Ok(());
                    }
                    // The copy stays: harmless, since it has the same LSN, and needed if the winner is not on disk (I7).
                    charge_lost(&place);
                }
                Some(entry) => {
                    let newer =
                        store.at(entry.address(), guard).is_some_and(|(_, other)| other.lsn >= view.lsn);
                    return if newer || !view.may_mask() {
                        Ok(())
                    } else {
                        self.keep_mask(Kind::Tombstone, view, guard)
                    };
                }
                None => {
                    let drops = !view.may_mask()
                        || self.is_free(view.lsn)
                        || (view.word.kind() == Some(Kind::Put)
                            && store.options.faults.has(Fault::ExpiredDroppedWithoutMask));
                    return if drops { Ok(()) } else { self.keep_mask(Kind::Tombstone, view, guard) };
                }
            }
        }
    }

    /// Copies a mask that the index does not hold any more.
    fn keep_mask(&mut self, kind: Kind, view: &View<'_>, guard: &Guard) -> Result<()> {
        let copy = Draft { kind, ..tombstone_for(view) };
        let place = self.copy(&copy, guard)?;
        place.segment.account.charge_mask(record_bytes(copy.key.len(), 0));
        Ok(())
    }

    fn note(&mut self, place: &Place<'_>) {
        if let Some(view) = place.view() {
            self.sightings.extend(Sighting::of(place.segment, place.offset, &view));
        }
    }

    fn copy<'g>(&mut self, draft: &Draft<'_>, guard: &'g Guard) -> Result<Place<'g>> {
        loop {
            if let Some(output) = self.outputs.last() {
                if let Some(offset) = output.append_copy(draft) {
                    let bytes = record_bytes(draft.key.len(), draft.value.len());
                    self.copied_bytes += bytes;
                    if draft.kind != Kind::Put || draft.expire_at_ms != 0 {
                        output.account.saw_mask(draft.lsn);
                    }
                    let number = output.number();
                    let segment = self.store.log.table.get(number, guard).ok_or(Error::Closed)?;
                    return Ok(Place { segment, offset, lsn: draft.lsn });
                }
            }
            self.add_output(record_bytes(draft.key.len(), draft.value.len()))?;
        }
    }

    fn add_output(&mut self, record_bytes: u64) -> Result<()> {
        let log = &self.store.log;
        let plan = Plan {
            kind: SegmentKind::Output,
            id: log.fresh_id(),
            base_lsn: self.born,
            born: self.born,
            capacity_bytes: self.output_bytes.max(FIRST_RECORD_AT + record_bytes).next_multiple_of(4096),
        };
        let number = log.table.reserve()?;
        let made = match log.files.create(&plan, number) {
            Err(error) if error.is_disk_full() => {
                let reserve = log.files.create_from(Reserve::Compaction, &plan, number);
                reserve.map_err(|_| error)
            }
            made => made,
        };
        match made {
            Ok(segment) => {
                let segment = Arc::new(segment);
                log.table.insert(&segment);
                self.outputs.push(segment);
                Ok(())
            }
            Err(error) => {
                log.table.release(number);
                Err(error)
            }
        }
    }

    /// Makes the outputs durable and returns them with the records in them that need a second look.
    pub(crate) fn finish(self) -> Result<(Vec<Arc<Segment>>, Vec<Sighting>)> {
        let files = &self.store.log.files;
        for output in &self.outputs {
            let used_bytes = output.end();
            // The time is kept in whatever segment stays (I15).
            output.cell().raise_time(self.store.stored_time_ms.load(Ordering::Acquire));
            output.set_sealed(used_bytes);
            files.trim(output, used_bytes);
            if let Some(file) = output.file() {
                file.sync().map_err(|e| Error::io("sync", output.path(), e))?;
            }
        }
        if !self.outputs.is_empty() {
            files.sync_names()?;
        }
        Ok((self.outputs, self.sightings))
    }
}

fn charge_lost(place: &Place<'_>) {
    if let Some(view) = place.view() {
        if view.may_mask() {
            place.segment.account.charge_mask(view.bytes());
        } else {
            place.segment.account.charge(view.bytes());
        }
    }
}

/// The same record elsewhere: LSN, deadline, codec and stored value stay, the frame that it may have stood in does not.
fn copy_of<'v>(view: &View<'v>) -> Draft<'v> {
    Draft {
        kind: Kind::Put,
        flags: view.word.flags() & !flags::IN_BATCH,
        codec: view.word.codec(),
        lsn: view.lsn,
        expire_at_ms: view.expire_at_ms,
        key: view.key,
        value: view.value,
    }
}

/// A mask of the same LSN; never a put without its value (I6).
fn tombstone_for<'v>(view: &View<'v>) -> Draft<'v> {
    let expired = if view.word.kind() == Some(Kind::Put) { flags::EXPIRED } else { 0 };
    let kept = view.word.flags() & (flags::EXPIRED | flags::EVICTED | flags::FROM_TIER);
    Draft {
        kind: Kind::Tombstone,
        flags: kept | expired,
        codec: 0,
        lsn: view.lsn,
        expire_at_ms: 0,
        key: view.key,
        value: &[],
    }
}
