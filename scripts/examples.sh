#!/usr/bin/env bash
# The examples in Rust print what their twins in C do: examples.sh DIRECTORY, where they were built.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for expected in "$root"/bindings/c/examples/*.out; do
    name=$(basename "$expected" .out)
    "$1/$name" "$work/$name" | diff "$expected" -
done
# The second run finds what the first has left.
"$1/durable_store" "$work/durable_store" | grep -qx 'visits: 2'
echo "examples: Rust prints what C prints"
