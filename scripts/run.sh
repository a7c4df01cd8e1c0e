#!/usr/bin/env bash
# The main job on this machine's own package index: import, kill, recovery, expiry, compaction, lookup, export.
# Called by `make run`, with the commands built.
set -euo pipefail
export LC_ALL=C

kv=$1 packages=$2
dir=$(mktemp -d)
importer=
finish() {
    # Only what this script started; it may be gone already.
    [ -z "$importer" ] || kill -9 "$importer" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
input=$dir/input.ndjson store=$dir/store

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'make run: %s\n' "$*" >&2; exit 1; }
field() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" <<<"$2"; }
stat() { field "$1" "$("$kv" stats --json "$store")"; }
now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
mib() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }

# ---------------------------------------------------------------- input
# Below this an import is over before anybody can kill it.
few=5000
dump() { apt-cache dumpavail >"$dir/raw" 2>/dev/null || true; }
dumped() { grep -c '^Package:' "$dir/raw" || true; }
dump
if [ "$(dumped)" -lt $few ] && command -v apt-get >/dev/null; then
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    echo "the package index is not here yet: apt-get update"
    "${root[@]}" apt-get update -qq || echo "apt-get update failed: going on with what is here"
    dump
fi
if [ "$(dumped)" -gt 0 ]; then
    source="apt-cache dumpavail"
    "$packages" ndjson <"$dir/raw" >"$input"
elif grep -qs '^Package:' /var/lib/dpkg/status; then
    source=/var/lib/dpkg/status
    "$packages" ndjson </var/lib/dpkg/status >"$input"
else
    source=/usr/share/dict/words
    "$(dirname "$0")/need.sh" /usr/share/dict/words=wamerican
    "$packages" words </usr/share/dict/words >"$input"
fi
rm -f "$dir/raw"
records=$(wc -l <"$input")
say "input: $records records, $(mib "$(wc -c <"$input")"), from $source"
began_ms=$(now_ms)

# ---------------------------------------------------------------- kill and recovery
say "import, killed with SIGKILL in the middle"
mkfifo "$dir/acknowledged"
start_import() {
    if [ "$records" -ge $few ]; then
        "$kv" import --json "$store" "$input" >"$dir/acknowledged" &
    else
        # So few that it would be over at once: all but the last come, and that does not before the kill.
        "$kv" import --json "$store" - < <(head -n $((records - 1)) "$input"; exec sleep 2) >"$dir/acknowledged" &
    fi
    importer=$!
}
kill_import() {
    kill -9 "$importer"
    wait "$importer" 2>/dev/null || true
    importer=
}
for attempt in 1 2 3 4 5; do
    rm -rf "$store"
    start_import
    acknowledged=0 killed=
    # What it acknowledges until the signal arrives is still read from the pipe.
    while read -r line; do
        [[ $line != *'"done"'* ]] || break
        acknowledged=$(field entries "$line")
        if [ -z "$killed" ] && [ "$acknowledged" -gt $((records / (2 + attempt))) ]; then
            kill_import
            killed=yes
        fi
    done < <(if [ "$records" -ge $few ]; then cat; else timeout 1 cat; fi <"$dir/acknowledged")
    if [ -n "$importer" ] && [ "$records" -lt $few ]; then
        kill_import
        killed=yes
    fi
    [ -z "$importer" ] || { wait "$importer" || true; importer=; }
    [[ -z $killed || $line == *'"done"'* ]] || break
    killed=
done
[ -n "$killed" ] || fail "the import was over before it could be killed"
printf '\nkilled after %s of %s records were acknowledged\n' "$acknowledged" "$records"

opened=$("$kv" watch --json --for 0s "$store")
recovery_ms=$(field open_ms "$opened")
head -n "$acknowledged" "$input" | sort >"$dir/expected"
"$kv" export --quiet "$store" | sort >"$dir/found"
missing=$(comm -23 "$dir/expected" "$dir/found" | wc -l)
invented=$(comm -13 <(sort "$input") "$dir/found" | wc -l)
echo "reopened in $recovery_ms ms with $(wc -l <"$dir/found") records: $missing acknowledged ones missing, $invented invented"
[ "$missing" = 0 ] && [ "$invented" = 0 ] || fail "the store lost or invented records"

