//! The index against maps that are known to be right, and against its own promises under threads and resizes.

use super::{Address, Index, Pinned, Record, Records};
use crate::reclaim::Protected;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Barrier;

const KEYS: usize = 1 << 16;

/// Records that are nothing but an address: a key's number, and a version that is never used twice (X2).
struct Keyring {
    keys: Vec<[u8; 8]>,
    versions: AtomicU64,
}

impl Keyring {
    fn new() -> Keyring {
        let keys = (0..KEYS as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
        Keyring { keys, versions: AtomicU64::new(1) }
    }

    fn key(&self, n: usize) -> &[u8] {
        &self.keys[n]
    }

    fn fresh(&self, n: usize) -> Address {
        at(n, self.versions.fetch_add(1, Ordering::Relaxed))
    }
}

fn at(n: usize, version: u64) -> Address {
    let id = version << 16 | n as u64;
    Address::new((id >> 28) as u16, (id & ((1 << 28) - 1)) * 8).unwrap()
}

fn parts(address: Address) -> (usize, u64) {
    let id = (u64::from(address.segment()) << 28) + address.offset_bytes() / 8;
    ((id & 0xffff) as usize, id >> 16)
}

impl<'g> Record<'g> for (&'g [u8], u64) {
    fn key(&self) -> &'g [u8] {
        self.0
    }

    fn lsn(&self) -> u64 {
        self.1
    }
}

impl Records for Keyring {
    type Record<'g> = (&'g [u8], u64);

    fn read<'g>(&'g self, address: Address, _protected: Protected<'g>) -> Option<(&'g [u8], u64)> {
        let (n, version) = parts(address);
        Some((self.key(n), version))
    }

    fn read_at_once<'g>(
        &'g self,
        address: Address,
        key: &[u8],
        protected: Protected<'g>,
    ) -> Option<(&'g [u8], u64)> {
        // As the segment table: a mask takes a second look.
        self.read_of(address, key, protected).filter(|_| !address.is_expired())
    }

    fn prefetch(&self, _address: Address, _protected: Protected<'_>) {}
}

struct Rng(u64);

impl Rng {
    fn seeded(salt: u64) -> Rng {
        let seed = std::env::var("KV_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&ahash::RandomState::new(), 0));
        println!("KV_TEST_SEED={seed}");
        Rng((seed ^ salt.wrapping_mul(0x2545_f491_4f6c_dd1d)) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize * n) >> 32
    }
}

fn with<'i, T>(index: &'i Index, keyring: &'i Keyring, run: impl FnOnce(Pinned<'_, Keyring>) -> T) -> T {
    let guard = crossbeam_epoch::pin();
    run(index.pin(keyring, &guard))
}

/// As a read does it.
fn find(index: &Index, keyring: &Keyring, n: usize) -> Option<Address> {
    with(index, keyring, |map| match map.get_at_once(keyring.key(n)) {
        Some((_, version)) => Some(at(n, version)),
        None => map.get(keyring.key(n)).map(|(address, _)| address),
    })
}

/// As a writer does it, whatever stands there.
fn publish(index: &Index, keyring: &Keyring, n: usize, address: Address) -> Option<Address> {
    with(index, keyring, |map| loop {
        let entry = map.insert(keyring.key(n), address)?;
        if map.replace(&entry, address) {
            return Some(entry.address());
        }
    })
}

fn remove(index: &Index, keyring: &Keyring, n: usize, address: Address) -> bool {
    with(index, keyring, |map| map.remove(keyring.key(n), address))
}

fn walk(index: &Index, keyring: &Keyring) -> Vec<(usize, Address)> {
    let mut seen = Vec::new();
    let mut cursor = index.cursor(&crossbeam_epoch::pin());
    while with(index, keyring, |map| {
        cursor.step(&map, |address, (key, _)| {
            assert_eq!(key, keyring.key(parts(address).0));
            seen.push((parts(address).0, address));
        })
    }) {}
    seen
}

fn settle(index: &Index, keyring: &Keyring) {
    while with(index, keyring, |map| map.tidy()) {}
}

fn table_bits(index: &Index) -> u32 {
    index.root.get((&crossbeam_epoch::pin()).into()).bits
}

fn sorted(mut entries: Vec<(usize, Address)>) -> Vec<(usize, u64)> {
    entries.sort_by_key(|(n, _)| *n);
    entries.into_iter().map(|(n, address)| (n, parts(address).1)).collect()
}

