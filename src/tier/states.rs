//! What Redis is told of keys: each as the store holds it now, many in few commands.

use super::conn::{append_arg, append_head, encode, Failure};
use super::Shared;

/// Commands of a transaction.
#[derive(Default)]
pub(super) struct States {
    /// Names and strings of what has no deadline.
    set: Args,
    /// Names of what is gone.
    gone: Args,
    /// Commands for what has a deadline.
    dated: Vec<u8>,
    dated_count: usize,
}

/// Arguments of a command, encoded.
#[derive(Default)]
struct Args {
    bytes: Vec<u8>,
    count: usize,
}

impl Args {
    fn add(&mut self, arg: &[u8]) {
        append_arg(&mut self.bytes, arg);
        self.count += 1;
    }

    /// Appends the command, if there are arguments, and says how many commands that are.
    fn encode(&self, to: &mut Vec<u8>, command: &[u8]) -> usize {
        if self.count == 0 {
            return 0;
        }
        append_head(to, self.count + 1);
        append_arg(to, command);
        to.extend_from_slice(&self.bytes);
        1
    }
}

impl States {
    pub(super) fn bytes(&self) -> usize {
        self.set.bytes.len() + self.gone.bytes.len() + self.dated.len()
    }

    /// MULTI and the commands, and how many these are.
    pub(super) fn encode(&self) -> (Vec<u8>, usize) {
        let mut commands = Vec::with_capacity(self.bytes() + 256);
        encode(&mut commands, &[b"MULTI"]);
        let set = self.set.encode(&mut commands, b"MSET");
        let gone = self.gone.encode(&mut commands, b"UNLINK");
        commands.extend_from_slice(&self.dated);
        (commands, set + gone + self.dated_count)
    }

    /// Adds what the store holds for a key now. `ahead_ms` leads from a time of the store to one of the server.
    pub(super) fn add(
        &mut self,
        shared: &Shared,
        key: &[u8],
        publish_lsn: u64,
        ahead_ms: i64,
    ) -> Result<(), Failure> {
        let Shared { store, codec, .. } = shared;
        let name = [&shared.options.prefix[..], key].concat();
        let is_published = {
            let guard = crossbeam_epoch::pin();
            store.look(key, &guard).lsn >= publish_lsn
        };
        // O1: the batch holds its guard until all members are published.
        if !is_published && !shared.wait_grace() {
            return Err(Failure::new("the store is closed"));
        }
        let guard = crossbeam_epoch::pin();
        let seen = store.look(key, &guard);
        if seen.lsn == 0 || seen.is_from_tier() {
            // O3: not this store's to say.
            return Ok(());
        }
        let Some(view) = seen.live else {
            self.gone.add(&name);
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
            self.add_string(shared, &name, codec.encode(key, &value).as_deref(), expire_at_ms, ahead_ms);
            return Ok(());
        }
        // What changes it from here on has a higher LSN, and is sent after it.
        let value = value.into_owned();
        drop(guard);
        self.add_string(shared, &name, codec.encode(key, &value).as_deref(), expire_at_ms, ahead_ms);
        Ok(())
    }

    /// Without a string the key is removed: what Redis holds is older than a value that it cannot have.
    fn add_string(
        &mut self,
        shared: &Shared,
        name: &[u8],
        string: Result<&[u8], &String>,
        expire_at_ms: u64,
        ahead_ms: i64,
    ) {
        match string {
            Ok(string) if expire_at_ms == 0 => {
                self.set.add(name);
                self.set.add(string);
            }
            Ok(string) => {
                let deadline = i64::try_from(expire_at_ms).unwrap_or(i64::MAX);
                let deadline = deadline.saturating_add(ahead_ms).max(1).to_string();
                encode(&mut self.dated, &[b"SET", name, string, b"PXAT", deadline.as_bytes()]);
                self.dated_count += 1;
            }
            Err(reason) => {
                let key_bytes = name.len() - shared.options.prefix.len();
                shared.store.say(&format!(
                    "tier: the value of a key of {key_bytes} bytes is not sent, and the key is removed in Redis: {reason}"
                ));
                self.gone.add(name);
            }
        }
    }
}
