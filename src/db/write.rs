//! Writing one key.

use super::read::check_codec;
use super::Db;
use crate::clock::millis;
use crate::error::{Error, Result};
use crate::io::random_u64;
use crate::options::check_key;
use crate::record::{append_metadata, check_metadata, flags, metadata_bytes, Draft, Kind, Metadata};
use crate::store::{New, NewValue, Packed, Seen, Step, Store};
use crate::tag::Tag;
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When a set takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Condition {
    /// Whatever stands there.
    #[default]
    Always,
    /// If the key has no value.
    IfAbsent,
    /// If the key has a value.
    IfPresent,
    /// If the key's value has this version; 0: if it has none.
    IfVersion(u64),
}

/// When an entry expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Expiry {
    /// After the store's default time to live, if it has one.
    #[default]
    Default,
    /// Never.
    Never,
    /// This long after now.
    After(Duration),
    /// At this time.
    At(SystemTime),
    /// When the value that it replaces would have; as `Default` where there is none.
    Keep,
}

/// How a value is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetOptions {
    pub(super) condition: Condition,
    pub(super) expiry: Expiry,
    pub(super) codec: Tag,
}

impl SetOptions {
    /// Always, with the default expiry, as raw bytes.
    pub fn new() -> Self {
        SetOptions::default()
    }

    /// Under which condition.
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// When it expires.
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }

    /// Which codec wrote the value.
    pub fn codec(mut self, codec: Tag) -> Self {
        self.codec = codec;
        self
    }

    /// Short for `expiry(Expiry::After(ttl))`.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.expiry(Expiry::After(ttl))
    }
}

/// A value as it will be stored, with metadata or without.
pub(super) struct Stored<'v> {
    pub(super) flags: u8,
    pub(super) dictionary: u16,
    pub(super) bytes: Cow<'v, [u8]>,
}

