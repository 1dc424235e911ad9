#!/bin/sh
# gcc, as `dist.sh` has cargo call it: librdkafka is compiled by counts as the Rust code is, since its thread takes a quarter
# of what an event costs (https://gcc.gnu.org/onlinedocs/gcc/Instrumentation-Options.html, -fprofile-generate, -fprofile-use).
# COUNTS are the flags for it. Both passes compile in folders of their own, so counts are filed by the path below such a one.
set -eu
case $PWD in
*/rdkafka-sys-*/out/src) exec gcc "$@" $COUNTS -fprofile-prefix-path="$PWD" ;;
esac
exec gcc "$@"
