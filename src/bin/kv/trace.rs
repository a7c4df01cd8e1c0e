//! What a store that may hold so much finds of a trace of accesses: each key is read, and set if it was not there.

use crate::args::Trace;
use crate::failure::{Failure, Outcome};
use crate::show;
use kv::Options;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Instant;

const ID_BYTES: usize = 4;

pub fn trace(args: &Trace) -> Result<Outcome, Failure> {
    if args.max_entries.is_none() && args.max_bytes.is_none() {
        return Err(Failure::usage("bench trace needs --max-entries or --max-bytes"));
    }
    let ids = read(&args.file)?;
    let db = Options::new().max_entries(args.max_entries).max_bytes(args.max_bytes).in_memory()?;
    let value = vec![b'v'; args.value_bytes as usize];
    let mut hits = 0u64;
    let began = Instant::now();
    for id in ids.chunks_exact(ID_BYTES) {
        match db.get_with(id, |_| ())? {
            Some(()) => hits += 1,
            None => db.set(id, &value)?,
        }
    }
    let took = began.elapsed().as_secs_f64().max(1e-9);
    let accesses = (ids.len() / ID_BYTES) as u64;
    let hit_percent = 100.0 * hits as f64 / accesses.max(1) as f64;
    let per_second = (accesses as f64 / took) as u64;
    if args.json {
        show::json(&serde_json::json!({
            "accesses": accesses, "hits": hits, "hit_percent": hit_percent, "accesses_per_second": per_second,
        }))?;
    } else {
        let people = show::is_for_people();
        let number = |n: u64| if people { show::grouped(n) } else { n.to_string() };
        for (name, figure) in [("accesses", number(accesses)), ("hits", number(hits))] {
            show::line(&format!("{name} {figure}"))?;
        }
        show::line(&format!("hit_percent {hit_percent:.2}"))?;
        show::line(&format!("accesses_per_second {}", number(per_second)))?;
    }
    Ok(Outcome::Done)
}

/// The bytes of the ids.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::file("read", path, &error);
    let mut file = BufReader::new(File::open(path).map_err(|error| Failure::file("open", path, &error))?);
    let mut bytes = Vec::new();
    match is_compressed(&mut file).map_err(failed)? {
        true => decompress(file, &mut bytes).map_err(failed)?,
        false => file.read_to_end(&mut bytes).map(drop).map_err(failed)?,
    }
    if bytes.len() % ID_BYTES != 0 {
        let reason = format!("{}: {} bytes are no run of 32-bit ids", path.display(), bytes.len());
        return Err(Failure::refused(reason));
    }
    Ok(bytes)
}

fn is_compressed(file: &mut BufReader<File>) -> std::io::Result<bool> {
    const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    Ok(std::io::BufRead::fill_buf(file)?.starts_with(&ZSTD_MAGIC))
}

#[cfg(feature = "zstd")]
fn decompress(file: impl Read, to: &mut Vec<u8>) -> std::io::Result<()> {
    zstd::stream::copy_decode(file, to)
}

#[cfg(not(feature = "zstd"))]
fn decompress(_file: impl Read, _to: &mut Vec<u8>) -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "it is compressed and this build has no zstd"))
}
