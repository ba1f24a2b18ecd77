#!/bin/sh
# Builds a minimal image around the distribution's docker-registry, without any image registry: about 40 MB.
#
#   build-image.sh IMAGE
#
# Holds the registry, the libraries that it is linked with, and the CA certificates: no shell, no other program.
set -eu
umask 022  # another user than root runs what is in the image
image=$1
# Not in /tmp, which may be mounted noexec: ldd runs the program's loader on it.
work=$(mktemp -d /var/lib/wharf-image.XXXXXXXX)
trap 'rm -rf "$work"' EXIT
cd "$work"

apt-get update -qq
# _apt may not read a directory of root's.
apt-get download -qq -o APT::Sandbox::User=root docker-registry ca-certificates >/dev/null
version=$(dpkg-deb --field docker-registry_*.deb Version)
label='{{index .Config.Labels "org.opencontainers.image.version"}}'
[ "$(docker image inspect --format "$label" "$image" 2>/dev/null)" != "$version" ] || exit 0  # it is there already
for package in *.deb; do dpkg-deb --extract "$package" unpacked; done

mkdir -p root/etc/ssl/certs root/var/lib/registry root/tmp
install -D unpacked/usr/bin/docker-registry root/usr/bin/docker-registry
ldd unpacked/usr/bin/docker-registry | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "root$(dirname "$library")"
    cp --dereference "$library" "root$library"
done
find unpacked/usr/share/ca-certificates/mozilla -name '*.crt' -exec cat {} + >root/etc/ssl/certs/ca-certificates.crt
# As a user like the registry's: a library that is missing, or that only root can read, is found here.
chroot --userspec=65534:65534 root /usr/bin/docker-registry --version >/dev/null

tar --create --directory root . | docker import \
    --change 'ENTRYPOINT ["/usr/bin/docker-registry"]' \
    --change 'CMD ["serve", "/wharf/config/config.yml"]' \
    --change "LABEL org.opencontainers.image.title=docker-registry" \
    --change "LABEL org.opencontainers.image.version=$version" \
    - "$image"
