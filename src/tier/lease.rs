//! Leases: which of all processes loads a key. A key beside the entries that ends by itself, and that its holder alone removes.

use super::backoff::Backoff;
use super::conn::{encode, moment_after, Conn, Failure};
use super::mark::lease_key;
use super::{tier_error, Part, Shared};
use crate::error::{Error, Result};
use crate::io::random_u64;
use redis::Value;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections for leases. Who finds them all at work waits for one.
const CONNS_MAX: usize = 4;
/// Longest pause between two looks for the value that a holder brings.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// Connections for leases, lent to who asks.
pub(super) struct Conns {
    pool: Mutex<Pool>,
    free: Condvar,
}

struct Pool {
    idle: Vec<Conn>,
    /// Lent, or being made.
    lent: usize,
    /// The circuit is open until then, and why.
    refused: Option<(Instant, Failure)>,
    backoff: Backoff,
}

impl Conns {
    pub(super) fn new(backoff_max: Duration) -> Conns {
        let (idle, backoff) = (Vec::new(), Backoff::new(backoff_max));
        Conns { pool: Mutex::new(Pool { idle, lent: 0, refused: None, backoff }), free: Condvar::new() }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to one connection, and perhaps one that stands.
    fn lend(&self, shared: &Shared) -> std::result::Result<Option<Conn>, Failure> {
        let until = moment_after(shared.options.timeout);
        let mut pool = self.pool();
        loop {
            if let Some((_, why)) = pool.refused.as_ref().filter(|(at, _)| Instant::now() < *at) {
                return Err(why.clone());
            }
            if pool.lent < CONNS_MAX {
                pool.lent += 1;
                return Ok(pool.idle.pop());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || shared.is_stopping() {
                return Err(Failure::new("no answer in time"));
            }
            pool = self.free.wait_timeout(pool, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes it back; a failure opens the circuit.
    fn take_back(&self, used: std::result::Result<Conn, Failure>) -> std::result::Result<(), Failure> {
        let mut pool = self.pool();
        pool.lent -= 1;
        let used = match used {
            Ok(conn) => {
                pool.idle.push(conn);
                pool.refused = None;
                pool.backoff.reset();
                Ok(())
            }
            Err(failure) => {
                // A server that refuses something answers. Otherwise all lead to the one that does not.
                if failure.code.is_none() {
                    pool.idle.clear();
                    pool.refused = Some((moment_after(pool.backoff.pause()), failure.clone()));
                }
                Err(failure)
            }
        };
        drop(pool);
        self.free.notify_all();
        used
    }
}

/// A lease of a key, given back when it goes.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    name: Vec<u8>,
    token: Vec<u8>,
}

/// Waits with growing pauses for what somebody else does.
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    until: Instant,
    backoff: Backoff,
}

impl Waiting {
    /// Waits a while; `false` when there is no time left.
    pub(crate) fn pause(&mut self) -> Result<bool> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        self.shared.pause(self.backoff.pause().min(left));
        match self.shared.is_stopping() {
            true => Err(Error::Closed),
            false => Ok(true),
        }
    }
}

impl Part {
    pub(crate) fn waiting(&self, time: Duration) -> Waiting {
        let shared = Arc::clone(&self.shared);
        Waiting { shared, until: moment_after(time), backoff: Backoff::new(LOOK_UP_EVERY) }
    }

    /// Takes the lease of a key for `time`; `None` while somebody else has it.
    pub(crate) fn try_lease(&self, key: &[u8], time: Duration) -> Result<Option<Lease>> {
        let shared = &self.shared;
        let name = lease_key(&shared.options.prefix, key);
        let token = format!("{:016x}{:016x}", random_u64(), random_u64()).into_bytes();
        let time_ms = time.as_millis().max(1).to_string();
        let mut commands = Vec::new();
        encode(&mut commands, &[b"SET", &name, &token, b"NX", b"PX", time_ms.as_bytes()]);
        // Tells also whether one that was sent twice took it the first time.
        encode(&mut commands, &[b"GET", &name]);
        let (mut refused, mut holder) = (None, None);
        shared
            .ask_of_lease(|conn| {
                (refused, holder) = (None, None);
                conn.exchange(&commands, 2, 0, |number, reply| match reply {
                    Value::Okay | Value::Nil if number == 0 => {}
                    Value::BulkString(found) if number == 1 => holder = Some(found),
                    Value::Nil => {}
                    other => drop(refused.get_or_insert(Failure::unexpected("a lease", &other))),
                })
            })
            .map_err(|failure| tier_error(&failure))?;
        // A Redis that takes none has nobody hold one.
        if let Some(failure) = refused {
            return Err(tier_error(&failure));
        }
        let is_ours = holder.is_some_and(|holder| holder == token);
        Ok(is_ours.then(|| Lease { shared: Arc::clone(shared), name, token }))
    }

    /// Waits until Redis has acknowledged the change at `lsn`, or fails.
    pub(crate) fn wait_acknowledged(&self, lsn: u64) -> Result<()> {
        if !self.shared.store.has_outbox() {
            return Ok(());
        }
        self.wake();
        self.wait_sent(lsn, moment_after(self.shared.options.timeout), true)
    }
}

impl Shared {
    /// Does something on a connection for leases; twice where the server had closed it meanwhile. At once where Redis is known
    /// not to answer, and else within the timeout for a connection and that of the question.
    fn ask_of_lease(
        &self,
        ask: impl FnMut(&mut Conn) -> std::result::Result<(), Failure>,
    ) -> std::result::Result<(), Failure> {
        self.fetches.check_open()?;
        let kept = self.leases.lend(self)?;
        self.leases.take_back(self.ask_on_lent(kept, ask))
    }

    fn ask_on_lent(
        &self,
        kept: Option<Conn>,
        mut ask: impl FnMut(&mut Conn) -> std::result::Result<(), Failure>,
    ) -> std::result::Result<Conn, Failure> {
        if let Some(mut conn) = kept.filter(|conn| self.servers.is_current(conn)) {
            match ask(&mut conn) {
                Err(failure) if failure.is_cut => {}
                asked => return asked.map(|()| conn),
            }
        }
        let mut conn = self.connect()?;
        ask(&mut conn).map(|()| conn)
    }
}

impl Lease {
    /// Removes it if it is still this one: its time may be over, and another's begun.
    fn give_back(&self, conn: &mut Conn) -> std::result::Result<(), Failure> {
        conn.ask_ok(&[b"WATCH", &self.name])?;
        let mut commands = Vec::new();
        match conn.ask(&[b"GET", &self.name])? {
            Value::BulkString(holder) if holder == self.token => {
                encode(&mut commands, &[b"MULTI"]);
                encode(&mut commands, &[b"DEL", &self.name]);
                encode(&mut commands, &[b"EXEC"]);
                conn.exchange(&commands, 3, 0, |_, _| {})
            }
            _ => conn.ask_ok(&[b"UNWATCH"]),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // One that cannot be given back ends by itself.
        let _ = self.shared.ask_of_lease(|conn| self.give_back(conn));
    }
}
