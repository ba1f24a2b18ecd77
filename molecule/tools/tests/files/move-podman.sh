# Pushes an image of fresh random content with podman, and pulls it back.
#
#   sh move-podman.sh IMAGE
set -e
directory=$(mktemp -d)
head -c 100000 /dev/urandom >"$directory/content"
tar -C "$directory" -c content | podman import - "$1"
podman push "$1"
podman image rm "$1"
podman pull "$1"
podman image rm "$1"
