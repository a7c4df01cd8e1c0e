//! Copies what lives, and the masks that are still needed, out of segments that are to go (I6, I7). The compactor and
//! recovery (I17) use it.

use crate::error::{Error, Result};
use crate::index::{Address, PREFETCHED_KEYS};
use crate::log::{Plan, Reserve, Segment, SegmentKind, Sighting, View, FIRST_RECORD_AT};
use crate::record::{encode_onto, flags, record_bytes, Draft, Kind, State};
use crate::store::Store;
use crate::testing::{Fault, Point};
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
    /// Whether an output may be made of what is held back.
    uses_reserve: bool,
    /// Whether values are compressed anew with the newest dictionary.
    repacks: bool,
    /// Highest LSN of a mask that was left out because no segment that stays is older, since `take_freed`.
    freed_lsn: u64,
    outputs: Vec<Arc<Segment>>,
    /// So many of the first outputs are complete and on disk.
    synced: usize,
    /// Why an output could not be synced. It is not asked again: the kernel may have forgotten what it could not write (P7).
    failed_sync: Option<Error>,
    /// Records reserved at the end of the last output and not written yet, from this offset on.
    staged_from: u64,
    staged_bytes: Vec<u8>,
    staged: Vec<Staged>,
    sightings: Vec<Sighting>,
    pub(crate) copied_bytes: u64,
}

/// A copy that is to take the place of the record that the index refers to.
struct Staged {
    /// The victim's record, tagged as the index had it.
    from: Address,
    to: Address,
}

