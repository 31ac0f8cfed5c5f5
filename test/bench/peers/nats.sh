# shellcheck shell=bash
# nats-server: its own protocol in binary WebSocket frames.
modes="fan1k fan10k publish10k idle10k connect"
speed=4

missing() {
    [[ -n $(type -P nats-server) ]] || echo "no nats-server: apt-get install nats-server"
}

version() {
    nats-server --version
}

start() {
    local connect='CONNECT {"verbose":false,"pedantic":false,"protocol":1}\r\nPING\r\n'
    sed "s|@PORT@|$port|; s|@PORT2@|$((port + 1))|" "$here/peers/nats.conf" >"$dir/nats.conf"
    spawn server env GOMAXPROCS="$workers" "$(type -P nats-server)" -c "$dir/nats.conf" -l "$dir/nats.log"
    hello=(--pre-expect INFO --pre "$connect" --pre-expect PONG)
    subscribe=(--pre 'SUB ch 1\r\nPING\r\n' --pre-expect PONG)
    publish=(--pub-ws "ws://127.0.0.1:$port/" --pub-pre-expect INFO --pub-pre "$connect" --pub-pre-expect PONG
        --pub-frame 'PUB ch 64\r\n{msg}\r\n')
    options=(--binary --auto 'PING\r\n=PONG\r\n')
    case $mode in fan* | publish*) publish+=(--stream) ;; esac
}
