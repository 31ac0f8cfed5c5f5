#!/usr/bin/env bash
# Installs what run.sh measures the engine against and Debian or npm have, as root: install.sh [FOLDER],
# build/bench when not given. lua-resty-websocket, GatewayWorker and PHP's event are neither's: run.sh says how to name them.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=${1:-$root/build/bench}
source "$root/scripts/packages.sh"
packages=(nginx-light libnginx-mod-nchan nats-server php8.2-cli)
[[ -n $(type -P npm) ]] || packages+=(nodejs npm) # another Node than Debian's may be there
packages_install "${packages[@]}"
mkdir -p "$folder/npm" "$folder/nginx-lua"

(cd "$folder/npm" && npm install --no-audit --no-fund --prefix . bun@1.4.5 ws@8.23.0 socket.io@4.8.4 bufferutil@4.1.0)

# Debian's nginx module for Lua conflicts with the LuaJIT that the engine is built on, and apt would
# remove that: so it is unpacked, not installed.
cd "$folder/nginx-lua"
rm -f ./*.deb
apt-get download libnginx-mod-http-lua libnginx-mod-http-ndk libluajit2-5.1-2 lua-resty-core lua-resty-lrucache
for package in *.deb; do dpkg-deb -x "$package" .; done
dpkg-deb -f libnginx-mod-http-lua_*.deb Version >version
rm -f ./*.deb
