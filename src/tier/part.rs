//! One part of a tier: its threads, and what they do for the keys of its shard.

use super::conn::{moment_after, Failure};
use super::fetch::{Fetched, WantedMany};
use super::shared::{Progress, Shared};
use super::{codec, decide, fetch, lease, listener, mark, outbox, pusher, servers, tier_error};
use super::{Change, Decided, TierStats};
use crate::error::{Error, Result};
use crate::log::{Request, Sent, SentFile, Signal};
use crate::maintenance::Inbox;
use crate::store::Store;
use crate::tier_options::{Server, Shard, TierOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One part of a store's tier.
pub(crate) struct Part {
    pub(super) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Part {
    pub(super) fn new(
        store: &Arc<Store>,
        inbox: &Arc<Inbox>,
        of_all: &TierOptions,
        server: Server,
        shard: Shard,
    ) -> Part {
        let options = of_all.clone().prefix(shard.prefix(&of_all.prefix));
        let mark_key = mark::mark_key(&options.prefix, store.log.files.store_uuid);
        let codec = codec::Codec::new(&store.options, &options);
        let shared = Arc::new(Shared {
            shard,
            moved: Arc::default(),
            servers: servers::Servers::new(server, mark_key.clone()),
            mark_key,
            store: Arc::clone(store),
            inbox: Arc::clone(inbox),
            leases: lease::Conns::new(options.backoff_max),
            options,
            fetches: fetch::Fetches::default(),
            decisions: decide::Decisions::default(),
            codec,
            figures: Default::default(),
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
        Part { shared, threads: Mutex::default() }
    }

    /// Starts the threads; the one that sends with the file where it notes how far it came.
    pub(super) fn run(&self, file: Option<(SentFile, Sent)>) -> Result<()> {
        let shared = &self.shared;
        if let Some((file, sent)) = file {
            let pusher = pusher::Pusher::new(Arc::clone(shared), file, sent);
            self.spawn("kv-tier-send", move || pusher.run())?;
        }
        if shared.options.reads {
            let fetcher = fetch::Fetcher::new(Arc::clone(shared));
            self.spawn("kv-tier-ask", move || fetcher.run())?;
        }
        if let Some(when_deaf) = shared.options.fresh {
            let listener = listener::Listener::new(Arc::clone(shared), when_deaf);
            self.spawn("kv-tier-hear", move || listener.run())?;
        }
        Ok(())
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .map_err(|e| Error::io("start a thread for", Path::new("the tier"), e))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// What wakes the thread that sends.
    pub(super) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.shared.moved)
    }

    pub(super) fn wake(&self) {
        self.shared.moved.wake();
    }

    /// Lets nobody wait for Redis any more, and lets the threads end.
    pub(super) fn begin_stop(&self) {
        // Release: pairs with the Acquire in `is_stopping`.
        self.shared.stopping.store(true, Ordering::Release);
        drop(self.shared.progress());
        self.shared.changed.notify_all();
        self.shared.fetches.shut();
        self.shared.decisions.shut();
        self.wake();
    }

    /// Waits for the threads, which were let end.
    pub(super) fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A logger may hold the last handle.
            if thread.thread().id() != std::thread::current().id() {
                // A panic was reported by the panic hook.
                let _ = thread.join();
            }
        }
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
        let wanted = self.want_many([key, mark_key].into_iter()).map_err(|failure| tier_error(&failure))?;
        let mut said = wanted.wait().into_iter();
        let mut next = || said.next().unwrap_or(Ok(Fetched::Absent)).map_err(|failure| tier_error(&failure));
        let fetched = next()?;
        let mark = match next()? {
            Fetched::Found { value, .. } => mark::Mark::parse(&value),
            Fetched::Absent => None,
        };
        Ok((fetched, known.is_some_and(|known| self.shared.check_mark(known, mark).is_ok())))
    }

    /// Asks what Redis holds for each of some keys.
    pub(super) fn want_many<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> std::result::Result<WantedMany, Failure> {
        self.shared.fetches.want_many(keys, self.shared.options.timeout)
    }

    /// Tells the logger, in a thread of the store.
    pub(crate) fn note(&self, line: &str) {
        self.shared.inbox.note(format!("tier: {line}"));
    }

    pub(crate) fn keeps_copies(&self) -> bool {
        self.shared.keeps_copies()
    }

    /// Has Redis decide on a change (`decide`).
    pub(crate) fn decide(&self, change: Change) -> Result<Decided> {
        let shared = &*self.shared;
        shared.decisions.decide(change, moment_after(shared.options.timeout), || shared.moved.wake())
    }

    /// Refuses a change where as many deletes wait as a store in memory keeps for this part.
    pub(super) fn check_room(&self) -> Result<()> {
        let Shared { options, shard, .. } = &*self.shared;
        let held = self.shared.store.outbox.held_masks(shard.number);
        // A bound that a few may pass.
        if held <= options.unsent_deletes_max.div_ceil(shard.count as u64) {
            return Ok(());
        }
        let waiting = self.shared.of_shard(&format!("{held} deletes wait for Redis"));
        Err(Error::Tier { reason: format!("refused: {waiting}, and a store in memory keeps no more") })
    }

    /// Waits until this part has sent the change at `lsn`.
    pub(super) fn wait_sent(&self, lsn: u64, until: Instant, gives_up_early: bool) -> Result<()> {
        let shared = &*self.shared;
        let mut progress = shared.progress();
        loop {
            if !shared.is_unsent(lsn) {
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
    pub(super) fn stats(&self) -> Result<TierStats> {
        let shared = &*self.shared;
        let Shared { store, figures, .. } = shared;
        let sent_lsn = shared.sent_lsn();
        let extents = store.log.ask(Request::Listing)?;
        let unsent = outbox::Unsent::new(&extents, shared.shard, sent_lsn, 0);
        let unsent_bytes = unsent.end_lsn.saturating_sub(sent_lsn);
        let unsent_keys = if unsent_bytes > 0 { unsent.count_keys() } else { 0 };
        let progress = self.shared.progress();
        // Relaxed: figures.
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Ok(TierStats {
            unsent_keys,
            unsent_bytes,
            // Each is of another key, and some may have been sent since they were counted.
            unsent_deletes: store.outbox.held_masks(shared.shard.number).min(unsent_keys),
            unsent_for: if unsent_keys > 0 { progress.caught_up.elapsed() } else { Duration::ZERO },
            sent_keys: figure(&figures.sent_keys),
            batches: figure(&figures.batches),
            fetches: figure(&figures.fetches),
            hears: self.shared.hearing.load(Ordering::Acquire),
            failures: figure(&figures.failures),
            failing: progress.failing.as_ref().map(|failure| shared.of_shard(&failure.reason)),
            ..TierStats::default()
        })
    }
}
