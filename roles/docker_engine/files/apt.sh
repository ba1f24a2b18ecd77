# Run apt-get with the arguments given, after it has fetched its lists. No service is started, stopped or restarted: the
# engine that runs goes on until the role restarts it, when it is this host's turn.
set -e
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
export PATH LC_ALL DEBIAN_FRONTEND
policy=/usr/sbin/policy-rc.d
put_back() {
  rm -f "$policy"
  if [ -e "$policy.wharf" ]; then mv "$policy.wharf" "$policy"; fi
}
# One that was killed has left its own behind.
if grep -qsxF '# wharf' "$policy"; then put_back; fi
trap put_back EXIT
trap 'exit 1' HUP INT TERM
if [ -e "$policy" ]; then mv "$policy" "$policy.wharf"; fi
printf '#!/bin/sh\n# wharf\nexit 101\n' >"$policy"
chmod 755 "$policy"
apt-get --quiet --option DPkg::Lock::Timeout=300 update
apt-get --quiet --yes --option DPkg::Lock::Timeout=300 --option Dpkg::Options::=--force-confdef \
  --option Dpkg::Options::=--force-confold "$@"