say "import, to the end"
finished=$("$kv" import --json "$store" "$input" | tail -n 1)
[ "$(stat entries)" = "$records" ] || fail "$(stat entries) entries instead of $records"
echo "$records records in $(field ms "$finished") ms"

# ---------------------------------------------------------------- expiry
say "a tenth of the keys expires in two seconds"
tenth=$((records / 10))
"$kv" scan --keys --limit "$tenth" "$store" >"$dir/keys"
"$kv" expire "$store" 2s --keys-from "$dir/keys" >/dev/null
"$kv" watch --every 500ms --for 4s "$store"
left=$(stat entries) index=$(stat index_entries)
echo "$((records - left)) of $tenth are gone from store and index, without a read"
[ "$left" = $((records - tenth)) ] && [ "$index" = "$left" ] || fail "$left entries, $index in the index"
gone=$(head -n 1 "$dir/keys")
if "$kv" get "$store" "$gone" >/dev/null 2>&1; then fail "$gone is still there"; fi

# ---------------------------------------------------------------- compaction
say "everything is overwritten five times; the log shrinks by itself"
overwrite_ms=0
for round in 1 2 3 4 5; do
    line=$("$kv" import --json --quiet "$store" "$input" | tail -n 1)
    overwrite_ms=$((overwrite_ms + $(field ms "$line")))
    echo "round $round: $(field ms "$line") ms, log $(mib "$(stat log_bytes)")"
done
"$kv" watch --every 250ms --until-idle 1s --for 15s "$store"
log_bytes=$(stat log_bytes) live_bytes=$(stat live_bytes)
segment_bytes=$((live_bytes / 16 > 1048576 ? live_bytes / 16 : 1048576))
written_bytes=$((5 * live_bytes))
echo "$(mib "$written_bytes") of records written anew, log $(mib "$log_bytes") for $(mib "$live_bytes") that live"
[ "$log_bytes" -le $((live_bytes * 3 / 2 + 5 * segment_bytes)) ] || fail "the log stays at $log_bytes bytes"

# ---------------------------------------------------------------- lookup
say "lookup by key and by prefix"
key=$(grep -m 1 -o '^{"key":"bash"' "$input" | cut -d '"' -f 4 || true)
[ -n "$key" ] || key=$(head -n 1 "$dir/keys")
echo "kv get $key:"
"$kv" get "$store" "$key" | head -n 4
prefix=${key:0:3}
echo "kv scan --prefix $prefix --ordered --limit 5 --keys:"
"$kv" scan --prefix "$prefix" --ordered --limit 5 --keys "$store"

# ---------------------------------------------------------------- export
say "export to JSON, compared with the input"
"$kv" export --quiet --format json "$store" "$dir/export.json" >/dev/null
"$packages" compare "$input" "$dir/export.json"
"$kv" verify "$store"

bench=$("$kv" bench --json --keys 200000 --value-bytes 800 "$dir/bench")
say "in short, after $((($(now_ms) - began_ms) / 1000)) s"
row() { printf '%-34s %s\n' "$1" "$2"; }
row "records" "$records"
row "import from NDJSON, records/s" "$((5 * records * 1000 / (overwrite_ms > 0 ? overwrite_ms : 1)))"
row "set / get, ops/s (kv bench, 800 B)" "$(field set_per_second "$bench") / $(field get_per_second "$bench")"
row "recovery after SIGKILL, ms" "$recovery_ms ($acknowledged records acknowledged)"
row "log against live bytes" "$(mib "$log_bytes") / $(mib "$live_bytes")"
payload_bytes=$(field bytes "$finished")
row "bytes per entry, in the log" "$((log_bytes / records)) ($((payload_bytes / records)) of key and value)"
