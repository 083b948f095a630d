#!/bin/sh
# Generates a client from openapi.yaml in each named language (default: all) into target/sdk, together with the program
# that uses it, and checks the types of both. A warning of a generator is a failure.
set -eu
cd "$(dirname "$0")/../../.."
top=$PWD
npm=$top/tests/e2e/node_modules/.bin
venv=$top/target/tools/venv/bin
generator_jar=$(echo "$top"/target/tools/venv/lib/python3*/site-packages/openapi_generator_cli/openapi-generator.jar)

# fresh LANGUAGE: an empty directory for a client.
fresh() {
    sdk=$top/target/sdk/$1
    here=$top/tests/e2e/clients/$1
    rm -rf "$sdk"
    mkdir -p "$sdk"
}

# openapi_generator LANGUAGE OPTION...: a client by openapi-generator, without documentation and tests.
openapi_generator() {
    fresh "$1"
    "$venv/openapi-generator-cli" generate --input-spec openapi.yaml --generator-name "$@" --output "$sdk/mintkey" \
        --global-property apis,models,supportingFiles,apiDocs=false,apiTests=false,modelDocs=false,modelTests=false \
        >"$sdk/log"
    if grep -E 'WARN|ERROR' "$sdk/log"; then exit 1; fi
    cp -r "$here"/* "$sdk"
}

# with_npm LANGUAGE: the program, the document, and what they import.
with_npm() {
    fresh "$1"
    cp openapi.yaml "$here"/* "$sdk"
    ln -s "$top/tests/e2e/node_modules" "$sdk/node_modules"
}

typescript() {
    with_npm typescript
    "$npm/openapi-typescript" openapi.yaml --output "$sdk/mintkey.d.mts"
    "$npm/tsc" --project "$sdk"
}

heyapi() {
    with_npm heyapi
    (cd "$sdk" && "$npm/openapi-ts" --file openapi-ts.config.mjs --silent && "$npm/tsc" --project .)
}

orval() {
    with_npm orval
    (cd "$sdk" && "$npm/orval" --config orval.config.mjs --fail-on-warnings && "$npm/tsc" --project .)
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
    openapi_generator go --additional-properties packageName=mintkey,withGoMod=false
    (cd "$sdk" && command go vet ./... && command go build -o lifecycle .)
}

# Maven would fetch the libraries of the client. Here Jackson is taken from the generator itself, the others from Debian.
java() {
    openapi_generator java --library native \
        --additional-properties useJakartaEe=true,invokerPackage=mintkey,apiPackage=mintkey.api,modelPackage=mintkey.model
    mkdir "$sdk/libraries"
    ln -s "$generator_jar" /usr/share/java/jakarta-annotation-api.jar /usr/share/java/httpmime.jar "$sdk/libraries"
    (cd "$sdk" && javac -encoding UTF-8 -proc:none -d classes -cp 'libraries/*' --source-path .:mintkey/src/main/java Lifecycle.java)
}

php() {
    openapi_generator php --additional-properties invokerPackage=Mintkey
}

# Its build script generates the client, and the compiler denies warnings.
rust() {
    cargo build --quiet --locked --manifest-path tests/e2e/clients/rust/Cargo.toml --target-dir target
}

[ $# -gt 0 ] || set -- typescript heyapi orval python go java php rust
clients=
for language; do
    "$language" &
    clients="$clients $!"
done
for client in $clients; do wait "$client"; done
