# Moves the registry's container out of the way of its successor, and back. Run as
#   sh -s -- VERB CONTAINER DIRECTORY
# At any moment one of the two is there whole, and the next run mends what a run that was cut off has left.
set -eu
container=$2
before=$2-before
kept=$3/config.yml.before
exists() { docker inspect --type container "$1" >/dev/null 2>&1; }

# Collection, backup and the like need the container to hold still.
lock=/run/lock/wharf-registry.lock
exec 9>>$lock
flock -w 60 9 || { echo "$(cut -d' ' -f1 $lock) is at work on the registry: wait until it has finished" >&2; exit 1; }
echo "deploy-registry $(date +%s)" >$lock

case $1 in
    # It runs on under its other name until the successor has been made.
    aside) docker rename "$container" "$before" ;;
    switch)
        ! exists "$before" || docker stop "$before" >/dev/null
        docker start "$container" >/dev/null
        ;;
    back)
        [ ! -f "$kept" ] || mv "$kept" "$3/config.yml"
        exists "$before" || exit 0
        docker rm --force "$container" >/dev/null 2>&1 || true
        docker rename "$before" "$container"
        docker start "$container" >/dev/null
        # As its health check asks: the port and the certificate may be those that it had before.
        for _ in $(seq 20); do
            ! docker exec "$container" wget -q -O /dev/null http://127.0.0.1:5001/debug/health 2>/dev/null || exit 0
            sleep 0.5
        done
        echo "the container that ran before was started again, but is not well: see docker logs $container" >&2
        exit 1
        ;;
    done)
        rm -f "$kept"
        ! exists "$before" || docker rm --force "$before" >/dev/null
        ;;
esac
