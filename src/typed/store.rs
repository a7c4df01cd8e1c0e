//! A store's entries as values of one type.

use super::codec::{Codec, CodecError, Json};
use crate::db::{check_codec, Batch, Condition, Db, Entry, Expiry, LoadOptions, ScanOptions, SetOptions};
use crate::error::{Error, Result};
use std::marker::PhantomData;
use std::time::Duration;

/// A store, as a map to values of one type that one codec writes and reads. A view: it costs no more than the [`Db`] that it was made
/// from, and any number of views of any types share a store, best with a key prefix of their own each.
///
/// Every value is marked with the codec's [`Tag`](crate::Tag). What another codec has written, or none (a plain [`Db::set`]), gives
/// [`Error::WrongCodec`]; it can be overwritten and deleted. What needs no value (`delete`, `contains`, `expire`, `ttl`) is asked of
/// [`Store::db`].
///
/// ```
/// use kv::{Db, Error, Json, Store};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct User { name: String, age: u32 }
///
/// let db = Db::in_memory()?;
/// let users: Store<User> = db.typed();
/// users.set(b"user:1", &User { name: "Alice".into(), age: 30 })?;
/// users.update(b"user:1", |user| user.map(|user| User { age: user.age + 1, ..user }))?;
/// assert_eq!(users.get(b"user:1")?.map(|user| user.age), Some(31));
/// assert_eq!(db.get(b"user:1")?.as_deref(), Some(&br#"{"name":"Alice","age":31}"#[..]));
///
/// db.set(b"user:2", b"no JSON")?;
/// assert!(matches!(users.get(b"user:2"), Err(Error::WrongCodec { .. })));
/// # Ok::<(), Error>(())
/// ```
pub struct Store<T, C = Json> {
    db: Db,
    codec: C,
    // Values come and go, none is held: a view is sent and shared whatever `T` is.
    values: PhantomData<fn(T) -> T>,
}

impl<T, C: Clone> Clone for Store<T, C> {
    fn clone(&self) -> Self {
        Store { db: self.db.clone(), codec: self.codec.clone(), values: PhantomData }
    }
}

impl<T, C> std::fmt::Debug for Store<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("db", &self.db).finish_non_exhaustive()
    }
}

impl Db {
    /// This store, as one of values of type `T` that codec `C` writes and reads.
    pub fn typed<T, C: Codec<T> + Default>(&self) -> Store<T, C> {
        self.typed_with(C::default())
    }

    /// The same, with a codec that has to be made.
    pub fn typed_with<T, C: Codec<T>>(&self, codec: C) -> Store<T, C> {
        Store { db: self.clone(), codec, values: PhantomData }
    }
}

impl<T, C: Codec<T>> Store<T, C> {
    /// The store itself.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The codec.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// The value of `key`. Decoded where it stands, without a copy unless it is compressed.
    ///
    /// # Errors
    /// [`Error::WrongCodec`]; [`Error::Codec`] for what the codec cannot read; as [`Db::get`].
    pub fn get(&self, key: &[u8]) -> Result<Option<T>> {
        self.db.get_as_with(key, C::TAG, |bytes| self.decode(key, bytes))?.transpose()
    }

