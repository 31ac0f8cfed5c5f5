#!/usr/bin/env bash
# Every header compiles alone.
set -euo pipefail
cd "$1/engine"
flags=$(pkg-config --cflags libuv luajit libwebsockets jansson yaml-0.1)
status=0
for header in $(find . -name '*.h' -printf '%P\n' | sort); do
    # shellcheck disable=SC2086
    echo "#include \"$header\"" |
        gcc -std=gnu17 -D_GNU_SOURCE -I. $flags -Wall -Wextra -Werror -fsyntax-only -x c - || {
        echo "$header does not compile alone"
        status=1
    }
done
cd "$1/test/bench/load"
for header in *.h; do
    echo "#include \"$header\"" |
        gcc -std=gnu17 -D_GNU_SOURCE -I. -I"$1/engine" -Wall -Wextra -Werror -fsyntax-only -x c - || {
        echo "test/bench/load/$header does not compile alone"
        status=1
    }
done
exit $status
