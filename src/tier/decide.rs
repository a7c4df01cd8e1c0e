//! Changes that Redis decides, so that they hold across processes.
//!
//! The thread that sends makes an optimistic transaction of each: it watches and reads the key, computes here what becomes of it, and
//! writes that together with the mark. Callers that come at once share one.
//!
//! - **D1** What is written follows from what Redis holds at that moment: a key that anybody changes after it was read ends the
//!   transaction without effect, and it begins anew.
//! - **D2** It is applied once or not at all. A transaction whose answer was lost is, by K1, over before this store writes another
//!   mark; and the mark that is found then has its number if and only if it was executed (K2). Only if not is it tried again.
//! - **D3** What this store changed before, and Redis was not told of yet, goes first: a change is taken up when the record that stood
//!   for its key when it was asked for is sent, and what stands now too. That may have been sent already, ahead of its turn, and will be
//!   sent again: over a change that was decided between, which would be lost.
//! - **D4** The result stays here as a copy unless the key was changed since the question, here or, as far as it is heard, elsewhere;
//!   then what stood here goes (`Loads::expect`).

use super::codec::{no_value, Codec};
use super::conn::{encode, Conn, Failure};
use super::copies::forget;
use super::fetch::left_of;
use super::Shared;
use crate::error::{Error, Result};
use crate::limits::CLOCKS_DIFFER_MS;
use crate::record::{flags, Kind};
use crate::store::{New, NewValue, Seen, Step, Store};
use redis::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Changes in one transaction.
pub(super) const GROUP_MAX: usize = 64;
/// Bytes of values after which a transaction takes no further change.
const GROUP_BYTES: usize = 1 << 20;

/// What is to become of a key.
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    pub(crate) act: Act,
    /// Deadline of an entry that comes into being, in the store's time; 0: never.
    pub(crate) expire_at_ms: u64,
    /// The record of this store's own that has to be sent before.
    pub(crate) after_lsn: Option<u64>,
}

pub(crate) enum Act {
    Increment(i64),
    Add(Vec<u8>),
    /// `None`: where there is no value.
    Swap {
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    },
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decided {
    /// The value was set.
    pub(crate) is_set: bool,
    /// Of an increment.
    pub(crate) sum: i64,
}

enum Stage {
    /// Nothing of it has left this process.
    Waiting,
    /// It may have reached Redis.
    Taken,
    /// The caller has gone.
    Left,
    Over(Result<Decided>),
}

/// One caller's change.
pub(super) struct Pending {
    change: Change,
    stage: Mutex<Stage>,
    come: Condvar,
}

impl Pending {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be tried: its caller still waits.
    pub(super) fn take(&self) -> bool {
        let mut stage = self.stage();
        let waits = !matches!(*stage, Stage::Left);
        if waits {
            *stage = Stage::Taken;
        }
        waits
    }

    pub(super) fn end(&self, result: Result<Decided>) {
        *self.stage() = Stage::Over(result);
        self.come.notify_one();
    }

    pub(super) fn refuse(&self, failure: &Failure) {
        self.end(Err(not_applied(&failure.reason)));
    }