#[test]
fn only_the_expected_record_is_replaced() {
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    assert_eq!(find(&index, &keyring, 7), None);
    with(&index, &keyring, |map| {
        assert!(map.insert(keyring.key(7), at(7, 1)).is_none());
        let first = map.insert(keyring.key(7), at(7, 2)).unwrap();
        assert_eq!(first.address(), at(7, 1));
        assert!(map.replace(&first, at(7, 3)));
        assert!(!map.replace(&first, at(7, 4)), "it changed since it was read");
    });
    assert_eq!((find(&index, &keyring, 7), index.entries()), (Some(at(7, 3)), 1));
}

#[test]
fn an_entry_that_changed_since_is_not_removed() {
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    publish(&index, &keyring, 7, at(7, 1));
    publish(&index, &keyring, 7, at(7, 2));
    assert!(!remove(&index, &keyring, 7, at(7, 1)));
    assert!(remove(&index, &keyring, 7, at(7, 2)) && !remove(&index, &keyring, 7, at(7, 2)));
    assert_eq!((find(&index, &keyring, 7), index.entries()), (None, 0));
}

#[test]
fn a_record_tagged_expired_fails_whoever_read_it_alive() {
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    publish(&index, &keyring, 7, at(7, 1));
    with(&index, &keyring, |map| {
        let alive = map.find(keyring.key(7)).unwrap();
        assert!(map.replace(&alive, at(7, 1).expired()));
        assert!(!map.replace(&alive, at(7, 2)));
    });
    assert_eq!(find(&index, &keyring, 7), Some(at(7, 1).expired()));
}

#[test]
fn a_slot_that_was_given_up_is_used_again() {
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    for n in 0..200_000 {
        let address = keyring.fresh(n % KEYS);
        publish(&index, &keyring, n % KEYS, address);
        assert!(remove(&index, &keyring, n % KEYS, address));
    }
    assert_eq!((table_bits(&index), index.entries()), (super::table::BITS_MIN, 0), "no reason to grow");
}

#[test]
fn a_table_that_was_left_is_freed_once_nobody_can_be_in_it() {
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    let reader = crossbeam_epoch::pin();
    let map = index.pin(&keyring, &reader);
    publish(&index, &keyring, 0, at(0, 1));
    let entry = map.find(keyring.key(0)).unwrap();
    (1..KEYS).for_each(|n| assert_eq!(publish(&index, &keyring, n, at(n, 1)), None));
    settle(&index, &keyring);
    assert!(table_bits(&index) > super::table::BITS_MIN && index.free_left(), "the reader is still there");
    // X8: what was read under the guard can still be acted on, in vain.
    assert!(!map.replace(&entry, at(0, 2)));
    drop(reader);
    while index.free_left() {
        crossbeam_epoch::pin().flush();
    }
    assert_eq!(find(&index, &keyring, 0), Some(at(0, 1)));
}

/// Millions of operations on one thread, over tables that grow and shrink, with the same answers as two other maps.
#[test]
fn it_answers_as_other_maps_do() {
    const OPERATIONS: usize = 2_000_000;
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    let mut oracle: HashMap<usize, Address> = HashMap::new();
    let peer: papaya::HashMap<usize, Address> = papaya::HashMap::new();
    let mut rng = Rng::seeded(0);
    let (mut bits_seen, mut keys, mut removes) = (std::collections::BTreeSet::new(), KEYS, 20);
    let (mut at_once, mut present) = (0, 0);
    for operation in 0..OPERATIONS {
        if operation % 100_000 == 0 {
            // Each phase has its own size and its own share of removals.
            keys = 1 << (4 + rng.below(13));
            removes = 5 + rng.below(90);
            if rng.below(2) == 0 {
                settle(&index, &keyring);
            }
            bits_seen.insert(table_bits(&index));
            let expected: Vec<_> = oracle.iter().map(|(n, address)| (*n, *address)).collect();
            assert_eq!(sorted(walk(&index, &keyring)), sorted(expected));
            assert_eq!(index.entries(), oracle.len());
            if rng.below(3) == 0 {
                for (n, address) in oracle.drain() {
                    assert!(remove(&index, &keyring, n, address));
                    peer.pin().remove(&n);
                }
                settle(&index, &keyring);
            }
        }
        let n = rng.below(keys);
        let known = oracle.get(&n).copied();
        assert_eq!(find(&index, &keyring, n), known);
        with(&index, &keyring, |map| {
            assert_eq!(map.get(keyring.key(n)).map(|(address, _)| address), known);
            assert_eq!(map.find(keyring.key(n)).map(|entry| entry.address()), known);
            if let Some((_, version)) = map.get_at_once(keyring.key(n)) {
                assert_eq!(Some(version), known.map(|address| parts(address).1));
                at_once += 1;
            }
            present += usize::from(known.is_some());
        });
        assert_eq!(peer.pin().get(&n).copied(), known);
        let choice = rng.below(100);
        if choice < removes {
            if let Some(address) = known {
                assert!(!remove(&index, &keyring, n, at(n, u64::from(u16::MAX))));
                assert!(remove(&index, &keyring, n, address));
                oracle.remove(&n);
                peer.pin().remove(&n);
            }
        } else if choice < 98 {
            // The versions of one long run do not fit beside the key's number: they come round, long unused.
            let address = at(n, operation as u64 % (1 << 24) + 70_000);
            assert_eq!(publish(&index, &keyring, n, address), known);
            oracle.insert(n, address);
            peer.pin().insert(n, address);
        }
    }
    assert!(bits_seen.len() >= 3, "tables of sizes {bits_seen:?} only");
    assert!(at_once > present / 2, "{at_once} of {present} at once");
}

