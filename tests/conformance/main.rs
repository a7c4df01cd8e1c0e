//! The conformance script (tests/conformance), as Rust executes it. `conformance FILE DIR [LINE CLOCK_MS]` runs one file;
//! without a file, as `cargo test` calls it, all of them.

mod case;
mod moment;
#[cfg(feature = "redis")]
mod redis;
mod words;

use case::Case;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use words::status;

const CLOCK_MS: u64 = 1_000_000_000_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let failures = match args[..] {
        [file, dir] if file.ends_with(".kvt") => Runner::new(file, dir).run(0, CLOCK_MS, false),
        [file, dir, line, clock_ms] => {
            Runner::new(file, dir).run(line.parse().expect("LINE"), clock_ms.parse().expect("CLOCK_MS"), true)
        }
        _ => run_all(),
    };
    ExitCode::from(u8::from(failures > 0))
}

fn run_all() -> usize {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut files: Vec<PathBuf> = scripts.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "kvt"));
    // Without the tier there is no store that could have one.
    files.retain(|path| cfg!(feature = "redis") || !path.ends_with("tier.kvt"));
    files.sort();
    assert!(!files.is_empty(), "no script in {}", scripts.display());
    let mut failures = 0;
    for file in &files {
        let dir = tempfile::tempdir().unwrap();
        failures += Runner::new(file.to_str().unwrap(), dir.path().to_str().unwrap()).run(0, CLOCK_MS, false);
    }
    println!("conformance: {} files, {failures} failures", files.len());
    failures
}

struct Runner {
    file: String,
    lines: Vec<String>,
    dir: PathBuf,
}

impl Runner {
    fn new(file: &str, dir: &str) -> Runner {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        Runner { file: file.to_owned(), lines: text.lines().map(str::to_owned).collect(), dir: dir.into() }
    }

    /// Runs the lines after the first `done`; in another process only to the end of the case. Returns how many failed.
    fn run(&self, done: usize, clock_ms: u64, is_other_process: bool) -> usize {
        let (mut failures, mut cases, mut checked) = (0, 0, 0);
        let mut case = None;
        if is_other_process {
            case = Some(self.resume(done, clock_ms));
        }
        let mut at = done;
        while at < self.lines.len() {
            let line = &self.lines[at];
            at += 1;
            let (call, expected) = line.split_once(" => ").unwrap_or((line, ""));
            let words: Vec<&str> = call.split(' ').collect();
            match words[..] {
                [""] => continue,
                [first, ..] if first.starts_with('#') => continue,
                ["case", _] if is_other_process => break,
                ["case", name] => {
                    case = Some(Case::new(self.dir.join(name), CLOCK_MS));
                    cases += 1;
                }
                ["process"] => {
                    let case = case.as_mut().expect("a case");
                    failures += self.go_on_elsewhere(case, at);
                    at += self.lines[at..].iter().take_while(|line| !line.starts_with("case ")).count();
                }
                _ => {
                    let case = case.as_mut().expect("a case");
                    let got = case
                        .call(&words, expected)
                        .unwrap_or_else(|error| format!("error {}", status(&error)));
                    checked += 1;
                    if got != expected {
                        println!("{}:{at}: expected {expected}, got {got}", self.file);
                        failures += 1;
                    }
                }
            }
        }
        if !is_other_process {
            println!("{}: {cases} cases, {checked} lines", self.file);
        }
        failures
    }

    fn resume(&self, done: usize, clock_ms: u64) -> Case {
        let begin = self.lines[..done].iter().rposition(|line| line.starts_with("case ")).expect("a case");
        let mut case = Case::new(self.dir.join(&self.lines[begin]["case ".len()..]), clock_ms);
        for line in &self.lines[begin..done] {
            if let ["option", name, value, "=>", "ok"] = line.split(' ').collect::<Vec<_>>()[..] {
                case.settings.push((name.to_owned(), case.setting(value)));
            }
        }
        case.db = Some(case.open(true).expect("the store opens in another process"));
        case
    }

    fn go_on_elsewhere(&self, case: &mut Case, line: usize) -> usize {
        case.db.take().expect("an open store").close().expect("the store closes");
        let clock_ms = kv::Clock::unix_ms(&*case.clock);
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.arg(&self.file).arg(&self.dir).arg(line.to_string()).arg(clock_ms.to_string());
        usize::from(!other.status().expect("the other process starts").success())
    }
}
