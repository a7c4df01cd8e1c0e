use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use ahash::RandomState;

pub const PEER: Peer = Peer {
    name: "scc",
    krate: "scc",
    levels: &[Level::Memory],
    weaker: &[],
    pipeline: 1,
    pins: false,
    many: false,
    expires: false,
    hands_back: "lent, under a bucket's lock",
    configuration: "`HashMap<Box<[u8]>, Box<[u8]>>`, ahash, `read_sync` and `upsert_sync`",
    fair: "As papaya. Its `HashIndex` reads without a lock but cannot overwrite in place.",
    serve: |child| child.serve(|_| Map::with_hasher(RandomState::new())),
};

type Map = scc::HashMap<Box<[u8]>, Box<[u8]>, RandomState>;

impl Engine for Map {
    type Session<'a> = &'a Map;

    fn session(&self) -> &Map {
        self
    }
}

impl Session for &Map {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.read_sync(&key[..], |_, value| hand_over(value, to)).is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.upsert_sync(key[..].into(), value.into());
    }
}
