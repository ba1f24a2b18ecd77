# Removes a repository from the registry's storage, with all its blobs. Run in the registry's container as
#   sh -s -- REPOSITORY
# The API would leave the repository in the catalogue, and the blobs until the next garbage collection. The content of
# the test image is random, so that no other image has these blobs.
storage=/var/lib/registry/docker/registry/v2
cd "$storage/repositories/$1" || exit 0
for path in _layers/sha256/* _manifests/revisions/sha256/*; do
    digest=${path##*/}
    rest=${digest#??}
    rm -rf "$storage/blobs/sha256/${digest%"$rest"}/$digest"
done
cd /
rm -rf "$storage/repositories/$1"
rmdir "$storage/repositories/${1%/*}" 2>/dev/null || true
