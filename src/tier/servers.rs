//! Which server to talk to: the one that was named, the master that sentinels name, or the node of a cluster that has the slot.
//!
//! It is found anew for each connection. What was found is not remembered but as where to begin, so that nothing has to notice that
//! it is out of date: a server that fails, or says that it is not the one, costs its connection, and that the next one is found.
//!
//! - **C1** A connection is used only if its server said, on it, that it is a master (Sentinel) or has the slot (cluster). One that
//!   says so wrongly, as one that others have given up already, is found out by the mark when the right one is met (K3).
//! - **C2** In a cluster all keys of a part and its mark are in one slot, as its prefix has a hash tag. So K1 to K3 hold, as a
//!   transaction does: the mark moves with the slot, and what an earlier connection had under way at the node before is refused
//!   there, or, should the slot come back, ended by its WATCH, which the move has touched.
//! - **C3** Copies are kept of what was said by the server whose changes are heard, as only there something is said when they grow
//!   old.
//! - **C4** A connection is used only as long as its server is the one that was found last: whoever finds another one has all others
//!   look again. Else one that stands would go on with a server that has another name by now, or is none of ours any more.

use super::conn::{moment_after, says_replica, Conn, Failure, Login, Peer};
use super::names::Names;
use super::Shared;
use crate::tier_options::{Address, Place, Server, TierOptions, Way};
use redis::Value;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Nodes that may send one on to the next before that is taken for a cluster at odds with itself.
const HOPS_MAX: usize = 4;

/// Timeouts that finding the server may take.
const FINDING: u32 = 2;

/// Number of a server among those that a store has met. One that starts again has it still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServerId(usize);

#[derive(Default)]
struct Met {
    addresses: Vec<Address>,
    /// The sentinel that knew the master, or the node that had the slot.
    first: Option<Address>,
    /// Found last (C4).
    current: ServerId,
}

pub(super) struct Servers {
    server: Server,
    mark_key: Vec<u8>,
    names: Names,
    met: Mutex<Met>,
}

/// What it takes to connect.
struct Caller<'a> {
    options: &'a TierOptions,
    stopping: &'a Arc<AtomicBool>,
    way: &'a Way,
    names: &'a Names,
    /// When the next one has its turn.
    until: Instant,
}

impl Caller<'_> {
    fn open(&self, peer: Peer<'_>) -> Result<Conn, Failure> {
        let login = Login {
            username: self.options.username.as_deref(),
            password: self.options.password.as_deref(),
            database: self.options.database.unwrap_or(0),
        };
        self.open_as(peer, &login)
    }

    fn open_as(&self, peer: Peer<'_>, login: &Login<'_>) -> Result<Conn, Failure> {
        Conn::open(peer, login, (self.options.timeout, self.until), self.stopping)
    }

    fn reach(&self, address: &Address) -> Result<Conn, Failure> {
        self.open(Peer::Net(address, self.way, self.names)).map_err(|failure| failure.at(address))
    }
}

impl Servers {
    pub(super) fn new(server: Server, mark_key: Vec<u8>) -> Servers {
        Servers { server, mark_key, names: Names::default(), met: Mutex::default() }
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self, address: &Address) -> ServerId {
        let mut met = self.met();
        let known = met.addresses.iter().position(|known| known == address);
        ServerId(known.unwrap_or_else(|| {
            met.addresses.push(address.clone());
            met.addresses.len() - 1
        }))
    }

    /// Whether nobody has found another server since (C4).
    pub(super) fn is_current(&self, conn: &Conn) -> bool {
        self.met().current == conn.server()
    }

