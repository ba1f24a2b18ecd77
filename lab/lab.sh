#!/usr/bin/env bash
# The lab: creates the hosts, runs site.yml on them, plays the story. `lab.sh down` removes all of it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
logs=.cache/lab

# Each step shows its output as it comes, and keeps it.
step() {
    local title=$1 log=$logs/$2.log start=$SECONDS
    shift 2
    printf '\n\033[1mlab: %s\033[0m\n' "$title"
    if ! "$@" 2>&1 | tee "$log"; then
        printf '\nlab: the step "%s" failed; its log is %s\n' "$title" "$log" >&2
        exit 1
    fi
    printf 'lab: done in %d s\n' $((SECONDS - start))
}

down() {
    # Where nothing was ever set up, nothing was created.
    [[ -x .venv/bin/ansible-playbook ]] || return 0
    ansible-playbook -i inventories/lab lab/destroy.yml
    docker images --quiet --filter label=wharf.recipe | sort -u | xargs --no-run-if-empty docker image rm --force
    rm -rf "$logs" inventories/lab/.credentials
}

mkdir -p "$logs"
if [[ ${1:-up} == down ]]; then
    down
else
    step "Create the hosts" create ansible-playbook -i inventories/lab lab/create.yml
    step "Install Docker, deploy the registry, trust it, verify it" site ansible-playbook -i inventories/lab site.yml
    step "The story: an image on its way" story env STORY_IS_LOGGED=1 bash lab/story.sh
fi
# Made through sudo, but the user's.
[[ -z ${SUDO_UID:-} ]] || chown -R "$SUDO_UID:$SUDO_GID" .cache inventories/lab
