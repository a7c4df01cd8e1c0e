#!/usr/bin/env bash
# `cargo cinstall` gives what `make install-lib` does: cinstall.sh TARGET_DIRECTORY, where cargo-c goes if it is lacking.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath "$1")
export PATH=$target/tools/bin:$PATH
if ! command -v cargo-cinstall >/dev/null; then
    echo "installing cargo-c"
    cargo install --quiet --locked cargo-c --version 0.10.24 --root "$target/tools"
fi
cd "$root"
rm -rf "$target/cinstall"
cargo cinstall --locked --release --target-dir "$target/cargo-c" --prefix "$target/cinstall" --libdir lib
bindings/c/package.sh "$target/cinstall"
