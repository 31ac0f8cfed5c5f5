#!/usr/bin/env bash
# Modules include only those below them (docs/architecture.md), and lua.h stays in script/.
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
status=0
for module in "${!may[@]}"; do
    while IFS=: read -r file used; do
        [[ " $module ${may[$module]} " == *" $used "* ]] && continue
        echo "$file includes $used/, which $module must not use"
        status=1
    done < <(grep -RoE '^#include "[a-z]+/' "$module" | sed -E 's/#include "([a-z]+)\//\1/')
done
if grep -nE '^#include "[a-z]+/' "$1"/test/bench/load/*.[ch] | grep -vE '"(base|proto)/|"config/edit_distance.h"'; then
    echo "the files above use more of the engine than test/bench/load may"
    status=1
fi
if grep -RlE '#include <(lua|lauxlib|lualib)\.h>' --include='*.[ch]' . | grep -v '^./script/'; then
    echo "the files above include Lua's headers outside of script/"
    status=1
fi
exit $status
