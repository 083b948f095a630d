# Runs in the copy of the machine that package.sh creates. Ends with the line "passed".

fail() {
    echo "package_check.sh: $*"
    systemctl status --no-pager mintkey || true
    exit 1
}

as_service() {
    # shellcheck disable=SC2046
    setpriv --reuid=mintkey --regid=mintkey --clear-groups \
        env $(grep -v '^#' /etc/mintkey/mintkey.env) "$@"
}

dpkg --install /check/mintkey.deb

[ "$(stat -c %U:%a /var/lib/mintkey)" = mintkey:700 ] || fail "/var/lib/mintkey is not the service's alone"
[ "$(stat -c %U:%a /etc/mintkey/mintkey.env)" = root:640 ] || fail "the settings can be read by all"
systemctl is-enabled --quiet mintkey || fail "the service will not start with the machine"
systemctl is-active --quiet mintkey || fail "the service was not started"

tries=100
until curl --silent http://127.0.0.1:8081/readyz | grep -q '"ready"'; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "the service is not ready"
    sleep 0.1
done

# Checks that this kernel enforces the restrictions of the unit.
process=$(systemctl show --property MainPID --value mintkey)
[ "$(stat -c %U "/proc/$process")" = mintkey ] || fail "the service runs as another user"
for line in 'NoNewPrivs:	1' 'Seccomp:	2' 'CapBnd:	0000000000000000'; do
    grep -qx "$line" "/proc/$process/status" || fail "not in force: $line"
done

token=$(as_service mintkey token --subject alice)
curl --silent --header "Authorization: Bearer $token" --header 'Content-Type: application/json' \
    --data '{ "name": "example" }' http://127.0.0.1:8080/api/auth/api-keys/ | grep -q '"key":"mk_' || fail "no key was created"
scrape=$(curl --silent http://127.0.0.1:8081/metrics)
for metric in mintkey_http_requests_total process_open_fds process_max_fds; do
    echo "$scrape" | grep -q "^$metric" || fail "no $metric in a scrape"
done
as_service mintkey doctor || fail "the doctor is not content"
systemctl restart mintkey
systemctl stop mintkey
[ "$(systemctl show --property Result --value mintkey)" = success ] || fail "the service did not end well"

dpkg --purge mintkey
if [ -e /usr/bin/mintkey ] || [ -e /etc/mintkey/mintkey.env ]; then fail "something was left behind"; fi
[ -e /var/lib/mintkey/master.secret ] || fail "the master secret went with the package"
echo passed
