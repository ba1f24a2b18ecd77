"""Pushes small images on the server itself, while its disk fills up.

Each meets a disk that has one page more free than for the one before, so that each step of a push meets the full disk
once; the last one a disk that fills up just before its manifest. The disk stays full. Run as

    python3 push-tight.py full|again REGISTRY DATA BATCH      with the password of "ci" on standard input

"again" pushes the same images, and leaves the disk alone. Prints which were acknowledged, and why the others failed.
"""

import base64
import gzip
import hashlib
import io
import json
import ssl
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request

how, registry, data, batch = sys.argv[1:]
login = base64.b64encode(f"ci:{sys.stdin.readline().strip()}".encode()).decode()
context = ssl.create_default_context(cafile="/etc/wharf/tls/ca.crt")


def send(method: str, url: str, content: bytes, kind: str = "application/octet-stream") -> str:
    """Send a request; return the location that it is answered with."""
    headers = {"Authorization": f"Basic {login}", "Content-Type": kind}
    request = urllib.request.Request(url, content, headers, method=method)
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        return answer.headers["Location"]


def push_blob(name: str, content: bytes) -> None:
    """Push a blob."""
    location = send("POST", f"https://{registry}/v2/{name}/blobs/uploads/", b"")
    send("PUT", f"https://{registry}/v2/{location.partition('/v2/')[2]}&digest={digest_of(content)}", content)


def digest_of(content: bytes) -> str:
    """Return the digest of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def describe(kind: str, content: bytes) -> dict:
    """Return a descriptor."""
    return {"mediaType": f"application/vnd.docker.{kind}", "size": len(content), "digest": digest_of(content)}


def image(number: int) -> tuple[bytes, bytes, bytes]:
    """Return the layer, the configuration and the manifest of an image."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(f"{batch}-{number}"))
    layer = gzip.compress(file.getvalue(), mtime=0)
    rootfs = {"type": "layers", "diff_ids": [digest_of(file.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": describe("container.image.v1+json", config),
        "layers": [describe("image.rootfs.diff.tar.gzip", layer)],
    }
    return layer, config, json.dumps(manifest).encode()


def on_disk(command: str) -> None:
    """Run a shell's command in the data's directory, unless the disk is to be left alone."""
    if how == "full":
        subprocess.run(["sh", "-c", command], cwd=data, stderr=subprocess.DEVNULL)


FILL = "cat /dev/zero >>filler"
acknowledged, failed = {}, {}
for number in range(13):
    name = f"faults/{batch}-{number}"
    layer, config, manifest = image(number)
    on_disk(f"rm -f filler; head -c {4096 * number} /dev/zero >spare")
    on_disk(f"{FILL}; rm spare")
    try:
        push_blob(name, layer)
        push_blob(name, config)
        if number == 12:
            on_disk(FILL)
        kind = json.loads(manifest)["mediaType"]
        send("PUT", f"https://{registry}/v2/{name}/manifests/1", manifest, kind)
        acknowledged[f"{registry}/{name}:1"] = digest_of(manifest)
    except urllib.error.URLError as error:
        failed[name] = str(error)
on_disk(FILL)
print(json.dumps([acknowledged, failed]))
