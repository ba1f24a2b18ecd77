# Makes images of fresh random content, not pushed.
#
#   sh make-images.sh REFERENCE=MEGABYTES...
directory=$(mktemp -d)
cd "$directory" || exit
for pair; do
    head -c "${pair#*=}M" /dev/urandom >content && tar -c content | docker import - "${pair%=*}" || exit
done
rm -r "$directory"
