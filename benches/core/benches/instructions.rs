//! Instructions of the core operations, counted by valgrind. `make bench-instructions` compares with the last run and fails when
//! one takes five in a hundred more.

use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};
use kv::Db;
use kv_benches::filled;

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn get_hit(db: Db) -> Db {
    kv_benches::get_hit(&db);
    db
}

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn get_copied(db: Db) -> Db {
    kv_benches::get_copied(&db);
    db
}

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn get_miss(db: Db) -> Db {
    kv_benches::get_miss(&db);
    db
}

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn get_many(db: Db) -> Db {
    kv_benches::get_many(&db);
    db
}

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn set_new(db: Db) -> Db {
    kv_benches::set_new(&db);
    db
}

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn set_existing(db: Db) -> Db {
    kv_benches::set_existing(&db);
    db
}

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn delete(db: Db) -> Db {
    kv_benches::delete(&db);
    db
}

#[library_benchmark]
#[bench::of_1000(setup = filled)]
fn increment(db: Db) -> Db {
    kv_benches::increment(&db);
    db
}

#[library_benchmark]
#[bench::of_1000([0; 256])]
fn encode(mut body: [u8; 256]) {
    kv_benches::encode(&mut body);
}

#[library_benchmark]
#[bench::of_1000([0; 256])]
fn crc(mut body: [u8; 256]) {
    kv_benches::crc(&mut body);
}

library_benchmark_group!(
    name = core,
    benchmarks =
        [get_hit, get_copied, get_miss, get_many, set_new, set_existing, delete, increment, encode, crc]
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::default().soft_limits([(EventKind::Ir, 5.0)])),
    library_benchmark_groups = core
);
