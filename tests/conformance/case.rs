//! Where a case stands, and what each operation is in Rust.

use crate::moment::moment_of;
#[cfg(feature = "redis")]
use crate::redis::{self, Redis};
use crate::words::{
    bytes, expiry, format, found, lines, list, load_options, number, ok, status, tag, text, whole, word,
};
use kv::{
    Batch, Change, Condition, CreateOptions, Db, Error, Event, Expiry, KeyOptions, ManualClock, Options,
    ScanOptions, Session, SetOptions, Tag, Ttl, Wait, Watch, WatchOptions,
};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// How long an answer may be awaited.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a case stands.
pub struct Case {
    path: PathBuf,
    pub settings: Vec<(String, String)>,
    pub clock: Arc<ManualClock>,
    pub db: Option<Db>,
    /// What the listener is to tell by, once there is one, and what it told.
    listener: Option<Sender<Event>>,
    events: Option<Receiver<Event>>,
    versions: HashMap<String, u64>,
    session: Option<Session>,
    watch: Option<Watch>,
    /// The last generated key.
    generated: Vec<u8>,
    #[cfg(feature = "redis")]
    redis: Option<Redis>,
}

impl Case {
    pub fn new(path: PathBuf, clock_ms: u64) -> Case {
        let clock = Arc::new(ManualClock::new(clock_ms));
        Case {
            path,
            settings: Vec::new(),
            clock,
            db: None,
            listener: None,
            events: None,
            versions: HashMap::new(),
            session: None,
            watch: None,
            generated: Vec::new(),
            #[cfg(feature = "redis")]
            redis: None,
        }
    }

    pub fn open(&self, is_on_disk: bool) -> Result<Db, Error> {
        let mut options = Options::new().clock(self.clock.clone()).background(false);
        for (name, value) in &self.settings {
            options = options.set(name, value)?;
        }
        if let Some(events) = self.listener.clone() {
            options = options.listener(move |event| drop(events.send(event.clone())));
        }
        if is_on_disk {
            options.open(&self.path)
        } else {
            options.in_memory()
        }
    }

    fn mirror(&self) -> PathBuf {
        self.path.with_extension("json")
    }

    fn socket(&self) -> PathBuf {
        self.path.with_file_name("s")
    }

    /// The value of an option.
    pub fn setting(&self, word: &str) -> String {
        match word {
            "$redis" => format!("redis+unix://{}", self.socket().display()),
            "$mirror" => self.mirror().to_str().expect("UTF-8").to_owned(),
            word => word.to_owned(),
        }
    }

    fn save(&mut self, expected: &str, version: u64) -> String {
        let Some(name) = expected.strip_prefix('$') else { return version.to_string() };
        self.versions.insert(name.to_owned(), version);
        expected.to_owned()
    }

    fn version(&self, word: &str) -> u64 {
        word.strip_prefix('$').map_or_else(|| number(word), |name| self.versions[name])
    }

