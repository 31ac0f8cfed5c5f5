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

build/release/engine dev -f conf/chat.yaml &
programs+=($!)
exec {chat}< <(exec build/release/chat --center 127.0.0.1:6787 --db sqlite:build/users.db)
programs+=($!)
until read -r -t 0.2 line <&"$chat"; do # the chat says "ready" once it is connected
    [[ $? -gt 128 ]] && kill -0 "${programs[0]}" 2>/dev/null || exit 1
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
