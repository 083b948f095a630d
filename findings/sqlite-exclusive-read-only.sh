#!/bin/sh
# On a read-only connection, BEGIN IMMEDIATE and even BEGIN EXCLUSIVE of SQLite succeed and take no lock.
#
# Both are documented to start a write transaction at once (sqlite.org/lang_transaction.html, section 2.2). A program that
# begins one to find out whether it may write, or to keep writers away while it reads, gets no error.
#
# Guess: BEGIN fails with SQLITE_READONLY. Seen on 2026-11-30, SQLite 3.54.1 in apsw 3.54.1.0, Python 3.11:
#
#   BEGIN IMMEDIATE: succeeds as a read transaction, another connection commits meanwhile, INSERT fails
#   BEGIN EXCLUSIVE: succeeds as a read transaction, another connection commits meanwhile, INSERT fails
#
# The error comes at the first write. mintkey writes when it starts (src/store/sqlite.rs).
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{ python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet apsw==3.54.1.0; } >"$work/log" 2>&1 ||
    { cat "$work/log" >&2 && exit 2; }

cat >"$work/try.py" <<'PYTHON'
import sys

import apsw

path = sys.argv[1]
writer = apsw.Connection(path)
writer.execute("PRAGMA journal_mode = WAL")
writer.execute("CREATE TABLE notes (text)")


def begin(statement):
    reader = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        reader.execute(statement)
    except apsw.ReadOnlyError:
        return "fails"
    states = {0: "no", apsw.SQLITE_TXN_READ: "a read", apsw.SQLITE_TXN_WRITE: "a write"}
    state = states[reader.txn_state("main")]
    try:
        writer.execute("INSERT INTO notes VALUES ('from another connection')")
        other = "commits"
    except apsw.BusyError:
        other = "is locked out"
    try:
        reader.execute("INSERT INTO notes VALUES ('from this connection')")
        insert = "succeeds"
    except apsw.ReadOnlyError:
        insert = "fails"
    return f"succeeds as {state} transaction, another connection {other} meanwhile, INSERT {insert}"


for statement in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]:
    print(f"{statement}: {begin(statement)}")
PYTHON

"$work/venv/bin/python" "$work/try.py" "$work/database" >"$work/output" || exit 2
cat "$work/output"
[ "$(sort -u "$work/output" | cut -d: -f2 | sort -u)" = \
    " succeeds as a read transaction, another connection commits meanwhile, INSERT fails" ] &&
    [ "$(wc -l <"$work/output")" -eq 2 ]
