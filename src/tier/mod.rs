//! The tier: what a store shares with others through Redis (docs/tier.md).
//!
//! One thread sends what the log holds and Redis has not (`pusher`), one asks for what the store has not (`fetch`). Neither
//! holds a guard while it waits for Redis, and no call of the store waits for either, but for reads that fall through and
//! writes through.

mod backoff;
mod codec;
mod conn;
mod copies;
mod decide;
mod fetch;
mod figures;
mod glob;
mod lease;
mod line;
mod listener;
mod mark;
mod notices;
mod outbox;
mod preload;
mod pusher;
mod servers;
mod states;

pub(crate) use copies::forget_copy;
pub(crate) use decide::{Act, Change, Decided};
pub(crate) use fetch::{Fetched, KEYS_MAX as FETCHED_KEYS_MAX};
pub(crate) use lease::Lease;
pub(crate) use preload::Scanning;

use crate::error::{Error, Result};
use crate::log::{Request, Sent, SentFile};
use crate::maintenance::Inbox;
use crate::store::Store;
use crate::tier_options::{TierOptions, WhenDeaf, Writes};
use conn::{moment_after, Failure};
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What Redis takes as one value, unless it is configured otherwise.
pub(crate) const REDIS_VALUE_BYTES_MAX: usize = 512 << 20;

/// Figures of a store's tier, as of about one moment. Counts begin at open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Keys whose change Redis has not acknowledged.
    pub unsent_keys: u64,
    /// Bytes of log that hold those changes, the ones that were overtaken included.
    pub unsent_bytes: u64,
    /// For how long at most a change has waited; 0 when none does.
    pub unsent_for: Duration,
    /// Deletes and expiries that are kept because Redis was not told of them.
    pub unsent_deletes: u64,
    /// Keys sent, each change that was coalesced into one counted once.
    pub sent_keys: u64,
    /// Transactions that they were sent in.
    pub batches: u64,
    /// Reads that asked Redis.
    pub fetches: u64,
    /// Whether changes by others are heard.
    pub hears: bool,
    /// Attempts to send that failed.
    pub failures: u64,
    /// Why the last of them did; `None` once one has succeeded.
    pub failing: Option<String>,
}

#[derive(Default)]
struct Figures {
    sent_keys: AtomicU64,
    batches: AtomicU64,
    fetches: AtomicU64,
    failures: AtomicU64,
}

/// What the threads and the store's calls share.
struct Shared {
    store: Arc<Store>,
    inbox: Arc<Inbox>,
    options: TierOptions,
    servers: servers::Servers,
    mark_key: Vec<u8>,
    fetches: fetch::Fetches,
    decisions: decide::Decisions,
    codec: codec::Codec,
    leases: lease::Conns,
    figures: Figures,
    progress: Mutex<Progress>,
    /// Keys that others have changed while a change here was unsent: which is the newer one only Redis knows, and only when it
    /// has both.
    unsure: Mutex<HashSet<Box<[u8]>>>,
    /// Changes by others are heard.
    hearing: AtomicBool,
    changed: Condvar,
    stopping: Arc<AtomicBool>,
}

/// A connection that hears: its server, the server's number for it, and which one of this store's it is, since a server that starts
/// again gives the same numbers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ear {
    server: servers::ServerId,
    id: i64,
    turn: u64,
}

struct Progress {
    /// Everything written before this moment is in Redis.
    caught_up: Instant,
    failing: Option<Failure>,
    /// The connection that hears, and the one that changes are told to.
    wanted: Option<Ear>,
    told: Option<Ear>,
    /// One that cannot be told: the connection that sends has found another server.
    missed: Option<Ear>,
    mark: Option<mark::Mark>,
    /// Somebody waits for it.
    wants_mark: bool,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        // Acquire: pairs with the Release in `Tier::stop`.
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until every guard that is held now has been dropped; `false` if the store ends first. That must not wait for this
    /// wait: whoever closes the store may hold a pin.
    fn wait_grace(&self) -> bool {
        self.store.wait_grace_unless(|| self.is_stopping())
    }

