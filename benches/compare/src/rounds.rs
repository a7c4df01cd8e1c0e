//! The parent's end: peers take turns, and whoever is not measured is stopped (SIGSTOP), with its threads.

use crate::child::{die_with_parent, Answer, Request, Setup, Task};
use crate::engine::{Level, Peer};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// The setup of a child, as JSON.
pub const CHILD: &str = "COMPARE_CHILD";

pub struct Runner {
    pub peer: &'static Peer,
    pub setup: Setup,
    /// Of opening.
    pub open_seconds: f64,
    process: std::process::Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Runner {
    /// Starts a peer on a directory, which may hold what an earlier one left, and leaves it stopped.
    pub fn start(peer: &'static Peer, setup: Setup) -> Runner {
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command.env(CHILD, serde_json::to_string(&setup).expect("a setup"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        die_with_parent(&mut command);
        let mut process = command.spawn().expect("a child");
        let requests = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut runner = Runner { peer, setup, open_seconds: 0.0, process, requests, answers };
        runner.open_seconds = runner.answer()[0];
        runner.signal(libc::SIGSTOP);
        runner
    }

    pub fn ask(&mut self, request: &Request) -> Answer {
        self.signal(libc::SIGCONT);
        writeln!(self.requests, "{}", serde_json::to_string(request).expect("a request")).expect("a child");
        let answer = self.answer();
        self.signal(libc::SIGSTOP);
        answer
    }

    pub fn run(&mut self, task: Task) -> f64 {
        self.ask(&Request::Run(task))[0]
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a child");
        serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{} said {line:?}: {error}", self.peer.name))
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a plain system call on a child that has not been waited for.
        unsafe { libc::kill(self.process.id() as i32, signal) };
    }

    /// Bytes that its files take on the disk.
    pub fn disk_bytes(&self) -> f64 {
        disk_bytes(&self.setup.dir)
    }
}

impl Drop for Runner {
    /// SIGKILL: what is measured after it is a crash.
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        self.process.wait().expect("a child");
    }
}

pub fn disk_bytes(dir: &std::path::Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).expect("a directory");
    let bytes = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        // A file may go while they are listed.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { return 0.0 };
        metadata.blocks() as f64 * 512.0 + if metadata.is_dir() { disk_bytes(&path) } else { 0.0 }
    };
    entries.map(bytes).sum()
}

/// A directory for each peer at a level, under one that goes with the run.
pub fn setup(
    peer: &Peer,
    level: Level,
    root: &std::path::Path,
    keys: u64,
    value_bytes: usize,
    ttl_ms: Option<u64>,
) -> Setup {
    let dir = root.join(peer.name.replace([' ', ','], "-"));
    std::fs::create_dir_all(&dir).expect("a directory");
    Setup { peer: peer.name.into(), level, dir, keys, value_bytes, ttl_ms }
}

/// Starts the peers of a level, one after the other, and loads them.
pub fn loaded(level: Level, root: &std::path::Path, keys: u64, value_bytes: usize) -> Vec<Runner> {
    let peers = crate::peers::all().into_iter().filter(|peer| peer.levels.contains(&level));
    peers
        .map(|peer| {
            let mut runner = Runner::start(peer, setup(peer, level, root, keys, value_bytes, None));
            let seconds = runner.ask(&Request::Load)[0];
            eprintln!("  {} loaded in {seconds:.1} s", peer.name);
            runner
        })
        .collect()
}
