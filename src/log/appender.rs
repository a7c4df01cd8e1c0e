//! The writers' side of the log: reserve and fill, go on to the next segment, wait for room or for a sync.
//!
//! - **L1** `active` and every `next` pointer lead to a segment that the table holds, and a segment leaves the table
//!   only after it was sealed, was compacted and a grace period passed, and is sealed only when `active` has gone on
//!   to the next: so a pointer loaded under a guard is good as long as the guard is held.

use super::chain::{Active, Link, Rolled};
use super::files::Files;
use super::followers::Followers;
use super::history::History;
use super::holds::Holds;
use super::keeper::Request;
use super::segment::{Appended, Segment, View};
use super::signal::{Crowd, Signal};
use super::table::Table;
use crate::error::{Error, Result};
use crate::reclaim::Protected;
use crate::record::{record_bytes, Draft, Kind, State, HEADER_BYTES};
use crossbeam_epoch::Guard;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// When writes reach the disk (P3). In every mode an acknowledged write survives the death of the process (P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sync {
    /// Before the call returns; calls that wait share one sync.
    Always,
    /// At most this long after the call returned.
    Every(std::time::Duration),
    /// When the operating system gets to it, when a segment is full, and at close.
    Never,
}

/// Writers wake the log thread each time the tail crosses a multiple of this, so that pages ahead are populated.
const WAKE_BYTES_LOG2: u32 = 19;

/// The log, shared by writers, the log thread and the maintenance thread.
pub(crate) struct Log {
    pub(crate) table: Table,
    pub(crate) files: Files,
    pub(crate) sync: Sync,
    active: CachePadded<Active<Segment>>,
    pub(super) signal: Signal,
    /// Wakes the threads of the tier that send, once it has begun, when more of the log is resolved.
    #[cfg(feature = "redis")]
    pub(crate) moved: std::sync::OnceLock<Vec<Arc<Signal>>>,
    /// Who is woken when more of the log is resolved.
    pub(crate) followers: Followers,
    pub(crate) history: History,
    /// What scans still have to read.
    pub(crate) holds: Holds,
    pub(super) next_segment_id: AtomicU64,
    /// Everything below is on disk.
    pub(crate) synced_lsn: AtomicU64,
    /// Everything below was resolved when the log thread last looked.
    pub(super) resolved_lsn: AtomicU64,
    waiting: Mutex<Waiting>,
    room_changed: Condvar,
    /// Highest LSN that somebody waits to see synced.
    pub(super) sync_lsn: AtomicU64,
    pub(super) sync_waiters: Crowd,
    /// `None` when nobody will answer.
    requests: Mutex<Option<Vec<Request>>>,
    closing: AtomicBool,
    broken: AtomicBool,
}

/// What writers ask of the log thread, and its answers.
#[derive(Default)]
pub(super) struct Waiting {
    /// Attempts to prepare a segment that have begun.
    pub(super) attempts: u64,
    /// An attempt is asked for.
    pub(super) room_wanted: bool,
    /// Largest record that waits for room.
    pub(super) record_bytes: u64,
    /// A tombstone waits for room: the reserve may be used.
    pub(super) tombstone: bool,
    /// The last attempt that failed.
    pub(super) failed: Option<(u64, Error)>,
    /// Why writes are refused.
    pub(super) broken: Option<String>,
}

/// A record in the log, for as long as a guard is held.
#[derive(Clone, Copy)]
pub(crate) struct Place<'g> {
    pub(crate) segment: &'g Segment,
    pub(crate) offset: u64,
    pub(crate) lsn: u64,
}

impl<'g> Place<'g> {
    fn new(segment: &'g Segment, at: Appended) -> Place<'g> {
        Place { segment, offset: at.offset, lsn: at.lsn }
    }

    pub(crate) fn view(&self) -> Option<View<'g>> {
        self.segment.view(self.offset)
    }

    /// Decides the record, unless somebody else did.
    pub(crate) fn resolve(&self, to: State) {
        self.segment.resolve(self.offset, to);
    }
}

/// Where an append found no room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoRoom {
    segment_id: u64,
    record_bytes: u64,
    tombstone: bool,
}

