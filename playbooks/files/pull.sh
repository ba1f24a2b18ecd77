# Pulls an image by digest, compares its layers with what was pushed, and says the time, in a line of YAML. Run as
#   bash -s -- REFERENCE@DIGEST LAYERS docker|podman      with the login in DOCKER_CONFIG
set -euo pipefail
tool=$3
start=$(date +%s%N)
"$tool" pull --quiet "$1" >/dev/null
echo "milliseconds: $((($(date +%s%N) - start) / 1000000))"
layers=$("$tool" image inspect --format '{{json .RootFS.Layers}}' "$1")
"$tool" image rm "$1" >/dev/null
[[ $layers == "$2" ]] || { echo "the content differs: $layers was pulled, $2 was pushed" >&2; exit 1; }
