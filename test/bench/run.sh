#!/usr/bin/env bash
# Measures the engine and its peers side by side, in turn (A B C A B C …), and prints medians and ratios.
#   --peers "NAMES"     of test/bench/peers; those that can be started when not given
#   --modes "NAMES"     of test/bench/modes.sh; all when not given
#   --rounds N          runs of each; 3
#   --setting pin|nat   pin: the server on CPU 0, engine-bench on CPU 1; nat: the kernel decides
#   --quick             tenths of seconds and hundreds of connections: shows that it works, measures nothing
#   --report            runs nothing: prints what was measured last
#   --write-docs        puts the tables into docs/performance.md, or into --docs FILE
# Figures of several calls add up: of each mode the last call that had it counts. Folders:
#   BUILD           build/release     the programs; GENERATOR, ENGINE, CEILING, CONSUMER name others
#   BENCH_PEERS     build/bench       what peers/install.sh has installed
#   BENCH_RESULTS   build/bench/results
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$(realpath -m "${BUILD:-$root/build/release}")
peers=$(realpath -m "${BENCH_PEERS:-$root/build/bench}")
results=$(realpath -m "${BENCH_RESULTS:-$root/build/bench/results}")
generator=${GENERATOR:-$build/engine-bench}
consumer=${CONSUMER:-$build/tests/bench-consumer}
source "$here/lib.sh"
source "$here/modes.sh"

names='' modes_wanted=${modes_all[*]} rounds=3 setting=pin size=full only_report= docs=$root/docs/performance.md write_docs=

fail() {
    echo "run.sh: $*" >&2
    exit 2
}

while (($#)); do
    case $1 in
    --peers | --modes | --rounds | --setting | --docs) (($# > 1)) || fail "$1 needs a value" ;;
    esac
    case $1 in
    --peers) names=$2 && shift ;;
    --modes) modes_wanted=$2 && shift ;;
    --rounds) rounds=$2 && shift ;;
    --setting) setting=$2 && shift ;;
    --docs) docs=$2 && shift ;;
    --quick) size=quick ;;
    --report) only_report=1 ;;
    --write-docs) write_docs=1 ;;
    *)
        sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "$0"
        [[ $1 == -h || $1 == --help ]] && exit 0
        fail "unknown option $1"
        ;;
    esac
    shift
done
[[ $setting == pin || $setting == nat ]] || fail "--setting is pin or nat"
[[ $rounds =~ ^[1-9][0-9]*$ ]] || fail "--rounds is a number"
for mode in $modes_wanted; do
    [[ " ${modes_all[*]} " == *" $mode "* ]] || fail "no mode $mode; there are: ${modes_all[*]}"
done
[[ $setting == nat || $(nproc) -gt 1 ]] || fail "one CPU cannot be shared out; --setting nat"

report() {
    /usr/bin/python3 "$here/report.py" ${write_docs:+--docs "$docs"} "$results"
}

if [[ $only_report ]]; then
    report
    exit
fi

# ---- which peers ----

# in_peer NAME COMMAND…: in a shell of its own, as peers use the same names for their own words.
in_peer() {
    (
        peer=$1
        shift
        path=/ hello=() ready=() subscribe=() publish=() join=() publish_channel=() echo=() options=() speed=1
        source "$here/peers/$peer.sh"
        "$@"
    )
}

all_peers=(engine engine-codec engine-chat ceiling ceiling-single bun nats nchan ws socketio nginx-lua gateway workerman)
measured=()
for name in ${names:-${all_peers[*]}}; do
    [[ -e $here/peers/$name.sh ]] || fail "no peer $name; there are: ${all_peers[*]}"
    why=$(in_peer "$name" missing)
    if [[ -z $why ]]; then measured+=("$name"); else echo "without $name: $why" >&2; fi
