//! What the crash campaigns share: seeds that are printed and replayed, and values that prove where they come from.
#![allow(dead_code)] // Each test binary uses its part.

/// The seed in the environment variable `name`, or one drawn now; printed either way, so that a failure can be replayed.
pub fn seed(name: &str) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let seed = std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("seed: {name}={seed}");
    seed
}

/// How often to do something: `default`, unless the environment variable `name` says otherwise.
pub fn count(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// xorshift64*.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The value of write number `sequence` of `key`: names both, and ends in a checksum. Nothing else gives these bytes.
pub fn value(key: &str, sequence: u64, filler_bytes: usize) -> Vec<u8> {
    let mut bytes = format!("{key}#{sequence}#").into_bytes();
    let mut rng = Rng::new(sequence);
    bytes.extend(std::iter::repeat_with(|| rng.next() as u8).take(filler_bytes));
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}
