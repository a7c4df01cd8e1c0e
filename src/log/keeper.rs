//! The log thread: prepares segments, finds what is resolved, syncs, seals, and owns the manifest. It never waits for
//! a grace period, so a reader that holds a guard cannot keep a segment from writers.

use super::appender::{Log, Sync};
use super::chain::Link;
use super::files::{listed, Plan, Reserve};
use super::header::{SegmentKind, FIRST_RECORD_AT};
use super::looks::Looks;
use super::manifest::{Listed, Manifest, Seal};
use super::segment::{Segment, View};
use crate::error::{Error, Result};
use crate::record::{record_bytes, Kind, State, HEADER_BYTES};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pages populated ahead of the tail, and at once.
const WINDOW_BYTES: u64 = 4 << 20;
/// A sync is delayed by at most this for more writers to join it.
const SYNC_COST_MAX: Duration = Duration::from_millis(5);
/// A writer that reserved resolves within moments; one that does not within this is gone, and close leaves the rest to
/// recovery.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);

/// What the log thread is asked to do.
pub(crate) enum Request {
    /// Look at everything resolved now.
    CatchUp(SyncSender<()>),
    /// List `add`, sealed and durable, in place of `remove`, in one manifest. Masks up to `freed_lsn` were left out.
    Replace { add: Vec<Arc<Segment>>, remove: Vec<u64>, freed_lsn: u64, reply: SyncSender<Result<()>> },
    /// What the manifest lists, with the resolved length of each.
    Listing(SyncSender<Vec<Extent>>),
}

/// A segment and how far it holds resolved records.
#[derive(Clone)]
pub(crate) struct Extent {
    pub(crate) segment: Arc<Segment>,
    pub(crate) used_bytes: u64,
    pub(crate) is_sealed: bool,
    pub(crate) seal: Seal,
}

/// A resolved record that somebody has to come back to: it expires, or is a tombstone that leaves the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    pub(crate) segment: u16,
    pub(crate) segment_id: u64,
    pub(crate) offset: u64,
    /// When it was used last, in ticks (`store/idle.rs`).
    pub(crate) used: u32,
    pub(crate) expire_at_ms: u64,
    pub(crate) kind: Kind,
}

impl Sighting {
    /// `None` for records that never need a second look.
    pub(crate) fn of(segment: &Segment, offset: u64, view: &View<'_>) -> Option<Sighting> {
        let kind = view.word.kind()?;
        let used = segment.marks().filter(|marks| marks.notes_uses()).map(|marks| marks.used(offset));
        let is_wanted = match kind {
            Kind::Tombstone => true,
            Kind::Put => view.expire_at_ms != 0 || used.is_some(),
            _ => false,
        };
        is_wanted.then(|| Sighting {
            segment: segment.number(),
            segment_id: segment.header().id,
            offset,
            used: used.unwrap_or(0),
            expire_at_ms: view.expire_at_ms,
            kind,
        })
    }
}

/// Takes what the walk saw.
pub(crate) type Sink = Box<dyn Fn(&mut Vec<Sighting>) + Send>;

/// How the thread ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything sealed and trimmed.
    Close,
    /// As if the process had died here.
    Abandon,
}

/// The tail's segments in LSN order, with what the walk has found in each.
struct Tail {
    segment: Arc<Segment>,
    offset: u64,
    seal: Seal,
}

impl Tail {
    fn new(segment: Arc<Segment>) -> Tail {
        // Not where the segment ends now: writers may have found it already.
        Tail::behind(segment, FIRST_RECORD_AT)
    }

    fn behind(segment: Arc<Segment>, offset: u64) -> Tail {
        Tail { segment, offset, seal: Seal { used_bytes: offset, ..Seal::default() } }
    }

    fn is_complete(&self) -> bool {
        self.offset >= self.segment.capacity_bytes()
    }
}

impl Seal {
    /// Counts a resolved record.
    pub(crate) fn count(&mut self, segment: &Segment, offset: u64, view: &View<'_>) {
        self.used_bytes = offset + record_bytes(view.key.len(), view.value.len());
        self.records = self.records.saturating_add(1);
        if view.word.state() == Some(State::Committed) {
            self.committed = self.committed.saturating_add(1);
        }
        self.heads_crc = segment.heads_crc(self.heads_crc, offset, view);
        self.highest_lsn = self.highest_lsn.max(view.lsn);
        self.latest_expiry_ms = self.latest_expiry_ms.max(view.expire_at_ms);
        if view.may_mask() {
            segment.account.saw_mask(view.lsn);
        }
    }
}