impl Log {
    pub(crate) fn new(
        table: Table,
        files: Files,
        sync: Sync,
        tail: &Arc<Segment>,
        next_segment_id: u64,
    ) -> Log {
        Log {
            table,
            files,
            sync,
            active: CachePadded::new(Active::new(Arc::as_ptr(tail))),
            signal: Signal::default(),
            #[cfg(feature = "redis")]
            moved: std::sync::OnceLock::new(),
            followers: Followers::default(),
            history: History::default(),
            holds: Holds::default(),
            next_segment_id: AtomicU64::new(next_segment_id),
            synced_lsn: AtomicU64::new(tail.header().base_lsn),
            resolved_lsn: AtomicU64::new(tail.header().base_lsn),
            waiting: Mutex::default(),
            room_changed: Condvar::new(),
            sync_lsn: AtomicU64::new(0),
            sync_waiters: Crowd::default(),
            requests: Mutex::new(Some(Vec::new())),
            closing: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment that takes appends.
    pub(crate) fn active<'g>(&self, _protected: impl Into<Protected<'g>>) -> &'g Segment {
        // SAFETY: L1: never null, and the guard was taken before the load.
        unsafe { &*self.active.get() }
    }

    /// LSN behind everything that was reserved before this call.
    pub(crate) fn tail_lsn(&self, guard: &Guard) -> u64 {
        let active = self.active(guard);
        active.header().base_lsn + active.end()
    }

