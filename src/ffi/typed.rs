//! Values with their codecs: reads that expect one, and what wrote a value. Writes have it in their options.

use super::args::{self, CopyOut, Out};
use super::batch::{kv_pair, many};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place};
use super::read::{copy_into, copy_owned};
use super::session::{held, kv_session, open, put_with_metadata};
use super::status::*;
use super::types::{codec, kv_slice};
use std::ffi::c_void;

/// As kv_get, if `codec` wrote the value.
///
/// Parameters: as kv_get; `codec`: KV_CODEC_JSON or another KV_CODEC_, or a number of one's own from KV_CODEC_USER_MIN to
/// KV_CODEC_USER_MAX; KV_CODEC_RAW takes any value.
/// Ownership: nothing changes hands.
/// Threads: any. Takes no lock and never waits.
/// Errors: KV_WRONG_CODEC: another wrote it, or none did; as kv_get.
#[no_mangle]
pub unsafe extern "C" fn kv_get_as(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    codec: u32,
    buffer: *mut c_void,
    buffer_len: usize,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let tag = self::codec(codec)?;
        copy_into(db_of(db)?, (key, key_len), tag, (buffer, buffer_len), value_len, error)
    })
}

/// As kv_get_owned, if `codec` wrote the value.
///
/// Parameters: as kv_get_owned; `codec`: as kv_get_as.
/// Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
/// Threads: any. Takes no lock of the store and never waits for one.
/// Errors: KV_WRONG_CODEC; as kv_get_owned.
#[no_mangle]
pub unsafe extern "C" fn kv_get_owned_as(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    codec: u32,
    value: *mut *mut u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = CopyOut::new(value, value_len, error)?;
        copy_owned(db_of(db)?, args::key(key, key_len)?, self::codec(codec)?, &out)
    })
}

/// As kv_get_many, of values that `codec` wrote.
///
/// Parameters: as kv_get_many; `codec`: as kv_get_as.
/// Ownership: the array and all values are one piece of memory, which the caller owns and frees with one kv_free.
/// Threads: any.
/// Errors: KV_WRONG_CODEC for the first key whose value another wrote; as kv_get_many.
#[no_mangle]
pub unsafe extern "C" fn kv_get_many_as(
    db: *const kv_db,
    keys: *const kv_slice,
    count: usize,
    codec: u32,
    values: *mut *mut kv_slice,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let db = db_of(db)?;
        let out = Out::new(values, "values")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(many(db, &args::keys(keys, count)?, self::codec(codec)?)?);
        Ok(KV_OK)
    })
}

/// As kv_get_with_metadata, if `codec` wrote the value.
///
/// Parameters: as kv_get_with_metadata; `codec`: as kv_get_as.
/// Ownership: the caller owns both and frees each with kv_free. Neither is NULL.
/// Threads: any. Takes no lock and never waits.
/// Errors: KV_WRONG_CODEC; as kv_get_with_metadata.
#[no_mangle]
pub unsafe extern "C" fn kv_get_with_metadata_as(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    codec: u32,
    value: *mut *mut u8,
    value_len: *mut usize,
    pairs: *mut *mut kv_pair,
    count: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let (db, tag) = (db_of(db)?, self::codec(codec)?);
        let found = || Ok(db.get_with_metadata_as(args::key(key, key_len)?, tag)?);
        put_with_metadata(found, value, value_len, pairs, count, error)
    })
}

/// As kv_take, if `codec` wrote the value; any other stays.
///
/// Parameters: as kv_take; `codec`: as kv_get_as.
/// Ownership: the caller owns the copy and frees it with kv_free. It is not NULL, even without bytes.
/// Threads: any. Works on a full disk.
/// Errors: KV_WRONG_CODEC; as kv_take.
#[no_mangle]
pub unsafe extern "C" fn kv_take_as(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    codec: u32,
    value: *mut *mut u8,
    value_len: *mut usize,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = CopyOut::new(value, value_len, error)?;
        out.give_found(db_of(db)?.take_as(args::key(key, key_len)?, self::codec(codec)?)?)
    })
}

/// As kv_increment, of a number that `codec` wrote, or writes where there is none: KV_CODEC_JSON and KV_CODEC_TEXT have whole numbers in
/// decimal too.
///
/// Parameters: as kv_increment; `codec`: as kv_get_as; KV_CODEC_RAW leaves a number the codec that it has.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_WRONG_CODEC; as kv_increment.
#[no_mangle]
pub unsafe extern "C" fn kv_increment_as(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    delta: i64,
    codec: u32,
    sum: *mut i64,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(sum, "sum")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(db_of(db)?.increment_as(args::key(key, key_len)?, delta, self::codec(codec)?)?);
        Ok(KV_OK)
    })
}

/// Which codec wrote a key's value.
///
/// Parameters: `db`; `key`, `key_len`; `codec`: where its number is stored; KV_CODEC_RAW: none did; `error`: NULL, or where a failure is
/// stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_NOT_FOUND; as kv_key_version.
#[no_mangle]
pub unsafe extern "C" fn kv_key_codec(
    db: *const kv_db,
    key: *const c_void,
    key_len: usize,
    codec: *mut u32,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::new(codec, "codec")?;
        args::distinct([out.range(), place(error).range()])?;
        let Some(codec) = db_of(db)?.codec(args::key(key, key_len)?)? else { return Ok(KV_NOT_FOUND) };
        out.put(codec.number().into());
        Ok(KV_OK)
    })
}

/// Which codec wrote the value of a session's entry.
///
/// Parameters: `session`; `codec`: where its number is stored; KV_CODEC_RAW: none did; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any, one at a time.
/// Errors: as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_codec(
    session: *const kv_session,
    codec: *mut u32,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        let out = Out::new(codec, "codec")?;
        args::distinct([out.range(), place(error).range()])?;
        out.put(open(&mut held)?.codec().number().into());
        Ok(KV_OK)
    })
}

/// Says which codec the value of a session's entry is of, for its commit. Without this: that of the value which it replaces.
///
/// Parameters: `session`; `codec`: as in kv_set_options; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any, one at a time.
/// Errors: KV_INVALID_ARGUMENT too for a number that no codec has; as kv_session_key.
#[no_mangle]
pub unsafe extern "C" fn kv_session_set_codec(
    session: *mut kv_session,
    codec: u32,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let mut held = held(session)?;
        open(&mut held)?.set_codec(self::codec(codec)?);
        Ok(KV_OK)
    })
}
