#!/usr/bin/env bash
# .clang-format decides the layout of all C sources.
set -euo pipefail
cd "$1"
git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format --dry-run -Werror
