#!/bin/sh
# Installs what the build needs and this machine lacks: C and C++ compilers, make, the headers
# librdkafka wants, and Rust with the wasm target. Quick when there is nothing to do; not for running anything.
set -eu
cd "$(dirname "$0")/.."
. deploy/apt.sh
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

missing=
need() { # need PACKAGE COMMAND...: the package, unless the command succeeds
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
need gcc command -v gcc
# librdkafka's configure asks for one, though nothing we link is C++.
need g++ command -v c++
need libc6-dev test -e /usr/include/stdlib.h
need make command -v make
need bash command -v bash
need perl command -v perl
need pkg-config command -v pkg-config
need libssl-dev test -e /usr/include/openssl/ssl.h
need zlib1g-dev test -e /usr/include/zlib.h
need curl command -v curl
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
# shellcheck disable=SC2086 # a list of package names
[ -z "$missing" ] || apt_install $missing

if ! command -v cargo >/dev/null; then
    echo "weir: installing Rust with rustup"
    # rustup decides by its own name what it is.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    installer=$folder/rustup-init
    # What https://sh.rustup.rs would fetch for this machine, without the script in between. With a default toolchain,
    # the one of rust-toolchain.toml: plugins lie outside this folder.
    source=https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init
    { curl --proto '=https' --tlsv1.2 -fsSL "$source" -o "$installer" && chmod +x "$installer" &&
        "$installer" -y --quiet --profile minimal --default-toolchain stable; } ||
        fail "could not install Rust: install rustup from https://rustup.rs, then run this again"
fi

# rust-toolchain.toml names the channel, the components and the wasm target; rustup does the rest.
wasm_ready() { [ -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/wasm32-unknown-unknown" ]; }
if ! wasm_ready; then
    command -v rustup >/dev/null ||
        fail "this Rust has no wasm32-unknown-unknown target: install rustup from https://rustup.rs, then run this again"
    rustup toolchain install || rustup target add wasm32-unknown-unknown ||
        fail "rustup could not install the toolchain that rust-toolchain.toml names (its reason is above)"
fi
