//! A `redis-server` of a test's own: on a free port and a unix socket, in a directory that goes with it.

use redis::{Commands, Connection};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ports that others were faster to take, before it is said that a server does not start.
const TRIES_MAX: usize = 20;

pub struct Redis {
    dir: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

/// Free now; another process that takes it first makes the start of a server fail, and another one is taken.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Redis {
    pub fn start() -> Redis {
        Redis::with(&[])
    }

    /// With options of the command line, `--name`, `value`, ….
    pub fn with(options: &[&str]) -> Redis {
        Redis::with_ports(|| options.iter().map(|option| option.to_string()).collect())
    }

    /// The same, of options that name ports, which are asked for anew where one of them was taken.
    pub fn with_ports(options: impl Fn() -> Vec<String>) -> Redis {
        let dir = tempfile::tempdir().unwrap();
        let mut redis = Redis { dir, port: 0, options: Vec::new(), child: None };
        for _ in 0..TRIES_MAX {
            (redis.port, redis.options) = (free_port(), options());
            if redis.try_up() {
                return redis;
            }
        }
        panic!("redis-server does not start with {:?}", redis.options);
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub fn tcp_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has it execute a command.
    pub fn run<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let words: Vec<&str> = command.split(' ').collect();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.client()).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Starts it again, after a `kill`.
    pub fn up(&mut self) {
        let begun = Instant::now();
        // Somebody who connects from that port may have it for a while.
        while !self.try_up() {
            let is_over = begun.elapsed() > Duration::from_secs(30);
            assert!(!is_over, "redis-server does not start again on port {}", self.port);
        }
    }

    fn try_up(&mut self) -> bool {
        let _ = std::fs::remove_file(self.socket());
        let spawned = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn();
        let mut child = spawned.expect("redis-server: scripts/need.sh redis-server=redis-server installs it");
        let begun = Instant::now();
        loop {
            if let Some(client) = self.try_client() {
                drop(client);
                self.child = Some(child);
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn try_client(&self) -> Option<Connection> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut conn = client.get_connection().ok()?;
        // One that asks for a password answers too.
        let answer = redis::cmd("PING").query::<String>(&mut conn);
        let is_up = answer.as_ref().map_or_else(|e| e.code() == Some("NOAUTH"), |pong| pong == "PONG");
        is_up.then_some(conn)
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops answering and keeps its connections, until `go_on`.
    pub fn hang(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let pid = self.child.as_ref().expect("it runs").id();
        // SAFETY: a signal to a child that was not waited for.
        assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
    }

    pub fn client(&self) -> Connection {
        self.try_client().expect("redis-server runs")
    }

    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.client().get(key).unwrap()
    }

    pub fn set(&self, key: &str, value: &str) {
        self.client().set(key, value).unwrap()
    }

    /// The connection that hears for a store with `fresh`, as the one that sends has it; of one store alone.
    pub fn ear(&self) -> Option<u64> {
        let clients: String = self.run("CLIENT LIST");
        let ids = clients.split_whitespace().filter_map(|field| field.strip_prefix("redir="));
        ids.filter_map(|id| id.parse().ok()).find(|id| *id > 0)
    }

    /// Milliseconds that a key has; −1: for ever, −2: it is absent.
    pub fn pttl(&self, key: &str) -> i64 {
        self.client().pttl(key).unwrap()
    }

    /// Keys and values of the entries under a prefix, sorted.
    pub fn entries(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let mut client = self.client();
        let mut keys: Vec<String> = client.keys(format!("{prefix}*")).unwrap();
        keys.retain(|key| !key.contains("__libkv:mark:"));
        keys.sort();
        keys.into_iter()
            .map(|key| {
                let value = client.get(&key).unwrap();
                (key, value)
            })
            .collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
