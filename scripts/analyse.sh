#!/usr/bin/env bash
# clang-tidy (.clang-tidy) and cppcheck over all C sources. What was found clean is not looked at again until it, or
# a header that it includes, has changed: build/analysis remembers.
#   scripts/analyse.sh            all
#   scripts/analyse.sh FILE…      these, whether they have changed or not
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh
packages_install "${packages_build[@]}" clang clang-tidy cppcheck
cmake --preset release >/dev/null
exec /usr/bin/python3 scripts/analyse.py build/release/compile_commands.json build/analysis "$@"
