# Pushes images that share layers, and an index of two of them, to a registry.
#
#   sh push-sources.sh REGISTRY
set -e
rm -rf ~/.docker/manifests
for n in 1 2; do
    head -c 200000 /dev/urandom >/tmp/content
    tar -C /tmp -c content | docker import - "$1/team/base:$n"
    printf 'FROM %s/team/base:1\nLABEL n=%s\n' "$1" $n | docker build --quiet --tag "$1/team/app:$n" -
done
for image in base:1 base:2 app:1 app:2; do docker push --quiet "$1/team/$image"; done
docker manifest create "$1/team/multi:1" "$1/team/app:1" "$1/team/base:2"
docker manifest annotate --arch arm64 "$1/team/multi:1" "$1/team/base:2"
docker manifest push "$1/team/multi:1"
