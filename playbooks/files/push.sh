# Pushes an image of fresh random content, and says its digest, its layers and the time, in lines of YAML. Run as
#   bash -s -- REFERENCE      with the login in DOCKER_CONFIG, where the content is made as well
set -euo pipefail
head -c 1048576 /dev/urandom >"$DOCKER_CONFIG/content"
tar --create --directory "$DOCKER_CONFIG" content | docker import - "$1" >/dev/null
start=$(date +%s%N)
docker push "$1" | sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/digest: \1/p'
echo "milliseconds: $((($(date +%s%N) - start) / 1000000))"
echo "layers: '$(docker image inspect --format '{{json .RootFS.Layers}}' "$1")'"
docker image rm "$1" >/dev/null