/// Keys whose hashes end in the same bits: chains longer than what a header speaks for (X7), and tables outgrown for the
/// sake of one bucket.
#[test]
fn keys_that_share_a_bucket_are_kept_apart() {
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    let same: Vec<usize> = (0..KEYS).filter(|n| index.hash(keyring.key(*n)) & 0xff == 3).take(200).collect();
    for n in &same {
        publish(&index, &keyring, *n, at(*n, 1));
    }
    let grown = table_bits(&index);
    settle(&index, &keyring);
    assert!(grown >= 10 && table_bits(&index) <= 8, "grew to {grown}, shrank to {}", table_bits(&index));
    for n in &same {
        assert_eq!(find(&index, &keyring, *n), Some(at(*n, 1)));
        assert_eq!(publish(&index, &keyring, *n, at(*n, 2)), Some(at(*n, 1)));
    }
    assert_eq!(walk(&index, &keyring).len(), same.len());
    for n in same.iter().step_by(2) {
        assert!(remove(&index, &keyring, *n, at(*n, 2)));
        assert_eq!(find(&index, &keyring, *n), None);
    }
    for n in same.iter().step_by(2) {
        assert_eq!(publish(&index, &keyring, *n, at(*n, 3)), None);
    }
    for (i, n) in same.iter().enumerate() {
        assert_eq!(find(&index, &keyring, *n), Some(at(*n, if i % 2 == 0 { 3 } else { 2 })));
    }
    assert_eq!((walk(&index, &keyring).len(), index.entries()), (same.len(), same.len()));
}

#[test]
fn tags_are_made_anew_where_a_table_outgrows_them() {
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    // Moves between sizes that no number of entries would lead to.
    for n in 0..2000 {
        publish(&index, &keyring, n, at(n, 1));
    }
    settle(&index, &keyring);
    for bits in [14, 15, 18, 9, 6, 7, 12, 20, 8] {
        with(&index, &keyring, |map| {
            let root = index.root.get(map.protected);
            assert!(root.next.set(Box::new(root.successor(bits).unwrap())));
            // As a writer's help, but without the wish for another size.
            while map.help() {}
        });
        assert_eq!(table_bits(&index), bits);
        for n in 0..2000 {
            assert_eq!(find(&index, &keyring, n), Some(at(n, 1)), "key {n}, {bits} bits");
        }
        assert_eq!(walk(&index, &keyring).len(), 2000);
    }
}

/// Threads that insert the same new keys while the table grows from the smallest: each key is inserted once.
#[test]
fn a_key_that_many_threads_insert_is_there_once() {
    const THREADS: usize = 4;
    for _ in 0..2 {
        let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
        let (barrier, inserted) = (Barrier::new(THREADS), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for n in 0..KEYS {
                        let mine = keyring.fresh(n);
                        let is_new = with(&index, &keyring, |map| map.insert(keyring.key(n), mine).is_none());
                        inserted.fetch_add(u64::from(is_new), Ordering::Relaxed);
                        assert!(find(&index, &keyring, n).is_some());
                    }
                });
            }
        });
        assert_eq!((inserted.into_inner(), index.entries()), (KEYS as u64, KEYS));
        let mut seen = walk(&index, &keyring);
        seen.dedup_by_key(|(n, _)| *n);
        assert_eq!(seen.len(), KEYS);
    }
}

