# shellcheck shell=sh
# Debian packages for the scripts that source this file; not a script of its own.
# `apt_install PACKAGE...` installs as root or through sudo, and where it cannot, says in one line what to do.

fail() {
    echo "weir: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    again="then run this again"
    command -v apt-get >/dev/null ||
        fail "needs $*, and this is not Debian or Ubuntu: install them with your package manager, $again"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        fail "needs $*, and you are neither root nor have sudo: as root, apt-get install $*, $again"
    echo "weir: installing $*"
    # A stale package list is the usual reason for a failed install; a failed update is not yet one.
    as_root apt-get update -qq || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "could not install $* (apt-get's reason is above): install them by hand, $again"
}
