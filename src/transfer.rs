//! Export and import: entries as text.
//!
//! NDJSON has one object a line, `{"key":"…","value":"…","expires_at_ms":…}`; a key or value that is not UTF-8 stands in
//! Base64 under `key_base64` or `value_base64`. Metadata is an object of names and values under `metadata`, values that are not
//! UTF-8 under `metadata_base64`. A value that a codec wrote has its name, or number, under `codec`. The other forms leave codec
//! and metadata out. JSON is one object of keys and values, for people: expiries are not in it, and bytes that are not UTF-8 cannot
//! be. CSV has the columns key, value, expires_at_ms and base64, which says which of the first two stand in Base64. RESP is what
//! Redis takes and keeps: commands.

mod commands;
mod csv;
mod input;
mod resp;

use crate::db::{Batch, Db, ScanOptions};
use crate::error::{Error, Result};
use crate::record::Metadata;
use crate::tag::{Tag, Tagged};
use crate::texts::{plain_json, read_object, Held, Line, Text, Unread};
use commands::Commands;
use input::{too_long, Input, Position, ITEM_BYTES_MAX};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// Entries that an import applies as one batch, and their bytes at most; an export tells its progress as often.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: u64 = 1 << 20;

/// How entries are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One JSON object a line: every entry, bytes of all kinds, expiries, metadata.
    Ndjson,
    /// One JSON object of keys and values.
    Json,
    /// A table, its first row the names of the columns, as of RFC 4180: bytes of all kinds, and expiries.
    Csv,
    /// Redis commands, as `redis-cli --pipe` takes them and as an append-only file holds them: bytes of all kinds, and expiries.
    Resp,
}

/// How entries are exported or imported: a [`Format`] alone will often do.
///
/// ```
/// # let db = kv::Db::in_memory()?;
/// let people = b"id,name,mail\r\n7,Alice,a@example.org\r\n";
/// let options = kv::TransferOptions::new(kv::Format::Csv).key_column("id").value_column("name");
/// let options = options.progress(|done| {
///     println!("{} entries", done.entries);
///     true
/// });
/// assert_eq!(db.import(&people[..], options)?.entries, 1);
/// assert_eq!(db.get(b"7")?.as_deref(), Some(&b"Alice"[..]));
/// # Ok::<(), kv::Error>(())
/// ```
pub struct TransferOptions<'f> {
    format: Format,
    key_column: String,
    value_column: String,
    database: u32,
    skips_unknown: bool,
    total_bytes: Option<u64>,
    progress: Option<Progress<'f>>,
}

type Progress<'f> = Box<dyn FnMut(&Transferred) -> bool + 'f>;

impl std::fmt::Debug for TransferOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransferOptions").field("format", &self.format).finish_non_exhaustive()
    }
}

impl From<Format> for TransferOptions<'_> {
    fn from(format: Format) -> Self {
        TransferOptions::new(format)
    }
}

impl<'f> TransferOptions<'f> {
    /// Columns `key` and `value`, database 0, an unknown command is an error.
    pub fn new(format: Format) -> Self {
        TransferOptions {
            format,
            key_column: "key".into(),
            value_column: "value".into(),
            database: 0,
            skips_unknown: false,
            total_bytes: None,
            progress: None,
        }
    }

    /// The column of the keys in [`Format::Csv`].
    pub fn key_column(mut self, name: impl Into<String>) -> Self {
        self.key_column = name.into();
        self
    }

    /// The column of the values in [`Format::Csv`].
    pub fn value_column(mut self, name: impl Into<String>) -> Self {
        self.value_column = name.into();
        self
    }

    /// Which database of Redis is imported from [`Format::Resp`]; commands on others are skipped.
    pub fn database(mut self, number: u32) -> Self {
        self.database = number;
        self
    }

    /// Whether an import from [`Format::Resp`] skips commands that it does not know, those on lists and hashes say, and counts them
    /// in [`Transferred::skipped`], or ends with the first.
    pub fn skip_unknown(mut self, skips: bool) -> Self {
        self.skips_unknown = skips;
        self
    }

    /// How long an import's input is, in bytes, where that is known: for [`Transferred::total_bytes`].
    pub fn total_bytes(mut self, bytes: u64) -> Self {
        self.total_bytes = Some(bytes);
        self
    }

    /// Called after each batch of an import, when its entries are as durable as [`Sync`](crate::Sync) asks, and as often by an
    /// export; `false` ends it with [`Error::Cancelled`].
    pub fn progress(mut self, progress: impl FnMut(&Transferred) -> bool + 'f) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    fn tell(&mut self, done: &Transferred) -> Result<()> {
        match self.progress.as_mut().is_none_or(|progress| progress(done)) {
            true => Ok(()),
            false => Err(Error::Cancelled),
        }
    }
}

