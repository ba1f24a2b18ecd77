#!/usr/bin/env bash
# Runs one Molecule scenario whole, keeps its log, and removes what it made, also when it fails.
#
#   lab/scenario.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
log=.cache/molecule/$1.log start=$SECONDS
mkdir -p .cache/molecule

printf '\n\033[1mscenario %s\033[0m\n' "$1"
if ! molecule test --no-command-borders --scenario-name "$1" 2>&1 | tee "$log"; then
    molecule destroy --scenario-name "$1" >/dev/null 2>&1 || true
    printf 'scenario %s failed after %d s; its log is %s\n' "$1" $((SECONDS - start)) "$log" >&2
    exit 1
fi
printf 'scenario %s passed in %d s\n' "$1" $((SECONDS - start))
