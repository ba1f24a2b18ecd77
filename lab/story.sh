#!/usr/bin/env bash
# Plays the story on the lab's hosts: an image is built, pushed, found, pulled elsewhere, and refused to strangers.
#
#   lab/story.sh
#
# Shows each command with its real output, checks each result, and keeps all of it in .cache/lab/story.log.
# LAB names the hosts' common prefix, CREDENTIALS the file with the password of the registry's user lab.
set -euo pipefail
cd "$(dirname "$0")/.."
lab=${LAB:-wharf-lab}
credentials=${CREDENTIALS:-inventories/lab/.credentials/users/lab}
cache=.cache/${lab#wharf-}
log=$cache/story.log

mkdir -p "$cache"
if [[ -z ${STORY_IS_LOGGED:-} ]]; then
    STORY_IS_LOGGED=1 bash lab/story.sh 2>&1 | tee "$log"
    exit
fi

registry=registry.wharf.test:5000
image=$registry/harbour
work=$(mktemp -d)
output=$work/output
number=0
title="find the lab"
trap finish EXIT

finish() {
    local status=$?
    rm -rf "$work"
    ((status == 0)) || printf '\nlab: step %d (%s) failed, see %s\n' "$number" "$title" "$log"
}

step() {
    number=$((number + 1))
    title=$1
    printf '\n--- %d. %s\n' "$number" "$title"
}

die() {
    printf 'lab: %s\n' "$*"
    exit 1
}

# The command as one would type it.
show() {
    local place=$1 word line=
    shift
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:@=,%+-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '%s$%s%s\n' "$place" "$line" "${input:+ <$input}"
}

# on HOST COMMAND...: shows it, runs it, keeps its output in $output. $input names a file for its standard input.
on() {
    local host=$1
    shift
    show "$host" "$@"
    docker exec --interactive "$lab-$host" "$@" <"${input:-/dev/null}" 2>&1 | tee "$output"
}

# quietly HOST COMMAND...: only runs it.
quietly() {
    local host=$1
    shift
    docker exec "$lab-$host" "$@" </dev/null
}

# here COMMAND-LINE: the same on this machine.
here() {
    printf 'here$ %s\n' "$1"
    bash -o pipefail -c "$1" 2>&1 | tee "$output"
}

# api PATH [CURL-OPTION]...: the password goes to curl as a file, because others can read a command's arguments.
api() {
    local url=https://$address$1
    shift
    here "curl --fail --silent --show-error --cacert $ca --config <(sed 's/.*/user = \"lab:&\"/' $credentials) $*${*:+ }$url"
}

# refused REASON COMMAND...: the command must fail, and with a message that has the reason, a regular expression.
refused() {
    local reason=$1
    shift
    if "$@"; then die "this should have been refused"; fi
    grep --extended-regexp --quiet "$reason" "$output" || die "refused, but not because of: $reason"
}

# fetch HOST URL: as soon as somebody answers. The hosts have no curl, but Python.
fetch() {
    local code="import urllib.request; print(urllib.request.urlopen(\"$2\").read().decode())" _
    for _ in {1..50}; do
        if quietly "$1" python3 -c "$code" >/dev/null 2>&1; then break; fi
        sleep 0.2
    done
    on "$1" python3 -c "$code"
}

id_of() { quietly "$1" docker image inspect --format '{{.Id}}' "$2"; }
layers_of() { quietly "$1" docker image inspect --format '{{len .RootFS.Layers}}' "$2"; }

[[ -r $credentials ]] || die "there is no password in $credentials: site.yml generates it"
address=$(docker port "$lab-server" 5000/tcp)
address=localhost:${address##*:}
ca=$cache/ca.crt
quietly server cat /etc/wharf/tls/ca.crt >"$ca"

step "Build an image of a small web application on client1"
quietly client1 sh -ec 'rm -rf /srv/harbour; mkdir /srv/harbour'
# Whatever this user's umask has made of the files, the application may read them.
here "tar --create --directory lab/app --owner 0 --group 0 --mode u=rwX,go=rX . |
    docker exec --interactive $lab-client1 tar --extract --directory /srv/harbour"
if ! quietly client1 docker image inspect python-base >/dev/null 2>&1; then
    echo "It needs a base image: Python from client1's own files, without Docker Hub."
    on client1 /srv/harbour/base-image.sh python-base
fi
# The image that is there, if any, is the cache: what has not changed keeps its digest, and the registry does not grow.
on client1 env DOCKER_BUILDKIT=0 docker build --cache-from "$image:1.0" --tag harbour:1.0 /srv/harbour
built=$(id_of client1 harbour:1.0)
own=$(($(layers_of client1 harbour:1.0) - $(layers_of client1 python-base)))
((own > 1)) || die "the image has $own layers of its own"
on client1 docker image ls

step "Log in, tag and push"
input=$credentials on client1 docker login --username lab --password-stdin "$registry"
grep --quiet 'Login Succeeded' "$output" || die "no login"
on client1 docker tag harbour:1.0 "$image:1.0"
on client1 docker push "$image:1.0"
digest=$(grep --only-matching 'sha256:[0-9a-f]\{64\}' "$output" | tail -n 1)

step "List the catalogue and the tags over the API"
api /v2/_catalog
grep --quiet '"harbour"' "$output" || die "harbour is not in the catalogue"
api /v2/harbour/tags/list
grep --quiet '"1.0"' "$output" || die "1.0 is not among the tags"
api /v2/harbour/manifests/1.0 --head --header "'Accept: application/vnd.docker.distribution.manifest.v2+json'"
grep --ignore-case --quiet "^docker-content-digest: $digest" "$output" || die "the registry has another digest"

step "Pull it by digest on client2, run it, get its page"
quietly client2 docker rm --force --volumes harbour >/dev/null 2>&1 || true
input=$credentials on client2 docker login --username lab --password-stdin "$registry"
on client2 docker pull "$image@$digest"
[[ $(id_of client2 "$image@$digest") == "$built" ]] || die "it is not the image that client1 built"
on client2 docker run --detach --name harbour --hostname client2-harbour --publish 127.0.0.1:8080:8080 "$image@$digest"
fetch client2 http://127.0.0.1:8080/
grep --quiet '<h1>Harbour 1.0 on client2-harbour</h1>' "$output" || die "this is not the page"
on client2 docker rm --force harbour
on client2 docker image rm "$image@$digest"

step "Remove it on client1 and pull again: only the application's own $own layers travel"
# By their numbers, so that versions from earlier runs, which share layers with this one, go as well.
mapfile -t images < <(quietly client1 docker image ls --quiet --filter reference=harbour --filter "reference=$image" | sort -u)
on client1 docker image rm --force "${images[@]}"
on client1 docker pull "$image:1.0"
grep --quiet 'Already exists' "$output" || die "no layer was there already"
(($(grep --count 'Pull complete' "$output") == own)) || die "not exactly the $own layers of the application travelled"
[[ $(id_of client1 "$image:1.0") == "$built" ]] || die "it is not the image that client1 built"

step "The stranger has no CA of ours, and its pull fails"
refused 'x509: certificate signed by unknown authority' on stranger docker pull "$image@$digest"

step "A wrong password fails"
echo wrong-password >"$work/wrong-password"
input=$work/wrong-password refused '401 Unauthorized|unauthorized: ' \
    on client1 docker login --username lab --password-stdin "$registry"

cat <<SUMMARY

--- The lab is up

server    Debian 13, runs the registry as $registry, on this machine $address
client1   Debian 12, trusts it and is logged in; has built and pushed $image:1.0
client2   Debian 13, trusts it and is logged in
stranger  Debian 12, in no group, trusts nothing of ours

The catalogue, from this machine (the CA's certificate is in $ca):
  curl --cacert $ca --user "lab:\$(cat $credentials)" https://$address/v2/_catalog
Its page, in a browser that takes that CA, as the user lab with the password in $credentials:
  https://$address/
Into a host:
  ${SUDO_USER:+sudo }docker exec -it $lab-client1 bash
Repair it, or play the story again:
  make lab
Remove everything:
  make lab-down
SUMMARY