/// What an export or import has done so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Transferred {
    /// Entries written, or set and acknowledged.
    pub entries: u64,
    /// Entries of an import whose time was over.
    pub expired: u64,
    /// Keys that commands of an import have deleted.
    pub deleted: u64,
    /// Bytes of keys and values of the entries.
    pub bytes: u64,
    /// Bytes of text written, or read.
    pub text_bytes: u64,
    /// Bytes of text that an import will read, where that is known.
    pub total_bytes: Option<u64>,
    /// What an import has skipped, and how often: commands by their names, and those on `database N`.
    pub skipped: BTreeMap<String, u64>,
}

/// An entry as it stands in the text.
struct Row {
    key: Vec<u8>,
    value: Vec<u8>,
    expires_at_ms: Option<u64>,
    ttl_ms: Option<u64>,
}

/// Why an import ends early.
enum Stop {
    /// The input is not what it should be.
    Bad(String),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

impl Stop {
    fn bad(reason: impl Into<String>) -> Stop {
        Stop::Bad(reason.into())
    }

    /// As the error of the item that begins there.
    fn at(self, line: u64) -> Error {
        match self {
            Stop::Bad(reason) => Error::Import { line, reason },
            Stop::Failed(error) => error,
        }
    }
}

fn held_of(value: Vec<u8>, codec: Tag, expires_at_ms: Option<u64>, metadata: Metadata) -> Held {
    Held { value: Tagged { value, codec }, expires_at_ms, metadata }
}

fn raw(value: Vec<u8>, expires_at_ms: Option<u64>) -> Held {
    held_of(value, Tag::RAW, expires_at_ms, Metadata::new())
}

fn write_error(error: impl Into<std::io::Error>) -> Error {
    Error::io("write", Path::new("the export"), error.into())
}

fn text(bytes: Vec<u8>, name: &'static str) -> Result<String> {
    let len = bytes.len();
    String::from_utf8(bytes).map_err(|_| Error::NotText { name, len })
}

/// Counts what goes through.
struct Output<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

impl Db {
    /// Writes entries as text; as of one moment only with [`ScanOptions::snapshot`]. Buffer `to`: each entry is several writes.
    ///
    /// # Errors
    /// [`Error::Io`] when `to` fails; [`Error::NotText`] for [`Format::Json`] and bytes that are not UTF-8;
    /// [`Error::Cancelled`]; as [`Db::scan`].
    pub fn export<'f>(
        &self,
        to: impl Write,
        options: impl Into<TransferOptions<'f>>,
        entries: ScanOptions,
    ) -> Result<Transferred> {
        let mut options = options.into();
        let (mut done, mut to) = (Transferred::default(), Output { to, bytes: 0 });
        match options.format {
            Format::Json => to.write_all(b"{").map_err(write_error)?,
            Format::Csv => csv::write_names(&mut to, &options).map_err(write_error)?,
            Format::Ndjson | Format::Resp => {}
        }
        let mut told = 0;
        for entry in self.scan(entries)? {
            let entry = entry?;
            done.bytes += (entry.key.len() + entry.value.len()) as u64;
            match options.format {
                Format::Ndjson => {
                    let line = Line::of(
                        Some(entry.key),
                        held_of(entry.value, entry.codec, entry.expires_at_ms, entry.metadata),
                    );
                    serde_json::to_writer(&mut to, &line).map_err(write_error)?;
                    to.write_all(b"\n").map_err(write_error)?;
                }
                Format::Json => {
                    to.write_all(if done.entries == 0 { b"\n" } else { b",\n" }).map_err(write_error)?;
                    serde_json::to_writer(&mut to, &text(entry.key, "key")?).map_err(write_error)?;
                    to.write_all(b": ").map_err(write_error)?;
                    let value = Tagged { value: entry.value, codec: entry.codec };
                    match plain_json(&value) {
                        Some(json) => to.write_all(json.get().as_bytes()).map_err(write_error)?,
                        None => serde_json::to_writer(&mut to, &text(value.value, "value")?)
                            .map_err(write_error)?,
                    }
                }
                Format::Csv => {
                    let (key, value) = (Text::of(entry.key), Text::of(entry.value));
                    csv::write_entry(&mut to, key, value, entry.expires_at_ms).map_err(write_error)?;
                }
                Format::Resp => {
                    resp::write_entry(&mut to, &entry.key, &entry.value, entry.expires_at_ms)
                        .map_err(write_error)?;
                }
            }
            done.entries += 1;
            if done.entries % BATCH_ENTRIES as u64 == 0 || to.bytes - told >= BATCH_BYTES {
                (done.text_bytes, told) = (to.bytes, to.bytes);
                options.tell(&done)?;
            }
        }
        if options.format == Format::Json {
            to.write_all(if done.entries == 0 { b"}\n" } else { b"\n}\n" }).map_err(write_error)?;
        }
        to.flush().map_err(write_error)?;
        done.text_bytes = to.bytes;
        options.tell(&done)?;
        Ok(done)
    }

