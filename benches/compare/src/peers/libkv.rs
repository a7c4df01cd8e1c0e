use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use kv::{Db, Options, Sync};
use std::time::Duration;

pub const PEER: Peer = Peer {
    name: "libkv",
    krate: "libkv",
    levels: &[Level::Memory, Level::ProcessCrash, Level::PowerLoss],
    weaker: &[],
    pipeline: 1,
    pins: true,
    many: true,
    expires: true,
    hands_back: "lent (`get_with`)",
    configuration: "defaults; `in_memory`, `Sync::Never`, `Sync::Always`",
    fair: "What a user gets. `Never` syncs nothing, as the others at that level.",
    serve: |child| child.serve(open),
};

struct Store {
    db: Db,
    synced: bool,
}

fn open(setup: &Setup) -> Store {
    let options = Options::new().default_ttl(setup.ttl_ms.map(Duration::from_millis));
    let db = match setup.level {
        Level::Memory => options.in_memory(),
        Level::ProcessCrash => options.sync(Sync::Never).open(&setup.dir),
        Level::PowerLoss => options.sync(Sync::Always).open(&setup.dir),
    }
    .expect("a store");
    Store { db, synced: setup.level == Level::PowerLoss }
}

impl Engine for Store {
    type Session<'a> = &'a Store;

    fn session(&self) -> &Store {
        self
    }
}

impl Session for &Store {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.db.get_with(key, |value| hand_over(value, to)).expect("a get").is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.db.set(key, value).expect("a set");
    }

    fn get_pinned(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        let pin = self.db.pin().expect("a pin");
        let found = |key: &&Key| pin.get(*key).expect("a get").map(|value| hand_over(&value, to)).is_some();
        keys.iter().filter(found).count()
    }

    fn get_many(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        let pin = self.db.pin().expect("a pin");
        let values = pin.get_many(keys).expect("a get");
        values.iter().flatten().map(|value| hand_over(value, to)).count()
    }

    fn load(&mut self, entries: &[(Key, &[u8])]) {
        if self.synced {
            return self.db.set_many(entries).expect("a batch");
        }
        entries.iter().for_each(|(key, value)| self.set(key, value));
    }
}
