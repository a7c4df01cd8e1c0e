use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use ahash::RandomState;

pub const PEER: Peer = Peer {
    name: "papaya",
    krate: "papaya",
    levels: &[Level::Memory],
    weaker: &[],
    pipeline: 1,
    pins: true,
    many: false,
    expires: false,
    hands_back: "lent",
    configuration: "`HashMap<Box<[u8]>, Box<[u8]>>`, ahash, `pin()` a call",
    fair: "Keys and values of any length, as libkv's; the hash function is libkv's.",
    serve: |child| child.serve(|_| Map::with_hasher(RandomState::new())),
};

type Map = papaya::HashMap<Box<[u8]>, Box<[u8]>, RandomState>;

impl Engine for Map {
    type Session<'a> = &'a Map;

    fn session(&self) -> &Map {
        self
    }
}

impl Session for &Map {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.pin().get(&key[..]).map(|value| hand_over(value, to)).is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.pin().insert(key[..].into(), value.into());
    }

    fn get_pinned(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        let map = self.pin();
        keys.iter().filter(|key| map.get(&key[..]).map(|value| hand_over(value, to)).is_some()).count()
    }
}
