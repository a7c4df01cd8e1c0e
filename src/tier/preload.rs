//! Questions about all keys of a pattern, on a connection of the caller's own.

use super::conn::{encode, moment_after, Conn, Failure};
use super::fetch::{ask_all, left_of, Fetched};
use super::glob;
use super::mark::Mark;
use super::{tier_error, Part, Shared, Tier};
use crate::error::Result;
use crate::limits::KEY_BYTES_MAX;
use redis::Value;
use std::sync::Arc;

/// Keys that Redis looks at for one answer, about: bounds how long it serves nobody else.
const COUNT: &[u8] = b"512";
/// Bytes that the names in one answer may take.
const NAMES_BYTES_MAX: usize = 64 << 20;

/// Values up to this length, in the mean of a portion, are asked for together for the next one: the reply is held whole.
const SHORT_BYTES: usize = 8 << 10;
/// Bytes of such a reply, beside a little.
const TOGETHER_BYTES_MAX: usize = 16 << 20;

/// Keys that Redis names, and where the next ones are; 0: there are no more.
pub(crate) type Named = (Vec<Vec<u8>>, u64);

/// What came of a question.
pub(crate) struct Received {
    /// What Redis holds for each key, not decoded, `None` for what is no value; `None`: to be had with `fetch`.
    pub(crate) values: Option<Vec<Option<Fetched>>>,
    pub(crate) named: Option<Named>,
}

/// A question that is under way.
struct Question {
    /// Keys that were asked for together.
    together: Option<usize>,
    /// In the store's time, before Redis looked at its own.
    asked_ms: u64,
    /// What the mark was then.
    known: Option<Mark>,
    /// Names were asked for from here on.
    cursor: Option<u64>,
}

/// The keys of a pattern, in Redis and here.
///
/// Questions are sent ahead: Redis looks for the values of one portion, and for the names of the next, while those of the portion
/// before are kept here. Short values are asked for together, in one transaction as the value of a single key is.
pub(crate) struct Scanning {
    shared: Arc<Shared>,
    conn: Conn,
    pattern: Vec<u8>,
    /// The values that came last were short. Those of the first portion are not known to be.
    is_short: bool,
    question: Option<Question>,
}

impl Tier {
    /// Goes through the keys of one shard.
    pub(crate) fn scanning(&self, shard: usize, pattern: &[u8]) -> Result<Scanning> {
        self.part(shard).scanning(pattern)
    }

    pub(crate) fn shards(&self) -> usize {
        self.parts.len()
    }
}

impl Part {
    /// # Errors
    /// [`Error::Tier`](crate::Error::Tier) when Redis cannot be reached, or no copies are kept because changes are not heard.
    fn scanning(&self, pattern: &[u8]) -> Result<Scanning> {
        let shared = Arc::clone(&self.shared);
        let until = moment_after(shared.options.timeout);
        shared
            .wait_copies_kept(until)
            .and_then(|()| shared.wait_mark(until))
            .map_err(|failure| tier_error(&failure))?;
        let conn = shared.connect().map_err(|failure| tier_error(&failure))?;
        Ok(Scanning { shared, conn, pattern: pattern.to_vec(), is_short: false, question: None })
    }

    /// The value for what Redis holds; `None` for what cannot be decoded: the logger is told.
    pub(crate) fn decode(&self, key: &[u8], fetched: Fetched) -> Option<Fetched> {
        let decoded = self.shared.codec.decode(key, fetched);
        decoded.map_err(|failure| self.note(&format!("not copied: {}", failure.reason))).ok()
    }

    /// Whether what Redis holds, not decoded, is what stands here.
    pub(crate) fn is_same(&self, key: &[u8], here: &[u8], there: &Fetched) -> bool {
        match there {
            Fetched::Found { value, is_encoded, .. } => {
                self.shared.codec.is_same(key, here, value, *is_encoded)
            }
            Fetched::Absent => false,
        }
    }

    /// Whether Redis cannot have a value: then it stands here alone.
    pub(crate) fn cannot_have(&self, key: &[u8], value: &[u8]) -> bool {
        self.shared.codec.encode(key, value).is_err()
    }
}

impl Scanning {
    /// Some of the keys of the pattern, some perhaps twice, and some that hold what is no value.
    pub(crate) fn scan(&mut self, cursor: u64) -> Result<Named> {
        self.ask(std::iter::empty(), Some(cursor))?;
        Ok(self.receive()?.named.unwrap_or_default())
    }

