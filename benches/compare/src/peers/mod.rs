//! One file a peer.

mod dashmap;
mod fjall;
mod libkv;
mod lmdb;
mod moka;
mod papaya;
mod quick_cache;
mod redb;
mod redis;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod scc;
mod sled;

use crate::engine::Peer;

pub const LIBKV: &str = libkv::PEER.name;
/// The one that is no part of its user's process.
pub const REDIS: &str = redis::PEER.krate;

/// Memory that engines with a cache of their own may use: all of the data fits, as it does in the page cache that the
/// others rely on.
const CACHE_BYTES: u64 = 1 << 30;

pub fn all() -> Vec<&'static Peer> {
    vec![
        &libkv::PEER,
        &papaya::PEER,
        &dashmap::PEER,
        &scc::PEER,
        &moka::PEER,
        &quick_cache::PEER,
        &lmdb::PEER,
        #[cfg(feature = "rocksdb")]
        &rocksdb::PEER,
        &fjall::PEER,
        &redb::PEER,
        &sled::PEER,
        &sled::BUFFERED,
        &redis::PEER,
        &redis::PIPELINED,
    ]
}

pub fn named(name: &str) -> &'static Peer {
    all().into_iter().find(|peer| peer.name == name).unwrap_or_else(|| panic!("no peer {name}"))
}
