//! Reading: copies, and values in place under a pin.

use super::{Db, Entry};
use crate::error::{Error, Result};
use crate::fork::Generation;
use crate::index::{Address, PREFETCHED_KEYS};
use crate::log::View;
use crate::options::check_key;
use crate::reclaim::{self, Protected, ReadGuard};
use crate::record::{read_metadata, Metadata};
use crate::store::{Found, Store};
use crate::tag::{Tag, Tagged};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Fails in a thread that holds a pin: calls that wait for all pins to go must not wait for their own thread's.
pub(super) fn refuse_pinned(call: &'static str) -> Result<()> {
    if reclaim::is_reading() {
        return Err(Error::Pinned { call });
    }
    Ok(())
}

/// Lets values be read in place. While one is held, memory of what is removed is not given back: hold it for moments.
/// It belongs to the thread that took it.
pub struct Pin<'db> {
    // Dropped before the store that it may be the last to hold.
    guard: ReadGuard,
    store: Holder<'db>,
    fork: Generation,
}

/// Who keeps the store while the pin is held.
enum Holder<'db> {
    Lent(&'db Store),
    Owned(Arc<Store>),
}

impl Deref for Holder<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        match self {
            Holder::Lent(store) => store,
            Holder::Owned(store) => store,
        }
    }
}

impl std::fmt::Debug for Pin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin")
    }
}

/// A value in place, or decompressed. Dereferences to its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<'pin> {
    bytes: Cow<'pin, [u8]>,
    version: u64,
    expire_at_ms: u64,
    codec: Tag,
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'pin> Value<'pin> {
    #[inline(always)]
    fn of(view: &View<'_>, bytes: Cow<'pin, [u8]>) -> Value<'pin> {
        let codec = Tag::found(view.word.codec());
        Value { bytes, version: view.lsn, expire_at_ms: view.expire_at_ms, codec }
    }

    /// The entry's version: grows with each write of the store, never used twice.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it expires, in Unix milliseconds; `None`: never.
    pub fn expires_at_ms(&self) -> Option<u64> {
        (self.expire_at_ms != 0).then_some(self.expire_at_ms)
    }

    /// Which codec wrote it.
    pub fn codec(&self) -> Tag {
        self.codec
    }

    /// The bytes: borrowed where the value stands in place, owned where it was decompressed.
    pub fn into_cow(self) -> Cow<'pin, [u8]> {
        self.bytes
    }

    /// The bytes as a value of one's own.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes.into_owned()
    }
}

impl<'db> Pin<'db> {
    fn new(store: Holder<'db>, fork: Generation) -> Self {
        Pin { guard: reclaim::read(), store, fork }
    }

    /// The value of `key`, in place: no copy unless it is stored compressed. Absent and expired keys give `None`.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`]; [`Error::Corrupt`] for a value that is not what was written; [`Error::Forked`].
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.fork.check()?;
        find(&self.store, key, self.guard.protect())
    }

    /// The values of many keys, in their order, in place. Each is as of a moment of its own.
    ///
    /// # Errors
    /// As [`Pin::get`], for the first key that fails.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value<'_>>>> {
        self.fork.check()?;
        let map = self.store.map(self.guard.protect());
        // Not `collect`: through a `Result` it does not know the number, and moves what it has again and again.
        let mut values = Vec::with_capacity(keys.len());
        for group in keys.chunks(PREFETCHED_KEYS) {
            // What takes the time of a lookup is waiting for memory: a group waits once.
            map.prefetch(group.iter().map(AsRef::as_ref));
            for key in group {
                values.push(find(&self.store, key.as_ref(), self.guard.protect())?);
            }
        }
        Ok(values)
    }
}

// Always: as a call it would hand its result over in memory, which is a fifth of a read's instructions.
#[inline(always)]
pub(super) fn find<'g>(store: &'g Store, key: &[u8], protected: Protected<'g>) -> Result<Option<Value<'g>>> {
    if let Some(view) = hit(store, key, protected) {
        let bytes = Cow::Borrowed(view.value);
        return Ok(Some(Value::of(&view, bytes)));
    }
    find_any(store, key, protected)
}

#[inline(always)]
fn hit<'g>(store: &'g Store, key: &[u8], protected: Protected<'g>) -> Option<View<'g>> {
    let view = store.read_at_once(key, protected)?;
    store.counters.hits.count();
    Some(view)
}

