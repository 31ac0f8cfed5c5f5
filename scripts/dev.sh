#!/usr/bin/env bash
# Installs what is missing, builds the engine and the chat consumer, and runs the chat room: both of them,
# on conf/chat.yaml and an SQLite file. Ctrl-C stops them.
#   scripts/dev.sh           until Ctrl-C
#   scripts/dev.sh --once    plays the chat document's transcript, prints each frame, and ends; with status 0
#                            if all came as the document shows
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
'' | --once) ;;
*)
    echo "usage: scripts/dev.sh [--once]" >&2
    exit 64
    ;;
esac
source scripts/packages.sh
packages=("${packages_build[@]}")
[[ -z ${1:-} ]] || packages+=("${packages_once[@]}")
packages_install "${packages[@]}"
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" --target engine chat -- --quiet

stop() {
    trap - EXIT INT TERM
    kill "${programs[@]}" 2>/dev/null || true
    wait
    exit "$1"
}
programs=()
trap 'stop $?' EXIT
trap 'stop 0' INT TERM

for port in 6787 6789 6790; do # an engine that runs already would be taken for ours
    if (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; then
        echo "port $port is in use: stop what listens there, or change conf/chat.yaml and this script" >&2
        exit 1
    fi
done
build/release/engine dev -f conf/chat.yaml &
programs+=($!)
exec {ready}<> <(:) # a pipe
build/release/chat --center 127.0.0.1:6787 --db sqlite:build/users.db >&"$ready" &
programs+=($!)
until read -r -t 0.2 _ <&"$ready"; do # the chat says "ready" once it is connected
    for program in "${programs[@]}"; do
        kill -0 "$program" 2>/dev/null || exit 1
    done
done

if [[ ${1:-} == --once ]]; then
    /usr/bin/python3 examples/chat/transcript.py
    exit
fi
cat <<'TEXT'

The chat room is open at http://127.0.0.1:6789/ (users user1 and user2, password 123456).
Or connect any WebSocket client to ws://127.0.0.1:6790/chat and send
  {"op":"auth","args":["user1","123456"]}
  {"op":"subscribe","args":["room_101"]}
  {"op":"sendtoroom","args":["room_101","hello,world!"]}
Ctrl-C stops.

TEXT
wait -n "${programs[@]}" || exit 1
