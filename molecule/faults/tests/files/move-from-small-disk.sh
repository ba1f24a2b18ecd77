# Moves the registry's data back.
#
#   sh move-from-small-disk.sh DATA
set -e
docker stop registry-gateway registry
umount "$1"
rm -rf "$1/docker"
cp -a /mnt/disk/docker "$1"
umount /mnt/disk
docker start registry-gateway registry
