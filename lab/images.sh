#!/usr/bin/env bash
# Makes the images that stand for hosts: a minimal Debian or Ubuntu with systemd, Python and SSH, nothing else.
#
#   lab/images.sh SUITE[-docker | -tools | -containerd | -browser | -hardened | -ceph]...
#
# SUITE is bookworm, trixie or forky, or Ubuntu's jammy, noble or resolute, which have only -docker besides.
# SUITE-docker holds the engine already, for tests that are not about installing it; SUITE-tools the engine and the
# other client tools; SUITE-containerd only containerd; SUITE-browser the engine, and what shows and watches a registry:
# Chromium, Prometheus and Alertmanager; SUITE-hardened is as strict as harden.sh makes it; SUITE-ceph holds what makes a
# host an object store. Needs root, mmdebstrap and an engine; no image registry. What all images of a suite hold is installed once. The root file systems are kept in .cache,
# so that a removed image comes back in seconds.
# WHARF_DEBIAN_MIRROR names another mirror than mmdebstrap's default, WHARF_UBUNTU_MIRROR another one for Ubuntu.
set -euo pipefail
cd "$(dirname "$0")/.."

minimal=systemd,systemd-sysv,dbus,python3,python3-apt,iproute2,iptables,ca-certificates,sudo,procps,openssh-server
# All that the roles would install, so that a host without any network needs nothing more.
engine=docker.io,docker-cli,apparmor,pigz,xz-utils,openssl

# uidmap, passt and fuse-overlayfs are what podman and buildah need to work for a user without root.
tools=podman,buildah,skopeo,uidmap,passt,fuse-overlayfs,curl

# Small fonts: Latin ones, and one for Chinese.
browser=chromium,chromium-driver,fonts-dejavu-core,fonts-open-sans,fonts-droid-fallback,prometheus,prometheus-alertmanager

# Sets, for the image NAME: $make, the command that makes its root file system, $recipe, which is another one where that
# differs, and $tar, the file that is made.
plan() {
    local name=$1 suite=${1%%-*} include=$minimal options=(--variant=minbase) inputs=(lab/lab-host.service)
    mirror=${WHARF_DEBIAN_MIRROR:-}
    if [[ $name != "$suite" ]]; then
        plan "$suite"  # the rest is added to it
        options=(--variant=custom --setup-hook="tar --extract --directory \"\$1\" --file $tar")
    fi
    case $name in
        *-docker) include=$engine ;;
        *-tools) include=$engine,$tools ;;
        *-containerd) include=containerd,curl ;;
        *-browser)
            include=$engine,$browser
            # A tenth of it is what nobody reads here. Who wants the services starts them.
            options+=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*')
            options+=(--customize-hook='chroot "$1" systemctl disable --quiet prometheus prometheus-alertmanager')
            # Not DejaVu, which is there for its fixed width.
            options+=(--customize-hook='echo "<fontconfig><alias binding=\"strong\"><family>sans-serif</family><prefer><family>Open Sans</family></prefer></alias></fontconfig>" >"$1/etc/fonts/local.conf"')
            ;;
        *-ceph)
            # Without its manager, which no request of S3 needs.
            include=ceph-mon,ceph-osd,radosgw,openssl
            options+=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*')
            # The one fails in a container, the other is of no use.
            options+=(--customize-hook='chroot "$1" systemctl mask --quiet nvmf-autoconnect.service ceph-crash.service')
            ;;
        *-hardened)
            include=libnss-extrausers,restic,skopeo,strace
            options+=(--customize-hook='chroot "$1" sh -s <lab/harden.sh') inputs+=(lab/harden.sh)
            ;;
    esac
    case $suite in
        # Debian 12 has the command line client inside docker.io, and no passt.
        bookworm) include=${include/docker-cli,/} include=${include/passt/slirp4netns} ;;
        forky)
            [[ $name != *-tools ]] || include+=,docker-buildx
            # A mirror's copy of testing can be weeks old, past the date until which it counts as valid.
            options+=(
                --aptopt='Acquire::Check-Valid-Until "false"'
                --customize-hook='echo "Acquire::Check-Valid-Until \"false\";" >"$1/etc/apt/apt.conf.d/90lab"'
            )
            ;;
        jammy | noble | resolute)
            include=${include/docker-cli,/},apt,ubuntu-keyring  # docker-cli is inside docker.io
            # Debian has no package of Ubuntu's keys.
            options+=(
                --components=main,universe --keyring=lab/ubuntu-archive.asc
                # Another user than root cannot read the keys in a home that is closed; only here, not in the host.
                --aptopt='APT::Sandbox::User "root"' --customize-hook='rm "$1/etc/apt/apt.conf.d/99mmdebstrap"'
            )
            mirror=${WHARF_UBUNTU_MIRROR:-}
            ;;
    esac
    make=(
        mmdebstrap --quiet --include="$include" "${options[@]}"
        # systemd-modules-load has no modules to load in a container and would fail on Debian 13.
        --customize-hook='ln -sf /dev/null "$1/etc/systemd/system/systemd-modules-load.service"'
        --customize-hook='upload lab/lab-host.service /etc/systemd/system/lab-host.service'
        --customize-hook='chroot "$1" systemctl enable --quiet lab-host.service'
        --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*; : >"$1/etc/machine-id"'
        "$suite"
    )
    recipe=$({ echo "${make[*]}"; cat "${inputs[@]}"; } | sha256sum | cut -c1-16)
    tar=.cache/host-$name-$recipe.tar
}

has_image() {
    [[ $(docker image inspect --format '{{ index .Config.Labels "wharf.recipe" }}' "wharf-host:$1" 2>/dev/null) == "$recipe" ]]
}

# build NAME [tar]: the image, and with "tar" the file from which others are made as well.
build() (
    name=$1 suite=${1%%-*}
    plan "$name"
    # Whoever else wants the same image waits for it.
    mkdir -p .cache
    exec {lock}>".cache/host-$name.lock"
    flock "$lock"
    if [[ ! -s $tar ]] && { [[ ${2:-} == tar ]] || ! has_image "$name"; }; then
        [[ $name == "$suite" ]] || build "$suite" tar || return
        rm -f ".cache/host-$name"-????????????????.tar  # the recipes before; not those of "$name-docker"
        "${make[@]}" "${tar%.tar}.part.tar" ${mirror:+"$mirror"} >".cache/host-$name.log" 2>&1 ||
            { cat ".cache/host-$name.log" >&2; echo "images: $name could not be made, see .cache/host-$name.log" >&2; return 1; }
        mv "${tar%.tar}.part.tar" "$tar"
    fi
    has_image "$name" && return
    docker import --change "LABEL wharf.recipe=$recipe" --change 'CMD ["/sbin/init"]' "$tar" "wharf-host:$name" >/dev/null
    echo "images: wharf-host:$name is ready"
)

# Two at a time: the machine may be small.
status=0
while (($#)); do
    pids=()
    for name in "${@:1:2}"; do build "$name" & pids+=($!); done
    for pid in "${pids[@]}"; do wait "$pid" || status=1; done
    shift "$(($# > 1 ? 2 : 1))"
done
exit "$status"
