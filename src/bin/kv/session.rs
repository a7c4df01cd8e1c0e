//! Commands that lock an entry: editing one, and adding one under a generated key.

use crate::args::{Add, Edit};
use crate::failure::{Failure, Outcome};
use crate::{entries, parse, show, store};
use kv::{CreateOptions, Expiry, KeyOptions, OpenMode, Wait};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a commit did.
#[derive(Serialize)]
struct Done<'b> {
    #[serde(flatten)]
    key: show::Key<'b>,
    changed: bool,
    version: u64,
}

pub fn edit(args: &Edit) -> Result<Outcome, Failure> {
    let at = |error| Failure::at(&args.store, error);
    let key = parse::bytes(&args.key, args.text.hex)?;
    let metadata = args.metadata.iter().map(|pair| pair_of(pair)).collect::<Result<Vec<_>, _>>()?;
    let mode = if args.create { OpenMode::Create } else { OpenMode::MustExist };
    let db = store::open_to_write(&args.store, mode, args.writing.sync, &args.opening)?;
    let session = match args.create {
        true => db.create_and_lock(&key, Wait::No, CreateOptions::new().allow_existing(true)),
        false => db.get_and_lock(&key, Wait::No),
    };
    let Some(mut session) = session.map_err(at)? else {
        return Ok(entries::no(&args.store, &args.key, entries::ABSENT));
    };
    let before = (session.value().to_vec(), session.metadata().clone());
    for (name, value) in metadata {
        session.metadata_mut().insert(name, value);
    }
    for name in &args.no_metadata {
        session.metadata_mut().remove(name);
    }
    if let Some(ttl) = args.ttl {
        session.set_expiry(Expiry::After(ttl));
    }
    *session.value_mut() = edited(session.value(), args.text.hex)?;
    let is_new = session.version() == 0;
    let changed =
        is_new || args.ttl.is_some() || before != (session.value().to_vec(), session.metadata().clone());
    let version = match changed {
        true => session.commit().map_err(at)?,
        false => session.version(),
    };
    store::close(&db, &args.store, &args.opening)?;
    if args.text.json {
        show::json(&Done { key: key.as_slice().into(), changed, version })?;
    } else if show::is_for_people() && !changed {
        show::line("unchanged")?;
    }
    Ok(Outcome::Done)
}

pub fn add(args: &Add) -> Result<Outcome, Failure> {
    let at = |error| Failure::at(&args.store, error);
    let value = entries::value_of(&args.value, args.text.hex)?;
    let prefix = parse::bytes(&args.prefix, args.text.hex)?;
    let options = KeyOptions::new().prefix(prefix).base(args.base).width(args.width);
    let db = store::open_to_write(&args.store, OpenMode::Create, args.writing.sync, &args.opening)?;
    let mut session = db.create_generated_and_lock(&options, value).map_err(at)?;
    session.set_codec(args.codec);
    if let Some(ttl) = args.ttl {
        session.set_expiry(Expiry::After(ttl));
    }
    let key = session.key().to_vec();
    let version = session.commit().map_err(at)?;
    store::close(&db, &args.store, &args.opening)?;
    match args.text.json {
        true => show::json(&Done { key: key.as_slice().into(), changed: true, version })?,
        false => {
            show::raw(&show::shown(&key, args.text.hex))?;
            show::raw(b"\n")?;
        }
    }
    Ok(Outcome::Done)
}

/// `NAME=VALUE`.
fn pair_of(text: &str) -> Result<(String, Vec<u8>), Failure> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.ok_or_else(|| Failure::usage(format!("--metadata {text:?} is not NAME=VALUE")));
    pair.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
}

/// A file that is gone when this is.
struct Draft(PathBuf);

impl Draft {
    /// Of this user's alone.
    fn new(text: &[u8]) -> Result<Draft, Failure> {
        let path = std::env::temp_dir().join(format!("kv-edit-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.map_err(|e| Failure::file("create", &path, &e))?;
        let draft = Draft(path);
        file.write_all(text).map_err(|e| Failure::file("write", &draft.0, &e))?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nowhere to tell; the system's temporary directory is emptied some time.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the user's editor makes of a value.
fn edited(value: &[u8], is_hex: bool) -> Result<Vec<u8>, Failure> {
    if !is_hex && std::str::from_utf8(value).is_err() {
        return Err(Failure::refused("the value is no text: see --hex"));
    }
    let draft = match is_hex {
        true => Draft::new(show::hex(value).as_bytes())?,
        false => Draft::new(value)?,
    };
    let editor = ["VISUAL", "EDITOR"].iter().find_map(std::env::var_os);
    let editor = editor.unwrap_or_else(|| "vi".into());
    // By a shell, as everybody does: the variable may hold arguments.
    let command = [editor.as_os_str(), " \"$1\"".as_ref()].join("".as_ref());
    let name = || Path::new(&editor);
    let status = Command::new("sh").arg("-c").arg(command).arg("sh").arg(&draft.0).status();
    let status = status.map_err(|e| Failure::file("run", name(), &e))?;
    if !status.success() {
        return Err(Failure::file(
            "run",
            name(),
            &std::io::Error::other(format!("{status}; nothing is changed")),
        ));
    }
    let mut text = std::fs::read(&draft.0).map_err(|e| Failure::file("read", &draft.0, &e))?;
    // Editors end the last line; what had no such end gets none.
    if text.ends_with(b"\n") && !value.ends_with(b"\n") {
        text.pop();
    }
    match is_hex {
        true => parse::bytes(String::from_utf8_lossy(&text).trim(), true),
        false => Ok(text),
    }
}
