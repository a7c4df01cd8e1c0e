//! Time of the core operations. `make bench-core`.

use divan::counter::ItemsCount;
use divan::Bencher;
use kv::Db;
use kv_benches::OPERATIONS;

fn main() {
    divan::main();
}

/// On one store, since the operation leaves it as it was.
fn repeated(bencher: Bencher, operation: fn(&Db)) {
    let db = kv_benches::filled();
    bencher.counter(ItemsCount::new(OPERATIONS)).bench_local(|| operation(&db));
}

/// On a store of its own each time.
fn once(bencher: Bencher, operation: fn(&Db)) {
    bencher
        .counter(ItemsCount::new(OPERATIONS))
        .with_inputs(kv_benches::filled)
        .bench_local_refs(|db| operation(db));
}

#[divan::bench]
fn get_hit(bencher: Bencher) {
    repeated(bencher, kv_benches::get_hit);
}

#[divan::bench]
fn get_copied(bencher: Bencher) {
    repeated(bencher, kv_benches::get_copied);
}

#[divan::bench]
fn get_miss(bencher: Bencher) {
    repeated(bencher, kv_benches::get_miss);
}

#[divan::bench]
fn get_many(bencher: Bencher) {
    repeated(bencher, kv_benches::get_many);
}

#[divan::bench]
fn set_new(bencher: Bencher) {
    once(bencher, kv_benches::set_new);
}

#[divan::bench]
fn set_existing(bencher: Bencher) {
    once(bencher, kv_benches::set_existing);
}

#[divan::bench]
fn delete(bencher: Bencher) {
    once(bencher, kv_benches::delete);
}

#[divan::bench]
fn increment(bencher: Bencher) {
    once(bencher, kv_benches::increment);
}

#[divan::bench]
fn encode(bencher: Bencher) {
    let mut body = [0; 256];
    bencher.counter(ItemsCount::new(OPERATIONS)).bench_local(|| kv_benches::encode(&mut body));
}

#[divan::bench]
fn crc(bencher: Bencher) {
    let mut body = [0; 256];
    bencher.counter(ItemsCount::new(OPERATIONS)).bench_local(|| kv_benches::crc(&mut body));
}
