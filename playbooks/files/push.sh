# Pushes an image of fresh random content, and says its digest, its layers and the time, in lines of YAML. Run as
#   bash -s -- REFERENCE docker|podman      with the login in DOCKER_CONFIG, where the content is made as well
set -euo pipefail
tool=$2
head -c 1048576 /dev/urandom >"$DOCKER_CONFIG/content"
tar --create --directory "$DOCKER_CONFIG" content | "$tool" import - "$1" >/dev/null
start=$(date +%s%N)
if [[ $tool == docker ]]; then
    docker push "$1" | sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/digest: \1/p'
else
    podman push --quiet --digestfile "$DOCKER_CONFIG/digest" "$1"
    echo "digest: $(<"$DOCKER_CONFIG/digest")"
fi
echo "milliseconds: $((($(date +%s%N) - start) / 1000000))"
echo "layers: '$("$tool" image inspect --format '{{json .RootFS.Layers}}' "$1")'"
"$tool" image rm "$1" >/dev/null