impl<'v> Stored<'v> {
    pub(super) fn new(store: &Store, value: &'v [u8]) -> Stored<'v> {
        let Packed { flags, dictionary, bytes } = store.pack(value);
        Stored { flags, dictionary, bytes }
    }

    /// The same with metadata behind it.
    ///
    /// # Errors
    /// [`Error::ValueTooLong`] for both together; [`Error::InvalidOption`] for a name that is too long.
    pub(super) fn with_metadata(store: &Store, value: &'v [u8], metadata: &Metadata) -> Result<Stored<'v>> {
        check_with_metadata(store, value, metadata)?;
        let stored = Stored::new(store, value);
        if metadata.is_empty() {
            return Ok(stored);
        }
        let mut bytes = stored.bytes.into_owned();
        append_metadata(&mut bytes, metadata);
        let flags = stored.flags | flags::METADATA;
        Ok(Stored { flags, dictionary: stored.dictionary, bytes: Cow::Owned(bytes) })
    }

    /// A record of it; `flags` are its own and what the record has besides.
    pub(super) fn put_as(&self, flags: u8, codec: Tag, expire_at_ms: u64) -> New {
        let (codec, dictionary) = (codec.number(), self.dictionary);
        New { kind: Kind::Put, flags, codec, dictionary, expire_at_ms, value: NewValue::Given }
    }
}

/// Refuses a value with metadata that no record of the store can hold.
///
/// # Errors
/// As [`Stored::with_metadata`].
pub(super) fn check_with_metadata(store: &Store, value: &[u8], metadata: &Metadata) -> Result<()> {
    check_metadata(metadata).map_err(|len| Error::InvalidOption {
        name: "metadata".into(),
        reason: format!("a name of {len} bytes: must be at most {}", u16::MAX),
    })?;
    let max = store.options.value_bytes_max as usize;
    let len = value.len().saturating_add(metadata_bytes(metadata));
    match len > max {
        true => Err(Error::ValueTooLong { len, max }),
        false => Ok(()),
    }
}

/// A time to live with its random part taken away.
fn jittered(store: &Store, ttl_ms: u64) -> u64 {
    let percent = u64::from(store.options.ttl_jitter_percent);
    if percent == 0 {
        return ttl_ms;
    }
    let most = u128::from(ttl_ms) * u128::from(percent) / 100;
    let taken = (most * u128::from(random_u64())) >> u64::BITS;
    // No more than `ttl_ms`.
    (ttl_ms - taken as u64).max(1)
}

/// A deadline in Unix milliseconds; 0: never.
pub(super) fn deadline_ms(store: &Store, expiry: Expiry, replaced_ms: Option<u64>) -> u64 {
    // A deadline of zero would mean that there is none.
    let after = |ttl| store.clock.now_ms().saturating_add(jittered(store, millis(ttl))).max(1);
    match (expiry, replaced_ms) {
        (Expiry::Keep, Some(at_ms)) => at_ms,
        (Expiry::Default | Expiry::Keep, _) => store.options.default_ttl.map_or(0, after),
        (Expiry::Never, _) => 0,
        (Expiry::After(ttl), _) => after(ttl),
        (Expiry::At(at), _) => at.duration_since(UNIX_EPOCH).map_or(1, millis).max(1),
    }
}

/// The record of `seen` with another deadline.
fn with_deadline(seen: &Seen<'_>, expire_at_ms: u64) -> Option<New> {
    seen.live.map(|view| New {
        kind: Kind::Put,
        flags: view.word.flags() & !(flags::IN_BATCH | flags::FROM_TIER),
        codec: view.word.codec(),
        dictionary: view.dictionary,
        expire_at_ms,
        value: NewValue::Kept,
    })
}

fn decide_set(store: &Store, stored: &Stored<'_>, options: SetOptions, seen: &Seen<'_>) -> Result<Step<()>> {
    let holds = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => seen.live.is_none(),
        Condition::IfPresent => seen.live.is_some(),
        Condition::IfVersion(version) => seen.version() == version,
    };
    if !holds {
        return Ok(Step::Leave(()));
    }
    let replaced_ms = seen.live.map(|view| view.expire_at_ms);
    let expire_at_ms = deadline_ms(store, options.expiry, replaced_ms);
    Ok(Step::Write(stored.put_as(stored.flags, options.codec, expire_at_ms), ()))
}

/// Removes what stands for a key, and keeps something of it. A delete that may meet what stands elsewhere leaves a tombstone.
pub(super) fn decide_remove<T>(
    seen: &Seen<'_>,
    is_elsewhere: bool,
    keep: impl Fn(&Seen<'_>) -> Result<T>,
) -> Result<Step<Option<T>>> {
    Ok(match seen.live {
        Some(_) => Step::Write(New::tombstone(), Some(keep(seen)?)),
        None if is_elsewhere => Step::Write(New::tombstone(), None),
        None => Step::Leave(None),
    })
}

impl Db {
    /// Sets `key` to `value`, with the store's default expiry. Visible to every thread when it returns, and as durable as
    /// [`Sync`](crate::Sync) says. Costs a copy, a checksum and a hash lookup.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`], [`Error::Io`] on a full disk, [`Error::SyncFailed`],
    /// [`Error::ReadOnly`], [`Error::Closed`], [`Error::Forked`]. After an error the value is not set, but for a failed
    /// sync: then it is, and its durability is unknown.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.set_blind(key, value, Expiry::Default, Tag::RAW).map(drop)
    }

    fn set_blind(&self, key: &[u8], value: &[u8], expiry: Expiry, codec: Tag) -> Result<u64> {
        let store = self.writable_store([key])?;
        store.options.check_lengths(key, value)?;
        let stored = Stored::new(store, value);
        let expire_at_ms = deadline_ms(store, expiry, None);
        self.shared.store.loads.note(key);
        let draft = Draft {
            kind: Kind::Put,
            flags: stored.flags,
            codec: codec.number(),
            dictionary: stored.dictionary,
            lsn: 0,
            expire_at_ms,
            key,
            value: &stored.bytes,
        };
        let lsn = store.write_blind(&draft)?;
        store.counters.writes.add(1);
        self.acknowledge(lsn, [key])?;
        Ok(lsn)
    }

    /// Sets `key` to `value` under a condition and with an expiry of its own. Returns the new version, or `None` when the
    /// condition did not hold.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn set_with(&self, key: &[u8], value: &[u8], options: SetOptions) -> Result<Option<u64>> {
        if options.condition == Condition::Always && options.expiry != Expiry::Keep {
            return self.set_blind(key, value, options.expiry, options.codec).map(Some);
        }
        let store = self.writable_store([key])?;
        store.options.check_lengths(key, value)?;
        let stored = Stored::new(store, value);
        let written =
            self.write_on_copy(key, &stored.bytes, |seen, _| decide_set(store, &stored, options, seen))?;
        self.finish_write(key, written).map(|(lsn, ())| lsn)
    }

