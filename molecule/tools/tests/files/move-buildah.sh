# Builds an image of fresh random content with buildah, pushes it, and pulls it back.
#
#   sh move-buildah.sh IMAGE
set -e
directory=$(mktemp -d)
head -c 100000 /dev/urandom >"$directory/content"
container=$(buildah from scratch)
buildah copy "$container" "$directory/content" /
buildah commit --rm "$container" "$1"
buildah push "$1"
buildah rmi "$1"
buildah pull "$1"
buildah rmi "$1"