    /// Sets entries from text, in batches, which are as durable as [`Sync`](crate::Sync) asks. Entries whose time is over are left
    /// out. In [`Format::Json`] a value that is no string is set to its JSON text, as if the codec `json` had written it.
    ///
    /// Commands of [`Format::Resp`] are carried out in their order, as Redis would have: SET with all its options, SETEX, PSETEX,
    /// SETNX, GETSET, MSET, MSETNX, APPEND, INCR, DECR, INCRBY, DECRBY, DEL, UNLINK, GETDEL, RENAME, RENAMENX, EXPIRE, PEXPIRE,
    /// EXPIREAT, PEXPIREAT, PERSIST, SELECT, MULTI, EXEC, DISCARD. FLUSHALL and FLUSHDB clear the store. A time to live that is
    /// relative begins with the import. One command takes effect at a time, but a run of SET, MSET and DEL is applied as batches.
    ///
    /// # Errors
    /// [`Error::Import`] with the line where the entry or command begins; [`Error::Io`] when `from` fails; [`Error::Cancelled`];
    /// as [`Db::apply`]. Batches before that are set.
    pub fn import<'f>(
        &self,
        from: impl BufRead,
        options: impl Into<TransferOptions<'f>>,
    ) -> Result<Transferred> {
        let (options, at) = (options.into(), Cell::new(Position { line: 1, offset: 0 }));
        let start = Transferred { total_bytes: options.total_bytes, ..Transferred::default() };
        let mut importer = Importer {
            db: self,
            batch: Batch::new(),
            pending: start,
            applied_bytes: 0,
            untold: 0,
            options,
            at: &at,
        };
        let input = Input::new(from, &at);
        match importer.options.format {
            Format::Ndjson => importer.lines(input)?,
            Format::Json => importer.object(input)?,
            Format::Csv => importer.rows(input)?,
            Format::Resp => importer.commands(input)?,
        }
        importer.step()?;
        Ok(importer.pending)
    }
}

struct Importer<'o, 'db> {
    db: &'db Db,
    batch: Batch,
    /// With the batch that is not applied yet.
    pending: Transferred,
    applied_bytes: u64,
    /// Commands since the last step.
    untold: u64,
    options: TransferOptions<'o>,
    /// How far the input is read.
    at: &'db Cell<Position>,
}

impl Importer<'_, '_> {
    fn lines(&mut self, mut input: Input<'_, impl BufRead>) -> Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let number = input.position().line;
            let refuse = |reason: String| Error::Import { line: number, reason };
            match input.read_to(b'\n', ITEM_BYTES_MAX, &mut line)? {
                0 => return Ok(()),
                ITEM_BYTES_MAX => return Err(refuse(too_long())),
                _ => {}
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let mut entry: Line = serde_json::from_slice(&line).map_err(|e| refuse(e.to_string()))?;
            let key = entry.key().map_err(refuse)?;
            self.put(key, entry.held().map_err(refuse)?)?;
        }
    }

    fn object(&mut self, input: Input<'_, impl BufRead>) -> Result<()> {
        match read_object(BufReader::new(input), |key, held| self.put(key, held)) {
            Ok(()) => Ok(()),
            Err(Unread::Refused(error)) => Err(error),
            Err(Unread::Json(e)) if e.is_io() => Err(input::read_error(e.into())),
            Err(Unread::Json(e)) => Err(Error::Import { line: e.line() as u64, reason: e.to_string() }),
        }
    }

    fn rows(&mut self, mut input: Input<'_, impl BufRead>) -> Result<()> {
        let mut fields = Vec::new();
        let mut columns = None;
        loop {
            let line = input.position().line;
            if !csv::read_row(&mut input, &mut fields).map_err(|stop| stop.at(line))? {
                return Ok(());
            }
            let Some(columns) = &columns else {
                columns = Some(csv::Columns::of(&fields, &self.options).map_err(|stop| stop.at(line))?);
                continue;
            };
            let Some(row) = columns.entry(&mut fields).map_err(|stop| stop.at(line))? else { continue };
            let from_now = row.ttl_ms.map(|ttl_ms| self.db.now_ms().saturating_add(ttl_ms));
            self.put(row.key, raw(row.value, row.expires_at_ms.or(from_now)))?;
        }
    }

    fn commands(&mut self, mut input: Input<'_, impl BufRead>) -> Result<()> {
        let mut commands = Commands::new(self);
        loop {
            let line = input.position().line;
            let carried_out = resp::read_command(&mut input).and_then(|command| match command {
                Some(command) => commands.take(command).map(|()| true),
                None => commands.end().map(|()| false),
            });
            if !carried_out.map_err(|stop| stop.at(line))? {
                return Ok(());
            }
        }
    }

