# shellcheck shell=bash
# nginx with nchan; publishes over a WebSocket.
modes="fan1k fan10k publish10k idle10k connect"
speed=2
path=/sub

missing() {
    [[ -n $(type -P nginx) && -e /usr/lib/nginx/modules/ngx_nchan_module.so ]] ||
        echo "no nginx with nchan: apt-get install nginx-light libnginx-mod-nchan"
}

version() {
    echo "nchan $(dpkg-query -W -f '${Version}' libnginx-mod-nchan) on nginx $(nginx -v 2>&1 | sed "s|.*/||")"
}

start() {
    sed "s|@PORT@|$port|; s|@WORKERS@|$workers|; s|@DIR@|$dir|g" "$here/peers/nchan.conf" >"$dir/nginx.conf"
    spawn server nginx -p "$dir" -c "$dir/nginx.conf"
    publish=(--pub-ws "ws://127.0.0.1:$port/pub" --pub-frame '{msg}')
}
