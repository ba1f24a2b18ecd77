# Makes the server's CA and certificate anew, with the same keys and names, valid a day later; all files are of tomorrow.
set -e
cd /etc/wharf
ahead() { date -u -d "$(openssl x509 -noout "-$2" -in "$1" | cut -d= -f2) +1 day" +%Y%m%d%H%M%SZ; }
again() {  # CERTIFICATE KEY CA CA_KEY
    openssl x509 -copy_extensions copyall -x509toreq -in "$1" -key "$2" -out /tmp/request.pem
    openssl x509 -req -copy_extensions copyall -in /tmp/request.pem $3 $4 -out /tmp/ahead.crt \
        -not_before "$(ahead "$1" startdate)" -not_after "$(ahead "$1" enddate)"
    cat /tmp/ahead.crt >"$1"
}
again ca/ca.crt ca/ca.key "-key ca/ca.key"
again tls/registry.crt tls/registry.key "-CA ca/ca.crt" "-CAkey ca/ca.key"
cat ca/ca.crt >tls/ca.crt
find /etc/wharf /var/lib/wharf -exec touch --date tomorrow {} +
