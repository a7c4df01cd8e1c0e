//! The store as its users see it.

mod batch;
mod generate;
#[cfg(feature = "redis")]
mod lead;
mod load;
mod load_options;
#[cfg(feature = "redis")]
mod many;
mod mirror;
#[cfg(feature = "redis")]
mod preload;
mod read;
mod scan;
mod session;
#[cfg(feature = "redis")]
mod shared;
mod stats;
mod verify;
mod watch;
mod write;

pub use batch::Batch;
pub use generate::KeyOptions;
#[cfg(feature = "ffi")]
pub(crate) use load::Loaded;
pub use load_options::LoadOptions;
#[cfg(feature = "redis")]
pub use preload::Preloaded;
pub(crate) use read::check_codec;
pub use read::{Pin, Ttl, Value};
pub use scan::{Entry, Scan, ScanOptions};
pub use session::{CreateOptions, Session, Uncommitted};
pub use stats::Stats;
pub use verify::{salvage, verify, Report, Salvaged};
pub use watch::{Change, Waker, Watch, WatchOptions};
pub use write::{Condition, Expiry, SetOptions};

use crate::backup;
use crate::error::{Error, Result};
use crate::events::{Events, Opened};
use crate::fork;
use crate::loads::Refreshes;
use crate::log::{Ending, Keeper, Request, Start};
use crate::maintenance::{Inbox, Maintenance, Task};
use crate::options::Options;
use crate::recovery::{self, Damage, Recovered, Survey};
use crate::store::Store;
#[cfg(not(feature = "redis"))]
use crate::tag::Tagged;
#[cfg(feature = "redis")]
use crate::tier::Tier;
use mirror::Mirror;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// An open store. Clones share it; the last one that goes closes it.
///
/// Every call may come from any thread. Reads take no lock and never wait; writes wait only as
/// [`Sync`](crate::Sync) asks, and when the log grows faster than its next segment is prepared.
#[derive(Clone)]
pub struct Db {
    shared: Arc<Shared>,
    /// `None` in a thread of the store: what runs there does not keep it open.
    _life: Option<Arc<Life>>,
}

/// What the handles of a store have in common: it ends with the last of them.
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.end(Ending::Close);
    }
}

pub(crate) struct Shared {
    store: Arc<Store>,
    inbox: Arc<Inbox>,
    ending: Arc<Mutex<Option<Ending>>>,
    refreshes: Arc<Refreshes>,
    threads: Mutex<Threads>,
    #[cfg(feature = "redis")]
    tier: Option<Tier>,
    /// Set once, before anybody has the store.
    mirror: OnceLock<Mirror>,
    damage: Vec<Damage>,
    /// The files as they were at open, for a store that is only read.
    survey: Survey,
    fork: fork::Generation,
}

