# Keeps all command lines and environments of the host in /tmp/seen, until /tmp/enough is there.
while [ ! -e /tmp/enough ]; do
    cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>/tmp/seen
    sleep 0.1
done
