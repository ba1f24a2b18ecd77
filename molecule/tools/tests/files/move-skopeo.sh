# Copies an image of the registry with skopeo to a directory and from there to another name.
#
#   sh move-skopeo.sh IMAGE SOURCE
set -e
directory=$(mktemp -d)
skopeo copy "docker://$2" "dir:$directory/image"
skopeo copy "dir:$directory/image" "docker://$1"
skopeo inspect "docker://$1"
