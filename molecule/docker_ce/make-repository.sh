#!/usr/bin/env bash
# Makes apt repositories that look like Docker's, below the current directory: for each release, Debian's engine under
# Docker's package names, in two versions, signed. Runs on the host "mirror"; needs gnupg and Debian's mirror.
#
#   make-repository.sh RELEASE...
#
# debian   as it should be; its fingerprint is in the file "fingerprint"
# wrong    offers and uses another key
# forged   offers the right key, but is signed with the other one
# expired  the right key, whose life has ended
# missing  signed as it should be, without docker-ce
# ubuntu   as it should be, for Ubuntu 24.04
set -euo pipefail
export GNUPGHOME=$PWD/gnupg
arch=$(dpkg --print-architecture)
gpg() { command gpg --batch --quiet --no-tty "$@"; }

# A primary key that certifies and a subkey that signs, as Docker has them.
make_key() {
    gpg --passphrase '' --faked-system-time 20240101T000000 --quick-generate-key "$1" rsa3072 cert 0
    fingerprint=$(gpg --with-colons --list-keys "$1" | awk -F: '/^fpr/ { print $10; exit }')
    gpg --passphrase '' --faked-system-time 20240101T010000 --quick-add-key "$fingerprint" rsa3072 sign 0
}

# Debian's packages of a release, whatever release this host has.
fetch() {
    local release=$1
    shift
    mkdir -p "from/$release/lists/partial"
    echo "deb $debian $release main" >"from/$release/sources.list"
    local apt=(
        apt-get -qq -oDir::State::lists="$PWD/from/$release/lists" -oDir::Etc::sourcelist="$PWD/from/$release/sources.list"
        -oDir::Etc::sourceparts=/dev/null -oDir::State::status=/dev/null -oAcquire::Check-Valid-Until=false
        -oAcquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -oAcquire::Languages=none -oAPT::Sandbox::User=root
    )
    "${apt[@]}" update
    (cd "from/$release" && "${apt[@]}" download "$@")
}

# build DIRECTORY PACKAGE VERSION [FIELD]...
build() {
    local root=$1 package=$2 version=$3 file
    shift 3
    rm -f "$root"/DEBIAN/{config,templates,preinst,md5sums,shlibs,triggers}
    printf '%s\n' "Package: $package" "Version: $version" "Architecture: $arch" 'Maintainer: Wharf <wharf@localhost>' \
        "$@" "Description: $package as the tests have it" >"$root/DEBIAN/control"
    file=pool/$release/${package}_${version#*:}_$arch.deb
    dpkg-deb --root-owner-group -Zzstd -z1 --build "$root" "$file" >/dev/null
    {
        dpkg-deb --field "$file"
        printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum <"$file" | cut -d' ' -f1)"
    } >"$file.stanza"
}

# What debhelper generates for a package with services. A purge takes the data, as it does with Docker's.
services() {
    local root=$1
    shift
    cat >"$root/DEBIAN/postinst" <<SH
#!/bin/sh
set -e
getent group docker >/dev/null || groupadd --system docker
for unit in $*; do
    deb-systemd-helper unmask "\$unit" >/dev/null || true
    if deb-systemd-helper --quiet was-enabled "\$unit"; then deb-systemd-helper enable "\$unit" >/dev/null || true; fi
done
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
    if [ -n "\$2" ]; then action=restart; else action=start; fi
    deb-systemd-invoke \$action $* >/dev/null || true
fi
SH
    cat >"$root/DEBIAN/prerm" <<SH
#!/bin/sh
set -e
[ "\$1" != remove ] || [ ! -d /run/systemd/system ] || deb-systemd-invoke stop $* >/dev/null || true
SH
    cat >"$root/DEBIAN/postrm" <<SH
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl --system daemon-reload >/dev/null || true
if [ "\$1" = purge ]; then deb-systemd-helper purge $* >/dev/null || true; rm -rf /var/lib/docker; fi
SH
    chmod 755 "$root"/DEBIAN/p*
}

