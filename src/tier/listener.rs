//! The thread that hears what others change, so that copies do not grow old.
//!
//! Redis tells this thread's connection of every key under the prefix that any client has changed, but for the connection that
//! sends this store's own changes (`CLIENT TRACKING … BCAST … NOLOOP`, asked for by that connection and redirected here). Both
//! connections are asked for a sign of life each `HEARTBEAT`: what is not heard because one of them is gone is known after that
//! and the timeout. A server that cannot do this is listened to by its keyspace notifications (`notices`); one that does not send
//! those either is compared with from time to time, where that is asked for.

use super::backoff::Backoff;
use super::conn::{moment_after, Conn, Failure};
use super::fetch::{ask_all, Fetched};
use super::notices::{self, is_lacking};
use super::{Ear, Shared};
use crate::index::Cursor;
use crate::tier_options::{WhenDeaf, Writes};
use redis::{PushKind, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);
/// For how long a connection is kept that compares: a server may close one that idles.
const SPARE_FOR: Duration = Duration::from_secs(2);
/// Notifications that are taken between two looks at everything else.
const NOTICES_AT_ONCE: usize = 1024;
/// By how much a deadline of this store's may be earlier in Redis: carried over and read back, it comes too early by what the answers
/// take.
const CARRIED_EARLY_MS: u64 = 1000;
/// Keys that are compared with Redis between two looks at what came.
const COMPARED_AT_ONCE: usize = 256;

pub(super) struct Listener {
    shared: Arc<Shared>,
    when_deaf: WhenDeaf,
    backoff: Backoff,
    turn: u64,
    /// The logger was told that the server cannot tell what changes as it should.
    has_said: bool,
}

/// How changes by others become known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tracking(Ear),
    Notices,
    /// By comparing alone.
    Resync,
}

impl Listener {
    pub(super) fn new(shared: Arc<Shared>, when_deaf: WhenDeaf) -> Listener {
        Listener {
            backoff: Backoff::new(shared.options.backoff_max),
            shared,
            when_deaf,
            turn: 0,
            has_said: false,
        }
    }

    pub(super) fn run(mut self) {
        if self.when_deaf == WhenDeaf::Drop {
            // Nobody heard what happened to those of an earlier run.
            self.shared.drop_copies();
        }
        while !self.shared.is_stopping() {
            let heard = std::panic::AssertUnwindSafe(|| self.hear());
            let heard = std::panic::catch_unwind(heard);
            let failed = heard.unwrap_or_else(|_| Err(Failure::new("the thread that hears panicked")));
            let Err(failure) = failed else { return };
            self.go_deaf(&failure);
            self.shared.pause(self.backoff.pause());
        }
    }

    fn go_deaf(&self, failure: &Failure) {
        let shared = &self.shared;
        shared.want_told(None);
        // What a close interrupts has not failed.
        if !shared.set_hearing(false) || shared.is_stopping() {
            return;
        }
        shared.say(&format!("changes by others are not heard: {}", failure.reason));
        if self.when_deaf == WhenDeaf::Drop && shared.settle_loads() {
            shared.drop_copies();
        }
    }

