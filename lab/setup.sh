#!/usr/bin/env bash
# Prepares this machine: the packages, a Python environment in .venv with the pinned tools, and a running engine.
#
#   lab/setup.sh [requirements.txt | requirements-dev.txt]
#
# Does only what is missing. On a bare Debian with git, make and Python 3.11 or newer it needs root, or sudo.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=${1:-requirements.txt}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# The distribution's before one of the user's own: it is built with optimisations, which those often are not (a quarter
# of the time of everything here).
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed and not on the PATH"
}

install_packages() {
    local missing=()
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    # An engine that is somebody's choice already stays: Docker's own, or one behind a socket.
    command -v dockerd >/dev/null || docker info >/dev/null 2>&1 || missing+=(docker.io iptables)
    command -v docker >/dev/null || { apt-cache show docker-cli >/dev/null 2>&1 && missing+=(docker-cli); }
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v ssh >/dev/null || missing+=(openssh-client)
    command -v curl >/dev/null || missing+=(curl)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (this script knows Debian's apt-get only)"
    say "installing ${missing[*]}"
    as_root apt-get update -qq
    # Debian 13 has the client in a package of its own, which an old list may not have told above.
    if [[ " ${missing[*]} " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then missing+=(docker-cli); fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

make_environment() {
    local wanted
    wanted=$("$python" --version; cat requirements.txt "$requirements")
    # What was installed for testing serves for running as well.
    if [[ $requirements == requirements.txt && -f .venv/requirements-dev.txt ]]; then
        requirements=requirements-dev.txt
        wanted=$("$python" --version; cat requirements.txt "$requirements")
    fi
    [[ "$(cat ".venv/$requirements" 2>/dev/null)" == "$wanted" ]] && return
    say "making the Python environment in .venv from $requirements"
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
    printf '%s' "$wanted" >".venv/$requirements"
}

start_engine() {
    as_root docker info >/dev/null 2>&1 && return
    say "starting the engine"
    if [[ -d /run/systemd/system ]]; then
        as_root systemctl start docker
    else
        # A machine that went down hard left the file behind, and its number may be another process's by now.
        as_root sh -c '[ "$(cat "/proc/$(cat /run/docker.pid)/comm")" = dockerd ] || rm -f /run/docker.pid' 2>/dev/null
        # The init script of some machines fails at a limit that they may not raise; the engine itself does not.
        as_root service docker start >/dev/null 2>&1 ||
            as_root sh -c 'setsid dockerd >/var/log/dockerd-wharf.log 2>&1 </dev/null &'
    fi
    for _ in {1..60}; do
        as_root docker info >/dev/null 2>&1 && return
        sleep 0.5
    done
    die "the engine does not start: see journalctl -u docker, /var/log/docker.log or /var/log/dockerd-wharf.log"
}

python=$(find_python)
install_packages
make_environment
start_engine
