# Holds the registry's lock as Wharf's own programs do. /run/wharf-test-holder says which process holds it.
#
#   sh hold-lock.sh NAME SECONDS
umask 077
exec 9>>/run/wharf-registry.lock
flock 9
echo "$1 $(date +%s)" >/run/wharf-registry.lock
echo $$ >/run/wharf-test-holder
exec sleep "$2"
