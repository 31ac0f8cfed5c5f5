#!/usr/bin/env bash
# Modules include only those below them, as docs/architecture.md says, and libraries stay where they belong.
set -euo pipefail
cd "$1/engine"
declare -A may=(
    [base]="" [config]="base" [loop]="base" [msg]="loop base" [proto]="base"
    [net]="proto msg config loop base" [queue]="msg loop base" [mesh]="msg loop base"
    [channel]="base"
    [script]="mesh queue channel net proto msg config loop base"
    [worker]="script mesh queue channel net msg config loop base"
    [consumer]="proto base"
    [api]="queue mesh msg config proto loop base"
)
# Headers of libraries, and the folders that may include them.
declare -A homes=(
    [lua.h]="script" [lauxlib.h]="script" [lualib.h]="script" [luajit.h]="script"
    [libwebsockets.h]="api consumer" [jansson.h]="api consumer" [yaml.h]="config" [zlib.h]="proto"
    [hiredis/hiredis.h]="script" [curl/curl.h]="script"
    [uv.h]="loop msg net queue mesh script worker api consumer"
)
status=0
complain() {
    echo "$1"
    status=1
}

for module in */; do
    module=${module%/}
    if [[ ! -v may[$module] ]]; then
        complain "engine/$module is a module that test/checks/layers.sh does not know"
        continue
    fi
    while IFS=: read -r file used; do
        [[ " $module ${may[$module]} " == *" $used "* ]] ||
            complain "$file includes $used/, which $module must not use"
    done < <(grep -RoE '^ *# *include "[^"]*/' "$module" | sed -E 's/ *# *include "([^"]*)\//\1/')
    while IFS=: read -r file used; do
        complain "$file includes \"$used\": a header is named with its module"
    done < <(grep -RoE '^ *# *include "[^"/]+"' "$module" | sed -E 's/ *# *include "(.*)"/\1/')
    while IFS=: read -r file used; do
        [[ ! -v homes[$used] || " ${homes[$used]} " == *" $module "* ]] ||
            complain "$file includes <$used>, which belongs to: ${homes[$used]}"
    done < <(grep -RoE '^ *# *include <[^>]+>' --include='*.[ch]' --exclude='*_test.c' "$module" |
        sed -E 's/ *# *include <(.*)>/\1/')
done

# What the table of the documentation lists by name must be what is held here.
while IFS='|' read -r _ name _ listed _; do
    module=$(sed -nE 's/^ *`([a-z]+)\/` *$/\1/p' <<<"$name")
    [[ -n $module && -v may[$module] && ! $listed =~ (all|what) ]] || continue
    read -ra words <<<"${listed//,/}"
    [[ ${words[*]} == libc ]] && words=()
    [[ $(printf '%s\n' "${words[@]}" | sort) == $(printf '%s\n' ${may[$module]} | sort) ]] ||
        complain "docs/architecture.md says that $module/ may use \"${words[*]}\"; test/checks/layers.sh: \"${may[$module]}\""
done <"$1/docs/architecture.md"

if grep -nE '^#include "[a-z]+/' "$1"/test/bench/load/*.[ch] | grep -vE '"(base|proto)/|"config/edit_distance.h"'; then
    complain "the files above use more of the engine than test/bench/load may"
fi
exit $status
