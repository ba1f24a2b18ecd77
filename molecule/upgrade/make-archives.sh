#!/bin/sh
# Saves the images of three registries and their gateways, as somebody with a network would: Debian 12's (old), Debian
# 13's, whose registry calls itself 3.0.0 (new), and one that starts and never answers (silent), which calls itself newer
# than both, with Debian 13's gateway.
#
#   make-archives.sh BUILD_IMAGES_SH DIRECTORY
set -eu
build() {
    docker run --rm --volume /var/run/docker.sock:/var/run/docker.sock --volume "$4:/build-images.sh:ro" \
        "wharf-host:$1-docker" sh /build-images.sh "registry=wharf-upgrade/registry:$2" "gateway=wharf-upgrade/nginx:$3"
}
build bookworm old old "$1" &
build trixie named new "$1"
wait
files='$(ldd /bin/sh /bin/sleep | grep -o "/[^ :]*" | sort -u)'  # it names the two as well
claiming() {  # IMAGE VERSION COMMAND BASE: an image with a shell, whose program calls itself by a version
    program="[ \"\$0\" != --version ] || { echo registry $2; exit; }; $3"
    entrypoint=$(printf %s "$program" | sed 's/[\"]/\\&/g')
    docker run --rm wharf-host:trixie sh -c "tar --create --dereference $files" >"$work/shell.tar"
    printf 'FROM %s\nADD shell.tar /\nENTRYPOINT ["/bin/sh", "-c", "%s"]\n' "$4" "$entrypoint" >"$work/Dockerfile"
    docker build --quiet --tag "wharf-upgrade/registry:$1" "$work"
}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
claiming new v3.0.0 'exec /usr/bin/docker-registry "$0" "$@"' wharf-upgrade/registry:named
claiming silent v3.0.1 'echo I am not well; exec sleep 1000' scratch
save() { docker save --output "$1" "wharf-upgrade/registry:$2" "wharf-upgrade/nginx:$3"; }
save "$2/old.tar" old old
save "$2/new.tar" new new
save "$2/silent.tar" silent new
for name in registry:old registry:new registry:silent registry:named nginx:old nginx:new; do
    docker image rm "wharf-upgrade/$name"
done
