//! When what was loaded is loaded anew.

use super::write::{Expiry, SetOptions};
use crate::clock::millis;
use crate::error::{Error, Result};
#[cfg(feature = "redis")]
use crate::limits::CLOCKS_DIFFER_MS;
use crate::store::Store;
use crate::tag::Tag;
use std::time::Duration;

/// How long what a loader brings is kept and when it is loaded anew, for
/// [`Db::get_or_load_with`](crate::Db::get_or_load_with).
///
/// ```
/// use std::time::Duration;
/// let hour = Duration::from_secs(3600);
/// // Served for an hour and loaded anew after half of it; what is nowhere is asked for once a minute.
/// let options = kv::LoadOptions::new().ttl(hour).fresh_for(hour / 2).absent_for(Duration::from_secs(60));
/// let db = kv::Db::in_memory()?;
/// let page = db.get_or_load_with(b"page", options, || Ok::<_, kv::Error>(Some(b"made at some cost".to_vec())))?;
/// assert_eq!(page.as_deref(), Some(&b"made at some cost"[..]));
/// # Ok::<(), kv::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LoadOptions {
    ttl: Option<Duration>,
    fresh_for: Option<Duration>,
    early: f64,
    absent_for: Option<Duration>,
    pub(super) codec: Tag,
    #[cfg(feature = "redis")]
    lease: Option<Duration>,
}

impl LoadOptions {
    /// The store's default time to live; nothing is loaded anew before it is gone, and absence is not remembered.
    pub fn new() -> Self {
        LoadOptions::default()
    }

    /// How long a loaded value lives, in place of the store's default. After that it is gone: what expired is never served.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// For how long of its life a value counts as fresh. From then on until its end it is served as it is, while one thread of the
    /// store loads it anew; if that fails it is served on, and tried again a second later at the earliest. Needs a time to live that
    /// is longer.
    pub fn fresh_for(mut self, time: Duration) -> Self {
        self.fresh_for = Some(time);
        self
    }

    /// Lets a value be loaded anew before it is stale (without `fresh_for`: before its end), at a moment drawn anew by each read:
    /// earlier by what loads of this store take lately, times this, times −ln of an even draw. So readers of many processes do not
    /// all load at once. 1 is a good value; 0, the default, is off.
    pub fn early(mut self, factor: f64) -> Self {
        self.early = factor;
        self
    }

    /// For how long it is remembered that a loader found nothing. A change of the key, or one elsewhere that is heard, ends it. In
    /// memory only, of 65,536 keys and 8 MiB of them at most: beyond that those are forgotten whose time is over first. While any are
    /// remembered each write takes a short lock.
    pub fn absent_for(mut self, time: Duration) -> Self {
        self.absent_for = Some(time);
        self
    }

    /// Which codec writes what the loader brings. What stands there must be of the same; [`Tag::RAW`], the default, takes any.
    pub fn codec(mut self, codec: Tag) -> Self {
        self.codec = codec;
        self
    }

    /// Lets one process of all that share a tier load a key at a time: it holds a lease in Redis, which it loses after this time, and
    /// gives back when Redis has the value. The others wait for the value, for twice this time at most; then they load it too, as they
    /// do when Redis cannot be asked: a lease saves work, and no promise hangs on it. Without a tier it has no effect.
    #[cfg(feature = "redis")]
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = Some(time);
        self
    }

    /// Refuses what cannot work.
    pub(super) fn plan(self, store: &Store) -> Result<Plan> {
        let refuse = |reason: &str| Err(Error::InvalidOption { name: "load".into(), reason: reason.into() });
        let ttl = self.ttl.or(store.options.default_ttl);
        if self.ttl.is_some_and(|ttl| ttl.is_zero()) {
            return refuse("ttl: a time to live of zero");
        }
        let stale_ms = match (self.fresh_for, ttl) {
            (None, _) => 0,
            (Some(fresh_for), Some(ttl)) if !fresh_for.is_zero() && fresh_for < ttl => {
                millis(ttl - fresh_for)
            }
            _ => {
                return refuse(
                    "fresh_for: needs a time to live, and must be more than zero and less than that",
                )
            }
        };
        if !self.early.is_finite() || self.early < 0.0 {
            return refuse("early: must be a number of 0 or more");
        }
        #[cfg(feature = "redis")]
        if self.lease.is_some_and(|time| time < Duration::from_millis(1)) {
            return refuse("lease: must be a millisecond or more");
        }
        Ok(Plan {
            options: self,
            stale_ms,
            #[cfg(feature = "redis")]
            newer_by_ms: self.fresh_for.map_or(CLOCKS_DIFFER_MS, |time| millis(time) / 2),
        })
    }
}

/// Options that were checked.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    options: LoadOptions,
    /// For how long at its end an entry is stale.
    stale_ms: u64,
    /// By how much later one ends that was loaded after another.
    #[cfg(feature = "redis")]
    newer_by_ms: u64,
}

impl Plan {
    pub(super) fn set(&self) -> SetOptions {
        let expiry = self.options.ttl.map_or(Expiry::Default, Expiry::After);
        SetOptions::new().expiry(expiry).codec(self.options.codec)
    }

    /// Whether an entry is to be loaded anew.
    pub(super) fn is_due(&self, store: &Store, expire_at_ms: u64) -> bool {
        let is_ever = self.stale_ms > 0 || self.options.early > 0.0;
        if expire_at_ms == 0 || !is_ever {
            return false;
        }
        let early_ms = match self.options.early {
            factor if factor > 0.0 => store.loads.draw_early_ms(factor),
            _ => 0,
        };
        store.clock.now_ms().saturating_add(early_ms) >= expire_at_ms.saturating_sub(self.stale_ms)
    }

    /// Whether an entry of the tier was loaded after the one here, and is fresh.
    #[cfg(feature = "redis")]
    pub(super) fn is_newer(&self, store: &Store, here_ms: u64, there_ms: u64) -> bool {
        let is_fresh = store.clock.now_ms() < there_ms.saturating_sub(self.stale_ms);
        there_ms == 0 || (is_fresh && there_ms > here_ms.saturating_add(self.newer_by_ms))
    }

    /// Until when a key that is nowhere is not asked for again.
    pub(super) fn absent_until_ms(&self, now_ms: u64) -> Option<u64> {
        self.options.absent_for.map(|time| now_ms.saturating_add(millis(time)))
    }

    /// For how long a lease is taken.
    #[cfg(feature = "redis")]
    pub(super) fn lease(&self) -> Option<Duration> {
        self.options.lease
    }
}
