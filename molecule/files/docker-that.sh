#!/bin/sh
# Docker, and something more at one call: CASE is a pattern and its commands for the call's arguments.
real() { /usr/bin/docker "$@"; }
case "$*" in
# CASE
*) exec /usr/bin/docker "$@" ;;
esac
