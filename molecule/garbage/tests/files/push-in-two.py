"""A push in two halves, as a slow client's: what its manifest names, and when it may go on, the manifest.

    python3 push-in-two.py REGISTRY REPOSITORY TAG BASE

The image has the layers of the repository BASE's image with the tag 1, which are mounted, and one of its own. Touches
/tmp/begun after the first half and waits for /tmp/go-on. Prints the status of the second, and the manifest's digest.
"""

import hashlib
import io
import json
import os
import ssl
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request

registry, repository, tag, base = sys.argv[1:]
context = ssl.create_default_context(cafile=f"/etc/docker/certs.d/{registry}/wharf-ca.crt")
with open("/root/.docker/config.json") as file:
    login = json.load(file)["auths"][registry]["auth"]
KIND = "application/vnd.docker.distribution.manifest.v2+json"


def ask(method, path, content=None, kind=""):
    """Return the response's status, headers and content."""
    url = urllib.parse.urljoin(f"https://{registry}/v2/", path)
    headers = {"Authorization": f"Basic {login}", "Content-Type": kind, "Accept": KIND}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, content, headers, method=method), context=context
        ) as got:
            return got.status, got.headers, got.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def digest_of(content):
    """Return a content's digest."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def push(content, kind):
    """Push a blob; return its descriptor."""
    location = ask("POST", f"{repository}/blobs/uploads/", b"")[1]["Location"]
    status, _, said = ask("PUT", f"{location}&digest={digest_of(content)}", content, "application/octet-stream")
    assert status == 201, said
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


manifest = json.loads(ask("GET", f"{base}/manifests/1")[2])
config = json.loads(ask("GET", f"{base}/blobs/{manifest['config']['digest']}")[2])
for layer in manifest["layers"]:
    status, _, said = ask("POST", f"{repository}/blobs/uploads/?mount={layer['digest']}&from={base}", b"")
    assert status == 201, said
archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    member = tarfile.TarInfo("own")
    member.size = 200_000
    tar.addfile(member, io.BytesIO(os.urandom(member.size)))
manifest["layers"].append(push(archive.getvalue(), "application/vnd.docker.image.rootfs.diff.tar"))
config["rootfs"]["diff_ids"].append(digest_of(archive.getvalue()))
config.pop("history", None)
manifest["config"] = push(json.dumps(config).encode(), manifest["config"]["mediaType"])
open("/tmp/begun", "w").close()
while not os.path.exists("/tmp/go-on"):
    time.sleep(0.05)
status, headers, said = ask("PUT", f"{repository}/manifests/{tag}", json.dumps(manifest).encode(), KIND)
print(status, headers.get("Docker-Content-Digest", said), flush=True)