pub(crate) struct Keeper {
    log: Arc<Log>,
    manifest: Manifest,
    /// Sealed segments, and the tail's behind them.
    sealed: Vec<Arc<Segment>>,
    tail: VecDeque<Tail>,
    populated_bytes: u64,
    synced_at: Instant,
    /// What the last sync took.
    sync_cost: Duration,
    /// Writers that have lately waited for a sync at one time.
    crowd: usize,
    segment_bytes_max: u64,
    sightings: Vec<Sighting>,
    sink: Sink,
    /// Time to store in the cell of a new tail (I15).
    stored_time: Box<dyn Fn() -> u64 + Send>,
    ending: Arc<std::sync::Mutex<Option<Ending>>>,
    looks: Looks,
}

/// What a keeper starts from.
pub(crate) struct Start {
    pub(crate) log: Arc<Log>,
    pub(crate) manifest: Manifest,
    pub(crate) sealed: Vec<Arc<Segment>>,
    pub(crate) tail: Arc<Segment>,
    pub(crate) segment_bytes_max: u64,
    pub(crate) sink: Sink,
    pub(crate) stored_time: Box<dyn Fn() -> u64 + Send>,
    pub(crate) ending: Arc<std::sync::Mutex<Option<Ending>>>,
}

impl Keeper {
    pub(crate) fn new(start: Start) -> Keeper {
        Keeper {
            log: start.log,
            manifest: start.manifest,
            sealed: start.sealed,
            tail: VecDeque::from([Tail::behind(Arc::clone(&start.tail), start.tail.end())]),
            populated_bytes: 0,
            synced_at: Instant::now(),
            sync_cost: Duration::ZERO,
            crowd: 1,
            segment_bytes_max: start.segment_bytes_max,
            sightings: Vec::new(),
            sink: start.sink,
            stored_time: start.stored_time,
            ending: start.ending,
            looks: Looks::default(),
        }
    }

    /// Works until the store ends.
    pub(crate) fn run(mut self) {
        self.segment_bytes();
        loop {
            self.log.signal.set_idle(false);
            self.round();
            let ending = *self.ending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match ending {
                Some(Ending::Close) => return self.close(),
                Some(Ending::Abandon) => {
                    self.log.break_down(&Error::Closed);
                    return self.log.shut_requests();
                }
                None => {}
            }
            let limit = self.sleep_limit();
            if limit.is_none()
                || (self.looks.wait_for_append(self.log.followers.are_any()) && !self.is_unresolved())
            {
                self.log.signal.set_idle(true);
                // An append may have come before the flag was set; partner: `Signal::nudge`.
                if self.is_unresolved() || (limit.is_none() && self.has_work()) {
                    continue;
                }
            }
            self.log.signal.sleep(limit);
        }
    }

    fn round(&mut self) {
        // Before the walk: what was resolved when somebody asked is in the answer.
        let requests = self.log.take_requests();
        self.looks.count(self.tail_lsn());
        self.walk();
        self.prepare_if_needed();
        self.populate();
        let sealed_before = self.sealed.len();
        if !self.log.is_broken() {
            if let Err(error) = self.seal_complete().and_then(|()| self.sync_if_due()) {
                self.log.break_down(&error);
            }
        }
        for request in requests {
            self.answer(request);
        }
        // A sealed segment may be worth compacting.
        if !self.sightings.is_empty() || self.sealed.len() > sealed_before {
            (self.sink)(&mut self.sightings);
            self.sightings.clear();
        }
    }

    fn resolved_lsn(&self) -> u64 {
        self.tail
            .iter()
            .find(|tail| !tail.is_complete())
            .or(self.tail.back())
            .map_or(0, |tail| tail.segment.header().base_lsn + tail.offset)
    }

