#!/usr/bin/env bash
# Modules include only those below them, as docs/architecture.md says, and libraries stay where they belong.
set -euo pipefail
shopt -s nullglob
cd "$1/engine"
# Folders, and files beside them without their endings.
declare -A may=(
    [base]="" [config]="base" [loop]="base" [msg]="loop base" [proto]="base"
    [net]="proto msg config loop base" [queue]="msg loop base" [mesh]="msg loop base"
    [channel]="base"
    [script]="mesh queue channel net proto msg config loop base"
    [worker]="script mesh queue channel net msg config loop base"
    [consumer]="proto base"
    [api]="queue mesh msg config proto loop base"
    [descriptors]="config base" [print]="base" [privilege]="base" [user]="privilege config loop base"
    [reload]="msg config base" [overload]="msg net queue base"
    [metrics]="reload overload worker config net proto loop base"
    [engine]="metrics overload reload user privilege print descriptors api worker script mesh net msg config loop base"
    [cli]="engine config" [main]="cli"
)
# Headers of libraries, and the modules that may include them.
declare -A homes=(
    [lua.h]="script" [lauxlib.h]="script" [lualib.h]="script" [luajit.h]="script"
    [libwebsockets.h]="api consumer cli" [jansson.h]="api consumer" [yaml.h]="config cli" [zlib.h]="proto"
    [hiredis/hiredis.h]="script" [curl/curl.h]="script" [crypt.h]="config api"
    [openssl/ssl.h]="config net api consumer" [openssl/err.h]="config net consumer" [openssl/x509v3.h]="config consumer"
    [openssl/evp.h]="proto script api" [openssl/crypto.h]="api" [openssl/rand.h]="api"
    [uv.h]="loop msg net queue mesh script worker api consumer overload reload cli"
)
status=0
complain() {
    echo "$1"
    status=1
}

# The lines of a module that include something: FILE:NAME, by the form of the name.
includes() {
    grep -RoE "^ *# *include $1" --include='*.[ch]' "${files[@]}" | sed -E 's/ *# *include ["<](.*)[">]/\1/'
}

for module in */ *.c; do
    module=${module%/}
    files=("$module")
    if [[ $module == *.c ]]; then
        [[ $module != *_test.c ]] || continue
        module=${module%.c}
        files=(/dev/null "$module".[ch])
    fi
    if [[ ! -v may[$module] ]]; then
        complain "engine/$module is a module that test/checks/layers.sh does not know"
        continue
    fi
    while IFS=: read -r file used; do
        used=${used%%/*}
        [[ " $module ${may[$module]} " == *" $used "* ]] ||
            complain "$file includes $used/, which $module must not use"
    done < <(includes '"[^"]*/[^"]*"')
    while IFS=: read -r file used; do
        if [[ -d $module ]]; then
            complain "$file includes \"$used\": a header is named with its module"
        elif [[ " $module ${may[$module]} " != *" ${used%.h} "* ]]; then
            complain "$file includes $used, which $module must not use"
        fi
    done < <(includes '"[^"/]+"')
    while IFS=: read -r file used; do
        [[ $file == *_test.c ]] && continue
        if [[ -v homes[$used] ]]; then
            [[ " ${homes[$used]} " == *" $module "* ]] || complain "$file includes <$used>, which belongs to: ${homes[$used]}"
        elif [[ $used == openssl/* ]]; then
            complain "$file includes <$used>, which test/checks/layers.sh does not know"
        fi
    done < <(includes '<[^>]+>')
done

# What the table of the documentation lists by name must be what is held here.
named='^ *`([a-z]+)(/|\.c)` *$'
while IFS='|' read -r _ name _ listed _; do
    [[ $name =~ $named ]] || continue
    module=${BASH_REMATCH[1]}
    [[ -v may[$module] && ! $listed =~ (all|what) ]] || continue
    read -ra words <<<"${listed//,/}"
    [[ ${words[*]} == libc ]] && words=()
    [[ $(printf '%s\n' "${words[@]}" | sort) == $(printf '%s\n' ${may[$module]} | sort) ]] ||
        complain "docs/architecture.md says that $module may use \"${words[*]}\"; test/checks/layers.sh: \"${may[$module]}\""
done <"$1/docs/architecture.md"

if grep -nE '^#include "[a-z]+/' "$1"/test/bench/load/*.[ch] | grep -vE '"(base|proto)/|"config/edit_distance.h"'; then
    complain "the files above use more of the engine than test/bench/load may"
fi
exit $status
