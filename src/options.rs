//! How a store is opened.

use crate::capacity::Limits;
use crate::clock::{Clock, SystemClock};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::io::{Disk, OsDisk};
use crate::limits::{
    KEY_BYTES_MAX, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_LIMIT, SEGMENT_BYTES_MIN, VALUE_BYTES_MAX_DEFAULT,
    VALUE_BYTES_MAX_LIMIT,
};
use crate::log::Sync;
use crate::record::sum;
use crate::tag::Tag;
use crate::testing::{Faults, Hooks};
#[cfg(feature = "redis")]
use crate::tier_options::TierOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What `open` does with the directory it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenMode {
    /// Opens the store, or makes an empty one where there is none.
    Create,
    /// Opens the store; that there is none is an error.
    MustExist,
    /// Opens the store as it is now, for reading: also one that another process has open, or that is damaged. Nothing is
    /// written to the directory.
    ReadOnly,
}

/// What `open` does about damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recover {
    /// Fails with [`Error::Corrupt`]; a value that is damaged by itself fails whoever asks for it, since an open does not read
    /// the values of segments that were complete.
    Strict,
    /// Keeps what is intact and lists the rest in [`Db::damage`]. A lost delete may bring its key back.
    Salvage,
}

/// Which values are stored compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// None: every read can be zero-copy.
    Off,
    /// Values of `threshold_bytes` and more, where that makes them smaller.
    Zstd {
        /// Level of zstd, −7 to 19: higher is smaller and slower.
        level: i32,
        /// Smallest value that is compressed, in bytes.
        threshold_bytes: usize,
    },
    /// With dictionaries that are trained in the background from the store's own values, for many small values that are alike
    /// (docs/compression.md): those of 16 bytes to 64 KiB, where that makes them smaller. Until a dictionary is there, and for longer
    /// values, as `Zstd` from 256 bytes on.
    ///
    /// A store that was opened with this is not read by versions of the library that know no dictionaries.
    ZstdDictionary {
        /// Level of zstd, −7 to 19: higher is smaller and slower.
        level: i32,
    },
}

impl Compression {
    /// Level of zstd; `None`: nothing is compressed.
    fn level(self) -> Option<i32> {
        match self {
            Compression::Off => None,
            Compression::Zstd { level, .. } | Compression::ZstdDictionary { level } => Some(level),
        }
    }

    /// Level at which values are compressed with dictionaries, if they are.
    pub(crate) fn dictionary_level(self) -> Option<i32> {
        match self {
            Compression::ZstdDictionary { level } => Some(level),
            _ => None,
        }
    }
}

/// Smallest value that is compressed without a dictionary where nothing else is said, in bytes.
pub(crate) const ZSTD_THRESHOLD_BYTES: usize = 256;

/// What `open` does with a JSON mirror that is not what this store left there, where the store holds entries of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenEdited {
    /// Fails, and changes neither.
    Refuse,
    /// Takes the file in place of what the store holds.
    Load,
    /// Goes on with what the store holds, which is then written over the file.
    Overwrite,
}

/// One line for the logger hook.
pub type Logger = Arc<dyn Fn(&str) + Send + std::marker::Sync>;
/// Hears of removed entries.
pub type Listener = Arc<dyn Fn(&Event) + Send + std::marker::Sync>;

