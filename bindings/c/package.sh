#!/usr/bin/env bash
# What `make install-lib` installs is enough for a program outside of the tree: package.sh PREFIX, where it was installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
cp "$here/examples/batch.c" "$work"
cd "$work"

cc -std=c99 -Wall -Wextra -Werror batch.c $(pkg-config --cflags --libs libkv) -o dynamic
readelf -d dynamic | grep -q 'NEEDED.*\[libkv\.so\.0\]'
LD_LIBRARY_PATH=$prefix/lib ./dynamic | diff "$here/examples/batch.out" -

flags=$(pkg-config --cflags --static --libs libkv)
# What cargo-c writes asks for libgcc_s, of which there is no archive: then only libkv is linked as one.
case $flags in
    *-lgcc_s*) flags=${flags/-lkv/-l:libkv.a} ;;
    *) flags="-static $flags" ;;
esac
cc -std=c99 -Wall -Wextra -Werror batch.c $flags -o static
./static | diff "$here/examples/batch.out" -

readelf -d "$prefix/lib/libkv.so" | grep -q 'SONAME.*\[libkv\.so\.0\]'
nm -D --defined-only "$prefix/lib/libkv.so" | awk '{print $3}' | sort | diff "$here/../../include/symbols.txt" -
printf '#include <kv.h>\n#include <stdio.h>\nint main(void) { puts(kv_version_text()); return 0; }\n' >version.c
cc version.c $(pkg-config --cflags --libs libkv) -o version
LD_LIBRARY_PATH=$prefix/lib ./version | diff <(pkg-config --modversion libkv) -
echo "== C: package"
