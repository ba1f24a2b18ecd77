# Removes what a registry has on its server, or tells what that would be, a line for each thing. Run as
#   sh -s -- tell|remove CONTAINER DIRECTORY [DATA]      DATA only where the images are to go as well
set -u
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
mode=$1 container=$2 directory=$3 data=${4-}

lock=/run/lock/wharf-registry.lock
exec 9>>$lock
flock -n 9 || { echo "$(cut -d' ' -f1 $lock) is at work on the registry: wait until it has finished" >&2; exit 1; }

# go WHAT COMMAND...: says what goes, and lets it go.
status=0
go() {
    what=$1
    shift
    if [ "$mode" = tell ] || "$@" >/dev/null; then echo "$what"; else status=1; fi
}
files() { for path in "$@"; do [ ! -e "$path" ] && [ ! -L "$path" ] || go "$path" rm -rf "$path"; done; }

# By the name that the container was given; what else it has left is without a name after another build.
names=wharf-registry:distro ids=
for name in "$container" "$container-before" "$container-read-only" "$container-collect-garbage" \
    "$container-collect-garbage-dry-run" "$container-config-check"; do
    image=$(docker inspect --type container --format '{{.Config.Image}} {{.Image}}' "$name" 2>/dev/null) || continue
    names="$names ${image% *}" ids="$ids ${image#* }"
    go "container $name" docker rm --force "$name"
done
for image in $(printf '%s\n' $names | sort -u); do
    docker image inspect "$image" >/dev/null 2>&1 || continue
    # Where other containers run from it, it stays.
    if [ "$mode" = tell ] || docker image rm "$image" >/dev/null 2>&1; then echo "image $image"; fi
done
[ "$mode" = tell ] || [ -z "$ids" ] || docker image rm $ids >/dev/null 2>&1

files "$directory" /etc/wharf/registry.json
case $data in
    '') ;;
    /*)
        # The directory itself may be where a disk is mounted.
        if mountpoint -q "$data"; then
            [ -z "$(ls -A "$data")" ] || go "all in $data" find "$data" -mindepth 1 -delete
        else
            files "$data"
        fi
        ;;
    *) ! docker volume inspect "$data" >/dev/null 2>&1 || go "volume $data" docker volume rm "$data" ;;
esac
for path in /etc/wharf /var/lib/wharf; do
    [ ! -d "$path" ] || [ -n "$(ls -A "$path")" ] || go "$path" rmdir "$path"
done
[ "$mode" = tell ] || rm -f $lock
exit $status
