# Sourced: installs Debian packages that are missing. As root, or with sudo.
packages_build=(gcc cmake ninja-build pkg-config libc6-dev libuv1-dev libluajit-5.1-dev
    libwebsockets-dev libwebsockets-evlib-uv libjansson-dev libyaml-dev libssl-dev libcurl4-openssl-dev libhiredis-dev
    zlib1g-dev uthash-dev libcmocka-dev lua-cjson libsqlite3-dev libmariadb-dev libcrypt-dev)
packages_once=(python3 python3-websockets)
packages_test=("${packages_once[@]}" clang clang-format libclang-rt-14-dev git openssl procps python3-pytest
    python3-pytest-timeout python3-pytest-xdist python3-selenium chromium chromium-driver fonts-dejavu-core
    mariadb-server-core mariadb-client-core nginx-light libnginx-mod-stream redis-server nodejs node-ws prometheus)

packages_install() {
    local missing=() package as_root=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    [[ $(id -u) -eq 0 ]] || as_root=(sudo)
    echo "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
