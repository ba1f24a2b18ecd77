#!/usr/bin/env bash
# Makes dnf repositories that look like Docker's, below the current directory: Debian's engine under Docker's package names,
# in two versions, signed. Needs apt, rpm, createrepo-c and gnupg.
#
# right    as it should be; its fingerprint is in the file "fingerprint"
# wrong    offers and uses another key
# forged   offers the right key, but the packages are signed with the other one
# missing  signed as it should be, without docker-ce
# company  what the system's own repositories would hold: names, for Debian's /bin/sh and openssl are there
set -euo pipefail
export GNUPGHOME=$PWD/gnupg
mkdir -pm 700 "$GNUPGHOME"
make_key() {
    gpg --batch --quiet --passphrase '' --quick-generate-key "$1" rsa3072 sign 0
    gpg --with-colons --list-keys "$1" | awk -F: '/^fpr/ { print $10; exit }'
}

# build PACKAGE EPOCH VERSION ROOT [TAG]...
build() {
    local package=$1 epoch=$2 version=$3 root=$4
    shift 4
    {
        printf '%s\n' "Name: $package" "Epoch: $epoch" "Version: $version" 'Release: 1.el9' 'License: none' 'AutoReqProv: no' \
            "Summary: $package as the tests have it" "$@" '%description' "$package as the tests have it." \
            '%install' "cp -a $root/. %{buildroot}" '%files'
        (cd "$root" && find . ! -type d -printf '"/%P"\n')
    } >"$package.spec"
    rpmbuild --quiet -bb --define "_topdir $PWD/rpmbuild" --define "_rpmdir $PWD/rpms" --define '_build_id_links none' \
        --define '__os_install_post %{nil}' --define '_binary_payload w1.gzdio' "$package.spec"
}

mkdir -p debs rpms root
(cd debs && apt-get download -qq -o APT::Sandbox::User=root docker.io docker-cli containerd runc)
for deb in docker.io docker-cli containerd runc; do dpkg-deb --extract debs/"$deb"_*.deb "root/$deb"; done
cp -a root/runc/usr root/containerd/
rm -rf root/*/usr/share root/*/etc
upstream=$(dpkg-deb --field debs/docker.io_*.deb Version)
upstream=${upstream%%+*}
mkdir -p root/buildx/usr/share/doc/docker-buildx-plugin
echo none >root/buildx/usr/share/doc/docker-buildx-plugin/README
# The version before is only a number: the program is the same.
for version in "$upstream" "${upstream%.*}.$((${upstream##*.} - 1))"; do
    build docker-ce 3 "$version" "$PWD/root/docker.io" 'Requires: containerd.io, docker-ce-cli' '%pre' \
        'getent group docker >/dev/null || groupadd --system docker'
    build docker-ce-cli 1 "$version" "$PWD/root/docker-cli"
done
build containerd.io 0 1.7.99 "$PWD/root/containerd"
build docker-buildx-plugin 0 0.99.0 "$PWD/root/buildx"
mkdir -p root/empty company
build base 0 1 "$PWD/root/empty" 'Provides: /bin/sh'
build openssl 0 3 "$PWD/root/empty"
mv rpms/*/{base,openssl}-* company
createrepo_c --quiet company

right=$(make_key 'Right <right@localhost>')
other=$(make_key 'Other <other@localhost>')
for repository in right wrong forged missing; do
    at=$repository/9/$(uname -m)/stable
    mkdir -p "$at"
    cp rpms/*/*.rpm "$at"
    [[ $repository != missing ]] || rm "$at"/docker-ce-[0-9]*
    case $repository in wrong | forged) key=$other ;; *) key=$right ;; esac
    rpm --define "_gpg_name $key" --addsign "$at"/*.rpm >/dev/null
    createrepo_c --quiet "$at"
    case $repository in wrong) key=$other ;; *) key=$right ;; esac
    gpg --armor --export "$key" >"$repository/gpg"
done
rm -rf root rpmbuild rpms debs
echo "$right" >fingerprint
