//! The thread that sends what the log holds and the tier has not.

use super::backoff::Backoff;
use super::conn::{encode, moment_after, Failure};
use super::decide::{refuse_all, Attempt, Pending, GROUP_MAX};
use super::line::{end_with_mark, Line};
use super::listener::HEARTBEAT;
use super::mark::Mark;
use super::outbox::{Keys, Unsent};
use super::states::{Batch, Changed};
use super::Shared;
use crate::io::random_u64;
use crate::log::{resolved_lsn, Request, Sent, SentFile};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys that are gathered before they are sent: what many changes of one key are coalesced over, and the memory that takes.
const KEYS_MAX: usize = 4096;
/// Records that are read between two looks at what else there is to do.
const LOOK_EVERY: usize = 256;
/// A batch that is under way so long is waited for, before more is read: callers may wait for it too.
const FLIGHT_MAX: Duration = Duration::from_millis(5);
/// Groups of changes that Redis decides between two batches.
const GROUPS_AT_ONCE: usize = 32;

/// Why a pass ended early.
enum Stop {
    /// The store ends.
    Closing,
    /// Redis has lost something: from the beginning.
    Rewound,
}

/// A batch whose answer has not come.
struct Flight {
    /// It does nothing else until then.
    line: Line,
    sent: Result<(), Failure>,
    launched: Instant,
    bytes: usize,
    count: usize,
    mark: Mark,
    keys: Vec<Changed>,
}

/// The keys in the order of their records. A batch that the user made may have millions of them.
fn in_order(keys: &mut Keys) -> VecDeque<Changed> {
    let mut keys: Vec<Changed> = keys.drain().collect();
    keys.sort_unstable_by_key(|(_, noted)| noted.lsn);
    keys.into()
}

pub(super) struct Pusher {
    shared: Arc<Shared>,
    line: Option<Line>,
    /// At most one: K2 tells of the last one.
    flight: Option<Flight>,
    /// For the next batch.
    buffer: Vec<u8>,
    backoff: Backoff,
    file: SentFile,
    sent: Sent,
    session: u64,
    /// Number of the last batch that was sent, and of the last that is known to be in Redis.
    batch: u64,
    executed: u64,
    /// Keys of the former.
    batch_keys: usize,
    /// Where the last complete reading of the log came to.
    reached_lsn: u64,
    /// The pause after the last failure.
    rest: Duration,
    /// A mark was found that this open of the store has not written: what it said before that is not known.
    lost_sight: bool,
    /// Redis has lost changes, and who sends was not told yet: a connection may fail before.
    is_rewound: bool,
}

impl Pusher {
    pub(super) fn new(shared: Arc<Shared>, file: SentFile, sent: Sent) -> Pusher {
        let session = random_u64();
        let opened_lsn = shared.store.log.tail_lsn(&crossbeam_epoch::pin());
        Pusher {
            line: None,
            flight: None,
            buffer: Vec::new(),
            backoff: Backoff::new(shared.options.backoff_max),
            file,
            sent: sent.said_by(session, opened_lsn),
            session,
            batch: 0,
            executed: 0,
            batch_keys: 0,
            reached_lsn: 0,
            rest: Duration::ZERO,
            lost_sight: false,
            is_rewound: false,
            shared,
        }
    }

