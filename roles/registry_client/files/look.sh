# Tells what is on the host, in lines of YAML, and changes nothing. Run as
#   sh -s -- NAME PORT HOSTS_LINE TOOLS USERS      TOOLS and USERS are words in one argument; TOOLS may be auto
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
registry=$1:$2
say() { printf '%s: "%s"\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null; }

say address "$(getent ahosts "$1" | sed -n '1s/ .*//p')"
say hosts_line "$(grep -cxF "$3" /etc/hosts)"
say hosts_block "$(grep -cxF "# BEGIN wharf $1" /etc/hosts)"
say daemon_keys "$(grep -cF "\"registry_client $registry\"" /var/lib/wharf/daemon.json.record 2>/dev/null)"

# Docker is its engine: the command may be podman's. Without the command nobody logs in.
found=
! has dockerd || found=docker
for tool in podman buildah skopeo containerd; do ! has "$tool" || found="$found $tool"; done
say found "$found"
say programs "$(for program in docker update-ca-certificates; do ! has "$program" || printf '%s ' "$program"; done)"

# Containerd itself is asked only where it counts; elsewhere its file tells where files of ours may be.
toml=/etc/containerd/config.toml
dump=$(cat $toml 2>/dev/null)
if has containerd && { [ "${4#*containerd}" != "$4" ] || { [ "$4" = auto ] && ! has dockerd; }; }; then
    dump=$(containerd config dump 2>/dev/null) || say containerd_broken 1
    # Tables of old that do not go with config_path.
    say containerd_mirrors "$(printf '%s' "$dump" | grep -cE 'registry\.(mirrors\.|configs\..*\.tls\])')"
fi
path=$(printf '%s' "$dump" | awk '/\[/ { here = /^ *\[plugins\..*\.registry\]/ } here && /config_path/' | cut -d= -f2 | tr -d "\"' ")
path=${path%%:*}
say containerd_path "$path"
say containerd_version "$(sed -n 's/^version *= *\([0-9]*\).*/\1/p' $toml 2>/dev/null)"
say containerd_table "$(grep -cE '^ *\[plugins\..*\.registry\]' $toml 2>/dev/null)"
say containerd_block "$(grep -cxF '# BEGIN wharf' $toml 2>/dev/null)"
say containerd_others "$(ls -A /etc/containerd/certs.d 2>/dev/null | grep -cvxF "$registry")"
[ -e $toml ] && say containerd_file 1

# Which of the directories are there, and which of the files: owner, mode and hash.
directories=
for root in /etc/docker/certs.d /etc/containers/certs.d /etc/containerd/certs.d $path; do
    case "$directories " in *" $root/$registry "*) ;; *) directories="$directories $root/$registry" ;; esac
done
say directories "$(for directory in $directories /etc/containers/registries.conf.d /usr/local/share/ca-certificates; do [ ! -d "$directory" ] || printf '%s ' "$directory"; done)"
printf 'files:\n'
for file in $(for directory in $directories; do echo "$directory/wharf-ca.crt" "$directory/hosts.toml"; done) \
    "/etc/containers/registries.conf.d/wharf-$1_$2.conf" /usr/local/share/ca-certificates/wharf-"$1_$2"_*.crt; do
    [ -f "$file" ] || continue
    printf '  "%s": "%s %s"\n' "$file" "$(stat -c '%u:%g:%a' "$file")" "$(sha256sum <"$file" | cut -d' ' -f1)"
done
# Files that others made, and what the system's store has not taken over.
say foreign "$(for directory in $directories; do
    [ ! -e "$directory/hosts.toml" ] || grep -q '^# Wharf' "$directory/hosts.toml" || printf '%s ' "$directory/hosts.toml"
done)"
say unlinked "$(for file in /usr/local/share/ca-certificates/wharf-"$1_$2"_*.crt; do
    name=${file##*/}
    [ ! -f "$file" ] || [ -e "/etc/ssl/certs/${name%.crt}.pem" ] || printf '%s ' "$file"
done)"
# Only an engine with the containerd image store heeds a hosts.toml.
[ -e "/etc/docker/certs.d/$registry/hosts.toml" ] && has dockerd &&
    say docker_store "$(docker info --format '{{json .DriverStatus}}' 2>/dev/null | grep -o io.containerd | head -n 1)"

printf 'users:\n'
for user in $5; do printf '  "%s": %s\n' "$user" "$(id -u "$user" >/dev/null 2>&1 && echo true || echo false)"; done
