//! A file that is written.

use crate::failure::Failure;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

/// A file that has its name when it is whole, and not before: who fails or dies on the way leaves what had the name.
pub struct Output {
    pub file: File,
    /// Where it lies until then, and the name.
    unfinished: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// What is there and not a regular file, a pipe say, is written to as it is.
    pub fn create(place: &Path) -> Result<Output, Failure> {
        let failed = |e| Failure::file("create", place, &e);
        if fs::metadata(place).is_ok_and(|meta| !meta.is_file()) {
            return Ok(Output { file: File::create(place).map_err(failed)?, unfinished: None });
        }
        // Behind a link, the file that it leads to.
        let place = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
        let Some(name) = place.file_name() else {
            return Err(failed(std::io::ErrorKind::InvalidInput.into()));
        };
        let mut unfinished = name.to_owned();
        unfinished.push(format!(".{}.unfinished", std::process::id()));
        let unfinished = place.with_file_name(unfinished);
        let file = OpenOptions::new().write(true).create_new(true).open(&unfinished);
        let file = file.map_err(|e| Failure::file("create", &unfinished, &e))?;
        let output = Output { file, unfinished: Some((unfinished, place)) };
        output.keep_permissions()?;
        Ok(output)
    }

    fn keep_permissions(&self) -> Result<(), Failure> {
        let Some((unfinished, place)) = &self.unfinished else { return Ok(()) };
        let Ok(meta) = fs::metadata(place) else { return Ok(()) };
        self.file.set_permissions(meta.permissions()).map_err(|e| Failure::file("change", unfinished, &e))
    }

    /// Gives it its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        let Some((unfinished, place)) = &self.unfinished else { return Ok(()) };
        self.file.sync_all().map_err(|e| Failure::file("sync", unfinished, &e))?;
        fs::rename(unfinished, place).map_err(|e| Failure::file("create", place, &e))?;
        self.unfinished = None;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.unfinished {
            // Best effort: its name says what it is.
            let _ = fs::remove_file(unfinished);
        }
    }
}
