# Pushes images until /tmp/busy.stop is there. /tmp/busy.pushed says that one was pushed, /tmp/busy.done that this is
# the end.
#
#   sh push-all-the-time.sh REGISTRY
n=0
while [ ! -e /tmp/busy.stop ]; do
    n=$((n + 1))
    head -c 1000000 /dev/urandom >/tmp/busy
    tar -C /tmp -c busy | docker import - "$1/busy/image:$n" >/dev/null
    docker push --quiet "$1/busy/image:$n" >/dev/null && touch /tmp/busy.pushed
    sleep 0.3
done
touch /tmp/busy.done