    /// Finds the resolved point anew (I10).
    fn walk(&mut self) {
        for tail in &mut self.tail {
            let Tail { segment, offset, seal } = tail;
            let sightings = &mut self.sightings;
            *offset = segment.walk(*offset, |at, view| {
                seal.count(segment, at, view);
                if view.word.state() != Some(State::Committed) {
                    return;
                }
                if view.word.kind() == Some(Kind::Batch) {
                    // Whoever publishes the members reports them: here they may not be published yet.
                    segment.account.charge(HEADER_BYTES as u64);
                    segment.members(at, view, |_, member| {
                        seal.latest_expiry_ms = seal.latest_expiry_ms.max(member.expire_at_ms);
                        if member.may_mask() {
                            segment.account.saw_mask(member.lsn);
                        }
                    });
                }
                sightings.extend(Sighting::of(segment, at, view));
            });
            if !tail.is_complete() {
                break;
            }
        }
        let resolved_lsn = self.resolved_lsn();
        self.log.note_resolved(resolved_lsn);
    }

    fn has_work(&self) -> bool {
        self.is_unresolved() || self.is_unsynced()
    }

    fn is_unresolved(&self) -> bool {
        self.tail_lsn() > self.resolved_lsn()
    }

    fn tail_lsn(&self) -> u64 {
        self.log.tail_lsn(&crossbeam_epoch::pin())
    }

    fn is_unsynced(&self) -> bool {
        matches!(self.log.sync, Sync::Every(_))
            && self.log.files.directory.is_some()
            && !self.log.is_broken()
            && self.resolved_lsn() > self.log.synced_lsn.load(Ordering::Acquire)
    }

    /// How long to sleep; `None` when only a wake-up can bring work.
    fn sleep_limit(&self) -> Option<Duration> {
        if !self.has_work() {
            return None;
        }
        if self.log.sync_lsn.load(Ordering::SeqCst) >= self.log.synced_lsn.load(Ordering::Acquire) {
            // Somebody waits for a record behind one that was not resolved when this thread last looked.
            return Some(Duration::from_millis(1));
        }
        match self.log.sync {
            Sync::Every(period) if self.is_unsynced() => Some(
                period
                    .saturating_sub(self.synced_at.elapsed())
                    .clamp(Duration::from_millis(1), self.looks.every(self.log.followers.are_any())),
            ),
            _ => Some(self.looks.every(self.log.followers.are_any())),
        }
    }

    fn live_bytes(&self) -> u64 {
        let all = self.sealed.iter().chain(self.tail.iter().map(|tail| &tail.segment));
        all.map(|s| s.end().saturating_sub(FIRST_RECORD_AT).saturating_sub(s.account.dead_bytes())).sum()
    }

    /// Size of a segment that is made now, and what compaction needs to copy any that is there: on a full disk it has nothing
    /// but what is held back, so no segment grows beyond that (P7).
    fn segment_bytes(&self) -> u64 {
        let files = &self.log.files;
        let grown = (self.live_bytes() / 16).max(files.reserve_bytes).min(self.segment_bytes_max);
        // A record that is larger than a segment has one of its own, which goes as a whole or stays.
        let largest = self.sealed.iter().map(|segment| segment.end()).max().unwrap_or(0);
        files.hold_back(grown.max(largest.min(self.segment_bytes_max)));
        grown.min(files.copied_bytes_max())
    }

    /// Keeps one segment ready behind the active one.
    fn prepare_if_needed(&mut self) {
        let Some(last) = self.tail.back().map(|tail| Arc::clone(&tail.segment)) else { return };
        let is_active = {
            let guard = crossbeam_epoch::pin();
            std::ptr::eq(self.log.active(&guard), Arc::as_ptr(&last))
        };
        let wanted = {
            let mut waiting = self.log.waiting();
            let failed_before = waiting.failed.is_some();
            if !is_active || self.log.is_closing() || waiting.broken.is_some() {
                return;
            }
            // After a failure only somebody who asks is worth another attempt.
            if failed_before && !waiting.room_wanted {
                return;
            }
            waiting.room_wanted = false;
            waiting.failed = None;
            waiting.attempts += 1;
            (
                waiting.attempts,
                std::mem::take(&mut waiting.record_bytes),
                std::mem::take(&mut waiting.tombstone),
            )
        };
        let (attempt, record_bytes, tombstone) = wanted;
        match self.prepare(&last, record_bytes, tombstone) {
            Ok(next) => {
                // Before the offer: a writer may append the moment it has the segment, and the walk must begin before
                // its record.
                self.tail.push_back(Tail::new(Arc::clone(&next)));
                self.log.offer(&last, &next);
            }
            Err(error) => self.log.prepare_failed(attempt, error),
        }
    }

