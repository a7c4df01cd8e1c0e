use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

pub const PEER: Peer = Peer {
    name: "LMDB",
    krate: "heed",
    levels: &[Level::ProcessCrash, Level::PowerLoss],
    weaker: &[],
    pipeline: 1,
    pins: true,
    many: false,
    expires: false,
    hands_back: "lent, in the map",
    configuration: "heed; `WRITE_MAP`, with `NO_SYNC` where no power loss is asked for; a transaction a call, or one for 64 gets",
    fair: "A map that is written in place is its quickest mode; without syncs the pages are the system's once stored.",
    serve: |child| child.serve(open),
};

struct Lmdb {
    env: Env,
    entries: Database<Bytes, Bytes>,
}

fn open(setup: &Setup) -> Lmdb {
    const MAP_BYTES: usize = 16 << 30;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(128);
    let flags = match setup.level {
        Level::PowerLoss => EnvFlags::WRITE_MAP,
        _ => EnvFlags::WRITE_MAP | EnvFlags::NO_SYNC,
    };
    // SAFETY: the directory is this run's own; nobody else opens or changes the file.
    let env = unsafe { options.flags(flags).open(&setup.dir) }.expect("an environment");
    let mut txn = env.write_txn().expect("a transaction");
    let entries = env.create_database(&mut txn, None).expect("a database");
    txn.commit().expect("a commit");
    Lmdb { env, entries }
}

impl Engine for Lmdb {
    type Session<'a> = &'a Lmdb;

    fn session(&self) -> &Lmdb {
        self
    }
}

impl Session for &Lmdb {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.get_pinned(std::slice::from_ref(key), to) == 1
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.load(&[(*key, value)]);
    }

    fn get_pinned(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        let txn = self.env.read_txn().expect("a transaction");
        let found = |key: &&Key| {
            self.entries.get(&txn, &key[..]).expect("a get").map(|value| hand_over(value, to)).is_some()
        };
        keys.iter().filter(found).count()
    }

    fn load(&mut self, entries: &[(Key, &[u8])]) {
        let mut txn = self.env.write_txn().expect("a transaction");
        for (key, value) in entries {
            self.entries.put(&mut txn, key, value).expect("a put");
        }
        txn.commit().expect("a commit");
    }
}
