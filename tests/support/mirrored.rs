//! What the JSON mirror must hold: exactly what the store does, so that another one which has the file alone holds the same.

use super::oracle::Held;
use super::player::{options, Player};
use super::sequence::{Totals, MIRROR_AT_THE_END_MS};
use kv::{Entry, ManualClock, ScanOptions};
use std::sync::atomic::Ordering;
use std::sync::Arc;

impl Player {
    /// Reads the file that a close, or a sync of a store in memory, has left.
    pub(super) fn check_mirror(&mut self, totals: &Totals) {
        let Some(path) = &self.mirror else { return };
        let text = std::fs::read(path).unwrap();
        // What is over is left out of what is written, and that is an answer which binds the store, as any other.
        if self.mirrored.as_ref() != Some(&text) && self.is_mirrored_at_the_end() {
            self.oracle.live(b"");
        }
        let copy = self.home.path().join("copy.json");
        std::fs::write(&copy, &text).unwrap();
        let clock = Arc::new(ManualClock::new(self.oracle.now_ms));
        let options = options(&self.config, &clock, Some(&copy)).max_entries(None).max_bytes(None);
        let db = options.in_memory().unwrap();
        let found = db.scan(ScanOptions::new().ordered(true)).unwrap().map(|entry| {
            let Entry { key, value, expires_at_ms, metadata, codec, .. } = entry.unwrap();
            (key, Held { value, deadline_ms: expires_at_ms.unwrap_or(0), version: 0, metadata, codec })
        });
        let found: Vec<_> = found.collect();
        db.close().unwrap();
        let expected = self.oracle.standing().into_iter();
        let expected: Vec<_> = expected.map(|(key, held)| (key, Held { version: 0, ..held })).collect();
        assert_eq!(found, expected, "operation {}: {}", self.at, String::from_utf8_lossy(&text));
        totals.mirrored.fetch_add(found.len() as u64, Ordering::Relaxed);
        self.mirrored = Some(text);
    }

    /// After a process has died that wrote the file at no other moment than those.
    pub(super) fn check_mirror_is_as_it_was(&self) {
        if let Some(path) = self.mirror.as_ref().filter(|_| self.is_mirrored_at_the_end()) {
            assert_eq!(std::fs::read(path).ok(), self.mirrored, "operation {}", self.at);
        }
    }

    fn is_mirrored_at_the_end(&self) -> bool {
        self.config.mirror_every_ms == Some(MIRROR_AT_THE_END_MS)
    }
}