    fn prepare(&mut self, last: &Segment, record_bytes: u64, tombstone: bool) -> Result<Arc<Segment>> {
        let header = last.header();
        let base_lsn = header.base_lsn.checked_add(header.capacity_bytes).ok_or(Error::Closed)?;
        let segment_bytes = self.segment_bytes();
        // Room for the record, and for the pad of whoever comes after it.
        let needed = FIRST_RECORD_AT + record_bytes + HEADER_BYTES as u64;
        const PAGE_BYTES: u64 = 4096;
        let plan = Plan {
            kind: SegmentKind::Tail,
            id: self.log.fresh_id(),
            base_lsn,
            born: base_lsn,
            capacity_bytes: segment_bytes.max(needed).next_multiple_of(PAGE_BYTES),
        };
        let number = self.log.table.reserve()?;
        let made = match self.log.files.create(&plan, number) {
            Err(error) if error.is_disk_full() && tombstone => self
                .log
                .files
                .create_from(Reserve::Tombstones, &plan, number)
                .map(Segment::for_tombstones)
                .map_err(|_| error),
            made => made,
        };
        let listed_now = made.and_then(|segment| {
            segment.map().populate(0, WINDOW_BYTES.min(segment.capacity_bytes()) as usize);
            segment.cell().raise_time((self.stored_time)());
            self.list_new(segment)
        });
        match listed_now {
            Ok(segment) => {
                let segment = Arc::new(segment);
                self.log.table.insert(&segment);
                self.log.files.refill_reserves();
                Ok(segment)
            }
            Err(error) => {
                self.log.table.release(number);
                Err(error)
            }
        }
    }

    /// Lists a prepared segment durably: only then may it take records.
    fn list_new(&mut self, segment: Segment) -> Result<Segment> {
        // Not asked again after a failure: the kernel may have forgotten what it could not write (P7).
        let named = self.log.files.sync_names().inspect_err(|error| self.log.break_down(error));
        let result = named.and_then(|()| {
            let mut next = self.next_manifest();
            next.segments.push(listed(&segment));
            next.next_base_lsn = next.next_base_lsn.max(segment.end_lsn());
            self.store(next)
        });
        if let Err(error) = result {
            // A manifest whose sync failed may count all the same, and then the file must be there (P7).
            if !Manifest::may_count(&error) {
                let _ = self.log.files.remove(&segment);
            }
            return Err(error);
        }
        Ok(segment)
    }

    fn next_manifest(&self) -> Manifest {
        let mut next = self.manifest.clone();
        next.generation += 1;
        // Relaxed: ids that other threads take meanwhile belong to files that are not listed yet.
        next.next_segment_id = next.next_segment_id.max(self.log.next_segment_id.load(Ordering::Relaxed));
        next
    }

    fn store(&mut self, next: Manifest) -> Result<()> {
        // What the next open finds stays what it was when the sync failed (P7): whoever asks may not have noticed yet.
        if self.log.is_broken() {
            return Err(Error::SyncFailed { reason: self.log.broken_reason() });
        }
        match self.log.files.store_manifest(&next) {
            Ok(()) => {
                self.manifest = next;
                Ok(())
            }
            // Nothing was written that counts, and nothing is in doubt: the other file is untouched.
            Err(error) if error.is_passing() && !Manifest::may_count(&error) => Err(error),
            Err(error) => {
                self.log.break_down(&error);
                Err(error)
            }
        }
    }

    fn populate(&mut self) {
        let guard = crossbeam_epoch::pin();
        let active = self.log.active(&guard);
        let (end, capacity) = (active.end(), active.capacity_bytes());
        if end == FIRST_RECORD_AT || end < self.populated_bytes.saturating_sub(WINDOW_BYTES) {
            // A new segment, whose first window was populated before it was offered.
            self.populated_bytes = WINDOW_BYTES;
        }
        let ahead = (end + WINDOW_BYTES).min(capacity);
        if ahead > self.populated_bytes {
            let from = self.populated_bytes.max(end) & !4095;
            active.map().populate(from as usize, (ahead - from) as usize);
            self.populated_bytes = ahead;
        }
    }

