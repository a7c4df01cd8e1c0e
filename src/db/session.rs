//! One entry for oneself: locked, edited, committed.

use super::generate::KeyOptions;
use super::write::{deadline_ms, Expiry, Stored};
use super::{read::refuse_pinned, Db};
use crate::error::{Error, Result};
use crate::fork::Generation;
use crate::locks::{Ticket, Wait};
use crate::options::check_key;
use crate::record::Metadata;
use crate::store::{Step, Store};
use crate::tag::Tag;
use std::sync::Arc;

/// What [`Db::create_and_lock`] begins with; `V` is what values are: bytes, or those of a [`Store`](crate::Store).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions<V = Vec<u8>> {
    allow_existing: bool,
    initial: V,
}

impl CreateOptions {
    /// The key must have no value; the session begins with an empty one.
    pub fn new() -> Self {
        CreateOptions::default()
    }

    /// The value of a session of a key that has none.
    pub fn initial(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.initial = value.into();
        self
    }
}

impl<V> CreateOptions<V> {
    /// The key must have no value; the session begins with this one.
    pub fn of(initial: V) -> Self {
        CreateOptions { allow_existing: false, initial }
    }

    /// Whether a key that has a value is taken as it is.
    pub fn allow_existing(mut self, allow: bool) -> Self {
        self.allow_existing = allow;
        self
    }

    /// What a session of bytes is made with, and the value.
    pub(crate) fn split(self) -> (CreateOptions, V) {
        (CreateOptions::new().allow_existing(self.allow_existing), self.initial)
    }
}

/// A key's lock.
struct Lock {
    store: Arc<Store>,
    fork: Generation,
    key: Box<[u8]>,
    ticket: Ticket,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // In a forked child another thread of the parent may have held the table for ever.
        if self.fork.check().is_ok() {
            self.store.locks.release(&self.key, self.ticket);
        }
    }
}

/// One entry, locked for whoever holds this, with its value and metadata to edit. Nobody sees the edits before a commit; readers meanwhile
/// see what was committed last, and wait for nothing. Dropped, also by a panic, it gives up edits and lock. It belongs to no thread,
/// and pins no memory: it may be kept for long.
///
/// The lock is among sessions. Plain writes do not ask for it; a commit after one changes nothing and fails with
/// [`Error::Conflict`].
///
/// ```
/// use kv::{CreateOptions, Db, Wait};
/// let db = Db::in_memory()?;
/// let mut session = db.create_and_lock(b"cart", Wait::Forever, CreateOptions::new().initial("apples"))?.expect("no cart yet");
/// session.value_mut().extend_from_slice(b", pears");
/// session.metadata_mut().insert("owner".into(), b"Alice".to_vec());
/// assert_eq!(db.get(b"cart")?, None);
/// session.commit()?;
/// let (value, metadata) = db.get_with_metadata(b"cart")?.expect("committed");
/// assert_eq!((&value[..], &metadata["owner"][..]), (&b"apples, pears"[..], &b"Alice"[..]));
/// # Ok::<(), kv::Error>(())
/// ```
///
/// A session that was committed cannot be used any more:
///
/// ```compile_fail,E0382
/// # let db = kv::Db::in_memory()?;
/// let mut session = db.get_and_lock(b"cart", kv::Wait::No)?.expect("a cart");
/// session.commit()?;
/// session.value_mut().clear();
/// # Ok::<(), kv::Error>(())
/// ```
pub struct Session {
    lock: Lock,
    db: Db,
    /// Version of what was read, or committed last; 0: the key had no value.
    version: u64,
    codec: Tag,
    value: Vec<u8>,
    metadata: Metadata,
    expiry: Expiry,
    deletes: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.lock.key)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A commit that failed, and the session, which still has lock and edits.
#[derive(Debug)]
pub struct Uncommitted<S = Session> {
    /// Why.
    pub error: Error,
    /// To be committed again, after [`Session::reload`] where others have changed the entry, or dropped.
    pub session: S,
}

impl<S> std::fmt::Display for Uncommitted<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl<S: std::fmt::Debug> std::error::Error for Uncommitted<S> {}

impl Db {
    /// Locks a key that has a value, to edit it; `None`: it has none. Sessions get a key in the order in which they ask. A thread that asks
    /// for a key that it has already waits for itself, as does who asks for two keys in another order than others do: lock in the
    /// order of the keys, or with [`Wait::AtMost`].
    ///
    /// # Errors
    /// [`Error::KeyLocked`] when another session has it for longer than `wait`; [`Error::Pinned`] when this thread would have to wait and
    /// holds a [`Pin`](crate::Pin); [`Error::Closed`], also while it waits; as [`Db::get`].
    pub fn get_and_lock(&self, key: &[u8], wait: Wait) -> Result<Option<Session>> {
        let session = self.lock_key(key, wait)?;
        Ok(Some(session).filter(|session| session.version > 0))
    }

    /// Locks a key that has no value, to make one, which is there when it is committed; `None`: it has one, and `options` do not allow
    /// that. See [`Db::get_and_lock`].
    ///
    /// # Errors
    /// As [`Db::get_and_lock`] and [`Db::set`].
    pub fn create_and_lock(&self, key: &[u8], wait: Wait, options: CreateOptions) -> Result<Option<Session>> {
        self.writable_store([key])?.check_writable()?;
        let mut session = self.lock_key(key, wait)?;
        if session.version > 0 {
            return Ok(Some(session).filter(|_| options.allow_existing));
        }
        session.value = options.initial;
        Ok(Some(session))
    }

