use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use ahash::RandomState;
use quick_cache::sync::{Cache as Sharded, DefaultLifecycle};
use quick_cache::UnitWeighter;
use std::sync::Arc;

pub const PEER: Peer = Peer {
    name: "quick_cache",
    krate: "quick_cache",
    levels: &[Level::Memory],
    weaker: &[],
    pipeline: 1,
    pins: false,
    many: false,
    expires: false,
    hands_back: "a counted reference (`Arc`)",
    configuration: "`sync::Cache<Box<[u8]>, Arc<[u8]>>`, ahash, room for twice the keys",
    fair: "It needs a bound; with this one it evicts nothing.",
    serve: |child| child.serve(open),
};

type Cache = Sharded<Box<[u8]>, Arc<[u8]>, UnitWeighter, RandomState>;

fn open(setup: &Setup) -> Cache {
    let items = 2 * setup.keys;
    Cache::with(items as usize, items, UnitWeighter, RandomState::new(), DefaultLifecycle::default())
}

impl Engine for Cache {
    type Session<'a> = &'a Cache;

    fn session(&self) -> &Cache {
        self
    }
}

impl Session for &Cache {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        Cache::get(self, &key[..]).map(|value| hand_over(&value, to)).is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.insert(key[..].into(), value.into());
    }
}