/// Builder of a [`Db`].
///
/// ```
/// let dir = tempfile::tempdir()?;
/// let db = kv::Options::new()
///     .sync(kv::Sync::Every(std::time::Duration::from_millis(100)))
///     .open(dir.path())?;
/// db.set(b"name", b"Alice")?;
/// assert_eq!(db.get(b"name")?.as_deref(), Some(&b"Alice"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) mode: OpenMode,
    pub(crate) sync: Sync,
    pub(crate) segment_bytes: u64,
    pub(crate) value_bytes_max: u32,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) ttl_jitter_percent: u8,
    pub(crate) time_to_idle: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) compression: Compression,
    pub(crate) recover: Recover,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) listener: Option<Listener>,
    pub(crate) listener_queue: usize,
    pub(crate) listener_replaced: bool,
    pub(crate) logger: Option<Logger>,
    pub(crate) background: bool,
    pub(crate) ordered_index: bool,
    pub(crate) json_mirror: Option<PathBuf>,
    pub(crate) json_mirror_every: Duration,
    pub(crate) json_mirror_edited: WhenEdited,
    pub(crate) faults: Faults,
    pub(crate) hooks: Hooks,
    #[cfg(feature = "redis")]
    pub(crate) tier: Option<TierOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("mode", &self.mode)
            .field("sync", &self.sync)
            .field("segment_bytes", &self.segment_bytes)
            .field("value_bytes_max", &self.value_bytes_max)
            .field("default_ttl", &self.default_ttl)
            .field("compression", &self.compression)
            .field("recover", &self.recover)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// `Create`, `Sync::Every(1 s)`, 64 MiB segments, no default expiry, no compression.
    pub fn new() -> Self {
        Options {
            mode: OpenMode::Create,
            sync: Sync::Every(Duration::from_secs(1)),
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            value_bytes_max: VALUE_BYTES_MAX_DEFAULT,
            default_ttl: None,
            ttl_jitter_percent: 0,
            time_to_idle: None,
            limits: Limits::default(),
            compression: Compression::Off,
            recover: Recover::Strict,
            clock: Arc::new(SystemClock),
            disk: Arc::new(OsDisk),
            listener: None,
            listener_queue: 65_536,
            listener_replaced: false,
            logger: None,
            background: true,
            ordered_index: false,
            json_mirror: None,
            json_mirror_every: Duration::from_secs(1),
            json_mirror_edited: WhenEdited::Refuse,
            faults: Faults::default(),
            hooks: Hooks::default(),
            #[cfg(feature = "redis")]
            tier: None,
        }
    }

    /// Whether a store is made, must exist, or is only read.
    pub fn mode(mut self, mode: OpenMode) -> Self {
        self.mode = mode;
        self
    }

    /// When writes reach the disk.
    pub fn sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// Size that segments grow to, in bytes: 64 KiB to 1 GiB. Segments of a small store are smaller.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Longest value, in bytes (default 1 GiB).
    pub fn value_bytes_max(mut self, bytes: u32) -> Self {
        self.value_bytes_max = bytes;
        self
    }

    /// Expiry of entries that are set without one of their own; `None`: they stay.
    pub fn default_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// By how many percent a time to live may be shorter than asked for, 0 to 100 (default 0): each by a share of its own, drawn at
    /// random, so that entries that were set together do not expire together. For the default and for times that are given with an
    /// entry; not for points in time.
    pub fn ttl_jitter_percent(mut self, percent: u8) -> Self {
        self.ttl_jitter_percent = percent;
        self
    }

    /// How long an entry may be without being read or written before it expires; `None`: for ever (default). A read of its value
    /// counts, a scan, [`Db::contains`] and [`Db::ttl`] do not. It is gone for readers between that time and 0.3 s later,
    /// and removed by the background about a second after that, whatever its time to live. The times stand in memory, four
    /// bytes for each 32 of the log, and begin anew with each open: what was idle, and was not removed yet when the process died,
    /// may be there again. Each read also looks at the clock. What a tier was not told of yet is not idle.
    pub fn time_to_idle(mut self, time: Option<Duration>) -> Self {
        self.time_to_idle = time;
        self
    }

    /// Entries that the store holds at most (default: any number): with this, or `max_bytes`, it is a cache. A write that finds no
    /// room lets another entry go first, so at no time are there more, but for one a thread that writes at that moment, and a batch
    /// that is larger than that by itself, which goes down to the limit before it returns. What goes is chosen by S3-FIFO (Yang and
    /// others, SOSP 2023) and stays gone, also after a crash. Costs a byte for each 32 of the log, about 40 an entry, and with each
    /// write of a new key a mutex, which reads never take; a hit sets a few bits. A store that is opened with a lower limit than
    /// before comes down to it first. With a tier what goes is forgotten here only, and what that was not told of stays until it was.
    pub fn max_entries(mut self, entries: Option<u64>) -> Self {
        self.limits.entries = entries;
        self
    }

    /// Weight of the entries that the store holds at most, as `max_entries`: an entry weighs the bytes of its key and of its value
    /// as it is stored, or what [`Options::weigher`] says. One that is heavier than all that may be held is evicted by the write that sets it, and nothing else is.
    pub fn max_bytes(mut self, bytes: Option<u64>) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Says what an entry weighs, of its key and its value, in whatever unit `max_bytes` then limits: rows, a cost, bytes in the form that
    /// the application holds. The value is what the caller gave: without compression and metadata, in the bytes that a codec wrote.
    ///
    /// Asked once for each value that is written, in the thread that writes, before the entry is visible, and at open once for each entry,
    /// which reads all values. What it said counts until the entry goes, whatever it would say later; a change of the deadline asks
    /// nothing. It stands in memory, in four bytes for each 32 of the log. With compression each write costs a decompression more. An
    /// entry may weigh nothing. If it panics the entry weighs the bytes of key and value, and the logger is told. It must be
    /// quick, and must not call the store or wait for a thread that does. Without `max_bytes` the store does not open.
    ///
    /// ```
    /// use kv::Options;
    ///
    /// // A hundred lines of text.
    /// let lines = |_: &[u8], value: &[u8]| value.split(|byte| *byte == b'\n').count() as u32;
    /// let db = Options::new().max_bytes(Some(100)).weigher(lines).in_memory()?;
    /// (0..50u8).try_for_each(|n| db.set(&[n], b"one\ntwo\nthree"))?;
    /// assert_eq!((db.len(), db.stats()?.weight), (33, 99));
    /// # Ok::<(), kv::Error>(())
    /// ```
    pub fn weigher(
        mut self,
        weigher: impl Fn(&[u8], &[u8]) -> u32 + Send + std::marker::Sync + 'static,
    ) -> Self {
        self.limits.weigher = Some(Arc::new(weigher));
        self
    }

    /// Which values are stored compressed.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// What `open` does about damage.
    pub fn recover(mut self, recover: Recover) -> Self {
        self.recover = recover;
        self
    }

    /// Source of time, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Called for each entry that was deleted, has expired or was evicted, by a thread of the store that holds no guard: it
    /// may call the store, but for `close`. Events wait in a bounded queue; what does not fit is dropped and counted.
    pub fn listener(mut self, listener: impl Fn(&Event) + Send + std::marker::Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Events that may wait for the listener (default 65,536).
    pub fn listener_queue(mut self, events: usize) -> Self {
        self.listener_queue = events;
        self
    }

    /// Whether the listener also hears of each value that another replaces, as [`Cause::Replaced`](crate::Cause::Replaced) (default
    /// no). Each costs the write a copy of the value. A change of the deadline alone replaces no value.
    pub fn listener_replaced(mut self, is_told: bool) -> Self {
        self.listener_replaced = is_told;
        self
    }

    /// Called with one line when something happens that nobody asked about: recovery, damage, a failed sync.
    pub fn logger(mut self, logger: impl Fn(&str) + Send + std::marker::Sync + 'static) -> Self {
        self.logger = Some(Arc::new(logger));
        self
    }

    /// Whether expiry and compaction run by themselves from the start (default yes). [`Db::resume`] starts them later.
    pub fn background(mut self, runs: bool) -> Self {
        self.background = runs;
        self
    }

    /// Whether keys are also kept in a list in bytewise order (default no), for stores that are scanned in order, or by prefix,
    /// often: such a scan then begins at once and costs what it gives. Takes memory of about 64 bytes and a copy of each key, and
    /// 1 to 3 µs with each write that brings a new key; the open lists what is there. Nothing of it is on disk.
    pub fn ordered_index(mut self, is_kept: bool) -> Self {
        self.ordered_index = is_kept;
        self
    }

    /// Keeps the store in one JSON file too, for people (docs/files.md): loaded when a new store is opened, written anew when
    /// something has changed, after [`Options::json_mirror_every`] and at close. A crash leaves the old file or the new one. For a
    /// store in memory the file is what stays of it. A path that is relative is one in the working directory of this call.
    pub fn json_mirror(mut self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        self.json_mirror = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()));
        self
    }

    /// How long after a change the JSON mirror is written, at most (default 1 s), but not before as much time has passed as the last
    /// writing took. Each costs a walk over the store and the writing of all of it.
    pub fn json_mirror_every(mut self, period: Duration) -> Self {
        self.json_mirror_every = period;
        self
    }

    /// What `open` does with a JSON mirror that somebody else has changed since the store wrote it (default: fails).
    pub fn json_mirror_edited(mut self, then: WhenEdited) -> Self {
        self.json_mirror_edited = then;
        self
    }

    /// Shares the store's entries through Redis (docs/tier.md).
    #[cfg(feature = "redis")]
    pub fn tier(mut self, tier: TierOptions) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Switches for tests that prove that a mechanism is needed.
    #[doc(hidden)]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Calls for tests that hold a thread between two steps.
    #[doc(hidden)]
    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// The operating system, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Opens the store in directory `path`.
    ///
    /// Visible at once is everything that was acknowledged before; the time it takes grows with the log's bytes.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], [`Error::Locked`], [`Error::NotAStore`], [`Error::UnsupportedVersion`],
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Db> {
        self.check()?;
        Db::open_with(self, path.as_ref())
    }

    /// Makes a store in memory: the same engine without files. Sync modes have no effect.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::Io`] when there is no memory.
    pub fn in_memory(self) -> Result<Db> {
        self.check()?;
        Db::in_memory_with(self)
    }

    fn check(&self) -> Result<()> {
        let refuse =
            |name: &'static str, reason: String| Err(Error::InvalidOption { name: name.into(), reason });
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_LIMIT).contains(&self.segment_bytes) {
            let found = self.segment_bytes;
            return refuse(
                "segment_bytes",
                format!("{found} bytes: must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_LIMIT}"),
            );
        }
        if self.value_bytes_max > VALUE_BYTES_MAX_LIMIT {
            let found = self.value_bytes_max;
            return refuse(
                "value_bytes_max",
                format!("{found} bytes: must be at most {VALUE_BYTES_MAX_LIMIT}"),
            );
        }
        if let Some(level) = self.compression.level() {
            if cfg!(not(feature = "zstd")) {
                return refuse("compression", "this build has no zstd".into());
            }
            if !(-7..=19).contains(&level) {
                return refuse("compression", format!("zstd level {level}: must be -7 to 19"));
            }
        }
        if matches!(self.sync, Sync::Every(period) if period.is_zero()) {
            return refuse("sync", "a period of zero: use Sync::Always".into());
        }
        self.limits.check()?;
        if let Some(path) = &self.json_mirror {
            if self.mode == OpenMode::ReadOnly {
                return refuse("json_mirror", "a store that is opened to be read only has none".into());
            }
            if path.file_name().is_none() {
                return refuse("json_mirror", format!("{}: must be a file's path", path.display()));
            }
            if self.json_mirror_every.is_zero() {
                return refuse("json_mirror_every", "a period of zero".into());
            }
        }
        if self.default_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return refuse("default_ttl", "a time to live of zero: entries would never be seen".into());
        }
        if self.time_to_idle.is_some_and(|time| time.is_zero()) {
            return refuse("time_to_idle", "a time of zero: entries would never be seen".into());
        }
        if self.ttl_jitter_percent > 100 {
            let found = self.ttl_jitter_percent;
            return refuse("ttl_jitter_percent", format!("{found} percent: must be 0 to 100"));
        }
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.tier {
            if tier.url.is_empty() {
                return refuse("tier_url", "lacking, and there are other options of a tier".into());
            }
            if self.mode == OpenMode::ReadOnly {
                return refuse("tier_url", "a store that is opened to be read only has no tier".into());
            }
            tier.clone().check()?;
        }
        if self.listener_queue == 0 {
            return refuse("listener_queue", "must hold at least one event".into());
        }
        Ok(())
    }

    /// A value that is a whole number, 0 without one, and `delta`: the sum, and how it is written.
    pub(crate) fn sum(&self, value: Option<&[u8]>, delta: i64) -> Result<(i64, Vec<u8>)> {
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.tier {
            return tier.numbers().sum(value, delta);
        }
        let sum = sum(value, delta)?;
        Ok((sum, sum.to_string().into_bytes()))
    }

    /// The codec of a sum among values of this one: the same, or none where nobody could read it as what it is. (The digit 5 in MessagePack
    /// is 53.)
    pub(crate) fn codec_of_sum(&self, codec: Tag) -> Tag {
        #[cfg(feature = "redis")]
        let is_of = self.tier.as_ref().map_or(codec.has_decimals(), |tier| tier.numbers().are_of(codec));
        #[cfg(not(feature = "redis"))]
        let is_of = codec.has_decimals();
        if is_of {
            codec
        } else {
            Tag::RAW
        }
    }

    /// Refuses keys and values that no record can hold.
    pub(crate) fn check_lengths(&self, key: &[u8], value: &[u8]) -> Result<()> {
        check_key(key)?;
        let max = self.value_bytes_max as usize;
        if value.len() > max {
            return Err(Error::ValueTooLong { len: value.len(), max });
        }
        Ok(())
    }
}

/// Refuses a key that no record can hold.
#[inline]
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::KeyTooLong { len: key.len(), max: KEY_BYTES_MAX });
    }
    Ok(())
}
