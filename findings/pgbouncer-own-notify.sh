#!/bin/sh
# Through PgBouncer in transaction mode, a listener receives its own notifications and no others.
#
# PostgreSQL delivers a notification to the connections that executed LISTEN. A pooler in transaction mode gives each
# transaction some server connection, so LISTEN cannot work reliably; it does not fail either.
#
# Guess: LISTEN succeeds and nothing ever arrives. Seen on 2026-11-30 with PostgreSQL 15 and PgBouncer 1.18 of Debian 12,
# psycopg 3.2.3:
#
#   direct: other yes, own yes, sender no
#   pooled: other no, own yes, sender yes
#
# "other" and "own": whether the listener receives what another client, or it itself, notifies. "sender": whether the other
# client, which never listened, receives its own notification. The client that uses the server connection
# with the LISTEN gets the messages that arrive on it meanwhile. So a program that notifies itself to see whether its subscription works
# is misled. docs/replicas.md says to connect to PostgreSQL directly.
set -eu

postgres=/usr/lib/postgresql/15/bin
[ -x "$postgres/initdb" ] || { echo "needs PostgreSQL 15 (apt-get install postgresql-15)" >&2 && exit 2; }
work=$(mktemp -d)
as=
if [ "$(id -u)" -eq 0 ]; then as="setpriv --reuid=daemon --regid=daemon --clear-groups"; fi
stop() {
    [ ! -s "$work/db/pooler.pid" ] || kill "$(cat "$work/db/pooler.pid")" 2>/dev/null || true
    [ ! -e "$work/db/data/postmaster.pid" ] || $as "$postgres/pg_ctl" -D "$work/db/data" -m fast stop >/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
chmod 755 "$work"
cd "$work"
{ apt-get download pgbouncer libc-ares2 && for package in *.deb; do dpkg -x "$package" root; done &&
    python3 -m venv venv && venv/bin/pip install --quiet 'psycopg[binary]==3.2.3'; } >log 2>&1 || { cat log >&2 && exit 2; }
ls pgbouncer_1.18.* >/dev/null 2>&1 || { echo "another version of PgBouncer" >&2 && exit 2; }

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
server=$(port)
pooler=$(port)
mkdir db
[ -z "$as" ] || chown daemon:daemon db
$as "$postgres/initdb" -D "$work/db/data" -U m -A trust >>log 2>&1 || exit 2
$as "$postgres/pg_ctl" -D "$work/db/data" -l "$work/db/log" -w start \
    -o "-p $server -k $work/db -c listen_addresses=127.0.0.1" >>log 2>&1 || exit 2
cat >db/pooler.ini <<INI
[databases]
postgres = host=127.0.0.1 port=$server user=m
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pooler
auth_type = any
pool_mode = transaction
unix_socket_dir =
logfile = $work/db/pooler.log
pidfile = $work/db/pooler.pid
INI
libraries=$(dirname "$(find root -name 'libcares.so.2')")
LD_LIBRARY_PATH=$work/$libraries $as root/usr/sbin/pgbouncer --daemon --quiet db/pooler.ini 2>>log || exit 2
sleep 1

cat >try.py <<'PYTHON'
import sys
import psycopg


def connect(port):
    return psycopg.connect(f"host=127.0.0.1 port={port} user=m dbname=postgres", autocommit=True)


def received(listener, seen, wait):
    # psycopg hands over what comes with a response to the handler, and what comes later to the generator.
    late = [notification.payload for notification in listener.notifies(timeout=wait)]
    payloads = seen + late
    seen.clear()
    return payloads


for name, port in [("direct", sys.argv[1]), ("pooled", sys.argv[2])]:
    listener, other, seen, stray = connect(port), connect(port), [], []
    listener.add_notify_handler(lambda notification: seen.append(notification.payload))
    other.add_notify_handler(lambda notification: stray.append(notification.payload))
    listener.execute("LISTEN changes")
    results = []
    for sender, payload in [(other, "other"), (listener, "own")]:
        sender.execute("SELECT pg_notify('changes', %s)", [payload])
        results.append(f"{payload} {'yes' if payload in received(listener, seen, 2) else 'no'}")
    print(f"{name}: {', '.join(results)}, sender {'yes' if received(other, stray, 0.2) else 'no'}")
PYTHON
venv/bin/python try.py "$server" "$pooler" >seen || exit 2
cat seen
printf '%s\n' 'direct: other yes, own yes, sender no' 'pooled: other no, own yes, sender yes' >expected
cmp -s seen expected || exit 1