    /// As `set_with`; `confirm` is asked once more between reservation and publication.
    pub(super) fn set_if(
        &self,
        key: &[u8],
        value: &[u8],
        options: SetOptions,
        confirm: impl Fn() -> bool,
    ) -> Result<Option<u64>> {
        let store = self.writable_store([key])?;
        store.options.check_lengths(key, value)?;
        let stored = Stored::new(store, value);
        let decide = |seen: &Seen<'_>| decide_set(store, &stored, options, seen);
        self.finish_write(key, store.write_given(key, &stored.bytes, decide, confirm)?).map(|(lsn, ())| lsn)
    }

    /// Lets `decide` choose on what stands for the key here or, as a copy, in the tier; it is also told whether a load is under
    /// way that must not bring back what it removes.
    pub(super) fn write_on_copy<T>(
        &self,
        key: &[u8],
        given: &[u8],
        mut decide: impl FnMut(&Seen<'_>, bool) -> Result<Step<T>>,
    ) -> Result<(Option<u64>, T)> {
        check_key(key)?;
        let store = self.writable_store([key])?;
        self.with_copy(key, |is_there| {
            let is_loading = store.loads.note(key);
            let decide = |seen: &Seen<'_>| {
                // It went before this came: what stands in the tier is not known.
                if is_there && seen.live.is_none() && !store.has_unsent(seen) {
                    return Ok(Step::Leave(None));
                }
                Ok(match decide(seen, is_loading)? {
                    Step::Leave(outcome) => Step::Leave(Some(outcome)),
                    Step::Write(new, outcome) => Step::Write(new, Some(outcome)),
                })
            };
            let (lsn, outcome) = store.write_given(key, given, decide, || true)?;
            Ok(outcome.map(|outcome| (lsn, outcome)))
        })
    }

    fn finish_write<T>(&self, key: &[u8], written: (Option<u64>, T)) -> Result<(Option<u64>, T)> {
        let store = &self.shared.store;
        if let Some(lsn) = written.0 {
            store.counters.writes.add(1);
            self.acknowledge(lsn, [key])?;
        }
        Ok(written)
    }

