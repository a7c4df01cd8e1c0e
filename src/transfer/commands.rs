//! What Redis commands do to a store: those that write strings, and their expiries.

use super::resp::Command;
use super::{Importer, Stop};
use crate::db::{Condition, Entry, Expiry, SetOptions};
use crate::limits::BATCH_BYTES_MAX;
use crate::tag::Tagged;
use crate::texts::Held;
use std::time::{Duration, UNIX_EPOCH};

/// Longest name of a command that is told, in bytes, and how many are told apart.
const NAME_BYTES_MAX: usize = 32;
const NAMES_MAX: usize = 256;
/// Commands between two calls of the progress function, where none of them ends a batch.
const COMMANDS_A_STEP: u64 = 512;

/// The commands of one input, in their order.
pub(super) struct Commands<'i, 'o, 'db> {
    importer: &'i mut Importer<'o, 'db>,
    selected: u32,
    /// Those of a transaction that has begun, and their bytes.
    queue: Option<(Vec<Command>, u64)>,
}

impl<'i, 'o, 'db> Commands<'i, 'o, 'db> {
    pub(super) fn new(importer: &'i mut Importer<'o, 'db>) -> Self {
        Commands { importer, selected: 0, queue: None }
    }

    /// Carries a command out, or keeps it for the end of its transaction.
    pub(super) fn take(&mut self, command: Command) -> Result<(), Stop> {
        if self.importer.untold >= COMMANDS_A_STEP {
            self.importer.step()?;
        }
        self.importer.untold += 1;
        let name = name_of(&command);
        match (&mut self.queue, &name[..]) {
            (None, "MULTI") => self.queue = Some(Default::default()),
            (Some(_), "EXEC") => {
                let (commands, _) = self.queue.take().unwrap_or_default();
                return commands.into_iter().try_for_each(|command| self.carry_out(command));
            }
            (Some(_), "DISCARD") => self.queue = None,
            (Some(_), "MULTI") | (None, "EXEC" | "DISCARD") => {
                return Err(Stop::bad(format!("{name} where no transaction can begin or end")));
            }
            (Some((commands, bytes)), _) => {
                // Each word costs memory of its own beside its bytes.
                *bytes += command.iter().map(|word| word.len() as u64 + 32).sum::<u64>();
                if *bytes > BATCH_BYTES_MAX {
                    return Err(Stop::bad(format!("a transaction of more than {BATCH_BYTES_MAX} bytes")));
                }
                commands.push(command);
            }
            (None, _) => return self.carry_out(command),
        }
        Ok(())
    }