repackage() {
    local release=$1 number upstream version plugin
    case $release in bookworm) number=12 ;; trixie) number=13 ;; *) number=14 ;; esac
    local debs=(docker.io containerd runc)
    [[ $release == bookworm ]] || debs+=(docker-cli)
    fetch "$release" "${debs[@]}"
    local at=from/$release
    for deb in "${debs[@]}"; do dpkg-deb --raw-extract "$at/$deb"_*.deb "$at/$deb"; done
    if [[ $release == bookworm ]]; then
        mkdir -p "$at/docker-cli/usr/bin" "$at/docker-cli/DEBIAN"
        mv "$at/docker.io/usr/bin/docker" "$at/docker-cli/usr/bin"
    fi
    cp -a "$at/runc/usr" "$at/containerd/"
    rm -rf "$at"/{docker.io,docker-cli,containerd}/usr/share
    services "$at/docker.io" docker.service docker.socket
    services "$at/containerd" containerd.service
    upstream=$(dpkg-deb --field "$at"/docker.io_*.deb Version)
    upstream=${upstream%%+*}
    local libraries tini
    libraries=$(dpkg-deb --field "$at"/docker.io_*.deb Depends | tr ',' '\n' | grep -E '^ *lib' | paste -sd,)
    tini=$(dpkg-deb --field "$at"/docker.io_*.deb Depends | grep -oE 'tini(-static)?')
    mkdir -p "pool/$release"
    # The version of the one before is only a number: the program is the same.
    for upstream in "$upstream" "${upstream%.*}.$((${upstream##*.} - 1))"; do
        version="5:$upstream-1~debian.$number~$release"
        build "$at/docker.io" docker-ce "$version" "Depends: containerd.io, docker-ce-cli, iptables, $tini, $libraries" \
            'Conflicts: docker.io' 'Replaces: docker.io' 'Recommends: docker-buildx-plugin'
        build "$at/docker-cli" docker-ce-cli "$version" 'Conflicts: docker.io'
    done
    build "$at/containerd" containerd.io "1.7.99-1" 'Conflicts: containerd, runc' 'Replaces: containerd, runc' \
        'Provides: containerd, runc' 'Depends: libc6, libseccomp2'
    plugin=$(mktemp -d)
    chmod 755 "$plugin"
    mkdir -p "$plugin/DEBIAN" "$plugin/usr/share/doc/docker-buildx-plugin"
    build "$plugin" docker-buildx-plugin "0.99.0-1~debian.$number~$release"
}

# publish REPOSITORY RELEASE KEY [PACKAGE TO LEAVE OUT]
publish() {
    local repository=$1 release=$2 key=$3 without=${4:-} dists=$1/dists/$2
    ln -sfn ../pool "$repository/pool"
    mkdir -p "$dists/stable/binary-$arch"
    for deb in pool/"$release"/*.deb; do
        [[ $deb != */"${without:-/}"_* ]] || continue
        cat "$deb.stanza"
    done >"$dists/stable/binary-$arch/Packages"
    (
        cd "$dists"
        printf 'Origin: Docker\nSuite: %s\nCodename: %s\nComponents: stable\nArchitectures: %s\nDate: %s\nSHA256:\n' \
            "$release" "$release" "$arch" "$(date --utc --rfc-email)"
        for file in */binary-*/Packages; do
            echo " $(sha256sum <"$file" | cut -d' ' -f1) $(stat -c %s "$file") $file"
        done
    ) >"$dists/Release"
    gpg --yes --local-user "$key" --clearsign --output "$dists/InRelease" "$dists/Release"
}

debian=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^\(URIs:\|deb\) *\([^ ]*\).*/\2/p') || true
debian=${debian%%$'\n'*}
mkdir -pm 700 "$GNUPGHOME"
mkdir -p debian wrong forged expired missing

make_key 'Right <right@localhost>'
right=$fingerprint
gpg --armor --export "$right" | tee debian/gpg forged/gpg >missing/gpg
make_key 'Other <other@localhost>'
gpg --armor --export "$fingerprint" >wrong/gpg
other=$fingerprint

for release; do
    repackage "$release"
    publish debian "$release" "$right"
    publish expired "$release" "$right"
    publish missing "$release" "$right" docker-ce
    publish wrong "$release" "$other"
    publish forged "$release" "$other"
done
# As Ubuntu's part of Docker's server: there Debian 12's programs run as well.
mkdir -p ubuntu
ln -sfn bookworm pool/noble
cp debian/gpg ubuntu
publish ubuntu noble "$right"
# A key whose life ended two years ago, also for signatures of today.
gpg --faked-system-time 20240601T000000 --quick-set-expire "$right" 20241231T000000
gpg --faked-system-time 20240601T000000 --quick-set-expire "$right" 20241231T000000 '*'
gpg --armor --export "$right" >expired/gpg
echo "$right" >fingerprint
