//! What libkv, moka and quick_cache find of traces of accesses, each with room for the same number of entries, beside exact LRU; and
//! how fast: `traces DIRECTORY`. The directory holds files NAME.u32.zst, key ids in the order of access, 32 bits each, little-endian.
//! Each key is read, and set if it was not there, by one thread. Prints a table in Markdown.

use ahash::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

const VALUE: [u8; 8] = *b"a value.";

struct Found {
    hits: usize,
    seconds: f64,
}

/// `get` says whether the key is there.
fn replay(ids: &[[u8; 4]], mut get: impl FnMut(&[u8; 4]) -> bool, mut set: impl FnMut(&[u8; 4])) -> Found {
    let began = Instant::now();
    let mut hits = 0;
    for id in ids {
        match get(id) {
            true => hits += 1,
            false => set(id),
        }
    }
    Found { hits, seconds: began.elapsed().as_secs_f64() }
}

fn libkv(ids: &[[u8; 4]], room: usize) -> Found {
    let db = kv::Options::new().max_entries(Some(room as u64)).in_memory().expect("a store");
    let found = replay(
        ids,
        |id| db.get_with(id, |_| ()).expect("a read").is_some(),
        |id| {
            db.set(id, &VALUE).expect("a write");
        },
    );
    assert!(db.len() <= room);
    found
}

fn moka(ids: &[[u8; 4]], room: usize) -> Found {
    let cache = moka::sync::Cache::builder().max_capacity(room as u64).build_with_hasher(RandomState::new());
    replay(ids, |id| cache.get(id).is_some(), |id| cache.insert(*id, VALUE))
}

fn quick_cache(ids: &[[u8; 4]], room: usize) -> Found {
    let cache = quick_cache::sync::Cache::new(room);
    replay(ids, |id| cache.get(id).is_some(), |id| cache.insert(*id, VALUE))
}

/// Exact, by the number of entries: it has to find what is published of the traces.
fn lru(ids: &[[u8; 4]], room: usize) -> Found {
    let (mut used, mut order, mut now) = (HashMap::<[u8; 4], u64>::new(), BTreeMap::<u64, [u8; 4]>::new(), 0);
    let mut touch = |id: &[u8; 4], is_new: bool| -> bool {
        now += 1;
        let before = used.get(id).copied();
        if before.is_none() && !is_new {
            return false;
        }
        if before.is_none() && used.len() >= room {
            let (_, oldest) = order.pop_first().expect("an entry");
            used.remove(&oldest);
        }
        before.map(|at| order.remove(&at));
        used.insert(*id, now);
        order.insert(now, *id);
        true
    };
    let began = Instant::now();
    let hits = ids.iter().filter(|id| touch(id, false) || !touch(id, true)).count();
    Found { hits, seconds: began.elapsed().as_secs_f64() }
}

fn ids(path: &Path) -> Vec<[u8; 4]> {
    let bytes = zstd::decode_all(std::fs::File::open(path).expect("a trace")).expect("zstd");
    bytes.chunks_exact(4).map(|id| id.try_into().expect("four bytes")).collect()
}

fn main() {
    let directory = std::env::args().nth(1).expect("usage: traces DIRECTORY");
    let files =
        std::fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".u32.zst")).collect();
    files.sort();
    assert!(!files.is_empty(), "no traces");
    println!(
        "| trace | room for | LRU | libkv | moka | quick_cache | libkv, M/s | moka, M/s | quick_cache, M/s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut above, mut peers) = (Vec::new(), [0.0, 0.0]);
    for path in &files {
        let ids = ids(path);
        let distinct = ids.iter().collect::<std::collections::HashSet<_>>().len();
        for share in [100, 10] {
            let room = (distinct / share).max(1);
            let [lru, kv, moka, quick] = [lru, libkv, moka, quick_cache].map(|engine| engine(&ids, room));
            let percent = |found: &Found| 100.0 * found.hits as f64 / ids.len() as f64;
            let rate = |found: &Found| ids.len() as f64 / found.seconds / 1e6;
            above.push(percent(&kv) - percent(&lru));
            peers[0] += percent(&moka) - percent(&lru);
            peers[1] += percent(&quick) - percent(&lru);
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            println!(
                "| {} | {room} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} |",
                name.trim_end_matches(".u32.zst"),
                percent(&lru),
                percent(&kv),
                percent(&moka),
                percent(&quick),
                rate(&kv),
                rate(&moka),
                rate(&quick),
            );
        }
    }
    let count = above.len() as f64;
    let worst = above.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "\nAgainst LRU, in points of the hit ratio, in the mean: libkv {:+.2} (worst {worst:+.2}), moka {:+.2}, quick_cache {:+.2}.",
        above.iter().sum::<f64>() / count, peers[0] / count, peers[1] / count,
    );
}
