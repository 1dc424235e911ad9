#!/bin/sh
# The first command on a fresh Debian or Ubuntu: installs what is missing, builds, and runs `weir dev`.
# Where make is already there, `make dev` does the same.
set -eu
cd "$(dirname "$0")/.."
sh deploy/toolchain.sh
exec make dev
