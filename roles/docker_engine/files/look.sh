# Tell what the role has to know about a host. Changes nothing.
# Arguments: the packages that the role installs or must not meet, the users of the docker group, the role's files, the
# repositories whose old entries get in the way, the file with the role's holds, the file with the restart that is owed;
# each list is one argument, its words apart by spaces.
# Each line of the output is a word and what it says; filter_plugins/docker_engine_state.py reads them.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

# shellcheck disable=SC2086
dpkg-query --show --showformat='package ${Package} ${db:Status-Status} ${Version} ${db:Status-Want}\n' $1 2>/dev/null

engine=$(command -v dockerd)
if [ -n "$engine" ]; then
  echo "engine $engine $(dpkg-query --search "$(readlink -f "$engine")" 2>/dev/null | cut -d: -f1)"
fi

# Where no engine is, nobody else would judge the file before the packages come.
if [ -z "$engine" ] && [ -s /etc/docker/daemon.json ]; then
  python3 -c 'import json; json.load(open("/etc/docker/daemon.json"))' 2>&1 | sed -n '$s/^[^:]*: /broken /p'
fi

for user in $2; do
  groups=$(id -Gn "$user" 2>/dev/null) && echo "user $user $groups"
done

for file in $3; do
  [ ! -f "$file" ] || echo "file $file $(stat -c '%u:%g:%a' "$file") $(sha256sum <"$file" | cut -d' ' -f1)"
done
[ -z "$4" ] || for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  case " $3 " in *" $file "*) continue ;; esac
  # Whole words, without their schemes and closing slashes: one mirror's address can begin with another's.
  words=$(sed '/^[[:space:]]*#/d; s/^[Uu][Rr][Ii][Ss]://' "$file" 2>/dev/null | tr -s ' \t' '\n\n' |
    sed 's,^[a-z+]*://,,; s,/*$,,')
  for repository in $4; do
    if echo "$words" | grep -qxF "$repository"; then
      echo "entry $file"
      break
    fi
  done
done
sed 's/^/hold /' "$5" 2>/dev/null
grep -qxF '# BEGIN wharf proxies' /etc/default/docker 2>/dev/null && echo hook
grep -qE '"proxies"[[:space:]]*:' /etc/docker/daemon.json 2>/dev/null && echo "option proxies"
getent group docker >/dev/null && echo group

pid=$(cat /run/docker.pid 2>/dev/null)
# The command line of a zombie is empty.
if [ -n "$pid" ] && grep -q dockerd "/proc/$pid/cmdline" 2>/dev/null; then
  # Process ids come again, also after a boot.
  identity="$(cat /proc/sys/kernel/random/boot_id) $pid $(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f20)"
  echo "running $identity"
  if [ -f "$6" ] && [ "$(head -n 1 "$6")" = "$identity" ]; then
    sed '1d; s/^/owed /' "$6"
  fi
fi

if [ -d /run/systemd/system ]; then
  systemctl show docker.service --property=ActiveState,UnitFileState | sed 's/^/unit /; s/=/ /'
else
  service docker status >/dev/null 2>&1 && echo "unit ActiveState active"
  for link in /etc/rc[2345].d/S[0-9][0-9]docker; do
    if [ -e "$link" ]; then
      echo "unit UnitFileState enabled"
      break
    fi
  done
fi
exit 0
