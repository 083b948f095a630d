#!/bin/sh
# The order of the house: imports run one way, and no file grows into two rooms.
set -eu
cd "$(dirname "$0")/.."
failed=0

# forbid ROOM PATTERN: no file of the room may use what the pattern names.
forbid() {
    found=$(grep -rnE "\b($2)\b" --include='*.rs' "src/$1" "src/$1.rs" 2>/dev/null | grep -vE '^[^:]+:[0-9]+: *//' || true)
    if [ -n "$found" ]; then
        echo "src/$1 may not use: $2" >&2
        echo "$found" >&2
        failed=1
    fi
}

inner='crate::(cli|server|config|telemetry|files)'
forbid domain "$inner|crate::(api|service|store)|entity::|sea_orm|poem|poem_openapi|hyper|tokio"
forbid store "$inner|crate::(api|service)|poem|poem_openapi|hyper"
forbid service "$inner|crate::api|entity::|sea_orm|poem|poem_openapi|hyper"
forbid api "$inner|crate::store|entity::|migration::|sea_orm"

for file in $(git ls-files --cached --others --exclude-standard '*.rs'); do
    lines=$(wc -l < "$file")
    if [ "$lines" -gt 420 ]; then
        echo "$file has $lines lines: a file beyond about 400 is two rooms" >&2
        failed=1
    fi
done
exit $failed