#[derive(Default)]
struct Threads {
    maintenance: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    listener: Option<JoinHandle<()>>,
    /// Held until the log thread has ended.
    lock: Option<Box<dyn Send + std::marker::Sync>>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the store in directory `path`, or makes one, with [`Options::new`].
    ///
    /// # Errors
    /// See [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Db> {
        Options::new().open(path)
    }

    /// Makes a store in memory, with [`Options::new`].
    ///
    /// # Errors
    /// See [`Options::in_memory`].
    pub fn in_memory() -> Result<Db> {
        Options::new().in_memory()
    }

    pub(crate) fn open_with(options: Options, path: &Path) -> Result<Db> {
        Db::start(recovery::open(options, path)?)
    }

    pub(crate) fn in_memory_with(options: Options) -> Result<Db> {
        Db::start(recovery::in_memory(options)?)
    }

    fn start(recovered: Recovered) -> Result<Db> {
        let Recovered { mut store, manifest, sealed, tail, lock, damage, sightings, survey } = recovered;
        let inbox = Arc::new(Inbox::default());
        inbox.set_paused(!store.options.background);
        let mut threads = Threads { lock, ..Threads::default() };
        let spawn_failed = |e| Error::io("start a thread for", Path::new("the store"), e);
        let is_read_only = store.read_only.is_some();
        if let (Some(listener), false) = (store.options.listener.clone(), is_read_only) {
            let (logger, waiting_max) = (store.options.logger.clone(), store.options.listener_queue);
            let opened =
                Opened { lsn: store.log.tail_lsn(&crossbeam_epoch::pin()), ms: store.clock.now_ms() };
            let started = Events::start(listener, logger, waiting_max, opened).map_err(spawn_failed)?;
            store.events = started.0;
            threads.listener = Some(started.1);
        }
        if store.options.limits.are_set() && !is_read_only {
            store.begin_limits();
        }
        if store.options.ordered_index {
            store.list_keys();
        }
        let store = Arc::new(store);
        let ending = Arc::new(Mutex::new(None));
        #[cfg_attr(not(feature = "redis"), allow(unused_mut))]
        let mut shared = Shared {
            store: Arc::clone(&store),
            inbox: Arc::clone(&inbox),
            ending: Arc::clone(&ending),
            refreshes: Arc::default(),
            threads: Mutex::default(),
            #[cfg(feature = "redis")]
            tier: None,
            mirror: OnceLock::new(),
            damage,
            survey,
            fork: fork::Generation::now(),
        };
        if let Some(tail) = tail {
            inbox.put(&mut { sightings });
            let (sink, time) = (Arc::clone(&inbox), Arc::clone(&store.stored_time_ms));
            if store.has_outbox() {
                store.log.follow();
            }
            let maintenance = Maintenance::new(Arc::clone(&store), inbox, &sealed);
            let keeper = Keeper::new(Start {
                log: Arc::clone(&store.log),
                manifest,
                sealed,
                tail,
                segment_bytes_max: store.options.segment_bytes,
                sink: Box::new(move |sightings| sink.put(sightings)),
                stored_time: Box::new(move || time.load(std::sync::atomic::Ordering::Acquire)),
                ending,
            });
            let named = |name: &str| std::thread::Builder::new().name(name.into());
            threads.keeper = Some(named("kv-log").spawn(move || keeper.run()).map_err(spawn_failed)?);
            let spawned = named("kv-maintenance").spawn(move || maintenance.run());
            match spawned {
                Ok(thread) => threads.maintenance = Some(thread),
                Err(error) => {
                    *shared.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
                    shared.end(Ending::Close);
                    return Err(spawn_failed(error));
                }
            }
        }
        *shared.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        #[cfg(feature = "redis")]
        {
            // Dropped on an error, `shared` ends the other threads.
            shared.tier = Tier::start(&shared.store, &shared.inbox)?;
        }
        if let Err(error) = store.keep_to_limits() {
            // Above its limits it opens all the same, and each write tries again.
            store.say(&format!("evict: {error}"));
        }
        let shared = Arc::new(shared);
        let db = Db { _life: Some(Arc::new(Life(Arc::clone(&shared)))), shared };
        if let Some(mirror) = Mirror::start(&db)? {
            let _ = db.shared.mirror.set(mirror);
        }
        Ok(db)
    }

    /// A handle for a thread of the store, which does not keep it open.
    fn within(&self) -> Db {
        Db { shared: Arc::clone(&self.shared), _life: None }
    }

    /// The store, for calls that change these keys of it.
    fn writable_store<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<&Store> {
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.shared.tier {
            tier.check_writable()?;
            keys.into_iter().try_for_each(|key| tier.check_room(key))?;
            return self.open_store();
        }
        let _ = keys;
        self.open_store()
    }

    /// The same for calls that change any.
    fn writable_whole(&self) -> Result<&Store> {
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.shared.tier {
            tier.check_writable()?;
            tier.check_room_of_all()?;
        }
        self.open_store()
    }

    /// Waits until the record at `lsn`, the last of those of these keys, is as safe as the store's modes ask.
    fn acknowledge<'k>(&self, lsn: u64, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<()> {
        self.shared.store.log.wait_acknowledged(lsn)?;
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.shared.tier {
            return tier.acknowledge(lsn, keys);
        }
        let _ = keys;
        Ok(())
    }

    /// The same of records of any keys.
    fn acknowledge_all(&self, lsn: u64) -> Result<()> {
        self.shared.store.log.wait_acknowledged(lsn)?;
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.shared.tier {
            return tier.acknowledge_all(lsn);
        }
        Ok(())
    }

    /// Without a tier there is nobody else to ask for what the store has not.
    #[cfg(not(feature = "redis"))]
    fn ask_tier(&self, _key: &[u8]) -> Result<Option<Tagged>> {
        Ok(None)
    }

    #[cfg(not(feature = "redis"))]
    fn ask_tier_many<K, V>(&self, _keys: &[K], _values: &mut [Option<V>]) -> Result<()> {
        Ok(())
    }

    /// Nor are there copies that could go.
    #[cfg(not(feature = "redis"))]
    fn with_copy<T>(&self, _key: &[u8], mut use_copy: impl FnMut(bool) -> Result<Option<T>>) -> Result<T> {
        loop {
            if let Some(used) = use_copy(false)? {
                return Ok(used);
            }
        }
    }

    #[cfg(not(feature = "redis"))]
    fn read_copy<T>(&self, _key: &[u8], mut read: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        read()
    }

    /// Whether a read that finds nothing here asks somebody else, and waits for the answer.
    #[cfg(feature = "ffi")]
    pub(crate) fn asks_elsewhere(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.shared.tier.as_ref().is_some_and(|tier| tier.options().reads);
        #[cfg(not(feature = "redis"))]
        false
    }

    /// Refuses calls of a forked child. Reads go on after `close` as long as somebody holds the store.
    #[inline]
    fn store(&self) -> Result<&Store> {
        self.shared.fork.check()?;
        Ok(&self.shared.store)
    }

    /// The store, for calls that a closed one refuses.
    #[inline]
    fn open_store(&self) -> Result<&Store> {
        let store = self.store()?;
        if store.log.is_closing() {
            return Err(Error::Closed);
        }
        Ok(store)
    }

    /// Removes every entry. Entries written while this runs may go or stay. Waits for a grace period, so for every pin
    /// that is held.
    ///
    /// # Errors
    /// [`Error::Pinned`] when this thread holds a [`Pin`]; else as [`Db::set`].
    pub fn clear(&self) -> Result<()> {
        let store = self.writable_whole()?;
        store.check_writable()?;
        read::refuse_pinned("clear")?;
        self.shared.store.loads.note_all();
        let lsn = self.shared.inbox.ask(Task::Clear)??;
        self.acknowledge_all(lsn)
    }

    /// Waits until every write that was acknowledged before this call is on disk. In memory: until the JSON mirror holds it, if there
    /// is one ([`Options::json_mirror`]).
    ///
    /// # Errors
    /// [`Error::SyncFailed`], [`Error::Closed`]; [`Error::Io`] when the mirror could not be written.
    pub fn sync(&self) -> Result<()> {
        let store = self.open_store()?;
        store.check_writable()?;
        if let Some(mirror) = self.shared.mirror.get().filter(|_| store.log.files.directory.is_none()) {
            return mirror.flush();
        }
        let tail_lsn = store.log.tail_lsn(&crossbeam_epoch::pin());
        store.log.wait_synced(tail_lsn.saturating_sub(1))
    }

    /// Rewrites the log so that it holds little but what lives, and waits for it. Compaction also runs by itself; this is for
    /// a moment of one's own choosing, before a backup say. Waits for every pin that is held.
    ///
    /// # Errors
    /// [`Error::Pinned`] when this thread holds a [`Pin`]; [`Error::Io`] on a full disk; as [`Db::set`].
    pub fn compact(&self) -> Result<()> {
        self.open_store()?.check_writable()?;
        read::refuse_pinned("compact")?;
        self.catch_up()?;
        self.shared.inbox.ask(Task::Compact)?
    }

    /// Removes everything that has expired by now, without waiting for the background to get to it. May wait for every pin
    /// that is held: the thread that does it also waits for them.
    ///
    /// # Errors
    /// [`Error::Pinned`] when this thread holds a [`Pin`]: the background may be waiting for it; as [`Db::set`].
    pub fn sweep(&self) -> Result<()> {
        self.open_store()?.check_writable()?;
        read::refuse_pinned("sweep")?;
        self.catch_up()?;
        self.shared.inbox.ask(Task::Sweep)
    }

    /// Lets the log thread see every record that is resolved now.
    fn catch_up(&self) -> Result<()> {
        self.shared.store.log.ask(Request::CatchUp)
    }

    /// Stops expiry and compaction until [`Db::resume`]. Expired entries stay invisible.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn pause(&self) -> Result<()> {
        self.open_store()?;
        self.shared.inbox.set_paused(true);
        Ok(())
    }

    /// Lets expiry and compaction run again.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn resume(&self) -> Result<()> {
        self.open_store()?;
        self.shared.inbox.set_paused(false);
        Ok(())
    }

    /// Writes a copy of the store, as of one moment, into directory `to`, which must be empty or not exist. Writers go on.
    /// Costs a read and a write of the log; returns when the copy is on disk.
    ///
    /// # Errors
    /// [`Error::NotAStore`] when `to` holds something; [`Error::ReadOnly`]; [`Error::Io`].
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        let store = self.open_store()?;
        backup::backup(store, to.as_ref())
    }

    /// Whether the store takes calls.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn check_open(&self) -> Result<()> {
        self.open_store().map(drop)
    }

    /// The store's time, in Unix milliseconds: never runs backwards.
    pub fn now_ms(&self) -> u64 {
        self.shared.store.clock.now_ms()
    }

    /// What could not be recovered at open: empty unless [`Recover::Salvage`](crate::Recover::Salvage) or a read-only open met
    /// damage.
    pub fn damage(&self) -> &[Damage] {
        &self.shared.damage
    }

    /// Ends the store: waits for writes that run, and for loaders that a thread of the store runs
    /// ([`Db::get_or_load_with`]), makes all durable, and releases the directory. Later writes give
    /// [`Error::Closed`]; reads that already hold a [`Pin`] go on. Idempotent. The last handle that goes does the same, but
    /// cannot report an error.
    ///
    /// # Errors
    /// [`Error::SyncFailed`] when what was written could not be made durable; [`Error::Io`] when the JSON mirror could not be written.
    pub fn close(&self) -> Result<()> {
        self.shared.fork.check()?;
        self.shared.end(Ending::Close);
        let log = &self.shared.store.log;
        if self.shared.store.read_only.is_none() && log.is_broken() {
            return Err(Error::SyncFailed { reason: log.broken_reason() });
        }
        self.shared.mirror.get().and_then(Mirror::failure).map_or(Ok(()), Err)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn log(&self) -> &crate::log::Log {
        &self.shared.store.log
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn listed_keys(&self) -> usize {
        self.shared.store.keys.as_ref().map_or(0, crate::ordered::KeyList::len)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn tickets(&self) -> usize {
        self.shared.store.capacity.as_ref().map_or(0, crate::capacity::Capacity::tickets)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn loads_under_way(&self) -> (usize, usize) {
        self.shared.store.loads.under_way()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn sessions_under_way(&self) -> (usize, usize) {
        self.shared.store.locks.under_way()
    }

    /// Ends the store as if the process had died here: nothing is synced, sealed or trimmed.
    #[doc(hidden)]
    pub fn abandon(&self) {
        self.shared.end(Ending::Abandon);
    }
}

impl Shared {
    fn end(&self, ending: Ending) {
        if self.fork.check().is_err() {
            return;
        }
        // First of all: a loader that is waited for next may wait for a session.
        self.store.locks.shut();
        self.refreshes.shut();
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.tier {
            // Before those are waited for who wait for an answer of Redis'.
            tier.begin_stop();
        }
        // Before the lock: a loader may close the store.
        self.refreshes.wait();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(feature = "redis")]
        if let Some(tier) = &self.tier {
            tier.stop();
        }
        if let Some(mirror) = self.mirror.get() {
            mirror.begin_stop();
        }
        self.store.log.begin_close();
        self.inbox.wake();
        if let Some(mirror) = self.mirror.get() {
            mirror.stop();
        }
        join(threads.maintenance.take());
        self.inbox.shut();
        let ending = *self.ending.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(ending);
        self.store.log.wake();
        join(threads.keeper.take());
        if let Some(mirror) = self.mirror.get() {
            // Nothing is written any more, and the store is still this one's alone.
            mirror.end(ending == Ending::Close);
        }
        self.store.events.shut();
        join(threads.listener.take());
        threads.lock = None;
    }
}

/// Waits for a thread, unless it is this one: a listener may hold the last handle.
fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
        // A panic of a store's thread was reported by the panic hook.
        let _ = thread.join();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.fork.check().is_err() {
            // The parent's threads do not exist here, and its lock is not this process's to release.
            // Not locked: the thread that held the lock when the process forked does not exist here either.
            let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(threads));
            std::mem::forget(Arc::clone(&self.refreshes));
            return;
        }
        self.end(Ending::Close);
    }
}
