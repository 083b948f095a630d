#!/bin/sh
# Installs the tools that the tests run: PostgreSQL, PgBouncer, Chromium, Prometheus, proxies, identity providers, Java,
# Go, PHP and small tools from Debian, the npm tools and the Python tools. `tools.sh chaos` also installs what only `make chaos` runs: Pgpool-II
# and further versions of PostgreSQL.
set -eu
cd "$(dirname "$0")"

e2e=$PWD
tools=$e2e/../../target/tools
venv=$tools/venv
log=$tools/install.log
mkdir -p "$tools"

quietly() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "tools.sh: this failed: $*" >&2
        exit 1
    }
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

command -v npm >/dev/null || {
    echo "tools.sh: npm is missing: install Node 20 or later" >&2
    exit 1
}

missing=
command -v chromium >/dev/null || missing="$missing chromium"
for tool in curl faketime openssl shellcheck slowhttptest wrk; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
command -v ip >/dev/null || missing="$missing iproute2"
command -v javac >/dev/null || missing="$missing default-jdk-headless"
[ -e /usr/share/java/jakarta-annotation-api.jar ] || missing="$missing libjakarta-annotation-api-java"
[ -e /usr/share/java/httpmime.jar ] || missing="$missing libhttpmime-java"
php -r 'exit(extension_loaded("curl") && extension_loaded("mbstring") ? 0 : 1);' 2>/dev/null ||
    missing="$missing php-cli php-curl php-mbstring"
[ -e /usr/share/php/GuzzleHttp/autoload.php ] || missing="$missing php-guzzlehttp-guzzle"
command -v go >/dev/null || missing="$missing golang-go"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
services=
for service in nginx caddy haproxy pgbouncer prometheus glewlwyd apache2; do
    PATH=$PATH:/usr/sbin command -v "$service" >/dev/null || services="$services $service"
done
[ -e /usr/lib/apache2/modules/mod_auth_openidc.so ] || missing="$missing libapache2-mod-auth-openidc"
PATH=$PATH:/usr/sbin command -v llng-fastcgi-server >/dev/null || services="$services lemonldap-ng-fastcgi-server"
perl -e 'use Lemonldap::NG::Portal' 2>/dev/null || missing="$missing liblemonldap-ng-portal-perl"
perl -e 'use Lemonldap::NG::Portal::Issuer::OpenIDConnect' 2>/dev/null ||
    missing="$missing libio-string-perl libstring-random-perl libcrypt-openssl-bignum-perl"
command -v plackup >/dev/null || missing="$missing libplack-perl"
if [ "${1-}" = chaos ]; then
    PATH=$PATH:/usr/sbin command -v pgpool >/dev/null || services="$services pgpool2"
fi
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || services="$services postgresql"
missing=$missing$services

# The tests start these servers themselves. Debian's packages must not start them, now or at boot.
policy=/usr/sbin/policy-rc.d
forbid_starts() {
    [ -n "$services" ] && ! [ -e "$policy" ] || return 0
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}
keep_disabled() {
    [ -n "$services" ] && command -v systemctl >/dev/null || return 0
    # shellcheck disable=SC2086
    quietly as_root systemctl disable $services
}

if [ -n "$missing" ]; then
    echo "tools.sh: installing$missing" >&2
    quietly as_root apt-get update
    forbid_starts
    # shellcheck disable=SC2086
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
    keep_disabled
fi

if ! cmp -s package-lock.json node_modules/.installed; then
    echo "tools.sh: installing the npm tools" >&2
    quietly npm ci --ignore-scripts --no-audit --no-fund
    cp package-lock.json node_modules/.installed
fi

# npm packages hold no symbolic links. These list theirs, for a script that is not run.
links='const { readFileSync, symlinkSync } = require("fs");
    for (const { source, target } of JSON.parse(readFileSync("native/pg-symlinks.json")))
        symlinkSync(require("path").relative(require("path").dirname(target), source), target);'
cd ../chaos
if [ "${1-}" = chaos ] && ! cmp -s package-lock.json node_modules/.installed; then
    echo "tools.sh: installing versions of PostgreSQL" >&2
    quietly npm ci --ignore-scripts --no-audit --no-fund
    for version in node_modules/postgresql-*; do
        (cd "$version" && node --eval "$links")
    done
    cp package-lock.json node_modules/.installed
fi
cd ../e2e

if ! cmp -s requirements.txt "$venv/.installed" || ! "$venv/bin/python" -V >/dev/null 2>&1; then
    echo "tools.sh: installing the Python tools" >&2
    rm -rf "$venv"
    quietly python3 -m venv "$venv"
    quietly "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --requirement requirements.txt
    quietly "$venv/bin/python" -m pip check
    cp requirements.txt "$venv/.installed"
fi
