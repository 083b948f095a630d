#!/bin/sh
# Installs the peers, in the versions pinned here, into target/bench/peers.
set -eu
cd "$(dirname "$0")"

here=$PWD
peers=$here/../../../target/bench/peers
mkdir -p "$peers"
log=$peers/install.log

quietly() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "install.sh: this failed: $*" >&2
        exit 1
    }
}

for peer in fastapi django; do
    venv=$peers/$peer
    if ! cmp -s $peer/requirements.txt "$venv/.installed"; then
        echo "install.sh: installing $peer" >&2
        rm -rf "$venv"
        quietly python3 -m venv "$venv"
        quietly "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --requirement $peer/requirements.txt
        quietly "$venv/bin/python" -m pip check
        cp $peer/requirements.txt "$venv/.installed"
    fi
done

# Compiles better-sqlite3 against the headers of the installed Node.
node=$peers/better-auth
mkdir -p "$node"
cp better-auth/package.json better-auth/server.mjs "$node"
if ! cmp -s better-auth/package-lock.json "$node/.installed"; then
    echo "install.sh: installing better-auth" >&2
    cp better-auth/package-lock.json "$node"
    headers=$(node -p 'path.dirname(path.dirname(process.execPath))')
    quietly env npm_config_nodedir="$headers" npm_config_build_from_source=true \
        npm --prefix "$node" ci --no-audit --no-fund
    cp better-auth/package-lock.json "$node/.installed"
fi
