//! Commands on a store as a whole.

use crate::args::{Backup, Compact, Stats, Verify};
use crate::failure::{Failure, Outcome};
use crate::{show, store, tier};
use kv::{OpenMode, Report};
use std::path::{Path, PathBuf};

pub fn stats(args: &Stats) -> Result<Outcome, Failure> {
    let at = |error| Failure::at(&args.store, error);
    let db = store::open_to_ask(&args.store, &args.opening)?;
    let stats = db.stats().map_err(at)?;
    if args.prometheus {
        show::raw((stats.to_prometheus() + &tier::prometheus(&db).map_err(at)?).as_bytes())?;
        return Ok(Outcome::Done);
    }
    let of_store = stats.figures().into_iter().map(|(name, _, value)| (name.to_owned(), value));
    let figures: Vec<_> = of_store.chain(tier::figures(&db).map_err(at)?).collect();
    if args.json {
        show::line(&show::object(&figures))?;
    } else {
        for (name, value) in figures {
            show::line(&figure(&name, value))?;
        }
    }
    Ok(Outcome::Done)
}

fn figure(name: &str, value: u64) -> String {
    if !show::is_for_people() {
        return format!("{name} {value}");
    }
    let size = if name.ends_with("_bytes") { format!("  ({})", show::size(value)) } else { String::new() };
    format!("{name:<19} {:>16}{size}", show::grouped(value))
}

pub fn verify(args: &Verify) -> Result<Outcome, Failure> {
    let (report, json, salvaged) = match &args.salvage {
        None => {
            let report = kv::verify(&args.store)?;
            let json = report.to_json();
            (report, json, None)
        }
        Some(out) => {
            let done = kv::salvage(&args.store, out).map_err(|error| Failure::at(out, error))?;
            let json = done.to_json();
            (done.report, json, Some((out, done.entries)))
        }
    };
    if args.json {
        show::line(&json)?;
    } else {
        show_report(&report, salvaged)?;
    }
    Ok(if report.is_sound() { Outcome::Done } else { Outcome::No })
}

fn show_report(report: &Report, salvaged: Option<(&PathBuf, u64)>) -> Result<(), Failure> {
    for damage in &report.damage {
        show::line(&damage.to_string())?;
    }
    let Report { entries, segments, records, .. } = report;
    let counts = format!("{entries} entries, {records} records in {segments} segments");
    match report.damage.len() {
        0 => show::line(&format!("ok: {counts}"))?,
        1 => show::line(&format!("1 damaged place; intact: {counts}"))?,
        places => show::line(&format!("{places} damaged places; intact: {counts}"))?,
    }
    if let Some((out, entries)) = salvaged {
        show::line(&format!("salvaged {entries} entries into {}", out.display()))?;
    }
    Ok(())
}

pub fn compact(args: &Compact) -> Result<Outcome, Failure> {
    let db = store::open_to_write(&args.store, OpenMode::MustExist, kv::Sync::Always, &args.opening)?;
    let at = |error| Failure::at(&args.store, error);
    let before = db.stats().map_err(at)?.log_bytes;
    db.compact().map_err(at)?;
    let after = db.stats().map_err(at)?.log_bytes;
    store::close(&db, &args.store, &args.opening)?;
    if args.json {
        show::json(&serde_json::json!({ "log_bytes_before": before, "log_bytes_after": after }))?;
    } else if show::is_for_people() {
        show::line(&format!("log: {} before, {} after", show::size(before), show::size(after)))?;
    }
    Ok(Outcome::Done)
}

pub fn backup(args: &Backup) -> Result<Outcome, Failure> {
    let db = store::open_to_write(&args.store, OpenMode::MustExist, kv::Sync::Always, &args.opening)?;
    db.backup(&args.to).map_err(|error| Failure::at(&args.to, error))?;
    store::close(&db, &args.store, &args.opening)?;
    let entries = entries_of(&args.to)?;
    if args.json {
        show::json(&serde_json::json!({ "entries": entries, "to": args.to.to_string_lossy() }))?;
    } else if show::is_for_people() {
        show::line(&format!("{} entries copied to {}", show::grouped(entries), args.to.display()))?;
    }
    Ok(Outcome::Done)
}

/// A backup that cannot be read is none: it is read before the command says that it is done.
fn entries_of(copy: &Path) -> Result<u64, Failure> {
    let report = kv::verify(copy)?;
    match report.damage.first() {
        None => Ok(report.entries),
        Some(damage) => Err(kv::Error::from(damage.clone()).into()),
    }
}
