# Remembers whose the data is and where it lies; an older place of the same data loses its mark, so that what was
# left there is never taken for the registry's own again. Run as
#   sh -s -- RECORD DATA PATH      DATA as it was said, PATH where it lies on the host
set -eu
place() { case $1 in /* | '') echo "$1" ;; *) docker volume inspect --format '{{.Mountpoint}}' "$1" 2>/dev/null ;; esac; }
read -r id _ <"$3/.wharf"
old=$(place "$(sed -n '1s/^[^ ]* //p' "$1" 2>/dev/null)") || old=
if [ -n "$old" ] && [ "$(readlink -f "$old")" != "$(readlink -f "$3")" ] && [ -f "$old/.wharf" ]; then
    read -r other _ <"$old/.wharf"
    [ "$other" != "$id" ] || mv "$old/.wharf" "$old/.wharf-moved"
fi
umask 022
printf '%s %s\n' "$id" "$2" >"$1.new"
mv "$1.new" "$1"
