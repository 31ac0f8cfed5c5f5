#!/usr/bin/env bash
# scripts/fuzz.sh MINUTES [TARGET…]: runs each fuzz target that long, from its corpus and what earlier runs
# have found (build/fuzz/fuzz/found).
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:?usage: scripts/fuzz.sh MINUTES [TARGET…]}
shift
source scripts/packages.sh
packages_install "${packages_build[@]}" clang libclang-rt-14-dev
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -- --quiet
cd build/fuzz/fuzz
targets=("$@")
[[ $# -gt 0 ]] || mapfile -t targets < <(ls found)
for target in "${targets[@]}"; do
    echo "== $target"
    ./"${target}_fuzz" -max_total_time=$((minutes * 60)) -max_len=4096 -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 found/"$target" ../../../test/fuzz/corpus/"$target"
done
