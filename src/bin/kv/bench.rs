//! A first impression of this machine's speed. `benches/` compares with peers.

use crate::args::{Bench, Opening};
use crate::failure::{Failure, Outcome};
use crate::{show, store};
use kv::{Db, OpenMode};
use std::path::Path;
use std::time::Instant;

/// Odd, so that multiplying by it visits every number once, in an order that has no locality.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

pub fn bench(args: &Bench) -> Result<Outcome, Failure> {
    let db = match &args.store {
        Some(path) => {
            refuse_filled(path)?;
            store::open_to_write(path, OpenMode::Create, args.writing.sync, &Opening::default())?
        }
        None => Db::in_memory()?,
    };
    let value = vec![b'v'; args.value_bytes as usize];
    let mut rates = Vec::new();
    let mut run = |name, each: &(dyn Fn(&[u8]) -> kv::Result<bool> + Sync)| {
        rates.push((name, rate(args, each)?));
        Ok::<(), Failure>(())
    };
    run("set", &|key| db.set(key, &value).map(|()| true))?;
    run("get", &|key| Ok(db.pin()?.get(key)?.is_some_and(|found| found.len() == value.len())))?;
    run("delete", &|key| db.delete(key))?;
    store::close(&db, args.store.as_deref().unwrap_or(Path::new("memory")), &Opening::default())?;
    show_rates(args, &rates)?;
    Ok(Outcome::Done)
}

fn refuse_filled(path: &Path) -> Result<(), Failure> {
    let mut names = match std::fs::read_dir(path) {
        Ok(names) => names,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::file("list", path, &e)),
    };
    match names.next() {
        None => Ok(()),
        Some(_) => {
            let reason = "the directory is not empty, and bench deletes what it sets".to_string();
            Err(Failure::Said { code: 3, reason: format!("{}: {reason}", path.display()) })
        }
    }
}

/// Operations a second of all threads together, over every key once.
fn rate(args: &Bench, each: &(dyn Fn(&[u8]) -> kv::Result<bool> + Sync)) -> Result<u64, Failure> {
    let threads = u64::from(args.threads);
    let began = Instant::now();
    let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
        let work = |thread: u64| {
            (thread..args.keys).step_by(args.threads.into()).try_for_each(|number| {
                let key = format!("{:016x}", number.wrapping_mul(SPREAD));
                match each(key.as_bytes())? {
                    true => Ok(()),
                    false => Err(Failure::Said { code: 3, reason: format!("key {key} is lost") }),
                }
            })
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let lost = || Failure::Said { code: 3, reason: "a thread of the benchmark panicked".into() };
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(lost()))).collect()
    });
    let took = began.elapsed();
    results.into_iter().collect::<Result<(), Failure>>()?;
    Ok((args.keys as f64 / took.as_secs_f64().max(1e-9)) as u64)
}

fn show_rates(args: &Bench, rates: &[(&str, u64)]) -> Result<(), Failure> {
    if args.json {
        let mut fields = serde_json::json!({
            "keys": args.keys, "value_bytes": args.value_bytes, "threads": args.threads,
        });
        for (name, rate) in rates {
            if let Some(fields) = fields.as_object_mut() {
                fields.insert(format!("{name}_per_second"), (*rate).into());
            }
        }
        return show::json(&fields);
    }
    for (name, rate) in rates {
        match show::is_for_people() {
            true => show::line(&format!("{name:<7} {:>14} a second", show::grouped(*rate)))?,
            false => show::line(&format!("{name} {rate}"))?,
        }
    }
    Ok(())
}
