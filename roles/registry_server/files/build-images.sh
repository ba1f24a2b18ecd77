#!/bin/sh
# Builds minimal images around the distribution's docker-registry and nginx, without any image registry.
#
#   build-images.sh [registry=IMAGE] [gateway=IMAGE]
#
# Each holds its program and the libraries that this is linked with, the registry's also the CA certificates: no shell,
# no other program. All comes from packages that are unpacked and not installed, so that what the host has does not
# matter. An image that was built of the same versions of them stays.
set -eu
umask 022  # another user than root runs what is in the image
# Not in /tmp, which may be mounted noexec: what is built is tried here.
work=$(mktemp -d /var/lib/wharf-image.XXXXXXXX)
trap 'rm -rf "$work"' EXIT

# What is installed here does not matter, nor versions that only this host has.
sources='-o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= -o APT::Sandbox::User=root'

# Prints PACKAGE=VERSION of packages and of the libraries that they need, directly or not. Ubuntu 22.04's package nginx
# is empty, and needs the one that holds the program.
needed() {
    known='' more=$*
    while [ -n "$more" ]; do
        known="$known $more "
        found=$(apt-cache show $sources --no-all-versions $more) || { echo "apt lacks a package: $more" >&2 && return 1; }
        echo "$found" | sed -n 's/^Package: //p; s/^Version: //p' | paste -d = - -
        more=$(
            echo "$found" | sed -nE 's/^(Pre-)?Depends: //p' | tr ',' '\n' | sed -E 's/^ *([^ |:]*).*/\1/' |
                grep -E '^(lib|zlib1g$|nginx-core$)' | grep -v '^libnginx-mod-' | sort -u |
                while read -r name; do case $known in *" $name "*) ;; *) printf ' %s ' "$name" ;; esac; done
        )
    done
}

# build IMAGE PROGRAM VERSION_OPTION CMD PACKAGE...: the program is of the first package.
build() {
    image=$1 program=$2 version_option=$3 cmd=$4 package=$5
    shift 4
    needed "$@" >"$work/$package.needs"
    packages=$(sort "$work/$package.needs" | paste -s -d ' ')
    label='{{index .Config.Labels "wharf.packages"}}'
    [ "$(docker image inspect --format "$label" "$image" 2>/dev/null)" != "$packages" ] || return 0  # it is there already

    mkdir -p "$work/$package/debs" "$work/$package/all/usr" "$work/$package/root/tmp"
    cd "$work/$package"
    chmod 1777 root/tmp  # a tmpfs takes its mode from here
    (cd debs && apt-get download -qq $sources $packages >/dev/null)
    # Some packages hold /lib, others /usr/lib, which are one.
    for name in bin sbin lib lib64; do mkdir "all/usr/$name" && ln -s "usr/$name" "all/$name"; done
    for deb in debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" >archive
        tar --extract --keep-directory-symlink --directory all --file archive
    done
    loader=$(cd all && ls lib64/ld*.so.* lib/ld*.so.* 2>/dev/null | head -n 1)
    chroot all "/$loader" --list "$program" >libraries
    for file in "$program" $(grep -o '/[^ ]*' libraries); do
        mkdir -p "root$(dirname "$file")"
        cp --dereference "all$file" "root$file"
    done
    if [ -d all/usr/share/ca-certificates ]; then
        mkdir -p root/etc/ssl/certs
        find all/usr/share/ca-certificates/mozilla -name '*.crt' -exec cat {} + >root/etc/ssl/certs/ca-certificates.crt
    fi
    # Where nginx of Ubuntu 22.04 writes before it has read its configuration; later ones take stderr.
    [ "$package" != nginx ] || { mkdir -p root/var/log/nginx && ln -s /dev/stderr root/var/log/nginx/error.log; }
    # As a user like the registry's: a library that is missing, or that only root can read, is found here.
    chroot --userspec=65534:65534 root "$program" "$version_option" >/dev/null 2>&1
    version=$(echo "$packages" | tr ' ' '\n' | sed -n "s/^$package=//p")
    tar --create --directory root . | docker import \
        --change "ENTRYPOINT [\"$program\"]" \
        --change "CMD [$cmd]" \
        --change "LABEL org.opencontainers.image.title=$package" \
        --change "LABEL org.opencontainers.image.version=$version" \
        --change "LABEL wharf.packages=\"$packages\"" \
        - "$image"
}

apt-get update -qq
builds=
for wanted; do
    case $wanted in
        registry=*)
            build "${wanted#*=}" /usr/bin/docker-registry --version '"serve", "/wharf/config/config.yml"' \
                docker-registry ca-certificates ;;
        gateway=*) build "${wanted#*=}" /usr/sbin/nginx -v '"-g", "daemon off;"' nginx ;;
        *) echo "$wanted: use registry=IMAGE or gateway=IMAGE" >&2 && exit 2 ;;
    esac &
    builds="$builds $!"
done
status=0
for build in $builds; do wait "$build" || status=$?; done
exit "$status"
