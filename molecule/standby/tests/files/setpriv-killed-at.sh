#!/bin/sh
# In place of setpriv, by which root lets rsync run as another user: kills whoever copies, with all its processes, when it
# begins the run that /run/killed-at counts down to.
count=$(($(cat /run/killed-at) - 1))
echo "$count" >/run/killed-at
[ "$count" != 0 ] || kill -9 "-$(ps -o pgid= -p $$ | tr -d ' ')"
exec /usr/bin/setpriv "$@"
