#!/usr/bin/env bash
# Makes a base image with Python and nothing else, from this host's own files: no image registry, no network.
#
#   base-image.sh IMAGE
set -euo pipefail
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT

# Links become what they point to, under the name by which it is looked for.
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
{
    echo /usr/bin/python3
    find "$library" -type f ! -name '*.pyc' ! -path '*/config-*'
    ldd /usr/bin/python3 "$library"/lib-dynload/*.so | awk '/\(0x/ && $(NF - 1) ~ "^/" {print $(NF - 1)}'
} | LC_ALL=C sort -u | sed 's|^/||' | tar --create --dereference --directory / --files-from - >"$archive"
docker import --change 'CMD ["/usr/bin/python3"]' "$archive" "$1"