    /// Does what a line says and returns the answer; `expected` names where a version is saved.
    pub fn call(&mut self, words: &[&str], expected: &str) -> Result<String, Error> {
        let answer = match *words {
            ["option", name, value] => {
                let value = self.setting(value);
                Options::new().set(name, &value)?;
                self.settings.push((name.to_owned(), value));
                "ok".to_owned()
            }
            ["listen"] => {
                let (tell, told) = channel();
                (self.listener, self.events) = (Some(tell), Some(told));
                "ok".to_owned()
            }
            ["events", count] => events(self.events.as_ref().expect("a listener"), number(count)),
            ["open"] => {
                self.db = Some(self.open(true)?);
                "ok".to_owned()
            }
            ["open_in_memory"] => {
                self.db = Some(self.open(false)?);
                "ok".to_owned()
            }
            ["reopen"] => {
                self.db.take().expect("a store").close()?;
                self.db = Some(self.open(true)?);
                "ok".to_owned()
            }
            ["verify"] => if kv::verify(&self.path)?.is_sound() { "ok" } else { "damaged" }.to_owned(),
            ["advance", ms] => {
                self.clock.advance(Duration::from_millis(number(ms)));
                String::new()
            }
            ["version", key] => match self.db().version(&bytes(key))? {
                Some(version) => self.save(expected, version),
                None => "absent".to_owned(),
            },
            ["watch", prefix, after] => {
                let options = WatchOptions::new().prefix(bytes(prefix));
                let options = match after {
                    "now" => options,
                    after => options.after(self.version(after)),
                };
                self.watch = Some(self.db().watch(options)?);
                "ok".to_owned()
            }
            ["changes"] => changes(self.watch.as_mut().expect("a watch"))?,
            ["position"] => {
                let position = self.watch.as_ref().expect("a watch").position();
                self.save(expected, position)
            }
            ["write_mirror", ref lines @ ..] => {
                std::fs::write(self.mirror(), text(lines)).expect("the mirror is written");
                "ok".to_owned()
            }
            ["mirror"] => lines(&std::fs::read(self.mirror()).expect("a mirror")),
            ["lock", key] => {
                let locked = self.db().get_and_lock(&bytes(key), Wait::No)?;
                self.take_over(locked, "absent")
            }
            ["create", key, value, which] => {
                assert!(["new", "any"].contains(&which), "{which}");
                let options = CreateOptions::new().initial(bytes(value)).allow_existing(which == "any");
                let locked = self.db().create_and_lock(&bytes(key), Wait::No, options)?;
                self.take_over(locked, "not_met")
            }
            ["session" | "edit" | "commit" | "reload" | "rollback", ..] => self.use_session(words)?,
            ["generate", prefix, base, width] => {
                let prefix = bytes(prefix);
                let options =
                    KeyOptions::new().prefix(prefix.clone()).base(number(base)).width(number(width));
                let key = self.db().generate_key(&options)?;
                let is_later = key.starts_with(&prefix) && key > self.generated;
                self.generated = key;
                if is_later { "later" } else { "earlier" }.to_owned()
            }
            #[cfg(feature = "redis")]
            ["redis_up"] => {
                self.redis = Some(Redis::start(&self.socket()));
                "ok".to_owned()
            }
            #[cfg(feature = "redis")]
            ["redis_down"] => {
                self.redis = None;
                "ok".to_owned()
            }
            #[cfg(feature = "redis")]
            ["redis", ref words @ ..] => redis::ask(&self.socket(), words),
            #[cfg(feature = "redis")]
            ["flush" | "increment_shared" | "add_shared" | "compare_and_swap_shared", ..] => {
                share(self.db(), words)?
            }
            _ => self.operate(words)?,
        };
        Ok(answer)
    }

    fn take_over(&mut self, locked: Option<Session>, without: &str) -> String {
        match locked {
            Some(session) => {
                self.session = Some(session);
                "ok".to_owned()
            }
            None => without.to_owned(),
        }
    }

    fn use_session(&mut self, words: &[&str]) -> Result<String, Error> {
        // What does not compile in Rust is this status elsewhere.
        let Some(mut session) = self.session.take() else { return Ok("error session_ended".to_owned()) };
        match *words {
            ["session"] => {
                let whole = whole(session.value(), session.metadata());
                self.session = Some(session);
                return Ok(whole);
            }
            ["edit", value, ref pairs @ ..] => {
                *session.value_mut() = bytes(value);
                let pairs = pairs.iter().map(|pair| pair.split_once('=').expect("NAME=HELD"));
                let text = |name| String::from_utf8(bytes(name)).expect("a name is text");
                *session.metadata_mut() = pairs.map(|(name, held)| (text(name), bytes(held))).collect();
                self.session = Some(session);
            }
            ["commit", when, how] => {
                session.set_expiry(expiry(when));
                session.delete_on_commit(how == "delete");
                match how {
                    "keep" => {
                        let committed = session.commit_and_keep();
                        self.session = Some(session);
                        committed?;
                    }
                    "keep_on_failure" => {
                        if let Err(failed) = session.commit_or_keep() {
                            self.session = Some(failed.session);
                            return Err(failed.error);
                        }
                    }
                    "end" | "delete" => drop(session.commit()?),
                    _ => panic!("{how} ends no commit"),
                }
            }
            ["reload"] => {
                session.reload()?;
                self.session = Some(session);
            }
            _ => session.rollback(),
        }
        Ok("ok".to_owned())
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("an operation before open")
    }

