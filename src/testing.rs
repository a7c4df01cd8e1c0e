//! Switches that take a mechanism out, so that a test can show that the suite notices. Without the feature `testing`
//! every switch reads as off and the code behind it is gone.

/// One mechanism to take out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Fault {
    /// I2: a blind write that meets a higher LSN calls itself overwritten.
    BlindWriteCallsItselfOverwritten,
    /// I6: masks are dropped although an older version of their key may stand elsewhere.
    TombstonesDroppedEarly,
    /// I6: an expired record that left the index is dropped without a mask.
    ExpiredDroppedWithoutMask,
    /// I8: victims are unlinked before the log that outdates them is synced and the manifest written.
    UnlinkBeforeSync,
    /// I8: victims are unmapped at once.
    NoGraceBeforeUnmap,
    /// I12: recovery stops at the first hole of a store whose process died.
    NoResyncOverHoles,
    /// I9: victims are taken without waiting for writers below the compaction's start.
    VictimsWithoutGrace,
    /// I14: clear walks the index without waiting for writers below it.
    ClearWithoutGrace,
    /// I17: an old tail is appended to after a crash.
    OldTailReused,
    /// I5: an expired record found by a reader is not tagged.
    ExpiredNotTagged,
    /// I2: a blind write is acknowledged while its record is pending.
    AcknowledgedPending,
    /// I4: a record that is found pending is acted on and not committed.
    PendingNotCommitted,
}

/// A set of faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults(u32);

impl Faults {
    /// Adds one.
    pub fn with(self, fault: Fault) -> Faults {
        Faults(self.0 | 1 << fault as u8)
    }

    /// Whether a mechanism is taken out.
    #[inline]
    pub fn has(self, fault: Fault) -> bool {
        cfg!(any(test, feature = "testing")) && self.0 & (1 << fault as u8) != 0
    }
}

/// Where a hook is called, by the thread that gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// A conditional write has decided on what stands there, and has reserved nothing yet.
    Decided,
    /// A write of one key has filled its record and not yet published it.
    Reserved,
    /// A write has published its record, which is still pending.
    Published,
    /// A batch counts as a whole, and none of its members has been published.
    Committed,
    /// The compactor has found that an entry leads to the record in hand, and not yet copied it.
    Rewriting,
    /// A compaction or a clear has fixed the LSN that it takes place at, and has not yet waited for writers below it.
    Began,
    /// A snapshot has walked over the index, and not yet fixed the LSN that it is of.
    Walked,
    /// The maintenance thread waits: for a grace period, or for the log to be synced.
    Waiting,
}

#[cfg(any(test, feature = "testing"))]
type Hook = std::sync::Arc<dyn Fn(Point) + Send + Sync>;

/// What is called at each [`Point`]; nothing by default, and without the feature `testing`.
#[derive(Clone, Default)]
pub struct Hooks {
    #[cfg(any(test, feature = "testing"))]
    hook: Option<Hook>,
}

impl Hooks {
    /// Calls `hook` at each point.
    #[cfg(any(test, feature = "testing"))]
    pub fn new(hook: impl Fn(Point) + Send + Sync + 'static) -> Hooks {
        Hooks { hook: Some(std::sync::Arc::new(hook)) }
    }

    /// The calling thread is at `point`.
    #[inline]
    pub fn at(&self, point: Point) {
        #[cfg(any(test, feature = "testing"))]
        if let Some(hook) = &self.hook {
            hook(point);
        }
        let _ = point;
    }
}

