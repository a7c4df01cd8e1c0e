//! Keys, values and the order in which they are asked for: the same for all.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use serde::{Deserialize, Serialize};

pub const KEY_BYTES: usize = 16;
pub type Key = [u8; KEY_BYTES];

/// A bijection, so that neighbours in a loop, and the hot keys of a distribution, are neighbours in no table.
pub fn key(n: u64) -> Key {
    let mut key = [b'k'; KEY_BYTES];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key
}

/// Values that do not compress, so that nobody gains by it.
pub struct Values {
    pool: Vec<u8>,
    pub bytes: usize,
}

impl Values {
    const POOL_BYTES: usize = 1 << 16;

    pub fn new(bytes: usize) -> Values {
        let mut pool = vec![0; Self::POOL_BYTES + bytes];
        StdRng::seed_from_u64(7).fill(&mut pool[..]);
        Values { pool, bytes }
    }

    pub fn nth(&self, n: u64) -> &[u8] {
        let at = (n as usize * 64) % Self::POOL_BYTES;
        &self.pool[at..at + self.bytes]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spread {
    Uniform,
    /// With exponent 0.99.
    Zipf,
}

/// Numbers of keys in the order in which one thread asks for them, over and over: drawn beforehand, since drawing from a
/// Zipf distribution costs as much as some of the peers' reads.
pub fn order(spread: Spread, keys: u64, thread: usize) -> Vec<u32> {
    const DRAWN: usize = 1 << 20;
    let mut rng = StdRng::seed_from_u64(thread as u64 + 1);
    match spread {
        Spread::Uniform => (0..DRAWN).map(|_| rng.random_range(0..keys) as u32).collect(),
        Spread::Zipf => {
            let zipf = Zipf::new(keys as f64, 0.99).expect("valid parameters");
            (0..DRAWN).map(|_| zipf.sample(&mut rng) as u32 - 1).collect()
        }
    }
}
