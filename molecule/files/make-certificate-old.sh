# Lets the registry serve a certificate with the same key and names from its CA, whose life began and ends elsewhere.
#
#   sh make-certificate-old.sh DAYS_AGO DAYS_LEFT
set -e
cd /etc/wharf/tls
openssl x509 -copy_extensions copyall -x509toreq -in registry.crt -key registry.key -out /tmp/request.pem
openssl x509 -req -copy_extensions copyall -in /tmp/request.pem -CA ../ca/ca.crt -CAkey ../ca/ca.key \
    -not_before "$(date -u -d "-$1 days" +%Y%m%d%H%M%SZ)" -not_after "$(date -u -d "+$2 days" +%Y%m%d%H%M%SZ)" \
    -out registry.crt
docker kill --signal HUP registry-gateway
wanted=$(openssl x509 -noout -fingerprint -sha256 -in registry.crt)
served() { openssl s_client -connect 127.0.0.1:5000 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256; }
for _ in $(seq 100); do
    [ "$(served)" != "$wanted" ] || exit 0
    sleep 0.1
done
exit 1
