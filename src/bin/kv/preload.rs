//! Copies of what Redis holds under a pattern.

use crate::args::Preload;
use crate::failure::{Failure, Outcome};

#[cfg(feature = "redis")]
pub fn preload(args: &Preload) -> Result<Outcome, Failure> {
    use crate::{progress, show, store};
    use kv::{OpenMode, Preloaded};
    use std::ops::ControlFlow;

    fn json(done: &Preloaded) -> serde_json::Value {
        serde_json::json!({
            "cursor": done.cursor, "keys": done.keys, "copied": done.copied, "removed": done.removed,
            "done": done.is_complete,
        })
    }

    if !args.opening.has_tier() {
        return Err(Failure::usage("preload needs --tier-url"));
    }
    let db = store::open_to_write(&args.store, OpenMode::Create, args.writing.sync, &args.opening)?;
    let bar = progress::keys("preload", args.quiet);
    let mut told = Ok(());
    let mut cursor = args.cursor;
    let result = db.preload(args.pattern.as_bytes(), args.cursor, |done| {
        bar.set_position(done.keys);
        cursor = done.cursor;
        if args.json {
            told = show::json(&json(done));
        }
        // Whoever reads the lines may have heard enough.
        if told.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    bar.finish_and_clear();
    // What was copied before an error is kept either way.
    let closed = store::close(&db, &args.store, &args.opening);
    let done = result.map_err(|error| match Failure::at(&args.store, error) {
        Failure::Said { code, reason } if cursor != 0 => {
            Failure::Said { code, reason: format!("{reason} (what is left: --cursor {cursor})") }
        }
        failure => failure,
    })?;
    closed?;
    told?;
    if args.json {
        return Ok(Outcome::Done);
    }
    match show::is_for_people() {
        true => {
            let (keys, copied) = (show::grouped(done.keys), show::grouped(done.copied));
            show::line(&format!("{keys} keys, {copied} copied, {} removed", show::grouped(done.removed)))?;
        }
        false => show::line(&done.copied.to_string())?,
    }
    Ok(Outcome::Done)
}

// Such a build refuses the option without which nothing is preloaded.
#[cfg(not(feature = "redis"))]
pub fn preload(args: &Preload) -> Result<Outcome, Failure> {
    args.opening.set(kv::Options::new())?;
    Err(Failure::usage("preload needs --tier-url"))
}
