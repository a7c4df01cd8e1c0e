//! What the listener hears, and the thread that tells it.

use crate::options::{Listener, Logger};
use crate::tag::Tag;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Why an entry went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Deleted, taken or cleared.
    Deleted,
    /// Its time was over, or nobody had used it for too long.
    Expired,
    /// The store had to make room.
    Evicted,
    /// Another value was set; told of where [`Options::listener_replaced`](crate::Options::listener_replaced) says so.
    Replaced,
}

/// An entry that went, or a value. Each removal is told at most once; none is told that happened while the store was closed, as that of
/// an entry whose time was over when the store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its key.
    pub key: Vec<u8>,
    /// Its last value; empty if that cannot be read any more, which the logger is told.
    pub value: Vec<u8>,
    /// Which codec wrote the value.
    pub codec: Tag,
    /// Its version, as [`crate::Db::version`] gave it.
    pub version: u64,
    /// Why it went.
    pub cause: Cause,
}

/// What waits for the listener's thread.
struct Waiting {
    event: Event,
    /// Why the value cannot be read: for the logger, which not every host can be asked for by whoever removes an entry.
    unreadable: Option<String>,
}

/// The queue to the listener.
#[derive(Default)]
pub(crate) struct Events {
    queue: Mutex<Option<SyncSender<Waiting>>>,
    is_on: AtomicBool,
    dropped: AtomicU64,
    opened: Opened,
}

/// When the store was opened: what had a lower LSN, and a deadline that was over by then, has expired before.
#[derive(Clone, Copy, Default)]
pub(crate) struct Opened {
    pub(crate) lsn: u64,
    pub(crate) ms: u64,
}

impl Events {
    /// Starts the thread that calls `listener`, and `logger` about values that cannot be read. It ends when the `Events` are
    /// dropped or shut.
    pub(crate) fn start(
        listener: Listener,
        logger: Option<Logger>,
        waiting_max: usize,
        opened: Opened,
    ) -> std::io::Result<(Events, JoinHandle<()>)> {
        let (queue, events) = sync_channel::<Waiting>(waiting_max);
        let thread = std::thread::Builder::new().name("kv-listener".into()).spawn(move || {
            for Waiting { event, unreadable } in events {
                // Who panics has failed for this event; the next ones are still its own.
                let call = |call: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
                if let (Some(logger), Some(line)) = (&logger, unreadable) {
                    let _ = call(&|| logger(&line));
                }
                let _ = call(&|| listener(&event));
            }
        })?;
        let events = Events {
            queue: Mutex::new(Some(queue)),
            is_on: AtomicBool::new(true),
            opened,
            ..Events::default()
        };
        Ok((events, thread))
    }

    /// Whether anybody listens.
    pub(crate) fn is_on(&self) -> bool {
        // Relaxed: set before the store is shared, cleared when its events no longer matter.
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether a record's deadline was over before there was anybody to tell.
    pub(crate) fn come_too_late_for(&self, lsn: u64, expire_at_ms: u64) -> bool {
        lsn < self.opened.lsn && (1..=self.opened.ms).contains(&expire_at_ms)
    }

    /// Hands over an event, or counts it as dropped.
    pub(crate) fn tell(&self, event: Event, unreadable: Option<String>) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = Waiting { event, unreadable };
        if queue.as_ref().is_some_and(|queue| queue.try_send(waiting).is_err()) {
            // Relaxed: a count.
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the thread once it has told what waits.
    pub(crate) fn shut(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Events that found the queue full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
