# Pushes images of fresh random content; tells each with its digest.
#
#   sh push-many.sh REGISTRY FIRST LAST
set -e
for i in $(seq "$2" "$3"); do
    head -c 200000 /dev/urandom >/tmp/content
    tar -C /tmp -c content | docker import - "$1/test/image$i:1" >/dev/null
    docker push "$1/test/image$i:1" | sed -n "s|.*digest: \(sha256:[0-9a-f]*\).*|$1/test/image$i:1 \1|p"
done
