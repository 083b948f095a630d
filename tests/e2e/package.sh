#!/bin/sh
# package.sh PACKAGE: installs the Debian package on this machine, starts its service, uses it, and removes it again.
# Without a running systemd, the service is started by hand: as the unit's user, with the unit's settings.
set -eu

package=$1
said=$(mktemp)
service=

fail() {
    echo "package.sh: $*" >&2
    cat "$said" >&2
    exit 1
}

end() {
    [ -z "$service" ] || kill "$service" 2>/dev/null || true
    DEBIAN_FRONTEND=noninteractive apt-get purge --yes mintkey >/dev/null 2>&1 || true
    rm -rf "$said" /var/lib/mintkey
    userdel mintkey 2>/dev/null || true
}

[ "$(id -u)" -eq 0 ] || fail "run this as root"
if [ -e /usr/bin/mintkey ] || [ -e /var/lib/mintkey ]; then fail "a mintkey is installed here already"; fi
trap end EXIT
trap 'exit 1' HUP INT TERM

DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$(realpath "$package")" >"$said" 2>&1 ||
    fail "it cannot be installed"

# Who owns what.
[ "$(stat -c %U:%a /var/lib/mintkey)" = mintkey:700 ] || fail "/var/lib/mintkey is not the service's alone"
[ "$(stat -c %U:%a /etc/mintkey/mintkey.env)" = root:640 ] || fail "the settings can be read by all"
systemd-analyze verify --man=no /lib/systemd/system/mintkey.service >"$said" 2>&1 || fail "the unit has a fault"
! grep -q mintkey "$said" || fail "the unit has a fault"

as_service() {
    # shellcheck disable=SC2046
    setpriv --reuid=mintkey --regid=mintkey --clear-groups --no-new-privs --bounding-set=-all \
        env $(grep -v '^#' /etc/mintkey/mintkey.env) "$@"
}

cd /
as_service prlimit --nofile=65536 mintkey doctor >"$said" || fail "the doctor is not content with a fresh installation"
if [ -d /run/systemd/system ]; then
    systemctl is-active --quiet mintkey || fail "systemd did not start the service"
else
    as_service prlimit --nofile=65536 mintkey serve 2>"$said" &
    service=$!
fi

tries=100
until curl --silent --fail http://127.0.0.1:8081/readyz | grep -q '"ready"'; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "the service is not ready"
    sleep 0.1
done
token=$(as_service mintkey token --subject alice)
curl --silent --fail --header "Authorization: Bearer $token" --header 'Content-Type: application/json' \
    --data '{ "name": "example" }' http://127.0.0.1:8080/api/auth/api-keys/ | grep -q '"key":"mk_' || fail "no key was made"
as_service mintkey doctor | grep -q 'a mintkey is running there' || fail "the doctor does not see the service"
curl --silent --fail http://127.0.0.1:8081/metrics | grep -q '^mintkey_http_requests_total' || fail "there are no metrics"

if [ -n "$service" ]; then
    kill "$service"
    wait "$service" || fail "the service did not end well"
    service=
fi
DEBIAN_FRONTEND=noninteractive apt-get purge --yes mintkey >"$said" 2>&1 || fail "it cannot be removed"
if [ -e /usr/bin/mintkey ] || [ -e /etc/mintkey ]; then fail "something was left behind"; fi
[ -e /var/lib/mintkey/master.secret ] || fail "the data went with the package"
echo "package.sh: 1 passed, 0 failed"
