//! What the threads of a part and the store's calls share.

use super::conn::{moment_after, Conn, Failure};
use super::{codec, decide, fetch, lease, mark, servers};
use crate::log::Signal;
use crate::maintenance::Inbox;
use crate::store::Store;
use crate::tier_options::{Shard, TierOptions, WhenDeaf};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Figures {
    pub(super) sent_keys: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) fetches: AtomicU64,
    pub(super) failures: AtomicU64,
}

/// What the threads and the store's calls share.
pub(super) struct Shared {
    pub(super) shard: Shard,
    /// Wakes the thread that sends.
    pub(super) moved: Arc<Signal>,
    pub(super) store: Arc<Store>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) options: TierOptions,
    pub(super) servers: servers::Servers,
    pub(super) mark_key: Vec<u8>,
    pub(super) fetches: fetch::Fetches,
    pub(super) decisions: decide::Decisions,
    pub(super) codec: codec::Codec,
    pub(super) leases: lease::Conns,
    pub(super) figures: Figures,
    pub(super) progress: Mutex<Progress>,
    /// Keys that others have changed while a change here was unsent: which is the newer one only Redis knows, and only when it
    /// has both.
    pub(super) unsure: Mutex<HashSet<Box<[u8]>>>,
    /// Changes by others are heard.
    pub(super) hearing: AtomicBool,
    pub(super) changed: Condvar,
    pub(super) stopping: Arc<AtomicBool>,
}

/// A connection that hears: its server, the server's number for it, and which one of this store's it is, since a server that starts
/// again gives the same numbers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ear {
    pub(super) server: servers::ServerId,
    pub(super) id: i64,
    pub(super) turn: u64,
}

pub(super) struct Progress {
    /// Everything written before this moment is in Redis.
    pub(super) caught_up: Instant,
    pub(super) failing: Option<Failure>,
    /// The connection that hears, and the one that changes are told to.
    pub(super) wanted: Option<Ear>,
    pub(super) told: Option<Ear>,
    /// One that cannot be told: the connection that sends has found another server.
    pub(super) missed: Option<Ear>,
    pub(super) mark: Option<mark::Mark>,
    /// It is to be looked at: somebody waits for that, or found it behind.
    pub(super) wants_mark: bool,
}

impl Shared {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// LSN from which on this part's keys are to be sent.
    pub(super) fn sent_lsn(&self) -> u64 {
        self.store.outbox.sent_lsn(self.shard.number)
    }

    /// Whether what a record of one of its keys with this LSN says is still to be sent.
    pub(super) fn is_unsent(&self, lsn: u64) -> bool {
        lsn >= self.sent_lsn()
    }

    /// Whether what stands for the key of a change is still to be sent, or what stood when it was asked for (D3).
    pub(super) fn is_early(&self, change: &decide::Change) -> bool {
        let stands_unsent = || {
            let guard = crossbeam_epoch::pin();
            self.store.has_unsent(&self.store.look(&change.key, &guard))
        };
        change.after_lsn.is_some_and(|lsn| self.is_unsent(lsn)) || stands_unsent()
    }

    /// Tells the logger.
    pub(super) fn say(&self, line: &str) {
        self.store.say(&format!("tier: {}", self.of_shard(line)));
    }