    fn condition(&self, word: &str) -> Condition {
        match (word, word.strip_prefix("if_version:")) {
            ("always", _) => Condition::Always,
            ("if_absent", _) => Condition::IfAbsent,
            ("if_present", _) => Condition::IfPresent,
            (_, Some(version)) => Condition::IfVersion(self.version(version)),
            _ => panic!("{word} is no condition"),
        }
    }

    fn operate(&self, words: &[&str]) -> Result<String, Error> {
        let db = self.db();
        let is_met = |version: Option<u64>| if version.is_some() { "ok" } else { "not_met" }.to_owned();
        Ok(match *words {
            ["close"] => db.close().map(ok)?,
            ["get" | "get_owned", key] => found(db.get(&bytes(key))?),
            ["get_small", key, len] => match db.get(&bytes(key))? {
                Some(value) if value.len() > number(len) => format!("too_small {}", value.len()),
                value => found(value),
            },
            ["get_pinned", key] => found(db.pin()?.get(&bytes(key))?.as_deref()),
            ["get_with_metadata", key] => match db.get_with_metadata(&bytes(key))? {
                Some((value, metadata)) => whole(&value, &metadata),
                None => "absent".to_owned(),
            },
            ["contains", key] => db.contains(&bytes(key))?.to_string(),
            ["ttl", key] => match db.ttl(&bytes(key))? {
                None => "absent".to_owned(),
                Some(Ttl::Never) => "never".to_owned(),
                Some(Ttl::Remaining(ttl)) => ttl.as_millis().to_string(),
            },
            ["ttl_between", key, min, max] => {
                let ends = number(min)..=number(max);
                matches!(db.ttl(&bytes(key))?, Some(Ttl::Remaining(ttl)) if ends.contains(&ttl.as_millis()))
                    .to_string()
            }
            ["len"] => db.len().to_string(),
            ["set", key, value] => db.set(&bytes(key), &bytes(value)).map(ok)?,
            ["set_with", key, value, condition, when] => {
                let options = SetOptions::new().condition(self.condition(condition)).expiry(expiry(when));
                is_met(db.set_with(&bytes(key), &bytes(value), options)?)
            }
            ["add", key, value] => db.add(&bytes(key), &bytes(value))?.to_string(),
            ["replace", key, value] => db.replace(&bytes(key), &bytes(value))?.to_string(),
            ["compare_and_swap", key, version, value] => {
                is_met(db.compare_and_swap(&bytes(key), self.version(version), &bytes(value))?)
            }
            ["increment", key, by] => db.increment(&bytes(key), number(by))?.to_string(),
            ["expire", key, ms] => db.expire(&bytes(key), Duration::from_millis(number(ms)))?.to_string(),
            ["expire_at", key, ms] => {
                db.expire_at(&bytes(key), UNIX_EPOCH + Duration::from_millis(number(ms)))?.to_string()
            }
            ["touch", key] => db.touch(&bytes(key))?.to_string(),
            ["persist", key] => db.persist(&bytes(key))?.to_string(),
            ["take", key] => found(db.take(&bytes(key))?),
            ["delete", key] => db.delete(&bytes(key))?.to_string(),
            ["get_many", ref keys @ ..] => many(db, Tag::RAW, keys)?,
            ["get_many_as", codec, ref keys @ ..] => many(db, tag(codec), keys)?,
            ["set_many_as", codec, ref pairs @ ..] => {
                let mut batch = Batch::new();
                for pair in pairs.chunks(2) {
                    batch.set_as(bytes(pair[0]), bytes(pair[1]), Expiry::Default, tag(codec));
                }
                db.apply(&batch).map(ok)?
            }
            ["scan_codecs", prefix] => {
                let entries = db.scan(ScanOptions::new().prefix(bytes(prefix)).ordered(true))?;
                let words =
                    entries.map(|entry| entry.map(|entry| format!("{}={}", word(&entry.key), entry.codec)));
                list(words.collect::<Result<_, _>>()?)
            }
            ["set_many", ref pairs @ ..] => {
                let pairs: Vec<_> = pairs.chunks(2).map(|pair| (bytes(pair[0]), bytes(pair[1]))).collect();
                db.set_many(&pairs).map(ok)?
            }
            ["delete_many", ref keys @ ..] => {
                let keys: Vec<_> = keys.iter().map(|key| bytes(key)).collect();
                db.delete_many(&keys)?.to_string()
            }
            ["apply", ref changes @ ..] => {
                let mut batch = Batch::new();
                for change in changes {
                    match change.splitn(4, ':').collect::<Vec<_>>()[..] {
                        ["set", key, value, when] => {
                            batch.set_expiring(bytes(key), bytes(value), expiry(when))
                        }
                        ["delete", key] => batch.delete(bytes(key)),
                        _ => panic!("{change} is no change"),
                    };
                }
                db.apply(&batch).map(ok)?
            }
            ["get_or_load", key, loaded] => load(db, Tag::RAW, key, loaded)?,
            ["get_or_load_as", codec, key, loaded] => load(db, tag(codec), key, loaded)?,
            ["get_or_load_with", key, loaded, ref options @ ..] => {
                let loaded = loaded.to_owned();
                found(db.get_or_load_with(&bytes(key), load_options(options), move || match &*loaded {
                    "!" => Err("it fails"),
                    "-" => Ok(None),
                    loaded => Ok(Some(bytes(loaded))),
                })?)
            }
            ["await", key, answer] => {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    let now =
                        db.get(&bytes(key)).map_or_else(|error| format!("error {}", status(&error)), found);
                    match now == answer {
                        true => break "ok".to_owned(),
                        false if Instant::now() > deadline => break "late".to_owned(),
                        false => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            }
            ["scan", prefix, limit] => {
                entries(db, limit, ScanOptions::new().prefix(bytes(prefix)).ordered(true))?
            }
            ["range", prefix, start, end, limit, how] => {
                let options = ScanOptions::new().prefix(bytes(prefix)).start(bytes(start)).end(bytes(end));
                assert!(["forward", "reverse", "snapshot", "reverse+snapshot"].contains(&how), "{how}");
                let (is_reverse, is_snapshot) = (how.contains("reverse"), how.contains("snapshot"));
                entries(db, limit, options.reverse(is_reverse).snapshot(is_snapshot))?
            }
            ["export", kind, prefix] => {
                let mut text = Vec::new();
                db.export(&mut text, format(kind), ScanOptions::new().prefix(bytes(prefix)).ordered(true))?;
                lines(&text)
            }
            ["import", kind, ref lines @ ..] => {
                db.import(&text(lines)[..], format(kind))?.entries.to_string()
            }
            ["fill", count] => {
                for n in 0..number::<u32>(count) {
                    let sum = n.wrapping_mul(2_654_435_761);
                    let value = format!("name: package-{n}; section: libs; priority: optional; sum: {sum}");
                    db.set(n.to_string().as_bytes(), value.as_bytes())?;
                }
                "ok".to_owned()
            }
            ["set_moment", codec, key, seconds, nanos] => {
                moment_of(codec, db, key, Some((number(seconds), number(nanos))))?
            }
            ["get_moment", codec, key] => moment_of(codec, db, key, None)?,
            ["set_as", codec, key, value] => {
                is_met(db.set_with(&bytes(key), &bytes(value), SetOptions::new().codec(tag(codec)))?)
            }
            ["get_as", codec, key] => found(db.get_as(&bytes(key), tag(codec))?),
            ["take_as", codec, key] => found(db.take_as(&bytes(key), tag(codec))?),
            ["increment_as", codec, key, by] => {
                db.increment_as(&bytes(key), number(by), tag(codec))?.to_string()
            }
            ["codec", key] => db.codec(&bytes(key))?.map_or("absent".to_owned(), |codec| codec.to_string()),
            ["clear"] => db.clear().map(ok)?,
            ["sweep"] => db.sweep().map(ok)?,
            ["sync"] => db.sync().map(ok)?,
            ["compact"] => db.compact().map(ok)?,
            ["now"] => {
                db.check_open()?;
                db.now_ms().to_string()
            }
            ["figure", name] => {
                let figures = db.stats()?.figures();
                figures.iter().find(|(known, _, _)| *known == name).expect("a figure").2.to_string()
            }
            _ => panic!("{words:?} is no operation"),
        })
    }
}

/// Calls of the tier.
#[cfg(feature = "redis")]
fn share(db: &Db, words: &[&str]) -> Result<String, Error> {
    Ok(match *words {
        ["flush"] => db.flush(PATIENCE).map(ok)?,
        ["increment_shared", key, by] => db.increment_shared(&bytes(key), number(by))?.to_string(),
        ["add_shared", key, value, when] => {
            db.add_shared(&bytes(key), &bytes(value), expiry(when))?.to_string()
        }
        ["compare_and_swap_shared", key, expected, value] => {
            let expected = bytes(expected);
            db.compare_and_swap_shared(&bytes(key), Some(&expected), &bytes(value))?.to_string()
        }
        _ => panic!("{words:?} is no operation"),
    })
}

/// What the listener has told, once that is so many.
fn events(told: &Receiver<Event>, count: usize) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut words = Vec::new();
    loop {
        let left = if words.len() < count {
            deadline.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        let Ok(Event { key, value, codec, cause, .. }) = told.recv_timeout(left) else { return list(words) };
        let cause = format!("{cause:?}").to_lowercase();
        words.push(format!("{}={}:{codec}:{cause}", word(&key), word(&value)));
    }
}

/// What there is to tell by now.
fn changes(watch: &mut Watch) -> Result<String, Error> {
    let mut words = Vec::new();
    loop {
        words.push(match watch.next_change(Wait::No) {
            Ok(Some(Change::Put(entry))) => format!("put:{}={}", word(&entry.key), word(&entry.value)),
            Ok(Some(Change::Removed { key, cause, .. })) => {
                format!("removed:{}:{}", word(&key), format!("{cause:?}").to_lowercase())
            }
            Ok(Some(_)) => "cleared".to_owned(),
            Ok(None) => return Ok(list(words)),
            Err(Error::Lagged { .. }) => "lagged".to_owned(),
            Err(error) => return Err(error),
        });
    }
}

fn entries(db: &Db, limit: &str, options: ScanOptions) -> Result<String, Error> {
    let limit = if limit == "0" { usize::MAX } else { number(limit) };
    let words = db.scan(options.limit(limit))?;
    let words = words.map(|entry| entry.map(|entry| word(&entry.key) + "=" + &word(&entry.value)));
    Ok(list(words.collect::<Result<_, _>>()?))
}

fn many(db: &Db, codec: Tag, keys: &[&str]) -> Result<String, Error> {
    let keys: Vec<_> = keys.iter().map(|key| bytes(key)).collect();
    let values = db.get_many_as(&keys, codec)?;
    let words = values.iter().map(|value| value.as_ref().map_or("-".to_owned(), |value| word(value)));
    Ok(list(words.collect()))
}

fn load(db: &Db, codec: Tag, key: &str, loaded: &str) -> Result<String, Error> {
    let value = db.get_or_load(&bytes(key), SetOptions::new().codec(codec), || match loaded {
        "!" => Err("it fails"),
        "-" => Ok(None),
        loaded => Ok(Some(bytes(loaded))),
    })?;
    Ok(found(value))
}
