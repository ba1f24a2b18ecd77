# Tell what the role has to know about a host. Changes nothing.
# Arguments: the packages that the role installs, those that it must not meet, the users of the docker group; each list
# is one argument, its words apart by spaces.
# Each line of the output is a word and what it says; filter_plugins/docker_engine_state.py reads them.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

# shellcheck disable=SC2086
dpkg-query --show --showformat='package ${Package} ${db:Status-Status}\n' $1 $2 2>/dev/null

engine=$(command -v dockerd)
if [ -n "$engine" ]; then
  echo "engine $engine $(dpkg-query --search "$(readlink -f "$engine")" 2>/dev/null | cut -d: -f1)"
fi

for user in $3; do
  groups=$(id -Gn "$user" 2>/dev/null) && echo "user $user $groups"
done

pid=$(cat /run/docker.pid 2>/dev/null)
# The command line of a zombie is empty.
if [ -n "$pid" ] && grep -q dockerd "/proc/$pid/cmdline" 2>/dev/null; then
  echo "running $pid"
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
