//! Values as a host's own objects: made by the host's runtime straight from the store's memory, with no copy between.

use super::args;
use super::db::{db_of, kv_db};
use super::error::{guarded, kv_error, Failure};
use super::status::*;
use super::types::{codec, KV_COUNT_MAX};
use crate::db::check_codec;
use std::ffi::c_void;

/// Keys that are looked up together: those that wait for memory wait at the same time.
const GROUP_KEYS: usize = 64;

/// Functions of a host's runtime that read and make its byte strings, for hosts to which a buffer or an array of addresses is
/// dear; CPython's are named beside each. They are called in the calling thread, in the middle of a read: they must be quick,
/// must not call the store, and must return.
#[repr(C)]
pub struct kv_host {
    /// Makes an object from bytes; NULL: it failed. PyBytes_FromStringAndSize.
    pub make: Option<unsafe extern "C-unwind" fn(data: *const c_void, len: usize) -> *mut c_void>,
    /// Takes one more reference to an object, which may be NULL. Py_IncRef.
    pub share: Option<unsafe extern "C-unwind" fn(object: *mut c_void)>,
    /// The object of a list; no reference is taken; NULL: it failed. PyList_GetItem.
    pub item: Option<unsafe extern "C-unwind" fn(list: *mut c_void, index: usize) -> *mut c_void>,
    /// Where the bytes of an object are; not 0: it has none. PyBytes_AsStringAndSize.
    pub bytes: Option<
        unsafe extern "C-unwind" fn(object: *mut c_void, data: *mut *mut c_void, len: *mut usize) -> i32,
    >,
    /// Puts an object into a list, which takes over the reference; not 0: it failed. PyList_SetItem.
    pub put: Option<unsafe extern "C-unwind" fn(list: *mut c_void, index: usize, object: *mut c_void) -> i32>,
    /// What kv_get_made gives, shared, for a key without a value.
    pub absent: *mut c_void,
    /// What kv_get_made gives, shared, when it fails.
    pub failed: *mut c_void,
    /// Longest value that kv_get_made makes; it fails for others, which are better copied without holding up the host.
    pub len_max: usize,
    /// Which codec wrote the values that are made, as in kv_set_options; KV_CODEC_RAW takes any.
    pub codec: u32,
}

/// The value of a key as an object of the host.
///
/// Parameters: `db`; `key`, `key_len`; `host`, with `make` and `share`.
/// Ownership: the result belongs to the caller: what `host->make` made, or `host->absent` or `host->failed`, shared.
/// Threads: any. Takes no lock and never waits.
/// Errors: `host->failed` when the value is longer than `host->len_max`, when only a tier may have one, which kv_get_owned_as asks,
/// and when that fails, which tells why; NULL when `make` gave that, and when `host` is NULL or lacks a function.
#[no_mangle]
pub unsafe extern "C" fn kv_get_made(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    host: *const kv_host,
) -> *mut c_void {
    let mut made = std::ptr::null_mut();
    call!(std::ptr::null_mut(), {
        let host = host_of(host)?;
        let (Some(make), Some(share)) = (host.make, host.share) else { return Err(lacks("make or share")) };
        // Guarded by itself: a panic too must give `failed`, since a host may not bear NULL.
        let status = guarded(std::ptr::null_mut(), || {
            let (db, key, codec) = (db_of(db)?, args::key(key, key_len)?, codec(host.codec)?);
            let mut make_from = |value: &[u8]| {
                if value.len() > host.len_max {
                    return KV_TOO_SMALL;
                }
                made = make(value.as_ptr().cast(), value.len());
                KV_OK
            };
            if db.asks_elsewhere() {
                // The host must not be held up until somebody else answers.
                let pin = db.pin()?;
                let Some(value) = pin.get(key)? else { return Ok(KV_TOO_SMALL) };
                check_codec(key, codec, value.codec())?;
                return Ok(make_from(&value));
            }
            Ok(db.get_as_with(key, codec, make_from)?.unwrap_or(KV_NOT_FOUND))
        });
        if status != KV_OK {
            made = if status == KV_NOT_FOUND { host.absent } else { host.failed };
            share(made);
        }
        Ok(KV_OK)
    });
    made
}

/// The values of many keys as objects of the host. Each is as of a moment of its own.
///
/// Parameters: `db`; `host`, with all its functions; `keys`: a list of the host; `values`: another, where the value of the key at
/// an index is put at the same index; that of a key without a value is left alone (a tier is not asked); `begin`, `end`: which
/// indices, at most KV_COUNT_MAX; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands but what `host->put` is given.
/// Threads: any, if no other uses the lists.
/// Errors: KV_INVALID_ARGUMENT too when a function of the host fails; as kv_get, for the first key that fails. Values before
/// that are put.
#[no_mangle]
pub unsafe extern "C" fn kv_get_many_made(
    db: *const kv_db,
    host: *const kv_host,
    keys: *mut c_void,
    values: *mut c_void,
    begin: usize,
    end: usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let host = host_of(host)?;
        let (Some(make), Some(item)) = (host.make, host.item) else { return Err(lacks("make or item")) };
        let (Some(bytes), Some(put)) = (host.bytes, host.put) else { return Err(lacks("bytes or put")) };
        if keys.is_null() || values.is_null() || end < begin || end - begin > KV_COUNT_MAX {
            return Err(Failure::argument("a list is NULL, or begin and end are no range"));
        }
        let failed =
            |what: &str, at: usize| Failure::argument(format!("index {at}: the host's {what} failed"));
        let codec = codec(host.codec)?;
        let pin = db_of(db)?.pin()?;
        let mut group: [&[u8]; GROUP_KEYS] = [&[]; GROUP_KEYS];
        for begin in (begin..end).step_by(GROUP_KEYS) {
            let group = &mut group[..GROUP_KEYS.min(end - begin)];
            for (key, at) in group.iter_mut().zip(begin..) {
                let (mut data, mut len) = (std::ptr::null_mut(), 0);
                let object = item(keys, at);
                if object.is_null() || bytes(object, &mut data, &mut len) != 0 {
                    return Err(failed("item or bytes", at));
                }
                *key = args::key(data, len)?;
            }
            for ((value, key), at) in pin.get_many(group)?.into_iter().zip(&*group).zip(begin..) {
                let Some(value) = value else { continue };
                check_codec(key, codec, value.codec())?;
                let made = make(value.as_ptr().cast(), value.len());
                if made.is_null() || put(values, at, made) != 0 {
                    return Err(failed("make or put", at));
                }
            }
        }
        Ok(KV_OK)
    })
}

/// # Safety
/// A1.
unsafe fn host_of<'call>(host: *const kv_host) -> Result<&'call kv_host, Failure> {
    // SAFETY: A1.
    let host = unsafe { args::optional(host, "host")? };
    host.ok_or_else(|| Failure::argument("host is NULL"))
}

#[cold]
fn lacks(what: &str) -> Failure {
    Failure::argument(format!("the host lacks {what}"))
}
