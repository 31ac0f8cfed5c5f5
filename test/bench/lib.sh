# shellcheck shell=bash
# Sourced by run.sh. One run: a server is started, waited for, loaded, ended; everything on 127.0.0.1,
# all of it bounded in time, and nothing is ended but what was started here, by its id.
#
# A peer is a file peers/NAME.sh, sourced for each run in a shell of its own:
#   modes        the modes that it can be measured in
#   missing      says what is not there and how to get it; says nothing when it can be started
#   version      one line
#   start        starts it with `spawn` on $port ($port+1 to $port+9 are its own too), with its files in
#                $dir and $workers of its processes or threads; $mode is what it is started for
# and `start` may set
#   path         of the URL
#   hello        engine-bench's options by which each connection begins
#   ready        the same for the one connection that shows that the server is up
#   subscribe, publish       to join the channel of a fan-out, and to publish to it
#   join, publish_channel    the same where there are many of them
#   echo         where a message does not simply come back: the steps of engine-bench script
#   options      more of engine-bench's
#   speed        how many times the messages of a slow peer a fan-out has, so that it lasts a while

pids=() server=() # process ids: all, and those whose CPU and memory are counted

# spawn WHERE CMD…: in the background on the server's CPU, or on the load's.
spawn() {
    local where=$1
    shift
    if [[ $where == load ]]; then set -- "${on_load[@]}" "$@"; else set -- "${on_server[@]}" "$@"; fi
    "$@" >>"$dir/out" 2>>"$dir/err" &
    pids+=($!)
    [[ $where == server ]] && server+=(--pid $!)
    return 0
}

# The consumer of the engine's queues: its line of JSON is there once it has been ended.
spawn_consumer() {
    local where=$1
    shift
    await "the center" connects $((port + 1)) || return 1
    spawn "$where" "$consumer" "$@" --center 127.0.0.1:$((port + 1))
    await "the consumer" grep -q ': connected' "$dir/err"
}

# The words of the peers that speak no protocol of their own.
speak_plainly() {
    subscribe=(--pre sub --pre-expect ok)
    publish=(--pub-ws "ws://127.0.0.1:$port$path" --pub-frame 'pub:{msg}')
    join=(--join 'sub c{c}' --join-expect ok)
    publish_channel=(--pub-ws "ws://127.0.0.1:$port$path" --pub-frame 'pub c{c}:{msg}')
}

connects() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>>"$dir/probe"
}

# await WHAT CMD…: until CMD succeeds, for 10 s.
await() {
    local what=$1 end=$((SECONDS + 10))
    shift
    until "$@"; do
        if ((SECONDS >= end)); then
            echo "$peer: $what did not come up: $(tail -qn 3 "$dir/err" "$dir/probe" 2>/dev/null)" >&2
            return 1
        fi
        sleep 0.05
    done
}

answers() {
    timeout 5 "$generator" idle --url "ws://127.0.0.1:$port$path" --conns 1 --hold 0 --connect-timeout 2 "${options[@]}" \
        "${hello[@]}" "${ready[@]}" >"$dir/probe" 2>&1
}

descendants() {
    local child
    echo "$1"
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do descendants "$child"; done
}

# Asks what was spawned to end, the last first, and insists after 3 s.
stop() {
    local i pid all=()
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        pid=${pids[i]}
        mapfile -t all < <(descendants "$pid")
        kill -TERM "$pid" 2>/dev/null || true
        for _ in $(seq 60); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL "${all[@]}" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pids=()
}

# A port with nine free ones behind it, below those that the kernel hands out by itself.
free_port() {
    /usr/bin/python3 - <<'PYTHON'
import random, socket

def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

while True:
    port = random.randrange(20000, 30000)
    if all(is_free(port + i) for i in range(10)):
        print(port)
        break
PYTHON
}

cpu_ticks() {
    awk '/^cpu /{print $2 + $3 + $4 + $7 + $8 + $9}' /proc/stat
}

# Waits, for a minute at most, until others use less than 0.15 of a core.
await_quiet() {
    local before used=100
    for _ in $(seq 60); do
        before=$(cpu_ticks)
        sleep 0.5
        used=$((($(cpu_ticks) - before) * 2))
        ((used < 15)) && return 0
        sleep 0.5
    done
    echo "  (never quiet: others use $used % of a core)" >&2
}

# number KEY <JSON: that number of engine-bench's line.
number() {
    sed -n "s/.*\"$1\":\([-+.0-9e]*\).*/\1/p"
}
