//! One loader per key.

use super::args::{self, CopyOut};
use super::callbacks::Within;
use super::db::{db_of, kv_db};
use super::error::{kv_error, Failure};
use super::sink::{self, kv_sink};
use super::status::*;
use super::types::kv_set_options;
use std::ffi::c_void;

/// Brings the value of a key, with kv_sink_write (of no bytes for an empty value), and returns KV_OK; KV_NOT_FOUND: there is
/// none; anything else, or KV_OK without a kv_sink_write: it failed, and kv_sink_fail may say why.
/// Called without any lock, in the thread that called kv_get_or_load; of kv_get_or_load_with and kv_load_behind perhaps in a
/// thread of the store. `key` is valid during the call. It may call the store, but for kv_close and kv_db_free,
/// which give KV_IN_CALLBACK. It must return: not throw, not longjmp.
pub type kv_loader = Option<
    unsafe extern "C-unwind" fn(
        userdata: *mut c_void,
        key: *const c_void,
        key_len: usize,
        value: *mut kv_sink,
    ) -> i32,
>;

pub(super) type LoaderFn =
    unsafe extern "C-unwind" fn(*mut c_void, *const c_void, usize, *mut kv_sink) -> i32;

pub(super) fn load(loader: impl FnOnce(*mut kv_sink) -> i32) -> Result<Option<Vec<u8>>, String> {
    sink::filled(Within::Callback, loader)
}

/// The value of a key; where it has none, what a loader brings, which is then set. One loader runs for a key at a time; others
/// that ask wait for its outcome. A value that was loaded while the key was changed is returned but not set.
///
/// Parameters: `db`; `key`, `key_len`; `options`: NULL, or with which expiry the value is set (the condition is ignored);
/// `loader`, not NULL; `userdata`: passed to it as it is; `value`, `value_len`: where the copy's address and length are stored;
/// `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the copy and frees it with kv_free.
/// Threads: any; `loader` is called in this thread; see kv_loader.
/// Errors: KV_NOT_FOUND when the loader found nothing; KV_LOADER_FAILED for all who wait, when it fails or asks for its own
/// key; KV_NO_MEMORY; as kv_get and kv_set.
#[no_mangle]
pub unsafe extern "C" fn kv_get_or_load(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    options: *const kv_set_options,
    loader: kv_loader,
    userdata: *mut c_void,
    value: *mut *mut u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = CopyOut::new(value, value_len, error)?;
        let Some(loader) = loader else { return Err(Failure::argument("loader is NULL")) };
        let key = args::key(key, key_len)?;
        let options = args::optional(options, "options")?.copied().unwrap_or_default().read()?;
        let call = |sink| loader(userdata, key.as_ptr().cast(), key.len(), sink);
        out.give_found(db_of(db)?.get_or_load(key, options, || load(call))?)
    })
}
