//! Loading anew before an entry ends, and what is remembered of keys that are nowhere.

use super::args::{self, CopyOut, Out};
use super::callbacks::{within, Userdata, Within};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::load::{kv_loader, load, LoaderFn};
use super::status::*;
use super::types::codec;
use crate::db::Loaded;
use crate::LoadOptions;
use std::ffi::c_void;
use std::time::Duration;

/// How long what a loader brings is kept and when it is loaded anew. All zero means: for the store's default time to live, and
/// nothing is loaded anew.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct kv_load_options {
    /// How long a loaded value lives, in milliseconds; 0: the store's default. After that it is gone: what expired is never served.
    pub ttl_ms: u64,
    /// For how long of its life a value counts as fresh; 0: always. From then on until its end it is served as it is, while one
    /// thread of the store loads it anew; if that fails it is served on, and tried again a second later at the earliest. Needs a
    /// time to live that is longer.
    pub fresh_for_ms: u64,
    /// Lets a value be loaded anew before it is stale (without `fresh_for_ms`: before its end), at a moment drawn anew by each
    /// read: earlier by what loads of this store take lately, times this, times -ln of an even draw. 1 is a good value; 0: off.
    pub early: f64,
    /// For how long it is remembered that a loader found nothing; 0: not at all. A change of the key, or one elsewhere that is
    /// heard, ends it. In memory only, of 65,536 keys and 8 MiB of them at most.
    pub absent_for_ms: u64,
    /// Lets one process of all that share a tier load a key at a time: for how long it holds a lease in Redis; 0: none is taken.
    /// The others wait for the value, for twice this time at most; then they load it too, as they do when Redis cannot be asked.
    /// Without a tier it has no effect.
    pub lease_ms: u64,
    /// Which codec writes what the loader brings, as in kv_set_options. What stands there must be of the same; KV_CODEC_RAW takes any.
    pub codec: u32,
}

/// Called once when the library needs `userdata` no more. It may call the store, but for kv_close and kv_db_free, which give
/// KV_IN_CALLBACK. It must return: not throw, not longjmp.
pub type kv_release = Option<unsafe extern "C-unwind" fn(userdata: *mut c_void)>;

impl kv_load_options {
    fn read(&self) -> Result<LoadOptions, Failure> {
        let time = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let mut options = LoadOptions::new().early(self.early).codec(codec(self.codec)?);
        if let Some(ttl) = time(self.ttl_ms) {
            options = options.ttl(ttl);
        }
        if let Some(time) = time(self.fresh_for_ms) {
            options = options.fresh_for(time);
        }
        if let Some(time) = time(self.absent_for_ms) {
            options = options.absent_for(time);
        }
        #[cfg(feature = "redis")]
        if let Some(time) = time(self.lease_ms) {
            options = options.lease(time);
        }
        Ok(options)
    }
}

/// # Safety
/// A1.
unsafe fn read(options: *const kv_load_options) -> Result<LoadOptions, Failure> {
    // SAFETY: A1.
    let options = unsafe { args::optional(options, "options")? };
    options.copied().unwrap_or_default().read()
}

/// A loader's userdata, which is released when it goes.
struct Owned {
    userdata: Userdata,
    release: kv_release,
}

impl Owned {
    fn new(userdata: *mut c_void, release: kv_release) -> Owned {
        Owned { userdata: Userdata(userdata), release }
    }

    /// What the loader brings for a key.
    fn load(&self, loader: LoaderFn, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        // SAFETY: A4: it is not released yet.
        load(|sink| unsafe { loader(self.userdata.0, key.as_ptr().cast(), key.len(), sink) })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: A4: this is its last use.
            within(Within::Callback, || unsafe { release(self.userdata.0) });
        }
    }
}

