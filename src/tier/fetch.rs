//! Reads that fall through: one thread asks Redis for all that wait, in pipelines, and each caller waits no longer than the
//! timeout, whatever the connection does.

use super::backoff::Backoff;
use super::codec::{ask_hashes, may_be_hash, no_value};
use super::conn::{encode, moment_after, Conn, Failure};
use super::listener::HEARTBEAT;
use super::mark::{is_own, Mark};
use super::servers::ServerId;
use super::Shared;
use redis::Value;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Keys asked for at once.
pub(crate) const KEYS_MAX: usize = 256;

/// What Redis holds for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fetched {
    Absent,
    Found {
        value: Vec<u8>,
        /// In the store's time, Unix milliseconds, never later than in Redis'; 0: never.
        expire_at_ms: u64,
        /// It is as Redis holds it: the encoder has not seen it (`Codec::decode`).
        is_encoded: bool,
        /// Who changes it is heard: else no copy stays (C3).
        is_heard: bool,
    },
}

impl Fetched {
    /// Bytes of the value.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Fetched::Absent => 0,
            Fetched::Found { value, .. } => value.len(),
        }
    }
}

pub(super) type Outcome = Result<Fetched, Failure>;

/// Where one caller waits.
#[derive(Default)]
struct Slot {
    outcome: Mutex<Option<Outcome>>,
    come: Condvar,
}

