#!/bin/sh
# sudo, for Ansible: what it starts as root is traced.
for word; do
    shift
    set -- "$@" "$word"
    [ "$word" != root ] || set -- "$@" traced
done
exec sudo "$@"
