//! The command `kv` as a user meets it: what it prints, how it ends, and what it says when something is wrong.

mod commands;
mod refusals;
#[cfg(feature = "redis")]
#[path = "../tier/server.rs"]
#[allow(dead_code)] // The tests of the tier use the rest.
mod server;
#[cfg(feature = "redis")]
mod tier;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A directory with the path of a store in it.
struct Place {
    dir: TempDir,
}

/// What a run of the command left.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    #[track_caller]
    fn ok(self) -> Ran {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self
    }

    /// Failed with this code, and said so in one line that has these words.
    #[track_caller]
    fn failed(self, code: i32, words: &[&str]) -> Ran {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("kv: ") && self.err.lines().count() == 1, "not one line: {self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {self:?}");
        }
        self
    }
}

fn kv() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kv"))
}

fn run_with(args: &[&str], stdin: &[u8]) -> Ran {
    let mut child =
        kv().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The command may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Ran { code: output.status.code(), out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
}

fn run(args: &[&str]) -> Ran {
    run_with(args, b"")
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().into()
    }

    /// Runs `kv COMMAND STORE ARGS…`.
    fn kv(&self, command: &str, args: &[&str]) -> Ran {
        self.kv_with(command, args, b"")
    }

    fn kv_with(&self, command: &str, args: &[&str], stdin: &[u8]) -> Ran {
        let store = self.at("store");
        let all: Vec<&str> = [command, &store].into_iter().chain(args.iter().copied()).collect();
        run_with(&all, stdin)
    }

    /// A closed store of `entries` entries, "key 0000" and so on.
    fn filled(entries: usize) -> Place {
        let place = Place::new();
        let lines: String = (0..entries)
            .map(|n| format!("{{\"key\":\"key {n:04}\",\"value\":\"{}\"}}\n", "v".repeat(1000)))
            .collect();
        place.kv_with("import", &[], lines.as_bytes()).ok();
        place
    }

    fn segments(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.path("store")).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = names.filter(|name| name.extension().is_some_and(|e| e == "seg")).collect();
        found.sort();
        found
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A process that has the store open until it is dropped.
struct Holder(Child);

impl Holder {
    fn of(place: &Place) -> Holder {
        let mut child = kv()
            .args(["watch", &place.at("store"), "--json", "--every", "10ms"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("open_ms"), "{line:?}");
        Holder(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
