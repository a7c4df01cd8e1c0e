//! One typed entry for oneself.

use super::codec::Codec;
use super::store::{decode, encode, Store};
use super::Json;
use crate::db::{check_codec, CreateOptions, Expiry, KeyOptions, Session, Uncommitted};
use crate::error::Result;
use crate::locks::Wait;
use crate::record::Metadata;

/// A [`Session`] whose value has a type: it is decoded when the key is locked, and encoded, with the codec's tag, when it is committed. Readers,
/// other sessions and plain writes are met as by a [`Session`].
///
/// ```
/// use kv::{CreateOptions, Db, Store, Wait};
/// let db = Db::in_memory()?;
/// let carts: Store<Vec<String>> = db.typed();
/// let mut cart = carts.create_and_lock(b"cart", Wait::Forever, CreateOptions::of(vec!["apples".into()]))?.expect("no cart yet");
/// cart.value_mut().push("pears".into());
/// cart.metadata_mut().insert("owner".into(), b"Alice".to_vec());
/// assert_eq!(carts.get(b"cart")?, None);
/// cart.commit()?;
/// assert_eq!(carts.get(b"cart")?, Some(vec!["apples".into(), "pears".into()]));
/// # Ok::<(), kv::Error>(())
/// ```
///
/// One that was committed cannot be used any more:
///
/// ```compile_fail,E0382
/// # let carts: kv::Store<Vec<String>> = kv::Db::in_memory()?.typed();
/// let mut cart = carts.get_and_lock(b"cart", kv::Wait::No)?.expect("a cart");
/// cart.commit()?;
/// cart.value_mut().clear();
/// # Ok::<(), kv::Error>(())
/// ```
pub struct TypedSession<T, C = Json> {
    session: Session,
    codec: C,
    value: T,
}

impl<T, C> std::fmt::Debug for TypedSession<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TypedSession").field("session", &self.session).finish_non_exhaustive()
    }
}

impl<T, C: Codec<T> + Clone> Store<T, C> {
    /// Locks a key that has a value, to edit it; `None`: it has none. See [`Db::get_and_lock`](crate::Db::get_and_lock).
    ///
    /// # Errors
    /// As [`Db::get_and_lock`](crate::Db::get_and_lock) and [`Store::get`]: then nothing is locked.
    pub fn get_and_lock(&self, key: &[u8], wait: Wait) -> Result<Option<TypedSession<T, C>>> {
        let session = self.db().get_and_lock(key, wait)?;
        session.map(|session| self.session(session, None)).transpose()
    }

    /// Locks a key that has no value, to make one of which `options` have the beginning; `None`: it has one, and they do not allow that.
    /// See [`Db::create_and_lock`](crate::Db::create_and_lock).
    ///
    /// # Errors
    /// As [`Db::create_and_lock`](crate::Db::create_and_lock) and [`Store::get`]: then nothing is locked.
    pub fn create_and_lock(
        &self,
        key: &[u8],
        wait: Wait,
        options: CreateOptions<T>,
    ) -> Result<Option<TypedSession<T, C>>> {
        let (options, initial) = options.split();
        let session = self.db().create_and_lock(key, wait, options)?;
        session.map(|session| self.session(session, Some(initial))).transpose()
    }

    /// Locks a key that the store makes up, as [`Db::create_generated_and_lock`](crate::Db::create_generated_and_lock) does.
    ///
    /// # Errors
    /// As [`Db::create_generated_and_lock`](crate::Db::create_generated_and_lock).
    pub fn create_generated_and_lock(&self, key: &KeyOptions, initial: T) -> Result<TypedSession<T, C>> {
        let session = self.db().create_generated_and_lock(key, Vec::new())?;
        self.session(session, Some(initial))
    }

    /// `initial` is taken where the key has no value.
    fn session(&self, session: Session, initial: Option<T>) -> Result<TypedSession<T, C>> {
        let value = match initial {
            Some(initial) if session.version() == 0 => initial,
            _ => value_of(self.codec(), &session)?,
        };
        Ok(TypedSession { session, codec: self.codec().clone(), value })
    }
}

fn value_of<T, C: Codec<T>>(codec: &C, session: &Session) -> Result<T> {
    check_codec(session.key(), C::TAG, session.codec())?;
    decode(codec, session.key(), session.value())
}

impl<T, C: Codec<T>> TypedSession<T, C> {
    /// The key that is locked.
    pub fn key(&self) -> &[u8] {
        self.session.key()
    }

    /// Version of the entry that the edits began from; 0: the key had no value.
    pub fn version(&self) -> u64 {
        self.session.version()
    }

    /// The value as it was edited so far.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The value, to be edited.
    pub fn value_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// The metadata as it was edited so far.
    pub fn metadata(&self) -> &Metadata {
        self.session.metadata()
    }

    /// The metadata, to be edited, as [`Session::metadata_mut`] has it.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        self.session.metadata_mut()
    }

    /// When the committed entry expires. Without this: when it would have; a new one after the store's default.
    pub fn set_expiry(&mut self, expiry: Expiry) {
        self.session.set_expiry(expiry);
    }

    /// Whether the commit removes the entry instead.
    pub fn delete_on_commit(&mut self, deletes: bool) {
        self.session.delete_on_commit(deletes);
    }

    /// Makes the edits visible, all at once, and gives up the lock. Returns the new version; 0 for an entry that was removed. As durable as
    /// [`Sync`](crate::Sync) says.
    ///
    /// # Errors
    /// [`Error::Codec`](crate::Error::Codec) for a value that the codec cannot write; as [`Session::commit`]. After an error edits and lock are
    /// gone.
    pub fn commit(mut self) -> Result<u64> {
        self.commit_and_keep()
    }

    /// As [`TypedSession::commit`], and keeps the lock: the session goes on with what was committed, and after a removal with the value that
    /// it had, to be made anew. After an error it has lock and edits as before.
    ///
    /// # Errors
    /// As [`TypedSession::commit`].
    pub fn commit_and_keep(&mut self) -> Result<u64> {
        if !self.session.deletes() {
            *self.session.value_mut() = encode(&self.codec, self.session.key(), &self.value)?;
            self.session.set_codec(C::TAG);
        }
        self.session.commit_and_keep()
    }

    /// As [`TypedSession::commit`], but a session whose commit fails comes back with the error.
    ///
    /// # Errors
    /// As [`TypedSession::commit`].
    pub fn commit_or_keep(mut self) -> Result<u64, Box<Uncommitted<Self>>> {
        match self.commit_and_keep() {
            Ok(version) => Ok(version),
            Err(error) => Err(Box::new(Uncommitted { error, session: self })),
        }
    }

    /// Gives up edits and lock, as dropping it does.
    pub fn rollback(self) {}

    /// Gives up the edits and reads the entry anew: after a conflict, the next commit replaces what stands there now. Where nothing stands
    /// any more the version is 0, and the value stays as it was edited. The lock stays.
    ///
    /// # Errors
    /// As [`Store::get`]: the value stays as it was edited.
    pub fn reload(&mut self) -> Result<()> {
        self.session.reload()?;
        if self.session.version() > 0 {
            self.value = value_of(&self.codec, &self.session)?;
        }
        Ok(())
    }
}
