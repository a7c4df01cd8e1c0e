#!/usr/bin/env bash
# The tests of the C ABI: plain, under ASan and UBSan, under valgrind, and the examples. Called by `make test-c`.
#
#   bindings/c/test.sh STATIC_LIBRARY [plain|asan|valgrind|examples|conformance]...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
library=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- plain asan valgrind examples conformance

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR=$work
flags=(-g -Wall -Wextra -Werror -pedantic -I"$root/include")
libraries=("$library" -lpthread -ldl -lm)

plain() {
    cc -std=c99 "${flags[@]}" "$here/tests/twice.c" "${libraries[@]}" -o "$work/twice"
    "$work/twice"
    c++ -std=c++17 "${flags[@]}" "$here/tests/throws.cpp" "${libraries[@]}" -o "$work/throws"
    "$work/throws"
    cc -std=c11 "${flags[@]}" "$here"/tests/suite/*.c "${libraries[@]}" -o "$work/plain"
    "$work/plain"
}

# ASan brings the leak sanitizer along.
asan() {
    cc -std=c11 -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
        "${flags[@]}" "$here"/tests/suite/*.c "${libraries[@]}" -o "$work/asan"
    KV_SCALE=${KV_SCALE:-20} ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 \
        UBSAN_OPTIONS=print_stacktrace=1 "$work/asan"
}

valgrind() {
    cc -std=c11 "${flags[@]}" "$here"/tests/suite/*.c "${libraries[@]}" -o "$work/valgrind"
    KV_SCALE=${KV_SCALE:-500} KV_CALLS=${KV_CALLS:-3000} command valgrind --quiet --error-exitcode=9 \
        --log-file="$work/valgrind.%p.log" --leak-check=full --errors-for-leak-kinds=definite,indirect \
        --show-leak-kinds=definite,indirect --fair-sched=yes "$work/valgrind"
    # A forked child reports too, and its exit code says nothing of that.
    if grep . "$work"/valgrind.*.log; then
        exit 1
    fi
}

# What an example prints is what its twin in Rust prints, and what docs/c.md shows.
examples() {
    for source in "$here"/examples/*.c; do
        name=$(basename "$source" .c)
        cc -std=c99 "${flags[@]}" "$source" "${libraries[@]}" -o "$work/$name"
        "$work/$name" "$work/$name.data" >"$work/$name.out"
        diff "$here/examples/$name.out" "$work/$name.out"
    done
    # The second run finds what the first has left.
    "$work/durable_store" "$work/durable_store.data" | grep -qx 'visits: 2'
    sed -n '/^```c$/,/^```$/p' "$root/docs/c.md" | grep -v '^```' >"$work/docs.c"
    cc -std=c99 "${flags[@]}" "$work/docs.c" "${libraries[@]}" -o "$work/docs"
    sed -n '/^```c$/,/^```$/p' "$root/README.md" | grep -v '^```' >"$work/readme.c"
    cc -std=c99 "${flags[@]}" "$work/readme.c" "${libraries[@]}" -o "$work/readme"
    mkdir "$work/readme.store"
    (cd "$work/readme.store" && "$work/readme") | grep -qx Alice
    (cd "$work" && ./docs) | diff <(sed -n '/^```output$/,/^```$/p' "$root/docs/c.md" | grep -v '^```') -
}

# With the sanitizers too: the script goes through every operation.
conformance() {
    cc -std=c11 -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
        "${flags[@]}" "$here"/tests/conformance/*.c "${libraries[@]}" -o "$work/conformance"
    for script in "$root"/tests/conformance/*.kvt; do
        "$work/conformance" "$script" "$work/conformance-$(basename "$script" .kvt)"
    done
}

for part in "$@"; do
    echo "== C: $part"
    "$part"
done
