//! One entry for oneself: locked, edited, committed.

use super::args::{self, Out};
use super::batch::kv_pair;
use super::callbacks::{refuse_where_barred, slice};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::generate::{key_options_of, kv_key_options};
use super::handle::{self, Handle, Kind};
use super::status::*;
use super::types::{expiry, kv_slice};
use crate::{CreateOptions, Metadata, Session, Wait};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// How long a call waits for a key's lock: until it is free, or the store is closed.
pub const KV_WAIT_FOREVER: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// A commit: keeps the lock, also when it fails; the session goes on with what was committed.
pub const KV_COMMIT_KEEP: u32 = 1;
/// A commit: keeps lock and edits when it fails.
pub const KV_COMMIT_KEEP_ON_FAILURE: u32 = 2;
/// A commit: removes the entry instead.
pub const KV_COMMIT_DELETE: u32 = 4;

/// An entry that is locked for whoever holds this, with a value and metadata to edit. Opaque; made by kv_get_and_lock,
/// kv_create_and_lock and kv_create_generated_and_lock.
pub struct kv_session {
    _opaque: [u8; 0],
}

impl Kind for kv_session {
    const MAGIC: u64 = 0x6b76_7365_7373_6e0b;
    /// `None`: it has ended.
    type Inner = Mutex<Option<Session>>;
}

/// What kv_create_and_lock begins with. All zero means: the key must have no value, and the session begins with an empty one.
#[repr(C)]
pub struct kv_create_options {
    /// Not 0: a key that has a value is taken as it is.
    pub allow_existing: u32,
    /// The value of a session of a key that has none.
    pub initial: kv_slice,
}

pub(super) fn wait_of(wait_ms: u64) -> Wait {
    match wait_ms {
        0 => Wait::No,
        KV_WAIT_FOREVER => Wait::Forever,
        ms => Wait::AtMost(Duration::from_millis(ms)),
    }
}

fn given(session: Session) -> *mut kv_session {
    handle::give(Mutex::new(Some(session)))
}

/// A session that is in nobody else's call.
pub(super) type Held<'call> = MutexGuard<'call, Option<Session>>;

/// # Safety
/// A2.
pub(super) unsafe fn held<'call>(session: *const kv_session) -> Result<Held<'call>, Failure> {
    // SAFETY: A2.
    let session = unsafe { Handle::of(session)? };
    refuse_where_barred()?;
    match session.try_lock() {
        Ok(session) => Ok(session),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Failure::new(KV_BUSY, "another thread is using the session")),
    }
}

pub(super) fn open<'h>(held: &'h mut Held<'_>) -> Result<&'h mut Session, Failure> {
    let ended = || Failure::new(KV_SESSION_ENDED, "the session was committed or rolled back");
    held.as_mut().ok_or_else(ended)
}

/// Locks a key that has a value, to edit it. Readers meanwhile see what was committed last, and wait for nothing. Plain writes do not
/// ask for the lock: a commit after one gives KV_CONFLICT. Sessions get a key in the order in which they ask; a thread that asks for
/// a key that it has already waits for itself, and so do threads that ask for two keys in different orders.
///
/// Parameters: `db`; `key`, `key_len`; `wait_ms`: for how long another session's lock is waited for, at most; 0: not at all;
/// KV_WAIT_FOREVER; `session`: where the handle is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns `*session` and frees it with kv_session_free. It may be kept for long: it pins no memory.
/// Threads: any. A session belongs to no thread.
/// Errors: KV_NOT_FOUND: the key has no value, and is not locked; KV_KEY_LOCKED; KV_PINNED when this thread would have to wait and holds
/// a pin; KV_CLOSED, also while it waits; as kv_get_owned.
#[no_mangle]
pub unsafe extern "C" fn kv_get_and_lock(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    wait_ms: u64,
    session: *mut *mut kv_session,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(session, "session")?;
        args::distinct([out.range(), place(error).range()])?;
        let locked = db_of(db)?.get_and_lock(args::key(key, key_len)?, wait_of(wait_ms))?;
        let Some(locked) = locked else { return Ok(KV_NOT_FOUND) };
        out.put(given(locked));
        Ok(KV_OK)
    })
}

