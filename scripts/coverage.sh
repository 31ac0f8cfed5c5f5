#!/usr/bin/env bash
# Which lines the unit tests and the whole-process tests run, by folder of engine/; ends non-zero when a folder
# that is held to a share has less.
#   scripts/coverage.sh               builds, runs all of them, reports
#   scripts/coverage.sh -R 'unit|…'   the same with these options of ctest in place of its selection
#   scripts/coverage.sh --report      what has been counted so far
# What one file's lines were run: scripts/coverage.sh --show FILE
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh
packages_install "${packages_build[@]}" "${packages_test[@]}"
build=build/coverage

objects() { # the programs that have run, as llvm-cov takes them
    echo "$build/engine"
    printf -- '-object=%s\n' "$build"/{chat,libmix-consumer.so} "$build"/tests/*
}

counted() {
    llvm-profdata merge --failure-mode=all -o "$build/coverage.profdata" "$build"/profiles/*.profraw
}

report() {
    local arguments
    mapfile -t arguments < <(objects)
    counted
    llvm-cov export -summary-only -instr-profile="$build/coverage.profdata" "${arguments[@]}" 2>/dev/null |
        /usr/bin/python3 scripts/coverage.py
}

show() {
    local arguments
    mapfile -t arguments < <(objects)
    counted
    llvm-cov show -instr-profile="$build/coverage.profdata" "${arguments[@]}" "$(realpath "$1")" 2>/dev/null
}

case "${1:-}" in
--report)
    report
    exit
    ;;
--show)
    show "${2:?usage: scripts/coverage.sh --show FILE}"
    exit
    ;;
esac
cmake --preset coverage >/dev/null
cmake --build --preset coverage -j "$(nproc)" -- --quiet
rm -rf "$build/profiles"
selection=("$@")
[[ $# -gt 0 ]] || selection=(-L 'unit|whole')
status=0
ctest --test-dir "$build" -j "$(nproc)" --output-on-failure "${selection[@]}" || status=1
report || status=1
exit "$status"
