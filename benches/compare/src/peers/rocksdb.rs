use super::CACHE_BYTES;
use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use rocksdb::{DBCompressionType, Options, WriteBatch, WriteOptions, DB};

pub const PEER: Peer = Peer {
    name: "RocksDB",
    krate: "rocksdb",
    levels: &[Level::ProcessCrash, Level::PowerLoss],
    weaker: &[],
    pipeline: 1,
    pins: false,
    many: true,
    expires: false,
    hands_back: "lent (`get_pinned`); `multi_get` copies",
    configuration: "compiled by its crate; `optimize_for_point_lookup(1 GiB)` (block cache, bloom filters, hash index), two \
        background threads, no compression; `sync` of a write only where power loss is asked for, always with the log",
    fair: "Its own preset for gets of single keys, all blocks in its cache; the values do not compress.",
    serve: |child| child.serve(open),
};

struct Rocks {
    db: DB,
    write: WriteOptions,
}

fn open(setup: &Setup) -> Rocks {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.optimize_for_point_lookup(CACHE_BYTES >> 20);
    options.increase_parallelism(2);
    options.set_compression_type(DBCompressionType::None);
    let mut write = WriteOptions::default();
    write.set_sync(setup.level == Level::PowerLoss);
    Rocks { db: DB::open(&options, &setup.dir).expect("a database"), write }
}

impl Engine for Rocks {
    type Session<'a> = &'a Rocks;

    fn session(&self) -> &Rocks {
        self
    }
}

impl Session for &Rocks {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.db.get_pinned(key).expect("a get").map(|value| hand_over(&value, to)).is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.db.put_opt(key, value, &self.write).expect("a put");
    }

    fn get_many(&mut self, keys: &[Key], to: &mut [u8]) -> usize {
        let values = self.db.multi_get(keys);
        values
            .iter()
            .filter_map(|value| value.as_ref().expect("a get").as_ref().map(|v| hand_over(v, to)))
            .count()
    }

    fn load(&mut self, entries: &[(Key, &[u8])]) {
        let mut batch = WriteBatch::default();
        for (key, value) in entries {
            batch.put(key, value);
        }
        self.db.write_opt(batch, &self.write).expect("a batch");
    }
}
