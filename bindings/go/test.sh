#!/usr/bin/env bash
# The tests of the Go host. Called by `make test-go`, after lib.sh:
#
#   bindings/go/test.sh TARGET_DIRECTORY [vet|staticcheck|race|cgocheck|system]...
set -euo pipefail
target=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- vet staticcheck race cgocheck system
cd "$(dirname "$0")"

staticcheck_version=v0.8.2

vet() {
    [ -z "$(gofmt -l .)" ] || { gofmt -d .; exit 1; }
    go vet ./...
}

staticcheck() {
    local tools=$target/go-tools/$staticcheck_version
    [ -x "$tools/staticcheck" ] ||
        GOBIN=$tools go install "honnef.co/go/tools/cmd/staticcheck@$staticcheck_version"
    "$tools/staticcheck" ./...
}

# The programs that tests start are not built for it, so they are left to the next part.
race() {
    KV_OPENS=${KV_OPENS:-500} KV_HISTORIES=${KV_HISTORIES:-150} \
        go test -race -count=1 -skip 'Conformance|Docs|Examples' ./...
}

# Go pointers in memory of C, and pointers to them that cross.
cgocheck() {
    GOEXPERIMENT=cgocheck2 go test -count=1 ./...
}

# Linked with what `make install-lib` has put into TARGET_DIRECTORY/package.
system() {
    PKG_CONFIG_PATH=$target/package/lib/pkgconfig LD_LIBRARY_PATH=$target/package/lib \
        go test -count=1 -tags libkv_system -run 'Options|Value|Listener' .
}

for part in "$@"; do
    echo "== Go: $part"
    "$part"
done
