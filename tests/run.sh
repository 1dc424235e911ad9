#!/bin/sh
# Runs the whole suite and sums it up: the last line is `N passed, N failed, N skipped`.
# A test that skips itself returns early, which libtest counts as passed; the skip list corrects that.
set -eu
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target"
log="$target/test.log"
WEIR_SKIPPED_FILE="$(cd "$target" && pwd)/skipped.txt"
WEIR_CANARY_FOLDER="$(cd "$target" && pwd)/canaries"
# Most tests wait most of the time, for limits to pass and for servers: five of them keep two cores busy.
RUST_TEST_THREADS="${RUST_TEST_THREADS:-5}"
export WEIR_SKIPPED_FILE WEIR_CANARY_FOLDER RUST_TEST_THREADS
: >"$WEIR_SKIPPED_FILE"
rm -rf "$WEIR_CANARY_FOLDER"
mkdir "$WEIR_CANARY_FOLDER"

# The shell has no `pipefail`, so cargo's status goes through a file.
{
    status=0
    cargo --config .cargo/test.toml test --release --workspace --no-fail-fast 2>&1 || status=$?
    echo "$status" >"$target/test.status"
} | tee "$log"
status=$(cat "$target/test.status")

# What no test can see alone: whether any secret of the run is anywhere.
leaked=0
sh tests/canaries.sh "$WEIR_CANARY_FOLDER" || leaked=1

cat "$WEIR_SKIPPED_FILE"
skipped=$(wc -l <"$WEIR_SKIPPED_FILE")
sums=$(awk -v skipped="$skipped" -v status="$status" -v leaked="$leaked" '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END {
        # Something that did not even build or start is a failure without a line of its own.
        if (status != 0 && failed == 0) failed = 1
        failed += leaked
        passed += !leaked
        printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, ignored + skipped
    }' "$log")
echo "$sums"
[ "$leaked" -eq 0 ] || exit 1
exit "$status"
