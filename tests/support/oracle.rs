//! What a store must do, in a plain map with a clock.

use kv::{Metadata, Tag};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub value: Vec<u8>,
    /// Unix milliseconds; 0: never.
    pub deadline_ms: u64,
    pub version: u64,
    /// What a session wrote beside the value.
    pub metadata: Metadata,
    /// What wrote the value.
    pub codec: Tag,
}

#[derive(Debug, Clone, Default)]
pub struct Oracle {
    entries: BTreeMap<Vec<u8>, Held>,
    /// The store's time: the highest that the clock has shown since open.
    pub now_ms: u64,
    /// The latest deadline that somebody was told has passed: time never falls below it (I15).
    pub observed_ms: u64,
    /// The store is a cache: what was over may have been evicted before, and then nobody was told that it was.
    pub may_evict: bool,
    /// No version so far was higher.
    pub version_max: u64,
}

impl Oracle {
    pub fn at(now_ms: u64) -> Oracle {
        Oracle { now_ms, ..Oracle::default() }
    }

    /// What stands for `key`. That its time is over is an answer that binds the store.
    pub fn get(&mut self, key: &[u8]) -> Option<&Held> {
        let deadline_ms = self.entries.get(key)?.deadline_ms;
        if self.is_over(deadline_ms) {
            if !self.may_evict {
                self.observed_ms = self.observed_ms.max(deadline_ms);
            }
            self.entries.remove(key);
            return None;
        }
        self.entries.get(key)
    }

    /// A write whose version the caller was told, or looks up.
    pub fn put(&mut self, key: &[u8], value: &[u8], deadline_ms: u64, version: u64) {
        assert!(version > self.version_max, "version {version} follows {}", self.version_max);
        self.version_max = version;
        let (value, metadata) = (value.to_vec(), Metadata::new());
        let held = Held { value, deadline_ms, version, metadata, codec: Tag::RAW };
        self.entries.insert(key.to_vec(), held);
    }

    /// Puts metadata and a codec beside the value that was just put.
    pub fn annotate(&mut self, key: &[u8], metadata: Metadata, codec: Tag) {
        if let Some(held) = self.entries.get_mut(key) {
            (held.metadata, held.codec) = (metadata, codec);
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Held> {
        self.get(key)?;
        self.entries.remove(key)
    }

    /// As `remove`, by a write that does not look at what stands there.
    pub fn overwrite(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// All keys, and whether their time is over; nobody is told by that.
    pub fn held(&self) -> Vec<(Vec<u8>, bool)> {
        self.entries.iter().map(|(key, held)| (key.clone(), self.is_over(held.deadline_ms))).collect()
    }

    /// What lives, by key; nobody is told by that.
    pub fn standing(&self) -> Vec<(Vec<u8>, Held)> {
        let standing = self.entries.iter().filter(|(_, held)| !self.is_over(held.deadline_ms));
        standing.map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    /// Whether a deadline, 0 for none, has passed.
    pub fn is_over(&self, deadline_ms: u64) -> bool {
        deadline_ms != 0 && deadline_ms <= self.now_ms
    }

    /// What lives under a prefix, by key.
    pub fn live(&mut self, prefix: &[u8]) -> Vec<(Vec<u8>, Held)> {
        let keys: Vec<_> = self.entries.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.into_iter().filter_map(|key| self.get(&key).cloned().map(|held| (key, held))).collect()
    }
}
