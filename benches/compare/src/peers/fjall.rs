use super::CACHE_BYTES;
use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use fjall::config::{CompressionPolicy, HashRatioPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

pub const PEER: Peer = Peer {
    name: "fjall",
    krate: "fjall",
    levels: &[Level::ProcessCrash, Level::PowerLoss],
    weaker: &[],
    pipeline: 1,
    pins: false,
    many: false,
    expires: false,
    hands_back: "a counted slice",
    configuration: "cache of 1 GiB, hash index in its data blocks (0.75), no compression; hands each write to the system by default; \
        `persist(SyncData)` after each where power loss is asked for",
    fair: "All blocks in its cache; the hash index is its own aid to gets of single keys.",
    serve: |child| child.serve(open),
};

struct Fjall {
    db: Database,
    entries: Keyspace,
    synced: bool,
}

fn open(setup: &Setup) -> Fjall {
    let db = Database::builder(&setup.dir).cache_size(CACHE_BYTES).open().expect("a database");
    let options = || {
        KeyspaceCreateOptions::default()
            .data_block_compression_policy(CompressionPolicy::disabled())
            .data_block_hash_ratio_policy(HashRatioPolicy::all(0.75))
    };
    let entries = db.keyspace("entries", options).expect("a keyspace");
    Fjall { db, entries, synced: setup.level == Level::PowerLoss }
}

impl Fjall {
    fn persist(&self) {
        if self.synced {
            self.db.persist(PersistMode::SyncData).expect("a sync");
        }
    }
}

impl Engine for Fjall {
    type Session<'a> = &'a Fjall;

    fn session(&self) -> &Fjall {
        self
    }
}

impl Session for &Fjall {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.entries.get(key).expect("a get").map(|value| hand_over(&value, to)).is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.entries.insert(&key[..], value).expect("an insert");
        self.persist();
    }

    fn load(&mut self, entries: &[(Key, &[u8])]) {
        let mut batch = self.db.batch();
        for (key, value) in entries {
            batch.insert(&self.entries, &key[..], *value);
        }
        batch.commit().expect("a batch");
        self.persist();
    }
}
