# Tells what is on a host, a line for each thing: files, directories and links, packages, what the engine has, ports.
find /etc /opt /root /srv /usr/local /var/lib/wharf /var/spool/cron -xdev \
    \( -type f -printf '%p %m %U:%G ' -exec sha256sum {} \; -o -type l -printf '%p -> %l\n' -o -printf '%p/ %m %U:%G\n' \) \
    2>/dev/null | sed 's|  .*||' |
    # Ansible's own, and what timers write every minute.
    grep -v -e '^/root/.ansible/' -e '^/var/lib/wharf/\(index\|metrics\)/[^ ]' -e '^/var/lib/wharf/results/index '
dpkg-query -W -f 'package ${Package} ${Version}\n'
docker ps --all --format 'container {{.Names}}'
docker image ls --format 'image {{.Repository}}:{{.Tag}}'
docker volume ls --format 'volume {{.Name}}'
ss -Hltn | sed 's/.* \([^ ]*:[0-9]*\) .*/port \1/'
