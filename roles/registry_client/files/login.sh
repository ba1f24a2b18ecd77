# Logs a system user in to a registry, or out of it, with the user's own `docker login`: that finds the credential
# store which the user has set, or writes the user's config.json. Says "changed" if something did. Run as
#   sh login.sh present|absent USER REGISTRY NAME      with the password on standard input
set -eu
umask 077
state=$1 user=$2 registry=$3 name=$4
home=$(getent passwd "$user" | cut -d: -f6)
config=$home/.docker/config.json

as_user() { runuser -u "$user" -- env HOME="$home" "$@"; }

known() {
    [ -e "$config" ] || return 0
    sha256sum "$config"
    store=$(sed -n 's/.*"credsStore": *"\([^"]*\)".*/\1/p' "$config")
    [ -z "$store" ] || echo "$registry" | as_user "docker-credential-$store" get || true
}

[ -n "$home" ] || { echo "there is no system user $user" >&2; exit 1; }
before=$(known)
if [ "$state" = present ]; then
    as_user docker login --username "$name" --password-stdin "$registry" >/dev/null
    chmod 0600 "$config"
elif [ -e "$config" ]; then
    as_user docker logout "$registry" >/dev/null
fi
[ "$before" = "$(known)" ] || echo changed
