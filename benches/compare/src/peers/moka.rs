use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use ahash::RandomState;
use std::sync::Arc;
use std::time::Duration;

pub const PEER: Peer = Peer {
    name: "moka",
    krate: "moka",
    levels: &[Level::Memory],
    weaker: &[],
    pipeline: 1,
    pins: false,
    many: false,
    expires: true,
    hands_back: "a counted reference (`Arc`)",
    configuration: "`sync::Cache<Box<[u8]>, Arc<[u8]>>`, ahash, no bound; `time_to_live` of a second for TTL churn",
    fair: "Without a bound it keeps no frequencies and evicts nothing, as libkv here. `Arc` is what it recommends.",
    serve: |child| child.serve(open),
};

type Cache = moka::sync::Cache<Box<[u8]>, Arc<[u8]>, RandomState>;

fn open(setup: &Setup) -> Cache {
    let mut builder = moka::sync::Cache::builder();
    if let Some(ttl_ms) = setup.ttl_ms {
        builder = builder.time_to_live(Duration::from_millis(ttl_ms));
    }
    builder.build_with_hasher(RandomState::new())
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
