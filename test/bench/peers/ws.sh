# shellcheck shell=bash
# npm's ws on Node.
source "$here/peers/npm.sh"
modes="echo1 echo16 fan1k fan10k publish10k idle10k connect channels mixed"

missing() {
    missing_npm ws
}

version() {
    echo "ws $(npm_version ws) on Node $(node --version)"
}

start() {
    spawn server node "$here/peers/ws.js" "$port"
    speak_plainly
}