#[inline(never)]
fn find_any<'g>(store: &'g Store, key: &[u8], protected: Protected<'g>) -> Result<Option<Value<'g>>> {
    check_key(key)?;
    let Some((address, record)) = store.read(key, protected) else {
        store.counters.misses.count();
        return Ok(None);
    };
    store.counters.hits.count();
    store.note_hit(address, record);
    let (_, view) = record;
    let bytes = store.value_of(address, record)?;
    Ok(Some(Value::of(&view, bytes)))
}

impl From<Value<'_>> for Tagged {
    fn from(value: Value<'_>) -> Tagged {
        Tagged { codec: value.codec, value: value.into_vec() }
    }
}

/// An entry with all that stands with it, copied.
#[derive(Default)]
pub(super) struct Whole {
    pub(super) value: Vec<u8>,
    pub(super) metadata: Metadata,
    pub(super) codec: Tag,
    pub(super) version: u64,
    pub(super) expire_at_ms: u64,
}

impl Whole {
    pub(super) fn into_entry(self, key: Vec<u8>) -> Entry {
        let Whole { value, metadata, codec, version, expire_at_ms } = self;
        let expires_at_ms = (expire_at_ms != 0).then_some(expire_at_ms);
        Entry { key, value, version, expires_at_ms, metadata, codec }
    }
}

/// All of a record, which stands at an offset of its segment.
pub(super) fn whole_of(store: &Store, offset: u64, record: Found<'_>) -> Result<Whole> {
    let (segment, view) = record;
    // Checks the record too, where an open has left it unread.
    let value = store.value_at(offset, record)?.into_owned();
    let metadata = read_metadata(view.word.flags(), view.value)
        .map_err(|fault| Error::corrupt(segment.path(), offset, fault.to_string()))?;
    Ok(Whole {
        value,
        metadata,
        codec: Tag::found(view.word.codec()),
        version: view.lsn,
        expire_at_ms: view.expire_at_ms,
    })
}

/// What is told of an entry without its value.
pub(super) struct Stands {
    version: u64,
    expire_at_ms: u64,
    codec: Tag,
}

/// Refuses a value of another codec than the one that is to read it; [`Tag::RAW`] is to read any.
#[inline]
pub(crate) fn check_codec(key: &[u8], expected: Tag, found: Tag) -> Result<()> {
    if expected == Tag::RAW || expected == found {
        return Ok(());
    }
    Err(Error::WrongCodec { key_len: key.len(), expected, found })
}

/// How long an entry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// It does not expire.
    Never,
    /// It expires after this.
    Remaining(Duration),
}