    /// The input is over: so must its last transaction be.
    pub(super) fn end(&self) -> Result<(), Stop> {
        match self.queue {
            Some(_) => Err(Stop::bad("the input ends within a transaction, of which nothing is applied")),
            None => Ok(()),
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Stop> {
        let name = name_of(&command);
        let mut words = command.into_iter().skip(1);
        match &name[..] {
            "SELECT" => {
                self.selected = whole(&words.next().unwrap_or_default())?;
                return Ok(());
            }
            "FLUSHALL" => return self.flush(),
            "PING" | "ECHO" | "AUTH" | "HELLO" => return Ok(()),
            _ if self.selected != self.importer.options.database => {
                self.skip(format!("database {}", self.selected));
                return Ok(());
            }
            "FLUSHDB" => return self.flush(),
            _ => {}
        }
        let words: Command = words.collect();
        let refused = || Stop::bad(format!("{name} of {} words", words.len() + 1));
        match (&name[..], &words[..]) {
            ("SET", [key, value, options @ ..]) => self.set(key, value, options),
            ("SETEX", [key, time, value]) => self.set(key, value, &[b"EX".to_vec(), time.clone()]),
            ("PSETEX", [key, time, value]) => self.set(key, value, &[b"PX".to_vec(), time.clone()]),
            ("GETSET", [key, value]) => self.set(key, value, &[]),
            ("SETNX", [key, value]) => self.set(key, value, &[b"NX".to_vec()]),
            ("MSET", pairs) if is_pairs(pairs) => self.set_pairs(pairs),
            ("MSETNX", pairs) if is_pairs(pairs) => {
                self.importer.apply()?;
                for pair in pairs.chunks_exact(2) {
                    if let [key, _] = pair {
                        if self.importer.db.contains(key)? {
                            return Ok(());
                        }
                    }
                }
                self.set_pairs(pairs)
            }
            ("DEL" | "UNLINK" | "GETDEL", keys) if !keys.is_empty() => {
                keys.iter().try_for_each(|key| Ok(self.importer.delete(key.clone())?))
            }
            ("APPEND", [key, more]) => self.append(key, more),
            ("INCR", [key]) => self.increment(key, 1),
            ("DECR", [key]) => self.increment(key, -1),
            ("INCRBY", [key, by]) => self.increment(key, whole(by)?),
            ("DECRBY", [key, by]) => {
                let by: i64 = whole(by)?;
                self.increment(key, by.checked_neg().ok_or_else(&refused)?)
            }
            ("EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT", [key, time]) => {
                let at_ms = self.deadline_ms(name.trim_start_matches('P'), name.starts_with('P'), time)?;
                self.expire(key, at_ms)
            }
            ("PERSIST", [key]) => {
                self.importer.apply()?;
                self.importer.db.persist(key)?;
                Ok(())
            }
            ("RENAME" | "RENAMENX", [from, to]) => self.rename(from, to, name == "RENAMENX"),
            (
                "SET" | "SETEX" | "PSETEX" | "GETSET" | "SETNX" | "MSET" | "MSETNX" | "DEL" | "UNLINK"
                | "GETDEL" | "APPEND" | "INCR" | "DECR" | "INCRBY" | "DECRBY" | "EXPIRE" | "PEXPIRE"
                | "EXPIREAT" | "PEXPIREAT" | "PERSIST" | "RENAME" | "RENAMENX",
                _,
            ) => Err(refused()),
            _ if self.importer.options.skips_unknown => {
                self.skip(name);
                Ok(())
            }
            _ => Err(Stop::bad(format!("{name}: no command on strings that this import knows"))),
        }
    }

    fn skip(&mut self, name: String) {
        let skipped = &mut self.importer.pending.skipped;
        let is_told = skipped.len() < NAMES_MAX || skipped.contains_key(&name);
        *skipped.entry(if is_told { name } else { "others".into() }).or_default() += 1;
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.importer.apply()?;
        self.importer.db.clear()?;
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: &[Vec<u8>]) -> Result<(), Stop> {
        let (mut condition, mut at_ms, mut keeps) = (Condition::Always, None, false);
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match &name_of(std::slice::from_ref(option))[..] {
                "NX" => condition = Condition::IfAbsent,
                "XX" => condition = Condition::IfPresent,
                "GET" => {}
                "KEEPTTL" => keeps = true,
                unit @ ("EX" | "PX" | "EXAT" | "PXAT") => {
                    let time =
                        options.next().ok_or_else(|| Stop::bad(format!("SET: {unit} without a time")))?;
                    at_ms = Some(self.deadline_ms(unit, unit.starts_with('P'), time)?);
                }
                other => return Err(Stop::bad(format!("SET: option {other} is not known"))),
            }
        }
        if condition == Condition::Always && !keeps {
            return Ok(self.importer.set(key.to_vec(), value.to_vec(), at_ms)?);
        }
        let expiry = match at_ms {
            Some(ms) => Expiry::At(UNIX_EPOCH + Duration::from_millis(ms)),
            None if keeps => Expiry::Keep,
            None => Expiry::Never,
        };
        self.importer.apply()?;
        let options = SetOptions::new().condition(condition).expiry(expiry);
        if self.importer.db.set_with(key, value, options)?.is_some() {
            self.importer.count(key.len() + value.len());
        }
        Ok(())
    }

    fn set_pairs(&mut self, pairs: &[Vec<u8>]) -> Result<(), Stop> {
        for pair in pairs.chunks_exact(2) {
            if let [key, value] = pair {
                self.importer.set(key.clone(), value.clone(), None)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, key: &[u8], more: &[u8]) -> Result<(), Stop> {
        self.importer.apply()?;
        self.importer.db.append(key, more)?;
        self.importer.count(key.len() + more.len());
        Ok(())
    }

    fn increment(&mut self, key: &[u8], by: i64) -> Result<(), Stop> {
        self.importer.apply()?;
        self.importer.db.increment(key, by)?;
        self.importer.count(key.len());
        Ok(())
    }

    fn expire(&mut self, key: &[u8], at_ms: u64) -> Result<(), Stop> {
        self.importer.apply()?;
        self.importer.db.expire_at(key, UNIX_EPOCH + Duration::from_millis(at_ms))?;
        Ok(())
    }

    fn rename(&mut self, from: &[u8], to: &[u8], is_only_absent: bool) -> Result<(), Stop> {
        self.importer.apply()?;
        let db = self.importer.db;
        let Some(entry) = db.entry(from)? else { return Ok(()) };
        if from == to || is_only_absent && db.contains(to)? {
            return Ok(());
        }
        let Entry { value, codec, metadata, expires_at_ms, .. } = entry;
        match self.importer.is_over(expires_at_ms) {
            true => self.importer.delete(to.to_vec())?,
            false => {
                let value = Tagged { value, codec };
                self.importer.put(to.to_vec(), Held { value, expires_at_ms, metadata })?;
            }
        }
        Ok(self.importer.delete(from.to_vec())?)
    }

    /// A deadline in Unix milliseconds, of a command or option whose name ends with AT where it is one already.
    fn deadline_ms(&self, name: &str, is_ms: bool, time: &[u8]) -> Result<u64, Stop> {
        let time: i64 = whole(time)?;
        let ms = if is_ms { Some(time) } else { time.checked_mul(1000) };
        let now_ms = i64::try_from(self.importer.db.now_ms()).unwrap_or(i64::MAX);
        let at_ms = match name.ends_with("AT") {
            true => ms,
            false => ms.and_then(|ms| ms.checked_add(now_ms)),
        };
        let at_ms = at_ms.ok_or_else(|| Stop::bad(format!("a time of {time} is too large")))?;
        // Before 1970 it was over too.
        Ok(u64::try_from(at_ms).unwrap_or(0))
    }
}

fn is_pairs(words: &[Vec<u8>]) -> bool {
    !words.is_empty() && words.len() % 2 == 0
}

/// The name of a command in capitals, as far as it is told.
fn name_of(words: &[Vec<u8>]) -> String {
    let name = words.first().map(Vec::as_slice).unwrap_or_default();
    let name = name.get(..NAME_BYTES_MAX.min(name.len())).unwrap_or_default();
    name.escape_ascii().to_string().to_ascii_uppercase()
}

fn whole<T: std::str::FromStr>(word: &[u8]) -> Result<T, Stop> {
    let number = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        let word = word.get(..NAME_BYTES_MAX.min(word.len())).unwrap_or_default();
        Stop::bad(format!("\"{}\" is no number that fits", word.escape_ascii()))
    })
}
