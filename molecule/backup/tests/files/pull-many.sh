# Pulls images by digest and by tag, with nothing at hand that could stand in, and leaves nothing behind.
# REFERENCE DIGEST, a line each, on standard input; tells what is not there, or leads elsewhere.
docker image prune --all --force >/dev/null
while read -r reference digest; do
    docker pull --quiet "${reference%:*}@$digest" >/dev/null || echo "$reference: not there by its digest"
    got=$(docker pull "$reference" | sed -n 's/^Digest: //p')
    [ "$got" = "$digest" ] || echo "$reference: leads to $got instead of $digest"
done
docker image prune --all --force >/dev/null
