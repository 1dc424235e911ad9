#!/bin/sh
# Schemathesis, all checks, against a running `weir dev` and the document it gives of itself: `make fuzz-api`, five and a half
# minutes. The report is target/api/schemathesis.json; fails if a check does.
set -eu
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
venv="$target/services/schemathesis"
[ -x "$venv/bin/schemathesis" ] || {
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q "schemathesis==4.32.5"
}
mkdir -p "$target/api"
free() { "$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free)
"$target/release/weir" dev --config tests/api/weir.yaml --listen "127.0.0.1:$port" --admin "127.0.0.1:$(free)" \
    >"$target/api/weir.log" 2>&1 &
weir=$!
trap 'kill "$weir" 2>/dev/null; wait "$weir" || true' EXIT INT TERM
PYTHONPATH=tests/api SCHEMATHESIS_HOOKS=hooks "$venv/bin/schemathesis" --config-file tests/api/schemathesis.toml run "http://127.0.0.1:$port/openapi.json" \
    --wait-for-schema 30 --checks all --max-examples 100000 --max-time "${SECONDS_MAX:-330}" --no-color \
    --report json --report-json-path "$target/api/schemathesis.json"
