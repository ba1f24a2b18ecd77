#!/usr/bin/env bash
# Makes a CA, an intermediate CA, one good certificate and several bad ones, as a company's PKI would.
#
#   make-certificates.sh DIRECTORY
set -euo pipefail
mkdir -p "$1"
cd "$1"
exec 2>openssl.log

new_ca() { # NAME SUBJECT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.crt" -days 3650 \
        -subj "/CN=$2" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

sign() { # NAME ISSUER EXTENSIONS [OPTIONS OF openssl x509]
    local name=$1 issuer=$2 extensions=$3
    shift 3
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name.key" -out "$name.csr" -subj "/CN=$name"
    openssl x509 -req -in "$name.csr" -CA "$issuer.crt" -CAkey "$issuer.key" -CAcreateserial -out "$name.leaf" \
        -extfile <(printf '%b' "$extensions") "$@"
}

server() { printf 'subjectAltName=%s\\nextendedKeyUsage=serverAuth\\nbasicConstraints=critical,CA:FALSE\\nkeyUsage=critical,digitalSignature' "$1"; }
names=DNS:registry.corp.test,DNS:reg.corp.test

new_ca ca "Corp CA"
new_ca other-ca "Other CA"
sign intermediate ca 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign' -days 1000
mv intermediate.leaf intermediate.crt

sign good intermediate "$(server $names)" -days 300
cat good.leaf intermediate.crt >good.crt

sign soon intermediate "$(server $names)" -days 20
cat soon.leaf intermediate.crt >soon.crt

cp good.leaf no-intermediate.crt
sign expired intermediate "$(server $names)" -not_before 20240101000000Z -not_after 20250101000000Z 2>/dev/null ||
    sign expired intermediate "$(server $names)" -days -1
cat expired.leaf intermediate.crt >expired.crt
sign other-name intermediate "$(server DNS:mail.corp.test)" -days 300
cat other-name.leaf intermediate.crt >other-name.crt
sign other-issuer other-ca "$(server $names)" -days 300
mv other-issuer.leaf other-issuer.crt
echo 'no PEM at all' >garbage.crt
rm -f ./*.csr ./*.srl
