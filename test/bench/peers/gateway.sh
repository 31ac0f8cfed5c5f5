# shellcheck shell=bash
# GatewayWorker: a gateway process and a business process, which is its consumer.
modes="roundtrip1 roundtrip16 fan1k fan10k publish10k idle10k connect login"
gateway=${GATEWAYWORKER:-$peers/gateway} # vendor/autoload.php, or GatewayWorker, workerman and coroutine
event=${PHP_EVENT:-$peers/event.so}      # without it PHP's select, which ends at 1,024 descriptors
kind=gateway

missing() {
    [[ -n $(type -P php) ]] || echo "no php: apt-get install php8.2-cli"
    [[ -e $gateway/vendor/autoload.php || -e $gateway/GatewayWorker/src/Gateway.php ]] ||
        echo "no $gateway: composer require workerman/gateway-worker; GATEWAYWORKER=FOLDER names another"
    [[ -e $event ]] || echo "no $event: PECL's event, built with phpize (php-dev, libevent-dev); PHP_EVENT=FILE names it"
}

version_of_workerman() {
    echo "Workerman $(sed -n "s/.*const VERSION = '\(.*\)';/\1/p" \
        "$gateway"/workerman/src/Worker.php "$gateway"/vendor/workerman/workerman/src/Worker.php 2>/dev/null |
        head -n 1) on PHP $(php -r 'echo PHP_VERSION;') with event"
}

version() {
    echo "GatewayWorker on $(version_of_workerman)"
}

start() {
    spawn server php -d "extension=$event" "$here/peers/gateway.php" start $kind "$gateway" "$port" "$workers" "$dir"
    ready=(--pre hello --pre-expect hello)
    [[ $mode != login ]] || ready=(--pre '{"op":"auth","args":["name","password"]}' --pre-expect ok)
    speak_plainly
}
