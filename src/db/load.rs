//! One loader per key, and loading anew before an entry ends.

#[cfg(feature = "redis")]
use super::lead::Lead;
use super::load_options::{LoadOptions, Plan};
use super::read::{check_codec, find, refuse_pinned};
use super::write::{Condition, SetOptions};
use super::Db;
use crate::error::{Error, Result};
use crate::loads::loader_error;
use crate::options::check_key;
use crate::reclaim;
use crate::store::{New, Seen, Step, Store};
use crate::tag::{Tag, Tagged};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Instant;

/// For how long a key is left alone whose refresh has failed.
const REST_MS: u64 = 1000;
/// The same while another process refreshes it.
#[cfg(feature = "redis")]
const REST_WHILE_LEASED_MS: u64 = 50;

/// A value as it stands here.
struct Standing {
    value: Tagged,
    version: u64,
    expire_at_ms: u64,
}

/// What is here of a key without its loader.
#[cfg(feature = "ffi")]
pub(crate) enum Loaded {
    Here {
        value: Vec<u8>,
        /// It is to be loaded anew.
        is_due: bool,
    },
    /// It is remembered that there is none.
    Absent,
    /// The loader has to say, or somebody else.
    Wanted,
}

impl Db {
    /// The value of `key`; where it has none, what `loader` gives, which is then set with `options`' expiry. One loader
    /// runs for a key at a time: others that ask wait for its outcome. With a codec in `options`, what is found must be of it.
    /// `loader` runs without any guard or lock and may
    /// call the store. A value that was loaded while `key` was written, deleted or cleared is returned but not set. A
    /// loader that gives `None` leaves the key absent.
    ///
    /// # Errors
    /// [`Error::Pinned`] when another thread is loading the key and this one holds a [`Pin`](crate::Pin);
    /// [`Error::Loader`] for all who wait, when the loader fails, panics, or asks (also through other loaders) for its own
    /// key; [`Error::WrongCodec`]; else as [`Db::get`] and [`Db::set`].
    pub fn get_or_load<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: SetOptions,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let found = self.find_or_load(key, options, loader)?;
        expect(key, options.codec, found)
    }

    fn find_or_load<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: SetOptions,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Tagged>> {
        if let Some(value) = self.get_local(key)? {
            return Ok(Some(value));
        }
        // The loader may be waiting for this thread's pin: in a compaction, say.
        let may_wait = || refuse_pinned("get_or_load");
        self.shared.store.loads.fly(key, may_wait, || {
            if let Some(value) = self.find_loaded(key)? {
                return Ok(Some(value));
            }
            let Some(value) = call(loader)? else { return Ok(None) };
            self.fill(key, &value, options.condition(Condition::IfAbsent))?;
            Ok(Some(Tagged { value, codec: options.codec }))
        })
    }

    /// As [`Db::get_or_load`], and what stands there is loaded anew before it ends, in a thread of the store, as `options` say. So
    /// `loader` may be called after this call has returned. At most four run so at once, one a key; a panic or an error of one is
    /// told the logger and leaves what stands there. One that finds nothing then removes the entry. `close` waits for those that
    /// run, and so does the last handle that goes.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; as [`Db::get_or_load`].
    pub fn get_or_load_with<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: LoadOptions,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E> + Send + 'static,
    ) -> Result<Option<Vec<u8>>> {
        self.get_or_load_keyed(key, options, |_key| loader())
    }

    /// The same, with a loader that is given the key.
    pub(crate) fn get_or_load_keyed<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: LoadOptions,
        loader: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, E> + Send + 'static,
    ) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let store = self.open_store()?;
        let plan = options.plan(store)?;
        if let Some(standing) = self.standing(key)? {
            check_codec(key, options.codec, standing.value.codec)?;
            if plan.is_due(store, standing.expire_at_ms) {
                self.refresh_behind(key, plan, (standing.version, standing.expire_at_ms), loader);
            }
            return Ok(Some(standing.value.value));
        }
        if store.loads.is_known_absent(key, store.clock.now_ms()) {
            return Ok(None);
        }
        let may_wait = || refuse_pinned("get_or_load_with");
        let found = store.loads.fly(key, may_wait, || match self.find_loaded(key)? {
            Some(value) => Ok(Some(value)),
            None => self.load_first(key, plan, || loader(key)),
        })?;
        expect(key, options.codec, found)
    }

    /// What `get_or_load_with` gives without its loader: for hosts to which it is dear to hand one over. Never waits.
    #[cfg(feature = "ffi")]
    pub(crate) fn get_loaded(&self, key: &[u8], options: LoadOptions) -> Result<Loaded> {
        check_key(key)?;
        let store = self.open_store()?;
        let plan = options.plan(store)?;
        Ok(match self.standing(key)? {
            Some(Standing { value, expire_at_ms, .. }) => {
                check_codec(key, options.codec, value.codec)?;
                let value = value.value;
                Loaded::Here { value, is_due: plan.is_due(store, expire_at_ms) }
            }
            None if store.loads.is_known_absent(key, store.clock.now_ms()) => Loaded::Absent,
            None => Loaded::Wanted,
        })
    }

    /// Has what stands for a key loaded anew, as `get_or_load_with` does with what is due. Nothing stands there: does nothing.
    #[cfg(feature = "ffi")]
    pub(crate) fn load_behind<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: LoadOptions,
        loader: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, E> + Send + 'static,
    ) -> Result<()> {
        check_key(key)?;
        let store = self.open_store()?;
        let plan = options.plan(store)?;
        let standing = {
            let guard = crossbeam_epoch::pin();
            store.look(key, &guard).live.map(|view| (view.lsn, view.expire_at_ms))
        };
        if let Some(standing) = standing {
            self.refresh_behind(key, plan, standing, loader);
        }
        Ok(())
    }

    fn standing(&self, key: &[u8]) -> Result<Option<Standing>> {
        let guard = reclaim::read();
        Ok(find(self.open_store()?, key, guard.protect())?.map(|value| Standing {
            version: value.version(),
            expire_at_ms: value.expires_at_ms().unwrap_or(0),
            value: value.into(),
        }))
    }

    /// What needs no loader: the key may have been set between the first look and the registration, or stand in the tier.
    fn find_loaded(&self, key: &[u8]) -> Result<Option<Tagged>> {
        if let Some(value) = self.get_local(key)? {
            return Ok(Some(value));
        }
        #[cfg(feature = "redis")]
        if let Some(value) = self.load_shared(key)? {
            return Ok(Some(value));
        }
        Ok(None)
    }

    /// Loads a key that is nowhere, in its flight.
    fn load_first<E: std::fmt::Display>(
        &self,
        key: &[u8],
        plan: Plan,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Tagged>> {
        #[cfg(feature = "redis")]
        let lease = match plan.lease().map(|time| self.lead(key, time)).transpose()? {
            Some(Lead::Found(value)) => return Ok(Some(value)),
            Some(Lead::Loads(lease)) => lease,
            None => None,
        };
        let loaded = self.call_timed(loader)?;
        let Some(value) = loaded else {
            self.remember_absent(key, plan);
            return Ok(None);
        };
        let options = plan.set().condition(Condition::IfAbsent);
        let _lsn = self.fill(key, &value, options)?;
        #[cfg(feature = "redis")]
        self.settle(key, lease, _lsn);
        Ok(Some(Tagged { value, codec: options.codec }))
    }

    fn remember_absent(&self, key: &[u8], plan: Plan) {
        let store = &self.shared.store;
        let now_ms = store.clock.now_ms();
        let Some(until_ms) = plan.absent_until_ms(now_ms) else { return };
        // A copy may have come meanwhile, which is no change of the key.
        if self.version_here(store, key) == 0 {
            store.loads.remember_absent(key, until_ms, now_ms);
        }
    }

    fn call_timed<E: std::fmt::Display>(
        &self,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>> {
        let began = Instant::now();
        let loaded = call(loader);
        self.shared.store.loads.note_cost(began.elapsed());
        loaded
    }

    /// Has an entry of this version and deadline loaded anew by a thread of the store.
    fn refresh_behind<E: std::fmt::Display>(
        &self,
        key: &[u8],
        plan: Plan,
        standing: (u64, u64),
        loader: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, E> + Send + 'static,
    ) {
        let key_of_job: Box<[u8]> = key.into();
        let db = self.within();
        let now_ms = self.shared.store.clock.now_ms();
        self.shared
            .refreshes
            .run(key, now_ms, move || db.refresh(&key_of_job, plan, standing, || loader(&key_of_job)));
    }

    /// Loads an entry anew. Gives the time before which that is not tried again.
    fn refresh<E: std::fmt::Display>(
        &self,
        key: &[u8],
        plan: Plan,
        (version, _expire_at_ms): (u64, u64),
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Option<u64> {
        let store = self.open_store().ok()?;
        let rest = |rest_ms: u64| Some(store.clock.now_ms().saturating_add(rest_ms));
        if self.version_here(store, key) != version {
            return None;
        }
        #[cfg(feature = "redis")]
        if self.refresh_from_tier(key, version, |there_ms| plan.is_newer(store, _expire_at_ms, there_ms)) {
            return None;
        }
        // What a follower's loader brings could not be set.
        if self.writable_store([key]).is_err() {
            return rest(REST_MS);
        }
        #[cfg(feature = "redis")]
        let lease = match plan.lease().map(|time| self.try_lease(key, time)) {
            Some(Ok(None)) => return rest(REST_WHILE_LEASED_MS),
            Some(Ok(lease)) => lease,
            // As without: a lease only saves work.
            Some(Err(_)) | None => None,
        };
        let mut has_begun = false;
        // Somebody loads it already: it went meanwhile.
        let may_wait = || Err(Error::Closed);
        let mut _lsn = None;
        let refreshed = store.loads.fly(key, may_wait, || {
            has_begun = true;
            let found = self.version_here(store, key);
            if found != 0 && found != version {
                return self.get_local(key);
            }
            let loaded = self.call_timed(loader)?;
            _lsn = match &loaded {
                Some(value) => self.fill_anew(key, value, plan.set(), found)?,
                None => self.remove_unfound(key, plan, found)?,
            };
            Ok(loaded.map(|value| Tagged { value, codec: plan.set().codec }))
        });
        #[cfg(feature = "redis")]
        self.settle(key, lease, _lsn);
        match refreshed {
            Err(error) if has_begun => {
                store
                    .say(&format!("an entry is not loaded anew, and served until its time is over: {error}"));
                rest(REST_MS)
            }
            _ => None,
        }
    }

    /// Version of what stands here for a key; 0 where nothing does.
    fn version_here(&self, store: &Store, key: &[u8]) -> u64 {
        store.look(key, &crossbeam_epoch::pin()).version()
    }

    /// Removes an entry that a loader finds nowhere any more, unless it was changed meanwhile.
    fn remove_unfound(&self, key: &[u8], plan: Plan, version: u64) -> Result<Option<u64>> {
        let store = self.writable_store([key])?;
        let decide = |seen: &Seen<'_>| match seen.live.is_some() && seen.version() == version {
            true => Ok(Step::Write(New::tombstone(), ())),
            false => Ok(Step::Leave(())),
        };
        let is_current = || !store.loads.is_overtaken(key);
        let (lsn, ()) = store.write_given(key, &[], decide, is_current)?;
        self.remember_absent(key, plan);
        Ok(lsn)
    }

    /// As `fill`, in place of the version that stood there; that may have ended meanwhile.
    fn fill_anew(&self, key: &[u8], value: &[u8], options: SetOptions, version: u64) -> Result<Option<u64>> {
        match self.fill(key, value, options.condition(Condition::IfVersion(version)))? {
            None => self.fill(key, value, options.condition(Condition::IfAbsent)),
            lsn => Ok(lsn),
        }
    }

    /// Sets what was loaded, unless the key was changed since the load began.
    fn fill(&self, key: &[u8], value: &[u8], options: SetOptions) -> Result<Option<u64>> {
        // Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
        let is_current = || !self.shared.store.loads.is_overtaken(key);
        self.set_if(key, value, options, is_current)
    }
}

/// A value, if it is of the codec that is to read it.
fn expect(key: &[u8], codec: Tag, found: Option<Tagged>) -> Result<Option<Vec<u8>>> {
    let Some(found) = found else { return Ok(None) };
    check_codec(key, codec, found.codec)?;
    Ok(Some(found.value))
}

/// What a loader brings. The error's text too is the caller's code: a panic that got past this would leave those who wait
/// waiting.
fn call<E: std::fmt::Display>(
    loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
) -> Result<Option<Vec<u8>>> {
    catch_unwind(AssertUnwindSafe(|| loader().map_err(|error| error.to_string())))
        .map_err(|_| loader_error("the loader panicked"))?
        .map_err(loader_error)
}
