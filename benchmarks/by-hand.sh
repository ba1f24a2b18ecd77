#!/usr/bin/env bash
# What site.yml does, as a script that somebody in a hurry writes for exactly these hosts, with nothing that site.yml
# does beyond the job: no look at what is there already, no repair, no second run. The measure for its speed.
#
#   by-hand.sh SERVER CLIENT...
#
# Installs the engine everywhere, deploys the registry with TLS and a user, makes the clients trust it, and moves an
# image from the first client to the others. The arguments are addresses. The environment says the rest:
# SSH_KEY, SUDO_PASSWORD and CONTROL_PATH (a directory) for the way in, as user ops; REGISTRY and REGISTRY_PASSWORD.
#
# Deliberately fair: all hosts at once, one connection for each as Ansible's, the same packages, the same image of the
# registry, the same container and the same smoke test. The hosts need no package for htpasswd: perl-base is on any Debian.
set -euo pipefail
cd "$(dirname "$0")/.."
server=$1
clients=("${@:2}")
builder=roles/registry_server/files/build-images.sh
user=bench

# on HOST FUNCTION ARGUMENT...: runs a function of this script there, as root. All of it, passwords too, goes by stdin.
on() {
    local host=$1
    shift
    {
        echo "$SUDO_PASSWORD"
        declare -f "${functions[@]}"
        echo 'set -euo pipefail'
        printf '%q ' "$@"
        echo '</dev/null'
    } | ssh -i "$SSH_KEY" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ControlMaster=auto -o ControlPersist=60s -o ControlPath="$CONTROL_PATH/%C" \
        "ops@$host" 'sudo -k -S -p "" bash -s'
}

# everywhere FUNCTION ARGUMENT... -- HOST...: at once; fails if one fails.
everywhere() {
    local command=() pids=() status=0 host pid
    while [[ $1 != -- ]]; do command+=("$1"); shift; done
    shift
    for host in "$@"; do on "$host" "${command[@]}" & pids+=($!); done
    for pid in "${pids[@]}"; do wait "$pid" || status=1; done
    return "$status"
}

# The functions from here on run on the hosts.
functions=(install_engine deploy_registry show_ca trust_registry push_image pull_image clean_registry)

install_engine() {
    local packages=(docker.io apparmor ca-certificates iptables pigz xz-utils procps)
    mkdir -p /etc/docker
    cat >/etc/docker/daemon.json <<'JSON'
{"live-restore": true, "log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}
JSON
    apt-get update -qq
    if apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1
    docker version >/dev/null
}

# deploy_registry NAME PORT USER PASSWORD BUILDER
deploy_registry() {
    local name=$1 port=$2 user=$3 password=$4 tls=/etc/registry/tls config=/etc/registry/config data=/var/lib/registry
    local address salt hash
    sh -c "$5" build-images registry=registry:by-hand >/dev/null
    umask 077
    mkdir -p "$tls" "$config" "$data"
    chmod 0755 /etc/registry "$tls"

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$tls/ca.key" -out "$tls/ca.crt" \
        -days 3650 -subj "/CN=CA of $name" -addext 'keyUsage=critical,keyCertSign,cRLSign' 2>/dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$tls/registry.key" \
        -out "$tls/registry.csr" -subj "/CN=$name" 2>/dev/null
    {
        echo 'basicConstraints=critical,CA:FALSE'
        echo 'keyUsage=critical,digitalSignature'
        echo 'extendedKeyUsage=serverAuth'
        printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1' "$name"
        for address in $(hostname --all-ip-addresses); do printf ',IP:%s' "$address"; done
        echo
    } >"$tls/extensions"
    openssl x509 -req -in "$tls/registry.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" -days 397 \
        -extfile "$tls/extensions" -out "$tls/registry.crt" 2>/dev/null
    chmod 0644 "$tls/ca.crt" "$tls/registry.crt"

    salt=$(openssl rand -hex 11)
    hash=$(perl -e 'print crypt($ARGV[0], q($2y$04$) . $ARGV[1])' "$password" "$salt")
    echo "$user:$hash" >"$config/htpasswd"
    cat >"$config/config.yml" <<'YAML'
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /var/lib/registry}, cache: {blobdescriptor: inmemory}}
http:
  addr: :5000
  tls: {certificate: /tls/registry.crt, key: /tls/registry.key}
auth: {htpasswd: {realm: registry, path: /config/htpasswd}}
YAML
    chown -R 59500:59500 "$config" "$data" "$tls/registry.key"

    docker run --detach --name registry --restart unless-stopped --user 59500:59500 --read-only --cap-drop ALL \
        --security-opt no-new-privileges --env GOGC=400 --publish "$port:5000" \
        --volume "$config:/config:ro" --volume "$tls:/tls:ro" --volume "$data:/var/lib/registry" \
        registry:by-hand serve /config/config.yml >/dev/null
    for _ in {1..100}; do
        openssl s_client -connect "localhost:$port" -CAfile "$tls/ca.crt" -verify_return_error >/dev/null 2>&1 && return
        sleep 0.1
    done
    docker logs registry >&2
    return 1
}

show_ca() { cat /etc/registry/tls/ca.crt; }

# trust_registry NAME:PORT CERTIFICATE USER PASSWORD
trust_registry() {
    mkdir -p "/etc/docker/certs.d/$1" /run/smoke-test
    printf '%s\n' "$2" >"/etc/docker/certs.d/$1/ca.crt"
    DOCKER_CONFIG=/run/smoke-test docker login --username "$3" --password-stdin "$1" <<<"$4" >/dev/null 2>&1
}

# push_image IMAGE: prints the digest and the layers.
push_image() {
    export DOCKER_CONFIG=/run/smoke-test
    head -c 1048576 /dev/urandom >/run/smoke-test/content
    tar --create --directory /run/smoke-test content | docker import - "$1" >/dev/null
    docker push "$1" | sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/\1/p'
    docker image inspect --format '{{json .RootFS.Layers}}' "$1"
    docker image rm "$1" >/dev/null
    rm -rf /run/smoke-test
}

# pull_image IMAGE LAYERS
pull_image() {
    export DOCKER_CONFIG=/run/smoke-test
    docker pull --quiet "$1" >/dev/null
    [[ $(docker image inspect --format '{{json .RootFS.Layers}}' "$1") == "$2" ]]
    docker image rm "$1" >/dev/null
    rm -rf /run/smoke-test
}

clean_registry() { rm -rf /var/lib/registry/docker; }
# The end of what runs on the hosts.

stage() { printf '%3d s  %s\n' "$SECONDS" "$*"; }

stage "install the engine"
everywhere install_engine -- "${clients[@]}" &
installing=$!
on "$server" install_engine
stage "deploy the registry"
on "$server" deploy_registry "${REGISTRY%:*}" "${REGISTRY#*:}" "$user" "$REGISTRY_PASSWORD" "$(<"$builder")"
ca=$(on "$server" show_ca)
stage "wait for the clients"
wait "$installing"
stage "trust the registry"
everywhere trust_registry "$REGISTRY" "$ca" "$user" "$REGISTRY_PASSWORD" -- "${clients[@]}"
stage "move an image"
pushed=$(on "${clients[0]}" push_image "$REGISTRY/smoke-test/image:1")
{ read -r digest; read -r layers; } <<<"$pushed"
everywhere pull_image "$REGISTRY/smoke-test/image@$digest" "$layers" -- "${clients[@]:1}"
on "$server" clean_registry
stage "moved: $REGISTRY/smoke-test/image@$digest"
