//! Being told what changes.

use super::scan::Entry;
use super::{read::whole_of, Db};
use crate::error::{Error, Result};
use crate::events::Cause;
use crate::locks::Wait;
use crate::options::check_key;
use crate::record::{flags, Kind, Word};
use crate::store::{Found, Store};
use crate::watch::Feed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Which changes a watch gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchOptions {
    prefix: Vec<u8>,
    after: Option<u64>,
}

impl WatchOptions {
    /// Those of every key, from now on.
    pub fn new() -> Self {
        WatchOptions::default()
    }

    /// Only of keys that begin with this.
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Those behind this version (log sequence number): where an earlier watch came to ([`Watch::position`]), also of an earlier run. 0:
    /// all that stands, and what follows.
    pub fn after(mut self, version: u64) -> Self {
        self.after = Some(version);
        self
    }
}

/// A change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key has this value now.
    Put(Entry),
    /// A key has none any more.
    Removed {
        /// The key.
        key: Vec<u8>,
        /// Version of the removal; of an entry that has expired its own.
        version: u64,
        /// Why. [`Cause::Evicted`] is said also of a copy of what the tier holds that this store has dropped.
        cause: Cause,
    },
    /// No key has a value any more that was set below this version.
    Cleared {
        /// Version of the clear.
        version: u64,
    },
}

impl Change {
    /// Its version: who watches behind it goes on with the next change.
    pub fn version(&self) -> u64 {
        match self {
            Change::Put(entry) => entry.version,
            Change::Removed { version, .. } | Change::Cleared { version } => *version,
        }
    }

    /// The key; `None` for a clear, which is of all.
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Change::Put(Entry { key, .. }) | Change::Removed { key, .. } => Some(key),
            Change::Cleared { .. } => None,
        }
    }

    fn of(store: &Store, offset: u64, record: Found<'_>) -> Result<Change> {
        let (_, view) = record;
        let (key, version) = (view.key.to_vec(), view.lsn);
        Ok(match view.word.kind() {
            Some(Kind::Clear) => Change::Cleared { version },
            Some(Kind::Put) if store.is_past(view.expire_at_ms, &crossbeam_epoch::pin()) => {
                Change::Removed { key, version, cause: Cause::Expired }
            }
            Some(Kind::Put) => Change::Put(whole_of(store, offset, record)?.into_entry(key)),
            _ => Change::Removed { key, version, cause: cause_of(view.word) },
        })
    }
}

fn cause_of(tombstone: Word) -> Cause {
    let has = |flag| tombstone.flags() & flag != 0;
    match () {
        () if has(flags::EXPIRED) => Cause::Expired,
        () if has(flags::EVICTED) || has(flags::FROM_TIER) => Cause::Evicted,
        () => Cause::Deleted,
    }
}

/// Gives the changes of a store, in the order of their versions. Made by [`Db::watch`]. It holds nothing back and no store open: the log is
/// what it reads from. As an iterator it waits for the next change, and is over when the store is closed or the watch was woken.
pub struct Watch {
    db: Db,
    feed: Feed,
    is_woken: Arc<AtomicBool>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.db.shared.store.log.followers.leave();
    }
}

