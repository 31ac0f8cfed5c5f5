#!/usr/bin/env bash
# The checks of the tree can fail: each defect, put into a copy, is told by the check and by its words.
set -euo pipefail
checks=$(cd "$(dirname "$0")" && pwd)
source=$1
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
status=0

fresh() { # a copy of these folders
    rm -rf "${copy:?}"/*
    mkdir -p "$copy"/{engine,examples,test/bench/load,docs}
    cp "$source/docs/architecture.md" "$copy/docs/"
    for folder in "$@"; do
        cp -r "$source/engine/$folder" "$copy/engine/"
    done
}

expect() { # CHECK WORDS: it fails and says so
    local said
    if said=$("$checks/$1.sh" "$copy" 2>&1); then
        echo "$1.sh does not see: $2"
        status=1
    elif ! grep -qF "$2" <<<"$said"; then
        printf '%s.sh does not say "%s" but:\n%s\n' "$1" "$2" "$said"
        status=1
    fi
}

passes() {
    "$checks/$1.sh" "$copy" >/dev/null || {
        echo "$1.sh fails without a defect"
        status=1
    }
}

seed() { # FILE LINE
    echo "$2" >>"$copy/$1"
}

fresh base proto
touch "$copy/test/bench/load/x.c"
passes layers
seed engine/base/list.h '#include "proto/utf8.h"'
expect layers "base/list.h includes proto/, which base must not use"
fresh base proto
touch "$copy/test/bench/load/x.c"
seed engine/proto/utf8.c '#include <uv.h>'
expect layers "proto/utf8.c includes <uv.h>, which belongs to"
seed engine/proto/ws.c '#include "metrics.h"'
expect layers 'proto/ws.c includes "metrics.h": a header is named with its module'
mkdir "$copy/engine/extra"
expect layers "engine/extra is a module that test/checks/layers.sh does not know"
seed test/bench/load/x.c '#include "script/vm.h"'
expect layers "use more of the engine than test/bench/load may"
sed -i '/^| `proto\/`/s/base |$/loop, base |/' "$copy/docs/architecture.md"
expect layers 'docs/architecture.md says that proto may use "loop base"'
fresh base print.c print.h
touch "$copy/test/bench/load/x.c"
passes layers
seed engine/print.c '#include "loop/listener.h"'
expect layers "print.c includes loop/, which print must not use"
seed engine/print.h '#include "engine.h"'
expect layers "print.h includes engine.h, which print must not use"
seed engine/print.c '#include <openssl/ssl.h>'
expect layers "print.c includes <openssl/ssl.h>, which belongs to"
seed engine/base/list.h '#include <openssl/sha.h>'
expect layers "base/list.h includes <openssl/sha.h>, which test/checks/layers.sh does not know"
cp "$copy/engine/print.c" "$copy/engine/extra.c"
expect layers "engine/extra is a module that test/checks/layers.sh does not know"
fresh channel base
passes headers
sed -i '/#include/d' "$copy/engine/channel/channel.h"
expect headers "engine/channel/channel.h does not compile alone"
exit $status
