# shellcheck shell=bash
# Sourced by run.sh: the modes, their points, and what engine-bench is told for each.

modes_all=(echo1 echo16 fan1k fan10k publish10k roundtrip1 roundtrip16 queue queue-near idle10k connect login channels
    mixed echo16-2 fan1k-2 growth-fanout growth-memory growth-load)

# What a mode is measured at, one run each; most have one point, which has no name.
points() {
    case $mode in
    growth-fanout) echo "${fanout_points[@]}" ;;
    growth-memory) echo "${memory_points[@]}" ;;
    growth-load) echo 100 "${load_points[@]}" ;; # the first finds the maximum
    *) echo - ;;
    esac
}

size_quick() {
    time=0.5 time_long=1 warmup=0.2 thousand=100 many=300 messages=20 settle=0.5
    fanout_points=(100 300) memory_points=(100 300) load_points=(50)
}

size_full() {
    time=2.5 time_long=5 warmup=1 thousand=1000 many=10000 messages=50 settle=12
    fanout_points=(100 1000 5000 10000 19000) memory_points=(1000 5000 10000 19000)
    load_points=(10 25 50 75 90 95)
}

fanout() { # SUBSCRIBERS MESSAGES OPTIONS…
    local subscribers=$1 messages=$2
    shift 2
    run=(fanout --conns "$subscribers" --messages "$messages" --time 20 --drain 5 "${hello[@]}" "${subscribe[@]}"
        "${publish[@]}" "$@")
}

echoes() { # DEPTH OPTIONS…
    local depth=$1
    shift
    if [[ ${#echo[@]} -gt 0 ]]; then
        run=(script --conns 100 --time "$time" --warmup "$warmup" "${hello[@]}" "${echo[@]}")
    else
        run=(echo --conns 100 --depth "$depth" --size 64 --time "$time" --warmup "$warmup" "${hello[@]}" "$@")
    fi
}

# The run of $mode at $point, in the array `run`.
make_run() {
    case $mode in
    echo1 | roundtrip1) echoes 1 ;;
    echo16* | roundtrip16) echoes 16 ;;
    fan1k*) fanout "$thousand" $((10 * messages * speed)) --window 16 ;;
    fan10k) fanout "$many" $((messages * speed)) --window 8 ;;
    publish10k) fanout "$many" $((4 * time_long)) --rate 4 --bystanders 20 --bystander-rate 1000 ;;
    channels)
        run=(channels --conns "$many" --channels "$many" --subscribers 10 --messages $((4 * many))
            --window 1000 --time 20 --drain 5 "${hello[@]}" "${join[@]}" "${publish_channel[@]}")
        ;;
    mixed)
        run=(mixed --conns "$((thousand / 2))" --slow $((thousand / 20)) --slow-rate 20000 --bystanders 20
            --bystander-rate 1000 --messages $((300 * time_long)) --rate 300 --size 512 --time 20 --drain 5 "${hello[@]}"
            "${subscribe[@]}" "${publish[@]}")
        ;;
    queue*) run=(script --conns 10 --time "$time" --warmup "$warmup" --step 'burst 1000' --step-expect ok) ;;
    idle10k) run=(idle --conns "$many" --settle "$settle" --hold 2 "${hello[@]}") ;;
    connect) run=(idle --conns "$many" --hold 0 "${hello[@]}") ;;
    login) run=(idle --conns "$thousand" --hold 0 "${ready[@]}") ;;
    growth-fanout) fanout "$point" $((messages * speed * many / point)) --window 8 ;;
    growth-memory) run=(idle --conns "$point" --settle "$settle" --hold 2 "${hello[@]}") ;;
    growth-load)
        if [[ $point == 100 ]]; then echoes 1; else echoes 1 --rate "$(awk "BEGIN{print $maximum * $point / 100}")"; fi
        ;;
    *) return 1 ;;
    esac
}
