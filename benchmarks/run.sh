#!/usr/bin/env bash
# Measures the speed of Wharf against something that the same machine does in the same minutes, and prints one table.
#
#   benchmarks/run.sh           the deployment, on three hosts of its own (wharf-bench-*); `make bench` calls this
#   benchmarks/run.sh registry  of that only what the registry bears
#   benchmarks/run.sh clients   of that only what 10, 50 and 100 clients cost the controller
#   benchmarks/run.sh caches    of that only the caches, which have three other hosts
#   benchmarks/run.sh lab       `make lab` from a clean clone of the last commit, and again when all is there
#
# Ends with 1 if a limit is not kept. Leaves nothing behind but the logs in .cache/bench. Needs root, or an engine that
# the user may use. BENCH_ROUNDS says how often what is short is measured, BENCH_TRANSPORT gives transport.py options.
# shellcheck disable=SC2317  # some functions are only called by trap and timed
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PATH=$root/.venv/bin:$PATH
bench=$root/.cache/bench
rounds=${BENCH_ROUNDS:-5}
rows=()
failed=0

say() { printf 'bench: %s\n' "$*" >&2; }
die() { printf 'bench: %s\n' "$*" >&2; exit 1; }

# timed VARIABLE LOG COMMAND...: sets the variable to the seconds; the output goes to the log only.
timed() {
    local -n __seconds=$1
    local log=$bench/$2.log start=$EPOCHREALTIME
    shift 2
    "$@" >"$log" 2>&1 </dev/null || { tail -n 30 "$log" >&2; die "$1 failed, see $log"; }
    __seconds=$(calc 2 "$EPOCHREALTIME - $start")
}

