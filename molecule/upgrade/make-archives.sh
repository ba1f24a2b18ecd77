#!/bin/sh
# Saves the images of three registries, as somebody with a network would: Debian 12's (old), Debian 13's, which calls
# itself 3.0.0 (new), and one that starts and never answers (silent), which calls itself newer than both.
#
#   make-archives.sh BUILD_IMAGE_SH DIRECTORY
set -eu
build() {
    docker run --rm --volume /var/run/docker.sock:/var/run/docker.sock --volume "$3:/build-image.sh:ro" \
        "wharf-host:$1-docker" sh /build-image.sh "wharf-upgrade:$2"
}
build bookworm old "$1" &
build trixie named "$1"
wait
files='$(ldd /bin/sh /bin/sleep | grep -o "/[^ :]*" | sort -u)'  # it names the two as well
claiming() {  # IMAGE VERSION COMMAND BASE: an image with a shell, whose program calls itself by a version
    program="[ \"\$0\" != --version ] || { echo registry $2; exit; }; $3"
    entrypoint=$(printf %s "$program" | sed 's/[\"]/\\&/g')
    docker run --rm wharf-host:trixie sh -c "tar --create --dereference $files" >"$work/shell.tar"
    printf 'FROM %s\nADD shell.tar /\nENTRYPOINT ["/bin/sh", "-c", "%s"]\n' "$4" "$entrypoint" >"$work/Dockerfile"
    docker build --quiet --tag "wharf-upgrade:$1" "$work"
}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
claiming new v3.0.0 'exec /usr/bin/docker-registry "$0" "$@"' wharf-upgrade:named
claiming silent v3.0.1 'echo I am not well; exec sleep 1000' scratch
for name in old new silent; do docker save --output "$2/$name.tar" "wharf-upgrade:$name"; done
docker image rm wharf-upgrade:old wharf-upgrade:new wharf-upgrade:silent wharf-upgrade:named