    /// Connects to the server that decides, within `FINDING` timeouts however many are asked.
    fn connect(
        &self,
        options: &TierOptions,
        stopping: &Arc<AtomicBool>,
    ) -> Result<(Conn, ServerId), Failure> {
        let until = moment_after(options.timeout.saturating_mul(FINDING));
        let mut caller = Caller { options, stopping, way: &self.server.way, names: &self.names, until };
        match &self.server.place {
            Place::Unix(path) => Ok((caller.open(Peer::Unix(path))?, ServerId(0))),
            Place::One(address) => {
                Ok((caller.open(Peer::Net(address, caller.way, caller.names))?, ServerId(0)))
            }
            Place::Sentinels { addresses, service, username, password } => {
                let login =
                    Login { username: username.as_deref(), password: password.as_deref(), database: 0 };
                self.try_each(addresses, until, |sentinel, until| {
                    caller.until = until;
                    let master = ask_sentinel(&caller, &login, sentinel, service)
                        .map_err(|failure| failure.at(sentinel))?;
                    let conn = caller.reach(&master)?;
                    match conn.is_replica() {
                        true => Err(Failure::new("not a master").at(&master)),
                        false => Ok((conn, self.id(&master), sentinel.clone())),
                    }
                })
            }
            Place::Cluster(addresses) => self.try_each(addresses, until, |node, until| {
                caller.until = until;
                self.follow(&caller, node.clone())
            }),
        }
    }

    /// The one that was right last time, then all in turn, each with an equal share of the time that is left. What `attempt` gives
    /// last is where to begin next time.
    fn try_each(
        &self,
        addresses: &[Address],
        until: Instant,
        mut attempt: impl FnMut(&Address, Instant) -> Result<(Conn, ServerId, Address), Failure>,
    ) -> Result<(Conn, ServerId), Failure> {
        let first = self.met().first.clone();
        let others = addresses.iter().filter(|address| Some(*address) != first.as_ref());
        let all: Vec<&Address> = first.iter().chain(others).collect();
        let mut failed: Option<Failure> = None;
        for (left, address) in (1..=all.len() as u32).rev().zip(all) {
            let now = Instant::now();
            match attempt(address, now + until.saturating_duration_since(now) / left) {
                Ok((conn, id, right)) => {
                    self.met().first = Some(right);
                    return Ok((conn, id));
                }
                Err(failure) => failed = Some(failed.map_or(failure.clone(), |all| all.and(&failure))),
            }
        }
        Err(failed.unwrap_or_else(|| Failure::new("no server is named")))
    }

    /// Goes from node to node until one says that it has the slot.
    fn follow(&self, caller: &Caller<'_>, node: Address) -> Result<(Conn, ServerId, Address), Failure> {
        let mut node = node;
        for _ in 0..HOPS_MAX {
            let mut conn = caller.reach(&node)?;
            let answer = conn.ask(&[b"EXISTS", &self.mark_key])?;
            if matches!(answer, Value::Int(_)) {
                return Ok((conn, self.id(&node), node));
            }
            let failure = Failure::unexpected("EXISTS", &answer);
            match &failure.moved {
                // It has the slot, and is giving it away.
                _ if failure.is("ASK") => return Ok((conn, self.id(&node), node)),
                Some(moved) => node = redirected(moved, &node).ok_or_else(|| failure.at(&node))?,
                None => return Err(failure.at(&node)),
            }
        }
        Err(Failure::new("the nodes of the cluster send one from each to the next").at(&node))
    }

