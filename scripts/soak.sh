#!/usr/bin/env bash
# scripts/soak.sh HOURS [OPTIONS]: build/release/engine under mixed traffic, churn and reloads for so long (0.33 is
# twenty minutes). Every few seconds it writes what the engine takes to build/soak/soak.csv; at the end it says
# whether memory, Lua heap, files and threads are flat over the second half, and draws soak.svg. --help for more.
set -euo pipefail
cd "$(dirname "$0")/.."
exec /usr/bin/python3 test/chaos/soak.py "$@"