    /// What happened to which of several shards.
    pub(super) fn of_shard(&self, what: &str) -> String {
        match self.shard.count {
            1 => what.into(),
            _ => format!("shard {}: {what}", self.shard.number),
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        // Acquire: pairs with the Release in `Tier::stop`.
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until every guard that is held now has been dropped; `false` if the store ends first. That must not wait for this
    /// wait: whoever closes the store may hold a pin.
    pub(super) fn wait_grace(&self) -> bool {
        self.store.wait_grace_unless(|| self.is_stopping())
    }

    /// Waits for `pause`, or until the store ends.
    pub(super) fn pause(&self, pause: Duration) {
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

    pub(super) fn unsure(&self) -> MutexGuard<'_, HashSet<Box<[u8]>>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether they were heard before.
    pub(super) fn set_hearing(&self, hears: bool) -> bool {
        // AcqRel: a copy that is kept because this is set is found by whoever clears it and then waits for guards; pairs with
        // the Acquire in `keeps_copies`.
        let progress = self.progress();
        let heard = self.hearing.swap(hears, Ordering::AcqRel);
        drop(progress);
        self.changed.notify_all();
        heard
    }

    /// Waits until copies are kept: a store that was just opened hears nothing yet.
    pub(super) fn wait_copies_kept(&self, until: Instant) -> std::result::Result<(), Failure> {
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
    pub(super) fn keeps_copies(&self) -> bool {
        // Acquire: pairs with `set_hearing`.
        self.options.fresh != Some(WhenDeaf::Drop) || self.hearing.load(Ordering::Acquire)
    }

    /// Asks the thread that sends to have changes told to this connection.
    pub(super) fn want_told(&self, ear: Option<Ear>) {
        self.progress().wanted = ear;
    }

    pub(super) fn wanted(&self) -> Option<Ear> {
        self.progress().wanted
    }

    pub(super) fn note_told(&self, ear: Option<Ear>) {
        self.progress().told = ear;
        self.changed.notify_all();
    }

    pub(super) fn note_missed(&self, ear: Ear) {
        self.progress().missed = Some(ear);
        self.changed.notify_all();
    }

    pub(super) fn is_told(&self, ear: Ear) -> bool {
        self.progress().told == Some(ear)
    }

    pub(super) fn wait_told(&self, ear: Ear, until: Instant) -> std::result::Result<(), Failure> {
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
    pub(super) fn mark(&self) -> Option<mark::Mark> {
        self.progress().mark
    }

    pub(super) fn note_mark(&self, mark: mark::Mark) {
        let mut progress = self.progress();
        progress.mark = Some(mark);
        if std::mem::take(&mut progress.wants_mark) {
            self.changed.notify_all();
        }
    }

    /// Fails if a server that answered meanwhile has lost what this store knew to stand in it before (K3): what it does not hold
    /// then is not gone. This store still has it, and the thread that sends looks at once what is to be sent again.
    pub(super) fn check_kept(
        &self,
        conn: &mut Conn,
        known: Option<mark::Mark>,
    ) -> std::result::Result<(), Failure> {
        match known {
            Some(known) => self.check_mark(known, mark::Mark::read(conn, &self.mark_key)?),
            None => Ok(()),
        }
    }

    /// The same with the mark that it told.
    pub(super) fn check_mark(
        &self,
        known: mark::Mark,
        found: Option<mark::Mark>,
    ) -> std::result::Result<(), Failure> {
        if known.is_kept(found) {
            return Ok(());
        }
        self.progress().wants_mark = true;
        self.moved.wake();
        Err(Failure::new("Redis has lost changes that it had acknowledged"))
    }

    pub(super) fn wants_mark(&self) -> bool {
        self.progress().wants_mark
    }

    /// Waits until the thread that sends has found out what Redis has lost while the store was closed: what it does not hold from then
    /// on is gone.
    pub(super) fn wait_mark(&self, until: Instant) -> std::result::Result<(), Failure> {
        let mut progress = self.progress();
        while progress.mark.is_none() && self.store.has_outbox() {
            progress.wants_mark = true;
            self.moved.wake();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                let unknown = || Failure::new("whether Redis has lost changes is not known in time");
                return Err(progress.failing.clone().unwrap_or_else(unknown));
            }
            progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    pub(super) fn note_caught_up(&self, at: Instant) {
        self.progress().caught_up = at;
    }

    pub(super) fn note_sent(&self, lsn: u64) {
        let progress = self.progress();
        let holds_masks = self.store.outbox.set_sent(self.shard.number, lsn);
        drop(progress);
        self.changed.notify_all();
        if holds_masks {
            self.inbox.wake();
        }
    }

    pub(super) fn note_health(&self, failure: Option<&Failure>) {
        // What a close interrupts has not failed.
        if failure.is_some() && self.is_stopping() {
            return;
        }
        let mut progress = self.progress();
        if let Some(failure) = failure {
            // Relaxed: a figure.
            self.figures.failures.fetch_add(1, Ordering::Relaxed);
            if progress.failing.is_none() {
                self.say(&failure.reason);
            }
        }
        progress.failing = failure.cloned();
        drop(progress);
        self.changed.notify_all();
    }
}
