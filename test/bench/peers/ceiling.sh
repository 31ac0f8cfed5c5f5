# shellcheck shell=bash
# What this machine can do: one thread of C on epoll, no script, nothing kept. Publishes that arrive
# together are written together.
ceiling=${CEILING:-$build/tests/ceiling}
modes="echo1 echo16 fan1k fan10k publish10k idle10k connect mixed growth-fanout growth-memory growth-load"
speed=6
joined=-b

missing() {
    [[ -x $ceiling ]] || echo "no $ceiling: build the project"
}

version() {
    echo "of this tree"
}

start() {
    # shellcheck disable=SC2086
    spawn server "$ceiling" "$port" $joined
    speak_plainly
}
