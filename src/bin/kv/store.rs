//! Opening the store that a command is about.

use crate::args::Opening;
use crate::failure::Failure;
use crate::tier;
use kv::{Db, OpenMode, Options, Sync};
use std::path::Path;

impl Opening {
    pub fn has_tier(&self) -> bool {
        self.tier.is_asked_for() || self.options.iter().any(|(name, _)| name == "tier_url")
    }

    /// The options that were given, those of the tier among them.
    pub fn set(&self, options: Options) -> Result<Options, Failure> {
        let by_name = |options: Options, (name, value): &(String, String)| options.set(name, value);
        self.tier.set(self.options.iter().try_fold(options, by_name)?)
    }
}

/// As it is now, also while another process has it open.
pub fn open_to_read(path: &Path) -> Result<Db, Failure> {
    open_to_read_with(path, Options::new())
}

fn open_to_read_with(path: &Path, options: Options) -> Result<Db, Failure> {
    let db = options.mode(OpenMode::ReadOnly).open(path)?;
    if let Some(first) = db.damage().first() {
        let count = db.damage().len();
        eprintln!("kv: warning: {first} ({count} damaged in all: see kv verify)");
    }
    Ok(db)
}

/// To read, or with a tier so that Redis is asked, whose answers are kept.
pub fn open_to_ask(path: &Path, opening: &Opening) -> Result<Db, Failure> {
    match opening.has_tier() {
        true => open_to_write(path, OpenMode::MustExist, Sync::Never, opening),
        false => open_to_read_with(path, opening.set(Options::new())?),
    }
}

pub fn open_to_write(path: &Path, mode: OpenMode, sync: Sync, opening: &Opening) -> Result<Db, Failure> {
    let options = Options::new().mode(mode).sync(sync).logger(|line| eprintln!("kv: note: {line}"));
    Ok(opening.set(options)?.open(path)?)
}

/// Ends a store that was written, so that what could not be made durable is told, and what Redis does not have.
pub fn close(db: &Db, path: &Path, opening: &Opening) -> Result<(), Failure> {
    if opening.has_tier() {
        tier::send(db, &opening.tier);
    }
    db.close().map_err(|error| Failure::at(path, error))
}
