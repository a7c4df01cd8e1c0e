#!/usr/bin/env bash
# Installs what `make install-lib` has built: install.sh BUILD_DIRECTORY VERSION PREFIX. DESTDIR is put before PREFIX.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1
version=$2
prefix=$3
to=${DESTDIR:-}$prefix

install -d "$to/include" "$to/lib/pkgconfig"
install -m 644 "$here/../../include/kv.h" "$to/include/kv.h"
install -m 644 "$build/libkv.a" "$to/lib/libkv.a"
install -m 755 "$build/libkv.so" "$to/lib/libkv.so.$version"
ln -sf "libkv.so.$version" "$to/lib/libkv.so.${version%%.*}"
ln -sf "libkv.so.${version%%.*}" "$to/lib/libkv.so"
# What a debugger needs of Rust's own library is nine tenths of both.
strip --strip-debug "$to/lib/libkv.a" "$to/lib/libkv.so.$version"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$here/libkv.pc.in" >"$to/lib/pkgconfig/libkv.pc"
