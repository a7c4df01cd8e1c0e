#!/usr/bin/env bash
# Fuzzes each target, or those named, for so many seconds each: fuzz.sh SECONDS [TARGET]...
# KV_FUZZ_TOOLS is where cargo-fuzz is installed when it is lacking.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
seconds=$1
shift
[ $# -gt 0 ] || set -- record segment manifest import operations calls
tools=${KV_FUZZ_TOOLS:-$root/target/tools}
export PATH=$tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
    echo "installing cargo-fuzz into ${tools#"$root/"}"
    cargo install --quiet --locked cargo-fuzz --version 0.13.2 --root "$tools"
fi
# Sanitizers and coverage are not stable; the compiler is.
export RUSTC_BOOTSTRAP=1
cd "$root"
# Its own target directory is an instrumented build of everything.
target=${CARGO_TARGET_DIR:-$root/target}/fuzz
mkdir -p "$target"
unset CARGO_TARGET_DIR
# The suite's calls leak nothing that is kept, so leaks count.
for name in "$@"; do
    mkdir -p "fuzz/corpus/$name"
    echo "== fuzz: $name"
    cargo fuzz run --target-dir "$target" "$name" "fuzz/corpus/$name" "fuzz/seeds/$name" -- \
        -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=4096 -timeout=60 -print_final_stats=1 2>"$target-$name.log" ||
        { tail -n 60 "$target-$name.log"; exit 1; }
    grep -E '^(Done|stat::number_of_executed_units)' "$target-$name.log"
done
