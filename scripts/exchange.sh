#!/usr/bin/env bash
# Runs tests/conformance/exchange.sh with the runners of all four hosts: exchange.sh TARGET_DIRECTORY, after their tests have
# built what they link.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
# As `make test-rust` builds it.
rust=(cargo test --locked --features cli,ffi,testing,msgpack,postcard,prost --test conformance)
"${rust[@]}" --no-run
cc -std=c11 -g -Iinclude bindings/c/tests/conformance/*.c "$target/debug/libkv.a" -lpthread -ldl -lm -o "$work/c"
(cd bindings/go && go build -o "$work/go" ./internal/conformance)
tests/conformance/exchange.sh \
    "rust=${rust[*]} --quiet --" \
    "c=$work/c" "go=$work/go" "python=$target/python/fresh/bin/python $root/bindings/python/tests/conformance.py"