    /// Waits for `pause`, or until the store ends.
    fn pause(&self, pause: Duration) {
        let until = moment_after(pause);
        let mut progress = self.progress();
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn unsure(&self) -> MutexGuard<'_, HashSet<Box<[u8]>>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether they were heard before.
    fn set_hearing(&self, hears: bool) -> bool {
        // AcqRel: a copy that is kept because this is set is found by whoever clears it and then waits for guards; pairs with
        // the Acquire in `keeps_copies`.
        let progress = self.progress();
        let heard = self.hearing.swap(hears, Ordering::AcqRel);
        drop(progress);
        self.changed.notify_all();
        heard
    }

    /// Waits until copies are kept: a store that was just opened hears nothing yet.
    fn wait_copies_kept(&self, until: Instant) -> std::result::Result<(), Failure> {
        let mut progress = self.progress();
        while !self.keeps_copies() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                return Err(Failure::new("changes by others are not heard, so no copies are kept"));
            }
            progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Whether what Redis said may be kept: not where it could grow old unnoticed and that is not wanted.
    fn keeps_copies(&self) -> bool {
        // Acquire: pairs with `set_hearing`.
        self.options.fresh != Some(WhenDeaf::Drop) || self.hearing.load(Ordering::Acquire)
    }

    /// Asks the thread that sends to have changes told to this connection.
    fn want_told(&self, ear: Option<Ear>) {
        self.progress().wanted = ear;
    }

    fn wanted(&self) -> Option<Ear> {
        self.progress().wanted
    }

    fn note_told(&self, ear: Option<Ear>) {
        self.progress().told = ear;
        self.changed.notify_all();
    }

    fn note_missed(&self, ear: Ear) {
        self.progress().missed = Some(ear);
        self.changed.notify_all();
    }

    fn is_told(&self, ear: Ear) -> bool {
        self.progress().told == Some(ear)
    }

    fn wait_told(&self, ear: Ear, until: Instant) -> std::result::Result<(), Failure> {
        let mut progress = self.progress();
        while progress.told != Some(ear) {
            if progress.missed == Some(ear) {
                return Err(Failure::new("the connection that sends has found another server"));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                return Err(Failure::new("changes by others are not told in time"));
            }
            progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// What the mark says as far as this store knows.
    fn mark(&self) -> Option<mark::Mark> {
        self.progress().mark
    }

    fn note_mark(&self, mark: mark::Mark) {
        let mut progress = self.progress();
        progress.mark = Some(mark);
        if std::mem::take(&mut progress.wants_mark) {
            self.changed.notify_all();
        }
    }

    fn wants_mark(&self) -> bool {
        self.progress().wants_mark
    }

    /// Waits until the thread that sends has found out what Redis has lost while the store was closed: what it does not hold from then
    /// on is gone.
    fn wait_mark(&self, until: Instant) -> std::result::Result<(), Failure> {
        let mut progress = self.progress();
        while progress.mark.is_none() && self.store.has_outbox() {
            progress.wants_mark = true;
            self.store.log.moved.wake();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                let unknown = || Failure::new("whether Redis has lost changes is not known in time");
                return Err(progress.failing.clone().unwrap_or_else(unknown));
            }
            progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn note_caught_up(&self, at: Instant) {
        self.progress().caught_up = at;
    }

    fn note_sent(&self, lsn: u64) {
        let progress = self.progress();
        self.store.outbox.set_sent(lsn);
        drop(progress);
        self.changed.notify_all();
        // Relaxed: a figure; masks that are held later wait for the next time.
        if self.store.outbox.held_masks.load(Ordering::Relaxed) > 0 {
            self.inbox.wake();
        }
    }

    fn note_health(&self, failure: Option<&Failure>) {
        // What a close interrupts has not failed.
        if failure.is_some() && self.is_stopping() {
            return;
        }
        let mut progress = self.progress();
        if let Some(failure) = failure {
            // Relaxed: a figure.
            self.figures.failures.fetch_add(1, Ordering::Relaxed);
            if progress.failing.is_none() {
                self.store.say(&format!("tier: {}", failure.reason));
            }
        }
        progress.failing = failure.cloned();
        drop(progress);
        self.changed.notify_all();
    }
}

/// A store's tier.
pub(crate) struct Tier {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn tier_error(failure: &Failure) -> Error {
    Error::Tier { reason: failure.reason.clone() }
}

impl Tier {
    /// Starts what the store's options ask for; `None` without a tier.
    pub(crate) fn start(store: &Arc<Store>, inbox: &Arc<Inbox>) -> Result<Option<Tier>> {
        let Some(mut options) = store.options.tier.clone().filter(|_| store.read_only.is_none()) else {
            return Ok(None);
        };
        let server = options.check()?;
        let writes = options.writes;
        let mark_key = mark::mark_key(&options.prefix, store.log.files.store_uuid);
        let codec = codec::Codec::new(&store.options, &options);
        let shared = Arc::new(Shared {
            servers: servers::Servers::new(server, mark_key.clone()),
            mark_key,
            store: Arc::clone(store),
            inbox: Arc::clone(inbox),
            leases: lease::Conns::new(options.backoff_max),
            options,
            fetches: fetch::Fetches::default(),
            decisions: decide::Decisions::default(),
            codec,
            figures: Figures::default(),
            progress: Mutex::new(Progress {
                caught_up: Instant::now(),
                failing: None,
                wanted: None,
                told: None,
                missed: None,
                mark: None,
                wants_mark: false,
            }),
            unsure: Mutex::default(),
            hearing: AtomicBool::new(false),
            changed: Condvar::new(),
            stopping: Arc::default(),
        });
        let tier = Tier { shared: Arc::clone(&shared), threads: Mutex::default() };
        if writes != Writes::Refused {
            let (file, sent) = sent_file(store)?;
            let pusher = pusher::Pusher::new(Arc::clone(&shared), file, sent);
            tier.spawn("kv-tier-send", move || pusher.run())?;
        }
        if shared.options.reads {
            let fetcher = fetch::Fetcher::new(Arc::clone(&shared));
            tier.spawn("kv-tier-ask", move || fetcher.run())?;
        }
        if let Some(when_deaf) = shared.options.fresh {
            let listener = listener::Listener::new(Arc::clone(&shared), when_deaf);
            tier.spawn("kv-tier-hear", move || listener.run())?;
        }
        Ok(Some(tier))
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run).map_err(|e| {
            self.stop();
            Error::io("start a thread for", Path::new("the tier"), e)
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Lets nobody wait for Redis any more, and lets the threads end.
    pub(crate) fn begin_stop(&self) {
        // Release: pairs with the Acquire in `is_stopping`.
        self.shared.stopping.store(true, Ordering::Release);
        drop(self.shared.progress());
        self.shared.changed.notify_all();
        self.shared.fetches.shut();
        self.shared.decisions.shut();
        self.shared.store.log.moved.wake();
    }

    /// Ends the threads. What Redis has not acknowledged stays in the log; a store in memory loses it.
    pub(crate) fn stop(&self) {
        self.begin_stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A logger may hold the last handle.
            if thread.thread().id() != std::thread::current().id() {
                // A panic was reported by the panic hook.
                let _ = thread.join();
            }
        }
    }

    pub(crate) fn options(&self) -> &TierOptions {
        &self.shared.options
    }

    /// What Redis holds for a key.
    pub(crate) fn fetch(&self, key: &[u8]) -> Result<Fetched> {
        let until = moment_after(self.shared.options.timeout);
        self.shared.fetches.fetch(key.to_vec(), until).map_err(|failure| tier_error(&failure))
    }

    /// What Redis holds for a key, and whether it still has what this store knew to stand in it before (K3).
    pub(crate) fn fetch_kept(&self, key: &[u8]) -> Result<(Fetched, bool)> {
        let Shared { options, mark_key, .. } = &*self.shared;
        let known = self.shared.mark();
        // Asked after the key: what it says holds for that.
        let mark_key = mark_key.get(options.prefix.len()..).unwrap_or_default();
        let mut said = self.fetch_many(&[key, mark_key]).into_iter();
        let mut next = || said.next().unwrap_or(Ok(Fetched::Absent));
        let fetched = next()?;
        let mark = match next()? {
            Fetched::Found { value, .. } => mark::Mark::parse(&value),
            Fetched::Absent => None,
        };
        Ok((fetched, known.is_some_and(|known| known.is_kept(mark))))
    }

    /// What Redis holds for each of some keys.
    pub(crate) fn fetch_many(&self, keys: &[&[u8]]) -> Vec<Result<Fetched>> {
        match self.shared.fetches.fetch_many(keys, self.shared.options.timeout) {
            Ok(fetched) => {
                fetched.into_iter().map(|one| one.map_err(|failure| tier_error(&failure))).collect()
            }
            Err(failure) => keys.iter().map(|_| Err(tier_error(&failure))).collect(),
        }
    }

    /// A read that could not be answered is a miss where that was chosen. One that was answered with what is no value is not.
    pub(crate) fn miss_if_unreachable<T>(&self, answer: Result<Option<T>>) -> Result<Option<T>> {
        match answer {
            Err(Error::Tier { reason })
                if self.shared.options.unreachable_is_miss && !codec::is_of_value(&reason) =>
            {
                Ok(None)
            }
            answer => answer,
        }
    }

    /// Tells the logger, in a thread of the store. Only for stores that ask.
    pub(crate) fn note(&self, line: String) {
        self.shared.fetches.note(line);
    }

    pub(crate) fn keeps_copies(&self) -> bool {
        self.shared.keeps_copies()
    }

    /// Has Redis decide on a change (`decide`).
    pub(crate) fn decide(&self, change: Change) -> Result<Decided> {
        let shared = &*self.shared;
        shared
            .decisions
            .decide(change, moment_after(shared.options.timeout), || shared.store.log.moved.wake())
    }

    /// Refuses a change: of a store that only follows, or one in memory whose queue is full.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let Shared { options, store, .. } = &*self.shared;
        if options.writes == Writes::Refused {
            return Err(Error::ReadOnly { reason: "it follows what others write to Redis".into() });
        }
        // Relaxed: a bound that a few may pass.
        let held = store.outbox.held_masks.load(Ordering::Relaxed);
        if held > options.unsent_deletes_max && store.log.files.directory.is_none() {
            let reason =
                format!("refused: {held} deletes wait for Redis, and a store in memory keeps no more");
            return Err(Error::Tier { reason });
        }
        Ok(())
    }

    /// Waits until Redis has acknowledged the change at `lsn`, if this store writes through.
    pub(crate) fn acknowledge(&self, lsn: u64) -> Result<()> {
        if self.shared.options.writes != Writes::Through {
            return Ok(());
        }
        self.shared.store.log.moved.wake();
        self.wait_sent(lsn, moment_after(self.shared.options.timeout), true)
    }

    /// Waits until Redis has acknowledged every change that was made before this call.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<()> {
        let store = &self.shared.store;
        if !store.has_outbox() {
            return Ok(());
        }
        let tail_lsn = store.log.tail_lsn(&crossbeam_epoch::pin());
        store.log.moved.wake();
        self.wait_sent(tail_lsn.saturating_sub(1), moment_after(timeout), false)
    }

    fn wait_sent(&self, lsn: u64, until: Instant, gives_up_early: bool) -> Result<()> {
        let shared = &*self.shared;
        let mut progress = shared.progress();
        loop {
            if !shared.store.is_unsent(lsn) {
                return Ok(());
            }
            if shared.is_stopping() {
                return Err(Error::Closed);
            }
            let left = until.saturating_duration_since(Instant::now());
            match &progress.failing {
                Some(failure) if left.is_zero() || gives_up_early => return Err(tier_error(failure)),
                None if left.is_zero() => {
                    return Err(Error::Tier { reason: "not acknowledged in time".into() })
                }
                _ => {}
            }
            progress = shared.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Figures. Reads the part of the log that is unsent.
    pub(crate) fn stats(&self) -> Result<TierStats> {
        let Shared { store, figures, .. } = &*self.shared;
        let sent_lsn = store.outbox.sent_lsn();
        let extents = store.log.ask(Request::Listing)?;
        let unsent = outbox::Unsent::new(&extents, sent_lsn, 0);
        let unsent_bytes = unsent.end_lsn.saturating_sub(sent_lsn);
        let unsent_keys = if unsent_bytes > 0 { unsent.count_keys() } else { 0 };
        let progress = self.shared.progress();
        // Relaxed: figures.
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Ok(TierStats {
            unsent_keys,
            unsent_bytes,
            unsent_for: if unsent_keys > 0 { progress.caught_up.elapsed() } else { Duration::ZERO },
            unsent_deletes: figure(&store.outbox.held_masks),
            sent_keys: figure(&figures.sent_keys),
            batches: figure(&figures.batches),
            fetches: figure(&figures.fetches),
            hears: self.shared.hearing.load(Ordering::Acquire),
            failures: figure(&figures.failures),
            failing: progress.failing.as_ref().map(|failure| failure.reason.clone()),
        })
    }
}

/// Where the store notes how far it came, and what stands there.
fn sent_file(store: &Store) -> Result<(SentFile, Sent)> {
    let Some(directory) = &store.log.files.directory else {
        return Ok((SentFile::in_memory(), Sent::default()));
    };
    let (file, sent) = SentFile::open(directory.disk.as_ref(), &directory.path)?;
    let tail_lsn = store.log.tail_lsn(&crossbeam_epoch::pin());
    if sent.lsn > tail_lsn {
        let reason = format!("Redis has the log up to {}, it ends at {tail_lsn}", sent.lsn);
        return Err(Error::corrupt(&directory.path.join(crate::log::SENT), 0, reason));
    }
    Ok((file, sent))
}
