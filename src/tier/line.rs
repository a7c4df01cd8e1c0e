//! The connection that sends: what it was told, and transactions with the mark.

use super::conn::{encode, Conn, Failure};
use super::listener::{prefix_args, HEARTBEAT};
use super::mark::Mark;
use super::{Ear, Shared};
use redis::Value;
use std::time::{Duration, Instant};

/// How often the server's clock is compared with the store's.
const CLOCK_EVERY: Duration = Duration::from_secs(10);

/// A connection that may send (K1).
pub(super) struct Line {
    pub(super) conn: Conn,
    /// What to add to a time of the store for one of the server that is no later.
    pub(super) ahead_ms: i64,
    clock_read: Instant,
    /// Where changes of others are told.
    told: Option<Ear>,
    answered: Instant,
    /// It has taken changes.
    pub(super) has_served: bool,
    /// The mark is watched for the next transaction (K1).
    pub(super) is_watched: bool,
}

impl Line {
    pub(super) fn over(conn: Conn, shared: &Shared) -> Result<Line, Failure> {
        let now = Instant::now();
        let mut line = Line {
            conn,
            ahead_ms: 0,
            clock_read: now,
            told: None,
            answered: now,
            has_served: false,
            is_watched: false,
        };
        line.read_clock(shared)?;
        Ok(line)
    }

    /// Has changes of others told to who hears, or asks for a sign of life where there was none for long.
    pub(super) fn tend(&mut self, wanted: Option<Ear>, shared: &Shared) -> Result<(), Failure> {
        match wanted {
            Some(ear) if self.told != wanted => {
                if self.told.is_some() {
                    self.conn.ask_ok(&[b"CLIENT", b"TRACKING", b"OFF"])?;
                }
                let id = ear.id.to_string();
                let mut args: Vec<&[u8]> =
                    vec![b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", id.as_bytes(), b"BCAST"];
                args.extend(prefix_args(&shared.options.prefix));
                args.push(b"NOLOOP");
                self.conn.ask_ok(&args)?;
                self.told = wanted;
            }
            _ if self.answered.elapsed() >= HEARTBEAT => {
                let answer = self.conn.ask(&shared.servers.sign_of_life())?;
                shared.servers.check_life(&answer)?;
            }
            // Nothing was asked, so nothing was answered.
            _ => return Ok(()),
        }
        self.answered = Instant::now();
        Ok(())
    }

    pub(super) fn read_old_clock(&mut self, shared: &Shared) -> Result<(), Failure> {
        if self.clock_read.elapsed() > CLOCK_EVERY {
            self.read_clock(shared)?;
        }
        Ok(())
    }

    /// Compares the server's clock with the store's. A deadline that is carried over comes too early, never too late, by what
    /// the answer took.
    fn read_clock(&mut self, shared: &Shared) -> Result<(), Failure> {
        let reply = self.conn.ask(&[b"TIME"])?;
        let now_ms = i64::try_from(shared.store.clock.now_ms()).unwrap_or(i64::MAX);
        let number = |value: &Value| match value {
            Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<i64>().ok(),
            _ => None,
        };
        let time = match &reply {
            Value::Array(parts) => parts.first().and_then(number).zip(parts.get(1).and_then(number)),
            _ => None,
        };
        let (seconds, micros) = time.ok_or_else(|| Failure::unexpected("TIME", &reply))?;
        let server_ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        self.ahead_ms = server_ms.saturating_sub(now_ms);
        self.clock_read = Instant::now();
        Ok(())
    }

    /// Sends `commands`, a MULTI and so many more, as one transaction with the mark, and watches that again (K1). Apart from a
    /// failure of the line comes one that the server answered with.
    pub(super) fn write_with_mark(
        &mut self,
        mut commands: Vec<u8>,
        count: usize,
        key: &[u8],
        mark: &Mark,
    ) -> Result<Result<(), Failure>, Failure> {
        end_with_mark(&mut commands, key, mark);
        let until = self.conn.send(&commands)?;
        self.written(until, count)
    }

    /// What became of a transaction that was sent, with so many commands behind its MULTI and before the mark.
    pub(super) fn written(&mut self, until: Instant, count: usize) -> Result<Result<(), Failure>, Failure> {
        let exec_at = count + 2;
        let mut failed = None;
        // Until the server says that it has not executed a transaction.
        let (mut is_begun, mut is_open) = (false, true);
        let (mut is_executed, mut is_watched) = (false, false);
        self.conn.receive(until, exec_at + 2, 0, |number, reply| {
            match &reply {
                Value::Okay if number == 0 => is_begun = true,
                Value::Okay if number == exec_at + 1 => is_watched = true,
                Value::Array(results) if number == exec_at => {
                    is_executed = !results.iter().any(|result| matches!(result, Value::ServerError(_)));
                }
                Value::Nil | Value::ServerError(_) if number == exec_at => is_open = !is_begun,
                _ => {}
            }
            let refused = match &reply {
                Value::ServerError(_) => Some(Failure::unexpected("a change", &reply)),
                Value::Nil if number == exec_at => {
                    let failure = Failure::new("another connection sends for this store");
                    Some(Failure { is_conflict: true, ..failure })
                }
                Value::Array(results) if number == exec_at => {
                    let error = results.iter().find(|result| matches!(result, Value::ServerError(_)));
                    error.map(|error| Failure::unexpected("a change", error))
                }
                Value::Okay if number != exec_at => None,
                Value::SimpleString(text) if number != exec_at && text == "QUEUED" => None,
                _ => Some(Failure::unexpected("a change", &reply)),
            };
            // The first one says why; the transaction's own error only that there was one.
            failed = failed.take().or(refused);
        })?;
        self.answered = Instant::now();
        self.is_watched = is_watched;
        // What is refused after it is the WATCH alone: the mark's slot may just have moved.
        let failed = failed.filter(|_| !is_executed);
        Ok(failed.map_or(Ok(()), |failure| Err(Failure { is_open, ..failure })))
    }
}

/// Ends a transaction with the mark, and has that watched again (K1).
pub(super) fn end_with_mark(commands: &mut Vec<u8>, key: &[u8], mark: &Mark) {
    encode(commands, &[b"SET", key, &mark.text()]);
    encode(commands, &[b"EXEC"]);
    encode(commands, &[b"WATCH", key]);
}
