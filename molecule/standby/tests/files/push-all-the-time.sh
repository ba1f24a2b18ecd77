#!/bin/sh
# Pushes an image of fresh content each second until /run/stop is there, and notes when each was acknowledged:
# push-all-the-time.sh REGISTRY/REPOSITORY
number=0
until [ -e /run/stop ]; do
    number=$((number + 1))
    head -c 10000 /dev/urandom >/var/tmp/pushed
    tar -C /var/tmp -c pushed | docker import - "$1:$number" >/dev/null
    digest=$(timeout 20 docker push "$1:$number" | sed -n 's/.* digest: \([^ ]*\) .*/\1/p')
    [ -z "$digest" ] || echo "$(date +%s.%N) ${1#*/}:$number $digest" >>/run/acknowledged
    sleep 1
done
touch /run/ended
