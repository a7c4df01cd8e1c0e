//! Debian's package index as NDJSON, for `make run`.
//!
//! `packages ndjson < dump` turns `apt-cache dumpavail` into one `{"key":…,"value":…}` a line: the key is the package's name
//! (with version and architecture where the name comes again), the value its record. `packages words < list` does the same for
//! a list of words. `packages compare INPUT.ndjson EXPORT.json` says whether an export holds exactly what the input does.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["ndjson"] => packages(io::stdin().lock()),
        ["words"] => words(io::stdin().lock()),
        ["compare", input, export] => compare(input, export),
        _ => Err("packages ndjson | words | compare INPUT EXPORT".into()),
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Line {
    key: String,
    value: String,
}

/// Writes each key once: the same bytes that `kv export` writes.
struct Writer {
    out: BufWriter<io::StdoutLock<'static>>,
    used: HashSet<String>,
}

impl Writer {
    fn new() -> Writer {
        Writer { out: BufWriter::new(io::stdout().lock()), used: HashSet::new() }
    }

    fn put(&mut self, names: impl IntoIterator<Item = String>, value: &str) -> Outcome {
        let Some(key) = names.into_iter().find(|name| !self.used.contains(name)) else { return Ok(()) };
        self.used.insert(key.clone());
        serde_json::to_writer(&mut self.out, &Line { key, value: value.to_string() })?;
        Ok(self.out.write_all(b"\n")?)
    }
}

fn packages(mut from: impl BufRead) -> Outcome {
    let mut writer = Writer::new();
    let (mut line, mut record) = (Vec::new(), String::new());
    loop {
        line.clear();
        let is_end = from.read_until(b'\n', &mut line)? == 0;
        if is_end || line.iter().all(u8::is_ascii_whitespace) {
            if let Some(name) = field(&record, "Package") {
                let version = field(&record, "Version").unwrap_or_default();
                let architecture = field(&record, "Architecture").unwrap_or_default();
                let names =
                    [name.into(), format!("{name}={version}"), format!("{name}:{architecture}={version}")];
                writer.put(names, record.trim_end())?;
            }
            record.clear();
        } else {
            record.push_str(&String::from_utf8_lossy(&line));
        }
        if is_end {
            return Ok(writer.out.flush()?);
        }
    }
}

fn field<'r>(record: &'r str, name: &str) -> Option<&'r str> {
    let values = |line: &'r str| line.strip_prefix(name)?.strip_prefix(": ");
    record.lines().find_map(values)
}

fn words(from: impl BufRead) -> Outcome {
    let mut writer = Writer::new();
    for word in from.lines() {
        let word = word?;
        // Enough of a value that the log has something to hold.
        writer.put([word.clone()], &format!("{word} has {} letters", word.chars().count()))?;
    }
    Ok(writer.out.flush()?)
}

fn compare(input: &str, export: &str) -> Outcome {
    let exported = BufReader::new(std::fs::File::open(export)?);
    let mut exported: BTreeMap<String, String> = serde_json::from_reader(exported)?;
    let total = exported.len();
    for line in BufReader::new(std::fs::File::open(input)?).lines() {
        let Line { key, value } = serde_json::from_str(&line?)?;
        match exported.remove(&key) {
            Some(found) if found == value => {}
            Some(_) => return Err(format!("{key}: the export has another value than the input").into()),
            None => return Err(format!("{key}: missing in the export").into()),
        }
    }
    if let Some(key) = exported.keys().next() {
        return Err(format!("{key}: in the export and not in the input").into());
    }
    println!("{total} entries of the export equal the input");
    Ok(())
}
