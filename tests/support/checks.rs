//! What must hold of a store at any time, after a sweep, and after a compaction.

use super::oracle::Held;
use super::player::{Player, SEGMENT_BYTES};
use super::sequence::{key, Packing, KEYS};
use kv::{Entry, ScanOptions, Ttl};
use std::time::Duration;

/// As docs/format.md says of a value that is not compressed.
fn record_bytes(key: &[u8], held: &Held) -> usize {
    let pairs: usize = held.metadata.iter().map(|(name, value)| 6 + name.len() + value.len()).sum();
    let metadata_bytes = if held.metadata.is_empty() { 0 } else { pairs + 4 };
    (32 + key.len() + held.value.len() + metadata_bytes).next_multiple_of(8)
}

impl Player {
    /// Every way to read one key.
    pub(super) fn check(&mut self, key: &[u8]) {
        self.follow_evictions();
        let expected = self.oracle.get(key).cloned();
        let at = self.at;
        let value = expected.as_ref().map(|held| held.value.clone());
        assert_eq!(self.db.get(key).unwrap(), value, "operation {at}, key {key:?}");
        let pin = self.db.pin().unwrap();
        let pinned = pin.get(key).unwrap().map(|value| Held {
            value: value.to_vec(),
            deadline_ms: value.expires_at_ms().unwrap_or(0),
            version: value.version(),
            metadata: expected.as_ref().map(|held| held.metadata.clone()).unwrap_or_default(),
            codec: value.codec(),
        });
        drop(pin);
        assert_eq!(pinned, expected, "operation {at}, key {key:?}");
        let whole = expected.as_ref().map(|held| (held.value.clone(), held.metadata.clone()));
        assert_eq!(self.db.get_with_metadata(key).unwrap(), whole, "operation {at}, key {key:?}");
        assert_eq!(self.db.version(key).unwrap(), expected.as_ref().map(|held| held.version));
        let ttl = expected.as_ref().map(|held| match held.deadline_ms {
            0 => Ttl::Never,
            ms => Ttl::Remaining(Duration::from_millis(ms - self.oracle.now_ms)),
        });
        assert_eq!(self.db.ttl(key).unwrap(), ttl, "operation {at}, key {key:?}");
        assert_eq!(self.db.contains(key).unwrap(), expected.is_some());
    }

    /// Each way to scan: in order both ways, and in none; as of one moment, and each entry as it is reached.
    pub(super) fn check_scan(&mut self, prefix: &[u8], ordered: bool) {
        let mut expected = self.oracle.live(prefix);
        let options = ScanOptions::new().prefix(prefix).ordered(ordered);
        self.check_found(options.clone(), ordered, &expected);
        self.check_found(options.clone().snapshot(true), ordered, &expected);
        // From the middle on, backwards.
        expected.drain(..expected.len() / 2);
        let start = expected.first().map_or(Vec::new(), |(key, _)| key.clone());
        expected.reverse();
        let is_snapshot = self.at % 2 == 0;
        self.check_found(options.start(start).reverse(true).snapshot(is_snapshot), true, &expected);
    }

    fn check_found(&self, options: ScanOptions, ordered: bool, expected: &[(Vec<u8>, Held)]) {
        let mut found: Vec<_> = self.db.scan(options).unwrap().map(Result::unwrap).collect();
        if !ordered {
            found.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let found: Vec<_> = found
            .into_iter()
            .map(|e| {
                let deadline_ms = e.expires_at_ms.unwrap_or(0);
                let Entry { key, value, version, metadata, codec, .. } = e;
                (key, Held { value, deadline_ms, version, metadata, codec })
            })
            .collect();
        assert_eq!(found, expected, "operation {}", self.at);
    }

    /// What the store counts, after a sweep.
    pub(super) fn check_counts(&mut self) {
        self.follow_evictions();
        let live = self.oracle.live(b"");
        assert_eq!(self.db.len(), live.len(), "operation {}", self.at);
        let stats = self.db.stats().unwrap();
        assert_eq!(stats.entries, live.len() as u64, "operation {}", self.at);
        if self.config.packing == Packing::Off {
            let bytes: usize = live.iter().map(|(k, held)| record_bytes(k, held)).sum();
            assert_eq!(stats.live_bytes, bytes as u64, "operation {}", self.at);
        }
    }

    /// P8, after a compaction.
    pub(super) fn check_space(&mut self) {
        let stats = self.db.stats().unwrap();
        // Records larger than a segment have one of their own.
        let larger: u64 = 2 * 80_000;
        let bound = stats.live_bytes * 3 / 2 + 5 * SEGMENT_BYTES + larger;
        assert!(stats.log_bytes <= bound, "operation {}: {stats:?}", self.at);
        assert!(stats.index_entries <= stats.entries + KEYS as u64);
    }

    pub(super) fn check_all(&mut self) {
        (0..KEYS).for_each(|k| self.check(&key(k)));
        let keys: Vec<_> = (0..KEYS).map(key).collect();
        let expected: Vec<_> =
            keys.iter().map(|k| self.oracle.get(k).map(|held| held.value.clone())).collect();
        assert_eq!(self.db.get_many(&keys).unwrap(), expected, "operation {}", self.at);
        self.check_scan(b"", true);
    }
}