/// Locks a key that has no value, to make one, which is there when it is committed. See kv_get_and_lock.
///
/// Parameters: `db`; `key`, `key_len`; `wait_ms`: as kv_get_and_lock; `options`: NULL as for all zero; `session`: where the handle is
/// stored; `error`: NULL, or where a failure is stored.
/// Ownership: as kv_get_and_lock. The initial value is copied.
/// Threads: any.
/// Errors: KV_NOT_MET: the key has a value, and is not locked; KV_READ_ONLY; as kv_get_and_lock.
#[no_mangle]
pub unsafe extern "C" fn kv_create_and_lock(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    wait_ms: u64,
    options: *const kv_create_options,
    session: *mut *mut kv_session,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(session, "session")?;
        args::distinct([out.range(), place(error).range()])?;
        let mut created = CreateOptions::new();
        if let Some(options) = args::optional(options, "options")? {
            let initial = args::value(options.initial.data, options.initial.len)?;
            created = created.allow_existing(options.allow_existing != 0).initial(initial);
        }
        let locked = db_of(db)?.create_and_lock(args::key(key, key_len)?, wait_of(wait_ms), created)?;
        let Some(locked) = locked else { return Ok(KV_NOT_MET) };
        out.put(given(locked));
        Ok(KV_OK)
    })
}

/// Locks a key that kv_generate_key gives and that has no value, to make one. It waits for nobody: a key that has a value, or that another
/// session has, is passed over.
///
/// Parameters: `db`; `options`: of the key; NULL as for all zero; `initial`, `initial_len`: the value that the session begins with;
/// `session`: where the handle is stored; `error`: NULL, or where a failure is stored.
/// Ownership: as kv_get_and_lock. Options and value are copied.
/// Threads: any.
/// Errors: as kv_generate_key and kv_get_owned.
#[no_mangle]
pub unsafe extern "C" fn kv_create_generated_and_lock(
    db: *const kv_db,
    options: *const kv_key_options,
    initial: *const c_void,
    initial_len: usize,
    session: *mut *mut kv_session,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(session, "session")?;
        args::distinct([out.range(), place(error).range()])?;
        let options = key_options_of(options)?;
        out.put(given(db_of(db)?.create_generated_and_lock(&options, args::value(initial, initial_len)?)?));
        Ok(KV_OK)
    })
}

/// The key that a session has locked.
///
/// Parameters: `session`; `key`, `key_len`: where its address and length are stored; `error`: NULL, or where a failure is stored.
/// Ownership: the bytes belong to the session, and are valid until it ends.
/// Threads: any, one at a time.
/// Errors: KV_SESSION_ENDED; KV_BUSY when another thread is using the session; KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK
/// in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_session_key(
    session: *const kv_session,
    key: *mut *const u8,
    key_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let (to, len) = (Out::new(key, "key")?, Out::new(key_len, "key_len")?);
        args::distinct([to.range(), len.range(), place(error).range()])?;
        let key = open(&mut held)?.key();
        to.put(key.as_ptr());
        len.put(key.len());
        Ok(KV_OK)
    })
}

/// The version of the entry that a session's edits began from; 0: the key had no value.
///
/// Parameters: `session`; `version`: where it is stored; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any, one at a time.
/// Errors: as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_version(
    session: *const kv_session,
    version: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let out = Out::new(version, "version")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(open(&mut held)?.version());
        Ok(KV_OK)
    })
}

/// The value of a session's entry, as it was edited so far.
///
/// Parameters: `session`; `value`, `value_len`: where its address and length are stored; `error`: NULL, or where a failure is stored.
/// Ownership: the bytes belong to the session, and are valid until kv_session_set_value, kv_session_reload, or its end.
/// Threads: any, one at a time.
/// Errors: as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_value(
    session: *const kv_session,
    value: *mut *const u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let (to, len) = (Out::new(value, "value")?, Out::new(value_len, "value_len")?);
        args::distinct([to.range(), len.range(), place(error).range()])?;
        let value = open(&mut held)?.value();
        to.put(value.as_ptr());
        len.put(value.len());
        Ok(KV_OK)
    })
}

/// Replaces the value of a session's entry, for its commit.
///
/// Parameters: `session`; `value`, `value_len`; `error`: NULL, or where a failure is stored.
/// Ownership: the value is copied.
/// Threads: any, one at a time.
/// Errors: KV_VALUE_TOO_LONG beyond any store's limit; the commit looks at this store's; as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_set_value(
    session: *mut kv_session,
    value: *const c_void,
    value_len: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let session = open(&mut held)?;
        // Copied first: it may be what kv_session_value gave.
        let value = args::value(value, value_len)?.to_vec();
        *session.value_mut() = value;
        Ok(KV_OK)
    })
}

