# Moves data of containers to a file system of its own, with so much room beside what is stored.
#
#   sh move-to-small-disk.sh DATA MEGABYTES CONTAINER...
set -e
data=$1 megabytes=$2
shift 2
mkdir -p /mnt/disk
docker stop "$@"
mount -t tmpfs -o size=$(($(du -sm "$data" | cut -f1) + megabytes))m tmpfs /mnt/disk
cp -a "$data/." /mnt/disk
chown --reference "$data" /mnt/disk
chmod --reference "$data" /mnt/disk
mount --bind /mnt/disk "$data"
docker start "$@"