    /// Hears until the store ends, or something fails.
    fn hear(&mut self) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let mut conn = shared.connect()?;
        let way = self.find_way(&mut conn)?;
        // Loads that asked before anything was heard.
        if !shared.settle_loads() {
            return Ok(());
        }
        shared.set_hearing(true);
        self.backoff.reset();
        let mut comparison = Some(Comparison::of_all(&shared)?);
        let mut compared = Instant::now();
        // Where every change of this store's own is compared too, not each with a connection of its own.
        let mut spare: Option<(Comparison, Instant)> = None;
        let (mut asked, mut taken) = (None, 0);
        let mut said = Instant::now();
        while !shared.is_stopping() {
            if matches!(way, Way::Tracking(ear) if !shared.is_told(ear)) {
                return Err(Failure::new("the connection that sends was lost"));
            }
            if !shared.servers.is_current(&conn) {
                return Err(Failure::new("another server was found"));
            }
            let left = shared.options.resync_every.map(|every| every.saturating_sub(compared.elapsed()));
            if comparison.is_none() && left.is_some_and(|left| left.is_zero()) {
                comparison = Some(Comparison::of_all(&shared)?);
                compared = Instant::now();
            }
            let is_busy = comparison.is_some() || !shared.unsure().is_empty();
            let wait = if is_busy {
                Duration::from_millis(1)
            } else {
                left.map_or(HEARTBEAT, |left| left.min(HEARTBEAT))
            };
            match conn.hear(wait)? {
                Some(Value::Push { kind: PushKind::Invalidate, data }) => self.take(data),
                Some(Value::Push { kind: PushKind::PMessage, data }) => {
                    notices::take(&shared, data);
                    taken += 1;
                    // As many as are compared at once, if they come one after another.
                    if taken < NOTICES_AT_ONCE && shared.unsure().len() < COMPARED_AT_ONCE {
                        continue;
                    }
                }
                Some(Value::Push { .. }) => {}
                Some(answer) => {
                    shared.servers.check_life(&answer)?;
                    asked = None;
                }
                // Not after a message: who speaks lives, and the answer may come next.
                None if asked.is_some_and(|at: Instant| at.elapsed() > shared.options.timeout) => {
                    return Err(Failure::new("no answer in time"));
                }
                None => {}
            }
            if asked.is_none() && said.elapsed() >= HEARTBEAT {
                conn.say(&shared.servers.sign_of_life())?;
                said = Instant::now();
                asked = Some(said);
            }
            taken = 0;
            let unsure = shared.take_unsure();
            if !unsure.is_empty() {
                let lent = spare.take().filter(|(_, at)| at.elapsed() < SPARE_FOR).map(|(spare, _)| spare);
                let compared = comparison.take().or(lent);
                let compared = compared.map_or_else(|| Comparison::of_none(&shared), Ok)?;
                comparison.insert(compared).waiting.extend(unsure);
            }
            if let Some(mut compared) = comparison.take() {
                match compared.step(&shared)? {
                    true => comparison = Some(compared),
                    false => spare = (way == Way::Notices).then(|| (compared, Instant::now())),
                }
            }
        }
        Ok(())
    }

    /// The best way of knowing what others change that the server has.
    fn find_way(&mut self, conn: &mut Conn) -> Result<Way, Failure> {
        let shared = Arc::clone(&self.shared);
        let lacking = match self.try_tracking(conn) {
            Ok(ear) => return Ok(Way::Tracking(ear)),
            Err(failure) if is_lacking(&failure) => failure,
            Err(failure) => return Err(failure),
        };
        // A connection of its own: what was not answered comes on this one.
        let mut subscribed = shared.connect()?;
        let (way, how) = match notices::subscribe(&shared, &mut subscribed) {
            Ok(()) => {
                *conn = subscribed;
                (Way::Notices, "keyspace notifications")
            }
            Err(_) if shared.is_stopping() => return Err(lacking),
            Err(_) if shared.options.resync_every.is_some() => (Way::Resync, "comparing alone"),
            Err(failure) => {
                return Err(Failure::new(format!("{}; {}", lacking.reason, failure.reason)));
            }
        };
        if !std::mem::replace(&mut self.has_said, true) {
            shared.say(&format!("changes by others are known by {how}: {}", lacking.reason));
        }
        Ok(way)
    }

    /// Whether the server can track at all is asked here: the connection that sends shall not fail for it.
    fn try_tracking(&mut self, conn: &mut Conn) -> Result<Ear, Failure> {
        let mut args: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
        args.extend(prefix_args(&self.shared.options.prefix));
        conn.ask_ok(&args)?;
        if self.shared.options.writes != Writes::Refused {
            conn.ask_ok(&[b"CLIENT", b"TRACKING", b"OFF"])?;
        }
        self.be_told(conn)
    }

    /// Has the changes of others told to this connection.
    fn be_told(&mut self, conn: &mut Conn) -> Result<Ear, Failure> {
        self.turn += 1;
        let shared = &self.shared;
        let id = match conn.ask(&[b"CLIENT", b"ID"])? {
            Value::Int(id) if id > 0 => id,
            other => return Err(Failure::unexpected("CLIENT ID", &other)),
        };
        let ear = Ear { server: conn.server(), id, turn: self.turn };
        shared.want_told(Some(ear));
        if shared.options.writes == Writes::Refused {
            // It tells this one already.
            shared.note_told(Some(ear));
            return Ok(ear);
        }
        shared.moved.wake();
        shared.wait_told(ear, moment_after(shared.options.timeout.saturating_mul(2)))?;
        Ok(ear)
    }

    /// Keys that were changed; nothing means all.
    fn take(&self, data: Vec<Value>) {
        let prefix = &self.shared.options.prefix[..];
        match data.into_iter().next() {
            Some(Value::Array(keys)) => {
                for key in keys {
                    let Value::BulkString(name) = key else { continue };
                    if let Some(key) = name.strip_prefix(prefix).filter(|key| self.shared.is_of(key)) {
                        self.shared.hear_of(key);
                    }
                }
            }
            _ => {
                self.shared.store.loads.note_all_elsewhere();
                self.shared.drop_all();
            }
        }
    }
}

/// How a prefix is said to `CLIENT TRACKING`; without one, all keys are meant.
pub(super) fn prefix_args(prefix: &[u8]) -> Vec<&[u8]> {
    if prefix.is_empty() {
        return Vec::new();
    }
    vec![b"PREFIX", prefix]
}

