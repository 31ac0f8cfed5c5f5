# shellcheck shell=bash
# socket.io on Node, over its WebSocket transport.
source "$here/peers/npm.sh"
modes="echo1 fan1k fan10k publish10k idle10k connect"
path='/socket.io/?EIO=4&transport=websocket'

missing() {
    missing_npm socket.io
}

version() {
    echo "socket.io $(npm_version socket.io) on Node $(node --version)"
}

start() {
    spawn server node "$here/peers/socketio.js" "$port"
    hello=(--pre-expect '0{' --pre 40 --pre-expect '40{')
    subscribe=(--pre '42["sub"]' --pre-expect '42["ok"')
    publish=(--pub-ws "ws://127.0.0.1:$port$path" --pub-pre-expect '0{' --pub-pre 40 --pub-pre-expect '40{'
        --pub-frame '42["pub","{msg}"]')
    local text
    text=$(printf 'x%.0s' $(seq 54)) # the whole frame has 64 bytes
    echo=(--step "42[\"e\",\"$text\"]" --step-expect '42["e"')
    options=(--auto '2=3')
}
