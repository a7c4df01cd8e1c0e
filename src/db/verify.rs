//! Looking a store over without changing it, and taking out of it what is intact.

use super::Db;
use crate::error::{Error, Result};
use crate::limits::VALUE_BYTES_MAX_LIMIT;
use crate::options::{OpenMode, Options};
use crate::record::{flags, metadata_part, Draft, Kind};
use crate::recovery::Damage;
use serde_json::json;
use std::path::Path;

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries that can be read.
    pub entries: u64,
    /// Segments that were read.
    pub segments: u64,
    /// Records found whole, overwritten ones included; a batch counts as one.
    pub records: u64,
    /// Those of them that were acknowledged, or could have been.
    pub committed: u64,
    /// Bytes of the segments.
    pub log_bytes: u64,
    /// Bytes of the records that live.
    pub live_bytes: u64,
    /// Each place where the files are not what was written: empty in a sound store.
    pub damage: Vec<Damage>,
}

impl Report {
    fn of(db: &Db) -> Result<Report> {
        let (stats, survey) = (db.stats()?, db.shared.survey);
        Ok(Report {
            entries: stats.entries,
            segments: survey.segments,
            records: survey.records,
            committed: survey.committed,
            log_bytes: survey.log_bytes,
            live_bytes: stats.live_bytes,
            damage: db.damage().to_vec(),
        })
    }

    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// One JSON object: `ok`, the figures by their names, `damage`, an array of objects with `path`, `offset` and `reason`, and
    /// `salvaged`, which is null.
    pub fn to_json(&self) -> String {
        self.with_salvaged(None)
    }

    fn with_salvaged(&self, salvaged: Option<u64>) -> String {
        json!({
            "ok": self.is_sound(),
            "entries": self.entries,
            "segments": self.segments,
            "records": self.records,
            "committed": self.committed,
            "log_bytes": self.log_bytes,
            "live_bytes": self.live_bytes,
            "damage": self.damage.iter().map(Damage::to_json).collect::<Vec<_>>(),
            "salvaged": salvaged,
        })
        .to_string()
    }
}

/// What [`salvage`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// What was found in the old store.
    pub report: Report,
    /// Entries written to the new one.
    pub entries: u64,
}

impl Salvaged {
    /// The report as [`Report::to_json`] gives it, with the entries written as `salvaged`.
    pub fn to_json(&self) -> String {
        self.report.with_salvaged(Some(self.entries))
    }
}

fn open_to_read(path: &Path) -> Result<Db> {
    Options::new().mode(OpenMode::ReadOnly).value_bytes_max(VALUE_BYTES_MAX_LIMIT).open(path)
}

/// Reads every record of the store in directory `path` and checks it, without writing anything: also of a store that another
/// process has open, as of one moment. Costs what an open costs. Damage is what it reports, not an error.
///
/// ```
/// let dir = tempfile::tempdir()?;
/// kv::Db::open(dir.path())?.set(b"name", b"Alice")?;
/// let report = kv::verify(dir.path())?;
/// assert!(report.is_sound() && report.entries == 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotAStore`]; [`Error::Corrupt`] when no manifest can be read; [`Error::UnsupportedVersion`]; [`Error::Io`].
pub fn verify(path: impl AsRef<Path>) -> Result<Report> {
    Report::of(&open_to_read(path.as_ref())?)
}

/// Writes every entry of the store at `from` that is intact into a new store at `to`, which must be empty or not exist;
/// expiries stay. Where a delete or an overwrite was lost to the damage, what it hid comes back. Durable when it returns.
///
/// # Errors
/// As [`verify`]; [`Error::NotAStore`] when `to` holds something; as [`Db::set`].
pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Salvaged> {
    let (from, to) = (open_to_read(from.as_ref())?, to.as_ref());
    let mut report = Report::of(&from)?;
    refuse_filled(&from, to)?;
    let new = Options::new().value_bytes_max(VALUE_BYTES_MAX_LIMIT).open(to)?;
    let mut entries = 0;
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    from.store()?.walk(|_, _, (_, view)| keys.push(view.key.into()));
    for key in keys {
        match copy_entry(&from, &new, &key) {
            Ok(is_copied) => entries += u64::from(is_copied),
            // Its checksum is good, and its compressed value is not: forged, or of a build with other features.
            Err(Error::Corrupt { path, offset, reason }) => {
                report.damage.push(Damage { path, offset, reason })
            }
            Err(error) => return Err(error),
        }
    }
    new.close()?;
    Ok(Salvaged { report, entries })
}

fn refuse_filled(from: &Db, to: &Path) -> Result<()> {
    match from.store()?.options.disk.list(to) {
        Ok(names) => match names.first() {
            Some(entry) => {
                let reason = format!("it holds {} already", entry.name.to_string_lossy());
                Err(Error::NotAStore { path: to.to_path_buf(), reason })
            }
            None => Ok(()),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("list", to, e)),
    }
}

/// Copies the record as it is stored, but for a value that is compressed with a dictionary, which the new store has not; whether there
/// was one to copy.
fn copy_entry(from: &Db, to: &Db, key: &[u8]) -> Result<bool> {
    let (from, to) = (from.store()?, to.store()?);
    let (record_flags, codec, expire_at_ms, stored) = {
        let guard = crossbeam_epoch::pin();
        let seen = from.look(key, &guard);
        let Some(view) = seen.live else { return Ok(false) };
        let value = from.value_seen(&seen)?;
        let stored = match view.dictionary {
            0 => view.value.to_vec(),
            _ => [&value, metadata_part(view.word.flags(), view.value)].concat(),
        };
        let flags = view.word.flags() & if view.dictionary == 0 { !0 } else { !flags::ZSTD };
        // A copy: the write below may wait, and nobody waits with a guard in hand.
        (flags, view.word.codec(), view.expire_at_ms, stored)
    };
    let draft = Draft {
        kind: Kind::Put,
        flags: record_flags & !flags::IN_BATCH,
        codec,
        dictionary: 0,
        lsn: 0,
        expire_at_ms,
        key,
        value: &stored,
    };
    to.write_blind(&draft)?;
    Ok(true)
}