    /// Locks a key that [`Db::generate_key`] gives and that has no value, to make one of which `initial` is the beginning. It waits for
    /// nobody: a key that has a value, or that another session has, is passed over.
    ///
    /// # Errors
    /// As [`Db::generate_key`] and [`Db::get`].
    pub fn create_generated_and_lock(
        &self,
        key: &KeyOptions,
        initial: impl Into<Vec<u8>>,
    ) -> Result<Session> {
        let options = CreateOptions::new().initial(initial);
        loop {
            match self.create_and_lock(&self.generate_key(key)?, Wait::No, options.clone()) {
                Ok(None) | Err(Error::KeyLocked) => {}
                Ok(Some(session)) => return Ok(session),
                Err(error) => return Err(error),
            }
        }
    }

    fn lock_key(&self, key: &[u8], wait: Wait) -> Result<Session> {
        check_key(key)?;
        let store = self.open_store()?;
        let ticket = store.locks.acquire(key, wait, || refuse_pinned("a session that waits"))?;
        let store = Arc::clone(&self.shared.store);
        let lock = Lock { store, fork: self.shared.fork, key: key.into(), ticket };
        let mut session = Session {
            lock,
            db: self.clone(),
            version: 0,
            codec: Tag::RAW,
            value: Vec::new(),
            metadata: Metadata::new(),
            expiry: Expiry::Keep,
            deletes: false,
        };
        session.reload()?;
        Ok(session)
    }
}

impl Session {
    /// The key that is locked.
    pub fn key(&self) -> &[u8] {
        &self.lock.key
    }

    /// Version of the entry that the edits began from; 0: the key had no value.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The value as it was edited so far.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The value, to be edited.
    pub fn value_mut(&mut self) -> &mut Vec<u8> {
        &mut self.value
    }

    /// The metadata as it was edited so far.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The metadata, to be edited. It is written with the value, in one record, and counts for the longest value. A plain write drops it,
    /// as an increment does; a change of the expiry keeps it. Redis gets the value alone.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Which codec wrote the value; [`Tag::RAW`]: none did.
    pub fn codec(&self) -> Tag {
        self.codec
    }

    /// Which codec the edited value is of. Without this: that of the value which it replaces.
    pub fn set_codec(&mut self, codec: Tag) {
        self.codec = codec;
    }

    /// When the committed entry expires. Without this: when it would have; a new one after the store's default.
    pub fn set_expiry(&mut self, expiry: Expiry) {
        self.expiry = expiry;
    }

    /// Whether the commit removes the entry instead.
    pub fn delete_on_commit(&mut self, deletes: bool) {
        self.deletes = deletes;
    }

    /// Whether it does.
    pub(crate) fn deletes(&self) -> bool {
        self.deletes
    }

    /// Makes the edits visible, all at once, and gives up the lock. Returns the new version; 0 for an entry that was removed. As durable as
    /// [`Sync`](crate::Sync) says.
    ///
    /// # Errors
    /// [`Error::Conflict`] when somebody else has changed the entry, its expiry included, or when it has expired; [`Error::InvalidOption`] for a
    /// name of metadata longer than 65,535 bytes; as [`Db::set`]. After an error edits and lock are gone.
    pub fn commit(mut self) -> Result<u64> {
        self.commit_and_keep()
    }

    /// As [`Session::commit`], and keeps the lock: the session goes on with what was committed. After an error it has lock and
    /// edits as before.
    ///
    /// # Errors
    /// As [`Session::commit`].
    pub fn commit_and_keep(&mut self) -> Result<u64> {
        let (lsn, is_met) =
            if self.deletes { self.db.remove_version(&self.lock.key, self.version)? } else { self.write()? };
        if !is_met {
            return Err(Error::Conflict);
        }
        self.version = if self.deletes { 0 } else { lsn.unwrap_or(0) };
        if self.deletes {
            (self.value, self.metadata, self.codec) = (Vec::new(), Metadata::new(), Tag::RAW);
            self.deletes = false;
        }
        self.expiry = Expiry::Keep;
        lsn.map_or(Ok(()), |lsn| self.db.acknowledge(lsn, [self.key()]))?;
        Ok(self.version)
    }

    /// As [`Session::commit`], but a session whose commit fails comes back with the error.
    ///
    /// # Errors
    /// As [`Session::commit`].
    pub fn commit_or_keep(mut self) -> Result<u64, Box<Uncommitted>> {
        match self.commit_and_keep() {
            Ok(version) => Ok(version),
            Err(error) => Err(Box::new(Uncommitted { error, session: self })),
        }
    }

    /// Gives up edits and lock, as dropping it does.
    pub fn rollback(self) {}

    /// Gives up the edits and reads the entry anew: after a conflict, the next commit replaces what stands there now. The lock stays.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn reload(&mut self) -> Result<()> {
        let found = self.db.whole_anywhere(&self.lock.key)?.unwrap_or_default();
        (self.version, self.codec) = (found.version, found.codec);
        (self.value, self.metadata) = (found.value, found.metadata);
        (self.expiry, self.deletes) = (Expiry::Keep, false);
        Ok(())
    }

    fn write(&self) -> Result<(Option<u64>, bool)> {
        let store = self.db.writable_store([&self.lock.key[..]])?;
        let stored = Stored::with_metadata(store, &self.value, &self.metadata)?;
        let written = self.db.write_on_copy(&self.lock.key, &stored.bytes, |seen, _| {
            if seen.version() != self.version {
                return Ok(Step::Leave(false));
            }
            let replaced_ms = seen.live.map(|view| view.expire_at_ms);
            let expire_at_ms = deadline_ms(store, self.expiry, replaced_ms);
            Ok(Step::Write(stored.put_as(stored.flags, self.codec, expire_at_ms), true))
        })?;
        if written.1 {
            store.counters.writes.add(1);
        }
        Ok(written)
    }
}
