# Builds an image of fresh random content with docker buildx, which pushes it, and pulls it with docker.
#
#   sh move-buildx.sh IMAGE
set -e
directory=$(mktemp -d)
head -c 100000 /dev/urandom >"$directory/content"
printf 'FROM scratch\nCOPY content /\n' >"$directory/Dockerfile"
docker buildx build --push --tag "$1" "$directory"
docker pull "$1"
docker image rm "$1"
