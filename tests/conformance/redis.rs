//! A redis-server for a case, and a client that knows nothing of the library.

use crate::words::{bytes, word};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Killed when it is dropped.
pub struct Redis {
    process: Child,
    socket: PathBuf,
}

impl Redis {
    /// Starts it at a socket, and waits until it answers.
    pub fn start(socket: &Path) -> Redis {
        let dir = socket.parent().expect("a directory");
        std::fs::create_dir_all(dir).expect("the directory is made");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(socket).arg("--dir").arg(dir);
        let process = command.stdout(Stdio::null()).spawn();
        let process =
            process.expect("redis-server starts (scripts/need.sh redis-server=redis-server installs it)");
        let mut redis = Redis { process, socket: socket.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(socket).is_err() {
            assert!(redis.process.try_wait().expect("its state").is_none(), "redis-server has ended");
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The answer to a command.
pub fn ask(socket: &Path, words: &[&str]) -> String {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for plain in words.iter().map(|word| bytes(word)) {
        command.extend_from_slice(format!("${}\r\n", plain.len()).as_bytes());
        command.extend_from_slice(&plain);
        command.extend_from_slice(b"\r\n");
    }
    let mut stream = UnixStream::connect(socket).expect("redis-server listens");
    stream.write_all(&command).expect("it takes a command");
    let mut reply = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reply.read_line(&mut line).expect("it answers");
        let (kind, rest) = line.trim_end().split_at(1);
        match (kind, rest) {
            ("$", "-1") => return "absent".to_owned(),
            ("$", len) => {
                let mut value = vec![0; len.parse().expect("a length")];
                reply.read_exact(&mut value).expect("a value");
                return word(&value);
            }
            ("*", _) => {}
            ("+" | ":", rest) => return rest.to_owned(),
            _ => panic!("{words:?}: {line}"),
        }
    }
}
