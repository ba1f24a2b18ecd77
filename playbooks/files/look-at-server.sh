# Tells how the registry's server is, in lines of YAML, and changes nothing. Run as
#   sh -s -- CONTAINER PORT DATA TLS_DIRECTORY
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
say() { printf '%s: "%s"\n' "$1" "$2"; }
encode() { base64 -w0 2>/dev/null; }
store=/var/lib/registry

say clock "$(date +%s)"
say addresses "$(ip -json address show 2>/dev/null | encode)"
say certificate "$(encode <"$4/registry.crt")" 2>/dev/null
say ca "$(encode <"$4/ca.crt")" 2>/dev/null
# How the programs that run by a timer ended, and the services that systemd gave up.
printf 'results:\n'
for file in /var/lib/wharf/results/*; do
    [ ! -f "$file" ] || printf '  "%s": "%s"\n' "${file##*/}" "$(encode <"$file")"
done
say failed_units "$(systemctl list-units --failed --plain --no-legend 'wharf-*.service' 2>/dev/null |
    cut -d' ' -f1 | paste -sd ' ')"
say holder "$(ss -Hltnp "sport = :$2" 2>/dev/null | sed -n 's/.*(("\([^"]*\)".*/\1/p' | sort -u | paste -sd ' ')"

# An engine that does not run must not be asked: its socket would start it.
pid=$(cat /run/docker.pid 2>/dev/null)
if grep -qx dockerd "/proc/${pid:-none}/comm" 2>/dev/null || systemctl --quiet is-active docker 2>/dev/null; then
    say engine running
elif command -v dockerd >/dev/null; then
    say engine stopped
    exit 0
else
    say engine absent
    exit 0
fi

container=$1
inspected=$(docker inspect --type container --format '
status: {{json .State.Status}}
exit_code: {{.State.ExitCode}}
error: {{json .State.Error}}
health: {{if .State.Health}}{{json .State.Health.Status}}{{end}}
ports: {{json .HostConfig.PortBindings}}
user: {{json .Config.User}}
pid: {{.State.Pid}}
data: {{range .Mounts}}{{if eq .Destination "/var/lib/registry"}}{{json .Source}}{{end}}{{end}}
mark: {{range .Mounts}}{{if eq .Destination "/wharf/data"}}{{json .Source}}{{end}}{{end}}' "$container" 2>/dev/null)
field() { printf '%s\n' "$inspected" | sed -n "s/^$1: \"\{0,1\}\([^\"]*\)\"\{0,1\}$/\1/p"; }

say publishers "$(docker ps --filter "publish=$2" --format '{{.Names}}' | paste -sd ' ')"
status=$(field status)
data=$3
if [ -n "$status" ]; then
    printf '%s\n' "$inspected"
    data=$(field data)
    mark=$(field mark)
    [ -z "$mark" ] || [ -e "$mark" ] || say mark_missing "$mark"
else
    say status absent
fi

# What the container sees, where it runs: a mount that came or changed later is another one inside.
if [ "$status" = running ]; then
    pid=$(field pid)
    place=/proc/$pid/root$store
    # Judged by owner and mode: not every shell's test knows of a mount that is read-only.
    say unwritable "$(docker exec "$container" sh -c '
        for directory in "$0" "$0/docker/registry/v2/repositories" "$0/docker/registry/v2/blobs"; do
            [ -w "$directory" ] || [ ! -e "$directory" ] || { echo "$directory"; exit; }
        done' "$store" 2>/dev/null)"
    say read_only "$(sed -n "s|^[^ ]* [^ ]* [^ ]* [^ ]* $store \([^ ]*\) .*- [^ ]* [^ ]* \(.*\)|,\1,\2,|p" \
        "/proc/$pid/mountinfo" | tail -n 1 | grep -o ',ro,' | head -n 1)"
    say owner "$(stat -c '%u:%g' "$place" 2>/dev/null)"
else
    # A registry that does not like its configuration tells its usage after the reason.
    say log "$(docker logs --tail 40 "$container" 2>&1 | sed '/^Usage:/,$d' | grep . | tail -n 1 | head -c 1000 | encode)"
    case $data in
        /*) place=$data ;;
        *) place=$(docker volume inspect --format '{{.Mountpoint}}' "$data" 2>/dev/null) ;;
    esac
fi
say place "$data"
# Block size, blocks, blocks that are free for others than root, inodes, free inodes.
say space "$(stat -f -c '%S %b %a %c %d' "$place" 2>/dev/null)"
