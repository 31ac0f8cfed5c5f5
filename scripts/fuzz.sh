#!/usr/bin/env bash
# scripts/fuzz.sh MINUTES [TARGET…]: runs each fuzz target that long, from its corpus and what earlier runs
# have found (build/fuzz/fuzz/found), as many at once as there are CPUs (or $JOBS). Prints for each its executions,
# executions a second, what it covers, and findings. Ends with 1 where something was found.
#
# A finding is an input, build/fuzz/fuzz/findings/TARGET/…: build/fuzz/fuzz/TARGET_fuzz INPUT runs it again.
# What all runs have executed is kept in build/fuzz/fuzz/runs.tsv; scripts/fuzz.sh 0 prints the sums.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:?usage: scripts/fuzz.sh MINUTES [TARGET…]}
shift
source scripts/packages.sh
packages_install "${packages_build[@]}" clang libclang-rt-14-dev llvm
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -- --quiet
corpus=$PWD/test/fuzz/corpus
cd build/fuzz/fuzz
mkdir -p findings logs
touch runs.tsv
targets=("$@")
[[ $# -gt 0 ]] || mapfile -t targets < <(ls found)

# What libFuzzer's log says: executions, seconds, edges and features.
record() {
    local target=$1 log=logs/$1 executed seconds covered findings
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    seconds=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 \2/p' "$log" | tail -n 1)
    findings=$(find "findings/$target" -type f | wc -l)
    # shellcheck disable=SC2086
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$target" "${executed:-0}" "${seconds:-0}" ${covered:-0 0} "$findings" >>runs.tsv
}

run() {
    local target=$1 options
    mapfile -t options <"options/$target"
    mkdir -p "findings/$target"
    ./"${target}_fuzz" -max_total_time=$((minutes * 60)) -artifact_prefix="findings/$target/" "${options[@]}" \
        "found/$target" "$corpus/$target" >"logs/$target" 2>&1 ||
        echo "$target: see build/fuzz/fuzz/logs/$target" >&2
    record "$target"
}

if ((minutes > 0)); then
    for target in "${targets[@]}"; do
        while (($(jobs -rp | wc -l) >= ${JOBS:-$(nproc)})); do
            wait -n
        done
        run "$target" &
    done
    wait
fi

awk -F '\t' -v wanted=" ${targets[*]} " '
    index(wanted, " " $1 " ") { runs[$1] += $2; time[$1] += $3; edges[$1] = $4; features[$1] = $5; found[$1] = $6 }
    END {
        form = "%-16s %14d %10d %8d %9d %9d\n"
        printf "%-16s %14s %10s %8s %9s %9s\n", "target", "executions", "a second", "edges", "features", "findings"
        count = split(wanted, names, " ")
        for (i = 1; i <= count; i++) {
            name = names[i]
            printf form, name, runs[name], time[name] ? runs[name] / time[name] : 0, edges[name], features[name],
                   found[name]
            all += runs[name]
            bad += found[name]
        }
        printf "%-16s %14d %39d\n", "all", all, bad
        exit bad > 0
    }' runs.tsv