    /// Asks what Redis holds for keys, and, if `next` says from where on, which keys come next.
    pub(crate) fn ask<'k>(
        &mut self,
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
        next: Option<u64>,
    ) -> Result<()> {
        self.try_ask(keys, next).map_err(|failure| tier_error(&failure))
    }

    fn try_ask<'k>(
        &mut self,
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
        next: Option<u64>,
    ) -> std::result::Result<(), Failure> {
        let Shared { options, codec, store, .. } = &*self.shared;
        let prefix = &options.prefix[..];
        let together = (self.is_short && codec.takes_strings_only()).then_some(keys.len());
        let together = together.filter(|count| *count > 0);
        let mut commands = Vec::new();
        if together.is_some() {
            let names: Vec<Vec<u8>> = keys.map(|key| [prefix, key].concat()).collect();
            let mget = std::iter::once(&b"MGET"[..]).chain(names.iter().map(Vec::as_slice));
            encode(&mut commands, &[b"MULTI"]);
            // The times first: a value that ends in between, where time goes on within a transaction, is absent and not without end.
            names.iter().for_each(|name| encode(&mut commands, &[b"PTTL", name]));
            encode(&mut commands, &mget.collect::<Vec<_>>());
            encode(&mut commands, &[b"EXEC"]);
            encode(&mut commands, &[b"GET", &self.shared.mark_key]);
        }
        if let Some(cursor) = next {
            let pattern = [&glob::literal(prefix), &self.pattern[..]].concat();
            let cursor = cursor.to_string();
            encode(&mut commands, &[b"SCAN", cursor.as_bytes(), b"MATCH", &pattern, b"COUNT", COUNT]);
        }
        let asked_ms = store.clock.now_ms();
        self.question = Some(Question { together, asked_ms, known: self.shared.mark(), cursor: next });
        self.shared.check_heard(&self.conn)?;
        self.conn.send(&commands).map(drop)
    }

    /// What came of the question before.
    pub(crate) fn receive(&mut self) -> Result<Received> {
        self.try_receive().map_err(|failure| tier_error(&failure))
    }

    fn try_receive(&mut self) -> std::result::Result<Received, Failure> {
        let nothing = Received { values: None, named: None };
        let Some(question) = self.question.take() else { return Ok(nothing) };
        match (self.answers(&question), question.together) {
            // A few long values among short ones are more than a reply may hold.
            (Err(failure), Some(_)) if failure.is_too_large => {
                self.conn = self.shared.connect()?;
                self.is_short = false;
                self.try_ask(std::iter::empty(), question.cursor)?;
                self.question.take().map_or(Ok(nothing), |again| self.answers(&again))
            }
            (answers, _) => answers,
        }
    }

    fn answers(&mut self, question: &Question) -> std::result::Result<Received, Failure> {
        let mut received = Received { values: None, named: None };
        if let Some(count) = question.together {
            // Those of MULTI, each PTTL, MGET, and EXEC.
            let replies = count + 3;
            let mut last = Value::Nil;
            self.conn.receive(self.conn.deadline(0), replies, TOGETHER_BYTES_MAX, |_, reply| last = reply)?;
            let mut mark = Value::Nil;
            self.conn.receive(self.conn.deadline(0), 1, 0, |_, reply| mark = reply)?;
            if let Some(known) = question.known {
                self.shared.check_mark(known, Mark::of(&mark))?;
            }
            // Where Redis refuses, as while a slot moves, each key is asked for by itself, and says why.
            received.values = values(last, count, question.asked_ms);
            self.is_short = received.values.as_deref().is_some_and(are_short);
        }
        if question.cursor.is_some() {
            let mut reply = Value::Nil;
            self.conn.receive(self.conn.deadline(0), 1, NAMES_BYTES_MAX, |_, value| reply = value)?;
            received.named = Some(self.named(reply)?);
        }
        Ok(received)
    }

    fn named(&self, reply: Value) -> std::result::Result<Named, Failure> {
        let parts = match reply {
            Value::Array(parts) => <[Value; 2]>::try_from(parts).ok(),
            other => return Err(Failure::unexpected("SCAN", &other)),
        };
        let Some([Value::BulkString(next), Value::Array(names)]) = parts else {
            return Err(Failure::new("SCAN: a reply of another kind than asked for"));
        };
        let next = std::str::from_utf8(&next).ok().and_then(|text| text.parse().ok());
        let next = next.ok_or_else(|| Failure::new("SCAN: a cursor that is no number"))?;
        let prefix = &self.shared.options.prefix[..];
        let keys = names.into_iter().filter_map(|name| match name {
            Value::BulkString(name) => {
                let key = name.strip_prefix(prefix)?;
                (key.len() <= KEY_BYTES_MAX && self.shared.is_of(key)).then(|| key.to_vec())
            }
            _ => None,
        });
        Ok((keys.collect(), next))
    }

    /// What Redis holds for keys, one after the other as it comes, if it has lost nothing of what it was told.
    pub(crate) fn fetch(
        &mut self,
        keys: &[&[u8]],
        mut take: impl FnMut(usize, Option<Fetched>) -> Result<()>,
    ) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.shared.check_heard(&self.conn).map_err(|failure| tier_error(&failure))?;
        let (mut failed, mut bytes) = (None, 0);
        let asked = ask_all(&mut self.conn, &self.shared, keys, self.shared.mark(), |number, outcome| {
            let fetched = match outcome {
                Ok(fetched) => Ok(Some(fetched)),
                Err(failure) if failure.code.as_deref() == Some("WRONGTYPE") => Ok(None),
                Err(failure) => Err(tier_error(&failure)),
            };
            bytes += fetched.as_ref().map_or(0, |fetched| fetched.as_ref().map_or(0, Fetched::bytes));
            // The first failure ends it; what comes after is read all the same.
            if failed.is_none() {
                failed = fetched.and_then(|fetched| take(number, fetched)).err();
            }
        });
        asked.map_err(|failure| tier_error(&failure))?;
        self.is_short = bytes <= keys.len() * SHORT_BYTES;
        failed.map_or(Ok(()), Err)
    }

    /// Numbers of the keys that Redis does not hold, for certain: not because it has lost what it was told.
    pub(crate) fn absent(&mut self, keys: &[&[u8]]) -> Result<Vec<usize>> {
        self.try_absent(keys).map_err(|failure| tier_error(&failure))
    }

    fn try_absent(&mut self, keys: &[&[u8]]) -> std::result::Result<Vec<usize>, Failure> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.shared.mark();
        let name = |key: &[u8]| [&self.shared.options.prefix[..], key].concat();
        let names: Vec<Vec<u8>> = keys.iter().map(|key| name(key)).collect();
        let all = std::iter::once(&b"EXISTS"[..]).chain(names.iter().map(Vec::as_slice));
        let all = self.conn.ask(&all.collect::<Vec<_>>())?;
        if i64::try_from(keys.len()).is_ok_and(|count| all == Value::Int(count)) {
            return Ok(Vec::new());
        }
        // Some are absent, or Redis refuses to say it of all at once, as while a slot moves.
        let mut commands = Vec::new();
        names.iter().for_each(|name| encode(&mut commands, &[b"EXISTS", name]));
        let mut absent = Vec::new();
        let mut failed = None;
        self.conn.exchange(&commands, keys.len(), 0, |number, reply| match reply {
            Value::Int(0) => absent.push(number),
            Value::Int(_) => {}
            other => failed = Some(Failure::unexpected("EXISTS", &other)),
        })?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        self.shared.check_kept(&mut self.conn, known)?;
        Ok(absent)
    }
}

/// What Redis holds for each of `count` keys that were asked for together; `None` if it does not say.
fn values(reply: Value, count: usize, asked_ms: u64) -> Option<Vec<Option<Fetched>>> {
    let Value::Array(mut results) = reply else { return None };
    if results.len() != count + 1 {
        return None;
    }
    let Some(Value::Array(values)) = results.pop() else { return None };
    if values.len() != count {
        return None;
    }
    let value = |(value, ttl)| match (value, ttl) {
        (Value::BulkString(value), Value::Int(ttl_ms)) => {
            let expire_at_ms = left_of(ttl_ms, asked_ms);
            Some(Some(Fetched::Found { value, expire_at_ms, is_encoded: true, is_heard: true }))
        }
        // Nothing, or no string.
        (Value::Nil, Value::Int(_)) => Some(None),
        _ => None,
    };
    values.into_iter().zip(results).map(value).collect()
}

fn are_short(values: &[Option<Fetched>]) -> bool {
    values.iter().flatten().map(Fetched::bytes).sum::<usize>() <= values.len() * SHORT_BYTES
}
