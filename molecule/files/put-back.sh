# Puts back what keep.sh kept; what was not there goes.
#
#   sh put-back.sh PLACE PATH...
set -e
place=$1
shift
for path; do
    if [ -f "$place$path" ] && [ -f "$path" ]; then
        cp -p "$place$path" "$path"  # the same file, which may be mounted into a container
    else
        rm -rf "$path"
        [ ! -e "$place$path" ] || cp -a "$place$path" "$path"
    fi
done
rm -r "$place"
