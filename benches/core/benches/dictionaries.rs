//! What compression with dictionaries saves and costs, on records of the machine's package index (`apt-cache dumpavail`) as JSON of
//! under 500 bytes: against no compression and against zstd by itself, in one run. `make bench-dictionary`.

use kv::{Db, Options};
use serde_json::{Map, Value};
use std::error::Error;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Record = (String, String);

/// What a catalogue of packages would show.
const FIELDS: [&str; 9] = [
    "Package",
    "Version",
    "Architecture",
    "Section",
    "Priority",
    "Maintainer",
    "Homepage",
    "Description",
    "Installed-Size",
];
const VALUE_BYTES_MAX: usize = 500;
const HOT: usize = 1_000;
const PASSES: usize = 5;
const MODES: [(&str, &str); 4] = [
    ("none", "off"),
    ("zstd, each by itself", "zstd:3:0"),
    ("with a dictionary, level 3", "zstd-dictionary"),
    ("with a dictionary, level 9", "zstd-dictionary:9"),
];

fn records() -> Outcome<Vec<Record>> {
    let dump = Command::new("apt-cache").arg("dumpavail").output()?;
    let text = String::from_utf8_lossy(&dump.stdout);
    let mut records = Vec::new();
    for stanza in text.split("\n\n") {
        let mut fields = Map::new();
        for (name, value) in stanza.lines().filter_map(|line| line.split_once(": ")) {
            if FIELDS.contains(&name) {
                let value = value.parse::<u64>().map_or_else(|_| value.into(), Value::from);
                fields.insert(name.to_lowercase(), value);
            }
        }
        let key =
            format!("{}:{}", records.len(), fields.get("package").and_then(Value::as_str).unwrap_or("?"));
        let value = Value::Object(fields).to_string();
        if (50..VALUE_BYTES_MAX).contains(&value.len()) {
            records.push((key, value));
        }
    }
    if records.len() < 10_000 {
        return Err("the package index is not here: apt-get update".into());
    }
    Ok(records)
}

/// Numbers below `count` in an order that no processor foresees.
fn mixed(count: usize) -> Vec<usize> {
    let mut seed = 1_u64;
    let mut numbers: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        numbers.swap(at, (seed >> 33) as usize % (at + 1));
    }
    numbers
}

/// Nanoseconds of one of `count` calls, in the best pass.
fn best_ns(count: usize, mut pass: impl FnMut() -> Outcome) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let began = Instant::now();
        pass()?;
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / count as f64);
    }
    Ok(best)
}

fn write_all(db: &Db, records: &[Record]) -> Outcome {
    Ok(records.iter().try_for_each(|(key, value)| db.set(key.as_bytes(), value.as_bytes()))?)
}

fn main() -> Outcome {
    let records = records()?;
    let plain: usize = records.iter().map(|(_, value)| value.len()).sum();
    println!(
        "{} records, values of {} bytes on average; ns a call, best of {PASSES} passes, one thread\n",
        records.len(),
        plain / records.len()
    );
    println!("| compression | bytes a value | of none | log bytes | set | get | get of {HOT} hot ones | get_into of those |");
    println!("|---|---|---|---|---|---|---|---|");
    for (name, compression) in MODES {
        let dir = tempfile::tempdir()?;
        let options = || Options::new().set("compression", compression);
        let db = options()?.open(dir.path())?;
        write_all(&db, &records)?;
        // The first dictionary, if there is to be one, is there afterwards at the latest.
        db.compact()?;
        db.close()?;
        let db = options()?.open(dir.path())?;
        let set = best_ns(records.len(), || write_all(&db, &records))?;
        db.compact()?;
        let stats = db.stats()?;
        let taken = match stats.compressed_from_bytes {
            0 => plain as f64,
            from => plain as f64 * stats.compressed_to_bytes as f64 / from as f64,
        };
        let all = mixed(records.len());
        let hot: Vec<_> = (0..20).flat_map(|_| all[..HOT].iter().copied()).collect();
        let get = |order: &[usize]| {
            best_ns(order.len(), || {
                order.iter().try_for_each(|n| {
                    black_box(db.get(records[*n].0.as_bytes())?);
                    Ok(())
                })
            })
        };
        let (get_all, get_hot) = (get(&all)?, get(&hot)?);
        let mut to = Vec::new();
        let into_hot = best_ns(hot.len(), || {
            hot.iter().try_for_each(|n| {
                black_box(db.get_into(records[*n].0.as_bytes(), &mut to)?);
                Ok(())
            })
        })?;
        println!(
            "| {name} | {:.1} | {:.3} | {:.2} MB | {set:.0} | {get_all:.0} | {get_hot:.0} | {into_hot:.0} |",
            taken / records.len() as f64,
            taken / plain as f64,
            stats.live_bytes as f64 / 1e6,
        );
    }
    Ok(())
}
