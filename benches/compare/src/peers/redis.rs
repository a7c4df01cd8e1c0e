use crate::child::{die_with_parent, Setup};
use crate::engine::{Engine, Level, Op, Peer, Session};
use crate::keys::Key;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const PEER: Peer = Peer {
    name: "Redis",
    krate: "redis-server",
    levels: &[Level::ProcessCrash, Level::PowerLoss],
    weaker: &[],
    pipeline: 1,
    pins: false,
    many: true,
    expires: true,
    hands_back: "copied, through the socket",
    configuration: "redis-server of Debian on a unix socket, a connection a thread; append-only file, `appendfsync` `no` or `always`, \
        no snapshots, no rewrites; bytes to the socket and back, without a client library",
    fair: "The file is written before the answer is sent. The server has a core of its own beside one client.",
    serve: |child| child.serve(open),
};

pub const PIPELINED: Peer = Peer {
    name: "Redis, pipelined",
    pipeline: 16,
    configuration: "the same, sixteen commands sent before the first answer is awaited",
    fair: "How Redis is used for throughput.",
    ..PEER
};

struct Redis {
    server: u32,
    socket: PathBuf,
    ttl_ms: Option<u64>,
}

fn open(setup: &Setup) -> Redis {
    let socket = setup.dir.join("socket");
    // One that a killed server left would lead nowhere.
    let _ = std::fs::remove_file(&socket);
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--auto-aof-rewrite-percentage", "0"]);
    command.args(["--appendonly", if setup.level == Level::Memory { "no" } else { "yes" }]);
    command.args(["--appendfsync", if setup.level == Level::PowerLoss { "always" } else { "no" }]);
    command.arg("--dir").arg(&setup.dir).arg("--unixsocket").arg(&socket);
    die_with_parent(&mut command);
    let server = command.stdout(Stdio::null()).spawn().expect("redis-server, Debian's package").id();
    let redis = Redis { server, socket, ttl_ms: setup.ttl_ms };
    let deadline = Instant::now() + Duration::from_secs(60);
    // It answers with an error while it still reads its file.
    while redis.connect().is_none_or(|mut connection| !connection.is_loaded()) {
        assert!(Instant::now() < deadline, "redis-server does not answer");
        std::thread::sleep(Duration::from_millis(1));
    }
    redis
}

impl Redis {
    fn connect(&self) -> Option<Connection> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        let ttl = self.ttl_ms.map(|ms| ms.to_string().into_bytes());
        Some(Connection { answers: BufReader::new(stream), commands: Vec::new(), ttl })
    }
}

impl Engine for Redis {
    type Session<'a> = Connection;

    fn session(&self) -> Connection {
        self.connect().expect("a connection")
    }

    fn pid(&self) -> u32 {
        self.server
    }
}

struct Connection {
    answers: BufReader<UnixStream>,
    commands: Vec<u8>,
    ttl: Option<Vec<u8>>,
}

impl Connection {
    fn command(&mut self, words: &[&[u8]]) {
        write!(self.commands, "*{}\r\n", words.len()).expect("a buffer");
        for word in words {
            write!(self.commands, "${}\r\n", word.len()).expect("a buffer");
            self.commands.extend_from_slice(word);
            self.commands.extend_from_slice(b"\r\n");
        }
    }

    fn queue_set(&mut self, key: &Key, value: &[u8]) {
        match self.ttl.take() {
            Some(ttl) => {
                self.command(&[b"SET", key, value, b"PX", &ttl]);
                self.ttl = Some(ttl);
            }
            None => self.command(&[b"SET", key, value]),
        }
    }

    fn send(&mut self) -> std::io::Result<()> {
        let sent = self.answers.get_mut().write_all(&self.commands);
        self.commands.clear();
        sent
    }

    /// Kind and number, or text, of the next answer. None when the server hung up.
    fn line(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut line = Vec::with_capacity(16);
        self.answers.read_until(b'\n', &mut line).ok()?;
        line.ends_with(b"\r\n").then(|| line.truncate(line.len() - 2))?;
        Some((line.remove(0), line))
    }

    fn number(&mut self, expected: u8) -> i64 {
        let (kind, text) = self.line().expect("an answer");
        assert_eq!(kind, expected, "{}", String::from_utf8_lossy(&text));
        std::str::from_utf8(&text).expect("a number").parse().expect("a number")
    }

    fn value(&mut self, to: &mut [u8]) -> bool {
        let Ok(len) = usize::try_from(self.number(b'$')) else { return false };
        let value = &mut to[..len];
        self.answers.read_exact(value).expect("a value");
        std::hint::black_box(&value);
        let mut end = [0; 2];
        self.answers.read_exact(&mut end).expect("an end");
        true
    }

    fn acknowledged(&mut self) {
        let (kind, text) = self.line().expect("an answer");
        assert_eq!(kind, b'+', "{}", String::from_utf8_lossy(&text));
    }

    fn is_loaded(&mut self) -> bool {
        self.command(&[b"PING"]);
        self.send().is_ok() && self.line().is_some_and(|(kind, _)| kind == b'+')
    }
}

impl Session for Connection {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.run(&[Op::Get(*key)], to) == 1
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.run(&[Op::Set(*key, value)], &mut []);
    }

    fn get_many(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        let words: Vec<&[u8]> =
            std::iter::once(&b"MGET"[..]).chain(keys.iter().map(|key| &key[..])).collect();
        self.command(&words);
        self.send().expect("a server");
        let answers = self.number(b'*');
        (0..answers).filter(|_| self.value(to)).count()
    }

    fn run(&mut self, ops: &[Op], to: &mut [u8]) -> usize {
        for op in ops {
            match op {
                Op::Get(key) => self.command(&[b"GET", key]),
                Op::Set(key, value) => self.queue_set(key, value),
            }
        }
        self.send().expect("a server");
        let mut hits = 0;
        for op in ops {
            match op {
                Op::Get(_) => hits += usize::from(self.value(to)),
                Op::Set(..) => self.acknowledged(),
            }
        }
        hits
    }

    fn load(&mut self, entries: &[(Key, &[u8])]) {
        let ops: Vec<Op> = entries.iter().map(|(key, value)| Op::Set(*key, value)).collect();
        self.run(&ops, &mut []);
    }
}