# calc DIGITS EXPRESSION
calc() { LC_ALL=C awk "BEGIN { printf \"%.$1f\", $2 }"; }
median() { printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"; }

# row WHAT MEASURED REFERENCE RATIO most|least LIMIT
row() {
    local sign='<=' verdict=ok
    [[ $5 == most ]] || sign='>='
    LC_ALL=C awk "BEGIN { exit !($4 $sign $6) }" || { verdict='NOT OK'; failed=1; }
    rows+=("$1|$2|$3|$4|at $5 $6|$verdict")
}

table() {
    local what measured reference ratio limit verdict
    echo
    while IFS='|' read -r what measured reference ratio limit verdict; do
        printf '%-50s %12s %12s %8s  %-13s  %s\n' "$what" "$measured" "$reference" "$ratio" "$limit" "$verdict"
    done < <(printf '%s\n' 'what|measured|reference|ratio|limit|' "${rows[@]}")
    [[ -f $bench/transport.table ]] || return 0
    echo
    while IFS='|' read -r what measured reference ratio; do
        printf '%-50s %-20s %-20s %s\n' "$what" "$measured" "$reference" "$ratio"
    done <"$bench/transport.table"
}

finish() {
    local status=$? socket
    trap - EXIT INT TERM
    for socket in "$control"/*; do
        [[ ! -S $socket ]] || ssh -o ControlPath="$socket" -O exit nobody 2>/dev/null || true
    done
    rm -rf "$control"
    say "removing the hosts"
    hosts destroy || true
    # Made through sudo, but the user's.
    [[ -z ${SUDO_UID:-} ]] || chown -R "$SUDO_UID:${SUDO_GID:-}" "$root/.cache"
    exit "$status"
}

# hosts create|destroy
hosts() {
    MOLECULE_SCENARIO_NAME=bench ansible-playbook -i inventories/lab "lab/$1.yml" --extra-vars "@$bench/hosts.json" \
        >"$bench/$1.log" 2>&1 </dev/null
}

address_of() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "wharf-bench-$1"; }

# Bare hosts, and how Ansible and the script reach them.
fresh_hosts() {
    hosts destroy || die "the old hosts stay, see $bench/destroy.log"
    rm -rf "${control:?}"/* "$bench/inventory"
    hosts create || die "no hosts, see $bench/create.log"
    server=$(address_of server) client1=$(address_of client1) client2=$(address_of client2)
    mkdir -p "$bench/inventory"
    (umask 077 && cat >"$bench/inventory/hosts.yml" <<YAML
all:
  vars:
    ansible_user: ops
    ansible_become_password: lab
    ansible_ssh_private_key_file: $bench/id_ed25519
    ansible_ssh_common_args: >-
      -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
    wharf_registry_name: ${registry%:*}
    wharf_registry_port: ${registry#*:}
    wharf_registry_image_source: distro
    wharf_registry_users: [{name: bench, password: $password}]
  children:
    registry_servers:
      hosts: {server: {ansible_host: $server}}
    registry_clients:
      hosts: {client1: {ansible_host: $client1}, client2: {ansible_host: $client2}}
YAML
    )
}

site() { ansible-playbook -i "$bench/inventory/hosts.yml" site.yml "$@"; }
ping() { ansible -i "$bench/inventory/hosts.yml" all -m ping; }
by_hand() {
    env SSH_KEY="$bench/id_ed25519" SUDO_PASSWORD=lab CONTROL_PATH="$control" REGISTRY="$registry" \
        REGISTRY_PASSWORD="$password" bash benchmarks/by-hand.sh "$server" "$client1" "$client2"
}

measure_moved() {
    local script wharf
    say "bare hosts to image moved, by hand"
    fresh_hosts
    timed script by-hand by_hand
    say "bare hosts to image moved, site.yml"
    fresh_hosts
    counted "$bench/bare-tasks.json" timed wharf site site
    row 'bare hosts to image moved (script by hand)' "$wharf s" "$script s" "$(calc 2 "$wharf / $script")" most 2.0
    task_rows "$bench/bare-tasks.json" 'in a bare run' 24 12
}

# counted FILE COMMAND...: runs it with the tasks that reach a host counted into the file, and the time of each in the log.
counted() {
    local file=$1
    shift
    ANSIBLE_CALLBACK_PLUGINS=benchmarks/callback_plugins HOST_TASKS_FILE=$file \
        ANSIBLE_CALLBACKS_ENABLED=host_tasks,ansible.posix.profile_tasks "$@"
}

# task_rows FILE WHEN SERVER-LIMIT CLIENT-LIMIT: the rows of such a file.
task_rows() {
    local server_tasks client_tasks
    read -r server_tasks client_tasks changed < <(python3 - "$1" <<'PYTHON'
import json, sys
hosts = json.load(open(sys.argv[1]))
tasks = {host: counted["tasks"] for host, counted in hosts.items()}
print(tasks["server"], max(tasks["client1"], tasks["client2"]), sum(counted["changed"] for counted in hosts.values()))
PYTHON
    )
    row "tasks that reach a server $2" "$server_tasks" - "$server_tasks" most "$3"
    row "tasks that reach a client $2" "$client_tasks" - "$client_tasks" most "$4"
}

measure_unchanged() {
    local seconds runs=() pings=() changed
    say "a run that changes nothing"
    # Warms the connections as well.
    counted "$bench/host-tasks.json" timed seconds unchanged site --skip-tags verify
    for ((round = 0; round < rounds; round++)); do
        timed seconds ping ping
        pings+=("$seconds")
        timed seconds unchanged-again site --skip-tags verify
        runs+=("$seconds")
    done
    row 'no-change run (one ping)' "$(median "${runs[@]}") s" "$(median "${pings[@]}") s" \
        "$(calc 2 "$(median "${runs[@]}") / $(median "${pings[@]}")")" most 7
    task_rows "$bench/host-tasks.json" 'in a no-change run' 7 4
    row 'tasks that change something in it' "$changed" - "$changed" most 0
}

# spent LOG COMMAND...: prints the seconds of the command, those of the processor that it used here, and the MiB of its
# largest process.
spent() {
    python3 - "$bench/$1.log" "${@:2}" <<'PYTHON' || die "$2 failed, see $bench/$1.log"
import resource, subprocess, sys, time
start = time.monotonic()
with open(sys.argv[1], "w") as log:
    code = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{time.monotonic() - start:.1f} {used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss // 1024}")
sys.exit(code)
PYTHON
}

# The clients are names of two hosts: what the controller does for each is the same.
measure_crowd() {
    local clients inventory seconds used memory first='' ping forks
    forks=$(sed -n 's/^forks = //p' ansible.cfg)
    for clients in 10 50 100; do
        say "a run that changes nothing with $clients clients"
        inventory=$bench/inventory/crowd-$clients.yml
        (umask 077 && python3 - "$bench/inventory/hosts.yml" "$clients" >"$inventory" <<'PYTHON'
import sys, yaml
inventory = yaml.safe_load(open(sys.argv[1]))
groups = inventory["all"]["children"]
two = list(groups["registry_clients"]["hosts"].values())
groups["registry_clients"]["hosts"] = {f"client{n}": two[n % 2] for n in range(1, int(sys.argv[2]) + 1)}
print(yaml.safe_dump(inventory))
PYTHON
        )
        spent crowd ansible-playbook -i "$inventory" site.yml --skip-tags verify >"$bench/crowd.first"
        read -r _ ping _ < <(spent crowd-ping ansible -i "$inventory" all -m ping)
        read -r seconds used memory < <(spent crowd ansible-playbook -i "$inventory" site.yml --skip-tags verify)
        used=$(calc 2 "$used / $clients") ping=$(calc 3 "$ping / $clients") first=${first:-$used}
        row "$clients clients, $forks forks: ${seconds} s, $memory MiB; for each (10)" "$used s" "$first s" \
            "$(calc 2 "$used / $first")" most 1.2
    done
    row "processor time for each of $clients clients (a ping)" "$used s" "$ping s" "$(calc 2 "$used / $ping")" most 9
}

# The registry as a package, without a container: Debian's configuration, but for where it listens and keeps its data.
start_bare_registry() {
    docker exec --interactive "$in" sh -eu >/dev/null <<'SH'
mkdir -p /srv/bare/data
cd /srv/bare
apt-get download -qq -o APT::Sandbox::User=root docker-registry
dpkg-deb --extract docker-registry_*.deb unpacked
sed -e 's|:5000|:5099|' -e 's|/var/lib/docker-registry|/srv/bare/data|' -e '/^auth:/,/^health:/{/^health:/!d}' \
    unpacked/etc/docker/registry/config.yml >config.yml
SH
    docker exec --detach --workdir /srv/bare "$in" \
        sh -c 'exec unpacked/usr/bin/docker-registry serve config.yml >/dev/null 2>&1'
    docker exec "$in" python3 -c '
import socket, time
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", 5099), 1)
        break
    except OSError:
        time.sleep(0.1)
'
}

# The registry as Wharf deployed it before there was a gateway: the same image in a container that publishes a port, with
# TLS and users of its own.
start_registry_with_tls() {
    docker exec --interactive --env PASSWORD="$password" "$in" sh -eu >/dev/null <<'SH'
umask 077
mkdir -p /srv/tls/config /srv/tls/data
cp /etc/wharf/tls/registry.crt /etc/wharf/tls/registry.key /srv/tls/config
echo "bench:$(perl -e 'print crypt($ENV{PASSWORD}, q($2y$04$) . q(0123456789abcdef012345))')" >/srv/tls/config/htpasswd
cat >/srv/tls/config/config.yml <<'YAML'
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /var/lib/registry}}
http:
  addr: :5000
  http2: {disabled: true}
  tls: {certificate: /config/registry.crt, key: /config/registry.key}
auth: {htpasswd: {realm: registry, path: /config/htpasswd}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
YAML
chown -R 59500:59500 /srv/tls
docker run --detach --name bench-tls --user 59500:59500 --read-only --cap-drop ALL --security-opt no-new-privileges \
    --env GOGC=400 --env GOMEMLIMIT=400MiB --publish 5098:5000 --volume /srv/tls/config:/config:ro \
    --volume /srv/tls/data:/var/lib/registry "$(docker inspect --format '{{.Image}}' registry)" serve /config/config.yml
SH
}

measure_transport() {
    local in=wharf-bench-server seconds what measured reference ratio limit
    say "transport: the registry as deployed, with its own TLS, and the bare one"
    docker exec "$in" apt-get install -qq -y --no-install-recommends wrk apache2-utils >/dev/null 2>&1
    start_bare_registry
    start_registry_with_tls
    docker cp -q benchmarks/transport.py "$in:/srv/bare/"
    # The cipher that Docker, in Go, asks for first.
    docker exec "$in" sh -c 'printf "%s\n" "openssl_conf = a" "[a]" "ssl_conf = b" "[b]" "system_default = c" "[c]" \
        "Ciphersuites = TLS_AES_128_GCM_SHA256" >/srv/bare/openssl.cnf'
    # shellcheck disable=SC2086
    timed seconds transport timeout 1500 docker exec --env REGISTRY_PASSWORD="$password" \
        --env OPENSSL_CONF=/srv/bare/openssl.cnf "$in" python3 /srv/bare/transport.py --ca /etc/wharf/tls/ca.crt \
        --user bench --registry bare "http://$server:5099" /srv/bare/data \
        --registry 'own TLS' "https://$server:5098" /srv/tls/data \
        --registry deployed "https://$server:${registry#*:}" /var/lib/wharf/registry \
        --memory registry --memory registry-gateway --rounds "$rounds" ${BENCH_TRANSPORT:-}
    while IFS='|' read -r what measured reference ratio limit; do
        row "$what" "$measured" "$reference" "$ratio" least "$limit"
    done < <(python3 - "$bench/transport.log" "$bench/transport.table" <<'PYTHON'
import json, sys
result = json.loads(open(sys.argv[1]).readlines()[-1])
least = {
    "manifests": ("bare", 0.75), "new connections": ("own TLS", 2.5), "small blobs": ("bare", 20),
    "blob GETs": ("bare", 0.6), "pushes": ("own TLS", 0.8),
}
names = {
    "manifests": "manifests by tag", "new connections": "the same, a connection each", "small blobs": "blobs of 90 bytes",
    "blob GETs": "16 GETs of 32 MiB", "pushes": "16 pushes of 32 MiB",
}
lines = ["registry (the client's share of the processors)|bare|own TLS|deployed"]
for load, found in result["loads"].items():
    best, unit = found["best"], found["unit"]
    cells = [f"{best[side]:.0f} {unit} ({found['client'][side]:.0%})" for side in ("bare", "own TLS", "deployed")]
    lines.append("|".join([names[load], *cells]))
    side, limit = least[load]
    both = "|".join(f"{best[one]:.0f} {unit}" for one in ("deployed", side))
    print(f"registry, {names[load]} ({side})|{both}|{best['deployed'] / best[side]:.2f}|{limit}")
memory = result["memory"]
cells = ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in memory.items())
lines.append(f"memory with 200 clients, MB|-|-|{sum(memory.values()):.0f}: {cells}")
open(sys.argv[2], "w").write("\n".join(lines) + "\n")
PYTHON
    )
}

# pulled VARIABLE CA URL NAME CLIENTS: sets the variable to the seconds in which so many clients pull an image at once.
pulled() {
    local -n __pulled=$1
    shift
    __pulled=$(docker exec wharf-bench-client1 python3 /srv/images.py pull "$@") || die "no pull of $3 from $2"
}

# sent VARIABLE: sets it to the bytes that the upstream has sent, once it sends no more: a cache may still store an image
# that a client has already.
sent() {
    local -n __sent=$1
    local last
    __sent=0
    while true; do
        last=$__sent
        __sent=$(docker exec wharf-bench-upstream cat /sys/class/net/eth0/statistics/tx_bytes)
        ((__sent - last > 100000)) || break
        sleep 2
    done
}

measure_caches() {
    local upstream=upstream.wharf.test:5000 size=536870912 seconds round clients file before after
    local ca=/etc/docker/certs.d/$registry/wharf-ca.crt there=/srv/upstream.crt
    local own=() first=() second=() direct=() fetched=()
    say "caches"
    cat >"$bench/hosts.json" <<JSON
{
  "molecule_ephemeral_directory": "$bench",
  "lab_hosts": [
    {"name": "server", "image": "trixie-docker", "aliases": ["${registry%:*}"]},
    {"name": "upstream", "image": "trixie-docker", "aliases": ["${upstream%:*}"]},
    {"name": "client1", "image": "trixie-docker"}
  ]
}
JSON
    hosts destroy || die "the old hosts stay, see $bench/destroy.log"
    hosts create || die "no hosts, see $bench/create.log"
    timed seconds upstream ansible-playbook -i molecule/caches/inventory/upstream.yml site.yml --skip-tags verify \
        --extra-vars ansible_host=wharf-bench-upstream
    docker exec wharf-bench-upstream cat /etc/wharf/tls/ca.crt >"$bench/upstream.crt"
    # Open to everybody: of a login there is nothing to measure here.
    mkdir -p "$bench/inventory"
    cat >"$bench/inventory/hosts.yml" <<YAML
all:
  vars:
    ansible_connection: community.docker.docker
    wharf_registry_name: ${registry%:*}
    wharf_registry_port: ${registry#*:}
    wharf_registry_image_source: distro
    wharf_registry_anonymous: true
    wharf_caches: [{upstream: "$upstream", ca: "$bench/upstream.crt"}]
  children:
    registry_servers:
      hosts: {server: {ansible_host: wharf-bench-server}}
    registry_clients:
      hosts: {client1: {ansible_host: wharf-bench-client1}}
YAML
    timed seconds caches site --skip-tags verify
    for file in benchmarks/transport.py benchmarks/images.py "$bench/upstream.crt"; do
        docker cp -q "$file" wharf-bench-client1:/srv/
    done
    local cached=("$ca" "https://$registry" "${upstream/:/_}/benchmark")
    for ((round = 0; round < 3; round++)); do
        timed seconds push docker exec wharf-bench-client1 \
            python3 /srv/images.py push "$ca" "https://$registry" "$there" "https://$upstream"
        sent before
        pulled seconds "${cached[@]}" 1
        first+=("$seconds")
        sent after
        fetched+=("$((after - before))")
        pulled seconds "$there" "https://$upstream" benchmark 1
        direct+=("$seconds")
        pulled seconds "${cached[@]}" 1
        second+=("$seconds")
        pulled seconds "$ca" "https://$registry" benchmark 1
        own+=("$seconds")
    done
    row 'pull of 512 MiB from a cache (from the registry)' "$(median "${second[@]}") s" "$(median "${own[@]}") s" \
        "$(calc 2 "$(median "${own[@]}") / $(median "${second[@]}")")" least 0.9
    # Version 2 of the registry fetches a new layer twice: for the client, and to keep it. And where the machine has two
    # processors, they are the client's, the cache's and the upstream's.
    row 'pull of a new one from a cache (from the upstream)' "$(median "${first[@]}") s" "$(median "${direct[@]}") s" \
        "$(calc 2 "$(median "${direct[@]}") / $(median "${first[@]}")")" least 0.2
    row 'bytes from the upstream then (the image)' "$(megabytes "$(median "${fetched[@]}")")" "$(megabytes "$size")" \
        "$(calc 2 "$(median "${fetched[@]}") / $size")" most 2.2
    for clients in 1 2 4 8; do
        sent before
        pulled seconds "${cached[@]}" "$clients"
        sent after
        row "the cached one by $clients at once (from the upstream)" "$seconds s" "$(megabytes "$((after - before))")" \
            "$(calc 3 "($after - $before) / $size")" most 0.01
    done
}

megabytes() { calc 1 "$1 / 1000000" && printf ' MB'; }

measure_lab() {
    local first again left
    left=$(docker ps --all --quiet --filter label=wharf.lab=wharf-lab
        docker images --quiet --filter label=wharf.recipe)
    [[ -z $left ]] || die "this is no fresh machine, the lab or its images are there: remove them with make lab-down"
    clone=$(mktemp -d)
    # Not local: the trap comes when the function has ended.
    trap 'say "removing the lab"; make -C "$clone" lab-down >/dev/null 2>&1 || true; rm -rf "$clone"' EXIT
    trap 'exit 130' INT TERM
    git clone --quiet . "$clone"
    say "make lab, from a clean clone of $(git describe --always)"
    timed first lab make -C "$clone" lab
    say "make lab, again"
    timed again lab-again make -C "$clone" lab
    row 'make lab (limit 360 s)' "$first s" '360 s' "$(calc 2 "$first / 360")" most 1
    row 'make lab, again (limit 60 s)' "$again s" '60 s' "$(calc 2 "$again / 60")" most 1
}

mkdir -p "$bench"
rm -f "$bench/transport.table"
read -r load _ </proc/loadavg
[[ $(calc 0 "$load") -lt 1 ]] || say "the machine is busy already (load $load): the ratios may come out worse than they are"
if [[ ${1:-} == lab ]]; then
    measure_lab
else
    # Not in .cache: the path of a socket has about 100 characters at most.
    control=$(mktemp -d)
    export ANSIBLE_SSH_CONTROL_PATH_DIR=$control ANSIBLE_FORCE_COLOR=false
    registry=registry.wharf.test:5000
    password=$(openssl rand -hex 16)
    cat >"$bench/hosts.json" <<JSON
{
  "molecule_ephemeral_directory": "$bench",
  "lab_hosts": [
    {"name": "server", "image": "trixie", "ssh": true, "aliases": ["${registry%:*}"]},
    {"name": "client1", "image": "bookworm", "ssh": true},
    {"name": "client2", "image": "trixie", "ssh": true}
  ]
}
JSON
    trap finish EXIT
    trap 'exit 130' INT TERM
    if [[ ${1:-} == registry ]]; then
        fresh_hosts
        timed deployed site site
    elif [[ ${1:-} == clients ]]; then
        fresh_hosts
        timed deployed site site
        measure_crowd
    elif [[ ${1:-} != caches ]]; then
        measure_moved
        measure_unchanged
        measure_crowd
    fi
    [[ ${1:-} == caches || ${1:-} == clients ]] || measure_transport
    [[ ${1:-} == registry || ${1:-} == clients ]] || measure_caches
fi
table
exit "$failed"
