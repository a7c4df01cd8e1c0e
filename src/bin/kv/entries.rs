//! Commands on single keys.

use crate::args::{Del, Expire, Get, Incr, Keys, Opening, Set, Ttl};
use crate::failure::{Failure, Outcome};
use crate::{parse, show, store, tier};
use kv::{Condition, Expiry, OpenMode, SetOptions, Tag};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

/// Says on stderr why the answer is no.
pub fn no(store: &Path, key: &str, why: &str) -> Outcome {
    eprintln!("kv: {}: {why} {key:?}", store.display());
    Outcome::No
}

pub const ABSENT: &str = "no key";

pub fn get(args: &Get) -> Result<Outcome, Failure> {
    #[derive(Serialize)]
    struct Found<'b> {
        #[serde(flatten)]
        key: show::Key<'b>,
        #[serde(flatten)]
        value: show::Value<'b>,
        version: Option<u64>,
        expires_at_ms: Option<u64>,
        #[serde(flatten)]
        metadata: show::Metadata<'b>,
        #[serde(flatten)]
        codec: show::Codec,
    }
    let at = |error| Failure::at(&args.store, error);
    let key = parse::bytes(&args.key, args.text.hex)?;
    let db = store::open_to_ask(&args.store, &args.opening)?;
    // What only Redis has is brought here; of what it says a copy need not be kept.
    let asked = match args.opening.has_tier() || args.codec != Tag::RAW {
        true => db.get_as(&key, args.codec).map_err(at)?,
        false => None,
    };
    let pin = db.pin()?;
    let kept = pin.get(&key).map_err(at)?;
    let Some(value) = kept.as_deref().or(asked.as_deref()) else {
        return Ok(no(&args.store, &args.key, ABSENT));
    };
    if args.text.json {
        let version = kept.as_ref().map(kv::Value::version);
        let expires_at_ms = kept.as_ref().and_then(kv::Value::expires_at_ms);
        let whole = db.get_with_metadata(&key).map_err(at)?;
        let metadata = whole.as_ref().map_or_else(Default::default, |(_, metadata)| metadata.into());
        let codec = kept.as_ref().map_or(args.codec, kv::Value::codec).into();
        show::json(&Found {
            key: key.as_slice().into(),
            value: value.into(),
            version,
            expires_at_ms,
            metadata,
            codec,
        })?;
    } else {
        show::raw(&show::shown(value, args.text.hex))?;
        if show::is_for_people() {
            show::line("")?;
        }
    }
    Ok(Outcome::Done)
}

pub fn set(args: &Set) -> Result<Outcome, Failure> {
    #[derive(Serialize)]
    struct Done<'b> {
        #[serde(flatten)]
        key: show::Key<'b>,
        set: bool,
        version: Option<u64>,
    }
    let key = parse::bytes(&args.key, args.text.hex)?;
    let value = value_of(&args.value, args.text.hex)?;
    let expected = args.if_value.as_ref().map(|text| parse::bytes(text, args.text.hex)).transpose()?;
    let at = |error| Failure::at(&args.store, error);
    let (is_set, version) = if args.shared {
        if !args.if_absent && expected.is_none() {
            return Err(Failure::usage("set --shared needs --if-absent or --if-value"));
        }
        let db = store::open_to_write(&args.store, OpenMode::Create, args.writing.sync, &args.opening)?;
        let is_set = match &expected {
            Some(expected) => tier::swap_shared(&db, &key, expected, &value),
            None => tier::add_shared(&db, &key, &value, args.ttl.map_or(Expiry::Default, Expiry::After)),
        };
        let is_set = is_set.map_err(at)?;
        store::close(&db, &args.store, &args.opening)?;
        (is_set, None)
    } else {
        let mut options = SetOptions::new().codec(args.codec);
        if let Some(ttl) = args.ttl {
            options = options.ttl(ttl);
        }
        if args.if_absent {
            options = options.condition(Condition::IfAbsent);
        }
        let db = store::open_to_write(&args.store, OpenMode::Create, args.writing.sync, &args.opening)?;
        let version = db.set_with(&key, &value, options).map_err(at)?;
        store::close(&db, &args.store, &args.opening)?;
        (version.is_some(), version)
    };
    if args.text.json {
        show::json(&Done { key: key.as_slice().into(), set: is_set, version })?;
    }
    Ok(match is_set {
        true => Outcome::Done,
        false if args.if_value.is_some() => no(&args.store, &args.key, "there is another value for key"),
        false => no(&args.store, &args.key, "there is a value already for key"),
    })
}

/// What stands for a value on the command line.
pub fn value_of(text: &str, is_hex: bool) -> Result<Vec<u8>, Failure> {
    if text != "-" {
        return parse::bytes(text, is_hex);
    }
    let mut value = Vec::new();
    io::stdin().lock().read_to_end(&mut value).map_err(|e| Failure::file("read", Path::new("stdin"), &e))?;
    Ok(value)
}

