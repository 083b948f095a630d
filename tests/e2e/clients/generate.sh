#!/bin/sh
# Generates a client from openapi.yaml in each named language (default: all) into target/sdk, together with the program
# that uses it, and checks the types of both. A warning of a generator is a failure.
set -eu
cd "$(dirname "$0")/../../.."
top=$PWD
npm=$top/tests/e2e/node_modules/.bin
venv=$top/target/tools/venv/bin

# fresh LANGUAGE: an empty directory for a client.
fresh() {
    sdk=$top/target/sdk/$1
    here=$top/tests/e2e/clients/$1
    rm -rf "$sdk"
    mkdir -p "$sdk"
}

typescript() {
    fresh typescript
    "$npm/openapi-typescript" openapi.yaml --output "$sdk/mintkey.d.mts"
    cp "$here"/* "$sdk"
    ln -s "$top/tests/e2e/node_modules" "$sdk/node_modules"
    "$npm/tsc" --project "$sdk"
}

python() {
    fresh python
    printf 'package_name_override: mintkey_client\npost_hooks: []\n' >"$sdk/config.yaml"
    "$venv/openapi-python-client" generate --meta none --fail-on-warning --path openapi.yaml \
        --config "$sdk/config.yaml" --output-path "$sdk/mintkey_client"
    cp "$here"/* "$sdk"
    (cd "$sdk" && "$venv/mypy" --strict lifecycle.py)
}

go() {
    fresh go
    "$venv/openapi-generator-cli" generate --input-spec openapi.yaml --generator-name go --output "$sdk/mintkey" \
        --additional-properties packageName=mintkey,withGoMod=false --global-property apiTests=false,modelTests=false \
        >"$sdk/log"
    if grep -E 'WARN|ERROR' "$sdk/log"; then exit 1; fi
    cp "$here"/* "$sdk"
    (cd "$sdk" && command go vet ./... && command go build -o lifecycle .)
}

# Its build script generates the client, and the compiler denies warnings.
rust() {
    cargo build --quiet --locked --manifest-path tests/e2e/clients/rust/Cargo.toml --target-dir target
}

[ $# -gt 0 ] || set -- typescript python go rust
for language; do "$language"; done
