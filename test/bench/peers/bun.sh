# shellcheck shell=bash
# Bun (uWebSockets). It has no threads to spread over: where there is no
# channel, two workers are two processes on one port.
source "$here/peers/npm.sh"
modes="echo1 echo16 fan1k fan10k publish10k idle10k connect channels mixed echo16-2 fan1k-2 growth-fanout growth-memory growth-load"
speed=6

missing() {
    missing_npm bun
}

version() {
    echo "Bun $(npm_version bun)"
}

start() {
    local processes=1
    [[ $mode != echo16-2 ]] || processes=$workers # only one process can publish to all
    for _ in $(seq "$processes"); do
        spawn server env REUSEPORT=1 "$NPM/node_modules/bun/bin/bun.exe" "$here/peers/bun.js" "$port"
    done
    speak_plainly
}