/// Records that are looked up together.
#[derive(Default)]
struct Group<'v> {
    records: [Option<(u64, View<'v>)>; PREFETCHED_KEYS],
    len: usize,
}

impl<'v> Group<'v> {
    /// True when it is full.
    fn put(&mut self, at: u64, view: View<'v>) -> bool {
        if let Some(record) = self.records.get_mut(self.len) {
            *record = Some((at, view));
            self.len += 1;
        }
        self.len == PREFETCHED_KEYS
    }

    /// What is in it, which it then is not any more.
    fn take(&mut self) -> &[Option<(u64, View<'v>)>] {
        self.records.get(..std::mem::take(&mut self.len)).unwrap_or_default()
    }
}

/// Copies are written in runs of about this.
const STAGED_BYTES_MAX: usize = 256 << 10;

/// Why a victim cannot go.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The victim is damaged and stays as it is.
    Damage(Error),
    /// Nothing can be copied at all.
    Failed(Error),
}

impl<'s> Rewriter<'s> {
    pub(crate) fn new(
        store: &'s Store,
        born: u64,
        born_of_others: u64,
        output_bytes: u64,
        uses_reserve: bool,
    ) -> Rewriter<'s> {
        Rewriter {
            store,
            born,
            born_of_others,
            output_bytes,
            uses_reserve,
            repacks: false,
            freed_lsn: 0,
            outputs: Vec::new(),
            synced: 0,
            failed_sync: None,
            staged_from: 0,
            staged_bytes: Vec::new(),
            staged: Vec::new(),
            sightings: Vec::new(),
            copied_bytes: 0,
        }
    }

    /// The same, which compresses values anew with the newest dictionary where that makes them smaller.
    pub(crate) fn repacking(self) -> Rewriter<'s> {
        Rewriter { repacks: true, ..self }
    }

    /// Copies what the records from `from` on up to about `bytes` still need; returns where it stopped.
    pub(crate) fn rewrite(&mut self, victim: &Segment, from: u64, bytes: u64) -> Result<u64, Trouble> {
        let guard = crossbeam_epoch::pin();
        let stopped_at = self.rewrite_portion(victim, from, bytes, &guard);
        // Also when damage was met: what was reserved for copies must not stay a hole in the output.
        self.publish_staged(&guard).map_err(Trouble::Failed)?;
        drop(guard);
        // Those that are full: however many there come to be, few hold a descriptor.
        self.sync_first(self.outputs.len().saturating_sub(1)).map_err(Trouble::Failed)?;
        stopped_at
    }

    fn rewrite_portion(
        &mut self,
        victim: &Segment,
        from: u64,
        bytes: u64,
        guard: &Guard,
    ) -> Result<u64, Trouble> {
        let end = victim.end();
        let mut group = Group::default();
        let mut at = from;
        while at < end && at - from < bytes {
            let view = match self.verified(victim, at, end) {
                Ok(view) => view,
                Err(damage) => {
                    self.rewrite_group(victim, &mut group, guard).map_err(Trouble::Failed)?;
                    return Err(damage);
                }
            };
            if view.word.kind() == Some(Kind::Pad) {
                at = end;
                break;
            }
            if view.word.state() == Some(State::Committed) {
                self.rewrite_committed(victim, at, view, &mut group, guard).map_err(Trouble::Failed)?;
            }
            at += view.bytes();
        }
        self.rewrite_group(victim, &mut group, guard).map_err(Trouble::Failed)?;
        Ok(at)
    }

    /// Copies what the committed records at these offsets still need.
    pub(crate) fn rewrite_these(&mut self, victim: &Segment, offsets: &[u64]) -> Result<()> {
        let guard = crossbeam_epoch::pin();
        let mut group = Group::default();
        for at in offsets {
            match self.verified(victim, *at, victim.capacity_bytes()) {
                Ok(view) => self.rewrite_committed(victim, *at, view, &mut group, &guard)?,
                Err(Trouble::Damage(error) | Trouble::Failed(error)) => return Err(error),
            }
        }
        self.rewrite_group(victim, &mut group, &guard)?;
        self.publish_staged(&guard)
    }

    /// Highest LSN of a mask that was left out since the last call: the victim that held it may only go if all that is
    /// older than this goes too (I6).
    pub(crate) fn take_freed(&mut self) -> u64 {
        std::mem::take(&mut self.freed_lsn)
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

    /// Puts a record, or a frame's members, into the group; what does not fit is rewritten.
    fn rewrite_committed<'v>(
        &mut self,
        victim: &'v Segment,
        at: u64,
        view: View<'v>,
        group: &mut Group<'v>,
        guard: &Guard,
    ) -> Result<()> {
        let mut result = Ok(());
        let mut put = |at: u64, view: View<'v>| {
            if result.is_ok() && group.put(at, view) {
                result = self.rewrite_group(victim, group, guard);
            }
        };
        match view.word.kind() {
            Some(Kind::Batch) => victim.members(at, &view, |at, member| put(at, *member)),
            Some(Kind::Put | Kind::Tombstone | Kind::Clear) => put(at, view),
            _ => {}
        }
        result
    }

    /// Copies what these records still need, and empties the group. What takes the time is waiting for the index: a group waits
    /// once.
    fn rewrite_group(&mut self, victim: &Segment, group: &mut Group<'_>, guard: &Guard) -> Result<()> {
        let records = group.take();
        self.store.map(guard).prefetch(records.iter().flatten().map(|(_, view)| view.key));
        for (at, view) in records.iter().flatten() {
            if view.word.kind() != Some(Kind::Clear) {
                self.rewrite_entry(victim, *at, view, guard)?;
            } else if !self.frees(view.lsn) {
                self.keep_mask(Kind::Clear, view, guard)?;
            }
        }
        Ok(())
    }

    /// I6: no segment that stays can hold anything that a mask of this LSN hides. Notes it as left out then.
    fn frees(&mut self, mask_lsn: u64) -> bool {
        let is_free = self.born_of_others > mask_lsn;
        if is_free {
            self.freed_lsn = self.freed_lsn.max(mask_lsn);
        }
        is_free || self.store.options.faults.has(Fault::TombstonesDroppedEarly)
    }

    fn rewrite_entry(&mut self, victim: &Segment, at: u64, view: &View<'_>, guard: &Guard) -> Result<()> {
        let store = self.store;
        let map = store.map(guard);
        let Some(here) = Address::new(victim.number(), at) else { return Ok(()) };
        loop {
            match map.find(view.key) {
                Some(entry) if entry.address().is_same_place(here) => {
                    store.options.hooks.at(Point::Rewriting);
                    let address = entry.address();
                    let is_put = view.word.kind() == Some(Kind::Put);
                    if is_put && !address.is_expired() && store.is_past(view.expire_at_ms, guard) {
                        store.tag_expired(&map, address, (victim, *view));
                        continue;
                    }
                    let is_mask = address.is_expired() || !is_put;
                    let repacks = self.repacks && !is_mask;
                    let repacked = if repacks { store.repack(at, (victim, *view)) } else { None };
                    let copy = match &repacked {
                        _ if is_mask => tombstone_for(view),
                        Some((dictionary, value)) => repacked_copy_of(view, *dictionary, value),
                        None => copy_of(view),
                    };
                    if let Some(to) = self.stage(&copy, guard)? {
                        self.staged.push(Staged { from: address, to });
                    }
                    return Ok(());
                }
                Some(entry) => {
                    let drops = entry.record().1.lsn >= view.lsn || !view.may_mask();
                    return if drops { Ok(()) } else { self.keep_mask(Kind::Tombstone, view, guard) };
                }
                None => {
                    let drops = !view.may_mask()
                        || self.frees(view.lsn)
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
        self.stage(&copy, guard)?;
        if let Some(output) = self.outputs.last() {
            output.account.charge_mask(record_bytes(copy.key.len(), 0));
        }
        Ok(())
    }

    /// Reserves room for a copy in the last output and encodes it; it is written with its run.
    fn stage(&mut self, draft: &Draft<'_>, guard: &Guard) -> Result<Option<Address>> {
        if self.staged_bytes.len() >= STAGED_BYTES_MAX {
            self.publish_staged(guard)?;
        }
        let bytes = record_bytes(draft.key.len(), draft.value.len());
        loop {
            let room = self.outputs.last().and_then(|output| Some((output, output.reserve_copy(bytes)?)));
            if let Some((output, offset)) = room {
                if self.staged_bytes.is_empty() {
                    self.staged_from = offset;
                }
                let encoded = encode_onto(&mut self.staged_bytes, draft, output.seed(), State::Committed);
                encoded.ok_or_else(|| {
                    Error::corrupt(output.path(), offset, "a record that cannot be encoded")
                })?;
                self.copied_bytes += bytes;
                if draft.kind != Kind::Put || draft.expire_at_ms != 0 {
                    output.account.saw_mask(draft.lsn);
                }
                return Ok(Address::new(output.number(), offset));
            }
            self.publish_staged(guard)?;
            self.add_output(bytes)?;
        }
    }

    /// Writes the staged copies and lets the index refer to them, each unless a write was faster (I7).
    fn publish_staged(&mut self, guard: &Guard) -> Result<()> {
        while !self.staged_bytes.is_empty() {
            let Some(output) = self.outputs.last().cloned() else { return Ok(()) };
            if let Err(error) = output.write_copies(self.staged_from, &self.staged_bytes) {
                // What was staged was not published: the output ends before it.
                output.set_end(self.staged_from);
                self.staged.clear();
                self.staged_bytes.clear();
                return Err(Error::io("write", output.path(), error));
            }
            self.staged_bytes.clear();
            for staged in std::mem::take(&mut self.staged) {
                self.publish(&output, &staged, guard)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, output: &Segment, staged: &Staged, guard: &Guard) -> Result<()> {
        let store = self.store;
        let Some((victim, view)) = store.at(staged.from, guard) else { return Ok(()) };
        if let (Some(from), Some(to)) = (victim.marks(), output.marks()) {
            // Before it is published: then readers note what they find.
            from.carry(staged.from.offset_bytes(), to, staged.to.offset_bytes());
        }
        if store.map(guard).redirect(view.key, staged.from, staged.to) {
            victim.account.charge(view.bytes());
            if let Some(copy) = output.view(staged.to.offset_bytes()) {
                if copy.word.is_of(Kind::Put) {
                    store.count_copy((staged.from, (victim, view)), (staged.to, (output, copy)));
                }
                self.sightings.extend(Sighting::of(output, staged.to.offset_bytes(), &copy));
            }
            return Ok(());
        }
        // The copy stays: harmless, since it has the same LSN, and needed if the winner is not on disk (I7).
        if let Some(copy) = output.view(staged.to.offset_bytes()) {
            if copy.may_mask() {
                output.account.charge_mask(copy.bytes());
            } else {
                output.account.charge(copy.bytes());
            }
        }
        // Expired meanwhile, it still lies here, and is staged again as a mask.
        self.rewrite_entry(victim, staged.from.offset_bytes(), &view, guard)
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
            Err(error) if error.is_disk_full() && self.uses_reserve => {
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
    pub(crate) fn finish(mut self) -> Result<(Vec<Arc<Segment>>, Vec<Sighting>)> {
        self.sync_first(self.outputs.len())?;
        if !self.outputs.is_empty() {
            self.store.log.files.sync_names()?;
        }
        Ok((self.outputs, self.sightings))
    }

    /// Makes the first `count` outputs durable, into which nothing is copied any more.
    fn sync_first(&mut self, count: usize) -> Result<()> {
        if let Some(error) = &self.failed_sync {
            return Err(error.clone());
        }
        for output in self.outputs.iter().take(count).skip(self.synced) {
            let used_bytes = output.end();
            // The time is kept in whatever segment stays, and in the last output as of the end (I15).
            output.cell().raise_time(self.store.stored_time_ms.load(Ordering::Acquire));
            output.set_sealed(used_bytes);
            self.store.log.files.trim(output, used_bytes);
            if let Err(error) = output.sync() {
                self.failed_sync = Some(error.clone());
                return Err(error);
            }
            output.close_file();
            self.synced += 1;
        }
        Ok(())
    }
}

/// The same record elsewhere: LSN, deadline, codec and stored value stay, the frame that it may have stood in does not.
fn copy_of<'v>(view: &View<'v>) -> Draft<'v> {
    Draft {
        kind: Kind::Put,
        flags: view.word.flags() & !flags::IN_BATCH,
        codec: view.word.codec(),
        dictionary: view.dictionary,
        lsn: view.lsn,
        expire_at_ms: view.expire_at_ms,
        key: view.key,
        value: view.value,
    }
}

/// As `copy_of`, with the stored value made anew. LSN, deadline and codec are the same (I7).
fn repacked_copy_of<'v>(view: &View<'v>, dictionary: u16, value: &'v [u8]) -> Draft<'v> {
    let copy = copy_of(view);
    Draft { flags: copy.flags | flags::ZSTD, dictionary, value, ..copy }
}

/// A mask of the same LSN; never a put without its value (I6).
fn tombstone_for<'v>(view: &View<'v>) -> Draft<'v> {
    let expired = if view.word.kind() == Some(Kind::Put) { flags::EXPIRED } else { 0 };
    let kept = view.word.flags() & (flags::EXPIRED | flags::EVICTED | flags::FROM_TIER);
    Draft {
        kind: Kind::Tombstone,
        flags: kept | expired,
        codec: 0,
        dictionary: 0,
        lsn: view.lsn,
        expire_at_ms: 0,
        key: view.key,
        value: &[],
    }
}
