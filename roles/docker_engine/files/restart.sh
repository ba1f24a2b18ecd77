# Restart the engine and wait until it answers: in one step, so that `throttle` lets the next host begin only then.
# Arguments: the service manager, how many seconds to wait, the file that says what restart is owed.
set -e
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Whether a service runs a program whose file has been replaced since.
is_replaced() {
  case $(readlink "/proc/$(systemctl show "$1" --property=MainPID --value)/exe") in
    *' (deleted)') true ;;
    *) false ;;
  esac
}

if [ "$1" = systemd ]; then
  systemctl daemon-reload
  # Debian's unit allows three starts in a minute; one more would leave the engine stopped.
  systemctl reset-failed docker.service docker.socket 2>/dev/null || true
  units=docker.service
  if is_replaced docker.service; then
    # A socket whose unit was away for a moment hands nothing over any more.
    units="$(systemctl list-unit-files --no-legend docker.socket | cut -d' ' -f1) $units"
  fi
  # The containers' shims go on without it.
  if is_replaced containerd.service; then
    units="containerd.service $units"
  fi
  # shellcheck disable=SC2086
  systemctl restart $units
else
  service docker restart
fi
end=$(($(date +%s) + $2))
# Systemd's start returns when the engine is ready, an init script's as soon as it has been forked.
until answer=$(docker version 2>&1); do
  if [ "$(date +%s)" -ge "$end" ]; then
    echo "the engine does not answer after its restart: $answer" >&2
    exit 1
  fi
  sleep 0.5
done
rm -f "$3"
