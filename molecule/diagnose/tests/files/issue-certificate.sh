# Issues a certificate for the registry's key from Wharf's own CA, or from one that nobody knows.
#
#   sh issue-certificate.sh NAMES NOT_BEFORE NOT_AFTER [other]
set -e
directory=$(mktemp -d)
cd "$directory"
tls=/etc/wharf/tls
ca="-CA $tls/ca.crt -CAkey /etc/wharf/ca/ca.key"
if [ "$4" = other ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=Other CA' \
        -keyout other.key -out other.crt
    ca="-CA other.crt -CAkey other.key"
fi
openssl req -new -key $tls/registry.key -subj /CN=registry -out registry.csr
echo "subjectAltName=$1" >names
openssl x509 -req -in registry.csr -extfile names $ca -not_before "$2" -not_after "$3" -out $tls/registry.crt
