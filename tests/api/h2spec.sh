#!/bin/sh
# h2spec, every case (of RFC 7540, whose successor is RFC 9113, and of RFC 7541), against the ingest listener of a running `weir dev`:
# `make h2spec`. The report is target/api/h2spec.xml (JUnit) and h2spec.json; fails if a case fails that is not explained below.
set -eu
cd "$(dirname "$0")/../.."
. deploy/apt.sh
target="${CARGO_TARGET_DIR:-target}"
services="$target/services"
mkdir -p "$services" "$target/api"
services=$(cd "$services" && pwd)
[ -x "$services/h2spec" ] || {
    PATH="$PATH:/usr/local/go/bin"
    command -v go >/dev/null || apt_install golang-go
    # The newest that the module proxy has.
    GOBIN="$services" go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
}
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free) admin=$(free)
"$target/release/weir" dev --config tests/api/weir.yaml --listen "127.0.0.1:$port" --admin "127.0.0.1:$admin" \
    >"$target/api/weir.log" 2>&1 &
weir=$!
trap 'kill "$weir" 2>/dev/null; wait "$weir" || true' EXIT INT TERM
python3 - "$admin" <<'READY'
import sys, time, urllib.request
for _ in range(300):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/readyz")
        sys.exit()
    except OSError:
        time.sleep(0.1)
sys.exit("weir is not ready: see target/api/weir.log")
READY
# It ends with 1 if any case fails; which of them may is decided below. The path is one that is answered neither
# before a body has been read nor at once: cases about what comes after a request's first frames would race the answer.
"$services/h2spec" --host 127.0.0.1 --port "$port" --path '/v1/events/plain?key=x&level=strong' --timeout 3 --max-header-length 4000 --strict \
    --junit-report "$target/api/h2spec.xml" generic http2 hpack >"$target/api/h2spec.log" || true
python3 - "$target/api" <<'JUDGE'
import json, sys, xml.etree.ElementTree as xml

# Section and case, and why it fails.
EXPLAINED = {
    "http2/3.5: Sends invalid connection preface":
        "what does not begin as HTTP/2 is HTTP/1.1 on this port: it is answered 400 and closed, and h2spec takes the answer for a frame",
}

folder = sys.argv[1]
results = []
for case in xml.parse(f"{folder}/h2spec.xml").iter("testcase"):
    ending = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
    name = f"{case.get('package')}: {case.get('classname')}"
    why = None if ending == "passed" else EXPLAINED.get(name)
    detail = case.find(ending)
    results.append({"case": name, "ending": ending, "explained": why,
                    "detail": detail.text if detail is not None else None})
with open(f"{folder}/h2spec.json", "w") as report:
    json.dump(results, report, indent=2)
for result in results:
    if result["ending"] != "passed":
        print(f"{result['ending']}: {result['case']}\n    {result['explained'] or 'NOT EXPLAINED'}")
failed = [result for result in results if result["ending"] in ("failure", "error")]
unexplained = [result for result in failed if not result["explained"]]
print(f"{len(results)} cases, {len(failed)} failed, {len(unexplained)} of them not explained: {folder}/h2spec.json")
sys.exit(bool(unexplained) or len(results) != 146)
JUDGE