done
((${#measured[@]})) || fail "none of the peers is there"
[[ -x $generator ]] || fail "no $generator: build the project"

# ---- the runs ----

ulimit -n "$(ulimit -Hn)"
mkdir -p "$results"
scratch=$(mktemp -d "$results/run.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
file=$results/$(date -u +%Y%m%dT%H%M%SZ).jsonl
size_$size

noise_max=0.12 tries=3

is_less() {
    awk "BEGIN{exit !($1 < $2)}"
}

quoted() { # for JSON
    sed 's/\\/\\\\/g; s/"/\\"/g' <<<"$*"
}

write_head() {
    local name versions=()
    for name in "${measured[@]}"; do versions+=("\"$name\":\"$(quoted "$(in_peer "$name" version)")\""); done
    printf '{"day":"%s","machine":"%s","cores":%d,"memory_gib":%d,"kernel":"%s","system":"%s","setting":"%s","size":"%s","rounds":%d,"versions":{%s}}\n' \
        "$(date -u +%F)" "$(quoted "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)")" "$(nproc)" \
        "$(awk '/^MemTotal/{print int($2 / 1048576 + 0.5)}' /proc/meminfo)" "$(uname -sr)" \
        "$(. /etc/os-release && quoted "$PRETTY_NAME")" "$setting" "$size" "$rounds" "$(IFS=, && echo "${versions[*]}")" \
        >"$file"
}

place() { # where the server and the load run
    workers=1 on_server=() on_load=()
    if [[ $mode == *-2 ]]; then
        workers=2
    elif [[ $setting == pin ]]; then
        on_server=(taskset -c 0) on_load=(taskset -c 1)
    fi
}

# One run of $mode at $point by $peer, whose words are there; its line of JSON in $dir/line.
once() {
    dir=$(mktemp -d "$scratch/XXXXXX")
    trap 'stop; rm -rf "$dir"' EXIT
    port=$(free_port)
    place
    start && await "the server" answers && make_run || return 1
    [[ $size == quick ]] || await_quiet
    timeout 90 "${on_load[@]}" "$generator" "${run[@]}" --url "ws://127.0.0.1:$port$path" "${options[@]}" \
        "${server[@]}" --children --json >"$dir/load" 2>"$dir/load.err" || [[ -s $dir/load ]] || {
        echo "$peer $mode: $(head -c 300 "$dir/load.err")" >&2
        return 1
    }
    stop
    printf '{"peer":"%s","mode":"%s","point":"%s","round":%d,"load":%s,"consumer":%s}\n' "$peer" "$mode" "$point" \
        "$round" "$(cat "$dir/load")" "$(grep -h '^{"events"' "$dir/out" || echo null)" >"$scratch/line"
}

# A run that others disturbed is repeated, and the quietest counts.
measure() {
    local try other least=1000
    rm -f "$scratch/best"
    for try in $(seq "$tries"); do
        in_peer "$peer" once || continue
        cat "$scratch/line" >>"$file.all"
        other=$(number other_cpu_cores <"$scratch/line")
        if is_less "${other:=0}" "$least"; then
            least=$other
            cp "$scratch/line" "$scratch/best"
        fi
        if is_less "$least" $noise_max || [[ $size == quick ]]; then break; fi
    done
    [[ -e $scratch/best ]] || return 0
    cat "$scratch/best" >>"$file"
    echo "  $peer $mode ${point#-} round $round$( ((try > 1)) && echo ", $try tries")" >&2
}

can() { # whether $1 has $mode
    [[ " $(in_peer "$1" eval 'echo $modes') " == *" $mode "* ]]
}

write_head
declare -A maxima=()
for mode in $modes_wanted; do
    for round in $(seq "$rounds"); do
        for point in $(points); do
            for peer in "${measured[@]}"; do
                can "$peer" || continue
                maximum=${maxima[$peer]:-1}
                measure
                [[ $mode != growth-load || $point != 100 || ! -e $scratch/best ]] ||
                    maxima[$peer]=$(number msgs_per_s <"$scratch/best")
            done
        done
    done
done
report
