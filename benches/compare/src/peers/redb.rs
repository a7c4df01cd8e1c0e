use super::CACHE_BYTES;
use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use std::io;

pub const PEER: Peer = Peer {
    name: "redb",
    krate: "redb",
    levels: &[Level::ProcessCrash, Level::PowerLoss],
    weaker: &[],
    pipeline: 1,
    pins: true,
    many: false,
    expires: false,
    hands_back: "lent, in its cache",
    configuration: "cache of 1 GiB, `Durability::Immediate`; where no power loss is asked for, over a file whose sync does nothing",
    fair: "Its `Durability::None` loses all since the last immediate commit when the process dies; without syncs an immediate \
        commit is exactly with the system.",
    serve: |child| child.serve(open),
};

const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");

/// A file that is written and never synced.
#[derive(Debug)]
struct Unsynced(FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

fn open(setup: &Setup) -> Database {
    let path = setup.dir.join("redb");
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES as usize);
    let db = if setup.level == Level::PowerLoss {
        builder.create(path)
    } else {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).expect("a file");
        builder.create_with_backend(Unsynced(FileBackend::new(file).expect("a backend")))
    }
    .expect("a database");
    let txn = db.begin_write().expect("a transaction");
    txn.open_table(ENTRIES).expect("a table");
    txn.commit().expect("a commit");
    db
}

impl Engine for Database {
    type Session<'a> = &'a Database;

    fn session(&self) -> &Database {
        self
    }
}

impl Session for &Database {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.get_pinned(std::slice::from_ref(key), to) == 1
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.load(&[(*key, value)]);
    }

    fn get_pinned(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        let txn = self.begin_read().expect("a transaction");
        let table = txn.open_table(ENTRIES).expect("a table");
        let found = |key: &&Key| {
            table.get(&key[..]).expect("a get").map(|value| hand_over(value.value(), to)).is_some()
        };
        keys.iter().filter(found).count()
    }

    fn load(&mut self, entries: &[(Key, &[u8])]) {
        let txn = self.begin_write().expect("a transaction");
        {
            let mut table = txn.open_table(ENTRIES).expect("a table");
            for (key, value) in entries {
                table.insert(&key[..], *value).expect("an insert");
            }
        }
        txn.commit().expect("a commit");
    }
}
