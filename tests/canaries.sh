#!/bin/sh
# Searches what a run kept (src/world/canary.rs) for its secrets: `canaries.sh FOLDER`. Prints where a secret is, never what.
# Fails if one is anywhere, and if there was nothing to search or to search for.
set -eu
cd "$1"

touch secrets
# An empty line would be everywhere.
sort -u secrets | grep . >sought || true
cat ./*.log ./*.told 2>/dev/null | wc -l >lines
logs=$(find . -name '*.log' | wc -l)
: >hits
if [ -s sought ]; then
    # /dev/null makes grep name the file even if there is but one.
    find . -name '*.log' -o -name '*.told' | sort | xargs grep -anF -f sought /dev/null | cut -d: -f1,2 >hits || true
fi
sed 's/^/a secret is in /' hits
echo "$(wc -l <sought) secrets sought in $(cat lines) lines, of $logs logs and what clients were told: $(wc -l <hits) found"
[ ! -s hits ] && [ -s sought ] && [ "$logs" -gt 0 ]
