# Moves the registry's data to a file system of its own, with so much room beside what is stored.
#
#   sh move-to-small-disk.sh DATA MEGABYTES
set -e
mkdir -p /mnt/disk
docker stop registry-gateway registry
mount -t tmpfs -o size=$(($(du -sm "$1" | cut -f1) + $2))m tmpfs /mnt/disk
cp -a "$1/." /mnt/disk
chown --reference "$1" /mnt/disk
chmod 0750 /mnt/disk
mount --bind /mnt/disk "$1"
docker start registry-gateway registry