/// Compares what stands here and was sent, or came from there, with what Redis holds: for what was not heard, and for what was
/// changed here at the same time.
struct Comparison {
    conn: Conn,
    /// Over all keys, as far as they are not waiting.
    cursor: Option<Cursor>,
    waiting: Vec<Vec<u8>>,
}

impl Comparison {
    fn of_none(shared: &Shared) -> Result<Comparison, Failure> {
        Ok(Comparison { conn: shared.connect()?, cursor: None, waiting: Vec::new() })
    }

    fn of_all(shared: &Shared) -> Result<Comparison, Failure> {
        let cursor = shared.store.index.cursor(&crossbeam_epoch::pin());
        Ok(Comparison { cursor: Some(cursor), ..Comparison::of_none(shared)? })
    }

    /// Compares a portion; whether there is more.
    fn step(&mut self, shared: &Shared) -> Result<bool, Failure> {
        let store = &*shared.store;
        while let Some(cursor) = self.cursor.as_mut().filter(|_| self.waiting.len() < COMPARED_AT_ONCE) {
            let guard = crossbeam_epoch::pin();
            let waiting = &mut self.waiting;
            if !cursor.step(&store.map(&guard), |_, (_, view)| {
                if shared.shard.holds(view.key) {
                    waiting.push(view.key.to_vec());
                }
            }) {
                self.cursor = None;
            }
        }
        let rest = self.waiting.len().saturating_sub(COMPARED_AT_ONCE);
        let portion = self.waiting.split_off(rest);
        let known = shared.mark();
        shared.check_heard(&self.conn)?;
        // What is unsent now comes to Redis after what it holds now.
        let chosen: Vec<(&[u8], u64)> =
            portion.iter().filter_map(|key| Some((key.as_slice(), sent_version(shared, key)?))).collect();
        let differ = self.ask(shared, &chosen)?;
        shared.check_kept(&mut self.conn, known)?;
        differ.into_iter().for_each(|key| shared.hear_of(key));
        Ok(self.cursor.is_some() || !self.waiting.is_empty())
    }

    /// Those of the keys, with the version that was looked at, for which Redis holds something else.
    fn ask<'k>(&mut self, shared: &Shared, chosen: &[(&'k [u8], u64)]) -> Result<Vec<&'k [u8]>, Failure> {
        let keys: Vec<&[u8]> = chosen.iter().map(|(key, _)| *key).collect();
        let mut differ: Vec<&[u8]> = Vec::new();
        let mut failed = None;
        ask_all(&mut self.conn, shared, &keys, None, |number, outcome| {
            let Some((key, version)) = chosen.get(number).copied() else { return };
            match outcome {
                Ok(there) if is_same(shared, key, version, &there) => {}
                Ok(_) => differ.push(key),
                // It is no string any more.
                Err(failure) if failure.code.as_deref() == Some("WRONGTYPE") => differ.push(key),
                Err(failure) => failed = Some(failure),
            }
        })?;
        failed.map_or(Ok(differ), Err)
    }
}

/// Version of a value that Redis has been told of, or has told.
fn sent_version(shared: &Shared, key: &[u8]) -> Option<u64> {
    let guard = crossbeam_epoch::pin();
    let seen = shared.store.look(key, &guard);
    seen.live.filter(|_| !shared.store.has_unsent(&seen)).map(|view| view.lsn)
}

/// Whether Redis holds what stands here, for no shorter; or something newer stands here by now.
fn is_same(shared: &Shared, key: &[u8], version: u64, there: &Fetched) -> bool {
    let store = &*shared.store;
    let (here, expires_here_ms, is_copy) = {
        let guard = crossbeam_epoch::pin();
        let seen = store.look(key, &guard);
        let Some(view) = seen.live.filter(|view| view.lsn == version) else { return true };
        // One that cannot be read is as good as another.
        let Ok(here) = store.value_seen(&seen) else { return false };
        (here.into_owned(), view.expire_at_ms, seen.is_from_tier())
    };
    match there {
        // What Redis cannot have stands here alone.
        Fetched::Absent => !is_copy && shared.codec.encode(key, &here).is_err(),
        Fetched::Found { value, expire_at_ms, is_encoded, .. } => {
            // What this store knows alone when Redis loses it must not go for the moments by which Redis was told it ends too early.
            let early_ms = if is_copy { 0 } else { CARRIED_EARLY_MS };
            let there_ms = expire_at_ms.saturating_add(early_ms);
            let lasts = *expire_at_ms == 0 || (expires_here_ms != 0 && expires_here_ms <= there_ms);
            lasts && shared.codec.is_same(key, &here, value, *is_encoded)
        }
    }
}
