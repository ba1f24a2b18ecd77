#!/usr/bin/env bash
# Runs one Molecule scenario whole, from nothing to nothing: a line when it begins, a line when it ends, the end of its
# log when it fails. Removes what it made in any case.
#
#   lab/scenario.sh NAME
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
export ANSIBLE_CALLBACK_PLUGINS=$PWD/lab/callback_plugins ANSIBLE_CALLBACKS_ENABLED=module_cache
name=$1 log=.cache/molecule/$1.log start=$SECONDS
mkdir -p .cache/molecule
if ((EUID == 0)); then
    LAB_DOCKER=$(command -v docker) LAB_NOTES=$(mktemp -d)
    export LAB_DOCKER LAB_NOTES PATH=$PWD/lab/bin:$PATH
    trap 'rm -r "$LAB_NOTES"' EXIT
fi

printf 'scenario %-12s started\n' "$name"
if molecule test --no-command-borders --scenario-name "$name" >"$log" 2>&1; then
    printf 'scenario %-12s passed in %d s: %s\n' "$name" $((SECONDS - start)) \
        "$(grep -aoE '[0-9]+ passed.* in [0-9.]+s' "$log" | tail -n 1)"
    # What its tests have measured.
    sed -n '/=== figures ===/,/====/{/====/d;p}' <(sed 's/\x1b\[[0-9;]*m//g' "$log") | sed "s/^/    /"
else
    molecule destroy --scenario-name "$name" >/dev/null 2>&1
    printf '%s\nscenario %-12s FAILED after %d s; above is the end of %s\n' \
        "$(tail -n 60 "$log")" "$name" $((SECONDS - start)) "$log"
    exit 1
fi