    /// Syncs and seals what is full and resolved, oldest first (I10).
    fn seal_complete(&mut self) -> Result<()> {
        let complete = self.tail.iter().take_while(|tail| tail.is_complete()).count();
        // The last one has none behind it yet.
        let complete = complete.min(self.tail.len().saturating_sub(1));
        for tail in self.tail.iter().take(complete) {
            // L1: a segment that was filled to its last byte is complete and still the active one.
            self.log.leave(&tail.segment);
            tail.segment.sync()?;
            self.log.note_synced(tail.segment.end_lsn());
        }
        // Taken out only now: what could not be synced is still the log's, for reads and backups.
        let sealed: Vec<Tail> = self.tail.drain(..complete).collect();
        if sealed.is_empty() {
            return Ok(());
        }
        let mut next = self.next_manifest();
        for tail in &sealed {
            set_seal(&mut next.segments, tail.segment.header().id, tail.seal);
        }
        let stored = self.store(next);
        match &stored {
            Err(_) if self.log.is_broken() => {
                // For reads and backups, as above.
                sealed.into_iter().rev().for_each(|tail| self.tail.push_front(tail));
                return stored;
            }
            // The next generation that can be written lists them.
            Err(_) => sealed
                .iter()
                .for_each(|tail| set_seal(&mut self.manifest.segments, tail.segment.header().id, tail.seal)),
            Ok(()) => {}
        }
        for tail in sealed {
            // One that stays listed as unsealed for now is still complete and synced: recovery rewrites it.
            tail.segment.set_sealed(tail.seal.used_bytes);
            if stored.is_ok() {
                self.log.files.trim(&tail.segment, tail.seal.used_bytes);
            }
            tail.segment.close_file();
            self.sealed.push(tail.segment);
        }
        Ok(())
    }

    fn sync_if_due(&mut self) -> Result<()> {
        let due = match self.log.sync {
            Sync::Every(period) => self.is_unsynced() && self.synced_at.elapsed() >= period,
            Sync::Always | Sync::Never => false,
        };
        let wanted = self.log.sync_lsn.load(Ordering::SeqCst) >= self.log.synced_lsn.load(Ordering::Acquire);
        if wanted {
            self.gather();
        }
        if due || wanted {
            self.sync_tail()?;
        }
        Ok(())
    }

    /// Gives writers that a sync has just released the time to come back with their next records, up to what a sync
    /// costs: else those that it has released and those that it has not take turns, and each sync serves half of them.
    fn gather(&mut self) {
        let waiters = &self.log.sync_waiters;
        let began = Instant::now();
        while waiters.len() < self.crowd && began.elapsed() < self.sync_cost {
            std::thread::yield_now();
        }
        // One writer less is expected each time, so that a crowd that has gone is not waited for long.
        self.crowd = waiters.len().max(self.crowd.saturating_sub(1));
        self.walk();
    }

