# Tells which version of the registry an image holds, in lines of YAML, and changes nothing. Run as
#   sh -s -- WANTED_IMAGE RUNNING_IMAGE
# The program itself is asked, because not every image says it in a label.
version() {
    name=wharf-version-$$
    said=$(timeout 20 docker run --rm --name $name --network none --read-only --cap-drop ALL "$1" --version 2>/dev/null)
    docker rm --force $name >/dev/null 2>&1
    printf '%s\n' "$said" | grep -oE '[0-9]+\.[0-9]+\.[0-9]+[^ ]*' | tail -n 1
}
printf 'wanted: "%s"\n' "$(version "$1")"
printf 'running: "%s"\n' "$(version "$2")"
printf 'same: "%s"\n' "$([ "$(docker image inspect --format '{{.Id}}' "$1")" != "$2" ] || echo 1)"
