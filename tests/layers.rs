//! The direction of imports, and the length of files.

use std::path::{Path, PathBuf};

/// Modules of the crate, each of which may import those before it.
const LAYERS: &[&str] = &[
    "sync",
    "limits",
    "tag",
    "error",
    "testing",
    "clock",
    "counters",
    "reclaim",
    "fork",
    "io",
    "record",
    "log",
    "index",
    "ordered",
    "events",
    "capacity",
    "tier_options",
    "options",
    "options_text",
    "loads",
    "locks",
    "dictionaries",
    "store",
    "expiry",
    "compaction",
    "training",
    "recovery",
    "maintenance",
    "tier",
    "backup",
    "snapshot",
    "texts",
    "watch",
    "db",
    "typed",
    "transfer",
    "ffi",
    "lib",
];

/// Who may import against the order, and why.
const EXCEPTIONS: [(&str, &str); 2] = [
    // The builder ends in `open`, which gives a `Db`.
    ("options", "db"),
    // The listener's type stands with the option that takes one.
    ("events", "options"),
];

const LINES_MAX: usize = 700;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The top module that a file belongs to.
fn module(path: &Path) -> String {
    let first = path.strip_prefix(src()).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().into()
}

/// Modules that a source names behind `crate::`.
fn imports(source: &str) -> Vec<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let names = code.flat_map(|line| line.split("crate::").skip(1).collect::<Vec<_>>());
    let module = |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    names.map(module).filter(|name: &String| !name.is_empty()).collect()
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| *layer == module).unwrap_or_else(|| panic!("{module} has no layer"))
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&src()) {
        let from = module(&path);
        // The command line is a crate of its own, and the helpers of tests reach into everything.
        if from == "bin" || from == "testing" {
            continue;
        }
        for to in imports(&std::fs::read_to_string(&path).unwrap()) {
            seen += 1;
            let is_excepted = EXCEPTIONS.contains(&(from.as_str(), to.as_str()));
            if layer(&to) > layer(&from) && !is_excepted {
                wrong.push(format!("{} imports {to}", path.display()));
            }
        }
    }
    assert!(seen > 50, "{seen} imports found: the test no longer reads them");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_command_line_uses_the_public_api_alone() {
    let main = std::fs::read_to_string(src().join("bin/kv/main.rs")).unwrap();
    let own: Vec<String> = main
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';').map(Into::into))
        .collect();
    assert!(own.len() > 3, "the modules of the command line: {own:?}");
    for path in sources(&src().join("bin")) {
        for to in imports(&std::fs::read_to_string(&path).unwrap()) {
            assert!(own.contains(&to), "{} imports {to}", path.display());
        }
    }
}

#[test]
fn no_file_outgrows_its_reader() {
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
    let long: Vec<_> = sources(&src()).into_iter().filter(|path| lines(path) > LINES_MAX).collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:#?}");
}