    pub(super) fn leave_open(&self, why: &str) {
        self.end(Err(perhaps_applied(why)));
    }
}

fn not_applied(why: &str) -> Error {
    Error::Tier { reason: format!("not applied: {why}") }
}

fn perhaps_applied(why: &str) -> Error {
    Error::Tier { reason: format!("it may have been applied, once: {why}") }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Pending>>,
    /// Until then nothing is tried, and why.
    refused: Option<(Instant, Failure)>,
    is_shut: bool,
}

/// Where callers and the thread that sends meet.
#[derive(Default)]
pub(super) struct Decisions {
    queue: Mutex<Queue>,
}

impl Decisions {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a change decided by `until`; `wake` tells the thread.
    pub(super) fn decide(&self, change: Change, until: Instant, wake: impl Fn()) -> Result<Decided> {
        let pending = Arc::new(Pending { change, stage: Mutex::new(Stage::Waiting), come: Condvar::new() });
        {
            let mut queue = self.queue();
            if queue.is_shut {
                return Err(Error::Closed);
            }
            if let Some((_, why)) = queue.refused.as_ref().filter(|(at, _)| Instant::now() < *at) {
                return Err(not_applied(&why.reason));
            }
            queue.waiting.push_back(Arc::clone(&pending));
        }
        wake();
        let mut stage = pending.stage();
        loop {
            if let Stage::Over(result) = &*stage {
                return result.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(match std::mem::replace(&mut *stage, Stage::Left) {
                    Stage::Waiting => not_applied("no answer in time"),
                    _ => perhaps_applied("no answer in time"),
                });
            }
            stage = pending.come.wait_timeout(stage, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next ones whose turn it is (D3).
    pub(super) fn take(&self, is_early: impl Fn(&Change) -> bool) -> Vec<Arc<Pending>> {
        let mut group = Vec::new();
        let mut value_bytes = 0;
        let mut queue = self.queue();
        queue.waiting.retain(|pending| {
            let is_full = group.len() >= GROUP_MAX || value_bytes > GROUP_BYTES;
            if is_full || is_early(&pending.change) {
                return !matches!(*pending.stage(), Stage::Left);
            }
            if let Act::Add(value) | Act::Swap { value, .. } = &pending.change.act {
                value_bytes += value.len();
            }
            group.push(Arc::clone(pending));
            false
        });
        group
    }

    /// For a later turn: nothing of these has reached Redis.
    pub(super) fn put_back(&self, group: Vec<Arc<Pending>>) {
        let mut queue = self.queue();
        for pending in group.into_iter().rev() {
            if queue.is_shut {
                pending.end(Err(Error::Closed));
                continue;
            }
            {
                let mut stage = pending.stage();
                if matches!(*stage, Stage::Taken) {
                    *stage = Stage::Waiting;
                }
            }
            queue.waiting.push_front(pending);
        }
    }

    /// Nothing can be decided before `at`.
    pub(super) fn refuse(&self, failure: &Failure, at: Instant) {
        let mut queue = self.queue();
        queue.refused = Some((at, failure.clone()));
        queue.waiting.drain(..).for_each(|pending| pending.refuse(failure));
    }

    pub(super) fn shut(&self) {
        let mut queue = self.queue();
        queue.is_shut = true;
        queue.waiting.drain(..).for_each(|pending| pending.end(Err(Error::Closed)));
    }
}

/// What Redis holds for a key, and what shall become of it.
#[derive(Default)]
struct Held {
    value: Option<Vec<u8>>,
    /// The string there, where that is not the value itself.
    string: Option<Vec<u8>>,
    /// In the store's time; 0: never.
    expire_at_ms: u64,
    is_changed: bool,
    /// The value is what an increment made.
    is_sum: bool,
    /// There was no value before: the deadline is new.
    is_new: bool,
}

impl Held {
    fn set(&mut self, codec: &Codec, change: &Change, value: Vec<u8>) -> Result<()> {
        let string = codec.encode(&change.key, &value).map_err(|reason| not_applied(&reason))?;
        self.string = (!codec.is_raw()).then(|| string.into_owned());
        let expire_at_ms = change.expire_at_ms;
        if self.value.is_none() {
            self.is_new = true;
            self.expire_at_ms = expire_at_ms;
        }
        self.value = Some(value);
        (self.is_changed, self.is_sum) = (true, false);
        Ok(())
    }

    fn decide(&mut self, store: &Store, codec: &Codec, change: &Change) -> Result<Decided> {
        match &change.act {
            Act::Increment(delta) => {
                let (sum, value) = store.options.sum(self.value.as_deref(), *delta)?;
                self.set(codec, change, value)?;
                self.is_sum = true;
                Ok(Decided { is_set: true, sum })
            }
            Act::Add(value) => {
                let is_absent = self.value.is_none();
                if is_absent {
                    self.set(codec, change, value.clone())?;
                }
                Ok(Decided { is_set: is_absent, sum: 0 })
            }
            Act::Swap { expected, value } => {
                let holds = match (&self.value, expected) {
                    (Some(there), Some(expected)) => {
                        let string = self.string.as_ref();
                        there == expected
                            || string.is_some_and(|string| codec.is_same(&change.key, expected, string, true))
                    }
                    (there, expected) => there == expected,
                };
                if holds {
                    self.set(codec, change, value.clone())?;
                }
                Ok(Decided { is_set: holds, sum: 0 })
            }
        }
    }
}

/// One attempt: what was read, and what follows from it for each.
pub(super) struct Attempt<'s> {
    store: &'s Store,
    codec: &'s Codec,
    prefix: &'s [u8],
    group: Vec<Arc<Pending>>,
    held: HashMap<Vec<u8>, std::result::Result<Held, Failure>>,
    results: Vec<Result<Decided>>,
}

impl<'s> Attempt<'s> {
    /// From here on it is noted what happens to these keys.
    pub(super) fn new(shared: &'s Shared, group: &[Arc<Pending>]) -> Attempt<'s> {
        let Shared { store, codec, options, .. } = shared;
        let (held, group, results) = (HashMap::new(), group.to_vec(), Vec::new());
        let mut attempt = Attempt { store, codec, prefix: &options.prefix, group, held, results };
        for pending in &attempt.group {
            let unread = || Err(Failure::new("not read"));
            attempt.held.entry(pending.change.key.clone()).or_insert_with(unread);
        }
        attempt.held.keys().for_each(|key| store.loads.expect(key));
        attempt
    }

    fn name(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix, key].concat()
    }

    /// Watches and reads the keys, and decides (D1).
    pub(super) fn read(&mut self, conn: &mut Conn) -> std::result::Result<(), Failure> {
        const REPLIES: usize = 3;
        let keys: Vec<Vec<u8>> = self.held.keys().cloned().collect();
        let mut commands = Vec::new();
        for key in &keys {
            let name = self.name(key);
            encode(&mut commands, &[b"WATCH", &name]);
            encode(&mut commands, &[b"PTTL", &name]);
            encode(&mut commands, &[b"GET", &name]);
        }
        // Before Redis looks at its own clock, as in `fetch`.
        let now_ms = self.store.clock.now_ms();
        let value_bytes = self.codec.string_bytes_max();
        let mut failed = None;
        let mut ttl = 0;
        conn.exchange(&commands, keys.len() * REPLIES, value_bytes, |number, reply| {
            let Some(key) = keys.get(number / REPLIES) else { return };
            match (number % REPLIES, reply) {
                (0, Value::Okay) => {}
                (1, Value::Int(ttl_ms)) => ttl = ttl_ms,
                (2, Value::Nil) => {
                    self.held.insert(key.clone(), Ok(Held::default()));
                }
                (2, Value::BulkString(string)) => {
                    let kept = (!self.codec.is_raw()).then(|| string.clone());
                    let held = self.codec.decode_string(key, string).map(|value| Held {
                        value: Some(value),
                        string: kept,
                        expire_at_ms: left_of(ttl, now_ms),
                        ..Held::default()
                    });
                    self.held.insert(key.clone(), held);
                }
                (2, Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                    let failure = no_value(Failure::unexpected("GET", &Value::ServerError(error)));
                    self.held.insert(key.clone(), Err(failure));
                }
                (_, other) => {
                    failed.get_or_insert_with(|| Failure::unexpected("a question before a change", &other));
                }
            }
        })?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        for pending in &self.group {
            let result = match self.held.get_mut(&pending.change.key) {
                Some(Ok(held)) => held.decide(self.store, self.codec, &pending.change),
                Some(Err(failure)) => Err(not_applied(&failure.reason)),
                None => Err(not_applied("not read")),
            };
            self.results.push(result);
        }
        Ok(())
    }

    /// Appends what is to be written, and says how many commands that are. `ahead_ms` leads from a time of the store to one of
    /// the server.
    pub(super) fn encode(&self, commands: &mut Vec<u8>, ahead_ms: i64) -> usize {
        let mut count = 0;
        for (key, held) in &self.held {
            let Ok(Held { value: Some(value), string, expire_at_ms, is_changed: true, is_new, .. }) = held
            else {
                continue;
            };
            let string = string.as_ref().unwrap_or(value);
            let name = self.name(key);
            let deadline = i64::try_from(*expire_at_ms).unwrap_or(i64::MAX).saturating_add(ahead_ms).max(1);
            let deadline = deadline.to_string();
            let mut args: Vec<&[u8]> = vec![b"SET", &name, string];
            match (*is_new, *expire_at_ms) {
                (true, 0) => {}
                (true, _) => args.extend([&b"PXAT"[..], deadline.as_bytes()]),
                (false, _) => args.push(b"KEEPTTL"),
            }
            encode(commands, &args);
            count += 1;
        }
        count
    }

    /// It was executed, and the answer came: copies stay here (D4), where that is wanted.
    pub(super) fn succeed(&self, keeps_copies: bool) {
        for (key, held) in &self.held {
            let Ok(held) = held else { continue };
            let is_kept = keeps_copies && self.keep(key, held);
            if !is_kept {
                self.drop_old(key);
            }
            // Not before, since that would end what is kept here. What is being loaded, or was remembered as absent, is older.
            self.store.loads.note(key);
        }
        self.answer();
    }

    /// It was executed, as was found later: what happened since is not known.
    pub(super) fn turn_out_executed(&self) {
        for key in self.held.keys() {
            self.store.loads.note(key);
            self.drop_old(key);
        }
        self.answer();
    }

    fn answer(&self) {
        for (pending, result) in self.group.iter().zip(&self.results) {
            pending.end(result.clone());
        }
    }

    fn keep(&self, key: &[u8], held: &Held) -> bool {
        let Some(value) = &held.value else { return false };
        if self.store.options.check_lengths(key, value).is_err() {
            return false;
        }
        let decide = |seen: &Seen<'_>| {
            if self.store.has_unsent(seen) {
                return Ok(Step::Leave(false));
            }
            let expire_at_ms = held.expire_at_ms;
            let lasts_no_longer = seen.live.is_some_and(|view| match (view.expire_at_ms, expire_at_ms) {
                (_, 0) => true,
                (here, there) => here != 0 && here <= there.saturating_add(CLOCKS_DIFFER_MS),
            });
            // Of this store's own the codec and the metadata stand nowhere else.
            if !held.is_changed
                && lasts_no_longer
                && !seen.is_from_tier()
                && self.store.value_seen(seen)?[..] == value[..]
            {
                return Ok(Step::Leave(true));
            }
            let flags = flags::FROM_TIER;
            let of_tier = self.store.tier_codec();
            let codec = if held.is_sum { self.store.options.codec_of_sum(of_tier) } else { of_tier };
            let new = New {
                kind: Kind::Put,
                flags,
                codec: codec.number(),
                dictionary: 0,
                expire_at_ms,
                value: NewValue::Given,
            };
            Ok(Step::Write(new, false))
        };
        // Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
        let is_current = || !self.store.loads.is_answer_overtaken(key);
        let kept = self.store.write_given(key, value, decide, is_current);
        kept.is_ok_and(|(lsn, stays)| lsn.is_some() || stays)
    }

    fn drop_old(&self, key: &[u8]) {
        if let Err(error) = forget(self.store, key) {
            self.store.say(&format!("tier: a copy that is old stays: {error}"));
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.held.keys().for_each(|key| self.store.loads.expect_no_more(key));
    }
}

/// What the thread that sends says to those whose change it gives up.
pub(super) fn refuse_all(group: &[Arc<Pending>], failure: &Failure) {
    group.iter().for_each(|pending| pending.refuse(failure));
}
