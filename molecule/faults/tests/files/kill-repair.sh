# Kills a repair while it has the registry paused: tries until a kill has come between the pause and its end. Run as
#   sh kill-repair.sh STORE      the directory that holds blobs and repositories
paused() { [ "$(docker inspect --format '{{.State.Paused}}' registry)" = true ]; }
for prefix in $(ls "$1/blobs/sha256"); do
    blob=$1/blobs/sha256/$prefix/$prefix$(od -An -N31 -tx1 -v /dev/urandom | tr -dc 0-9a-f)
    mkdir "$blob"
    : >"$blob/data"
    chown -R --reference="$1" "$blob"
    wharf repair-storage &
    pid=$!
    while readlink /proc/$pid/exe >/dev/null; do ! paused || kill -9 $pid; done
    ! paused || exit 0
done
exit 1
