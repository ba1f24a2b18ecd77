# Installs versions of packages, newer or older than those that are there; holds on them go.
#
#   sh install-packages.sh PACKAGE=VERSION...
apt-mark unhold $(printf '%s ' "$@" | sed 's/=[^ ]*//g')
DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends --allow-downgrades "$@"
