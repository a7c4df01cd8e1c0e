//! What a store tells about itself.

use super::args::{self, Out};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::status::*;
use std::ffi::c_char;

/// Gives a text to the caller, with a NUL behind it; where none is wanted, none is made.
///
/// # Safety
/// A1 for `out`.
pub(super) unsafe fn text_for(out: &Out<*mut c_char>, make: impl FnOnce() -> String) -> Result<(), Failure> {
    if !out.is_wanted() {
        return Ok(());
    }
    let mut made = make().into_bytes();
    made.push(0);
    // SAFETY: A1.
    unsafe { out.put(args::copied(&made)?.cast()) };
    Ok(())
}

/// # Safety
/// A1.
pub(super) unsafe fn give_text(
    text: *mut *mut c_char,
    error: *mut *mut kv_error,
    make: impl FnOnce() -> Result<String, Failure>,
) -> Result<kv_status, Failure> {
    let out = Out::new(text, "text")?;
    args::distinct([out.range(), place(error).range()])?;
    let made = make()?;
    // SAFETY: A1.
    unsafe { text_for(&out, || made)? };
    Ok(KV_OK)
}

/// One figure of the store by its name, as kv_stats_json has it: entries, live_bytes, log_bytes, hits, misses and others.
///
/// Parameters: `db`; `name`: ends with NUL; `figure`: where the number is stored; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any. Costs a question to a thread of the store.
/// Errors: KV_INVALID_ARGUMENT for an unknown name too; KV_CLOSED, KV_FORKED, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_stats_get(
    db: *const kv_db,
    name: *const c_char,
    figure: *mut u64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(figure, "figure")?;
        args::distinct([out.range(), place(error).range()])?;
        let name = args::text(name, "name")?;
        let figures = db_of(db)?.stats()?.figures();
        let Some((_, _, figure)) = figures.iter().find(|(known, _, _)| *known == name) else {
            let names: Vec<_> = figures.iter().map(|(known, _, _)| *known).collect();
            return Err(Failure::argument(format!("no figure {name:?}; known are {}", names.join(", "))));
        };
        out.put(*figure);
        Ok(KV_OK)
    })
}

/// All figures of the store as one JSON object of names and numbers.
///
/// Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
/// Threads: any. Costs a question to a thread of the store.
/// Errors: KV_NO_MEMORY, KV_CLOSED, KV_FORKED, KV_INVALID_ARGUMENT, KV_INVALID_HANDLE, KV_IN_CALLBACK in a logger.
#[no_mangle]
pub unsafe extern "C" fn kv_stats_json(
    db: *const kv_db,
    text: *mut *mut c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { give_text(text, error, || Ok(db_of(db)?.stats()?.to_json())) })
}

/// All figures of the store in Prometheus' text format, names beginning with kv_.
///
/// Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
/// Threads: any. Costs a question to a thread of the store.
/// Errors: as kv_stats_json.
#[no_mangle]
pub unsafe extern "C" fn kv_stats_prometheus(
    db: *const kv_db,
    text: *mut *mut c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, { give_text(text, error, || Ok(db_of(db)?.stats()?.to_prometheus())) })
}

/// What could not be recovered at open, as a JSON array of objects with path, offset and reason. Empty unless
/// KV_RECOVER_SALVAGE or KV_MODE_READ_ONLY met damage.
///
/// Parameters: `db`; `text`: where the text's address is stored; `error`: NULL, or where a failure is stored.
/// Ownership: the caller owns the text, which ends with NUL, and frees it with kv_free.
/// Threads: any.
/// Errors: as kv_stats_json.
#[no_mangle]
pub unsafe extern "C" fn kv_damage_json(
    db: *const kv_db,
    text: *mut *mut c_char,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        give_text(text, error, || {
            let db = db_of(db)?;
            db.check_open()?;
            let damage = db.damage().iter().map(crate::Damage::to_json);
            Ok(serde_json::Value::Array(damage.collect()).to_string())
        })
    })
}
