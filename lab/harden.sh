# Makes the image of a host hardened, as the CIS benchmarks want it. Runs in its root directory; how /tmp and the like are
# mounted says create.yml.
set -eu
# Files are for owner and group only, in each session (for sudo: ssh.yml).
for stack in common-session common-session-noninteractive; do
    echo 'session optional pam_umask.so nousergroups umask=0027' >>"/etc/pam.d/$stack"
done
# Only settings of the host's own network: others would be those of the whole machine.
cat >/etc/sysctl.d/60-hardened.conf <<END
net.ipv4.ip_forward = 0
net.ipv6.conf.all.forwarding = 0
net.ipv4.conf.all.rp_filter = 1
net.ipv4.conf.default.rp_filter = 1
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.default.accept_redirects = 0
net.ipv6.conf.all.accept_redirects = 0
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.default.send_redirects = 0
net.ipv4.conf.all.accept_source_route = 0
END
# A proxy that is long gone, in each session and through sudo. apt knows its own way.
for name in http_proxy https_proxy HTTP_PROXY HTTPS_PROXY; do
    echo "$name=http://proxy.corp.example:3128" >>/etc/environment
    echo "Defaults env_keep += \"$name\"" >>/etc/sudoers.d/proxy
done
echo 'Acquire::http::Proxy "DIRECT";' >/etc/apt/apt.conf.d/80direct
# Images that nobody has signed are refused.
mkdir -p /etc/containers
echo '{"default": [{"type": "reject"}]}' >/etc/containers/policy.json
# People are in a directory: getent knows them, /etc/passwd does not. The first has no password, and comes in nowhere.
sed -i -E 's/^(passwd|group|shadow):.*/& extrausers/' /etc/nsswitch.conf
mkdir -p /var/lib/extrausers
echo 'jane.roe@corp.example:x:5002:5002::/home/jane.roe@corp.example:/bin/bash' >/var/lib/extrausers/passwd
echo 'jane.roe@corp.example:x:5002:' >/var/lib/extrausers/group
install -m 0640 -g shadow /dev/null /var/lib/extrausers/shadow
echo 'jane.roe@corp.example:*:20000:0:99999:7:::' >/var/lib/extrausers/shadow
install -d -m 0700 -o 5002 -g 5002 /home/jane.roe@corp.example
