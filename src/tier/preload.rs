//! Questions about all keys of a pattern, on a connection of the caller's own.

use super::conn::{encode, moment_after, Conn, Failure};
use super::fetch::{ask_all, Fetched};
use super::glob;
use super::mark::{is_own, Mark};
use super::{tier_error, Shared, Tier};
use crate::error::Result;
use crate::limits::KEY_BYTES_MAX;
use redis::Value;
use std::sync::Arc;

/// Keys that Redis looks at for one answer, about: bounds how long it serves nobody else.
const COUNT: &[u8] = b"512";
/// Bytes that the names in one answer may take.
const NAMES_BYTES_MAX: usize = 64 << 20;

/// The keys of a pattern, in Redis and here.
pub(crate) struct Scanning {
    shared: Arc<Shared>,
    conn: Conn,
    pattern: Vec<u8>,
}

impl Tier {
    /// # Errors
    /// [`Error::Tier`](crate::Error::Tier) when Redis cannot be reached, or no copies are kept because changes are not heard.
    pub(crate) fn scanning(&self, pattern: &[u8]) -> Result<Scanning> {
        let shared = Arc::clone(&self.shared);
        let until = moment_after(shared.options.timeout);
        shared
            .wait_copies_kept(until)
            .and_then(|()| shared.wait_mark(until))
            .map_err(|failure| tier_error(&failure))?;
        let conn = shared.connect().map_err(|failure| tier_error(&failure))?;
        Ok(Scanning { shared, conn, pattern: pattern.to_vec() })
    }

    /// The value for what Redis holds; `None` for what cannot be decoded: the logger is told.
    pub(crate) fn decode(&self, key: &[u8], fetched: Fetched) -> Option<Fetched> {
        let Shared { codec, store, .. } = &*self.shared;
        let decoded = codec.decode(key, fetched);
        decoded.map_err(|failure| store.say(&format!("tier: not copied: {}", failure.reason))).ok()
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
    pub(crate) fn is_meant(&self, key: &[u8]) -> bool {
        glob::matches(&self.pattern, key)
    }

    /// Some of the keys of the pattern that Redis holds as values can be, some perhaps twice, and where the next ones are.
    pub(crate) fn scan(&mut self, cursor: u64) -> Result<(Vec<Vec<u8>>, u64)> {
        self.try_scan(cursor).map_err(|failure| tier_error(&failure))
    }

    fn try_scan(&mut self, cursor: u64) -> std::result::Result<(Vec<Vec<u8>>, u64), Failure> {
        let prefix = &self.shared.options.prefix;
        let pattern = [&glob::literal(prefix), &self.pattern[..]].concat();
        let cursor = cursor.to_string();
        let mut command = Vec::new();
        let mut args: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes(), b"MATCH", &pattern, b"COUNT", COUNT];
        if self.shared.options.hashes.is_none() {
            args.extend([&b"TYPE"[..], b"string"]);
        }
        encode(&mut command, &args);
        let mut reply = Value::Nil;
        self.conn.exchange(&command, 1, NAMES_BYTES_MAX, |_, value| reply = value)?;
        let parts = match reply {
            Value::Array(parts) => <[Value; 2]>::try_from(parts).ok(),
            other => return Err(Failure::unexpected("SCAN", &other)),
        };
        let Some([Value::BulkString(next), Value::Array(names)]) = parts else {
            return Err(Failure::new("SCAN: a reply of another kind than asked for"));
        };
        let next = std::str::from_utf8(&next).ok().and_then(|text| text.parse().ok());
        let next = next.ok_or_else(|| Failure::new("SCAN: a cursor that is no number"))?;
        let keys = names.into_iter().filter_map(|name| match name {
            Value::BulkString(name) => {
                let key = name.strip_prefix(&prefix[..])?;
                (key.len() <= KEY_BYTES_MAX && !is_own(key)).then(|| key.to_vec())
            }
            _ => None,
        });
        Ok((keys.collect(), next))
    }

    /// What Redis holds for keys, not decoded, if it has lost nothing of what it was told; `None` for what is no value.
    pub(crate) fn fetch(
        &mut self,
        keys: &[&[u8]],
        mut take: impl FnMut(usize, Option<Fetched>) -> Result<()>,
    ) -> Result<()> {
        self.shared.check_heard(&self.conn).map_err(|failure| tier_error(&failure))?;
        let known = self.shared.mark();
        let mut said = Vec::new();
        ask_all(&mut self.conn, &self.shared, keys, |number, outcome| said.push((number, outcome)))
            .and_then(|()| Mark::check_kept(&mut self.conn, &self.shared.mark_key, known))
            .map_err(|failure| tier_error(&failure))?;
        for (number, outcome) in said {
            match outcome {
                Ok(fetched) => take(number, Some(fetched))?,
                Err(failure) if failure.code.as_deref() == Some("WRONGTYPE") => take(number, None)?,
                Err(failure) => return Err(tier_error(&failure)),
            }
        }
        Ok(())
    }

    /// Which of the keys Redis does not hold, for certain: not because it has lost what it was told.
    pub(crate) fn absent<'k>(&mut self, keys: &[&'k [u8]]) -> Result<Vec<&'k [u8]>> {
        self.try_absent(keys).map_err(|failure| tier_error(&failure))
    }

    fn try_absent<'k>(&mut self, keys: &[&'k [u8]]) -> std::result::Result<Vec<&'k [u8]>, Failure> {
        let known = self.shared.mark();
        let mut commands = Vec::new();
        for key in keys {
            encode(&mut commands, &[b"EXISTS", &[&self.shared.options.prefix[..], key].concat()]);
        }
        let mut absent = Vec::new();
        let mut failed = None;
        self.conn.exchange(&commands, keys.len(), 0, |number, reply| match (keys.get(number), reply) {
            (Some(key), Value::Int(0)) => absent.push(*key),
            (_, Value::Int(_)) => {}
            (_, other) => failed = Some(Failure::unexpected("EXISTS", &other)),
        })?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        Mark::check_kept(&mut self.conn, &self.shared.mark_key, known)?;
        Ok(absent)
    }
}