    /// Whether writes are accepted at all.
    pub(crate) fn check_writable(&self) -> Result<()> {
        // Relaxed: an early answer only; what must not happen after close or failure is prevented by the closed
        // tail and the log thread.
        if self.closing.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::SyncFailed { reason: self.broken_reason() });
        }
        Ok(())
    }

    /// Appends a pending record. The caller took `guard` before this and keeps it until the record is resolved (I9).
    pub(crate) fn append<'g>(&self, draft: &Draft<'_>, guard: &'g Guard) -> Result<Place<'g>, NoRoom> {
        self.append_while(draft, guard, || {})
    }

    /// As `append`; calls `meanwhile` between the reservation and the filling.
    #[inline]
    pub(crate) fn append_while<'g>(
        &self,
        draft: &Draft<'_>,
        guard: &'g Guard,
        meanwhile: impl Fn(),
    ) -> Result<Place<'g>, NoRoom> {
        let bytes = record_bytes(draft.key.len(), draft.value.len());
        let tombstone = draft.kind == Kind::Tombstone;
        self.append_with(bytes, tombstone, guard, |segment| segment.append(draft, State::Pending, &meanwhile))
    }

    /// Appends the frame of a batch, pending; calls `member` with each member's place (I13). On success the segment
    /// counts one batch more that is publishing.
    pub(crate) fn append_batch<'g>(
        &self,
        members: &[Draft<'_>],
        guard: &'g Guard,
        mut member: impl FnMut(Place<'g>),
    ) -> Result<Place<'g>, NoRoom> {
        let bytes = members.iter().map(|m| record_bytes(m.key.len(), m.value.len())).sum::<u64>();
        let bytes = bytes + HEADER_BYTES as u64;
        let tombstones = members.iter().all(|m| m.kind == Kind::Tombstone);
        self.append_with(bytes, tombstones, guard, |segment| {
            // Release: counted before the frame can be found; pairs with the Acquire of the compactor (I9).
            segment.publishing.fetch_add(1, Ordering::AcqRel);
            let done = segment.append_batch(members, |at| member(Place::new(segment, at)));
            if done.is_none() {
                segment.publishing.fetch_sub(1, Ordering::AcqRel);
            }
            done
        })
    }

    fn append_with<'g>(
        &self,
        bytes: u64,
        tombstone: bool,
        guard: &'g Guard,
        mut append: impl FnMut(&'g Segment) -> Option<Appended>,
    ) -> Result<Place<'g>, NoRoom> {
        loop {
            let segment = self.active(guard);
            if segment.takes(tombstone) {
                if let Some(done) = append(segment) {
                    crate::testing::appended(done.lsn);
                    let crossed = (done.offset ^ (done.offset + bytes)) >> WAKE_BYTES_LOG2 != 0;
                    if crossed {
                        self.signal.wake();
                    } else {
                        self.signal.nudge();
                    }
                    return Ok(Place::new(segment, done));
                }
            }
            if !self.roll(segment) {
                let segment_id = segment.header().id;
                return Err(NoRoom { segment_id, record_bytes: bytes, tombstone });
            }
        }
    }

    /// Makes the segment behind `full` the active one; false when none is prepared.
    pub(super) fn roll(&self, full: &Segment) -> bool {
        match self.active.roll(full) {
            Rolled::NoNext => return false,
            Rolled::Installed => self.signal.wake(),
            Rolled::ByAnother => {}
        }
        true
    }

    /// Goes on to the next segment if `full` is still the active one.
    pub(super) fn leave(&self, full: &Segment) {
        let guard = crossbeam_epoch::pin();
        if std::ptr::eq(self.active(&guard), full) {
            self.roll(full);
        }
    }

    /// Offers `next` to writers, to follow `last`.
    pub(super) fn offer(&self, last: &Segment, next: &Arc<Segment>) {
        last.next().offer(Arc::as_ptr(next));
        self.room_changed_now();
    }

    fn room_changed_now(&self) {
        drop(self.waiting());
        self.room_changed.notify_all();
    }

    /// Waits until the log has room again. The caller holds no guard.
    ///
    /// Fails with what kept the log thread from preparing a segment, in an attempt that began after this call.
    pub(crate) fn wait_for_room(&self, no_room: NoRoom) -> Result<()> {
        let mut waiting = self.waiting();
        let ticket = waiting.attempts;
        waiting.record_bytes = waiting.record_bytes.max(no_room.record_bytes);
        waiting.tombstone |= no_room.tombstone;
        waiting.room_wanted = true;
        self.signal.wake();
        loop {
            self.check_stopped(&waiting)?;
            let guard = crossbeam_epoch::pin();
            let active = self.active(&guard);
            if active.header().id != no_room.segment_id || active.next().is_offered() {
                return Ok(());
            }
            drop(guard);
            match &waiting.failed {
                Some((attempt, error)) if *attempt > ticket => return Err(error.clone()),
                _ => {}
            }
            waiting = self.room_changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn check_stopped(&self, waiting: &Waiting) -> Result<()> {
        // Acquire: pairs with the Release in `begin_close`.
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        match &waiting.broken {
            Some(reason) => Err(Error::SyncFailed { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Waits until the record at `lsn`, already committed, is as durable as the store's mode asks. No guard is held.
    pub(crate) fn wait_acknowledged(&self, lsn: u64) -> Result<()> {
        match self.sync {
            Sync::Always => self.wait_synced(lsn),
            _ => Ok(()),
        }
    }

    /// Waits until everything up to the record at `lsn` is on disk.
    pub(crate) fn wait_synced(&self, lsn: u64) -> Result<()> {
        self.wait_synced_unless(lsn, || false)
    }

    /// As `wait_synced`, for a thread that a close waits for: it ends with that close. What keeps the log from being synced may be
    /// a writer that is gone, and only the close itself gives that one up.
    pub(crate) fn wait_synced_while_open(&self, lsn: u64) -> Result<()> {
        self.wait_synced_unless(lsn, || self.is_closing())
    }

    fn wait_synced_unless(&self, lsn: u64, ends: impl Fn() -> bool) -> Result<()> {
        // Acquire: pairs with the Release in `note_synced`.
        if self.files.directory.is_none() || self.synced_lsn.load(Ordering::Acquire) > lsn {
            return Ok(());
        }
        // SeqCst: asked for before the log thread is woken; pairs with its load of the same.
        self.sync_lsn.fetch_max(lsn, Ordering::SeqCst);
        self.signal.wake();
        let is_synced = || self.synced_lsn.load(Ordering::Acquire) > lsn;
        // A clean close syncs all that was resolved and answers then; so a writer's wait ends early with a failure only.
        self.sync_waiters.wait_until(|| is_synced() || self.is_broken() || ends());
        if is_synced() {
            Ok(())
        } else if self.is_broken() {
            Err(Error::SyncFailed { reason: self.broken_reason() })
        } else {
            Err(Error::Closed)
        }
    }

    /// Whether everything below was resolved when the log thread last looked.
    pub(crate) fn is_resolved(&self, lsn: u64) -> bool {
        // Acquire: the records below are filled and decided; pairs with the Release in `note_resolved`.
        self.resolved_lsn.load(Ordering::Acquire) >= lsn
    }

    pub(super) fn note_resolved(&self, lsn: u64) {
        // Release: whoever reads this point finds the records below it; pairs with the Acquire of readers. SeqCst: stored before
        // followers are looked for; pairs with `Followers::join`.
        let before = self.resolved_lsn.swap(lsn, Ordering::SeqCst);
        if before != lsn {
            #[cfg(feature = "redis")]
            self.moved.get().into_iter().flatten().for_each(|signal| signal.wake());
            self.followers.wake();
        }
    }

    /// Where the log thread has last found the resolved point.
    pub(crate) fn resolved_lsn(&self) -> u64 {
        // Acquire: as in `is_resolved`.
        self.resolved_lsn.load(Ordering::Acquire)
    }

    /// Has what is resolved found soon, until `followers` are left again.
    pub(crate) fn follow(&self) {
        self.followers.join();
        self.signal.wake();
    }

    pub(super) fn note_synced(&self, lsn: u64) {
        // Release: pairs with the Acquire in `wait_synced`.
        self.synced_lsn.fetch_max(lsn, Ordering::Release);
        self.sync_waiters.wake_all();
    }

    /// Refuses writes from now on: what the disk holds is unknown (P7).
    pub(crate) fn break_down(&self, error: &Error) {
        let mut waiting = self.waiting();
        waiting.broken.get_or_insert_with(|| error.to_string());
        // Release: the reason stands before it; pairs with the Acquire in `is_broken`.
        self.broken.store(true, Ordering::Release);
        drop(waiting);
        self.room_changed.notify_all();
        self.sync_waiters.wake_all();
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(crate) fn broken_reason(&self) -> String {
        self.waiting().broken.clone().unwrap_or_default()
    }

    pub(crate) fn wake(&self) {
        self.signal.wake();
    }

    /// Ends writing: nothing is reserved after this, and nobody waits for room any more.
    pub(crate) fn begin_close(&self) {
        // Release: pairs with the Acquire in `check_stopped`.
        self.closing.store(true, Ordering::Release);
        self.room_changed_now();
        self.sync_waiters.wake_all();
        self.followers.wake_for_good();
        self.signal.wake();
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn prepare_failed(&self, attempt: u64, error: Error) {
        self.waiting().failed = Some((attempt, error));
        self.room_changed.notify_all();
    }

    pub(super) fn take_requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Drops what nobody will answer any more, so that nobody waits for it.
    pub(crate) fn shut_requests(&self) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Asks the log thread for something and waits for its answer.
    pub(crate) fn ask<T>(&self, make: impl FnOnce(SyncSender<T>) -> Request) -> Result<T> {
        let (reply, answer) = sync_channel(1);
        match &mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(requests) => requests.push(make(reply)),
            None => return Err(Error::Closed),
        }
        self.signal.wake();
        // The thread drops what it has not answered when it ends.
        answer.recv().map_err(|_| Error::Closed)
    }

    /// Lets writing begin in `tail`, at open.
    pub(crate) fn start_at(&self, tail: &Arc<Segment>) {
        let lsn = tail.header().base_lsn + tail.end();
        self.active.set(Arc::as_ptr(tail));
        // Release: pairs with the Acquire in `wait_synced` and of readers of the resolved point.
        self.synced_lsn.store(lsn, Ordering::Release);
        self.resolved_lsn.store(lsn, Ordering::Release);
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_segment_id.load(Ordering::Relaxed)
    }

    /// Lets no segment get an id up to `id`, which a file in the directory has already.
    pub(crate) fn skip_ids_to(&self, id: u64) {
        // An id near the end of the range is not this library's, and must not leave it without any.
        if id < u64::MAX / 2 {
            // Relaxed: nobody else has the log yet.
            self.next_segment_id.fetch_max(id + 1, Ordering::Relaxed);
        }
    }

    /// A segment id that was never used.
    pub(crate) fn fresh_id(&self) -> u64 {
        // Relaxed: only uniqueness counts.
        self.next_segment_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the log thread that space may have come back.
    pub(crate) fn space_freed(&self) {
        self.waiting().room_wanted = true;
        self.signal.wake();
    }
}