/// Counts up in a few keys, with every success counted, while other keys come and go so that the table grows and shrinks.
#[test]
fn no_update_is_lost_while_the_table_is_resized() {
    const HOT: usize = 64;
    const UPDATES: usize = 150_000;
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    (0..HOT).for_each(|n| assert_eq!(publish(&index, &keyring, n, at(n, 0)), None));
    let counts: Vec<AtomicU64> = (0..HOT).map(|_| AtomicU64::new(0)).collect();
    let (done, resizes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Relaxed: only says when to stop.
            while !done.load(Ordering::Relaxed) || resizes.load(Ordering::Relaxed) < 4 {
                churn(&index, &keyring, HOT..KEYS, &resizes);
            }
        });
        let workers: Vec<_> = (0..3)
            .map(|thread| {
                let (index, keyring, counts) = (&index, &keyring, &counts);
                scope.spawn(move || {
                    let mut rng = Rng::seeded(thread);
                    for _ in 0..UPDATES {
                        let n = rng.below(HOT);
                        with(index, keyring, |map| {
                            let entry = map.find(keyring.key(n)).expect("nobody removes it");
                            if map.replace(&entry, at(n, parts(entry.address()).1 + 1)) {
                                counts[n].fetch_add(1, Ordering::Relaxed);
                            }
                        });
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    for (n, count) in counts.into_iter().enumerate() {
        assert_eq!(find(&index, &keyring, n), Some(at(n, count.into_inner())), "key {n}");
    }
}

/// Fills the table with keys and empties it again; counts the sizes that it had.
fn churn(index: &Index, keyring: &Keyring, keys: std::ops::Range<usize>, resizes: &AtomicU64) {
    let before = table_bits(index);
    let mut mine = Vec::new();
    for n in keys {
        let address = keyring.fresh(n);
        assert_eq!(publish(index, keyring, n, address), None);
        mine.push((n, address));
    }
    let grown = table_bits(index);
    for (n, address) in mine {
        assert!(remove(index, keyring, n, address), "key {n}");
    }
    settle(index, keyring);
    resizes.fetch_add(u64::from(grown > before) + u64::from(table_bits(index) < grown), Ordering::Relaxed);
}

/// Two threads claim the same few keys and give them up again, while another makes the table grow and shrink: a
/// publication that won is seen, and its own removal removes it.
#[test]
fn no_write_is_lost_in_a_slot_that_is_given_up() {
    const ROUNDS: usize = 100_000;
    const CONTESTED: usize = 8;
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    let (done, resizes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) || resizes.load(Ordering::Relaxed) < 4 {
                churn(&index, &keyring, CONTESTED..KEYS, &resizes);
            }
        });
        let workers: Vec<_> = (0..3)
            .map(|thread| {
                let (index, keyring) = (&index, &keyring);
                scope.spawn(move || {
                    let mut rng = Rng::seeded(thread);
                    for _ in 0..ROUNDS {
                        let n = rng.below(CONTESTED);
                        let mine = keyring.fresh(n);
                        if with(index, keyring, |map| map.insert(keyring.key(n), mine).is_none()) {
                            assert_eq!(find(index, keyring, n), Some(mine));
                            assert!(remove(index, keyring, n, mine));
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!((walk(&index, &keyring), index.entries()), (vec![], 0));
}

/// Keys that stay are met exactly once by every walk, and are always found, while others come and go and the table is resized.
#[test]
fn a_walk_meets_what_stays_exactly_once_while_the_table_is_resized() {
    const STAYING: usize = 2000;
    const WALKS: usize = 60;
    let (index, keyring) = (Index::with_capacity(0).unwrap(), Keyring::new());
    (0..STAYING).for_each(|n| assert_eq!(publish(&index, &keyring, n, at(n, 0)), None));
    let (done, resizes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) || resizes.load(Ordering::Relaxed) < 4 {
                churn(&index, &keyring, STAYING..KEYS, &resizes);
            }
        });
        scope.spawn(|| {
            let mut rng = Rng::seeded(0);
            while !done.load(Ordering::Relaxed) {
                let n = rng.below(STAYING);
                assert_eq!(find(&index, &keyring, n), Some(at(n, 0)));
            }
        });
        let walker = scope.spawn(|| {
            for _ in 0..WALKS {
                let mut met = walk(&index, &keyring);
                met.retain(|(n, _)| *n < STAYING);
                assert_eq!(sorted(met), (0..STAYING).map(|n| (n, 0)).collect::<Vec<_>>());
            }
        });
        let result = walker.join();
        done.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}