/// The value of a key; where it has none, what a loader brings, as kv_get_or_load; and what stands there is loaded anew before
/// it ends, in a thread of the store, as `options` say: then `loader` is called after this call has returned. At most four run
/// so at once, one a key; what one fails with is told the logger and leaves what stands there. One that finds nothing then
/// removes the entry. kv_close waits for those that run, and releases those that wait.
///
/// Parameters: `db`; `key`, `key_len`; `options`: NULL for the defaults; `loader`, not NULL; `userdata`: passed to it as it is;
/// `release`: NULL, or what is called with `userdata`; `value`, `value_len`: where the copy's address and length are stored;
/// `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the copy and frees it with kv_free. `userdata` is the library's until `release` is called, which it is
/// exactly once, whatever this call returns: before it returns, or later in a thread of the store, or in that of kv_close; never after
/// kv_close has returned.
/// Threads: any; `loader` is called in this thread or in one of the store; see kv_loader.
/// Errors: KV_NOT_FOUND when the loader found nothing, now or lately; KV_INVALID_OPTION for options that cannot work; as
/// kv_get_or_load.
#[no_mangle]
pub unsafe extern "C" fn kv_get_or_load_with(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    options: *const kv_load_options,
    loader: kv_loader,
    userdata: *mut c_void,
    release: kv_release,
    value: *mut *mut u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    // Before anything can be refused.
    let owned = Owned::new(userdata, release);
    call!(error, {
        let owned = owned;
        let out = CopyOut::new(value, value_len, error)?;
        let Some(loader) = loader else { return Err(Failure::argument("loader is NULL")) };
        let (db, key, options) = (db_of(db)?, args::key(key, key_len)?, read(options)?);
        out.give_found(db.get_or_load_keyed(key, options, move |key| owned.load(loader, key))?)
    })
}

/// What kv_get_or_load_with would give without calling its loader, for hosts to which it is dear to hand one over.
///
/// Parameters: `db`; `key`, `key_len`; `options`: NULL for the defaults; `value`, `value_len`: where the copy's address and length are
/// stored; `is_due`: where 1 is stored if the value is to be loaded anew (kv_load_behind), else 0; `error`: NULL, or where a failure
/// is stored.
/// Ownership: the caller owns the copy and frees it with kv_free.
/// Threads: any. Never waits: a tier is not asked.
/// Errors: KV_NOT_FOUND when it is remembered that a loader found nothing; KV_NOT_MET when nothing is here: kv_get_or_load_with;
/// KV_INVALID_OPTION for options that cannot work; as kv_get_owned.
#[no_mangle]
pub unsafe extern "C" fn kv_get_loaded(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    options: *const kv_load_options,
    value: *mut *mut u8,
    value_len: *mut usize,
    is_due: *mut u32,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let (to, len) = (Out::new(value, "value")?, Out::new(value_len, "value_len")?);
        let due = Out::new(is_due, "is_due")?;
        args::distinct([to.range(), len.range(), due.range(), place(error).range()])?;
        let (db, key, options) = (db_of(db)?, args::key(key, key_len)?, read(options)?);
        match db.get_loaded(key, options)? {
            Loaded::Absent => Ok(KV_NOT_FOUND),
            Loaded::Wanted => Ok(KV_NOT_MET),
            Loaded::Here { value, is_due } => {
                to.put(args::copied(&value)?);
                len.put(value.len());
                due.put(is_due.into());
                Ok(KV_OK)
            }
        }
    })
}

/// Has the value of a key loaded anew by a thread of the store, as kv_get_or_load_with does with one that is due. Nothing
/// happens where the key has no value, a loader for it waits or runs already, one has failed lately, or too many wait.
///
/// Parameters: `db`; `key`, `key_len`; `options`: NULL for the defaults; `loader`, not NULL; `userdata`: passed to it as it is;
/// `release`: NULL, or what is called with `userdata`; `error`: NULL, or where a failure is stored.
/// Ownership: of `userdata` as kv_get_or_load_with.
/// Threads: any. Never waits; `loader` is called in a thread of the store; see kv_loader.
/// Errors: KV_INVALID_OPTION for options that cannot work; as kv_get.
#[no_mangle]
pub unsafe extern "C" fn kv_load_behind(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    options: *const kv_load_options,
    loader: kv_loader,
    userdata: *mut c_void,
    release: kv_release,
    error: *mut *mut kv_error,
) -> kv_status {
    // Before anything can be refused.
    let owned = Owned::new(userdata, release);
    call!(error, {
        let owned = owned;
        let Some(loader) = loader else { return Err(Failure::argument("loader is NULL")) };
        let (db, key, options) = (db_of(db)?, args::key(key, key_len)?, read(options)?);
        db.load_behind(key, options, move |key| owned.load(loader, key))?;
        Ok(KV_OK)
    })
}
