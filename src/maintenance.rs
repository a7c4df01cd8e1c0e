//! The maintenance thread: everything that waits for grace periods. Mask removal, expiry, compaction, clear, unmapping; and a
//! look at the values that the open left unread.

use crate::compaction::{Between, Compactor, Pace};
use crate::error::{Error, Result};
use crate::expiry::Sweeper;
use crate::log::{Request, Segment, Sighting, Signal, FIRST_RECORD_AT};
use crate::record::{Draft, Kind, State};
use crate::store::{New, Step, Store};
use crate::testing::{Fault, Point};
use crate::training::Trainer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Upper bound of a sleep while hints wait: a wall clock that is set ahead is noticed within this.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// How often expiry gets its turn during a compaction.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After a compaction that failed (a full disk, say) the next attempt waits this long, unless somebody asks.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Lines for the logger that wait at most.
#[cfg(feature = "redis")]
const LINES_MAX: usize = 64;

/// Work for the thread.
pub(crate) enum Task {
    Sweep(SyncSender<()>),
    Clear(SyncSender<Result<u64>>),
    Compact(SyncSender<Result<()>>),
}

/// What others leave for the maintenance thread.
pub(crate) struct Inbox {
    sightings: Mutex<Vec<Sighting>>,
    /// `None` once nobody will carry them out.
    tasks: Mutex<Option<Vec<Task>>>,
    /// For the logger: hosts do not expect it in the threads of those who call, which may be here longer than the logger is.
    lines: Mutex<Vec<String>>,
    signal: Signal,
    paused: AtomicBool,
    /// Hints in the wheel, for statistics.
    pub(crate) hints: AtomicU64,
}

impl Default for Inbox {
    fn default() -> Self {
        Inbox {
            sightings: Mutex::default(),
            tasks: Mutex::new(Some(Vec::new())),
            lines: Mutex::default(),
            signal: Signal::default(),
            paused: AtomicBool::new(false),
            hints: AtomicU64::new(0),
        }
    }
}

