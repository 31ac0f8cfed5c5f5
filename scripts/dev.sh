#!/usr/bin/env bash
# Installs what is missing, builds build/release/engine, and runs the chat room: the engine with
# conf/chat.yaml and a consumer with the chat's logic on an SQLite file. Ctrl-C stops both.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/packages.sh
packages_install "${packages_build[@]}" python3
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" -- --quiet

build/release/engine dev -f conf/chat.yaml &
engine=$!
trap 'kill "$engine" 2>/dev/null; wait' EXIT
trap 'trap - EXIT; wait; exit 0' INT # Ctrl-C has reached both already
for _ in $(seq 100); do
    (exec 3<>/dev/tcp/127.0.0.1/6787) 2>/dev/null && break
    kill -0 "$engine" 2>/dev/null || exit 1
    sleep 0.1
done
cat <<'TEXT'

The chat room is open. With any WebSocket client, connect to ws://127.0.0.1:6790/chat and send
  {"op":"auth","args":["user1","123456"]}
  {"op":"subscribe","args":["room_101"]}
  {"op":"sendtoroom","args":["room_101","hello,world!"]}
Users: user1 and user2, password 123456. Ctrl-C stops.

TEXT
/usr/bin/python3 test/whole/chat.py --center 127.0.0.1:6787 --db build/chat.db
