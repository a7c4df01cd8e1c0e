//! Many keys in one call.

use super::args::{self, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::status::*;
use super::types::{codec, expiry, kv_slice};
use crate::db::check_codec;
use crate::{Batch, Db, Tag};

/// A key and its value.
#[repr(C)]
pub struct kv_pair {
    /// The key.
    pub key: kv_slice,
    /// The value.
    pub value: kv_slice,
}

/// A change: sets the key.
pub const KV_CHANGE_SET: u32 = 0;
/// A change: deletes the key.
pub const KV_CHANGE_DELETE: u32 = 1;

/// One member of a batch.
#[repr(C)]
pub struct kv_change {
    /// The key.
    pub key: kv_slice,
    /// The value, for KV_CHANGE_SET.
    pub value: kv_slice,
    /// KV_CHANGE_SET or KV_CHANGE_DELETE.
    pub kind: u32,
    /// For KV_CHANGE_SET: KV_EXPIRE_DEFAULT, _NEVER, _AFTER or _AT; _KEEP counts as _DEFAULT.
    pub expiry: u32,
    /// For KV_EXPIRE_AFTER and KV_EXPIRE_AT.
    pub expiry_ms: u64,
    /// For KV_CHANGE_SET: which codec wrote the value, as in kv_set_options.
    pub codec: u32,
}

/// Copies of the values of many keys, in their order. Each is as of a moment of its own.
///
/// Parameters: `db`; `keys`, `count`: at most KV_COUNT_MAX; `values`: where the address of an array of `count` values is stored:
/// `data` is NULL for a key without a value, and not NULL for a value without bytes; `error`: NULL, or where a failure is
/// stored.
/// Ownership: the array and all values are one piece of memory, which the caller owns and frees with one kv_free.
/// Threads: any.
/// Errors: as kv_get, for the first key that fails; KV_NO_MEMORY.
#[no_mangle]
pub unsafe extern "C" fn kv_get_many(
    db: *const kv_db,
    keys: *const kv_slice,
    count: usize,
    values: *mut *mut kv_slice,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let db = db_of(db)?;
        let out = Out::new(values, "values")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(many(db, &args::keys(keys, count)?, Tag::RAW)?);
        Ok(KV_OK)
    })
}

/// The values of many keys, if `codec` wrote them.
pub(super) fn many(db: &Db, keys: &[&[u8]], codec: Tag) -> Result<*mut kv_slice, Failure> {
    if db.asks_elsewhere() {
        // Nobody waits for an answer under a pin.
        return table_of(&db.get_many_as(keys, codec)?);
    }
    let pin = db.pin()?;
    let found = pin.get_many(keys)?;
    if codec != Tag::RAW {
        for (key, value) in keys.iter().zip(&found) {
            value.as_ref().map_or(Ok(()), |value| check_codec(key, codec, value.codec()))?;
        }
    }
    table_of(&found)
}

/// One piece of memory with a slice for each value, and the values behind them.
fn table_of<V: std::ops::Deref<Target = [u8]>>(found: &[Option<V>]) -> Result<*mut kv_slice, Failure> {
    let value_bytes: usize = found.iter().flatten().map(|value| value.len()).sum();
    let table_bytes = size_of::<kv_slice>() * found.len();
    let memory = args::allocate(table_bytes + value_bytes)?;
    let table: *mut kv_slice = memory.cast();
    // SAFETY: the memory has room for as many slices as there are values, and behind them for their bytes.
    unsafe {
        let mut to = memory.add(table_bytes);
        for (at, value) in found.iter().enumerate() {
            let mut slice = kv_slice { data: std::ptr::null(), len: 0 };
            if let Some(value) = value {
                to.copy_from_nonoverlapping(value.as_ptr(), value.len());
                slice = kv_slice { data: to.cast(), len: value.len() };
                to = to.add(value.len());
            }
            table.add(at).write(slice);
        }
    }
    Ok(table)
}

/// Sets many keys as one batch: after a crash all of it is there or nothing, against sets and deletes. Not isolated: readers
/// may see part of it while it runs.
///
/// Parameters: `db`; `pairs`, `count`: at most KV_COUNT_MAX; a key that comes twice has the last value; `error`: NULL, or where
/// a failure is stored.
/// Ownership: keys and values are copied.
/// Threads: any.
/// Errors: KV_BATCH_TOO_LARGE; as kv_set, with nothing set if a key or value is too long.
#[no_mangle]
pub unsafe extern "C" fn kv_set_many(
    db: *const kv_db,
    pairs: *const kv_pair,
    count: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let pairs = args::array(pairs, count, "pairs")?;
        let pairs = pairs.iter().map(|pair| {
            Ok((args::key(pair.key.data, pair.key.len)?, args::value(pair.value.data, pair.value.len)?))
        });
        db_of(db)?.set_many(&pairs.collect::<Result<Vec<_>, Failure>>()?)?;
        Ok(KV_OK)
    })
}

/// Removes many keys, each on its own, with one wait for durability.
///
/// Parameters: `db`; `keys`, `count`: at most KV_COUNT_MAX; `removed`: NULL, or where the number of those is stored that had a
/// value; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Works on a full disk.
/// Errors: as kv_delete; keys before the one that fails are removed.
#[no_mangle]
pub unsafe extern "C" fn kv_delete_many(
    db: *const kv_db,
    keys: *const kv_slice,
    count: usize,
    removed: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(removed, "removed")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(db_of(db)?.delete_many(&args::keys(keys, count)?)?);
        Ok(KV_OK)
    })
}

/// Applies sets and deletes in their order as one batch: as kv_set_many.
///
/// Parameters: `db`; `changes`, `count`: at most KV_COUNT_MAX; `error`: NULL, or where a failure is stored.
/// Ownership: keys and values are copied.
/// Threads: any.
/// Errors: KV_BATCH_TOO_LARGE; as kv_set, with nothing changed if a key or value is too long.
#[no_mangle]
pub unsafe extern "C" fn kv_apply(
    db: *const kv_db,
    changes: *const kv_change,
    count: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let db = db_of(db)?;
        let mut batch = Batch::new();
        for change in args::array(changes, count, "changes")? {
            let key = args::key(change.key.data, change.key.len)?;
            match change.kind {
                KV_CHANGE_SET => {
                    let value = args::value(change.value.data, change.value.len)?;
                    batch.set_as(key, value, expiry(change.expiry, change.expiry_ms)?, codec(change.codec)?)
                }
                KV_CHANGE_DELETE => batch.delete(key),
                other => return Err(Failure::argument(format!("change {other}: must be 0 or 1"))),
            };
        }
        db.apply(&batch)?;
        Ok(KV_OK)
    })
}