    /// The values of many keys, in their order. Each is as of a moment of its own.
    ///
    /// # Errors
    /// As [`Store::get`], for the first key that fails.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<T>>> {
        let found = self.db.get_many_as(keys, C::TAG)?;
        let decode = |(key, found): (&K, Option<Vec<u8>>)| {
            found.map(|bytes| self.decode(key.as_ref(), &bytes)).transpose()
        };
        keys.iter().zip(found).map(decode).collect()
    }

    /// The entry of `key`: its value with version, expiry and metadata, as one write left them.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn entry(&self, key: &[u8]) -> Result<Option<Entry<T>>> {
        self.db.entry(key)?.map(|entry| self.decode_entry(entry)).transpose()
    }

    /// Entries, as [`Db::scan`] gives them. An entry that cannot be read is an error in its place, and the scan goes on behind it.
    ///
    /// # Errors
    /// As [`Db::scan`]; entries: as [`Store::get`].
    pub fn scan(&self, options: ScanOptions) -> Result<impl Iterator<Item = Result<Entry<T>>> + '_> {
        Ok(self.db.scan(options)?.map(|entry| self.decode_entry(entry?)))
    }

    /// Sets `key` to `value`, with the store's default expiry. See [`Db::set`].
    ///
    /// # Errors
    /// [`Error::Codec`] for what the codec cannot write; as [`Db::set`].
    pub fn set(&self, key: &[u8], value: &T) -> Result<()> {
        self.set_with(key, value, SetOptions::new()).map(drop)
    }

    /// Sets `key` to `value`, to expire `ttl` from now.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn set_for(&self, key: &[u8], value: &T, ttl: Duration) -> Result<()> {
        self.set_with(key, value, SetOptions::new().ttl(ttl)).map(drop)
    }

    /// Sets `key` to `value` under a condition and with an expiry of its own, always with this store's codec. Returns the new
    /// version, or `None` when the condition did not hold.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn set_with(&self, key: &[u8], value: &T, options: SetOptions) -> Result<Option<u64>> {
        self.db.set_with(key, &self.encode(key, value)?, options.codec(C::TAG))
    }

    /// Sets `key` if it has no value; whether it did.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn add(&self, key: &[u8], value: &T) -> Result<bool> {
        let options = SetOptions::new().condition(Condition::IfAbsent);
        Ok(self.set_with(key, value, options)?.is_some())
    }

    /// Sets `key` if it has a value, of whatever codec; whether it did.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn replace(&self, key: &[u8], value: &T) -> Result<bool> {
        let options = SetOptions::new().condition(Condition::IfPresent);
        Ok(self.set_with(key, value, options)?.is_some())
    }

    /// Sets `key` if its value still has `version`, which [`Store::entry`] gives (0: if it has none), keeping its expiry. Returns the
    /// new version, or `None` when the value was another.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn compare_and_swap(&self, key: &[u8], version: u64, value: &T) -> Result<Option<u64>> {
        let options = SetOptions::new().condition(Condition::IfVersion(version)).expiry(Expiry::Keep);
        self.set_with(key, value, options)
    }

    /// Sets `key` to what `change` makes of its value (`None`: it has none), keeping its expiry; `None` removes it. Nobody else's
    /// change comes in between: where one does, `change` is called again. Returns the new version; `None`: the key has no value now.
    ///
    /// # Errors
    /// As [`Store::get`] and [`Store::set`]: nothing was changed.
    pub fn update(&self, key: &[u8], mut change: impl FnMut(Option<T>) -> Option<T>) -> Result<Option<u64>> {
        loop {
            let found = self.entry(key)?;
            let version = found.as_ref().map_or(0, |entry| entry.version);
            match change(found.map(|entry| entry.value)) {
                Some(value) => {
                    if let Some(version) = self.compare_and_swap(key, version, &value)? {
                        return Ok(Some(version));
                    }
                }
                None if version == 0 || self.db.compare_and_delete(key, version)? => return Ok(None),
                None => {}
            }
        }
    }

    /// Removes `key` and returns its value. One that cannot be read stays.
    ///
    /// # Errors
    /// As [`Store::get`] and [`Db::delete`].
    pub fn take(&self, key: &[u8]) -> Result<Option<T>> {
        while let Some(entry) = self.entry(key)? {
            if self.db.compare_and_delete(key, entry.version)? {
                return Ok(Some(entry.value));
            }
        }
        Ok(None)
    }

    /// Removes `key`, whatever wrote its value; whether it had one.
    ///
    /// # Errors
    /// As [`Db::delete`].
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.db.delete(key)
    }

    /// The value of `key`; where it has none, what `loader` gives, which is then set with `options`' expiry. See
    /// [`Db::get_or_load`].
    ///
    /// # Errors
    /// As [`Db::get_or_load`] and [`Store::get`]; [`Error::Loader`] also for what the codec cannot write.
    pub fn get_or_load<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: SetOptions,
        loader: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Option<T>> {
        let mut loaded = None;
        let load = || -> Result<Option<Vec<u8>>, String> {
            loaded = loader().map_err(|error| error.to_string())?;
            let bytes = loaded.as_ref().map(|value| self.encode(key, value)).transpose();
            bytes.map_err(|error| error.to_string())
        };
        let found = self.db.get_or_load(key, options.codec(C::TAG), load)?;
        match loaded {
            None => found.map(|bytes| self.decode(key, &bytes)).transpose(),
            loaded => Ok(loaded),
        }
    }

    /// The same, and what stands there is loaded anew before it ends, in a thread of the store, as `options` say. See
    /// [`Db::get_or_load_with`].
    ///
    /// # Errors
    /// As [`Store::get_or_load`] and [`Db::get_or_load_with`].
    pub fn get_or_load_with<E: std::fmt::Display>(
        &self,
        key: &[u8],
        options: LoadOptions,
        loader: impl FnOnce() -> Result<Option<T>, E> + Send + 'static,
    ) -> Result<Option<T>>
    where
        C: Clone + Send + 'static,
    {
        let (codec, of_key) = (self.codec.clone(), Box::<[u8]>::from(key));
        let load = move || -> Result<Option<Vec<u8>>, String> {
            let Some(value) = loader().map_err(|error| error.to_string())? else { return Ok(None) };
            encode(&codec, &of_key, &value).map(Some).map_err(|error| error.to_string())
        };
        let found = self.db.get_or_load_with(key, options.codec(C::TAG), load)?;
        found.map(|bytes| self.decode(key, &bytes)).transpose()
    }

    /// Puts a set into a batch, which may hold writes of other views too; [`Expiry::Keep`] counts as the default.
    ///
    /// # Errors
    /// [`Error::Codec`]: the batch is as before.
    pub fn set_in(&self, batch: &mut Batch, key: &[u8], value: &T, expiry: Expiry) -> Result<()> {
        batch.set_as(key, self.encode(key, value)?, expiry, C::TAG);
        Ok(())
    }

    /// Sets many keys as one [`Batch`].
    ///
    /// # Errors
    /// [`Error::Codec`]: nothing is set; as [`Db::apply`].
    pub fn set_many<K: AsRef<[u8]>>(&self, entries: &[(K, T)]) -> Result<()> {
        let mut batch = Batch::new();
        for (key, value) in entries {
            self.set_in(&mut batch, key.as_ref(), value, Expiry::Default)?;
        }
        self.db.apply(&batch)
    }

    fn encode(&self, key: &[u8], value: &T) -> Result<Vec<u8>> {
        encode(&self.codec, key, value)
    }

    fn decode(&self, key: &[u8], bytes: &[u8]) -> Result<T> {
        decode(&self.codec, key, bytes)
    }

    fn decode_entry(&self, entry: Entry) -> Result<Entry<T>> {
        let Entry { key, value, version, expires_at_ms, metadata, codec } = entry;
        check_codec(&key, C::TAG, codec)?;
        let value = self.decode(&key, &value)?;
        Ok(Entry { key, value, version, expires_at_ms, metadata, codec })
    }
}

pub(super) fn encode<T, C: Codec<T>>(codec: &C, key: &[u8], value: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    codec.encode(key, value, &mut bytes).map_err(|reason| refused::<T, C>("encoded", key, &reason))?;
    Ok(bytes)
}

pub(super) fn decode<T, C: Codec<T>>(codec: &C, key: &[u8], bytes: &[u8]) -> Result<T> {
    codec.decode(key, bytes).map_err(|reason| refused::<T, C>("decoded", key, &reason))
}

fn refused<T, C: Codec<T>>(attempted: &'static str, key: &[u8], reason: &CodecError) -> Error {
    Error::Codec { attempted, key_len: key.len(), codec: C::TAG, reason: reason.to_string() }
}
