#!/usr/bin/env bash
# Every header compiles alone.
set -euo pipefail
cd "$1"
flags=$(pkg-config --cflags libuv luajit libwebsockets jansson yaml-0.1 hiredis libcurl)

compile() {
    # shellcheck disable=SC2086
    echo "#include \"$1\"" |
        gcc -std=gnu17 -D_GNU_SOURCE -Iengine -Iengine/consumer -I"$(dirname "$1")" -iquote . $flags -Wall -Wextra -Werror \
            -fsyntax-only -x c - || {
        echo "$1 does not compile alone"
        return 1
    }
}
export -f compile
export flags
find engine examples test -name '*.h' | sort | xargs -P "$(nproc)" -I {} bash -c 'compile {}'
