#!/usr/bin/env bash
# run.sh [all|fast [PATTERN]]: seeds each bug of this directory (whose name fits the pattern) in a copy of the tree and shows
# which test catches it; `fast` leaves the slow ones out. Fails if one goes uncaught, or if a test fails without a bug.
#
# A patch begins with what is wrong, the rule that it breaks, and the test that has to notice: `Caught by:` a test target and a
# filter. All are applied to one copy, where `switch.patch` lets KV_BUG choose among them, so that one build serves all. Those
# of the loom models change an ordering and no more, and are built one by one.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
copy=$target/bugs
only=${1:-all}
# What takes longer comes to no end, whatever else the machine does.
seconds_max=${KV_BUG_SECONDS:-900}
# A race is not lost each time: a test that passes with a bug is run again, so often in all, and the line says which time it was.
times_max=5
# Without a bug little is enough; with one a random test goes on until it fails, and nobody looks at the smallest case.
brief=(KV_CASES=150 KV_HISTORIES=100 KV_CRASH_KILLS=60 KV_CRASH_HISTORIES=50 KV_POWER_IMAGES=1500)
long=(KV_CASES=20000 KV_SNAPSHOTS=100000 KV_HISTORIES=5000 KV_CRASH_KILLS=1000 KV_CRASH_HISTORIES=1000 KV_POWER_IMAGES=100000 KV_SHRINKS=0)

field() { sed -n "s/^$2: //p" "$1" | head -1; }

# copy_tree TREE: times are those of the copy, so that cargo sees that a bug has gone; and the copy has a version of its own,
# so that it shares the target directory's dependencies and nothing else: cargo takes two trees for one otherwise.
copy_tree() {
    rm -rf "${copy:?}/$1"
    mkdir -p "$copy/$1"
    git ls-files -z | tar --null --files-from=- --ignore-failed-read -cf - 2>/dev/null | tar -xmf - -C "$copy/$1"
    sed -i '0,/^version = .*/s//version = "0.0.0-bugs"/' "$copy/$1"/{,tests/loom/}Cargo.toml
    sed -i '/^name = "\(libkv\|kv-loom\)"$/{n;s/.*/version = "0.0.0-bugs"/}' "$copy/$1"/{,tests/loom/}Cargo.lock
}

# seed TREE PATCH
seed() {
    patch -d "$copy/$1" -p1 -s --no-backup-if-mismatch <"$2" || { echo "$2 does not apply: the code has moved on, so must the patch" >&2; exit 1; }
}

kind() { if [ "$1" = lib ]; then echo --lib; else echo "--test=$1"; fi; }

# In the copy that all bugs are seeded in.
cargo_test=(cargo test -q --locked --features testing,redis-tls --manifest-path "$copy/all/Cargo.toml" --target-dir "$target"
    --config profile.test.package.libkv.opt-level=1 --config profile.test.package.libkv.debug=false)

# run TARGET FILTER: one test of it.
run() {
    timeout -k 5 "$seconds_max" env "${settings[@]}" "${cargo_test[@]}" "$(kind "$1")" -- "${@:2}" >"$copy/log" 2>&1
}

# run_loom FILTER: one model of the copy that one bug is seeded in. Each interleaving is tried: once is enough.
run_loom() {
    local model=(cargo test -q --locked --release --manifest-path "$copy/model/tests/loom/Cargo.toml" --target-dir "$target/loom")
    times=1
    "${model[@]}" --no-run || { echo "the models do not build" >&2; exit 1; }
    timeout -k 5 "$seconds_max" "${model[@]}" -- "$@" >"$copy/log" 2>&1
}

# run_until_caught TARGET FILTER: the test's last status, and in `times` how often it ran.
run_until_caught() {
    for ((times = 1; ; times++)); do
        run "$@" || return $?
        ((times < times_max)) || return 0
    done
}

uncaught=() caught=0 began=$SECONDS since=$SECONDS
# judge NAME WHERE STATUS: what the run that has just ended says about a bug.
judge() {
    local reason
    reason=$(grep -aE -A1 "panicked at" "$copy/log" | grep -avE "panicked at|^--" | head -1 | cut -c1-110 || true)
    if [ "$3" = 0 ]; then
        uncaught+=("$1")
        echo "UNCAUGHT  $1: $2 passes, $times times" >&2
    elif [ "$3" = 124 ] || [ "$3" = 137 ]; then
        uncaught+=("$1")
        echo "UNCAUGHT  $1: $2 comes to no end within $seconds_max s" >&2
    else
        caught=$((caught + 1))
        [ "$times" = 1 ] || reason="(time $times) $reason"
        printf 'caught %3d s  %-33s %-48s %s\n' $((SECONDS - since)) "$1" "$2" "${reason:-$(grep -aE "SIG[A-Z]+|test failed" "$copy/log" | head -1 | cut -c1-110)}"
    fi
}

bugs=() models=()
for patch in tests/bugs/${2:-*}.patch; do
    [ "$patch" != tests/bugs/switch.patch ] || continue
    [ "$only" = all ] || [ -z "$(field "$patch" Slow)" ] || continue
    if [[ "$(field "$patch" "Caught by")" = loom* ]]; then models+=("$patch"); else bugs+=("$patch"); fi
done

if [ ${#bugs[@]} -gt 0 ]; then
    copy_tree all
    for patch in tests/bugs/switch.patch "${bugs[@]}"; do seed all "$patch"; done
    wheres=$(for patch in "${bugs[@]}"; do field "$patch" "Caught by"; done | sort -u | tr ' ' '/')
    mapfile -t kinds < <(for where in $wheres; do kind "${where%%/*}"; done | sort -u)
    "${cargo_test[@]}" --no-run "${kinds[@]}"
    echo "built after $((SECONDS - began)) s"
    settings=("${brief[@]}")
    for where in $wheres; do
        run ${where//\// } || { cat "$copy/log"; echo "${where//\// } fails without a bug" >&2; exit 1; }
    done
    echo "without a bug every test passes, after $((SECONDS - began)) s"
    for patch in "${bugs[@]}"; do
        name=$(basename "$patch" .patch) where=$(field "$patch" "Caught by") status=0 since=$SECONDS
        settings=("${long[@]}" KV_BUG="$name")
        run_until_caught $where || status=$?
        judge "$name" "$where" "$status"
    done
fi
for patch in "${models[@]}"; do
    copy_tree model
    seed model "$patch"
    where=$(field "$patch" "Caught by") status=0 since=$SECONDS
    run_loom ${where#loom} || status=$?
    judge "$(basename "$patch" .patch)" "$where" "$status"
done
echo "$caught seeded bugs caught, ${#uncaught[@]} not${uncaught[*]:+ (${uncaught[*]})}, in $((SECONDS - began)) s; those of src/testing.rs are turned on by the tests themselves"
[ ${#uncaught[@]} = 0 ]
