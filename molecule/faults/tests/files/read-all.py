"""Asks the registry, as any client may, for everything it lists: every tag with its digest, or with what is wrong.

Reads all that belongs to it, and compares it with its digest. Run as

    python3 read-all.py REGISTRY      with the password of "ci" on standard input
"""

import base64
import hashlib
import json
import ssl
import sys
import urllib.error
import urllib.request

[registry] = sys.argv[1:]
login = base64.b64encode(f"ci:{sys.stdin.readline().strip()}".encode()).decode()
types = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
context = ssl.create_default_context(cafile=f"/etc/docker/certs.d/{registry}/wharf-ca.crt")


def ask(path: str) -> bytes:
    """Return what the registry answers."""
    headers = {"Accept": types, "Authorization": f"Basic {login}"}
    request = urllib.request.Request(f"https://{registry}{path}", headers=headers)
    with urllib.request.urlopen(request, context=context) as answer:
        return answer.read()


def read(name: str, tag: str) -> str:
    """Return the digest of a tag, all of whose content is right, or what is wrong."""
    try:
        manifest = ask(f"/v2/{name}/manifests/{tag}")
        for blob in [json.loads(manifest)["config"], *json.loads(manifest)["layers"]]:
            if "sha256:" + hashlib.sha256(ask(f"/v2/{name}/blobs/{blob['digest']}")).hexdigest() != blob["digest"]:
                return f"another content than {blob['digest']}"
        return "sha256:" + hashlib.sha256(manifest).hexdigest()
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code} for {error.url}"


found = {}
for name in json.loads(ask("/v2/_catalog?n=1000"))["repositories"]:
    found[name] = {}
    try:
        for tag in json.loads(ask(f"/v2/{name}/tags/list"))["tags"] or []:
            found[name][tag] = read(name, tag)
    except urllib.error.HTTPError as error:
        if error.code != 404:  # what a name in the catalogue gets that has no image
            raise
print(json.dumps(found))
