//! One connection to a Redis server. Each exchange has a deadline of its own and a bound on what it takes from the server: a
//! server that hangs, sends a byte a second, or claims a reply of gigabytes costs no more than that.
//!
//! The crate `redis` reads URLs and replies. Its own blocking connection is not used: it bounds each read of the socket, not the
//! reply, and after a failed read it goes on to read what is left of a pipeline, a timeout each.

use super::connect::{connect, connect_unix};
use super::names::Names;
use super::servers::ServerId;
use crate::tier_options::{Address, Way};
use redis::{Parser, RedisError, Value};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that a reply may take beside the values asked for.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// The same of a message that was not asked for: it may name many keys.
const HEARD_BYTES_MAX: usize = 64 << 20;
/// What a slow line must manage, in bytes a second: large values get more time than small ones.
const LINE_BYTES_PER_SECOND: usize = 4 << 20;
/// Bytes written at once: for more, the kernel makes buffers of a unix socket of pages that are not in the caches (measured: half as
/// fast).
const WRITE_BYTES: usize = 32 << 10;
/// What is added to the deadline of an exchange when it has passed.
const LATE: Duration = Duration::from_millis(10);
/// How long a store that ends waits at most for a server that does not answer.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// The moment after `wait`; one that never comes for waits that have no end.
pub(super) fn moment_after(wait: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + LONG)
}

/// How long to wait for a server until it is looked again whether the store ends.
pub(super) fn next_look(until: Instant, stopping: &AtomicBool) -> io::Result<Duration> {
    // Acquire: pairs with the Release in `Part::begin_stop`.
    if stopping.load(Ordering::Acquire) {
        return Err(io::Error::other("the store is closed"));
    }
    let left = until.saturating_duration_since(Instant::now());
    if left < Duration::from_micros(1) {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left.min(LOOK_UP_EVERY))
}

/// Why an exchange failed. The connection is not used again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// The server's error code, if it answered with one.
    pub(super) code: Option<String>,
    /// The connection broke: nothing was said, nor was anything waited for in vain.
    pub(super) is_cut: bool,
    /// A reply is larger than what was asked for.
    pub(super) is_too_large: bool,
    /// A transaction was not executed, because somebody else changed what was watched.
    pub(super) is_conflict: bool,
    /// A transaction may have been executed all the same.
    pub(super) is_open: bool,
    /// Where a node of a cluster says that the slot is, or is going.
    pub(super) moved: Option<String>,
}

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), ..Failure::default() }
    }

    pub(super) fn unexpected(what: &str, found: &Value) -> Failure {
        match found {
            Value::ServerError(error) => Failure {
                reason: format!("{what}: {} {}", error.code(), error.details().unwrap_or_default()),
                code: Some(error.code().into()),
                moved: error.details().filter(|_| matches!(error.code(), "MOVED" | "ASK")).map(Into::into),
                ..Failure::default()
            },
            _ => Failure::new(format!("{what}: a reply of another kind than asked for")),
        }
    }

    /// Whether the server answered with this error code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The same, and whose it was.
    pub(super) fn at(&self, address: &Address) -> Failure {
        Failure { reason: format!("{address}: {}", self.reason), ..self.clone() }
    }

    /// This one, and another one beside it.
    pub(super) fn and(&self, other: &Failure) -> Failure {
        Failure { reason: format!("{}; {}", self.reason, other.reason), ..other.clone() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::new("no answer in time"),
            _ => Failure { is_cut: true, ..Failure::new(error.to_string()) },
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    #[cfg(feature = "redis-tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    fn set_timeout(&self, left: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => {
                socket.set_read_timeout(Some(left))?;
                socket.set_write_timeout(Some(left))
            }
            #[cfg(feature = "redis-tls")]
            Stream::Tls(stream) => {
                stream.sock.set_read_timeout(Some(left))?;
                stream.sock.set_write_timeout(Some(left))
            }
            Stream::Unix(socket) => {
                socket.set_read_timeout(Some(left))?;
                socket.set_write_timeout(Some(left))
            }
        }
    }
}

