//! Many entries: scan, import and export.

use crate::args::{self, Columns, Export, Import, Scan, Selection};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::progress::bar;
use crate::{parse, show, store};
use kv::{Format, OpenMode, ScanOptions, TransferOptions, Transferred};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const BUFFER_BYTES: usize = 256 << 10;

fn is_std(path: &Path) -> bool {
    path == Path::new("-")
}

/// How a file is read or written.
fn options_of<'f>(asked: Option<args::Format>, columns: &Columns, file: &Path) -> TransferOptions<'f> {
    let by_name = match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => args::Format::Json,
        Some("csv") => args::Format::Csv,
        Some("aof" | "resp") => args::Format::Resp,
        _ => args::Format::Ndjson,
    };
    let format = match asked.unwrap_or(by_name) {
        args::Format::Ndjson => Format::Ndjson,
        args::Format::Json => Format::Json,
        args::Format::Csv => Format::Csv,
        args::Format::Resp => Format::Resp,
    };
    TransferOptions::new(format).key_column(&columns.key_column).value_column(&columns.value_column)
}

fn selected(selection: &Selection, is_hex: bool) -> Result<ScanOptions, Failure> {
    let key = |text: &str| parse::bytes(text, is_hex);
    let (prefix, start, end) = (key(&selection.prefix)?, key(&selection.start)?, key(&selection.end)?);
    let options = ScanOptions::new().prefix(prefix).start(start).end(end);
    let options = options.ordered(selection.ordered).reverse(selection.reverse);
    Ok(match selection.limit {
        Some(entries) => options.limit(entries),
        None => options,
    })
}

pub fn scan(args: &Scan) -> Result<Outcome, Failure> {
    let options = selected(&args.selection, args.text.hex)?;
    let db = store::open_to_read(&args.store)?;
    let at = |error| Failure::at(&args.store, error);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    if args.text.json {
        db.export(&mut out, Format::Ndjson, options).map_err(at)?;
        return Ok(Outcome::Done);
    }
    let is_preview = show::is_for_people() && !args.text.hex;
    for entry in db.scan(options).map_err(at)? {
        let entry = entry.map_err(at)?;
        let mut line = show::shown(&entry.key, args.text.hex).into_owned();
        if !args.keys {
            line.push(b'\t');
            match is_preview {
                true => line.extend_from_slice(show::preview(&entry.value).as_bytes()),
                false => line.extend_from_slice(&show::shown(&entry.value, args.text.hex)),
            }
        }
        line.push(b'\n');
        out.write_all(&line).map_err(|e| Failure::stdout(&e))?;
    }
    out.flush().map_err(|e| Failure::stdout(&e))?;
    Ok(Outcome::Done)
}

#[derive(Serialize)]
struct Line {
    entries: u64,
    bytes: u64,
    expired: u64,
    #[serde(skip_serializing_if = "is_zero")]
    deleted: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    skipped: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
}

impl Line {
    fn of(done: &Transferred) -> Line {
        let Transferred { entries, bytes, expired, deleted, ref skipped, .. } = *done;
        Line { entries, bytes, expired, deleted, skipped: skipped.clone(), done: None, ms: None }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this type")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub fn import(args: &Import) -> Result<Outcome, Failure> {
    let failed = |e: io::Error| Failure::file("open", &args.file, &e);
    let (from, total_bytes): (Box<dyn Read>, _) = if is_std(&args.file) {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&args.file).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        (Box::new(file), meta.is_file().then_some(meta.len()))
    };
    let options = options_of(args.format, &args.columns, &args.file);
    let options = options.database(args.database).skip_unknown(args.skip_unknown);
    let db = store::open_to_write(&args.store, OpenMode::Create, args.writing.sync, &args.opening)?;
    let bar = bar("import", total_bytes, args.quiet);
    let mut told = Ok(());
    let began = Instant::now();
    let from = BufReader::with_capacity(BUFFER_BYTES, bar.wrap_read(from));
    let tell = |done: &Transferred| {
        if args.json && told.is_ok() {
            told = show::json(&Line::of(done));
        }
        true
    };
    let result = db.import(from, options.progress(tell));
    bar.finish_and_clear();
    // What was acknowledged before an error is kept either way.
    let closed = store::close(&db, &args.store, &args.opening);
    let done = result.map_err(|error| in_input(&args.file, error))?;
    closed?;
    told?;
    show_done(&done, began.elapsed(), args.json)?;
    Ok(Outcome::Done)
}

/// A bad line is one of the input's, not of the store's.
fn in_input(file: &Path, error: kv::Error) -> Failure {
    let is_line = matches!(error, kv::Error::Import { .. });
    match Failure::from(error) {
        Failure::Said { code, reason } if is_line => {
            let name = if is_std(file) { "stdin".into() } else { file.display().to_string() };
            Failure::Said { code, reason: format!("{name}, {reason}") }
        }
        failure => failure,
    }
}

fn show_done(done: &Transferred, took: Duration, is_json: bool) -> Result<(), Failure> {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if is_json {
        return show::json(&Line { done: Some(true), ms: Some(ms), ..Line::of(done) });
    }
    if !show::is_for_people() {
        return show::line(&done.entries.to_string());
    }
    let per_second = (done.entries as f64 / took.as_secs_f64().max(1e-9)) as u64;
    let (entries, bytes) = (show::grouped(done.entries), show::size(done.bytes));
    let per_second = show::grouped(per_second);
    show::line(&format!("{entries} entries, {bytes} in {ms} ms ({per_second} a second)"))?;
    if !done.skipped.is_empty() {
        let skipped: Vec<String> =
            done.skipped.iter().map(|(name, times)| format!("{name} {}", show::grouped(*times))).collect();
        show::line(&format!("skipped: {}", skipped.join(", ")))?;
    }
    Ok(())
}

pub fn export(args: &Export) -> Result<Outcome, Failure> {
    let options = options_of(args.format, &args.columns, &args.file);
    let entries = selected(&args.selection, false)?;
    let db = store::open_to_read(&args.store)?;
    let at = |error| Failure::at(&args.store, error);
    // A bar between the lines of the export itself would help nobody.
    let is_quiet = args.quiet || is_std(&args.file) && io::stdout().is_terminal();
    let bar = bar("export", None, is_quiet);
    if is_std(&args.file) {
        let to = BufWriter::with_capacity(BUFFER_BYTES, bar.wrap_write(io::stdout().lock()));
        db.export(to, options, entries).map_err(at)?;
    } else {
        let output = Output::create(&args.file)?;
        let to = BufWriter::with_capacity(BUFFER_BYTES, bar.wrap_write(&output.file));
        let began = Instant::now();
        let done = db.export(to, options, entries).map_err(at)?;
        bar.finish_and_clear();
        output.finish()?;
        show_done(&done, began.elapsed(), false)?;
    }
    bar.finish_and_clear();
    Ok(Outcome::Done)
}
