//! Export and import.

use super::args::{self, Out};
use super::callbacks::{within, Within};
use super::db::{db_of, kv_db};
use super::error::{kv_error, place, Failure};
use super::scan::{kv_scan_options, options_of as entries_of};
use super::status::*;
use super::types::kv_slice;
use crate::{Error, Format, TransferOptions, Transferred};
use std::ffi::{c_char, c_void};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

/// Format: one JSON object a line: every entry, bytes of all kinds, expiries.
pub const KV_FORMAT_NDJSON: u32 = 0;
/// Format: one JSON object of keys and values, for people: text and JSON, without expiries.
pub const KV_FORMAT_JSON: u32 = 1;
/// Format: a table whose first row names its columns: bytes of all kinds, and expiries.
pub const KV_FORMAT_CSV: u32 = 2;
/// Format: Redis commands, as redis-cli --pipe takes them and append-only files hold them: bytes of all kinds, and expiries.
pub const KV_FORMAT_RESP: u32 = 3;

/// What an export or import has done.
#[repr(C)]
pub struct kv_transferred {
    /// Entries written or set.
    pub entries: u64,
    /// Entries of an import whose time was over.
    pub expired: u64,
    /// Keys that commands of an import have deleted.
    pub deleted: u64,
    /// Commands that an import has skipped.
    pub skipped: u64,
    /// Bytes of keys and values of the entries.
    pub bytes: u64,
    /// Bytes of text written or read.
    pub text_bytes: u64,
    /// Bytes of text that an import will read; 0: not known.
    pub total_bytes: u64,
}

/// Hears after each batch how far an export or import has come, and once at its end; `done` is valid during the call, and so are
/// `skipped`, `skipped_len`: one JSON object of what was skipped, and how often. Returns anything but 0 to go on, 0 to end it with
/// KV_CANCELLED. Called in the thread that called the export or import; it may call the store, but for kv_close and kv_db_free, which
/// give KV_IN_CALLBACK. It must return: not throw, not longjmp.
pub type kv_transfer_progress = Option<
    unsafe extern "C-unwind" fn(
        userdata: *mut c_void,
        done: *const kv_transferred,
        skipped: *const c_char,
        skipped_len: usize,
    ) -> i32,
>;

/// How entries are exported or imported. All zero means: as usual.
#[repr(C)]
pub struct kv_transfer_options {
    /// NULL, or what hears how far it has come.
    pub progress: kv_transfer_progress,
    /// Passed to `progress` as it is.
    pub progress_userdata: *mut c_void,
    /// The column of the keys in KV_FORMAT_CSV, as UTF-8; empty: key.
    pub key_column: kv_slice,
    /// The column of the values in KV_FORMAT_CSV, as UTF-8; empty: value.
    pub value_column: kv_slice,
    /// How long an import's input is, where kv_import_from is to tell it; 0: not known.
    pub total_bytes: u64,
    /// Which database of Redis is imported from KV_FORMAT_RESP; commands on others are skipped and counted.
    pub database: u32,
    /// Not 0: an import from KV_FORMAT_RESP skips and counts commands that are not on strings, instead of ending with the first.
    pub skip_unknown: u32,
}

/// Takes bytes of an export; returns 0 when it took all, anything else when it failed. Called in the thread that called
/// kv_export_to; it may call the store, but for kv_close and kv_db_free. It must return: not throw, not longjmp.
pub type kv_writer =
    Option<unsafe extern "C-unwind" fn(userdata: *mut c_void, data: *const c_void, len: usize) -> i32>;

/// Brings bytes of an import: stores up to `len` of them at `data`, and in `*read` how many; 0 at the end. Returns 0, or
/// anything else when it failed; to leave `*read` as it is counts as failed. Called in the thread that called
/// kv_import_from; it may call the store, but for kv_close and kv_db_free. It must return: not throw, not longjmp.
pub type kv_reader = Option<
    unsafe extern "C-unwind" fn(
        userdata: *mut c_void,
        data: *mut c_void,
        len: usize,
        read: *mut usize,
    ) -> i32,
