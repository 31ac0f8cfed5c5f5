#!/usr/bin/env bash
# Installs what the tests need, builds every preset, runs the analysis and every test. The last lines are ctest's.
#   scripts/test.sh           everything
#   scripts/test.sh release   one preset alone: release, release-clang, asan, tsan, fuzz
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh
packages_install "${packages_build[@]}" "${packages_test[@]}"

presets=("${@:-}")
[[ $# -gt 0 ]] || presets=(release-clang fuzz asan tsan release)
jobs=$(nproc)

for preset in "${presets[@]}"; do
    echo "== $preset: build"
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset" -j "$jobs" -- --quiet
done

status=0
if [[ $# -eq 0 ]]; then
    echo "== analysis"
    scripts/analyse.sh || {
        status=1
        failed+=" analysis"
    }
fi
for preset in "${presets[@]}"; do
    echo "== $preset: tests"
    select=()
    # The compilers' builds differ in code generation alone: the unit tests tell.
    [[ $preset == release-clang ]] && select=(-L unit)
    [[ $preset == fuzz ]] && select=(-L fuzz)
    ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure "${select[@]}" || {
        status=1
        failed+=" $preset"
    }
done
[[ $status -eq 0 ]] || echo "failed in:$failed" >&2
exit $status
