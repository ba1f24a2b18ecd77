# Tells what is on the host, in lines of YAML, and changes nothing. Run as
#   sh -s -- NAME CERTIFICATE_FILE HOSTS_LINE PORT
export LC_ALL=C
say() { printf '%s: "%s"\n' "$1" "$2"; }

say address "$(getent ahosts "$1" | sed -n '1s/ .*//p')"
say certificate "$(stat -c '%u:%g:%a' "$2" 2>/dev/null) $(cat "$2" 2>/dev/null | sha256sum | cut -d' ' -f1)"
say hosts_line "$(grep -cxF "$3" /etc/hosts)"
say hosts_block "$(grep -cxF "# BEGIN wharf $1" /etc/hosts)"
say daemon_keys "$(grep -cF "\"registry_client $1:$4\"" /var/lib/wharf/daemon.json.record 2>/dev/null)"
