#!/bin/sh
# Docker, and something more at one call: CASE is a pattern and its commands for the call's arguments.
real() { /usr/bin/docker "$@"; }
broken() { echo "broken by the test" >&2; exit 1; }
once() { [ ! -e "$0.once" ] && touch "$0.once"; }
case "$*" in
# CASE
*) exec /usr/bin/docker "$@" ;;
esac
