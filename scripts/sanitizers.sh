#!/usr/bin/env bash
# sanitizers.sh TARGET_DIR: AddressSanitizer and its leak detection over the concurrency tests, ThreadSanitizer over the models of
# tests/loom on real threads. Each first has to find what is put there for it.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "$1")
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
# Sanitizers are not stable; the compiler is.
export RUSTC_BOOTSTRAP=1
log=$target/sanitizers.log
mkdir -p "$target"

# finds WORDS COMMAND…: the command fails and says so.
finds() {
    if "${@:2}" >"$log" 2>&1 || ! grep -q "$1" "$log"; then
        tail -n 40 "$log"
        echo "sanitizers: $1 was to be found, and was not" >&2
        exit 1
    fi
    echo "found, as it has to be: $1"
}

echo "== AddressSanitizer"
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
address=-Zsanitizer=address
rustc --edition 2021 --target "$host" -O "$address" -o "$target/sanitizer-faults" tests/sanitizers/faults.rs
finds heap-use-after-free "$target/sanitizer-faults" use-after-free
finds "LeakSanitizer: detected memory leaks" "$target/sanitizer-faults" leak
KV_HISTORIES=${KV_HISTORIES:-200} RUSTFLAGS=$address \
    "$cargo" test --locked --features testing --target "$host" --target-dir "$target/asan" --lib \
    --test linearizability --test mechanisms --test mechanisms_crash --test stress --test operations

echo "== ThreadSanitizer"
# The standard library is not compiled with it, and would be with -Zbuild-std only, which needs its sources.
thread="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
export TSAN_OPTIONS="suppressions=$PWD/tests/races/suppressions exitcode=66"
races() {
    RUSTFLAGS=$thread "$cargo" test --locked --release --manifest-path tests/races/Cargo.toml --target "$host" \
        --target-dir "$target/tsan" -- --test-threads 1 "$@"
}
finds "ThreadSanitizer: data race" races a_victim_must_not_be_unmapped_without_a_grace_period
# Models of a rule that is taken out ask loom to see what happens only now and then on real threads.
races --skip must --skip only_the_reservation
