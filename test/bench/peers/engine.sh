# shellcheck shell=bash
# The engine with its built-in WebSocket.
engine=${ENGINE:-$build/engine}
modes="echo1 echo16 fan1k fan10k publish10k roundtrip1 roundtrip16 queue queue-near idle10k connect channels mixed
    echo16-2 fan1k-2 growth-fanout growth-memory growth-load"
script=$here/engine/websocket.lua
protocol='protocol: websocket,'
speed=6

missing() {
    [[ -x $engine ]] || echo "no $engine: build the project"
}

version() {
    "$engine" version | head -n 1
}

start_engine() {
    sed "s|@PORT@|$port|; s|@CENTER@|$((port + 1))|; s|@API@|$((port + 2))|; s|@ENTRY@|$script|; s|@PROTOCOL@|$protocol|" \
        "$here/engine/conf.yaml" >"$dir/engine.yaml"
    spawn server "$engine" single -f "$dir/engine.yaml" -p "$workers"
}

start() {
    case $mode in
    roundtrip*)
        script=$here/engine/queue.lua
        start_engine
        spawn_consumer server echo
        ready=(--pre hello --pre-expect hello)
        ;;
    queue*) # `near`: on the server's CPU
        script=$here/engine/queue.lua
        start_engine
        spawn_consumer "$([[ $mode == queue-near ]] && echo server || echo load)" count
        ;;
    *) start_engine ;;
    esac
    speak_plainly
}
