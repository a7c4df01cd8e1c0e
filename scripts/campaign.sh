#!/usr/bin/env bash
# campaign.sh TARGET_DIRECTORY: runs the suites for longer than CI has time for, and prints a report: what was tried, for how
# long, from which seed, with what result. It goes on after a part that fails, and fails in the end.
#
# PARTS                   names of parts; all, unless they are named
# KV_CAMPAIGN_MINUTES     what the parts share by the weights below, not counting builds; without it each part goes on until
#                         it has tried as many cases as stand below
# KV_SEED                 the first seed, which is drawn otherwise
#
# A random part runs in whole blocks of up to two minutes, the n-th with the first seed plus a million times n. Reports are
# kept in TARGET_DIRECTORY/campaign/report, what the last run of each part has said beside it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
target=$(realpath -m "$1")
out=$target/campaign
mkdir -p "$out"
export KV_SOAK_OPENS=${KV_SOAK_OPENS:-10000} KV_SOAK_READER_SECONDS=${KV_SOAK_READER_SECONDS:-60}

names=()
declare -A weight goal block count seed_in cases_are command
# part NAME WEIGHT GOAL BLOCK COUNT_VARIABLE SEED_VARIABLE CASES COMMAND: CASES finds a number of cases in what is printed, or
# behind a `#` what each case prints. The block is a number of cases; `seconds/N`: one block, which is told to take its share of
# seconds divided by N, and at least 1; `once`: one block.
part() {
    names+=("$1")
    weight[$1]=$2 goal[$1]=$3 block[$1]=$4 count[$1]=$5 seed_in[$1]=$6 cases_are[$1]=$7 command[$1]=$8
}
suite() { echo "cargo test --locked --features cli,ffi,testing --test $1 -- --nocapture ${2:-}"; }

# Weights are about the minutes that the goals take on two cores.
part model 10 200000 10000 KV_CASES KV_SEED 'sequences: \K\d+' "$(suite model)"
part linearizability 10 20000 1000 KV_HISTORIES KV_SEED '\d+(?= histories, )' "$(suite linearizability single_key)"
part histories 2 2000 500 KV_CRASH_HISTORIES KV_CRASH_SEED '\d+(?= histories over)' "$(suite crash histories_that)"
part steps 1 1 once - KV_CRASH_SEED 'each of \K\d+(?= system calls)' "$(suite crash every_step)"
part kills 32 10000 500 KV_CRASH_KILLS KV_CRASH_SEED '\d+(?= kills in)' "$(suite crash many_kills)"
part power 40 1000000 20000 KV_POWER_IMAGES KV_POWER_SEED '\d+(?= images of \d+ chains)' "$(suite power_loss)"
part faults 10 60000 1 KV_FAULT_ROUNDS - '\d+(?= cases in)' "$(suite faults)"
part full-disk 10 350 5 KV_FULL_DISK_ROUNDS KV_FULL_DISK_SEED '#\d+ MiB: \d+ bytes of values' "$(suite full_disk)"
part flips 11 1 once - - '\d+(?= flipped bits)' "env KV_FLIP_ONE_IN=${KV_FLIP_ONE_IN:-1} $(suite hostile flipped_bit)"
part protocol 60 1 seconds/60 KV_MODEL_MINUTES KV_MODEL_SEED '\d+(?= transitions)' "make test-protocol"
part soak 14 1 seconds/1 KV_SOAK_SECONDS KV_SOAK_SEED '#^test .* ok$' "$(suite soak)"
part shuttle 17 160000 2000 KV_SHUTTLE_ITERATIONS KV_SHUTTLE_SEED '\d+(?= schedules keep)' "make test-shuttle SHOW=--nocapture"
part fuzz 30 1 seconds/6 KV_FUZZ_SECONDS - 'units: \K\d+' "scripts/fuzz.sh \$KV_FUZZ_SECONDS"
part bugs 5 1 once - - '\d+(?= seeded bugs caught)' "make test-bugs BUGS=all"
part cinstall 1 1 once - - '#^== C: package$' "scripts/cinstall.sh $target"

cases_in() {
    case $2 in
        '#'*) grep -caP "${2#?}" "$1" ;;
        *) grep -oaP "$2" "$1" | awk '{ sum += $1 } END { print sum + 0 }' ;;
    esac
}

# run NAME SECONDS: blocks until the time is over, or without one (0) until the goal is met, or until one fails.
run() {
    local name=$1 seconds=$2 cases=0 blocks=0 result=passed began=$SECONDS found size settings
    local log=$out/$name.log
    local first=$seed
    [ "${seed_in[$name]}" != - ] || first=-
    : >"$log"
    while :; do
        size=${block[$name]}
        case $size in
            seconds/*)
                size=$(((seconds > 0 ? seconds : weight[$name] * 60) / ${size#*/}))
                size=$((size > 0 ? size : 1)) ;;
        esac
        settings=()
        [ "${count[$name]}" = - ] || settings+=("${count[$name]}=$size")
        [ "${seed_in[$name]}" = - ] || settings+=("${seed_in[$name]}=$((seed + blocks * 1000000))")
        echo "== $name ${settings[*]}" >>"$log"
        env "${settings[@]}" bash -c "${command[$name]}" >"$log.block" 2>&1 || result=FAILED
        found=$(cases_in "$log.block" "${cases_are[$name]}")
        cat "$log.block" >>"$log"
        cases=$((cases + found)) blocks=$((blocks + 1))
        [ "$found" -gt 0 ] || result=FAILED
        [ $result = passed ] || break
        if [[ ${block[$name]} = once || ${block[$name]} = seconds/* ]]; then
            break
        elif [ "$seconds" -gt 0 ]; then
            [ $((SECONDS - began)) -lt "$seconds" ] || break
        else
            [ "$cases" -lt "${goal[$name]}" ] || break
        fi
    done
    rm -f "$log.block"
    [ $result = passed ] || { failed=$((failed + 1)); tail -n 30 "$log" >&2; }
    printf '%-16s %11d %8d  %-12s %s\n' "$name" "$cases" $((SECONDS - began)) "$first" "$result" | tee -a "$out/report"
}

parts=${PARTS:-${names[*]}}
weights=0
for name in $parts; do
    [ -n "${weight[$name]:-}" ] || { echo "no such part: $name; there are: ${names[*]}" >&2; exit 2; }
    weights=$((weights + weight[$name]))
done
seed=${KV_SEED:-$SRANDOM} failed=0
# One that does not build fails again in its part, and is reported there.
cargo test -q --locked --features cli,ffi,testing --no-run || true
{
    echo
    echo "campaign of $(date -u +%FT%TZ), commit $(git describe --always --dirty 2>/dev/null)"
    printf '%-16s %11s %8s  %-12s %s\n' part cases seconds "first seed" result
} | tee -a "$out/report"
for name in $parts; do
    run "$name" $((${KV_CAMPAIGN_MINUTES:-0} * 60 * weight[$name] / weights))
done
echo "$failed parts failed; what each printed is in $out" | tee -a "$out/report"
[ $failed = 0 ]