    /// Sends until the store ends.
    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            let round = std::panic::AssertUnwindSafe(|| self.round());
            if std::panic::catch_unwind(round).is_err() {
                // The log has its keys still.
                self.flight = None;
                self.fail(&Failure::new("the thread that sends panicked"));
                self.pause();
                continue;
            }
            let wants_tracking = self.shared.options.fresh.is_some();
            self.shared.moved.sleep(wants_tracking.then_some(HEARTBEAT));
        }
        // Best effort: what is lost of it is only sent once more.
        let _ = self.file.sync();
    }

    /// Sends all that is resolved.
    fn round(&mut self) {
        while !self.shared.is_stopping() {
            let began = Instant::now();
            let Ok(extents) = self.shared.store.log.ask(Request::Listing) else { return };
            if resolved_lsn(&extents) <= self.sent.lsn {
                self.shared.note_caught_up(began);
                match self.attend() {
                    Ok(()) => return,
                    Err(Stop::Rewound) => continue,
                    Err(Stop::Closing) => return,
                }
            }
            let unsent = Unsent::new(&extents, self.shared.shard, self.sent.lsn, self.reached_lsn);
            drop(extents);
            match self.pass(&unsent) {
                Ok(()) => self.shared.note_caught_up(began),
                Err(Stop::Rewound) => {}
                Err(Stop::Closing) => return,
            }
        }
    }

    /// Sees to what does not wait until everything is sent: there may always be more.
    fn attend(&mut self) -> Result<(), Stop> {
        self.decide()?;
        if self.shared.wants_mark() {
            // It is looked at by who connects.
            self.lose_line();
            self.connect()?;
        }
        match self.shared.options.fresh {
            Some(_) => self.tend(),
            None => Ok(()),
        }
    }

    /// Has changes of others told to the thread that hears, and looks whether the connection lives: what it asked for dies
    /// with it.
    fn tend(&mut self) -> Result<(), Stop> {
        // Also while nobody hears: the one that does notices first that Redis is gone, and has gone itself then.
        let wanted = self.shared.wanted();
        self.connect()?;
        let Some(mut line) = self.line.take() else { return Ok(()) };
        if let Some(ear) = wanted.filter(|ear| ear.server != line.conn.server()) {
            // One of the two found a server that is not the one any more: both look again.
            self.shared.note_missed(ear);
            self.lose_line();
            return Ok(());
        }
        match line.tend(wanted, &self.shared) {
            Ok(()) => {
                self.line = Some(line);
                if wanted.is_some() {
                    self.shared.note_told(wanted);
                }
                self.succeed();
                Ok(())
            }
            Err(failure) => {
                let has_served = line.has_served;
                self.note_failed(has_served, &failure);
                match has_served && failure.is_cut {
                    // By another one, which has not.
                    true => self.tend(),
                    false => Ok(()),
                }
            }
        }
    }

    fn pass(&mut self, unsent: &Unsent) -> Result<(), Stop> {
        let (mut keys, mut looked) = (Keys::default(), 0_usize);
        unsent.read(&mut keys, |keys, done_lsn| {
            looked += 1;
            if looked % LOOK_EVERY == 0 {
                self.look_up(keys)?;
            }
            if keys.len() < KEYS_MAX {
                return Ok(());
            }
            let done_lsn = done_lsn.unwrap_or(self.sent.lsn);
            self.send(in_order(keys), done_lsn)
        })?;
        self.send(in_order(&mut keys), unsent.end_lsn)?;
        while let Some(failed) = self.land()? {
            self.send(failed.into(), unsent.end_lsn)?;
        }
        if unsent.end_lsn > self.sent.lsn {
            // Without one of this part's keys behind what Redis was told last.
            self.note_sent(unsent.end_lsn, self.sent.marked_lsn);
        }
        self.reached_lsn = unsent.end_lsn;
        self.attend()
    }

    /// However much there is to read: a close does not wait for its end, nor do those whose batch Redis has answered.
    fn look_up(&mut self, keys: &mut Keys) -> Result<(), Stop> {
        if self.shared.is_stopping() {
            return Err(Stop::Closing);
        }
        if self.flight.as_ref().is_some_and(|flight| flight.launched.elapsed() >= FLIGHT_MAX) {
            for (key, noted) in self.land()?.into_iter().flatten() {
                // What was read meanwhile is newer.
                keys.entry(key).or_insert(noted);
            }
        }
        Ok(())
    }

    /// Sends the state of these keys, and of those of the batch before if that failed, however often Redis does. The last batch is
    /// under way afterwards; once it has landed everything below `done_lsn` is there.
    fn send(&mut self, mut keys: VecDeque<Changed>, done_lsn: u64) -> Result<(), Stop> {
        while !keys.is_empty() {
            let mut prepared = self.prepare(&keys);
            if let Some(failed) = self.land()? {
                // K4
                prepared = None;
                keys = in_order(&mut failed.into_iter().chain(keys).collect());
            }
            self.attend()?;
            self.connect()?;
            let has_served = self.line.as_ref().is_some_and(|line| line.has_served);
            if let Err(failure) = self.launch(&mut keys, prepared, done_lsn) {
                self.note_failed(has_served, &failure);
            }
        }
        Ok(())
    }

    /// Encodes the next batch while Redis executes the one before (K4). That waits for no guard: whoever waits for the one before would
    /// wait too.
    fn prepare(&mut self, keys: &VecDeque<Changed>) -> Option<Batch> {
        let ahead_ms = self.flight.as_ref()?.line.ahead_ms;
        let buffer = std::mem::take(&mut self.buffer);
        self.shared.gather(keys.as_slices().0, ahead_ms, buffer, || false).ok()
    }

    /// Sends the first of these keys, which leave them, as one transaction with the mark. Fails if nothing was sent.
    fn launch(
        &mut self,
        keys: &mut VecDeque<Changed>,
        prepared: Option<Batch>,
        done_lsn: u64,
    ) -> Result<(), Failure> {
        let Some(mut line) = self.line.take() else { return Err(Failure::new("not connected")) };
        let shared = Arc::clone(&self.shared);
        line.read_old_clock(&shared)?;
        let mut batch = match prepared.filter(|batch| batch.ahead_ms == line.ahead_ms) {
            Some(batch) => batch,
            None => {
                let buffer = std::mem::take(&mut self.buffer);
                shared.gather(keys.as_slices().0, line.ahead_ms, buffer, || shared.wait_grace())?
            }
        };
        let of_batch: Vec<Changed> = keys.drain(..batch.keys.min(keys.len())).collect();
        let lsn = if keys.is_empty() { done_lsn.max(self.sent.lsn) } else { self.sent.lsn };
        self.batch += 1;
        let mark = Mark { session: self.session, lsn, batch: self.batch };
        end_with_mark(&mut batch.commands, &shared.mark_key, &mark);
        let sent = line.conn.send(batch.commands()).map(drop);
        let (bytes, launched) = (batch.commands().len(), Instant::now());
        self.batch_keys = of_batch.len();
        self.flight = Some(Flight { line, sent, launched, bytes, count: batch.count, mark, keys: of_batch });
        self.buffer = batch.into_buffer();
        Ok(())
    }

    /// Waits for the answer to the batch that is under way. Gives its keys back if it was not executed, and has a connection then.
    fn land(&mut self) -> Result<Option<Vec<Changed>>, Stop> {
        let Some(Flight { mut line, sent, bytes, count, mark, keys, .. }) = self.flight.take() else {
            return Ok(None);
        };
        let has_served = line.has_served;
        // The answer's time begins now: it may be under way still.
        let until = line.conn.deadline(bytes);
        let failure = match sent.and_then(|()| line.written(until, count)) {
            // What a server says that was left meanwhile is not believed (C4): the mark tells.
            Ok(Ok(())) if !self.shared.servers.is_current(&line.conn) => None,
            Ok(Ok(())) => {
                self.executed = mark.batch;
                self.count_batch();
                self.shared.note_mark(mark);
                line.has_served = true;
                self.keep(line);
                // Before those who wait for it are told: they find no failure that is over.
                self.succeed();
                if mark.lsn > self.sent.lsn {
                    self.note_sent(mark.lsn, mark.lsn);
                }
                return Ok(None);
            }
            Ok(Err(failure)) => {
                // It may have been executed in part: its number is not to be found.
                self.batch += 1;
                Some(failure)
            }
            Err(failure) => Some(failure),
        };
        match failure {
            Some(failure) => self.note_failed(has_served, &failure),
            None => self.lose_line(),
        }
        let executed = self.executed;
        self.connect()?;
        if self.executed == executed {
            return Ok(Some(keys));
        }
        // K2: the answer was lost, and not the batch.
        self.succeed();
        Ok(None)
    }

    /// Has Redis decide what callers wait for, as far as it is their turn.
    fn decide(&mut self) -> Result<(), Stop> {
        let mut conflicts = 0;
        for _ in 0..GROUPS_AT_ONCE {
            let shared = &self.shared;
            let mut group = self.shared.decisions.take(|change| shared.is_early(change));
            group.retain(|pending| pending.take());
            if group.is_empty() {
                return Ok(());
            }
            if conflicts > 0 {
                // Others change the same keys: fewer at once, and not in step with them.
                let rest = group.split_off((GROUP_MAX >> conflicts.min(6)).clamp(1, group.len()));
                self.shared.decisions.put_back(rest);
                self.shared.pause(Duration::from_micros(random_u64() % (100 << conflicts.min(6))));
            }
            let is_over = self.decide_group(&group)?;
            if is_over {
                conflicts = 0;
            } else {
                conflicts += 1;
                self.shared.decisions.put_back(group);
            }
        }
        // What is to be sent has its turn; then there is more of this.
        self.shared.moved.wake();
        Ok(())
    }

    /// Decides these, or gives them up; `false` where others were in between and nothing was done.
    fn decide_group(&mut self, group: &[Arc<Pending>]) -> Result<bool, Stop> {
        if !self.has_line() {
            let connected = self.try_connect();
            if let Err(failure) = &connected {
                refuse_all(group, failure);
                self.fail(failure);
                self.pause();
                return Ok(true);
            }
            if let Ok(Err(stop)) = connected {
                self.shared.decisions.put_back(group.to_vec());
                return Err(stop);
            }
        }
        let Some(mut line) = self.line.take() else { return Ok(false) };
        let shared = Arc::clone(&self.shared);
        let mut attempt = Attempt::new(&shared, group);
        let asked = line.read_old_clock(&shared).and_then(|()| attempt.read(&mut line.conn));
        if let Err(failure) = asked {
            return Ok(self.give_up(group, line.has_served, &failure));
        }
        let mut commands = Vec::new();
        encode(&mut commands, &[b"MULTI"]);
        let count = attempt.encode(&mut commands, line.ahead_ms);
        self.batch += 1;
        self.batch_keys = 0;
        let mark = Mark { session: self.session, lsn: self.sent.lsn, batch: self.batch };
        let has_served = line.has_served;
        match line.write_with_mark(commands, count, &shared.mark_key, &mark) {
            Ok(Ok(())) => {
                self.executed = self.batch;
                shared.note_mark(mark);
                line.has_served = true;
                let may_stay = shared.is_heard(&line.conn) && shared.keeps_copies();
                self.keep(line);
                self.succeed();
                attempt.succeed(may_stay);
                Ok(true)
            }
            Ok(Err(failure)) if failure.is_conflict => {
                // K1 goes on if the mark is what it was: then a key was changed.
                match Mark::watch(&mut line.conn, &shared.mark_key) {
                    Ok(found) if found == shared.mark() => self.line = Some(line),
                    _ => self.lose_line(),
                }
                Ok(false)
            }
            Ok(Err(failure)) => {
                self.batch += 1;
                match failure.is_open {
                    true => group.iter().for_each(|pending| pending.leave_open(&failure.reason)),
                    false => refuse_all(group, &failure),
                }
                self.fail(&failure);
                self.pause();
                Ok(true)
            }
            Err(failure) => self.find_out(group, &attempt, &failure, has_served),
        }
    }

    /// The answer was lost: whether it was executed the mark tells the next connection (D2).
    fn find_out(
        &mut self,
        group: &[Arc<Pending>],
        attempt: &Attempt<'_>,
        failure: &Failure,
        has_served: bool,
    ) -> Result<bool, Stop> {
        match has_served && failure.is_cut {
            true => self.lose_line(),
            false => self.fail(failure),
        }
        let executed = self.executed;
        self.lost_sight = false;
        let connected = self.connect();
        if self.executed > executed {
            self.succeed();
            attempt.turn_out_executed();
        } else if connected.is_err() || self.lost_sight {
            group.iter().for_each(|pending| pending.leave_open(&failure.reason));
        } else {
            return Ok(false);
        }
        connected.map(|()| true)
    }

    /// Nothing was written. A connection that the server had closed before is no reason to give up.
    fn give_up(&mut self, group: &[Arc<Pending>], has_served: bool, failure: &Failure) -> bool {
        if has_served && (failure.is_cut || failure.is("MOVED")) {
            self.lose_line();
            return false;
        }
        refuse_all(group, failure);
        self.fail(failure);
        self.pause();
        true
    }

    /// Whether there is a connection that may send; one to a server that was left is none (C4).
    fn has_line(&mut self) -> bool {
        if self.line.as_ref().is_some_and(|line| !self.shared.servers.is_current(&line.conn)) {
            self.lose_line();
        }
        self.line.is_some()
    }

    /// Makes sure of a connection that may send, however long that takes.
    fn connect(&mut self) -> Result<(), Stop> {
        loop {
            if self.shared.is_stopping() {
                return Err(Stop::Closing);
            }
            if self.has_line() {
                return Ok(());
            }
            match self.try_connect() {
                Ok(judged) => return judged,
                Err(failure) => {
                    self.fail(&failure);
                    self.pause();
                }
            }
        }
    }

    fn try_connect(&mut self) -> Result<Result<(), Stop>, Failure> {
        let shared = Arc::clone(&self.shared);
        let conn = shared.connect()?;
        let mut line = Line::over(conn, &shared)?;
        let found = Mark::watch(&mut line.conn, &self.shared.mark_key)?;
        self.lost_sight |= found.is_none_or(|found| found.session != self.session);
        self.judge(found);
        let mark = Mark { session: self.session, lsn: self.sent.lsn, batch: self.executed };
        let mut commands = Vec::new();
        encode(&mut commands, &[b"MULTI"]);
        line.write_with_mark(commands, 0, &self.shared.mark_key, &mark)??;
        self.shared.note_mark(mark);
        self.keep(line);
        if self.sent.lsn > self.shared.sent_lsn() {
            // K2: what failed last was its answer.
            self.shared.note_health(None);
        }
        self.note_sent(self.sent.lsn, self.sent.lsn);
        Ok(if std::mem::take(&mut self.is_rewound) { Err(Stop::Rewound) } else { Ok(()) })
    }

    fn keep(&mut self, line: Line) {
        if line.is_watched {
            self.line = Some(line);
        } else {
            self.lose_line();
        }
    }

    /// What the mark that was found says about what Redis has (K2, K3).
    fn judge(&mut self, found: Option<Mark>) {
        // An earlier open's mark is found again when Redis goes back to what it has saved. One that is beyond the log it left is of
        // another life of this directory: a copy of it was put back.
        let is_ours =
            |mark: &Mark| mark.session == self.session || self.sent.was_said_before(mark.session, mark.lsn);
        match found {
            // Also of a first upload, of which no end was marked yet.
            None if self.sent.marked_lsn > 0 || self.executed > 0 => self.rewind(0),
            Some(mark)
                if mark.session == self.session && mark.batch == self.batch && self.batch > self.executed =>
            {
                self.executed = self.batch;
                self.count_batch();
                self.sent.lsn = mark.lsn.max(self.sent.lsn);
            }
            Some(mark) if is_ours(&mark) => {
                let executed = if mark.session == self.session { mark.batch } else { 0 };
                if executed < self.executed || mark.lsn < self.sent.marked_lsn {
                    self.rewind(mark.lsn);
                } else if mark.session != self.session {
                    // The process before died between Redis' answer and the file.
                    self.sent.lsn = mark.lsn.max(self.sent.lsn);
                }
            }
            // Never marked, or by a copy of this store: then only the file tells.
            _ => {}
        }
    }

    fn rewind(&mut self, lsn: u64) {
        let line = format!("Redis has lost changes that it had acknowledged: sent again from {lsn} on");
        self.shared.say(&line);
        self.sent.lsn = lsn.min(self.sent.lsn);
        // Before the mark says so: whoever finds Redis without an entry, and the mark as expected, must find it unsent too
        // (`Comparison::step`).
        self.shared.note_sent(self.sent.lsn);
        // What Redis says to those who asked before is from before it is told again; when it has been, nothing else tells.
        self.shared.store.loads.note_all_elsewhere();
        self.is_rewound = true;
    }

    fn note_sent(&mut self, lsn: u64, marked_lsn: u64) {
        (self.sent.lsn, self.sent.marked_lsn) = (lsn, marked_lsn);
        if let Err(error) = self.file.store(&self.sent) {
            self.shared.say(&error.to_string());
        }
        self.shared.note_sent(lsn);
    }

    /// The last one that was sent is executed. What callers wait for is none.
    fn count_batch(&mut self) {
        let keys = std::mem::take(&mut self.batch_keys);
        if keys > 0 {
            // Relaxed: figures.
            self.shared.figures.sent_keys.fetch_add(keys as u64, Ordering::Relaxed);
            self.shared.figures.batches.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn succeed(&mut self) {
        self.backoff.reset();
        self.shared.note_health(None);
    }

    fn lose_line(&mut self) {
        self.line = None;
        self.shared.note_told(None);
    }

    fn fail(&mut self, failure: &Failure) {
        self.lose_line();
        self.shared.note_health(Some(failure));
        self.rest = self.backoff.pause();
        self.shared.decisions.refuse(failure, moment_after(self.rest));
    }

    /// After a failure of a connection that had served before or not.
    fn note_failed(&mut self, has_served: bool, failure: &Failure) {
        if has_served && failure.is_cut {
            // The server may have closed it long ago: that says nothing about the server.
            self.lose_line();
        } else {
            self.fail(failure);
            self.pause();
        }
    }

    /// After a failure.
    fn pause(&mut self) {
        self.shared.pause(self.rest);
    }
}
