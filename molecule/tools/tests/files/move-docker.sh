# Pushes an image of fresh random content with docker, and pulls it back.
#
#   sh move-docker.sh IMAGE
set -e
directory=$(mktemp -d)
head -c 100000 /dev/urandom >"$directory/content"
tar -C "$directory" -c content | docker import - "$1"
docker push "$1"
docker image rm "$1"
docker pull "$1"
docker image rm "$1"
