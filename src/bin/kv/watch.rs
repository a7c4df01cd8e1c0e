//! Keeping a store open.

use crate::args::Watch;
use crate::failure::{Failure, Outcome};
use crate::{show, store};
use kv::{OpenMode, Stats};
use std::time::{Duration, Instant};

pub fn watch(args: &Watch) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let db = store::open_to_write(&args.store, OpenMode::MustExist, args.writing.sync)?;
    let open_ms = millis(began.elapsed());
    let mut last: Option<Stats> = None;
    let mut changed = Instant::now();
    loop {
        let stats = db.stats().map_err(|error| Failure::at(&args.store, error))?;
        show(&stats, millis(began.elapsed()), open_ms, args.json)?;
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
    store::close(&db, &args.store)?;
    Ok(Outcome::Done)
}

/// What changes while there is something to do.
fn footprint(stats: &Stats) -> (u64, u64, u64, u64) {
    (stats.entries, stats.index_entries, stats.log_bytes, stats.compactions)
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn show(stats: &Stats, at_ms: u64, open_ms: u64, is_json: bool) -> Result<(), Failure> {
    if is_json {
        let mut fields = vec![("at_ms", at_ms), ("open_ms", open_ms)];
        fields.extend(stats.figures().into_iter().map(|(name, _, value)| (name, value)));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        return show::line(&format!("{{{}}}", fields.join(",")));
    }
    let (log, live) = (show::size(stats.log_bytes), show::size(stats.live_bytes));
    let (entries, index) = (show::grouped(stats.entries), show::grouped(stats.index_entries));
    let second = at_ms as f64 / 1000.0;
    show::line(&format!("{second:7.1} s  entries {entries}  index {index}  log {log}  live {live}"))
}
