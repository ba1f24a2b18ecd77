# Leaves a server as the version of Wharf before the gateway did. That version is not at hand: its files and its
# container, which has the users and the port itself, are made here as it made them (2026-11, bab4348). Not its command
# wharf and its timers, which are today's. Image, data, CA and certificate are those that are there.
#
#   sh make-deployment-of-before.sh <FILE      the users, their passwords hashed with bcrypt
set -e
image=$(docker inspect --format '{{.Config.Image}}' registry)
gateway_image=$(docker inspect --format '{{.Config.Image}}' registry-gateway)
docker rm --force registry-network registry-gateway registry
docker image rm "$gateway_image"
rm -rf /etc/wharf/gateway /etc/wharf/registry/http-secret /var/lib/wharf/sockets
cd /etc/wharf/registry
cat >htpasswd
cat >config.yml <<END
# Ansible managed
auth:
  htpasswd:
    path: /wharf/config/htpasswd
    realm: registry
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
http:
  addr: :5000
  draintimeout: 8s
  headers:
    X-Content-Type-Options:
    - nosniff
  http2:
    disabled: true
  tls:
    certificate: /wharf/tls/registry.crt
    key: /wharf/tls/registry.key
log:
  accesslog:
    disabled: true
  level: error
storage:
  filesystem:
    rootdirectory: /var/lib/registry
version: 0.1
END
chown root:59500 htpasswd config.yml
chmod 0640 htpasswd config.yml
cat >../registry.json <<END
{
    "ca": "/etc/wharf/tls/ca.crt",
    "caches": false,
    "container": "registry",
    "delete_untagged": false,
    "driver": "filesystem",
    "htpasswd": "/etc/wharf/registry/htpasswd",
    "name": "registry.wharf.test",
    "port": 5000,
    "root": "/var/lib/registry"
}
END
sed -i 's/"restart_command": .*/"restart_command": "docker restart registry"/' ../certificate.json
docker run --detach --name registry --user 59500:59500 --read-only --cap-drop ALL --no-healthcheck --restart always \
    --security-opt no-new-privileges=true --security-opt label=disable --userns host --publish 5000:5000 \
    --log-driver json-file --log-opt max-size=10m --log-opt max-file=3 \
    --env GOGC=400 --env GOMEMLIMIT=419430400 --env OTEL_TRACES_EXPORTER=none \
    --volume /etc/wharf/registry:/wharf/config:ro --volume /etc/wharf/tls:/wharf/tls:ro \
    --volume /var/lib/wharf/registry:/var/lib/registry \
    --mount type=bind,source=/var/lib/wharf/registry/.wharf,target=/wharf/data,readonly \
    --label wharf.config="$(sha256sum config.yml | cut -d ' ' -f 1)" "$image" serve /wharf/config/config.yml
timeout 30 sh -c 'until openssl s_client -connect 127.0.0.1:5000 </dev/null; do sleep 0.1; done' >/dev/null 2>&1