    /// Syncs up to the resolved point.
    fn sync_tail(&mut self) -> Result<()> {
        // The point was found before the sync begins, so all below is in what the sync writes (I10).
        let lsn = self.resolved_lsn();
        let began = Instant::now();
        if lsn > self.log.synced_lsn.load(Ordering::Acquire) {
            for tail in &self.tail {
                if tail.segment.header().base_lsn < lsn {
                    tail.segment.sync()?;
                }
            }
            if let Some(tail) = self.tail.front() {
                tail.segment.cell().raise_time((self.stored_time)());
                tail.segment.cell().set_synced(lsn);
            }
            self.sync_cost = began.elapsed().min(SYNC_COST_MAX);
            self.log.note_synced(lsn);
        }
        self.synced_at = Instant::now();
        Ok(())
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::CatchUp(reply) => {
                // What the asker wrote may have come after this round's walk.
                self.walk();
                if !self.sightings.is_empty() {
                    (self.sink)(&mut self.sightings);
                    self.sightings.clear();
                }
                let _ = reply.send(());
            }
            Request::Replace { add, remove, freed_lsn, reply } => {
                let result = self.replace(add, &remove, freed_lsn);
                let _ = reply.send(result);
            }
            Request::Listing(reply) => {
                let _ = reply.send(self.extents());
            }
        }
    }

    fn extents(&self) -> Vec<Extent> {
        let seals: std::collections::HashMap<u64, Seal> =
            self.manifest.segments.iter().filter_map(|l| Some((l.id, l.seal?))).collect();
        let sealed = self.sealed.iter().map(|segment| Extent {
            segment: Arc::clone(segment),
            used_bytes: segment.sealed_at().unwrap_or(FIRST_RECORD_AT),
            is_sealed: true,
            seal: seals.get(&segment.header().id).copied().unwrap_or_default(),
        });
        let tail = self.tail.iter().map(|tail| Extent {
            segment: Arc::clone(&tail.segment),
            used_bytes: tail.seal.used_bytes,
            is_sealed: false,
            seal: tail.seal,
        });
        sealed.chain(tail).collect()
    }

    fn replace(&mut self, add: Vec<Arc<Segment>>, remove: &[u64], freed_lsn: u64) -> Result<()> {
        let mut next = self.next_manifest();
        next.history_lsn = next.history_lsn.max(freed_lsn);
        next.segments.retain(|listed| !remove.contains(&listed.id));
        next.segments.extend(add.iter().map(|segment| sealed_listing(segment)));
        self.store(next)?;
        self.log.history.free(freed_lsn);
        self.sealed.retain(|segment| !remove.contains(&segment.header().id));
        self.sealed.extend(add);
        Ok(())
    }

    /// Leaves a store that opens without recovery: all sealed, nothing held back.
    fn close(mut self) {
        // The segment that is prepared too: a writer that found the store open may only now come to reserve.
        self.tail.iter().for_each(|tail| tail.segment.close());
        let deadline = Instant::now() + CLOSE_WAIT_MAX;
        let result = loop {
            self.walk();
            let is_resolved = self.tail.iter().all(Tail::is_complete);
            if self.log.is_broken() {
                break Err(Error::Closed);
            }
            let is_late = Instant::now() > deadline;
            // A batch is committed before its members stand in the index (I13), from which the mirror is written last.
            // Acquire: pairs with the Release of who has published.
            let is_published = |segment: &Arc<Segment>| segment.publishing.load(Ordering::Acquire) == 0;
            let mut all = self.sealed.iter().chain(self.tail.iter().map(|tail| &tail.segment));
            if is_resolved && (is_late || all.all(is_published)) {
                break self.finish();
            }
            if is_late {
                break Err(Error::Closed);
            }
            std::thread::yield_now();
        };
        self.log.shut_requests();
        if let Err(error) = result {
            self.log.break_down(&error);
        }
    }

    fn finish(&mut self) -> Result<()> {
        let mut next = self.next_manifest();
        let (mut gone, mut sealed) = (Vec::new(), Vec::new());
        while let Some(tail) = self.tail.pop_front() {
            // I15: the time leaves with no segment, so the last one stays for it, without a record.
            let is_last = self.sealed.is_empty() && sealed.is_empty() && self.tail.is_empty();
            let is_needed = is_last && (self.stored_time)() > 0;
            if tail.seal.records == 0 && !is_needed {
                next.segments.retain(|listed| listed.id != tail.segment.header().id);
                gone.push(tail.segment);
                continue;
            }
            tail.segment.cell().raise_time((self.stored_time)());
            tail.segment.sync()?;
            set_seal(&mut next.segments, tail.segment.header().id, tail.seal);
            sealed.push(tail);
        }
        if let (true, Some(last)) = (sealed.is_empty(), self.sealed.last()) {
            // I15: the time stood in the cell of a tail that goes because it holds no record.
            last.cell().raise_time((self.stored_time)());
            last.sync()?;
        }
        self.store(next)?;
        // Cut off only once the manifest says where they end: an unsealed file that is short is damage.
        sealed.iter().for_each(|tail| seal_segment(&self.log, &tail.segment, tail.seal));
        self.log.note_synced(u64::MAX);
        for segment in gone {
            // Best effort: a leftover is removed at the next open.
            let _ = self.log.files.remove(&segment);
        }
        self.log.files.give_back_reserves();
        self.log.files.sync_names()
    }
}

fn set_seal(segments: &mut [Listed], id: u64, seal: Seal) {
    for listed in segments.iter_mut().filter(|listed| listed.id == id) {
        listed.seal = Some(seal);
    }
}

fn seal_segment(log: &Log, segment: &Segment, seal: Seal) {
    segment.set_sealed(seal.used_bytes);
    // What lies behind the last record holds nothing: the pad is no one's.
    log.files.trim(segment, seal.used_bytes);
    segment.close_file();
}

/// How the manifest lists an output that is complete.
pub(crate) fn sealed_listing(segment: &Segment) -> Listed {
    let mut seal = Seal { used_bytes: FIRST_RECORD_AT, ..Seal::default() };
    segment.walk(FIRST_RECORD_AT, |at, view| seal.count(segment, at, view));
    Listed { seal: Some(seal), ..listed(segment) }
}
