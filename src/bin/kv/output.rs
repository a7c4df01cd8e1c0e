//! A file that is written.

use crate::failure::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that has its name when it is whole, and not before: who fails on the way leaves what had the name.
pub struct Output {
    pub file: File,
    /// Where it lies until then, and the name.
    unfinished: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// What is there and not a regular file, a pipe say, is written to as it is; so is a file that no other one can be made beside.
    pub fn create(place: &Path) -> Result<Output, Failure> {
        let failed = |e| Failure::file("create", place, &e);
        let in_place = || Ok(Output { file: File::create(place).map_err(failed)?, unfinished: None });
        let there = fs::metadata(place);
        if there.as_ref().is_ok_and(|meta| !meta.is_file()) {
            return in_place();
        }
        let target = match fs::canonicalize(place) {
            Ok(target) => target,
            // A link that leads to nothing yet stays one.
            Err(_) if fs::symlink_metadata(place).is_ok() => return in_place(),
            Err(_) => place.to_owned(),
        };
        if there.is_ok() {
            // What must not be written must not be replaced either.
            OpenOptions::new().write(true).open(&target).map_err(failed)?;
        }
        let Some(name) = target.file_name() else { return in_place() };
        let mut unfinished = name.to_owned();
        unfinished.push(format!(".{}.unfinished", std::process::id()));
        let unfinished = target.with_file_name(unfinished);
        match create_as(&unfinished, there.as_ref().ok()) {
            Ok(file) => Ok(Output { file, unfinished: Some((unfinished, target)) }),
            Err(_) if there.is_ok() => in_place(),
            Err(error) => Err(failed(error)),
        }
    }

    /// Gives it its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        let Some((unfinished, target)) = &self.unfinished else { return Ok(()) };
        self.file.sync_all().map_err(|e| Failure::file("sync", unfinished, &e))?;
        match fs::rename(unfinished, target) {
            Ok(()) => self.unfinished = None,
            // A file that is a mount of its own keeps its place.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                fs::copy(unfinished, target).map_err(|e| Failure::file("write", target, &e))?;
            }
            Err(error) => return Err(Failure::file("create", target, &error)),
        }
        Ok(())
    }
}

/// A new file, for those to read who may read the one that it is to replace.
fn create_as(place: &Path, replaced: Option<&fs::Metadata>) -> io::Result<File> {
    let mode = replaced.map_or(0o666, |meta| meta.permissions().mode() & 0o777);
    let create = || OpenOptions::new().write(true).create_new(true).mode(mode).open(place);
    let file = create().or_else(|error| match error.kind() {
        // Left by one that was killed, and had this process's number.
        ErrorKind::AlreadyExists => fs::remove_file(place).and_then(|()| create()),
        _ => Err(error),
    })?;
    if let Some(meta) = replaced {
        file.set_permissions(meta.permissions())?;
    }
    Ok(file)
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.unfinished {
            // Best effort: its name says what it is.
            let _ = fs::remove_file(unfinished);
        }
    }
}
