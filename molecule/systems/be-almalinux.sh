#!/bin/sh
# Lets a Debian with dnf pass for AlmaLinux: what it says of itself, no apt, no dpkg, and update-ca-trust, which here only
# puts the anchors and Debian's certificates into one file.
set -eu
cat >/usr/lib/os-release <<'TEXT'
NAME="AlmaLinux"
VERSION="9.6 (imitated by a test)"
ID="almalinux"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.6"
TEXT
cat >/usr/bin/update-ca-trust <<'SH'
#!/bin/sh
cat /usr/share/ca-certificates/mozilla/*.crt $(ls /etc/pki/ca-trust/source/anchors/* 2>/dev/null) \
    >/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
SH
chmod 755 /usr/bin/update-ca-trust
update-ca-trust
ln -sf /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem /etc/ssl/certs/ca-certificates.crt
rm -f /etc/debian_version /usr/sbin/update-ca-certificates /usr/bin/apt* /usr/bin/dpkg*
