use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use ahash::RandomState;

pub const PEER: Peer = Peer {
    name: "dashmap",
    krate: "dashmap",
    levels: &[Level::Memory],
    weaker: &[],
    pipeline: 1,
    pins: false,
    many: false,
    expires: false,
    hands_back: "lent, under a shard's lock",
    configuration: "`DashMap<Box<[u8]>, Box<[u8]>>`, ahash, its default number of shards",
    fair: "As papaya.",
    serve: |child| child.serve(|_| Map::with_hasher(RandomState::new())),
};

type Map = dashmap::DashMap<Box<[u8]>, Box<[u8]>, RandomState>;

impl Engine for Map {
    type Session<'a> = &'a Map;

    fn session(&self) -> &Map {
        self
    }
}

impl Session for &Map {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        Map::get(self, &key[..]).map(|value| hand_over(&value, to)).is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.insert(key[..].into(), value.into());
    }
}
