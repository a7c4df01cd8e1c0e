//! What Redis is told of keys: each as the store holds it now, many in few commands.

use super::conn::{append_arg, append_arg_of, append_head, encode, Failure};
use super::outbox::Noted;
use super::Shared;
use crate::index::PREFETCHED_KEYS;

/// Keys in one transaction: bounds how long Redis serves nobody else.
const BATCH_KEYS_MAX: usize = 512;
/// Bytes after which a transaction takes no further key.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes that stay with a buffer for the next transaction.
const KEPT_BYTES_MAX: usize = 2 * BATCH_BYTES;
/// Room for MULTI and the head of MSET.
const HEAD_BYTES: usize = 64;

/// A changed key, and what the log says of it.
pub(super) type Changed = (Box<[u8]>, Noted);

/// A transaction up to its mark.
pub(super) struct Batch {
    pub(super) commands: Vec<u8>,
    begin: usize,
    /// Commands behind MULTI.
    pub(super) count: usize,
    /// Keys that it says something of.
    pub(super) keys: usize,
    /// What led from a time of the store to one of the server.
    pub(super) ahead_ms: i64,
}

impl Batch {
    /// What is to be sent.
    pub(super) fn commands(&self) -> &[u8] {
        self.commands.get(self.begin..).unwrap_or_default()
    }

    /// Its buffer, for another one.
    pub(super) fn into_buffer(mut self) -> Vec<u8> {
        self.commands.clear();
        self.commands.shrink_to(KEPT_BYTES_MAX);
        self.commands
    }
}

/// Commands of a transaction.
struct States {
    /// Room for a head, then names and strings of what has no deadline: a value is copied once.
    set: Vec<u8>,
    set_args: usize,
    /// Names of what is gone.
    gone: Vec<u8>,
    gone_args: usize,
    /// Commands for what has a deadline.
    dated: Vec<u8>,
    dated_count: usize,
}

impl Shared {
    /// A transaction with the first of these keys. `wait_grace` waits until all guards of now have been dropped, or says that it has
    /// not.
    pub(super) fn gather(
        &self,
        keys: &[Changed],
        ahead_ms: i64,
        buffer: Vec<u8>,
        wait_grace: impl Fn() -> bool,
    ) -> Result<Batch, Failure> {
        let mut states = States::over(buffer);
        let mut taken = 0;
        for group in keys.get(..BATCH_KEYS_MAX).unwrap_or(keys).chunks(PREFETCHED_KEYS) {
            self.store.map(&crossbeam_epoch::pin()).prefetch(group.iter().map(|(key, _)| &key[..]));
            for (key, noted) in group {
                states.add(self, key, noted.publish_lsn, ahead_ms, &wait_grace)?;
                taken += 1;
                if states.bytes() > BATCH_BYTES {
                    return Ok(states.end(taken, ahead_ms));
                }
            }
        }
        Ok(states.end(taken, ahead_ms))
    }
}

impl States {
    fn over(mut set: Vec<u8>) -> States {
        set.resize(HEAD_BYTES, 0);
        States { set, set_args: 0, gone: Vec::new(), gone_args: 0, dated: Vec::new(), dated_count: 0 }
    }

    fn bytes(&self) -> usize {
        self.set.len() + self.gone.len() + self.dated.len()
    }

    fn end(self, keys: usize, ahead_ms: i64) -> Batch {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        encode(&mut head, &[b"MULTI"]);
        let mut count = self.dated_count;
        if self.set_args > 0 {
            append_head(&mut head, self.set_args + 1);
            append_arg(&mut head, b"MSET");
            count += 1;
        }
        let begin = HEAD_BYTES.saturating_sub(head.len());
        let mut commands = self.set;
        commands.iter_mut().skip(begin).zip(head).for_each(|(to, byte)| *to = byte);
        if self.gone_args > 0 {
            append_head(&mut commands, self.gone_args + 1);
            append_arg(&mut commands, b"UNLINK");
            commands.extend_from_slice(&self.gone);
            count += 1;
        }
        commands.extend_from_slice(&self.dated);
        Batch { commands, begin, count, keys, ahead_ms }
    }

    /// Adds what the store holds for a key now. `ahead_ms` leads from a time of the store to one of the server.
    fn add(
        &mut self,
        shared: &Shared,
        key: &[u8],
        publish_lsn: u64,
        ahead_ms: i64,
        wait_grace: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        let Shared { store, codec, .. } = shared;
        let mut guard = crossbeam_epoch::pin();
        if publish_lsn > 0 && store.look(key, &guard).lsn < publish_lsn {
            // O1: the batch holds its guard until all members are published.
            drop(guard);
            if !wait_grace() {
                return Err(Failure::new("the store is closed"));
            }
            guard = crossbeam_epoch::pin();
        }
        let seen = store.look(key, &guard);
        if !store.has_unsent(&seen) {
            // O3: not this store's to say. Or the mark told meanwhile that Redis has it: others may have changed it since.
            return Ok(());
        }
        let Some(view) = seen.live else {
            self.add_gone(shared, key);
            return Ok(());
        };
        let expire_at_ms = view.expire_at_ms;
        let value = match store.value_seen(&seen) {
            Ok(value) => value,
            Err(error) => {
                store.say(&format!("tier: not sent: {error}"));
                return Ok(());
            }
        };
        if codec.is_raw() {
            self.add_string(shared, key, codec.encode(key, &value).as_deref(), expire_at_ms, ahead_ms);
            return Ok(());
        }
        // What changes it from here on has a higher LSN, and is sent after it.
        let value = value.into_owned();
        drop(guard);
        self.add_string(shared, key, codec.encode(key, &value).as_deref(), expire_at_ms, ahead_ms);
        Ok(())
    }

    /// Without a string the key is removed: what Redis holds is older than a value that it cannot have.
    fn add_string(
        &mut self,
        shared: &Shared,
        key: &[u8],
        string: Result<&[u8], &String>,
        expire_at_ms: u64,
        ahead_ms: i64,
    ) {
        match string {
            Ok(string) if expire_at_ms == 0 => {
                append_arg_of(&mut self.set, &[&shared.options.prefix, key]);
                append_arg(&mut self.set, string);
                self.set_args += 2;
            }
            Ok(string) => {
                let deadline = i64::try_from(expire_at_ms).unwrap_or(i64::MAX);
                let deadline = deadline.saturating_add(ahead_ms).max(1).to_string();
                append_head(&mut self.dated, 5);
                append_arg(&mut self.dated, b"SET");
                append_arg_of(&mut self.dated, &[&shared.options.prefix, key]);
                append_arg(&mut self.dated, string);
                append_arg(&mut self.dated, b"PXAT");
                append_arg(&mut self.dated, deadline.as_bytes());
                self.dated_count += 1;
            }
            Err(reason) => {
                let key_bytes = key.len();
                shared.store.say(&format!(
                    "tier: the value of a key of {key_bytes} bytes is not sent, and the key is removed in Redis: {reason}"
                ));
                self.add_gone(shared, key);
            }
        }
    }

    fn add_gone(&mut self, shared: &Shared, key: &[u8]) {
        append_arg_of(&mut self.gone, &[&shared.options.prefix, key]);
        self.gone_args += 1;
    }
}