    /// Sets `key` if it has no value; whether it did.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn add(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        let options = SetOptions::new().condition(Condition::IfAbsent);
        Ok(self.set_with(key, value, options)?.is_some())
    }

    /// Sets `key` if it has a value; whether it did.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn replace(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        let options = SetOptions::new().condition(Condition::IfPresent);
        Ok(self.set_with(key, value, options)?.is_some())
    }

    /// Sets `key` if its value still has `version` (0: if it has none), keeping its expiry. Returns the new version, or
    /// `None` when the value was another.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn compare_and_swap(&self, key: &[u8], version: u64, value: &[u8]) -> Result<Option<u64>> {
        let options = SetOptions::new().condition(Condition::IfVersion(version)).expiry(Expiry::Keep);
        self.set_with(key, value, options)
    }

    /// Adds `delta` to the decimal number that `key` holds (0 when it is absent), keeping its expiry, and returns the sum. Metadata
    /// goes, as with any plain write.
    ///
    /// # Errors
    /// [`Error::NotAnInteger`], [`Error::Overflow`]: nothing was changed; else as [`Db::set`].
    pub fn increment(&self, key: &[u8], delta: i64) -> Result<i64> {
        self.increment_as(key, delta, Tag::RAW)
    }

    /// As [`Db::increment`], of a number that `codec` wrote, or writes where there is none: [`Tag::JSON`] and [`Tag::TEXT`] have whole numbers in
    /// decimal too. [`Tag::RAW`] takes any, and leaves it its codec.
    ///
    /// # Errors
    /// [`Error::WrongCodec`]; [`Error::NotAnInteger`] also for a codec whose values are no decimal numbers, such as [`Tag::MESSAGE_PACK`]; as
    /// [`Db::increment`].
    pub fn increment_as(&self, key: &[u8], delta: i64, codec: Tag) -> Result<i64> {
        let store = self.writable_store([key])?;
        let written = self.write_on_copy(key, &[], |seen, _| {
            let found = seen.live.map_or(codec, |view| Tag::found(view.word.codec()));
            check_codec(key, codec, found)?;
            let value = store.value_seen(seen)?;
            if store.options.codec_of_sum(found) != found {
                return Err(Error::NotAnInteger { len: value.len() });
            }
            let codec = found.number();
            let (sum, value) = store.options.sum(seen.live.is_some().then_some(&value[..]), delta)?;
            let replaced_ms = seen.live.map(|view| view.expire_at_ms);
            let expire_at_ms = deadline_ms(store, Expiry::Keep, replaced_ms);
            let value = NewValue::Made(value);
            Ok(Step::Write(New { kind: Kind::Put, flags: 0, codec, dictionary: 0, expire_at_ms, value }, sum))
        })?;
        self.finish_write(key, written).map(|(_, sum)| sum)
    }

    /// Appends to the value of `key`, which keeps its expiry; metadata and codec go, as with any plain write.
    pub(crate) fn append(&self, key: &[u8], more: &[u8]) -> Result<()> {
        let store = self.writable_store([key])?;
        let written = self.write_on_copy(key, &[], |seen, _| {
            let value = store.value_seen(seen)?;
            let value = [seen.live.map_or(&[][..], |_| &value[..]), more].concat();
            store.options.check_lengths(key, &value)?;
            let expire_at_ms = deadline_ms(store, Expiry::Keep, seen.live.map(|view| view.expire_at_ms));
            let value = NewValue::Made(value);
            let new = New { kind: Kind::Put, flags: 0, codec: 0, dictionary: 0, expire_at_ms, value };
            Ok(Step::Write(new, ()))
        })?;
        self.finish_write(key, written).map(drop)
    }

    /// Removes `key`; whether it had a value.
    ///
    /// # Errors
    /// As [`Db::set`]. Works on a full disk.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        let (lsn, found) = self.remove_visible(key)?;
        self.acknowledge_any(key, lsn)?;
        Ok(found.is_some())
    }

    /// Removes many keys, each on its own; how many had a value. One wait for durability.
    ///
    /// # Errors
    /// As [`Db::delete`]; keys before the one that fails are removed.
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<usize> {
        self.open_store()?;
        let (mut removed, mut last) = (0, 0);
        for key in keys {
            let (lsn, found) = self.remove_visible(key.as_ref())?;
            removed += usize::from(found.is_some());
            last = last.max(lsn.unwrap_or(0));
        }
        if last > 0 {
            self.acknowledge(last, keys.iter().map(AsRef::as_ref))?;
        }
        Ok(removed)
    }

    /// Removes `key` and returns its value.
    ///
    /// # Errors
    /// As [`Db::delete`].
    pub fn take(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.take_as(key, Tag::RAW)
    }

    /// As [`Db::take`], if `codec` wrote the value; any other stays. [`Tag::RAW`] takes any.
    ///
    /// # Errors
    /// [`Error::WrongCodec`]; as [`Db::delete`].
    pub fn take_as(&self, key: &[u8], codec: Tag) -> Result<Option<Vec<u8>>> {
        let store = self.writable_store([key])?;
        let (lsn, value) = self.write_on_copy(key, &[], |seen, is_loading| {
            let keep = |seen: &Seen<'_>| {
                let found = seen.live.map_or(Tag::RAW, |view| Tag::found(view.word.codec()));
                check_codec(key, codec, found)?;
                Ok(store.value_seen(seen)?.into_owned())
            };
            decide_remove(seen, is_loading || store.has_outbox(), keep)
        })?;
        if value.is_some() {
            store.counters.deletes.add(1);
        }
        self.acknowledge_any(key, lsn)?;
        Ok(value)
    }

    /// Removes what stands for `key` if it has this version; 0: if nothing does. Whether it did, and the LSN to be acknowledged.
    pub(super) fn remove_version(&self, key: &[u8], version: u64) -> Result<(Option<u64>, bool)> {
        let store = self.writable_store([key])?;
        let written = self.write_on_copy(key, &[], |seen, is_loading| {
            if seen.version() != version {
                return Ok(Step::Leave(false));
            }
            Ok(match decide_remove(seen, is_loading || store.has_outbox(), |_| Ok(()))? {
                Step::Leave(_) => Step::Leave(true),
                Step::Write(new, _) => Step::Write(new, true),
            })
        })?;
        if written.1 && version > 0 {
            store.counters.deletes.add(1);
        }
        Ok(written)
    }

    /// Removes `key` if its value still has `version`; whether it did.
    ///
    /// # Errors
    /// As [`Db::delete`].
    pub fn compare_and_delete(&self, key: &[u8], version: u64) -> Result<bool> {
        let (lsn, is_met) = self.remove_version(key, version)?;
        self.acknowledge_any(key, lsn)?;
        Ok(is_met && version > 0)
    }

    fn acknowledge_any(&self, key: &[u8], lsn: Option<u64>) -> Result<()> {
        lsn.map_or(Ok(()), |lsn| self.acknowledge(lsn, [key]))
    }

    fn remove_visible(&self, key: &[u8]) -> Result<(Option<u64>, Option<()>)> {
        check_key(key)?;
        let store = self.writable_store([key])?;
        // A tier may hold what this store does not.
        let is_elsewhere = self.shared.store.loads.note(key) || store.has_outbox();
        let (lsn, found) = store.write(key, |seen| decide_remove(seen, is_elsewhere, |_| Ok(())))?;
        if found.is_some() {
            store.counters.deletes.add(1);
        }
        Ok((lsn, found))
    }

    /// Lets `key` expire `ttl` from now; whether it has a value. Rewrites the record.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn expire(&self, key: &[u8], ttl: Duration) -> Result<bool> {
        self.set_deadline(key, Expiry::After(ttl))
    }

    /// Lets `key` expire at `at`; whether it has a value. Rewrites the record.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn expire_at(&self, key: &[u8], at: SystemTime) -> Result<bool> {
        self.set_deadline(key, Expiry::At(at))
    }

    /// Starts the store's default time to live anew for `key`; whether it has a value. In a store without a default the entry
    /// stays as it is.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn touch(&self, key: &[u8]) -> Result<bool> {
        match self.open_store()?.options.default_ttl {
            Some(ttl) => self.expire(key, ttl),
            None => self.contains(key),
        }
    }

    /// Lets `key` never expire; whether it has a value. Rewrites the record if it would have expired.
    ///
    /// # Errors
    /// As [`Db::set`].
    pub fn persist(&self, key: &[u8]) -> Result<bool> {
        self.set_deadline(key, Expiry::Never)
    }

    fn set_deadline(&self, key: &[u8], expiry: Expiry) -> Result<bool> {
        let store = self.writable_store([key])?;
        let written = self.write_on_copy(key, &[], |seen, _| {
            let expire_at_ms = deadline_ms(store, expiry, None);
            Ok(match with_deadline(seen, expire_at_ms) {
                None => Step::Leave(false),
                Some(_) if seen.live.is_some_and(|view| view.expire_at_ms == expire_at_ms) => {
                    Step::Leave(true)
                }
                Some(new) => Step::Write(new, true),
            })
        })?;
        self.finish_write(key, written).map(|(_, found)| found)
    }
}
