# Makes this host a Ceph of one node with a gateway that speaks S3 at port 7443, with buckets: for tests only, without
# authentication inside and with one copy of everything.
#
#   start-store.sh BUCKET...
#
# Its user's keys are S3_ACCESS and S3_SECRET in the environment. /etc/ceph/ca.crt and /etc/ceph/address are for clients.
set -euo pipefail
fsid=$(cat /proc/sys/kernel/random/uuid) osd=$(cat /proc/sys/kernel/random/uuid)
address=$(hostname --ip-address | cut -d ' ' -f 1)
cd /etc/ceph
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=store" \
    -addext "subjectAltName=DNS:store,IP:$address" -keyout store.key -out store.crt 2>/dev/null
cat store.key store.crt >rgw.pem
chown ceph:ceph rgw.pem && chmod 600 rgw.pem
cat >ceph.conf <<CONF
[global]
fsid = $fsid
mon host = 127.0.0.1
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
bluestore block size = 10737418240
bluestore cache autotune = false
bluestore cache size = 67108864
osd op num shards = 2
osd mclock skip benchmark = true
[client.rgw.a]
rgw frontends = beast port=7480 ssl_port=7443 ssl_certificate=/etc/ceph/rgw.pem
rgw thread pool size = 64
CONF
cd /var/lib/ceph
mkdir -p mon/ceph-a osd/ceph-0 radosgw/ceph-rgw.a
chown -R ceph:ceph /var/lib/ceph
monmaptool --create --clobber --add a 127.0.0.1:6789 --fsid "$fsid" /tmp/monmap >/dev/null
ceph-mon --mkfs -i a --monmap /tmp/monmap --setuser ceph --setgroup ceph
systemctl start ceph-mon@a
timeout 60 bash -c "until ceph osd new $osd >/dev/null 2>&1; do sleep 0.5; done"  # no quorum yet: EPERM
ceph-osd -i 0 --mkfs --osd-uuid "$osd" --setuser ceph --setgroup ceph 2>/dev/null
systemctl start ceph-osd@0 ceph-radosgw@rgw.a
# Also when the host starts again.
systemctl enable --quiet ceph-mon@a ceph-osd@0 ceph-radosgw@rgw.a
radosgw-admin user create --uid=lab --display-name=lab --access-key="$S3_ACCESS" --secret-key="$S3_SECRET" >/dev/null 2>&1

# A bucket, by a signed request (AWS signature 2, which is one HMAC): no client of S3 needed.
bucket() {
    python3 - "$1" <<'PY'
import base64, hashlib, hmac, os, sys, urllib.request
from email.utils import formatdate

date = formatdate(usegmt=True)
text = f"PUT\n\n\n{date}\n/{sys.argv[1]}"
signature = base64.b64encode(hmac.new(os.environ["S3_SECRET"].encode(), text.encode(), hashlib.sha1).digest()).decode()
request = urllib.request.Request(f"http://127.0.0.1:7480/{sys.argv[1]}", method="PUT")
request.add_header("Date", date)
request.add_header("Authorization", f"AWS {os.environ['S3_ACCESS']}:{signature}")
urllib.request.urlopen(request, timeout=10)
PY
}
for name; do timeout 60 bash -c "$(declare -f bucket); until bucket $name 2>/dev/null; do sleep 0.3; done"; done
echo "$address" >/etc/ceph/address
mv /etc/ceph/store.crt /etc/ceph/ca.crt
