//! Keeping a store open.

use crate::args::Watch;
use crate::failure::{Failure, Outcome};
use crate::{show, store, tier};
use kv::{Db, OpenMode, Stats};
use std::time::{Duration, Instant};

pub fn watch(args: &Watch) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let db = store::open_to_write(&args.store, OpenMode::MustExist, args.writing.sync, &args.tier)?;
    let open_ms = millis(began.elapsed());
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
    store::close(&db, &args.store, &args.tier)?;
    Ok(Outcome::Done)
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
