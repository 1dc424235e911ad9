#!/bin/sh
# Builds the gateway as it is deployed, target/dist/weir, in two passes: one that counts which of its code is used while
# `train` gives it work of all kinds over real services, and one that is laid out by these counts (profile-guided
# optimization, https://doc.rust-lang.org/rustc/profile-guided-optimization.html) and linked as a whole.
# From nothing about 40 minutes on 2 cores; quick when nothing changed. Called by `make dist`, which builds `train`.
set -eu
cd "$(dirname "$0")/.."
. deploy/apt.sh

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/dist"
dist=$(cd "$target/dist" && pwd)
host=$(rustc -vV | sed -n 's/^host: //p')

# Servers have had AVX2 for ten years: a program that may use it everywhere takes 3 % less CPU per event. Where it
# is missing the program ends at once with SIGILL; `DIST_CPU=x86-64` is for such a machine.
cpu=
case $host in x86_64-*) cpu=${DIST_CPU:-x86-64-v3} ;; esac

# pass FOLDER PROFILE RUSTFLAGS COUNTS: a target folder for each, and `--target`, so that what only builds is built without
# the flags. COUNTS are for librdkafka (`cc.sh`).
pass() {
    CC=$PWD/deploy/cc.sh COUNTS="$4${cpu:+ -march=$cpu}" RUSTFLAGS="$3${cpu:+ -Ctarget-cpu=$cpu}" \
        cargo build -p weir --bin weir --profile "$2" --target "$host" --target-dir "$dist/$1"
}

profdata() {
    find "$(rustc --print sysroot)" -name llvm-profdata -type f | head -n 1
}
[ -n "$(profdata)" ] || rustup component add llvm-tools
[ -n "$(profdata)" ] || fail "rustc's llvm-profdata is missing: rustup component add llvm-tools, then run this again"

echo "weir: pass 1 of 2: an instrumented gateway"
pass instrumented release "-Cprofile-generate=$dist/counts/rust -Clink-arg=-lgcov" \
    "-fprofile-generate=$dist/counts/c -fprofile-update=atomic"

instrumented="$dist/instrumented/$host/release/weir"
profile="$dist/weir.profdata"
if [ ! "$profile" -nt "$instrumented" ]; then
    echo "weir: giving it work"
    rm -rf "$dist/counts"
    WEIR_BIN=$instrumented "$target/release/train"
    [ -s "$dist/counts/c/rdkafka_msgset_writer.gcda" ] || fail "librdkafka was not counted: see deploy/cc.sh"
    "$(profdata)" merge -o "$profile.new" "$dist/counts/rust"
    # What was compiled by other counts must not be mixed with what will be.
    rm -rf "$dist/guided"
    mv "$profile.new" "$profile"
fi

echo "weir: pass 2 of 2: the gateway"
pass guided dist "-Cprofile-use=$profile" \
    "-fprofile-use=$dist/counts/c -fprofile-partial-training -Wno-missing-profile"
ln -f "$dist/guided/$host/dist/weir" "$dist/weir"
echo "weir: $dist/weir"
