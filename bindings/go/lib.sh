#!/usr/bin/env bash
# Puts the library and its header where link.go finds them: lib.sh ARCHIVE, the libkv.a that `make lib` has built.
set -euo pipefail
archive=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..

header=$(mktemp)
trap 'rm -f "$header"' EXIT
cat "$root/include/kv.h" >"$header"
# The go command knows the header, but not the archive: with the archive's sum in it, a new archive is linked.
echo "/* libkv.a: $(sha256sum <"$archive")*/" >>"$header"
cmp -s "$header" "$here/libkv.h" && [ -e "$here/internal/lib/libkv.a" ] && exit
install -D -m 644 "$archive" "$here/internal/lib/libkv.a"
# What a debugger needs of Rust's own library is nine tenths of it.
strip --strip-debug "$here/internal/lib/libkv.a"
install -m 644 "$header" "$here/libkv.h"
