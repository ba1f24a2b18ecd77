# Tells what is on the host, in lines of YAML, and changes nothing. Run as
#   sh -s -- IMAGE PORT UID DIRECTORY DATA TLS_DIRECTORY
export LC_ALL=C
say() { printf '%s: "%s"\n' "$1" "$2"; }
mode() { stat -c '%u:%g:%a' "$1" 2>/dev/null; }
sum() { sha256sum 2>/dev/null <"$1" | cut -d' ' -f1; }

# The engine's version and what it stores images with.
say engine "$(docker info --format '{{.ServerVersion}} {{.DriverStatus}}' 2>/dev/null | grep '^[0-9]')"
image=$(docker image inspect --format '{{.Id}}{{range .RootFS.Layers}} {{.}}{{end}}' "$1" 2>/dev/null)
say image "${image%% *}"
say image_layers "${image#* }"
say client "$(dpkg-query -W -f '${db:Status-Status}' python3-requests 2>/dev/null)"

# Who has the port: a container by name, or a process by its command.
say published_by "$(docker ps --filter "publish=$2" --format '{{.Names}}' 2>/dev/null | paste -sd ' ')"
say held_by "$(ss -Hltnp "sport = :$2" | sed -n 's/.*(("\([^"]*\)".*/\1/p' | sort -u | paste -sd ' ')"
say uid_owner "$(getent passwd "$3" | cut -d: -f1)"

say directory "$(mode "$4")"
say config "$(mode "$4/config.yml") $(sum "$4/config.yml" 2>/dev/null)"
say htpasswd_mode "$(mode "$4/htpasswd")"
say htpasswd "$(base64 -w0 "$4/htpasswd" 2>/dev/null)"

case $5 in
    /*) data=$5 ;;
    *) data=$(docker volume inspect --format '{{.Mountpoint}}' "$5" 2>/dev/null) ;;
esac
say data_path "$data"
say data "$(mode "$data")"
say certificate "$(sum "$6/registry.crt" 2>/dev/null)"
