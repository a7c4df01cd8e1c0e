//! What a server tells of changes that cannot tell it by `CLIENT TRACKING`: keyspace notifications.
//!
//! They come also for what this store has changed itself, so a key that one names is compared with Redis and not dropped.

use super::conn::{moment_after, Conn, Failure};
use super::glob;
use super::mark::probe_key;
use super::Shared;
use crate::io::random_u64;
use redis::{PushKind, Value};
use std::time::Instant;

/// What a notification's channel begins with: the key stands behind it.
fn channel(shared: &Shared) -> Vec<u8> {
    let database = shared.options.database.unwrap_or(0);
    [format!("__keyspace@{database}__:").as_bytes(), &shared.options.prefix].concat()
}

/// Whether a server's refusal says that it has no such command, or not for this user.
pub(super) fn is_lacking(failure: &Failure) -> bool {
    matches!(failure.code.as_deref(), Some("ERR" | "NOPERM"))
}

/// Has notifications of all keys under the prefix come on this connection, and tries whether they do: nothing else tells what the
/// server is configured to say, and the user may not ask.
pub(super) fn subscribe(shared: &Shared, conn: &mut Conn) -> Result<(), Failure> {
    let channel = channel(shared);
    let pattern = [&glob::literal(&channel)[..], b"*"].concat();
    let probe = probe_key(&shared.options.prefix, random_u64());
    let name = probe.strip_prefix(&shared.options.prefix[..]).unwrap_or_default();
    conn.say(&[b"PSUBSCRIBE", &pattern])?;
    conn.say(&[b"SET", &probe, b"1", b"PX", b"1000"])?;
    conn.say(&[b"UNLINK", &probe])?;
    let until = moment_after(shared.options.timeout);
    // They are of different classes.
    let (mut tells_set, mut tells_del) = (false, false);
    while !(tells_set && tells_del) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || shared.is_stopping() {
            return Err(Failure::new("keyspace notifications of the classes K, g and $ do not come"));
        }
        let data = match conn.hear(left)? {
            Some(Value::ServerError(error)) => {
                return Err(Failure::unexpected("keyspace notifications", &Value::ServerError(error)))
            }
            Some(Value::Push { kind: PushKind::PMessage, data }) => data,
            _ => continue,
        };
        let event = data.get(2).cloned();
        if named(&channel, data).as_deref() == Some(name) {
            tells_set |= event == Some(Value::BulkString(b"set".to_vec()));
            tells_del |= event == Some(Value::BulkString(b"del".to_vec()));
        }
    }
    Ok(())
}

/// The key that a notification names, without the prefix.
fn named(channel: &[u8], data: Vec<Value>) -> Option<Vec<u8>> {
    match data.into_iter().nth(1) {
        Some(Value::BulkString(name)) => name.strip_prefix(channel).map(<[u8]>::to_vec),
        _ => None,
    }
}

/// Somebody has changed a key, this store perhaps.
pub(super) fn take(shared: &Shared, data: Vec<Value>) {
    let Some(key) = named(&channel(shared), data).filter(|key| shared.is_of(key)) else { return };
    // What was asked for before is old.
    shared.store.loads.note_elsewhere(&key);
    shared.unsure().insert(key.into());
}
