//! Sockets to a server. None is waited for longer than its deadline, nor when the store ends.

use super::conn::{next_look, Failure};
use super::names::Names;
use crate::io::wait_writable;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A server that hangs lets the queue of those who connect fill, and then `connect` would wait for as long as it hangs.
pub(super) fn connect_unix(path: &Path) -> Result<UnixStream, Failure> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// By `until`, to the first address of the host that takes the connection; each has an equal share of the time that is left when the
/// name was looked up.
pub(super) fn connect(
    names: &Names,
    (host, port): (&str, u16),
    until: Instant,
    stopping: &AtomicBool,
) -> Result<TcpStream, Failure> {
    let mut failed = Failure::new(format!("{host}: no address"));
    let addresses = names.addresses(host, port, until, stopping)?;
    for (left, address) in (1..=addresses.len()).rev().zip(&addresses) {
        let now = Instant::now();
        let share = until.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX);
        match connect_to(address, now + share, stopping) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = Failure::new(format!("connect to {address}: {error}")),
        }
    }
    Err(failed)
}

fn connect_to(address: &SocketAddr, until: Instant, stopping: &AtomicBool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&(*address).into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => while !wait_writable(socket.as_fd(), next_look(until, stopping)?)? {},
    }
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.set_nonblocking(false)?;
    socket.set_tcp_nodelay(true)?;
    Ok(TcpStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_server_that_accepts_nobody_is_a_failure_and_not_a_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("full");
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        full.listen(0).unwrap();
        let _first = connect_unix(&path).unwrap();
        assert_eq!(connect_unix(&path).map(drop), Err(Failure::new("no answer in time")));
    }

    #[test]
    fn an_address_that_answers_nothing_is_waited_for_until_the_deadline_or_the_end_of_the_store() {
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let soon = || Instant::now() + Duration::from_millis(50);
        let running = AtomicBool::new(false);
        let _queue: Vec<_> =
            std::iter::from_fn(|| connect_to(&address, soon(), &running).ok()).take(1000).collect();
        let late = connect_to(&address, soon(), &running).map(drop).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let never = Instant::now() + Duration::from_secs(24 * 60 * 60);
        let ended = connect_to(&address, never, &AtomicBool::new(true)).map(drop).unwrap_err();
        assert!(ended.to_string().contains("closed"), "{ended}");
        drop(full);
        assert!(connect_to(&address, never, &running).is_err(), "nobody listens there any more");
    }
}
