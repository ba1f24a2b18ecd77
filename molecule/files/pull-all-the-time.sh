# Pulls an image and removes it again, every 200 ms, until /tmp/watch.stop is there and a pull was good after that.
# /tmp/watch.log has the end and the exit code of each pull; /tmp/watch.done says that this is the end.
#
#   sh pull-all-the-time.sh REFERENCE
while :; do
    [ ! -e /tmp/watch.stop ] || last=yes
    docker pull --quiet "$1" >/dev/null 2>>/tmp/watch.errors
    code=$?
    echo "$(date +%s.%N) $code" >>/tmp/watch.log
    docker image rm "$1" >/dev/null 2>&1
    [ "$last $code" != "yes 0" ] || break
    sleep 0.2
done
touch /tmp/watch.done
