use super::CACHE_BYTES;
use crate::child::Setup;
use crate::engine::{hand_over, Engine, Level, Peer, Session};
use crate::keys::Key;
use sled::{Db, Mode};

pub const PEER: Peer = Peer {
    name: "sled",
    krate: "sled",
    levels: &[Level::ProcessCrash, Level::PowerLoss],
    weaker: &[Level::PowerLoss],
    pipeline: 1,
    pins: false,
    many: false,
    expires: false,
    hands_back: "a counted slice",
    configuration: "cache of 1 GiB, `Mode::HighThroughput`, no timer, `flush()` after each write at both levels",
    fair: "It gathers writes in its own memory; `flush` is its only way to the system. That syncs with `sync_file_range`, which writes \
        neither the file's metadata nor the disk's cache: less than the power-loss level, and out of the contest there.",
    serve: |child| child.serve(|setup| Sled { db: open(setup).flush_every_ms(None).open().expect("a database"), flushes: true }),
};

pub const BUFFERED: Peer = Peer {
    name: "sled, buffered",
    levels: &[Level::ProcessCrash],
    weaker: &[Level::ProcessCrash],
    configuration: "the same with a flush each 500 ms, its default, and none after a write",
    fair: "Promises less than the level: SIGKILL loses what was not flushed. Out of the contest, shown because it is how sled is used.",
    serve: |child| child.serve(|setup| Sled { db: open(setup).open().expect("a database"), flushes: false }),
    ..PEER
};

struct Sled {
    db: Db,
    flushes: bool,
}

fn open(setup: &Setup) -> sled::Config {
    sled::Config::new().path(&setup.dir).cache_capacity(CACHE_BYTES).mode(Mode::HighThroughput)
}

impl Engine for Sled {
    type Session<'a> = &'a Sled;

    fn session(&self) -> &Sled {
        self
    }
}

impl Session for &Sled {
    fn get(&mut self, key: &Key, to: &mut [u8]) -> bool {
        self.db.get(key).expect("a get").map(|value| hand_over(&value, to)).is_some()
    }

    fn set(&mut self, key: &Key, value: &[u8]) {
        self.load(&[(*key, value)]);
    }

    fn load(&mut self, entries: &[(Key, &[u8])]) {
        for (key, value) in entries {
            self.db.insert(key, *value).expect("an insert");
        }
        if self.flushes {
            self.db.flush().expect("a flush");
        }
    }
}
