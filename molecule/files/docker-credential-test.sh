#!/bin/sh
# Speaks the protocol of Docker's credential helpers, with a file for a store.
store=$HOME/store.json
case $1 in
    store) cat >"$store" ;;
    get) cat "$store" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
    erase) rm -f "$store" ;;
    list) echo '{}' ;;
esac
