# shellcheck shell=bash
# Workerman alone.
source "$here/peers/gateway.sh"
modes="echo1 echo16 idle10k connect echo16-2"
kind=echo

version() {
    version_of_workerman
}