    /// Connects to the node that is taking the slot over, for keys that the one that has it (`from`) has given away.
    fn connect_taker(
        &self,
        options: &TierOptions,
        stopping: &Arc<AtomicBool>,
        from: ServerId,
        moved: &str,
    ) -> Result<(Conn, ServerId), Failure> {
        let Some(from) = self.met().addresses.get(from.0).cloned() else {
            return Err(Failure::new("sent on by a server that is no cluster's"));
        };
        let until = moment_after(options.timeout.saturating_mul(FINDING));
        let caller = Caller { options, stopping, way: &self.server.way, names: &self.names, until };
        let node = redirected(moved, &from).ok_or_else(|| Failure::new("sent on to nowhere").at(&from))?;
        Ok((caller.reach(&node)?, self.id(&node)))
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.server.place, Place::Cluster(_))
    }

    /// What to ask a server for a sign that it lives and is still the right one.
    pub(super) fn sign_of_life(&self) -> Vec<&[u8]> {
        match &self.server.place {
            Place::Cluster(_) => vec![b"EXISTS", &self.mark_key],
            // What greets says its role; to ask for that alone needs a right that who connects need not have.
            Place::Sentinels { .. } => vec![b"HELLO", b"3"],
            Place::One(_) | Place::Unix(_) => vec![b"PING"],
        }
    }

    /// Fails if what a server answered to that is none.
    pub(super) fn check_life(&self, answer: &Value) -> Result<(), Failure> {
        match answer {
            Value::ServerError(_) => Err(Failure::unexpected("a sign of life", answer)),
            Value::Map(facts) if says_replica(facts) => Err(Failure::new("it is no master any more")),
            _ => Ok(()),
        }
    }

    /// Whether a server may become another one's replica and go on to answer who only reads.
    pub(super) fn are_demoted(&self) -> bool {
        matches!(self.server.place, Place::Sentinels { .. })
    }
}

impl Shared {
    pub(super) fn connect(&self) -> Result<Conn, Failure> {
        let (conn, id) = self.servers.connect(&self.options, &self.stopping)?;
        self.servers.met().current = id;
        Ok(conn.ready(id))
    }

    /// As `Servers::connect_taker`.
    pub(super) fn connect_taker(&self, from: ServerId, moved: &str) -> Result<Conn, Failure> {
        let (conn, id) = self.servers.connect_taker(&self.options, &self.stopping, from, moved)?;
        Ok(conn.ready(id).asking())
    }

    /// Whether changes at the server of a connection are heard, or none at all are to be (C3).
    pub(super) fn is_heard(&self, conn: &Conn) -> bool {
        let is_same = || self.wanted().is_none_or(|ear| ear.server == conn.server());
        self.options.fresh.is_none() || (!conn.is_asking() && is_same())
    }

    pub(super) fn check_heard(&self, conn: &Conn) -> Result<(), Failure> {
        match self.is_heard(conn) {
            true => Ok(()),
            false => Err(Failure::new("changes are heard of another server than the one asked")),
        }
    }
}

/// The address in the answer of a node that sends one on: `SLOT HOST:PORT`, the host empty if it is its own.
fn redirected(moved: &str, from: &Address) -> Option<Address> {
    let (_, address) = moved.rsplit_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() { &from.host } else { host };
    Some(Address { host: host.into(), port: port.parse().ok()? })
}

/// Where the master of a service is, as far as a sentinel knows.
fn ask_sentinel(
    caller: &Caller<'_>,
    login: &Login<'_>,
    sentinel: &Address,
    service: &str,
) -> Result<Address, Failure> {
    let peer = Peer::Net(sentinel, caller.way, caller.names);
    let mut conn = caller.open_as(peer, login)?;
    let answer = conn.ask(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.as_bytes()])?;
    let text = |value: &Value| match value {
        Value::BulkString(text) => String::from_utf8(text.clone()).ok(),
        _ => None,
    };
    match &answer {
        Value::Array(parts) => {
            let host = parts.first().and_then(text);
            let port = parts.get(1).and_then(text).and_then(|port| port.parse().ok());
            host.zip(port).map(|(host, port)| Address { host, port })
        }
        Value::Nil => return Err(Failure::new(format!("the sentinel knows no service {service}"))),
        _ => None,
    }
    .ok_or_else(|| Failure::unexpected("SENTINEL", &answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_node_sends_one_is_read_as_redis_says_it() {
        let from = Address { host: "here".into(), port: 1 };
        let read = |text: &str| redirected(text, &from).map(|address| address.to_string());
        assert_eq!(read("3999 127.0.0.1:6381").as_deref(), Some("127.0.0.1:6381"));
        assert_eq!(read("3999 ::1:6381").as_deref(), Some("[::1]:6381"));
        assert_eq!(read("3999 :6381").as_deref(), Some("here:6381"));
        for text in ["", "3999", "3999 host", "3999 host:x", "3999 host:70000"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
