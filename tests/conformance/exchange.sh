#!/usr/bin/env bash
# What each host writes, each host reads: exchange.sh NAME=RUNNER..., where a RUNNER takes FILE and DIR.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pairs=0
for writer in "$@"; do
    written=$work/${writer%%=*}
    ${writer#*=} "$here/exchange/write.kvt" "$written" >"$work/log" || { cat "$work/log"; exit 1; }
    for reader in "$@"; do
        # A copy each: reading a store writes to it too.
        rm -rf "$work/copy"
        cp -a "$written" "$work/copy"
        ${reader#*=} "$here/exchange/read.kvt" "$work/copy" >"$work/log" || {
            echo "${reader%%=*} does not read what ${writer%%=*} has written"
            cat "$work/log"
            exit 1
        }
        pairs=$((pairs + 1))
    done
done
echo "exchange: $pairs pairs of hosts"