/// The metadata of a session's entry, as it was edited so far.
///
/// Parameters: `session`; `pairs`, `count`: where the address of an array of names (`key`) and what they hold (`value`) and its length
/// are stored, in bytewise order of the names, which are UTF-8; `error`: NULL, or where a failure is stored.
/// Ownership: the array and all that it leads to are one piece of memory, which the caller owns and frees with one kv_free.
/// Threads: any, one at a time.
/// Errors: KV_NO_MEMORY; as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_metadata(
    session: *const kv_session,
    pairs: *mut *mut kv_pair,
    count: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let (to, len) = (Out::new(pairs, "pairs")?, Out::new(count, "count")?);
        args::distinct([to.range(), len.range(), place(error).range()])?;
        let metadata = open(&mut held)?.metadata();
        to.put(pairs_of(metadata)?);
        len.put(metadata.len());
        Ok(KV_OK)
    })
}

/// Replaces all metadata of a session's entry, for its commit. It is stored with the value, in one record, and counts for the longest
/// value. A plain write drops it, as an increment does; a change of the expiry keeps it. Redis gets the value alone.
///
/// Parameters: `session`; `pairs`, `count`: names (`key`, UTF-8, at most 65,535 bytes) and what they hold (`value`); of a name that comes
/// twice the last counts; `error`: NULL, or where a failure is stored.
/// Ownership: names and values are copied.
/// Threads: any, one at a time.
/// Errors: KV_INVALID_ARGUMENT too for a name that is not UTF-8; KV_KEY_TOO_LONG, KV_VALUE_TOO_LONG; as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_set_metadata(
    session: *mut kv_session,
    pairs: *const kv_pair,
    count: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let session = open(&mut held)?;
        let mut metadata = Metadata::new();
        for pair in args::array(pairs, count, "pairs")? {
            let name = args::key(pair.key.data, pair.key.len)?;
            let name = std::str::from_utf8(name).map_err(|_| Failure::argument("a name is not UTF-8"))?;
            let value = args::value(pair.value.data, pair.value.len)?;
            metadata.insert(name.into(), value.to_vec());
        }
        *session.metadata_mut() = metadata;
        Ok(KV_OK)
    })
}

/// Says when a session's entry expires once it is committed. Without this: when it would have; a new one after the store's default.
///
/// Parameters: `session`; `kind`: KV_EXPIRE_DEFAULT, _NEVER, _AFTER, _AT or _KEEP; `ms`: for KV_EXPIRE_AFTER and KV_EXPIRE_AT;
/// `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any, one at a time.
/// Errors: KV_INVALID_ARGUMENT too for another kind; as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_set_expiry(
    session: *mut kv_session,
    kind: u32,
    ms: u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        open(&mut held)?.set_expiry(expiry(kind, ms)?);
        Ok(KV_OK)
    })
}

/// Makes a session's edits visible, all at once, and gives up the lock: any further call with the session but kv_session_free gives
/// KV_SESSION_ENDED. As durable as the store's sync option says.
///
/// Parameters: `session`; `options`: 0, or KV_COMMIT_KEEP, KV_COMMIT_KEEP_ON_FAILURE and KV_COMMIT_DELETE, added; `version`: NULL, or where
/// the new version is stored; 0 for an entry that was removed; `error`: NULL, or where a failure is stored.
/// Ownership: the handle stays the caller's; kv_session_free frees it.
/// Threads: any, one at a time.
/// Errors: KV_CONFLICT when somebody else has changed the entry, its expiry included, or when it has expired: nothing was changed;
/// KV_VALUE_TOO_LONG for value and metadata together; KV_SESSION_ENDED, KV_BUSY; as kv_set. Unless an option keeps them, edits and lock
/// are gone after a failure, but for KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_BUSY and KV_IN_CALLBACK.
#[no_mangle]
pub unsafe extern "C" fn kv_session_commit(
    session: *mut kv_session,
    options: u32,
    version: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let out = Out::optional(version, "version")?;
        args::distinct([out.range(), place(error).range()])?;
        if options & !(KV_COMMIT_KEEP | KV_COMMIT_KEEP_ON_FAILURE | KV_COMMIT_DELETE) != 0 {
            return Err(Failure::argument(format!("options {options}: unknown bits")));
        }
        let session = open(&mut held)?;
        session.delete_on_commit(options & KV_COMMIT_DELETE != 0);
        let committed = session.commit_and_keep();
        let keeps =
            if committed.is_ok() { KV_COMMIT_KEEP } else { KV_COMMIT_KEEP | KV_COMMIT_KEEP_ON_FAILURE };
        if options & keeps == 0 {
            *held = None;
        }
        out.put(committed?);
        Ok(KV_OK)
    })
}

