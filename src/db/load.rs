//! One loader per key.

use super::read::refuse_pinned;
use super::write::{Condition, SetOptions};
use super::Db;
use crate::error::Result;
use crate::loads::loader_error;
use crate::options::check_key;
use std::panic::{catch_unwind, AssertUnwindSafe};

impl Db {
    /// The value of `key`; where it has none, what `loader` gives, which is then set with `options`' expiry. One loader
    /// runs for a key at a time: others that ask wait for its outcome. `loader` runs without any guard or lock and may
    /// call the store. A value that was loaded while `key` was written, deleted or cleared is returned but not set. A
    /// loader that gives `None` leaves the key absent.
    ///
    /// # Errors
    /// [`Error::Pinned`] when another thread is loading the key and this one holds a [`Pin`](crate::Pin);
    /// [`Error::Loader`] for all who wait, when the loader fails, panics, or asks (also through other loaders) for its own
    /// key; else as [`Db::get`] and [`Db::set`].
    pub fn get_or_load<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: SetOptions,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        if let Some(value) = self.get_local(key)? {
            return Ok(Some(value));
        }
        // The loader may be waiting for this thread's pin: in a compaction, say.
        let may_wait = || refuse_pinned("get_or_load");
        self.shared.store.loads.fly(key, may_wait, || self.load(key, options, loader))
    }

    fn load<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: SetOptions,
        loader: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Vec<u8>>> {
        // The key may have been set between the first look and the registration.
        if let Some(value) = self.get_local(key)? {
            return Ok(Some(value));
        }
        #[cfg(feature = "redis")]
        if let Some(value) = self.load_shared(key)? {
            return Ok(Some(value));
        }
        // The error's text too is the caller's code: a panic that got past this would leave those who wait waiting.
        let loaded = catch_unwind(AssertUnwindSafe(|| loader().map_err(|error| error.to_string())))
            .map_err(|_| loader_error("the loader panicked"))?
            .map_err(loader_error)?;
        let Some(value) = loaded else { return Ok(None) };
        self.fill(key, &value, options)?;
        Ok(Some(value))
    }

    /// Sets what was loaded, unless the key was changed since the load began.
    fn fill(&self, key: &[u8], value: &[u8], options: SetOptions) -> Result<()> {
        // Asked after the LSN is reserved: a change that is noted later has a higher one and wins.
        let is_current = || !self.shared.store.loads.is_overtaken(key);
        self.set_if(key, value, options.condition(Condition::IfAbsent), is_current).map(drop)
    }
}
