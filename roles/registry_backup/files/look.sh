# Tells what of this role is on the host, in lines, and changes nothing. Run as
#   sh -s -- PACKAGES REPOSITORY_ON_THE_HOST_THAT_KEEPS_IT
export LC_ALL=C
settings=/etc/wharf/backup

for package in $1; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ] || echo "package $package"
done
for list in /var/lib/apt/lists/*Packages*; do [ ! -s "$list" ] || { echo lists; break; }; done
[ ! -d $settings ] || echo settings
# Whether the server gets into that directory.
if [ -n "$2" ] && [ -e $settings/ssh_config ]; then
    ! echo "cd $2" | sftp -q -b - -F $settings/ssh_config backup >/dev/null 2>&1 || echo open
fi
