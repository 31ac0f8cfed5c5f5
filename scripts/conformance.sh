#!/usr/bin/env bash
# Plays the WebSocket suite against build/release: prints the cases that fail and a table, and writes each case's result
# to build/conformance.json.
#   scripts/conformance.sh                      every case; the words are suite.py's (--help)
#   scripts/conformance.sh --mutants [NAME…]    seeds defects into the engine, one at a time: the suite must notice each
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh
packages_install "${packages_build[@]}" python3 python3-pytest
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" --target engine -- --quiet
if [[ ${1:-} == --mutants ]]; then
    shift
    exec /usr/bin/python3 test/mutants.py --suite build/release "$@"
fi
ENGINE=build/release/engine exec /usr/bin/python3 test/conformance/suite.py --out build/conformance.json "$@"