#[cfg(any(test, feature = "testing"))]
thread_local! {
    static LAST_LSN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// LSN of the record that the calling thread appended last, 0 if it has appended none. Evictions, which an operation may write besides
/// its own record, before and after it, do not count.
#[cfg(any(test, feature = "testing"))]
pub fn last_lsn() -> u64 {
    LAST_LSN.with(std::cell::Cell::get)
}

/// The calling thread has appended a record, or the frame of a batch.
#[inline]
pub(crate) fn appended(lsn: u64) {
    #[cfg(any(test, feature = "testing"))]
    LAST_LSN.with(|last| last.set(lsn));
    let _ = lsn;
}

/// Runs what appends records besides the operation's own: `last_lsn` does not tell of them.
#[inline]
pub(crate) fn besides<T>(append: impl FnOnce() -> T) -> T {
    #[cfg(any(test, feature = "testing"))]
    let last = last_lsn();
    let appended = append();
    #[cfg(any(test, feature = "testing"))]
    LAST_LSN.with(|own| own.set(last));
    appended
}

/// Keys that loaders or reads bring just now, and threads that wait for one of them.
#[cfg(any(test, feature = "testing"))]
pub fn loads_under_way(db: &crate::db::Db) -> (usize, usize) {
    db.loads_under_way()
}

/// Keys in the list of a store with an ordered index.
#[cfg(any(test, feature = "testing"))]
pub fn listed_keys(db: &crate::db::Db) -> usize {
    db.listed_keys()
}

/// Tickets of a store with limits that are not void (C1).
#[cfg(any(test, feature = "testing"))]
pub fn tickets(db: &crate::db::Db) -> usize {
    db.tickets()
}

/// Keys that sessions have locked just now, and threads that wait for one of them.
#[cfg(any(test, feature = "testing"))]
pub fn sessions_under_way(db: &crate::db::Db) -> (usize, usize) {
    db.sessions_under_way()
}

#[cfg(any(test, feature = "testing"))]
pub use on_disk::*;

/// A store's files, held by a test.
#[cfg(any(test, feature = "testing"))]
mod on_disk {
    use crate::db::Db;
    use crate::error::{Error, Result};
    use crate::io::{Disk, OsDisk};
    use crate::log::{dictionary_in_name, id_in_name, Manifest};
    use crate::options::Options;
    use crate::record::{decode, Draft, Kind, Seed, Word, HEADER_BYTES, KEY_LEN_AT, VALUE_LEN_AT};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::Ordering;
    use std::sync::Arc;

    pub use crate::io::sim::{Call, Choice, Image, Moment, SimDisk};

    /// The same options, for a store on `disk`.
    pub fn on(options: Options, disk: &Arc<SimDisk>) -> Options {
        options.disk(disk.clone())
    }

    /// Names in a closed store's directory that belong to nothing.
    ///
    /// # Errors
    /// As opening the store, for the manifest.
    pub fn stray_names(disk: &SimDisk, dir: &Path) -> Result<Vec<PathBuf>> {
        strays(disk, dir, disk.names(dir))
    }

    /// As [`stray_names`], on the real disk.
    ///
    /// # Errors
    /// As opening the store, for the manifest.
    pub fn stray_files(dir: &Path) -> Result<Vec<PathBuf>> {
        let names = OsDisk.list(dir).map_err(|e| Error::io("list", dir, e))?;
        strays(&OsDisk, dir, names.into_iter().map(|entry| entry.name.into()).collect())
    }

    fn strays(disk: &dyn Disk, dir: &Path, names: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        let manifest = Manifest::load(disk, dir)?;
        let is_listed = |name: &PathBuf| {
            let id = id_in_name(name);
            manifest.iter().any(|m| m.segments.iter().any(|listed| Some(listed.id) == id))
        };
        let known = ["MANIFEST-0", "MANIFEST-1", "LOCK", "SENT", "MIRROR", "MIRROR.new"];
        let is_known = |name: &PathBuf| known.iter().any(|known| name == Path::new(known));
        let is_dictionary = |name: &PathBuf| dictionary_in_name(name).is_some();
        let is_stray = |name: &PathBuf| !is_listed(name) && !is_known(name) && !is_dictionary(name);
        Ok(names.into_iter().filter(is_stray).collect())
    }

    /// Reads a record at the start of `bytes` and tells how many of them it takes; `None`: there is none.
    pub fn decode_record(bytes: &[u8], salt: u64) -> Option<u64> {
        decode(bytes, Seed::from_salt(salt)).ok().map(|record| record.bytes)
    }

    /// Gives a record at the start of `bytes` the checksum that its lengths ask for. Whether they fit.
    pub fn sign_record(bytes: &mut [u8], salt: u64) -> bool {
        let number = |at: usize, len: usize| {
            let field = bytes.get(at..at + len)?;
            Some(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
        };
        let lengths = || Some((number(KEY_LEN_AT, 2)?, number(VALUE_LEN_AT, 4)?));
        let Some((key_len, value_len)) = lengths() else { return false };
        let is_pad = bytes.get(4) == Some(&(Kind::Pad as u8));
        let end = if is_pad { HEADER_BYTES } else { HEADER_BYTES + key_len + value_len };
        let Some((word, body)) = bytes.get_mut(..end).and_then(|record| record.split_first_chunk_mut())
        else {
            return false;
        };
        let crc = Seed::from_salt(salt).record_crc(Word(u64::from_le_bytes(*word)), body);
        word[..4].copy_from_slice(&crc.to_le_bytes());
        true
    }

    /// Leaves a reservation that nobody fills, as a thread does that dies in between.
    pub fn leave_hole(db: &Db, bytes: u64) {
        db.log().active(&crossbeam_epoch::pin()).leave_hole(bytes.next_multiple_of(8));
    }

    /// Leaves the frame of a batch of one whose member is filled and which itself is not, as a thread does that dies in
    /// between. Whether there was room for it.
    pub fn leave_open_batch(db: &Db, key: &[u8], value: &[u8]) -> bool {
        let guard = crossbeam_epoch::pin();
        let member =
            Draft { kind: Kind::Put, flags: 0, codec: 0, dictionary: 0, lsn: 0, expire_at_ms: 0, key, value };
        let Ok(frame) = db.log().append_batch(&[member], &guard, |_| ()) else { return false };
        let at = usize::try_from(frame.offset).unwrap_or(usize::MAX);
        frame.segment.map().word(at).map(|word| word.store(0, Ordering::Release)).is_some()
    }

    /// Leaves a record that is filled and never decided. Whether there was room for it.
    pub fn leave_pending(db: &Db, key: &[u8], value: &[u8]) -> bool {
        let draft =
            Draft { kind: Kind::Put, flags: 0, codec: 0, dictionary: 0, lsn: 0, expire_at_ms: 0, key, value };
        db.log().append(&draft, &crossbeam_epoch::pin()).is_ok()
    }
}
