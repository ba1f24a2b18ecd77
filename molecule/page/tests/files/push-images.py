"""Pushes what the tests of the page look at: images as teams have them, what belongs to them, and what is hostile.

    python3 push-images.py REGISTRY CA USER <PASSWORD

Real images, of layers that an engine unpacks, always the same. Prints, as JSON, the digest of each by REPOSITORY:TAG,
and of what is attached to shop/web:2.4.0 by its kind.
"""

import base64
import gzip
import hashlib
import http.client
import io
import json
import random
import ssl
import sys
import tarfile

registry, authority, user = sys.argv[1:]
login = base64.b64encode(f"{user}:{sys.stdin.readline().strip()}".encode()).decode()
server = http.client.HTTPSConnection(registry, context=ssl.create_default_context(cafile=authority))
OCI = "application/vnd.oci.image"
CONFIG, LAYER, MANIFEST, INDEX = (
    f"{OCI}.{kind}" for kind in ("config.v1+json", "layer.v1.tar+gzip", "manifest.v1+json", "index.v1+json")
)
EMPTY = "application/vnd.oci.empty.v1+json"
PLATFORMS = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64", "variant": "v8"}
# What would be seen if it were anything else than text: it runs, or asks another host.
HOSTILE = (
    "<img src=//evil.example/x onerror=\"document.title='owned'\">"
    "<script src=//evil.example/x.js></script><script>document.title='owned'</script>"
    "<svg onload=\"document.title='owned'\"><style>@import '//evil.example/x.css'</style>"
)
DEBIAN = [("# debian.sh --arch 'amd64' out/ 'trixie' '@1762200000'", 6_400_000)]
PYTHON = [
    *DEBIAN,
    ("RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata", 1_900_000),
    ("ENV PYTHON_VERSION=3.13.9", 0),
    ('RUN set -eux; savedAptMark="$(apt-mark showmanual)"; make -j "$(nproc)" && make install', 3_300_000),
]
pushed, known = {}, {}


def ask(method, path, content=b"", kind="application/octet-stream"):
    """Return the answer's headers."""
    server.request(method, path, content, {"Authorization": f"Basic {login}", "Content-Type": kind})
    with server.getresponse() as response:
        text = response.read()
        if response.status >= 300:
            sys.exit(f"{method} {path}: {response.status} {text[:300]}")
        return response.headers


