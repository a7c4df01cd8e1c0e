//! What a store tells about itself.

use super::Db;
use crate::error::Result;
use crate::log::Request;
use crate::store::Store;
use std::fmt::Write;
use std::sync::atomic::Ordering;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident: $kind:literal,)*) => {
        /// Figures of a store, as of about one moment. Counts begin at open.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Name, Prometheus kind and value of each figure, in a fixed order.
            pub fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $kind, self.$name),)*]
            }
        }
    };
}

stats! {
    /// Entries, those whose time is over and that were not removed yet included.
    entries: "gauge",
    /// Bytes of the records that live: header, key and stored value.
    live_bytes: "gauge",
    /// Bytes of keys and stored values, as they count towards `max_bytes`; 0 in a store without limits.
    weight: "gauge",
    /// Bytes of all segments, as they stand on disk or in memory.
    log_bytes: "gauge",
    /// Segments, the one that is being written and the one prepared behind it included.
    segments: "gauge",
    /// Entries in the index, deletes that are about to leave it included.
    index_entries: "gauge",
    /// Reads that found a value.
    hits: "counter",
    /// Reads that found none.
    misses: "counter",
    /// Values set.
    writes: "counter",
    /// Entries deleted.
    deletes: "counter",
    /// Entries whose time was over and that were removed.
    expired: "counter",
    /// Entries that had to make room (`max_entries`, `max_bytes`).
    evicted: "counter",
    /// Records written that lost a race and were written again.
    aborted_writes: "counter",
    /// Compactions completed.
    compactions: "counter",
    /// Bytes that compactions copied.
    relocated_bytes: "counter",
    /// Bytes of the segments that compactions removed.
    reclaimed_bytes: "counter",
    /// Entries that wait for their expiry.
    expiry_hints: "gauge",
    /// Events that found the listener's queue full.
    events_dropped: "counter",
    /// Dictionaries that the store keeps.
    dictionaries: "gauge",
    /// Bytes of the values of up to 64 KiB that were written, in a store that compresses.
    compressed_from_bytes: "counter",
    /// Bytes that those values took.
    compressed_to_bytes: "counter",
    /// Bytes of the log that are written and not surely on disk; 0 in memory.
    unsynced_bytes: "gauge",
    /// How often the JSON mirror was written.
    mirror_writes: "counter",
    /// How often that failed: the logger tells why, and so does close where the last attempt did.
    mirror_failures: "counter",
}

impl Stats {
    /// One JSON object.
    pub fn to_json(&self) -> String {
        let fields: Vec<String> =
            self.figures().iter().map(|(name, _, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// Prometheus text format, names beginning with `kv_`.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for (name, kind, value) in self.figures() {
            let suffix = if kind == "counter" { "_total" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE kv_{name}{suffix} {kind}\nkv_{name}{suffix} {value}");
        }
        text
    }
}

impl Db {
    /// Figures of the store. Costs a question to the log thread.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Forked`](crate::Error::Forked).
    pub fn stats(&self) -> Result<Stats> {
        let store = self.open_store()?;
        let (segments, log_bytes) = self.log_extent(store)?;
        let counters = &store.counters;
        // Acquire: as in `Log::wait_synced`.
        let synced = store.log.synced_lsn.load(Ordering::Acquire);
        let tail_lsn = store.log.tail_lsn(&crossbeam_epoch::pin());
        let (mirror_writes, mirror_failures) =
            self.shared.mirror.get().map_or((0, 0), super::Mirror::figures);
        Ok(Stats {
            entries: store.entries(),
            live_bytes: counters.live_bytes.sum(),
            weight: store.capacity.as_ref().map_or(0, crate::capacity::Capacity::weight),
            log_bytes,
            segments,
            index_entries: store.index.entries() as u64,
            hits: counters.hits.sum(),
            misses: counters.misses.sum(),
            writes: counters.writes.sum(),
            deletes: counters.deletes.sum(),
            expired: counters.expired.sum(),
            evicted: counters.evicted.sum(),
            aborted_writes: counters.aborted.sum(),
            compactions: counters.compactions.sum(),
            relocated_bytes: counters.relocated_bytes.sum(),
            reclaimed_bytes: counters.reclaimed_bytes.sum(),
            expiry_hints: self.shared.inbox.hints.load(Ordering::Relaxed),
            events_dropped: store.events.dropped(),
            dictionaries: store.dictionaries.len() as u64,
            compressed_from_bytes: counters.compressed_from_bytes.sum(),
            compressed_to_bytes: counters.compressed_to_bytes.sum(),
            unsynced_bytes: if store.log.files.directory.is_some() && store.read_only.is_none() {
                tail_lsn.saturating_sub(synced)
            } else {
                0
            },
            mirror_writes,
            mirror_failures,
        })
    }

    /// Segments and their bytes. A store that is only read has no log thread to ask: its files are as they were at open.
    fn log_extent(&self, store: &Store) -> Result<(u64, u64)> {
        if store.read_only.is_some() {
            return Ok((self.shared.survey.segments, self.shared.survey.log_bytes));
        }
        let extents = store.log.ask(Request::Listing)?;
        let bytes =
            extents.iter().map(|e| if e.is_sealed { e.used_bytes } else { e.segment.capacity_bytes() });
        Ok((extents.len() as u64, bytes.sum()))
    }
}
