# Sourced: installs Debian packages that are missing. As root, or with sudo.
packages_build=(gcc cmake ninja-build pkg-config libc6-dev libuv1-dev libluajit-5.1-dev
    libwebsockets-dev libwebsockets-evlib-uv libjansson-dev libyaml-dev libssl-dev libcurl4-openssl-dev libhiredis-dev
    zlib1g-dev uthash-dev libcmocka-dev lua-cjson libsqlite3-dev libmariadb-dev libcrypt-dev)
packages_once=(python3 python3-websockets)
packages_test=("${packages_once[@]}" clang clang-format clang-tidy cppcheck libclang-rt-14-dev llvm curl git openssl procps python3-pytest
    python3-pytest-timeout python3-pytest-xdist python3-seccomp python3-selenium chromium chromium-driver fonts-dejavu-core
    mariadb-server-core mariadb-client-core nginx-light libnginx-mod-stream redis-server nodejs node-ws prometheus
    php8.2-cli systemd)

# Servers among them (nginx, redis, prometheus) are for tests, which start their own: Debian's way to say
# that installing one does not start it is this file (invoke-rc.d(8)).
packages_policy=/usr/sbin/policy-rc.d

packages_without_starting() {
    local status=0
    if [[ -e $packages_policy ]]; then
        "$@" || status=$?
    else
        "${packages_as_root[@]}" install -m 755 /dev/stdin "$packages_policy" <<<$'#!/bin/sh\nexit 101'
        "$@" || status=$?
        "${packages_as_root[@]}" rm -f "$packages_policy"
    fi
    return "$status"
}

packages_install() {
    local missing=() package
    packages_as_root=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    [[ $(id -u) -eq 0 ]] || packages_as_root=(sudo)
    echo "installing ${missing[*]}"
    "${packages_as_root[@]}" apt-get update -qq
    packages_without_starting "${packages_as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
