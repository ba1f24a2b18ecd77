# Tells what is on the host, in lines of YAML, and changes nothing. Run as
#   sh -s -- IMAGE PORT UID DIRECTORY DATA TLS_DIRECTORY CONTAINER
export LC_ALL=C
say() { printf '%s: "%s"\n' "$1" "$2"; }
mode() { stat -Lc '%u:%g:%a' "$1" 2>/dev/null; }
sum() { sha256sum 2>/dev/null <"$1" | cut -d' ' -f1; }

# The engine's version and what it stores images with.
say engine "$(docker info --format '{{.ServerVersion}} {{.DriverStatus}}' 2>/dev/null | grep '^[0-9]')"
image=$(docker image inspect --format '{{.Id}}{{range .RootFS.Layers}} {{.}}{{end}}' "$1" 2>/dev/null)
say image "${image%% *}"
say image_layers "${image#* }"
say client "$(command -v openssl >/dev/null && dpkg-query -W -f '${db:Status-Status}' python3-requests 2>/dev/null)"

# Who has the port: a container by name, or a process by its command.
say published_by "$(docker ps --filter "publish=$2" --format '{{.Names}}' 2>/dev/null | paste -sd ' ')"
say held_by "$(ss -Hltnp "sport = :$2" | sed -n 's/.*(("\([^"]*\)".*/\1/p' | sort -u | paste -sd ' ')"
say uid_owner "$(getent passwd "$3" | cut -d: -f1)"

say directory "$(mode "$4")"
say config "$(mode "$4/config.yml") $(sum "$4/config.yml" 2>/dev/null)"
say facts "$(mode /etc/wharf/registry.json) $(sum /etc/wharf/registry.json 2>/dev/null)"
say htpasswd_mode "$(mode "$4/htpasswd")"
say htpasswd "$(base64 -w0 "$4/htpasswd" 2>/dev/null)"

case $5 in
    /*) data=$5 ;;
    *) data=$(docker volume inspect --format '{{.Mountpoint}}' "$5" 2>/dev/null) ;;
esac
say data_path "$data"
say data "$(mode "$data")"
# Whose the data is, whether there is any, and what was remembered of it.
say mark "$(head -n 1 "$data/.wharf" 2>/dev/null)"
say used "$(ls -A "$data" 2>/dev/null | grep -cvxE '\.wharf.*|lost\+found')"
say record "$(head -n 1 "$4/data" 2>/dev/null)"

# The container: its image and the hash of the configuration that it was made for; and one that was set aside.
containers=$(docker inspect --type container --format '{{.Name}} {{.Image}} {{index .Config.Labels "wharf.config"}}' \
    "$7" "$7-before" 2>/dev/null)
say container "$(echo "$containers" | sed -n "s|^/$7 ||p")"
say before "$(echo "$containers" | sed -n "s|^/$7-before \\([^ ]*\\).*|\\1|p")"

# The certificates in the file, and those that are served: a renewed file is loaded by a restart only.
pem() { sed -n '/^-----BEGIN CERTIFICATE/,/^-----END CERTIFICATE/p' | tr -d ' \r\n' | sha256sum | cut -d' ' -f1; }
say certificate "$(pem 2>/dev/null <"$6/registry.crt")" 2>/dev/null
say served "$(timeout 5 openssl s_client -connect "127.0.0.1:$2" -showcerts 2>/dev/null </dev/null | pem)"

# Whoever holds the lock has written its name into it, and since when.
lock=/run/lock/wharf-registry.lock
if [ -e "$lock" ] && ! flock --shared --nonblock "$lock" true; then
    say at_work "$(head -n 1 "$lock")"
else
    say at_work ""
fi
# What a program that was killed left: the registry's own container rests meanwhile.
say left_behind "$(docker ps --all --format '{{.Names}}' 2>/dev/null | grep -x -e "$7-read-only" -e "$7-collect-garbage" | paste -sd ' ')"