def digest_of(content):
    """Return a content's digest."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def blob(name, content, kind):
    """Push a blob, if the repository has it not yet; return its descriptor."""
    descriptor = {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
    if (name, descriptor["digest"]) not in known:
        location = ask("POST", f"/v2/{name}/blobs/uploads/")["Location"].replace(f"https://{registry}", "")
        ask("PUT", f"{location}{'&' if '?' in location else '?'}digest={descriptor['digest']}", content)
        known[name, descriptor["digest"]] = True
    return descriptor


def manifest(name, tag, kind, document):
    """Push a manifest under a tag, or under its digest; return its descriptor."""
    content = json.dumps({"schemaVersion": 2, "mediaType": kind, **document}).encode()
    digest = digest_of(content)
    ask("PUT", f"/v2/{name}/manifests/{tag or digest}", content, kind)
    if tag:
        pushed[f"{name}:{tag}"] = digest
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def layer(seed, size):
    """Return a layer of one file of random bytes, and what its digest is when unpacked."""
    if seed not in known:
        with io.BytesIO() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                member = tarfile.TarInfo(f"srv/{hashlib.sha256(seed.encode()).hexdigest()[:12]}")
                member.size = size
                tar.addfile(member, io.BytesIO(random.Random(seed).randbytes(size)))
            content = file.getvalue()
        known[seed] = gzip.compress(content, 0, mtime=0), digest_of(content)
    return known[seed]


def image(name, tag, steps, platform=PLATFORMS[0], annotations=None, **config):
    """Push an image: steps are lines of the history with the sizes of their layers, 0 for none."""
    layers = [layer(f"{text} {size} {platform['architecture']}", size) for text, size in steps if size]
    history = [{"created_by": text, **({} if size else {"empty_layer": True})} for text, size in steps]
    whole = {
        **platform, "created": "2026-11-20T10:11:12Z", "config": config, "history": history,
        "rootfs": {"type": "layers", "diff_ids": [unpacked for _, unpacked in layers]},
    }  # fmt: skip
    document = {
        "config": blob(name, json.dumps(whole).encode(), CONFIG),
        "layers": [blob(name, content, LAYER) for content, _ in layers],
        **({"annotations": annotations} if annotations else {}),
    }
    return manifest(name, tag, MANIFEST, document)


def index(name, tag, steps, **config):
    """Push an image for two platforms, with what buildx says of how it was built."""
    entries = [{**image(name, "", steps, platform, **config), "platform": platform} for platform in PLATFORMS]
    proof = attach(name, "", "application/vnd.in-toto+json", b"built")
    kind = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": entries[0]["digest"]}
    entries.append({**proof, "platform": {"os": "unknown", "architecture": "unknown"}, "annotations": kind})
    return manifest(name, tag, INDEX, {"manifests": entries})


def attach(name, tag, kind, content, subject=None):
    """Push what belongs to an image."""
    document = {"artifactType": kind, "config": blob(name, b"{}", EMPTY), "layers": [blob(name, content, kind)]}
    return manifest(name, tag, MANIFEST, {**document, **({"subject": subject} if subject else {})})


def application(name, *command):
    """Return the steps that make an image of a program in Python."""
    last = [("CMD " + json.dumps(list(command)), 0)]
    return [*PYTHON, ("WORKDIR /srv/app", 0), (f"COPY {name} /srv/app # buildkit", 180_000), *last]


def running(name, version, *command):
    """Return the configuration of a program."""
    return {
        "Entrypoint": ["/usr/bin/tini", "--"], "Cmd": list(command), "User": "10001:10001", "WorkingDir": "/srv/app",
        "ExposedPorts": {"8080/tcp": {}}, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHON_VERSION=3.13.9"],
        "Labels": {"org.opencontainers.image.version": version, "org.opencontainers.image.title": name,
                   "org.opencontainers.image.source": f"https://git.example.org/shop/{name}"},
    }  # fmt: skip


image("base/debian", "13", DEBIAN, Cmd=["bash"])
image("base/python", "3.13", PYTHON, Cmd=["python3"])
for program, versions in {"api": ("1.8.0", "1.8.1"), "web": ("2.3.0", "2.3.1", "2.4.0"), "worker": ("1.8.1",)}.items():
    for version in versions:
        steps = application(f"{program}-{version}", "python3", "-m", program)
        make = index if program == "web" else image
        made = make(f"shop/{program}", version, steps, **running(program, version, "python3", "-m", program))
        if version == "2.4.0":
            index("shop/web", "latest", steps, **running(program, version, "python3", "-m", program))
            signature = "application/vnd.dev.cosign.simplesigning.v1+json"
            sign = attach("shop/web", made["digest"].replace(":", "-") + ".sig", signature, b"a signature")
            sbom = attach("shop/web", "", "application/spdx+json", b"an SBOM", made)
            entry = {**sbom, "artifactType": "application/spdx+json"}
            manifest("shop/web", made["digest"].replace(":", "-"), INDEX, {"manifests": [entry]})
            pushed.update(signature=sign["digest"], sbom=sbom["digest"])
chart = {
    "config": blob("charts/shop", b'{"name":"shop","version":"0.9.0"}', "application/vnd.cncf.helm.config.v1+json")
}
chart["layers"] = [blob("charts/shop", layer("chart", 9000)[0], "application/vnd.cncf.helm.chart.content.v1.tar+gzip")]
manifest("charts/shop", "0.9.0", MANIFEST, chart)
# Its layers are those of others, who may not learn of it.
image("hr/payroll", "unlisted-tag", application("payroll", "payroll"), **running("payroll", "unlisted-tag"))
image(
    "tools/labels", "latest", [(f"RUN {HOSTILE}", 20), (HOSTILE, 0)], annotations={HOSTILE: HOSTILE, "title": HOSTILE},
    Labels={HOSTILE: HOSTILE, "address": "javascript:document.title='owned'", "backwards": "invoice\u202efdp.exe"},
    Env=[f"{HOSTILE}={HOSTILE}"], Cmd=[HOSTILE], User=HOSTILE, WorkingDir=HOSTILE, ExposedPorts={HOSTILE: {}},
)  # fmt: skip
print(json.dumps(pushed))
