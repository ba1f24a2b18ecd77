"""Attaches to an image what signing and scanning programs would: cosign's tags, and referrers with their index.

    python3 push-artifacts.py REGISTRY REPOSITORY TAG [NESTED]

With NESTED, an index that holds the one under TAG is pushed under that tag. Prints the tags, one a line. The content is
no real signature: nobody here verifies one.
"""

import hashlib
import json
import ssl
import sys
import urllib.parse
import urllib.request

registry, repository, tag, *nested = sys.argv[1:]
context = ssl.create_default_context(cafile=f"/etc/docker/certs.d/{registry}/wharf-ca.crt")
with open("/root/.docker/config.json") as file:
    login = json.load(file)["auths"][registry]["auth"]
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker.distribution.manifest"
KINDS = (f"{OCI}.index.v1+json", f"{OCI}.manifest.v1+json", f"{DOCKER}.list.v2+json", f"{DOCKER}.v2+json")
EMPTY = "application/vnd.oci.empty.v1+json"


def ask(method, path, content=None, kind=""):
    """Return the response's headers and content."""
    url = urllib.parse.urljoin(f"https://{registry}/v2/{repository}/", path)
    headers = {"Authorization": f"Basic {login}", "Content-Type": kind, "Accept": ", ".join(KINDS)}
    request = urllib.request.Request(url, content, headers, method=method)
    with urllib.request.urlopen(request, context=context) as response:
        return response.headers, response.read()


def digest_of(content):
    """Return a content's digest."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def blob(content, kind):
    """Push a blob; return its descriptor."""
    location = ask("POST", "blobs/uploads/", b"")[0]["Location"]
    ask("PUT", f"{location}&digest={digest_of(content)}", content, "application/octet-stream")
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


def manifest(document, kind, name=""):
    """Push a manifest under a tag, or under its digest; return its descriptor."""
    content = json.dumps({"schemaVersion": 2, "mediaType": kind, **document}).encode()
    ask("PUT", f"manifests/{name or digest_of(content)}", content, kind)
    if name:
        print(name)
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


def attach(digest, suffix, kind):
    """Push what cosign would under its tag; return its digest."""
    parts = {
        "config": blob(b'{"architecture":"","rootfs":{"type":"layers","diff_ids":[]}}', f"{OCI}.config.v1+json"),
        "layers": [blob(f"{suffix} of {digest}".encode(), kind)],
    }
    return manifest(parts, f"{OCI}.manifest.v1+json", digest.replace(":", "-") + suffix)["digest"]


headers, content = ask("GET", f"manifests/{tag}")
image, children = digest_of(content), json.loads(content).get("manifests", [])
signature = attach(image, ".sig", "application/vnd.dev.cosign.simplesigning.v1+json")
attach(signature, ".sig", "application/vnd.dev.cosign.simplesigning.v1+json")
attach(image, ".att", "application/vnd.dsse.envelope.v1+json")
for child in children[:1]:
    attach(child["digest"], ".sbom", "text/spdx+json")
subject = {"mediaType": headers["Content-Type"], "digest": image, "size": len(content)}
artifact = {
    "artifactType": "application/vnd.example.scan",
    "config": blob(b"{}", EMPTY),
    "layers": [blob(b"a report", "application/vnd.example.report"), blob(b"(\xb5/\xfd", f"{OCI}.layer.v1.tar+zstd")],
    "subject": subject,
}
referrer = manifest(artifact, f"{OCI}.manifest.v1+json")
referrer["artifactType"] = artifact["artifactType"]
manifest({"manifests": [referrer]}, f"{OCI}.index.v1+json", image.replace(":", "-"))
for name in nested:
    manifest({"manifests": [subject]}, f"{OCI}.index.v1+json", name)