impl Slot {
    fn outcome(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first answer counts: what fails later is not this caller's.
    fn put(&self, outcome: Outcome) {
        self.outcome().get_or_insert(outcome);
        self.come.notify_one();
    }

    fn wait(&self, until: Instant) -> Outcome {
        let mut outcome = self.outcome();
        loop {
            if let Some(outcome) = outcome.take() {
                return outcome;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::new("no answer in time"));
            }
            outcome = self.come.wait_timeout(outcome, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct Wanted {
    key: Vec<u8>,
    slot: Arc<Slot>,
}

/// Where one caller waits for many keys.
pub(super) struct WantedMany {
    slots: Vec<Arc<Slot>>,
    timeout: Duration,
    /// For the first of them.
    until: Instant,
}

impl WantedMany {
    /// Each may take the timeout after the one before it, so that long values have as much time as if they were asked for one by one; the
    /// first that takes longer ends the wait for the rest.
    pub(super) fn wait(self) -> Vec<Outcome> {
        let WantedMany { slots, timeout, mut until } = self;
        let wait = |slot: &Arc<Slot>| {
            let outcome = slot.wait(until);
            if outcome.is_ok() {
                until = moment_after(timeout);
            }
            outcome
        };
        slots.iter().map(wait).collect()
    }
}

#[derive(Default)]
struct Queue {
    wanted: VecDeque<Wanted>,
    /// The circuit is open until then, and why: nobody waits for a server that has just failed.
    refused: Option<(Instant, Failure)>,
    is_shut: bool,
}

impl Queue {
    fn want(&mut self, key: Vec<u8>) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        self.wanted.push_back(Wanted { key, slot: Arc::clone(&slot) });
        slot
    }
}

/// Where callers and the thread meet.
#[derive(Default)]
pub(super) struct Fetches {
    queue: Mutex<Queue>,
    come: Condvar,
}

impl Fetches {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread and everybody's waiting.
    pub(super) fn shut(&self) {
        let mut queue = self.queue();
        queue.is_shut = true;
        queue.wanted.drain(..).for_each(|wanted| wanted.slot.put(Err(Failure::new("the store is closed"))));
        self.come.notify_all();
    }

    /// What Redis holds for a key, by `until`.
    pub(super) fn fetch(&self, key: Vec<u8>, until: Instant) -> Outcome {
        let slot = self.open_queue()?.want(key);
        self.come.notify_one();
        slot.wait(until)
    }

    /// As `fetch`, for many keys: as many as `KEYS_MAX` are one question. The time for the first answer begins now, not when it is
    /// waited for: whoever asks several parts waits for one after the other.
    pub(super) fn want_many<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        timeout: Duration,
    ) -> Result<WantedMany, Failure> {
        let mut queue = self.open_queue()?;
        let slots = keys.map(|key| queue.want(key.to_vec())).collect();
        drop(queue);
        self.come.notify_one();
        Ok(WantedMany { slots, timeout, until: moment_after(timeout) })
    }

    /// Fails at once where nobody is to wait for an answer now.
    pub(super) fn check_open(&self) -> Result<(), Failure> {
        self.open_queue().map(drop)
    }

    /// The queue, unless nobody is to wait for an answer now.
    fn open_queue(&self) -> Result<MutexGuard<'_, Queue>, Failure> {
        let queue = self.queue();
        if queue.is_shut {
            return Err(Failure::new("the store is closed"));
        }
        match queue.refused.as_ref().filter(|(at, _)| Instant::now() < *at) {
            Some((_, why)) => Err(why.clone()),
            None => Ok(queue),
        }
    }

    /// The next keys; `None` when the store ends.
    fn take(&self) -> Option<Vec<Wanted>> {
        let mut queue = self.queue();
        loop {
            if queue.is_shut {
                return None;
            }
            if !queue.wanted.is_empty() {
                let count = queue.wanted.len().min(KEYS_MAX);
                return Some(queue.wanted.drain(..count).collect());
            }
            queue = self.come.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The thread that asks.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    conn: Option<Conn>,
    /// When its server was last known to be the one to ask.
    confirmed: Instant,
    backoff: Backoff,
}

impl Fetcher {
    pub(super) fn new(shared: Arc<Shared>) -> Fetcher {
        let backoff = Backoff::new(shared.options.backoff_max);
        Fetcher { conn: None, confirmed: Instant::now(), backoff, shared }
    }

    pub(super) fn run(mut self) {
        while let Some(wanted) = self.shared.fetches.take() {
            let asked = std::panic::AssertUnwindSafe(|| self.ask(&wanted));
            let asked = std::panic::catch_unwind(asked);
            match asked.unwrap_or_else(|_| Err(Failure::new("the thread that asks panicked"))) {
                Ok(()) => {
                    self.backoff.reset();
                    self.shared.fetches.queue().refused = None;
                }
                Err(failure) => self.refuse(&wanted, failure),
            }
        }
    }

    /// Opens the circuit: until the pause is over, whoever asks is told at once.
    fn refuse(&mut self, wanted: &[Wanted], failure: Failure) {
        self.conn = None;
        let at = moment_after(self.backoff.pause());
        let mut queue = self.shared.fetches.queue();
        let waiting = queue.wanted.drain(..).collect::<Vec<_>>();
        queue.refused = Some((at, failure.clone()));
        drop(queue);
        for wanted in wanted.iter().chain(&waiting) {
            wanted.slot.put(Err(failure.clone()));
        }
    }

    fn ask(&mut self, wanted: &[Wanted]) -> Result<(), Failure> {
        let mut left: Vec<&Wanted> = wanted.iter().collect();
        let kept = self.conn.take().filter(|conn| self.shared.servers.is_current(conn));
        let began = Instant::now();
        if let Some(conn) = kept.and_then(|conn| self.confirm(conn)) {
            match self.ask_on(conn, &mut left) {
                // One that the server had closed meanwhile says nothing about the server.
                Err(failure) if failure.is_cut || began.elapsed() < self.shared.options.timeout / 2 => {}
                result => return result,
            }
        }
        let conn = self.shared.connect()?;
        self.confirmed = Instant::now();
        self.ask_on(conn, &mut left)
    }

    /// A connection that stands, if its server is still the one to ask: nothing else tells who only asks.
    fn confirm(&mut self, mut conn: Conn) -> Option<Conn> {
        let servers = &self.shared.servers;
        if servers.are_demoted() && self.confirmed.elapsed() >= HEARTBEAT {
            let answer = conn.ask(&servers.sign_of_life()).ok()?;
            servers.check_life(&answer).ok()?;
            self.confirmed = Instant::now();
        }
        Some(conn)
    }

    /// Asks for what is `left`, which becomes less with each answer; answers come in any order.
    fn ask_on(&mut self, mut conn: Conn, left: &mut Vec<&Wanted>) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let keys: Vec<&[u8]> = left.iter().map(|one| one.key.as_slice()).collect();
        let mut open: Vec<Option<&Wanted>> = left.iter().copied().map(Some).collect();
        let is_heard = shared.is_heard(&conn);
        let mut moved = None;
        let mut given_away: Vec<(&Wanted, Failure)> = Vec::new();
        let asked = ask_all(&mut conn, &shared, &keys, None, |number, outcome| {
            let Some(place) = open.get_mut(number) else { return };
            match outcome {
                // It is asked for again, of the node that has it.
                Err(failure) if failure.is("MOVED") && shared.servers.is_cluster() => moved = Some(failure),
                Err(failure) if failure.is("ASK") && shared.servers.is_cluster() => {
                    given_away.extend(place.take().map(|one| (one, failure)));
                }
                outcome => shared.answer_open(place, outcome, is_heard),
            }
        });
        *left = open.into_iter().flatten().collect();
        self.ask_taker(conn.server(), &given_away);
        asked?;
        if let Some(failure) = moved {
            return Err(failure);
        }
        self.conn = Some(conn);
        Ok(())
    }

    /// Asks the node that is taking a slot over for keys that it has already, as each one's failure says.
    fn ask_taker(&mut self, from: ServerId, given_away: &[(&Wanted, Failure)]) {
        let Some((_, failure)) = given_away.first() else { return };
        let shared = Arc::clone(&self.shared);
        let moved = failure.moved.as_deref().unwrap_or_default();
        let mut open: Vec<Option<&Wanted>> = given_away.iter().map(|(one, _)| Some(*one)).collect();
        let asked = shared.connect_taker(from, moved).and_then(|mut conn| {
            let is_heard = shared.is_heard(&conn);
            let keys: Vec<&[u8]> = given_away.iter().map(|(one, _)| one.key.as_slice()).collect();
            ask_all(&mut conn, &shared, &keys, None, |number, outcome| {
                if let Some(place) = open.get_mut(number) {
                    shared.answer_open(place, outcome, is_heard);
                }
            })
        });
        if let Err(failure) = asked {
            open.iter().flatten().for_each(|one| one.slot.put(Err(failure.clone())));
        }
    }
}

impl Shared {
    /// Answers a caller, if he was not yet, with what was said on a connection that `is_heard` or not.
    fn answer_open(&self, open: &mut Option<&Wanted>, outcome: Outcome, is_heard: bool) {
        let Some(wanted) = open.take() else { return };
        if is_own(&wanted.key) {
            return wanted.slot.put(outcome);
        }
        // Relaxed: a figure.
        self.figures.fetches.fetch_add(1, Ordering::Relaxed);
        let mut decoded = outcome.and_then(|fetched| self.codec.decode(&wanted.key, fetched));
        if let Ok(Fetched::Found { is_heard: told, .. }) = &mut decoded {
            *told = is_heard;
        }
        wanted.slot.put(decoded);
    }
}

/// Asks for many keys at once. What comes is as Redis holds it; keys of hashes come last. Where a mark is `known`, nothing is taken
/// from a Redis that has lost it (K3), and that is the failure.
pub(super) fn ask_all(
    conn: &mut Conn,
    shared: &Shared,
    keys: &[&[u8]],
    known: Option<Mark>,
    mut take: impl FnMut(usize, Outcome),
) -> Result<(), Failure> {
    let mut hashes = Vec::new();
    ask_each(conn, shared, ("GET", keys), known, fetched, |number, outcome| {
        match keys.get(number).filter(|_| may_be_hash(shared, &outcome)) {
            Some(key) => hashes.push((number, *key)),
            None => take(number, outcome.map_err(no_value)),
        }
    })?;
    ask_hashes(conn, shared, &hashes, known, take)
}

/// Asks each of some keys a question. Of what may be long one answer is held at a time, until the mark behind it is seen.
pub(super) fn ask_each(
    conn: &mut Conn,
    shared: &Shared,
    (question, keys): (&str, &[&[u8]]),
    known: Option<Mark>,
    read: impl Fn(Value, u64) -> Outcome,
    mut take: impl FnMut(usize, Outcome),
) -> Result<(), Failure> {
    let mut commands = Vec::new();
    // That of EXEC comes behind those of MULTI, PTTL and the question.
    let answer_at = 3 + usize::from(conn.is_asking());
    let replies = answer_at + 1 + usize::from(known.is_some());
    for key in keys {
        let name = [&shared.options.prefix[..], key].concat();
        if conn.is_asking() {
            encode(&mut commands, &[b"ASKING"]);
        }
        // One transaction: the time of one value must not be taken for that of another.
        encode(&mut commands, &[b"MULTI"]);
        encode(&mut commands, &[b"PTTL", &name]);
        encode(&mut commands, &[question.as_bytes(), &name]);
        encode(&mut commands, &[b"EXEC"]);
        if known.is_some() {
            encode(&mut commands, &[b"GET", &shared.mark_key]);
        }
    }
    // Before Redis looks at its own clock: so the copy ends no later than what it is a copy of.
    let now_ms = shared.store.clock.now_ms();
    let (mut refused, mut held) = (None, None);
    let mut lost: Option<Failure> = None;
    conn.exchange(&commands, keys.len() * replies, shared.codec.string_bytes_max(), |number, reply| {
        let (number, place) = (number / replies, number % replies);
        match known {
            Some(known) if place > answer_at => {
                lost = lost.take().or_else(|| shared.check_mark(known, Mark::of(&reply)).err());
                if let (Some(outcome), None) = (held.take(), &lost) {
                    take(number, outcome);
                }
            }
            _ if place == answer_at => {
                let outcome = refused.take().map_or_else(|| read(reply, now_ms), Err);
                match known.filter(|_| outcome.is_ok()) {
                    Some(_) => held = Some(outcome),
                    None => take(number, outcome),
                }
            }
            _ if matches!(reply, Value::ServerError(_)) => {
                refused.get_or_insert_with(|| Failure::unexpected(question, &reply));
            }
            _ => {}
        }
    })?;
    lost.map_or(Ok(()), Err)
}

/// The deadline of what has so long to live, asked for at `now_ms`.
pub(super) fn left_of(ttl_ms: i64, now_ms: u64) -> u64 {
    u64::try_from(ttl_ms).map_or(0, |ttl_ms| now_ms.saturating_add(ttl_ms).max(1))
}

fn fetched(reply: Value, now_ms: u64) -> Outcome {
    let Value::Array(results) = reply else { return Err(Failure::unexpected("GET", &reply)) };
    match <[Value; 2]>::try_from(results) {
        Ok([Value::Int(ttl_ms), Value::BulkString(value)]) => {
            let expire_at_ms = left_of(ttl_ms, now_ms);
            Ok(Fetched::Found { value, expire_at_ms, is_encoded: true, is_heard: true })
        }
        Ok([Value::Int(_), Value::Nil]) => Ok(Fetched::Absent),
        Ok([_, other]) => Err(Failure::unexpected("GET", &other)),
        Err(_) => Err(Failure::new("GET: a reply of another kind than asked for")),
    }
}
