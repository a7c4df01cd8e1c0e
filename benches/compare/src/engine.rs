//! What a peer is to the drivers.

use crate::child::Child;
use crate::keys::Key;
use serde::{Deserialize, Serialize};

/// What a write is promised once it is acknowledged. Only figures of one level are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Nothing outlives the process.
    Memory,
    /// The bytes are with the operating system: SIGKILL loses nothing, power loss may.
    ProcessCrash,
    /// The bytes are on the disk.
    PowerLoss,
}

pub struct Peer {
    pub name: &'static str,
    /// Crate or program whose version counts.
    pub krate: &'static str,
    pub levels: &'static [Level],
    /// Levels of which it promises less than is asked for: shown, but never the best there.
    pub weaker: &'static [Level],
    /// Operations that are sent before the first answer is awaited.
    pub pipeline: usize,
    /// Has guards or transactions under which many reads run.
    pub pins: bool,
    /// Has a call for many keys.
    pub many: bool,
    /// Entries can be given a time to live.
    pub expires: bool,
    /// How a get hands back the value, before it is copied to the caller's buffer.
    pub hands_back: &'static str,
    pub configuration: &'static str,
    pub fair: &'static str,
    pub serve: fn(Child),
}

pub enum Op<'a> {
    Get(Key),
    Set(Key, &'a [u8]),
}

pub trait Engine: Sync {
    type Session<'a>: Session
    where
        Self: 'a;

    /// What one thread works with.
    fn session(&self) -> Self::Session<'_>;

    /// The process whose memory is the engine's.
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// Calls of one thread. A get ends with the value's bytes in the caller's buffer, whether the engine lends or copies.
pub trait Session {
    /// Whether the key was there.
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool;
    fn set(&mut self, key: &Key, value: &[u8]);

    /// Under one guard or transaction; how many were there.
    fn get_pinned(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        keys.iter().filter(|key| self.get(key, to)).count()
    }

    /// In one call; how many were there.
    fn get_many(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        self.get_pinned(keys, to)
    }

    /// One after the other, unless the peer pipelines.
    fn run(&mut self, ops: &[Op], to: &mut [u8]) -> usize {
        let mut hits = 0;
        for op in ops {
            match op {
                Op::Get(key) => hits += usize::from(self.get(key, to)),
                Op::Set(key, value) => self.set(key, value),
            }
        }
        hits
    }

    /// The quickest way in for many entries: the figures begin after it.
    fn load(&mut self, entries: &[(Key, &[u8])]) {
        for (key, value) in entries {
            self.set(key, value);
        }
    }
}

/// The end of every get.
#[inline(always)]
pub fn hand_over(value: &[u8], to: &mut [u8]) {
    to[..value.len()].copy_from_slice(value);
    std::hint::black_box(&to);
}