impl Inbox {
    /// Hands over records that need a second look. An empty run means: a segment was sealed.
    pub(crate) fn put(&self, sightings: &mut Vec<Sighting>) {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner).append(sightings);
        self.signal.wake();
    }

    fn take_sightings(&self) -> Vec<Sighting> {
        std::mem::take(&mut *self.sightings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn wake(&self) {
        self.signal.wake();
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        // Release: work asked for before a resume is seen by the thread that it wakes; pairs with `is_paused`.
        self.paused.store(paused, Ordering::Release);
        self.signal.wake();
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Asks for a task and waits until it is done.
    pub(crate) fn ask<T>(&self, make: impl FnOnce(SyncSender<T>) -> Task) -> Result<T> {
        let (reply, answer) = sync_channel(1);
        match &mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tasks) => tasks.push(make(reply)),
            None => return Err(Error::Closed),
        }
        self.signal.wake();
        answer.recv().map_err(|_| Error::Closed)
    }

    /// Has the thread tell the logger, unless many lines wait for that: each says what its caller was not told.
    #[cfg(feature = "redis")]
    pub(crate) fn note(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(line);
        }
        drop(lines);
        self.signal.wake();
    }

    fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops what nobody will do any more, so that nobody waits for it.
    pub(crate) fn shut(&self) {
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn take_tasks(&self) -> Vec<Task> {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

pub(crate) struct Maintenance {
    store: Arc<Store>,
    inbox: Arc<Inbox>,
    sweeper: Sweeper,
    compactor: Compactor,
    retry_at: Option<Instant>,
    unread: Unread,
    trainer: Trainer,
}

/// Segments whose values the open left unread.
struct Unread {
    /// Not shares: what is compacted away has to give its space back.
    segments: Vec<Weak<Segment>>,
    /// Where in the last of them.
    at: u64,
    is_sound: bool,
    /// When the next portion may be looked at: half of the time, so that it stays off the foreground's tail latency.
    next: Instant,
}

/// Bytes of values that are looked at in one go.
const UNREAD_PORTION_BYTES: u64 = 256 << 10;

impl Unread {
    fn new(sealed: &[Arc<Segment>]) -> Unread {
        let segments = sealed.iter().filter(|segment| segment.is_unread()).map(Arc::downgrade).collect();
        Unread { segments, at: FIRST_RECORD_AT, is_sound: true, next: Instant::now() }
    }

    /// Looks at the next portion. Damage is told once; whoever asks for such a value is told too.
    fn look(&mut self, store: &Store) {
        let began = Instant::now();
        let Some(segment) = self.segments.last() else { return };
        let segment = segment.upgrade();
        if let Some(segment) = &segment {
            self.at = segment.check_records(self.at, UNREAD_PORTION_BYTES, |offset| {
                self.is_sound = false;
                // Relaxed: a hint to the picker.
                segment.damaged.store(true, Ordering::Relaxed);
                store.say(&Error::corrupt(segment.path(), offset, "checksum mismatch").to_string());
            });
        }
        if segment.as_ref().is_none_or(|segment| self.at >= segment.end()) {
            if let Some(segment) = segment.filter(|_| self.is_sound) {
                segment.set_unread(false);
            }
            self.segments.pop();
            (self.at, self.is_sound) = (FIRST_RECORD_AT, true);
        }
        self.next = Instant::now() + began.elapsed();
    }

    fn next(&self) -> Option<Instant> {
        (!self.segments.is_empty()).then_some(self.next)
    }
}

/// A clear of a store with a tier: each key's delete has to be sent, and a clear record names no keys.
fn delete_each(store: &Store) -> Result<u64> {
    let mut last = 0;
    store.walk_keys(|key| {
        let (tombstone, ()) = store.write(key, |seen| {
            Ok(if seen.live.is_some() { Step::Write(New::tombstone(), ()) } else { Step::Leave(()) })
        })?;
        last = last.max(tombstone.unwrap_or(0));
        Ok(())
    })?;
    Ok(last)
}

impl Maintenance {
    pub(crate) fn new(store: Arc<Store>, inbox: Arc<Inbox>, sealed: &[Arc<Segment>]) -> Maintenance {
        let sweeper = Sweeper::new(store.clock.now_ms(), store.idle);
        let waker = Arc::clone(&inbox);
        store.index.on_move(move || waker.wake());
        Maintenance {
            store,
            inbox,
            sweeper,
            compactor: Compactor::default(),
            retry_at: None,
            unread: Unread::new(sealed),
            trainer: Trainer::default(),
        }
    }

    /// Works until the store closes.
    pub(crate) fn run(mut self) {
        while !self.store.log.is_closing() {
            self.round();
            if self.store.log.is_closing() {
                break;
            }
            self.rest();
        }
        self.compactor.end(&self.store);
        self.inbox.shut();
    }

    /// Sleeps until there is work for a round, and looks at unread values meanwhile.
    fn rest(&mut self) {
        loop {
            let limit = self.sleep_limit();
            let next = self.unread.next().filter(|_| !self.inbox.is_paused());
            let wait = next.map(|at| at.saturating_duration_since(Instant::now()));
            let Some(wait) = wait.filter(|wait| limit.is_none_or(|limit| *wait < limit)) else {
                self.inbox.signal.sleep(limit);
                return;
            };
            if self.inbox.signal.sleep(Some(wait)) || self.store.log.is_closing() {
                return;
            }
            self.unread.look(&self.store);
        }
    }

    fn take_sightings(&mut self) {
        self.sweeper.take(&self.inbox.take_sightings(), self.store.clock.now_ms());
    }

    fn round(&mut self) {
        self.take_sightings();
        self.inbox.take_lines().iter().for_each(|line| self.store.say(line));
        let tasks = self.inbox.take_tasks();
        let paused = self.inbox.is_paused();
        if !paused {
            self.sweeper.expire(&self.store);
            self.trainer.train_if_due(&self.store);
        }
        for task in tasks {
            self.carry_out(task);
        }
        self.tidy_index();
        // Paused or not: a mask in the index costs memory, and its removal nothing that a pause is meant to save.
        let may_compact = self.sweeper.forget_masks(&self.store) && !paused;
        if self.sweeper.note_unsent(&self.store) {
            self.inbox.wake();
        }
        if may_compact {
            self.compact_if_needed();
        }
        // Relaxed: a statistic.
        self.inbox.hints.store(self.sweeper.hints() as u64, Ordering::Relaxed);
    }

    /// Moves the index's entries on while its table grows or shrinks, so that they are not left between two.
    fn tidy_index(&self) {
        let mut goes_on = true;
        while goes_on && !self.store.log.is_closing() {
            let guard = crossbeam_epoch::pin();
            goes_on = self.store.map(&guard).tidy();
        }
        while self.store.index.free_left() && self.store.wait_grace() {}
    }

    fn sleep_limit(&self) -> Option<Duration> {
        if self.inbox.is_paused() {
            return None;
        }
        let now_ms = self.store.clock.now_ms();
        let wheel = self.sweeper.next_wake_ms().map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
        let wheel = wheel.map(|wait| wait.clamp(Duration::from_millis(1), SLEEP_MAX));
        let retry = self.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        wheel.into_iter().chain(retry).min()
    }

    fn carry_out(&mut self, task: Task) {
        match task {
            Task::Sweep(reply) => {
                self.take_sightings();
                self.sweeper.expire_all(&self.store);
                let _ = reply.send(());
            }
            Task::Clear(reply) => {
                let _ = reply.send(self.clear());
            }
            Task::Compact(reply) => {
                let result = self.compact_all();
                let _ = reply.send(result);
            }
        }
    }

    fn compact_all(&mut self) -> Result<()> {
        if !self.sweeper.forget_masks(&self.store) {
            return Err(Error::Closed);
        }
        // First, since all that is rewritten is compressed anew.
        self.trainer.train_anew(&self.store);
        self.with_compactor(|compactor, store, sightings, between| {
            // What the sealed segments hold, header pages included: a pass that only moves records gives nothing back.
            let held_bytes = |store: &Store| -> Result<u64> {
                let extents = store.log.ask(Request::Listing)?;
                Ok(extents.iter().filter(|extent| extent.is_sealed).map(|extent| extent.segment.end()).sum())
            };
            let is_full = |result: &Result<()>| result.as_ref().is_err_and(Error::is_disk_full);
            loop {
                let before = held_bytes(store)?;
                let all = compactor.compact_all(store, sightings, between);
                if !is_full(&all) {
                    all?;
                }
                // On a full disk what gives back most goes first, and that makes room for the rest.
                let rest = loop {
                    match compactor.step(store, Pace::Hurried, sightings, between) {
                        Ok(true) => {}
                        // As small as it has to be, if not as small as with room to copy everything at once.
                        Ok(false) => return Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                if !is_full(&rest) || held_bytes(store)? >= before {
                    return rest;
                }
            }
        })
    }

    /// Runs a compaction; expiry goes on between its portions.
    fn with_compactor<T>(
        &mut self,
        run: impl FnOnce(&mut Compactor, &Store, &mut Vec<Sighting>, Between<'_>) -> Result<T>,
    ) -> Result<T> {
        let Maintenance { store, inbox, sweeper, compactor, .. } = self;
        let mut sightings = Vec::new();
        let mut looked = Instant::now();
        let mut between = || {
            if looked.elapsed() >= LOOK_EVERY && !inbox.is_paused() {
                sweeper.take(&inbox.take_sightings(), store.clock.now_ms());
                sweeper.expire(store);
                sweeper.forget_masks(store);
                if sweeper.note_unsent(store) {
                    inbox.wake();
                }
                looked = Instant::now();
            }
        };
        let result = run(compactor, store, &mut sightings, &mut between);
        sweeper.take(&sightings, store.clock.now_ms());
        result
    }

    fn compact_if_needed(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        let step = self.with_compactor(|compactor, store, sightings, between| {
            compactor.step(store, Pace::Background, sightings, between)
        });
        match step {
            // Look again at once, after what came meanwhile.
            Ok(true) => self.inbox.signal.wake(),
            // A scan held what would have gone, and tells nobody when it has ended.
            Ok(false) if self.store.log.holds.have_refused() => {
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
            Ok(false) | Err(Error::Closed) => {}
            Err(error) => {
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                self.store.say(&format!("compaction: {error}"));
            }
        }
    }

    /// Removes every entry (I14). Returns the LSN that has to be durable for that.
    fn clear(&mut self) -> Result<u64> {
        let store = &*self.store;
        if store.has_outbox() {
            return delete_each(store);
        }
        let lsn = self.append_clear()?;
        store.options.hooks.at(Point::Began);
        // Every writer below the clear has published afterwards.
        if !store.options.faults.has(Fault::ClearWithoutGrace) && !store.wait_grace() {
            return Err(Error::Closed);
        }
        let mut above: Vec<Vec<u8>> = Vec::new();
        store.walk(|map, _, (_, met)| {
            // It may have been written or moved since.
            while let Some(slot) = map.find(met.key) {
                let (_, view) = slot.record();
                if view.lsn > lsn {
                    above.push(view.key.to_vec());
                    return;
                }
                if store.forget_cleared(map, slot.address(), slot.record()) {
                    return;
                }
            }
        });
        if !store.tidy_keys() {
            return Err(Error::Closed);
        }
        let mut last = lsn;
        for key in above {
            let (tombstone, ()) = store.write(&key, |seen| {
                Ok(if seen.live.is_some() { Step::Write(New::tombstone(), ()) } else { Step::Leave(()) })
            })?;
            last = last.max(tombstone.unwrap_or(0));
        }
        Ok(last)
    }

    fn append_clear(&self) -> Result<u64> {
        let draft = Draft {
            kind: Kind::Clear,
            flags: 0,
            codec: 0,
            dictionary: 0,
            lsn: 0,
            expire_at_ms: 0,
            key: &[],
            value: &[],
        };
        loop {
            self.store.check_writable()?;
            let no_room = {
                let guard = crossbeam_epoch::pin();
                match self.store.log.append(&draft, &guard) {
                    Ok(place) => {
                        // Release: whoever finds the record resolved finds this too; pairs with the Acquire in `snapshot`.
                        self.store.cleared_lsn.store(place.lsn, Ordering::Release);
                        place.resolve(State::Committed);
                        place.segment.account.charge_mask(crate::record::record_bytes(0, 0));
                        return Ok(place.lsn);
                    }
                    Err(no_room) => no_room,
                }
            };
            self.store.log.wait_for_room(no_room)?;
        }
    }
}