impl Db {
    /// Takes a pin, under which values are read in place.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn pin(&self) -> Result<Pin<'_>> {
        let store = self.open_store()?;
        Ok(Pin::new(Holder::Lent(store), self.shared.fork))
    }

    /// Takes a pin that keeps the store's memory by itself, for hosts that cannot borrow the handle. It does not keep the
    /// store open: that ends with the last handle.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Forked`].
    pub fn pin_owned(&self) -> Result<Pin<'static>> {
        self.open_store()?;
        Ok(Pin::new(Holder::Owned(Arc::clone(&self.shared.store)), self.shared.fork))
    }

    /// A copy of the value of `key`; `None` when it is absent or expired. Takes no lock and never waits.
    ///
    /// # Errors
    /// [`Error::KeyTooLong`]; [`Error::Corrupt`] for a value that is not what was written; [`Error::Closed`],
    /// [`Error::Forked`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(match self.get_local(key)? {
            None => self.ask_tier(key)?,
            found => found,
        }
        .map(Vec::from))
    }

    /// A copy of the value of `key`, if `codec` wrote it. [`Tag::RAW`] takes any, as [`Db::get`] does.
    ///
    /// ```
    /// use kv::{Db, Error, SetOptions, Tag};
    /// let db = Db::in_memory()?;
    /// db.set_with(b"age", b"30", SetOptions::new().codec(Tag::JSON))?;
    /// assert_eq!(db.get_as(b"age", Tag::JSON)?.as_deref(), Some(&b"30"[..]));
    /// assert!(matches!(db.get_as(b"age", Tag::TEXT), Err(Error::WrongCodec { found: Tag::JSON, .. })));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongCodec`]; as [`Db::get`].
    pub fn get_as(&self, key: &[u8], codec: Tag) -> Result<Option<Vec<u8>>> {
        self.get_as_with(key, codec, <[u8]>::to_vec)
    }

    /// As `get`, of this store alone.
    #[inline]
    pub(super) fn get_local(&self, key: &[u8]) -> Result<Option<Tagged>> {
        let guard = reclaim::read();
        Ok(find(self.open_store()?, key, guard.protect())?.map(Tagged::from))
    }

    /// What `read` makes of the value of `key`, which it sees in place. It runs under a [`Pin`]: it must be short, and
    /// what waits for pins ([`Db::clear`], [`Db::compact`], [`Db::sweep`]) fails in it.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get_with<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        self.get_as_with(key, Tag::RAW, read)
    }

    /// As `get_with`, of what `codec` wrote.
    #[inline]
    pub(crate) fn get_as_with<T>(
        &self,
        key: &[u8],
        codec: Tag,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>> {
        let guard = reclaim::read();
        if let Some(view) = hit(self.open_store()?, key, guard.protect()) {
            check_codec(key, codec, Tag::found(view.word.codec()))?;
            return Ok(Some(read(view.value)));
        }
        drop(guard);
        self.get_with_any(key, codec, read)
    }

    #[inline(never)]
    fn get_with_any<T>(&self, key: &[u8], codec: Tag, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        {
            let guard = reclaim::read();
            if let Some(value) = find_any(self.open_store()?, key, guard.protect())? {
                check_codec(key, codec, value.codec)?;
                return Ok(Some(read(&value)));
            }
        }
        let Some(found) = self.ask_tier(key)? else { return Ok(None) };
        check_codec(key, codec, found.codec)?;
        Ok(Some(read(&found.value)))
    }

    /// Puts a copy of the value of `key` into `to`, whose memory is used again; `false` leaves it empty.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get_into(&self, key: &[u8], to: &mut Vec<u8>) -> Result<bool> {
        to.clear();
        {
            let guard = reclaim::read();
            if let Some(value) = find(self.open_store()?, key, guard.protect())? {
                to.extend_from_slice(&value);
                return Ok(true);
            }
        }
        let found = self.ask_tier(key)?;
        if let Some(found) = &found {
            to.extend_from_slice(&found.value);
        }
        Ok(found.is_some())
    }

    /// Copies of the values of many keys, in their order. Each is as of a moment of its own.
    ///
    /// # Errors
    /// As [`Db::get`], for the first key that fails.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>> {
        let pin = self.pin()?;
        let found = pin.get_many(keys)?;
        let mut values: Vec<_> = found.into_iter().map(|value| value.map(Value::into_vec)).collect();
        drop(pin);
        self.ask_tier_many(keys, &mut values)?;
        Ok(values)
    }

    /// As [`Db::get_many`], of values that `codec` wrote; [`Tag::RAW`] takes any.
    ///
    /// # Errors
    /// [`Error::WrongCodec`]; as [`Db::get_many`].
    pub fn get_many_as<K: AsRef<[u8]>>(&self, keys: &[K], codec: Tag) -> Result<Vec<Option<Vec<u8>>>> {
        let found = self.get_many_tagged(keys)?;
        let expect = |(key, found): (&K, Option<Tagged>)| {
            let Some(found) = found else { return Ok(None) };
            check_codec(key.as_ref(), codec, found.codec)?;
            Ok(Some(found.value))
        };
        keys.iter().zip(found).map(expect).collect()
    }

    /// As `get_many`, with each value's codec.
    fn get_many_tagged<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Tagged>>> {
        let pin = self.pin()?;
        let found = pin.get_many(keys)?;
        let mut values: Vec<_> = found.into_iter().map(|value| value.map(Tagged::from)).collect();
        drop(pin);
        self.ask_tier_many(keys, &mut values)?;
        Ok(values)
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        Ok(self.peek(key)?.is_some() || self.ask_tier(key)?.is_some())
    }

    /// The version of the value of `key`, for [`Db::compare_and_swap`]. Every write of the store gives a higher one.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn version(&self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.look_up(key)?.map(|stands| stands.version))
    }

    /// Which codec wrote the value of `key`; [`Tag::RAW`]: none did.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn codec(&self, key: &[u8]) -> Result<Option<Tag>> {
        Ok(self.look_up(key)?.map(|stands| stands.codec))
    }

    /// How long `key` still has; `None` when it is absent.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn ttl(&self, key: &[u8]) -> Result<Option<Ttl>> {
        let store = self.open_store()?;
        Ok(self.look_up(key)?.map(|stands| match stands.expire_at_ms {
            0 => Ttl::Never,
            at => Ttl::Remaining(Duration::from_millis(at.saturating_sub(store.clock.now_ms()))),
        }))
    }

    /// What stands for a key, here or in the tier.
    fn look_up(&self, key: &[u8]) -> Result<Option<Stands>> {
        match self.peek(key)? {
            None => self.read_copy(key, || self.peek(key)),
            found => Ok(found),
        }
    }

    /// The value of `key` with its metadata, as one commit left them.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get_with_metadata(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Metadata)>> {
        self.get_with_metadata_as(key, Tag::RAW)
    }

    /// As [`Db::get_with_metadata`], if `codec` wrote the value; [`Tag::RAW`] takes any.
    ///
    /// # Errors
    /// [`Error::WrongCodec`]; as [`Db::get`].
    pub fn get_with_metadata_as(&self, key: &[u8], codec: Tag) -> Result<Option<(Vec<u8>, Metadata)>> {
        let store = self.open_store()?;
        let (value, metadata) = match self.whole(key)? {
            Some(Whole { value, metadata, codec, .. }) => {
                store.counters.hits.count();
                (Tagged { value, codec }, metadata)
            }
            None => {
                store.counters.misses.count();
                let Some(found) = self.ask_tier(key)? else { return Ok(None) };
                (found, Metadata::new())
            }
        };
        check_codec(key, codec, value.codec)?;
        Ok(Some((value.value, metadata)))
    }

    /// The entry of `key` with all that stands beside its value, as one write left them.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn entry(&self, key: &[u8]) -> Result<Option<Entry>> {
        let store = self.open_store()?;
        let whole = self.whole_anywhere(key)?;
        match whole {
            Some(_) => store.counters.hits.count(),
            None => store.counters.misses.count(),
        }
        Ok(whole.map(|whole| whole.into_entry(key.to_vec())))
    }

    /// All that stands for a key, here or in the tier.
    pub(super) fn whole_anywhere(&self, key: &[u8]) -> Result<Option<Whole>> {
        match self.whole(key)? {
            None => self.read_copy(key, || self.whole(key)),
            found => Ok(found),
        }
    }

    /// All that stands for a key in this store.
    pub(super) fn whole(&self, key: &[u8]) -> Result<Option<Whole>> {
        self.whole_and(key, Store::note_hit)
    }

    /// The same for who passes by: a scan uses no entry.
    pub(super) fn whole_unused(&self, key: &[u8]) -> Result<Option<Whole>> {
        self.whole_and(key, |_, _, _| {})
    }

    fn whole_and(&self, key: &[u8], note: impl Fn(&Store, Address, Found<'_>)) -> Result<Option<Whole>> {
        check_key(key)?;
        let store = self.open_store()?;
        let guard = reclaim::read();
        let Some((address, record)) = store.read(key, guard.protect()) else { return Ok(None) };
        note(store, address, record);
        whole_of(store, address.offset_bytes(), record).map(Some)
    }

    pub(super) fn peek(&self, key: &[u8]) -> Result<Option<Stands>> {
        check_key(key)?;
        let store = self.open_store()?;
        let guard = reclaim::read();
        Ok(store.read(key, guard.protect()).map(|(_, (_, view))| Stands {
            version: view.lsn,
            expire_at_ms: view.expire_at_ms,
            codec: Tag::found(view.word.codec()),
        }))
    }

    /// Entries in the store. Those whose time is over count until the background has removed them, about a second. In a store with
    /// limits as of one moment; in others each thread's part as of its own, so beside writers perhaps a few more or less than ever were.
    pub fn len(&self) -> usize {
        usize::try_from(self.shared.store.entries()).unwrap_or(usize::MAX)
    }

    /// Whether [`Db::len`] is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