>;

struct Writer<F>(F);

impl<F: FnMut(&[u8]) -> i32> Write for Writer<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match within(Within::Callback, || self.0(bytes)) {
            0 => Ok(bytes.len()),
            other => Err(io::Error::other(format!("the writer returned {other}"))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Reader<F>(F);

impl<F: FnMut(&mut [u8], &mut usize) -> i32> Read for Reader<F> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // Not 0: that would be the end, and a host whose callback is cut off stores nothing and may answer 0.
        let mut read = usize::MAX;
        match within(Within::Callback, || self.0(to, &mut read)) {
            0 if read <= to.len() => Ok(read),
            0 => Err(io::Error::other(format!("the reader claims {read} bytes in a buffer of {}", to.len()))),
            other => Err(io::Error::other(format!("the reader returned {other}"))),
        }
    }
}

fn format_of(format: u32) -> Result<Format, Failure> {
    match format {
        KV_FORMAT_NDJSON => Ok(Format::Ndjson),
        KV_FORMAT_JSON => Ok(Format::Json),
        KV_FORMAT_CSV => Ok(Format::Csv),
        KV_FORMAT_RESP => Ok(Format::Resp),
        other => Err(Failure::argument(format!("format {other}: must be 0 to 3"))),
    }
}

fn done_of(done: &Transferred) -> kv_transferred {
    kv_transferred {
        entries: done.entries,
        expired: done.expired,
        deleted: done.deleted,
        skipped: done.skipped.values().sum(),
        bytes: done.bytes,
        text_bytes: done.text_bytes,
        total_bytes: done.total_bytes.unwrap_or(0),
    }
}

/// # Safety
/// A1; A4 for `progress`.
unsafe fn options_of<'f>(
    format: u32,
    options: *const kv_transfer_options,
) -> Result<TransferOptions<'f>, Failure> {
    let how = TransferOptions::new(format_of(format)?);
    // SAFETY: A1.
    let Some(given) = (unsafe { args::optional(options, "options")? }) else { return Ok(how) };
    // SAFETY: A1, for both.
    let column =
        |slice: &kv_slice, name: &str, usual: &str| match unsafe { args::value(slice.data, slice.len)? } {
            b"" => Ok(usual.to_owned()),
            bytes => String::from_utf8(bytes.to_vec())
                .map_err(|_| Failure::argument(format!("{name} is not UTF-8"))),
        };
    let how = how
        .key_column(column(&given.key_column, "key_column", "key")?)
        .value_column(column(&given.value_column, "value_column", "value")?)
        .database(given.database)
        .skip_unknown(given.skip_unknown != 0);
    let how = if given.total_bytes > 0 { how.total_bytes(given.total_bytes) } else { how };
    let Some(progress) = given.progress else { return Ok(how) };
    let userdata = given.progress_userdata;
    Ok(how.progress(move |done| {
        let skipped = serde_json::to_string(&done.skipped).unwrap_or_default();
        let done = done_of(done);
        // A host whose callback is cut off answers 0: then it ends.
        // SAFETY: A4.
        within(Within::Callback, || unsafe {
            progress(userdata, &done, skipped.as_ptr().cast(), skipped.len())
        }) != 0
    }))
}

fn file_error(op: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_path_buf();
    move |source| Error::Io { op, path, source: Arc::new(source) }.into()
}

/// Writes entries as text into a file; as of one moment only with `snapshot`: see kv_scan_open.
///
/// Parameters: `db`; `path`: the file, ending with NUL; one that is there is replaced; `format`: a KV_FORMAT_;
/// `options`: NULL, or how; `entries`: which; NULL for all; `done`: NULL, or where it is stored what was done; `error`: NULL, or where a
/// failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_IO, KV_DISK_FULL, KV_CANCELLED: part of the file may be written; KV_NOT_TEXT for KV_FORMAT_JSON and bytes that are not UTF-8;
/// as kv_scan_open.
#[no_mangle]
pub unsafe extern "C" fn kv_export(
    db: *const kv_db,
    path: *const c_char,
    format: u32,
    options: *const kv_transfer_options,
    entries: *const kv_scan_options,
    done: *mut kv_transferred,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(done, "done")?;
        args::distinct([out.range(), place(error).range()])?;
        let (options, entries) = (options_of(format, options)?, entries_of(entries)?);
        let (db, path) = (db_of(db)?, args::path(path)?);
        db.check_open()?;
        let file = File::create(path).map_err(file_error("create", path))?;
        out.put(done_of(&db.export(BufWriter::new(file), options, entries)?));
        Ok(KV_OK)
    })
}

