# shellcheck shell=bash
# nginx with lua and lua-resty-websocket.
modes="echo1 echo16 idle10k connect echo16-2"
root_lua=${NGINX_LUA:-$peers/nginx-lua} # where install.sh unpacks Debian's packages
resty=${RESTY:-$peers/resty}            # lua-resty-websocket and lua-resty-string: a folder with lib/resty

missing() {
    [[ -e $root_lua/usr/lib/nginx/modules/ngx_http_lua_module.so ]] || echo "no $root_lua: test/bench/peers/install.sh"
    [[ -e $resty/lib/resty/websocket/server.lua ]] ||
        echo "no $resty/lib/resty/websocket: lua-resty-websocket is not in Debian; RESTY=FOLDER names a copy"
}

version() {
    echo "nginx-lua $(cat "$root_lua/version") on nginx $(nginx -v 2>&1 | sed "s|.*/||")"
}

start() {
    sed "s|@PORT@|$port|; s|@WORKERS@|$workers|; s|@DIR@|$dir|g; s|@ROOT@|$root_lua|g; s|@RESTY@|$resty|" \
        "$here/peers/nginx-lua.conf" >"$dir/nginx.conf"
    spawn server env LD_LIBRARY_PATH="$(echo "$root_lua"/usr/lib/*-linux-gnu)" "$(type -P nginx)" -p "$dir" -c "$dir/nginx.conf"
}
