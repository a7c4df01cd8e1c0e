//! Opening the store that a command is about.

use crate::failure::Failure;
use kv::{Db, OpenMode, Options};
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

pub fn open_to_write(path: &Path, mode: OpenMode, sync: kv::Sync) -> Result<Db, Failure> {
    Ok(Options::new().mode(mode).sync(sync).logger(|line| eprintln!("kv: note: {line}")).open(path)?)
}

/// Ends a store that was written, so that what could not be made durable is told.
pub fn close(db: &Db, path: &Path) -> Result<(), Failure> {
    db.close().map_err(|error| Failure::at(path, error))
}