/// A socket under a deadline and a bound on what is read.
struct Bounded<'s> {
    stream: &'s mut Stream,
    stopping: &'s AtomicBool,
    until: Instant,
    bytes_left: usize,
    /// No time is added to the deadline any more.
    is_late: bool,
}

impl Bounded<'_> {
    fn arm(&mut self) -> io::Result<()> {
        if !self.is_late && Instant::now() >= self.until {
            // For what came in time: it may be this thread that did not.
            (self.until, self.is_late) = (moment_after(LATE), true);
        }
        let left = next_look(self.until, self.stopping)?;
        self.stream.set_timeout(left)
    }

    /// Does something to the socket until it is done, or the deadline has come, or the store ends.
    fn attempt(&mut self, mut act: impl FnMut(&mut Stream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            self.arm()?;
            match act(self.stream) {
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                result => return result,
            }
        }
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.bytes_left == 0 {
            return Err(io::Error::other("the reply is larger than what was asked for"));
        }
        let len = to.len().min(self.bytes_left);
        let to = to.get_mut(..len).unwrap_or_default();
        let read = self.attempt(|stream| match stream {
            Stream::Tcp(socket) => socket.read(to),
            #[cfg(feature = "redis-tls")]
            Stream::Tls(stream) => stream.read(to),
            Stream::Unix(socket) => socket.read(to),
        })?;
        self.bytes_left -= read;
        Ok(read)
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let from = from.get(..WRITE_BYTES).unwrap_or(from);
        self.attempt(|stream| match stream {
            Stream::Tcp(socket) => socket.write(from),
            // What is left of it in the session goes with the next read or write.
            #[cfg(feature = "redis-tls")]
            Stream::Tls(stream) => stream.write(from),
            Stream::Unix(socket) => socket.write(from),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a command in Redis' own encoding.
pub(super) fn encode(to: &mut Vec<u8>, args: &[&[u8]]) {
    append_head(to, args.len());
    args.iter().for_each(|arg| append_arg(to, arg));
}

/// Begins a command of so many arguments, its name among them.
pub(super) fn append_head(to: &mut Vec<u8>, args: usize) {
    // Writing to a vector cannot fail.
    let _ = write!(to, "*{args}\r\n");
}

pub(super) fn append_arg(to: &mut Vec<u8>, arg: &[u8]) {
    append_arg_of(to, &[arg]);
}

/// Appends one argument that stands in several pieces.
pub(super) fn append_arg_of(to: &mut Vec<u8>, pieces: &[&[u8]]) {
    let _ = write!(to, "${}\r\n", pieces.iter().map(|piece| piece.len()).sum::<usize>());
    pieces.iter().for_each(|piece| to.extend_from_slice(piece));
    to.extend_from_slice(b"\r\n");
}

/// Whom to connect to.
pub(super) enum Peer<'a> {
    Unix(&'a Path),
    Net(&'a Address, &'a Way, &'a Names),
}

/// Who connects.
pub(super) struct Login<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) database: i64,
}

pub(super) struct Conn {
    stream: Stream,
    parser: Parser,
    timeout: Duration,
    /// By when it is to be ready.
    ready_by: Option<Instant>,
    /// The store ends: nobody waits for an answer any more.
    stopping: Arc<AtomicBool>,
    server: ServerId,
    /// The server followed another one when it was connected to.
    is_replica: bool,
    /// The server is asked for keys of a slot that it is only about to have.
    is_asking: bool,
}

impl Conn {
    fn over(stream: Stream, timeout: Duration, stopping: Arc<AtomicBool>) -> Conn {
        let server = ServerId::default();
        Conn {
            stream,
            parser: Parser::new(),
            timeout,
            ready_by: None,
            stopping,
            server,
            is_replica: false,
            is_asking: false,
        }
    }

    /// Connects, authenticates and chooses the database, by a moment that holds for what is asked next too, until it is `ready`.
    pub(super) fn open(
        peer: Peer<'_>,
        login: &Login<'_>,
        (timeout, ready_by): (Duration, Instant),
        stopping: &Arc<AtomicBool>,
    ) -> Result<Conn, Failure> {
        // Acquire: pairs with the Release in `Tier::stop`.
        if stopping.load(Ordering::Acquire) {
            return Err(Failure::new("the store is closed"));
        }
        let until = ready_by.min(moment_after(timeout));
        let stream = match peer {
            Peer::Unix(path) => Stream::Unix(connect_unix(path)?),
            Peer::Net(Address { host, port }, Way::Plain, names) => {
                Stream::Tcp(connect(names, (host, *port), until, stopping)?)
            }
            // Hands are shaken with the first exchange, under its deadline.
            #[cfg(feature = "redis-tls")]
            Peer::Net(Address { host, port }, Way::Tls(tls), names) => {
                let session = tls.session(host).map_err(Failure::new)?;
                let socket = connect(names, (host, *port), until, stopping)?;
                Stream::Tls(Box::new(rustls::StreamOwned::new(session, socket)))
            }
        };
        let mut conn = Conn::over(stream, timeout, Arc::clone(stopping));
        conn.ready_by = Some(ready_by);
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = login.password {
            let user = login.username.unwrap_or("default");
            hello.extend([b"AUTH", user.as_bytes(), password.as_bytes()]);
        }
        let greeting = conn.ask(&hello)?;
        let Value::Map(facts) = &greeting else { return Err(Failure::unexpected("HELLO", &greeting)) };
        conn.is_replica = says_replica(facts);
        if login.database != 0 {
            conn.ask_ok(&[b"SELECT", login.database.to_string().as_bytes()])?;
        }
        Ok(conn)
    }

    pub(super) fn is_replica(&self) -> bool {
        self.is_replica
    }

    /// It was found, as this server, and has its time for each exchange from here on.
    pub(super) fn ready(self, server: ServerId) -> Conn {
        Conn { server, ready_by: None, ..self }
    }

    pub(super) fn server(&self) -> ServerId {
        self.server
    }

    /// For keys of a slot that the server is only about to have.
    pub(super) fn asking(self) -> Conn {
        Conn { is_asking: true, ..self }
    }

    pub(super) fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// Sends one command and returns its reply.
    pub(super) fn ask(&mut self, args: &[&[u8]]) -> Result<Value, Failure> {
        let mut commands = Vec::new();
        encode(&mut commands, args);
        let mut reply = Value::Nil;
        self.exchange(&commands, 1, 0, |_, value| reply = value)?;
        Ok(reply)
    }

    /// As `ask`, for a command that says OK.
    pub(super) fn ask_ok(&mut self, args: &[&[u8]]) -> Result<(), Failure> {
        let name = args.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
        match self.ask(args)? {
            Value::Okay => Ok(()),
            other => Err(Failure::unexpected(&name, &other)),
        }
    }

    /// Sends encoded commands and gives their `replies` replies, by number, to `take`. Of each reply up to `value_bytes` are
    /// taken beside a little.
    pub(super) fn exchange(
        &mut self,
        commands: &[u8],
        replies: usize,
        value_bytes: usize,
        take: impl FnMut(usize, Value),
    ) -> Result<(), Failure> {
        let until = self.send(commands)?;
        self.receive(until, replies, value_bytes, take)
    }

    /// Sends encoded commands. Their replies are `receive`d, before anything else is sent. Gives the deadline of both together.
    pub(super) fn send(&mut self, commands: &[u8]) -> Result<Instant, Failure> {
        let until = self.deadline(commands.len());
        self.line(until, 0).0.write_all(commands)?;
        Ok(until)
    }

    /// The replies to what was `send`, as in `exchange`.
    pub(super) fn receive(
        &mut self,
        mut until: Instant,
        replies: usize,
        value_bytes: usize,
        mut take: impl FnMut(usize, Value),
    ) -> Result<(), Failure> {
        let mut is_late = false;
        for number in 0..replies {
            let value = loop {
                match self.reply(&mut until, &mut is_late, value_bytes)? {
                    // Nothing was asked for on this connection.
                    Value::Push { .. } => {}
                    value => break value,
                }
            };
            take(number, value);
        }
        Ok(())
    }

    /// Sends a command whose reply is `hear`d among what else comes.
    pub(super) fn say(&mut self, args: &[&[u8]]) -> Result<(), Failure> {
        let mut command = Vec::new();
        encode(&mut command, args);
        self.send(&command).map(drop)
    }

    /// What the server says next, asked or not; `None` if it says nothing for so long. What has come of it by then is kept.
    pub(super) fn hear(&mut self, wait: Duration) -> Result<Option<Value>, Failure> {
        let (mut line, parser) = self.line(moment_after(wait), HEARD_BYTES_MAX);
        match parser.parse_value(&mut line) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(unreadable(&error)),
        }
    }

    pub(super) fn deadline(&self, bytes: usize) -> Instant {
        let until = moment_after(self.timeout.saturating_add(line_time(bytes)));
        self.ready_by.map_or(until, |ready_by| until.min(ready_by))
    }

    fn line(&mut self, until: Instant, bytes_left: usize) -> (Bounded<'_>, &mut Parser) {
        let (stream, stopping) = (&mut self.stream, &*self.stopping);
        (Bounded { stream, stopping, until, bytes_left, is_late: true }, &mut self.parser)
    }

    /// One reply. What has come of it moves the deadline as a slow line would need: else many large values that are asked for at
    /// once could never be had.
    fn reply(
        &mut self,
        until: &mut Instant,
        is_late: &mut bool,
        value_bytes: usize,
    ) -> Result<Value, Failure> {
        let bytes_max = value_bytes.saturating_add(REPLY_BYTES_MAX);
        let (mut line, parser) = self.line(*until, bytes_max);
        line.is_late = *is_late;
        let parsed = parser.parse_value(&mut line);
        *is_late = line.is_late;
        *until = line.until + line_time(bytes_max - line.bytes_left);
        let is_too_large = line.bytes_left == 0;
        parsed.map_err(|error| match error.is_timeout() {
            true => Failure::from(io::Error::from(ErrorKind::TimedOut)),
            false => Failure { is_too_large, ..unreadable(&error) },
        })
    }
}

/// Whether a server that greets so follows another one.
pub(super) fn says_replica(facts: &[(Value, Value)]) -> bool {
    let is = |value: &Value, text: &[u8]| matches!(value, Value::BulkString(found) if found == text);
    facts.iter().any(|(name, fact)| is(name, b"role") && is(fact, b"replica"))
}

fn unreadable(error: &RedisError) -> Failure {
    Failure { is_cut: error.is_io_error(), ..Failure::new(format!("no reply of Redis': {error}")) }
}

fn line_time(bytes: usize) -> Duration {
    Duration::from_millis((bytes / (LINE_BYTES_PER_SECOND / 1000)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection to a peer that has said `bytes` and then keeps silent.
    fn told(bytes: &[u8]) -> (Conn, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let timeout = Duration::from_millis(100);
        let stopping = Arc::default();
        (Conn::over(Stream::Unix(ours), timeout, stopping), theirs)
    }

    #[test]
    fn values_that_come_steadily_are_had_however_many_were_asked_for() {
        let (mut conn, mut peer) = told(b"");
        const VALUES: usize = 60;
        const BYTES: usize = 256 << 10;
        conn.timeout = Duration::from_millis(500);
        // One each 10 ms: in all more than the timeout, and each sooner than a slow line would have it.
        let steady = std::thread::spawn(move || {
            let value = [b"$262144\r\n", &[7; BYTES][..], b"\r\n"].concat();
            for _ in 0..VALUES {
                std::thread::sleep(Duration::from_millis(10));
                let _ = peer.write_all(&value);
            }
            peer
        });
        let mut came = 0;
        let exchanged = conn.exchange(b"", VALUES, BYTES, |_, value| {
            came += usize::from(matches!(value, Value::BulkString(bytes) if bytes.len() == BYTES));
        });
        assert_eq!((exchanged, came), (Ok(()), VALUES));
        drop(steady.join().unwrap());
    }

    #[test]
    fn what_came_in_time_is_read_by_a_thread_that_does_not() {
        let (mut conn, _peer) = told(b"+PONG\r\n:1\r\n");
        let mut came = Vec::new();
        assert_eq!(conn.receive(Instant::now(), 2, 0, |_, value| came.push(value)), Ok(()));
        assert_eq!(came, [Value::SimpleString("PONG".into()), Value::Int(1)]);
        assert!(conn.receive(Instant::now(), 1, 0, |_, _| ()).is_err());
    }

    #[test]
    fn messages_that_nobody_asked_for_keep_no_exchange_open() {
        let (mut conn, mut peer) = told(b"");
        let speaking = std::thread::spawn(move || while peer.write_all(b">1\r\n+x\r\n").is_ok() {});
        let began = Instant::now();
        assert!(conn.ask(&[b"PING"]).is_err());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        drop(conn);
        speaking.join().unwrap();
    }

    #[test]
    fn a_store_that_ends_does_not_wait_for_an_answer() {
        let (mut conn, _peer) = told(b"");
        conn.timeout = Duration::MAX;
        let stopping = Arc::clone(&conn.stopping);
        let began = Instant::now();
        let asking = std::thread::spawn(move || conn.ask(&[b"PING"]));
        // Release: pairs with `arm`.
        stopping.store(true, Ordering::Release);
        assert!(asking.join().unwrap().is_err());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn malformed_and_huge_replies_are_failures_within_the_timeout() {
        let replies: [&[u8]; 14] = [
            b"",
            b"+O",
            b"?what\r\n",
            b":12x\r\n",
            b"$5\r\nabc",
            b"$99999999999999\r\nabc",
            b"*99999999999999\r\n",
            b"*-7\r\n+OK",
            b"%99999999999999\r\n",
            b"%-3\r\n",
            b"|9223372036854775807\r\n",
            b"~99999999999999\r\n:1\r\n",
            b">99999999999999\r\n+invalidate\r\n",
            b"=-1\r\nabc",
        ];
        for reply in replies {
            let (mut conn, _peer) = told(reply);
            let began = Instant::now();
            let text = String::from_utf8_lossy(reply).into_owned();
            if let Ok(value) = conn.ask_ok(&[b"PING"]) {
                panic!("{text}: {value:?}");
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{text}: {:?}", began.elapsed());
        }
        let nested = b"*1\r\n".repeat(10_000);
        assert!(told(&nested).0.ask(&[b"PING"]).is_err());
    }

    #[test]
    fn a_reply_that_trickles_ends_at_the_deadline_and_not_at_its_end() {
        let (mut conn, mut peer) = told(b"");
        let trickle = std::thread::spawn(move || {
            while peer.write_all(b"+").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let began = Instant::now();
        assert_eq!(conn.ask(&[b"PING"]), Err(Failure::new("no answer in time")));
        assert!(began.elapsed() < Duration::from_secs(2));
        drop(conn);
        trickle.join().unwrap();
    }

    #[test]
    fn a_message_that_comes_in_pieces_is_heard_whole() {
        let (mut conn, mut peer) = told(b">2\r\n$10\r\ninvali");
        let moment = Duration::from_millis(20);
        assert_eq!(conn.hear(moment), Ok(None));
        peer.write_all(b"date\r\n*1\r\n$1\r\n").unwrap();
        assert_eq!(conn.hear(moment), Ok(None));
        peer.write_all(b"k\r\n+PONG\r\n").unwrap();
        let keys = Value::Array(vec![Value::BulkString(b"k".to_vec())]);
        let push = Value::Push { kind: redis::PushKind::Invalidate, data: vec![keys] };
        assert_eq!(conn.hear(moment), Ok(Some(push)));
        assert_eq!(conn.hear(moment), Ok(Some(Value::SimpleString("PONG".into()))));
        drop(peer);
        assert!(conn.hear(moment).is_err());
    }

    #[test]
    fn a_value_larger_than_asked_for_is_refused_before_it_is_held() {
        let (mut conn, mut peer) = told(b"$40000000\r\n");
        let flood = std::thread::spawn(move || while peer.write_all(&[0; 65536]).is_ok() {});
        let failure = conn.ask(&[b"GET", b"k"]).unwrap_err();
        assert!(failure.reason.contains("larger"), "{failure:?}");
        drop(conn);
        flood.join().unwrap();
    }

    #[test]
    fn commands_are_encoded_as_redis_reads_them() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &[b"SET", b"k\r\n", b""]);
        assert_eq!(bytes, b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
    }
}
