//! Keeping a store open.

use crate::args::Watch;
use crate::failure::{Failure, Outcome};
use crate::{show, store, tier};
use kv::{Cause, Change, Db, Error, OpenMode, Stats, Wait, WatchOptions};
use serde::Serialize;
use std::time::{Duration, Instant};

pub fn watch(args: &Watch) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let db = store::open_to_write(&args.store, OpenMode::MustExist, args.writing.sync, &args.opening)?;
    let open_ms = millis(began.elapsed());
    if args.changes {
        tell(&db, args)?;
        store::close(&db, &args.store, &args.opening)?;
        return Ok(Outcome::Done);
    }
    let mut last: Option<Stats> = None;
    let mut changed = Instant::now();
    loop {
        let stats = db.stats().map_err(|error| Failure::at(&args.store, error))?;
        show(&db, &stats, millis(began.elapsed()), open_ms, args)?;
        if last.is_none_or(|last| footprint(&last) != footprint(&stats)) {
            changed = Instant::now();
        }
        last = Some(stats);
        let is_idle = args.until_idle.is_some_and(|idle| changed.elapsed() >= idle);
        if is_idle || args.length.is_some_and(|length| began.elapsed() >= length) {
            break;
        }
        std::thread::sleep(args.every);
    }
    store::close(&db, &args.store, &args.opening)?;
    Ok(Outcome::Done)
}

/// Prints changes as they come, and at the end how far that is.
fn tell(db: &Db, args: &Watch) -> Result<(), Failure> {
    let at = |error| Failure::at(&args.store, error);
    let options = WatchOptions::new().prefix(args.prefix.as_bytes());
    let options = args.after.map_or(options.clone(), |version| options.after(version));
    let mut watch = db.watch(options).map_err(at)?;
    let end = args.length.and_then(|length| Instant::now().checked_add(length));
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let wait = left.into_iter().chain(args.until_idle).min().map_or(Wait::Forever, Wait::AtMost);
        match watch.next_change(wait) {
            Ok(Some(change)) => tell_one(&change, args.json)?,
            Err(error @ Error::Lagged { .. }) if args.json => {
                eprintln!("kv: {}: {error}", args.store.display());
                show::json(&Told { change: "lagged", ..Told::default() })?;
            }
            Err(error @ Error::Lagged { .. }) => eprintln!("kv: {}: {error}", args.store.display()),
            Err(error) => return Err(at(error)),
            Ok(None) => break,
        }
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
    }
    let position = watch.position();
    match args.json {
        true => show::json(&Told { change: "position", version: Some(position), ..Told::default() }),
        false => show::line(&format!("{position}\tposition")),
    }
}

/// A change as a line of JSON.
#[derive(Default, Serialize)]
struct Told<'c> {
    change: &'static str,
    #[serde(flatten)]
    key: Option<show::Key<'c>>,
    #[serde(flatten)]
    value: Option<show::Value<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    #[serde(flatten)]
    metadata: show::Metadata<'c>,
    #[serde(flatten)]
    codec: show::Codec,
}

fn tell_one(change: &Change, as_json: bool) -> Result<(), Failure> {
    let name = match change {
        Change::Put(_) => "put",
        Change::Removed { cause: Cause::Expired, .. } => "expired",
        Change::Removed { cause: Cause::Evicted, .. } => "evicted",
        Change::Removed { .. } => "deleted",
        _ => "cleared",
    };
    let entry = if let Change::Put(entry) = change { Some(entry) } else { None };
    if as_json {
        return show::json(&Told {
            change: name,
            key: change.key().map(Into::into),
            value: entry.map(|entry| entry.value.as_slice().into()),
            version: Some(change.version()),
            expires_at_ms: entry.and_then(|entry| entry.expires_at_ms),
            metadata: entry.map_or_else(Default::default, |entry| (&entry.metadata).into()),
            codec: entry.map_or_else(Default::default, |entry| entry.codec.into()),
        });
    }
    let key = show::safe(change.key().unwrap_or_default(), false);
    let value = entry.map_or_else(String::new, |entry| format!("\t{}", show::preview(&entry.value)));
    show::line(&format!("{}\t{name}\t{key}{value}", change.version()))
}

/// What changes while there is something to do.
fn footprint(stats: &Stats) -> (u64, u64, u64, u64) {
    (stats.entries, stats.index_entries, stats.log_bytes, stats.compactions)
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn show(db: &Db, stats: &Stats, at_ms: u64, open_ms: u64, args: &Watch) -> Result<(), Failure> {
    let of_tier = tier::figures(db).map_err(|error| Failure::at(&args.store, error))?;
    if args.json {
        let mut figures = vec![("at_ms".into(), at_ms), ("open_ms".into(), open_ms)];
        figures.extend(stats.figures().into_iter().map(|(name, _, value)| (name.to_owned(), value)));
        figures.extend(of_tier);
        return show::line(&show::object(&figures));
    }
    let (log, live) = (show::size(stats.log_bytes), show::size(stats.live_bytes));
    let (entries, index) = (show::grouped(stats.entries), show::grouped(stats.index_entries));
    let unsent = of_tier.iter().find(|(name, _)| name == "tier_unsent_keys");
    let unsent = unsent.map_or_else(String::new, |(_, keys)| format!("  unsent {}", show::grouped(*keys)));
    let second = at_ms as f64 / 1000.0;
    show::line(&format!("{second:7.1} s  entries {entries}  index {index}  log {log}  live {live}{unsent}"))
}