/// Writes entries as text into a function.
///
/// Parameters: `db`; `writer`, not NULL; `userdata`: passed to it as it is; others as kv_export.
/// Ownership: nothing changes hands.
/// Threads: any; `writer` is called in this thread; see kv_writer.
/// Errors: KV_IO when `writer` fails; as kv_export.
#[no_mangle]
pub unsafe extern "C" fn kv_export_to(
    db: *const kv_db,
    writer: kv_writer,
    userdata: *mut c_void,
    format: u32,
    options: *const kv_transfer_options,
    entries: *const kv_scan_options,
    done: *mut kv_transferred,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(done, "done")?;
        args::distinct([out.range(), place(error).range()])?;
        let Some(writer) = writer else { return Err(Failure::argument("writer is NULL")) };
        let (options, entries) = (options_of(format, options)?, entries_of(entries)?);
        let to = Writer(|bytes: &[u8]| writer(userdata, bytes.as_ptr().cast(), bytes.len()));
        out.put(done_of(&db_of(db)?.export(BufWriter::new(to), options, entries)?));
        Ok(KV_OK)
    })
}

/// Sets entries from a file of text, in batches. Entries whose time is over are left out.
///
/// Parameters: `db`; `path`: the file, ending with NUL; `format`: a KV_FORMAT_; `options`: NULL, or how; `done`: NULL, or where it is
/// stored what was done; `error`: NULL, or where a failure is stored.
/// Ownership: nothing changes hands.
/// Threads: any.
/// Errors: KV_BAD_IMPORT with the line, KV_IO, KV_CANCELLED; as kv_apply. Batches before that are set.
#[no_mangle]
pub unsafe extern "C" fn kv_import(
    db: *const kv_db,
    path: *const c_char,
    format: u32,
    options: *const kv_transfer_options,
    done: *mut kv_transferred,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(done, "done")?;
        args::distinct([out.range(), place(error).range()])?;
        let (db, path, options) = (db_of(db)?, args::path(path)?, options_of(format, options)?);
        let file = File::open(path).map_err(file_error("open", path))?;
        let bytes = file.metadata().map_or(0, |meta| meta.len());
        let options = if bytes > 0 { options.total_bytes(bytes) } else { options };
        out.put(done_of(&db.import(BufReader::new(file), options)?));
        Ok(KV_OK)
    })
}

/// Sets entries from text that a function brings.
///
/// Parameters: `db`; `reader`, not NULL; `userdata`: passed to it as it is; others as kv_import.
/// Ownership: nothing changes hands.
/// Threads: any; `reader` is called in this thread; see kv_reader.
/// Errors: KV_IO when `reader` fails; as kv_import.
#[no_mangle]
pub unsafe extern "C" fn kv_import_from(
    db: *const kv_db,
    reader: kv_reader,
    userdata: *mut c_void,
    format: u32,
    options: *const kv_transfer_options,
    done: *mut kv_transferred,
    error: *mut *mut kv_error,
) -> kv_status {
    call!(error, {
        let out = Out::optional(done, "done")?;
        args::distinct([out.range(), place(error).range()])?;
        let Some(reader) = reader else { return Err(Failure::argument("reader is NULL")) };
        let (db, options) = (db_of(db)?, options_of(format, options)?);
        let from = Reader(|to: &mut [u8], read: &mut usize| {
            reader(userdata, to.as_mut_ptr().cast(), to.len(), read)
        });
        out.put(done_of(&db.import(BufReader::new(from), options)?));
        Ok(KV_OK)
    })
}