/// Calls `each` with every key, in order, as bytes and as it was given.
fn for_each(
    keys: &Keys,
    is_hex: bool,
    mut each: impl FnMut(&[u8], &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for key in &keys.keys {
        each(&parse::bytes(key, is_hex)?, key)?;
    }
    let Some(path) = &keys.keys_from else { return Ok(()) };
    let failed = |e: io::Error| Failure::file("read", path, &e);
    let lines: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(failed)?))
    };
    for line in lines.split(b'\n') {
        let line = line.map_err(failed)?;
        let text = String::from_utf8_lossy(&line);
        let key = if is_hex { parse::bytes(&text, true)? } else { line.clone() };
        each(&key, &text)?;
    }
    Ok(())
}

/// What a command on many keys did.
struct Counts {
    done: u64,
    absent: u64,
}

impl Counts {
    fn show(&self, name: &str, is_json: bool) -> Result<Outcome, Failure> {
        if is_json {
            show::json(&serde_json::json!({ name: self.done, "absent": self.absent }))?;
        } else if show::is_for_people() {
            show::line(&format!("{name} {}, absent {}", self.done, self.absent))?;
        } else {
            show::line(&self.done.to_string())?;
        }
        Ok(if self.absent == 0 { Outcome::Done } else { Outcome::No })
    }
}

fn change_each(
    path: &Path,
    db: &kv::Db,
    opening: &Opening,
    keys: &Keys,
    is_hex: bool,
    change: impl Fn(&[u8]) -> kv::Result<bool>,
) -> Result<Counts, Failure> {
    let mut counts = Counts { done: 0, absent: 0 };
    for_each(keys, is_hex, |key, _| {
        match change(key).map_err(|error| Failure::at(path, error))? {
            true => counts.done += 1,
            false => counts.absent += 1,
        }
        Ok(())
    })?;
    store::close(db, path, opening)?;
    Ok(counts)
}

pub fn del(args: &Del) -> Result<Outcome, Failure> {
    let db = store::open_to_write(&args.store, OpenMode::MustExist, args.writing.sync, &args.opening)?;
    let counts =
        change_each(&args.store, &db, &args.opening, &args.keys, args.text.hex, |key| db.delete(key))?;
    counts.show("deleted", args.text.json)
}

pub fn expire(args: &Expire) -> Result<Outcome, Failure> {
    let db = store::open_to_write(&args.store, OpenMode::MustExist, args.writing.sync, &args.opening)?;
    let counts =
        change_each(&args.store, &db, &args.opening, &args.keys, args.text.hex, |key| match args.ttl {
            kv::Expiry::After(ttl) => db.expire(key, ttl),
            _ => db.persist(key),
        })?;
    counts.show("changed", args.text.json)
}

pub fn incr(args: &Incr) -> Result<Outcome, Failure> {
    #[derive(Serialize)]
    struct Sum<'b> {
        #[serde(flatten)]
        key: show::Key<'b>,
        value: i64,
    }
    let key = parse::bytes(&args.key, args.text.hex)?;
    let db = store::open_to_write(&args.store, OpenMode::Create, args.writing.sync, &args.opening)?;
    let sum = match args.shared {
        true => tier::increment_shared(&db, &key, args.by),
        false => db.increment_as(&key, args.by, args.codec),
    };
    let sum = sum.map_err(|error| {
        let Failure::Said { code, reason } = Failure::at(&args.store, error) else {
            return Failure::NobodyReads;
        };
        Failure::Said { code, reason: format!("{reason} (key {:?})", args.key) }
    })?;
    store::close(&db, &args.store, &args.opening)?;
    if args.text.json {
        show::json(&Sum { key: key.as_slice().into(), value: sum })?;
    } else {
        show::line(&sum.to_string())?;
    }
    Ok(Outcome::Done)
}

pub fn ttl(args: &Ttl) -> Result<Outcome, Failure> {
    #[derive(Serialize)]
    struct Left<'b> {
        #[serde(flatten)]
        key: show::Key<'b>,
        ttl_ms: Option<u64>,
    }
    let key = parse::bytes(&args.key, args.text.hex)?;
    let db = store::open_to_ask(&args.store, &args.opening)?;
    let Some(ttl) = db.ttl(&key).map_err(|error| Failure::at(&args.store, error))? else {
        return Ok(no(&args.store, &args.key, ABSENT));
    };
    let left = match ttl {
        kv::Ttl::Remaining(left) => Some(left),
        kv::Ttl::Never => None,
    };
    if args.text.json {
        let ttl_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        show::json(&Left { key: key.as_slice().into(), ttl_ms })?;
    } else {
        show::line(&left.map_or("never".into(), in_words))?;
    }
    Ok(Outcome::Done)
}

/// Seconds in a pipe; days, hours and so on for people.
fn in_words(left: Duration) -> String {
    if !show::is_for_people() {
        return format!("{:.3}", left.as_secs_f64());
    }
    let seconds = left.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{:.3} s", left.as_secs_f64()),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
