# Tells the units of Wharf and of the engines: enabled or not, and active or not where they are to stay so.
units="docker.service docker.socket containerd.service cron.service"
systemctl list-unit-files --no-legend 'wharf-*' $units |
    while read -r unit state _; do
        case $unit in wharf-*.service) active= ;; *) active=$(systemctl is-active "$unit") ;; esac
        echo "$unit $state $active"
    done
