//! The core operations, a thousand of each: `benches/times.rs` takes their time, `benches/instructions.rs` counts instructions,
//! which a noisy machine does not change.

#[allow(dead_code)]
mod record;

use kv::{Db, Options};
use record::{fill_body, Draft, Kind, Seed, State};
use std::hint::black_box;

/// Operations in one call of each function here.
pub const OPERATIONS: u64 = 1_000;
/// Entries of a filled store; its index does not grow by [`OPERATIONS`] more.
const ENTRIES: u64 = 10_000;
const KEYS_A_CALL: usize = 16;
const VALUE: [u8; 100] = [7; 100];

type Key = [u8; 16];

fn key(n: u64) -> Key {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key
}

/// Keys that are there, not in the order of insertion.
fn present() -> impl Iterator<Item = Key> {
    (0..OPERATIONS).map(|n| key(n * 7_919 % ENTRIES))
}

/// A store in memory whose background does nothing.
pub fn filled() -> Db {
    let db = Options::new().background(false).in_memory().expect("a store");
    (0..ENTRIES).for_each(|n| db.set(&key(n), &VALUE).expect("a set"));
    db.increment(b"counter", 1).expect("an increment");
    db
}

pub fn get_hit(db: &Db) {
    present()
        .for_each(|key| assert!(db.get_with(&key, |value| black_box(value[0])).expect("a get").is_some()));
}

pub fn get_copied(db: &Db) {
    present().for_each(|key| assert!(black_box(db.get(&key).expect("a get")).is_some()));
}

pub fn get_miss(db: &Db) {
    (0..OPERATIONS).for_each(|n| assert!(!db.contains(&key(ENTRIES + n)).expect("a get")));
}

/// [`OPERATIONS`] keys, sixteen a call; the last call has fewer.
pub fn get_many(db: &Db) {
    let keys: Vec<Key> = present().collect();
    let pin = db.pin().expect("a pin");
    for keys in keys.chunks(KEYS_A_CALL) {
        assert!(black_box(pin.get_many(keys).expect("a get")).iter().all(Option::is_some));
    }
}

pub fn set_new(db: &Db) {
    (0..OPERATIONS).for_each(|n| db.set(&key(ENTRIES + n), &VALUE).expect("a set"));
}

pub fn set_existing(db: &Db) {
    present().for_each(|key| db.set(&key, &VALUE).expect("a set"));
}

pub fn delete(db: &Db) {
    present().for_each(|key| assert!(db.delete(&key).expect("a delete")));
}

pub fn increment(db: &Db) {
    (0..OPERATIONS).for_each(|_| {
        black_box(db.increment(b"counter", 1).expect("an increment"));
    });
}

/// What an append does besides reserving: header, key and value into place, and the checksum over them.
pub fn encode(body: &mut [u8; 256]) {
    let seed = Seed::from_salt(7);
    for lsn in 0..OPERATIONS {
        let key = key(lsn);
        let draft = Draft {
            kind: Kind::Put,
            flags: 0,
            codec: 0,
            dictionary: 0,
            lsn,
            expire_at_ms: 0,
            key: &key,
            value: &VALUE,
        };
        black_box(fill_body(black_box(body), &draft, seed, State::Pending).expect("it fits"));
    }
}

/// The checksum alone, over as many bytes.
pub fn crc(body: &mut [u8; 256]) {
    const BYTES: usize = 24 + 16 + VALUE.len();
    (0..OPERATIONS).for_each(|_| {
        black_box(crc32fast::hash(black_box(&body[..BYTES])));
    });
}
