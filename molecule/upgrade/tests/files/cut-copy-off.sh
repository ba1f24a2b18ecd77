# Leaves what a move of the data leaves that was cut off: half a copy, a file that was cut off in it, and one too many.
#
#   sh cut-copy-off.sh SOURCE TARGET
set -e
mkdir -p "$2"
cp -a "$1/docker" "$2/"
cp "$1/.wharf" "$2/.wharf-copy"
cd "$2/docker/registry/v2"
touch blobs/extra
truncate -s 5 "$(find blobs -name data | head -n 1)"
