# Moves the data back.
#
#   sh move-from-small-disk.sh DATA CONTAINER...
set -e
data=$1
shift
docker stop "$@"
umount "$data"
rm -rf "$data/docker"
cp -a /mnt/disk/docker "$data"
umount /mnt/disk
docker start "$@"
