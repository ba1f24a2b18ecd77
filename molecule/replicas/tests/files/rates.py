"""How many images clients push, and then pull, in a second at servers of one registry.

    rates.py SECONDS NAME:PORT CA USER ADDRESS...

The password is on standard input. Eight clients at each address keep a connection each. An image is a manifest and a
layer of 20,000 bytes. Prints a line of JSON: "pushes" and "pulls", in images per second.
"""

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time

seconds, registry, ca, user, *addresses = sys.argv[1:]
name, _, port = registry.rpartition(":")
login = base64.b64encode(f"{user}:{sys.stdin.readline().strip()}".encode()).decode()
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
failures = []


class Client:
    """One client at an address."""

    def __init__(self, address, number):
        """Connect."""
        self.number, self.pushed = number, 0
        self.connection = http.client.HTTPSConnection(name, int(port), timeout=60)
        trusted = ssl.create_default_context(cafile=ca)
        self.connection.sock = trusted.wrap_socket(socket.create_connection((address, int(port))), server_hostname=name)

    def ask(self, method, path, wanted, body=None, kind="application/octet-stream"):
        """Return headers and body of a response."""
        headers = {"Authorization": f"Basic {login}", "Accept": MANIFEST, "Content-Type": kind}
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        content = response.read()
        if response.status != wanted:
            raise RuntimeError(f"{method} {path.partition('?')[0]}: {response.status} {content[:200]!r}")
        return response.headers, content

    def push(self):
        """Push an image of fresh content."""
        content = os.urandom(20000)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        headers, _ = self.ask("POST", "/v2/rates/app/blobs/uploads/", 202)
        self.ask("PUT", f"{headers['Location']}&digest={digest}", 201, content)
        blob = {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob, "layers": [blob]})
        self.ask("PUT", f"/v2/rates/app/manifests/{self.number}-{self.pushed}", 201, manifest, MANIFEST)
        self.pushed += 1

    def pull(self):
        """Pull the first image."""
        _, manifest = self.ask("GET", f"/v2/rates/app/manifests/{self.number}-0", 200)
        for blob in json.loads(manifest)["layers"]:
            self.ask("GET", f"/v2/rates/app/blobs/{blob['digest']}", 200)


def rate(act):
    """Return how often a second all clients together do something."""
    counts, end = [], time.monotonic() + float(seconds)

    def go_on(client):
        count = 0
        try:
            while time.monotonic() < end:
                act(client)
                count += 1
        except Exception as error:
            failures.append(str(error))
        counts.append(count)

    start = time.monotonic()
    threads = [threading.Thread(target=go_on, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


clients = [Client(address, f"{address}-{number}".replace(":", "-")) for address in addresses for number in range(8)]
print(json.dumps({"pushes": rate(Client.push), "pulls": rate(Client.pull)}))
sys.exit("\n".join(failures[:3]) or None)
