#!/bin/sh
# Saves the images of three registries, as somebody with a network would: Debian 12's (old), Debian 13's (new), and one
# that starts and never answers (silent), which calls itself newer than both.
#
#   make-archives.sh BUILD_IMAGE_SH DIRECTORY
set -eu
build() {
    docker run --rm --volume /var/run/docker.sock:/var/run/docker.sock --volume "$3:/build-image.sh:ro" \
        "wharf-host:$1-docker" sh /build-image.sh "wharf-upgrade:$2"
}
build bookworm old "$1" &
build trixie new "$1"
wait
program='[ "$0" != --version ] || exec echo registry 2.9.0; echo I am not well; exec sleep 1000'
files='/bin/sh /bin/sleep $(ldd /bin/sh /bin/sleep | grep -o "/[^ :]*")'
docker run --rm wharf-host:trixie sh -c "tar --create --dereference $files" | docker import - wharf-upgrade:silent \
    --change "ENTRYPOINT [\"/bin/sh\", \"-c\", \"$(printf %s "$program" | sed 's/"/\\"/g')\"]"
for name in old new silent; do docker save --output "$2/$name.tar" "wharf-upgrade:$name"; done
docker image rm wharf-upgrade:old wharf-upgrade:new wharf-upgrade:silent