/// Wakes who waits in a [`Watch`], from any thread.
#[derive(Clone)]
pub struct Waker {
    db: Db,
    is_woken: Arc<AtomicBool>,
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl Waker {
    /// The call that waits, or the next one if none does, gives `None`.
    pub fn wake(&self) {
        // Release: what was done before this is seen by who is woken; pairs with the swap in `next_change`.
        self.is_woken.store(true, Ordering::Release);
        if self.db.shared.fork.check().is_ok() {
            self.db.shared.store.log.followers.wake();
        }
    }
}

impl Db {
    /// Tells what changes. For each key the newest change behind [`WatchOptions::after`] is given, and older ones as far as they are still in
    /// the log, in the order of versions, which is that of the writes; each once. Members of a batch come one after the other, with
    /// nothing between them, and none before all are in the log.
    ///
    /// A change is given once it is visible, which is before it is durable. An entry that expires is not told of again: its deadline came
    /// with it, and one that is over is given as removed. What is written between two calls waits in the log, so nothing is
    /// lost for want of room and no writer waits. But compaction drops what newer writes of a key outdate, and removals once they hide nothing: a
    /// watch that comes too late for those says [`Error::Lagged`] once, and then gives all that stands.
    ///
    /// ```
    /// # use kv::{Change, Db, Wait, WatchOptions};
    /// # let db = Db::in_memory()?;
    /// let mut watch = db.watch(WatchOptions::new().prefix("user:"))?;
    /// db.set(b"user:7", b"Alice")?;
    /// db.set(b"order:1", b"tea")?;
    /// db.delete(b"user:7")?;
    /// let Some(Change::Put(entry)) = watch.next_change(Wait::No)? else { panic!() };
    /// assert_eq!((&entry.key[..], &entry.value[..]), (&b"user:7"[..], &b"Alice"[..]));
    /// assert!(matches!(watch.next_change(Wait::No)?, Some(Change::Removed { .. })));
    /// assert_eq!(watch.next_change(Wait::No)?, None);
    /// let later = WatchOptions::new().prefix("user:").after(watch.position()); // also after a restart
    /// # Ok::<(), kv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a version that the store has not reached: it is another store's; [`Error::KeyTooLong`] for the
    /// prefix; [`Error::ReadOnly`]; [`Error::Closed`], [`Error::Forked`].
    pub fn watch(&self, options: WatchOptions) -> Result<Watch> {
        check_key(&options.prefix)?;
        let store = self.open_store()?;
        if let Some(reason) = &store.read_only {
            return Err(Error::ReadOnly { reason: reason.clone() });
        }
        let last = store.log.tail_lsn(&crossbeam_epoch::pin()).saturating_sub(1);
        let after = options.after.unwrap_or(last);
        if after > last {
            let reason = format!("{after} lies beyond the last version, {last}");
            return Err(Error::InvalidOption { name: "after".into(), reason });
        }
        store.log.follow();
        let feed = Feed::new(store, &options.prefix, after);
        Ok(Watch { db: self.within(), feed, is_woken: Arc::default() })
    }
}

impl Watch {
    /// The next change; `None` if there is none within `wait`, or when a [`Waker`] was used.
    ///
    /// # Errors
    /// [`Error::Lagged`]: forget what was given so far, since what follows is all that stands, and what changes then.
    /// [`Error::Corrupt`] for a damaged value; the next call goes on behind it. [`Error::Closed`]: what is not given yet will be by a watch of the
    /// next open, behind this one's position. [`Error::Forked`].
    pub fn next_change(&mut self, wait: Wait) -> Result<Option<Change>> {
        let until = wait.until();
        let store = &*self.db.shared.store;
        let log = &store.log;
        loop {
            self.db.open_store()?;
            // Acquire: pairs with the Release in `wake`.
            if self.is_woken.swap(false, Ordering::AcqRel) {
                return Ok(None);
            }
            let seen_lsn = log.resolved_lsn();
            let change = self.feed.next(store, |offset, record| Change::of(store, offset, record))?;
            if change.is_some() || wait == Wait::No {
                return Ok(change);
            }
            let is_over = || {
                log.resolved_lsn() != seen_lsn || log.is_closing() || self.is_woken.load(Ordering::Acquire)
            };
            if !log.followers.wait(until, is_over) {
                return Ok(None);
            }
        }
    }

    /// Version up to which all changes were given. A watch behind it goes on where this one stands.
    pub fn position(&self) -> u64 {
        self.feed.position()
    }

    /// Something by which another thread ends this one's wait.
    pub fn waker(&self) -> Waker {
        Waker { db: self.db.clone(), is_woken: Arc::clone(&self.is_woken) }
    }
}

impl Iterator for Watch {
    type Item = Result<Change>;

    fn next(&mut self) -> Option<Result<Change>> {
        match self.next_change(Wait::Forever) {
            Err(Error::Closed) => None,
            result => result.transpose(),
        }
    }
}
