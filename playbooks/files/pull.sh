# Pulls an image by digest, compares its layers with what was pushed, and says the time, in a line of YAML. Run as
#   bash -s -- REFERENCE@DIGEST LAYERS      with the login in DOCKER_CONFIG
set -euo pipefail
start=$(date +%s%N)
docker pull --quiet "$1" >/dev/null
echo "milliseconds: $((($(date +%s%N) - start) / 1000000))"
layers=$(docker image inspect --format '{{json .RootFS.Layers}}' "$1")
docker image rm "$1" >/dev/null
[[ $layers == "$2" ]] || { echo "the content differs: $layers was pulled, $2 was pushed" >&2; exit 1; }