/// Gives up a session's edits and reads the entry anew: after KV_CONFLICT, the next commit replaces what stands there now. The lock stays.
///
/// Parameters: `session`; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any, one at a time.
/// Errors: KV_CORRUPT, KV_CLOSED, KV_FORKED; as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_reload(session: *mut kv_session, error: *mut *mut kv_error) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        open(&mut held)?.reload()?;
        Ok(KV_OK)
    })
}

/// Gives up a session's edits and its lock: any further call with the session but kv_session_free gives KV_SESSION_ENDED.
///
/// Parameters: `session`; `error`: NULL, or where a failure is stored.
/// Ownership: the handle stays the caller's; kv_session_free frees it.
/// Threads: any, one at a time.
/// Errors: as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_rollback(
    session: *mut kv_session,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        open(&mut held)?;
        *held = None;
        Ok(KV_OK)
    })
}

/// Frees a session's handle. One that was not committed is rolled back.
///
/// Parameters: `session`, or NULL: then nothing happens.
/// Ownership: `session`, and what it gave to look at, are gone afterwards.
/// Threads: any, but no other may be using `session`.
/// Errors: KV_INVALID_HANDLE; KV_BUSY while another thread is in a call with `session` after all: then nothing is freed.
#[no_mangle]
pub unsafe extern "C" fn kv_session_free(session: *mut kv_session) -> kv_status {
    call!(std::ptr::null_mut(), {
        if !session.is_null() {
            if let Err(TryLockError::WouldBlock) = Handle::of(session)?.try_lock() {
                return Err(Failure::new(KV_BUSY, "another thread is using the session"));
            }
        }
        handle::free(session)
    })
}

/// A copy of a key's value, with its metadata, as one commit left them.
///
/// Parameters: `db`; `key`, `key_len`; `value`, `value_len`: where the copy's address and length are stored; `pairs`, `count`: where those
/// of the metadata are, as kv_session_metadata; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns both and frees each with kv_free. Neither is NULL.
/// Threads: any. Takes no lock and never waits.
/// Errors: as kv_get_owned.
#[no_mangle]
pub unsafe extern "C" fn kv_get_with_metadata(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    value: *mut *mut u8,
    value_len: *mut usize,
    pairs: *mut *mut kv_pair,
    count: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let db = db_of(db)?;
        let found = || Ok(db.get_with_metadata(args::key(key, key_len)?)?);
        put_with_metadata(found, value, value_len, pairs, count, error)
    })
}

/// Gives away what was found, once it is known where it goes.
///
/// # Safety
/// A1.
pub(super) unsafe fn put_with_metadata(
    find: impl FnOnce() -> Result<Option<(Vec<u8>, Metadata)>, Failure>,
    value: *mut *mut u8,
    value_len: *mut usize,
    pairs: *mut *mut kv_pair,
    count: *mut usize,
    error: *mut *mut kv_error,
) -> Result<kv_status, Failure> {
    let (to, len) = (Out::new(value, "value")?, Out::new(value_len, "value_len")?);
    let (to_pairs, to_count) = (Out::new(pairs, "pairs")?, Out::new(count, "count")?);
    let outputs = [to.range(), len.range(), to_pairs.range(), to_count.range(), place(error).range()];
    args::distinct(outputs)?;
    let Some((value, metadata)) = find()? else { return Ok(KV_NOT_FOUND) };
    let copied = args::copied(&value)?;
    // SAFETY: A1; the copy was just allocated, and nobody has it yet.
    unsafe {
        let pairs = pairs_of(&metadata).inspect_err(|_| libc::free(copied.cast()))?;
        to.put(copied);
        len.put(value.len());
        to_pairs.put(pairs);
        to_count.put(metadata.len());
    }
    Ok(KV_OK)
}

/// One piece of memory with a pair for each name, and names and values behind them.
fn pairs_of(metadata: &Metadata) -> Result<*mut kv_pair, Failure> {
    let table_bytes = size_of::<kv_pair>() * metadata.len();
    let data_bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    let memory = args::allocate(table_bytes + data_bytes)?;
    let table: *mut kv_pair = memory.cast();
    // SAFETY: the memory has room for as many pairs as there are names, and behind them for the bytes of all.
    unsafe {
        let mut to = memory.add(table_bytes);
        let mut put = |bytes: &[u8]| {
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            let put = slice(std::slice::from_raw_parts(to, bytes.len()));
            to = to.add(bytes.len());
            put
        };
        for (at, (name, value)) in metadata.iter().enumerate() {
            table.add(at).write(kv_pair { key: put(name.as_bytes()), value: put(value) });
        }
    }
    Ok(table)
}