    /// Sets an entry, unless its time is over.
    fn put(&mut self, key: Vec<u8>, held: Held) -> Result<()> {
        if self.is_over(held.expires_at_ms) {
            self.pending.expired += 1;
            return Ok(());
        }
        self.count(key.len() + held.value.value.len());
        self.batch.set_held(key, held);
        self.apply_if_full()
    }

    /// Sets an entry in place of what stands there, which goes too if its time is over.
    fn set(&mut self, key: Vec<u8>, value: Vec<u8>, expires_at_ms: Option<u64>) -> Result<()> {
        if self.is_over(expires_at_ms) {
            self.pending.expired += 1;
            self.batch.delete(key);
            return self.apply_if_full();
        }
        self.put(key, raw(value, expires_at_ms))
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<()> {
        self.pending.deleted += 1;
        self.batch.delete(key);
        self.apply_if_full()
    }

    fn is_over(&self, expires_at_ms: Option<u64>) -> bool {
        expires_at_ms.is_some_and(|at_ms| self.db.now_ms() >= at_ms)
    }

    fn count(&mut self, bytes: usize) {
        self.pending.entries += 1;
        self.pending.bytes += bytes as u64;
    }

    fn apply_if_full(&mut self) -> Result<()> {
        let bytes = self.pending.bytes - self.applied_bytes;
        match self.batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
            true => self.step(),
            false => Ok(()),
        }
    }

    /// Applies what waits.
    fn apply(&mut self) -> Result<()> {
        self.db.apply(&std::mem::take(&mut self.batch))?;
        self.applied_bytes = self.pending.bytes;
        Ok(())
    }

    /// Applies what waits, and tells how far it has come.
    fn step(&mut self) -> Result<()> {
        self.apply()?;
        self.untold = 0;
        self.pending.text_bytes = self.at.get().offset;
        self.options.tell(&self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    #[test]
    fn what_is_exported_as_ndjson_imports_the_same_bytes_and_expiries() {
        let db = Db::in_memory().unwrap();
        db.set(b"text", "käse\n\"".as_bytes()).unwrap();
        db.set(&[0xff, 0], &[0, 0xfe]).unwrap();
        db.set_with(b"t", b"", crate::SetOptions::new().ttl(Duration::from_secs(3600))).unwrap();
        let mut session = db.get_and_lock(b"text", crate::Wait::No).unwrap().unwrap();
        let metadata = [("text".into(), b"plain".to_vec()), ("bytes".into(), vec![0xff])];
        session.metadata_mut().extend(metadata);
        session.commit().unwrap();
        let mut text = Vec::new();
        assert_eq!(db.export(&mut text, Format::Ndjson, ScanOptions::new()).unwrap().entries, 3);
        let other = Db::in_memory().unwrap();
        other.import(&text[..], Format::Ndjson).unwrap();
        for key in [&b"text"[..], &[0xff, 0], b"t"] {
            assert_eq!(db.get_with_metadata(key).unwrap(), other.get_with_metadata(key).unwrap());
        }
        let expiry = |db: &Db| db.pin().unwrap().get(b"t").unwrap().unwrap().expires_at_ms();
        assert_eq!(expiry(&db), expiry(&other));
    }

    #[test]
    fn a_json_object_of_any_values_is_taken_and_written_in_order() {
        let db = Db::in_memory().unwrap();
        let done = db.import(&br#"{"name": "Alice", "age": 30, "tags": ["x"]}"#[..], Format::Json).unwrap();
        assert_eq!(done.entries, 3);
        let mut text = Vec::new();
        db.export(&mut text, Format::Json, ScanOptions::new().ordered(true)).unwrap();
        let expected = "{\n\"age\": 30,\n\"name\": \"Alice\",\n\"tags\": [\"x\"]\n}\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_bad_line_is_named_and_what_came_before_it_is_set() {
        let db = Db::in_memory().unwrap();
        let text = b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\"}\n";
        let error = db.import(&text[..], Format::Ndjson).unwrap_err();
        assert!(matches!(&error, Error::Import { line: 3, reason } if reason == "no value"), "{error}");
        let text = br#"{"key":"a","value":"1","metadata":{"n":"1"},"metadata_base64":{"n":"MQ=="}}"#;
        let error = db.import(&text[..], Format::Ndjson).unwrap_err();
        assert!(error.to_string().contains("n stands in both"), "{error}");
        let error = db.import(&b"{\"a\": \"1\",\n \"b\": }"[..], Format::Json).unwrap_err();
        assert!(matches!(error, Error::Import { line: 2, .. }), "{error}");
    }
}
