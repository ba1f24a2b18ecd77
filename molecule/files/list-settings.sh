# Tells what a host has beside files, a line each: packages that somebody asked for, those that are held, accounts,
# images, volumes, and which certificates every program trusts (by their first line, which holds the serial number).
apt-mark showmanual | sed 's/^/package /'
apt-mark showhold | sed 's/^/held /'
sed 's/^/user /' /etc/passwd
sed 's/^/group /' /etc/group
docker image ls --format 'image {{.Repository}}:{{.Tag}}'
docker volume ls --format 'volume {{.Name}}'
for file in /usr/local/share/ca-certificates/*.crt; do
    grep -qF "$(sed -n 2p "$file")" /etc/ssl/certs/ca-certificates.crt && echo "trusted $file"
done
