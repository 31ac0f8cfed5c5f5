# shellcheck shell=bash
# The engine with the script of the chat example, whose queues a consumer empties; where clients log in
# it runs on the server's CPU, and counts.
source "$here/peers/engine.sh"
modes="idle10k connect login growth-memory"
script=$root/examples/chat/entry.lua
protocol=
path=/chat

start() {
    local where=load
    [[ $mode != login ]] || where=server
    start_engine
    spawn_consumer $where login --topic chat --topic conn
    ready=(--pre '{"op":"auth","args":["name","password"]}' --pre-expect ok)
}
