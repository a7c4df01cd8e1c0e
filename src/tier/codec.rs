//! Values on their way: what Redis is given for one, and the value for what Redis holds.
//!
//! What the user's encoder fails for, or panics with, is a failure of that value alone. It is never called under a guard: it may
//! take its time.

use super::conn::{Conn, Failure};
use super::fetch::{ask_each, left_of, Fetched, Outcome};
use super::mark::Mark;
use super::{Shared, REDIS_VALUE_BYTES_MAX};
use crate::options::Options;
use crate::tier_options::{Encoder, Hashes, TierOptions};
use redis::Value;
use std::borrow::Cow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// How much longer than a value what stands for it may be: text of a MessagePack byte takes six, and a comma.
const GROWTH_MAX: usize = 8;
/// What failures of a value begin with: those are told also where a Redis that cannot be asked is a miss.
const OF_VALUE: &str = "what Redis holds for the key";

/// Whether it is the value that is at fault, and not Redis.
pub(super) fn is_of_value(reason: &str) -> bool {
    reason.starts_with(OF_VALUE)
}

pub(super) struct Codec {
    encoder: Option<Arc<dyn Encoder>>,
    hashes: Option<Hashes>,
    value_bytes_max: usize,
}

impl Codec {
    pub(super) fn new(options: &Options, tier: &TierOptions) -> Codec {
        Codec {
            encoder: tier.encoder.clone(),
            hashes: tier.hashes,
            value_bytes_max: options.value_bytes_max as usize,
        }
    }

    /// Values stand in Redis as they are.
    pub(super) fn is_raw(&self) -> bool {
        self.encoder.is_none()
    }

    /// What is no string is no value.
    pub(super) fn takes_strings_only(&self) -> bool {
        self.hashes.is_none()
    }

    /// Bytes that the string for a value may take.
    pub(super) fn string_bytes_max(&self) -> usize {
        match self.is_raw() {
            true => self.value_bytes_max,
            false => self.value_bytes_max.saturating_mul(GROWTH_MAX).min(REDIS_VALUE_BYTES_MAX),
        }
    }

    /// What Redis is given for a value, or why it cannot have it.
    pub(super) fn encode<'v>(&self, key: &[u8], value: &'v [u8]) -> Result<Cow<'v, [u8]>, String> {
        let string = match &self.encoder {
            None => Cow::Borrowed(value),
            Some(encoder) => Cow::Owned(call(|| encoder.encode(key, value))?),
        };
        match string.len() {
            0..=REDIS_VALUE_BYTES_MAX => Ok(string),
            len => Err(format!("{len} bytes are too long for Redis")),
        }
    }

    /// The value for a string of Redis'.
    pub(super) fn decode_string(&self, key: &[u8], string: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let Some(encoder) = &self.encoder else { return Ok(string) };
        let decoded = call(|| encoder.decode(key, &string, self.value_bytes_max));
        let decoded = decoded.and_then(|value| match value.len() <= self.value_bytes_max {
            true => Ok(value),
            false => Err(format!("{} bytes are longer than a value may be", value.len())),
        });
        decoded.map_err(|reason| {
            let (key, len) = (key.len(), string.len());
            Failure::new(format!(
                "{OF_VALUE} (of {key} bytes) cannot be decoded from its {len} bytes: {reason}"
            ))
        })
    }

    /// The same of what was asked for.
    pub(super) fn decode(&self, key: &[u8], fetched: Fetched) -> Outcome {
        match fetched {
            Fetched::Found { value, expire_at_ms, is_encoded: true, is_heard } => {
                let value = self.decode_string(key, value)?;
                Ok(Fetched::Found { value, expire_at_ms, is_encoded: false, is_heard })
            }
            fetched => Ok(fetched),
        }
    }

    /// Whether what Redis holds is what stands here: one value may have several forms there, and one form several here.
    pub(super) fn is_same(&self, key: &[u8], here: &[u8], there: &[u8], is_encoded: bool) -> bool {
        if self.is_raw() || !is_encoded {
            return here == there;
        }
        self.encode(key, here).is_ok_and(|string| *string == *there)
            || self.decode_string(key, there.to_vec()).is_ok_and(|value| value == here)
    }
}

/// What the user's code gives, whatever it does.
fn call(
    encoder: impl FnOnce() -> Result<Vec<u8>, crate::tier_options::EncoderError>,
) -> Result<Vec<u8>, String> {
    // The error's text too is the user's code.
    let called = catch_unwind(AssertUnwindSafe(|| encoder().map_err(|error| error.to_string())));
    called.unwrap_or_else(|_| Err("the encoder panicked".into()))
}

/// Whether a key holds what is no string and may be a hash.
pub(super) fn may_be_hash(shared: &Shared, outcome: &Outcome) -> bool {
    shared.codec.hashes.is_some()
        && matches!(outcome, Err(failure) if failure.code.as_deref() == Some("WRONGTYPE"))
}

/// A key holds what is no value.
pub(super) fn no_value(failure: Failure) -> Failure {
    match failure.code.as_deref() {
        Some("WRONGTYPE") => {
            Failure { reason: format!("{OF_VALUE} is no string: {}", failure.reason), ..failure }
        }
        _ => failure,
    }
}

/// Asks for keys that hold no strings as hashes. Those that come after a failure are not answered.
pub(super) fn ask_hashes(
    conn: &mut Conn,
    shared: &Shared,
    keys: &[(usize, &[u8])],
    known: Option<Mark>,
    mut take: impl FnMut(usize, Outcome),
) -> Result<(), Failure> {
    let Some(hashes) = shared.codec.hashes.filter(|_| !keys.is_empty()) else { return Ok(()) };
    let names: Vec<&[u8]> = keys.iter().map(|(_, key)| *key).collect();
    let read = |reply, now_ms| hash(hashes, reply, now_ms);
    ask_each(conn, shared, ("HGETALL", &names), known, read, |number, outcome| {
        if let Some((number, _)) = keys.get(number) {
            take(*number, outcome);
        }
    })
}

fn hash(hashes: Hashes, reply: Value, now_ms: u64) -> Outcome {
    let Value::Array(results) = reply else { return Err(Failure::unexpected("HGETALL", &reply)) };
    let (ttl_ms, fields) = match <[Value; 2]>::try_from(results) {
        Ok([Value::Int(ttl_ms), Value::Map(fields)]) => (ttl_ms, fields),
        Ok([_, other]) => return Err(no_value(Failure::unexpected("HGETALL", &other))),
        Err(_) => return Err(Failure::new("HGETALL: a reply of another kind than asked for")),
    };
    if fields.is_empty() {
        return Ok(Fetched::Absent);
    }
    let mut pairs = Vec::with_capacity(fields.len());
    for field in fields {
        let (Value::BulkString(name), Value::BulkString(value)) = field else {
            return Err(Failure::new("HGETALL: a reply of another kind than asked for"));
        };
        pairs.push((name, value));
    }
    let value =
        hashes.value(pairs).map_err(|reason| Failure::new(format!("{OF_VALUE} is a hash: {reason}")))?;
    let expire_at_ms = left_of(ttl_ms, now_ms);
    Ok(Fetched::Found { value, expire_at_ms, is_encoded: false, is_heard: true })
}
