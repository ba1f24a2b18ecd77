# Keeps files and directories, for put-back.sh with the same arguments.
#
#   sh keep.sh PLACE PATH...
set -e
place=$1
shift
mkdir "$place"
for path; do
    [ ! -e "$path" ] || { mkdir -p "$place$(dirname "$path")"; cp -a "$path" "$place$path"; }
done
