//! Opening the store that a command is about.

use crate::args::Tier;
use crate::failure::Failure;
use crate::tier;
use kv::{Db, OpenMode, Options, Sync};
use std::path::Path;

/// As it is now, also while another process has it open.
pub fn open_to_read(path: &Path) -> Result<Db, Failure> {
    let db = Options::new().mode(OpenMode::ReadOnly).open(path)?;
    if let Some(first) = db.damage().first() {
        let count = db.damage().len();
        eprintln!("kv: warning: {first} ({count} damaged in all: see kv verify)");
    }
    Ok(db)
}

/// To read, or with a tier so that Redis is asked, whose answers are kept.
pub fn open_to_ask(path: &Path, tier: &Tier) -> Result<Db, Failure> {
    match tier.is_asked_for() {
        true => open_to_write(path, OpenMode::MustExist, Sync::Never, tier),
        false => open_to_read(path),
    }
}

pub fn open_to_write(path: &Path, mode: OpenMode, sync: Sync, tier: &Tier) -> Result<Db, Failure> {
    let options = Options::new().mode(mode).sync(sync).logger(|line| eprintln!("kv: note: {line}"));
    Ok(tier.set(options)?.open(path)?)
}

/// Ends a store that was written, so that what could not be made durable is told, and what Redis does not have.
pub fn close(db: &Db, path: &Path, tier: &Tier) -> Result<(), Failure> {
    if tier.is_asked_for() {
        tier::send(db, tier);
    }
    db.close().map_err(|error| Failure::at(path, error))
}
