# shellcheck shell=bash
# Sourced by the peers that come from npm.
export NPM=${NPM:-$peers/npm}
missing_npm() { # PACKAGE
    [[ -d $NPM/node_modules/$1 ]] || echo "no $NPM/node_modules/$1: test/bench/peers/install.sh"
}
npm_version() { # PACKAGE
    sed -n 's/^  "version": "\(.*\)",$/\1/p' "$NPM/node_modules/$1/package.json"
}
