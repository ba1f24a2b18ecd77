"""A stand-in for the gateway, to work on the page: python tests/page/serve.py, then open http://127.0.0.1:8000/.

Not the gateway: no nginx, no registry, no users, no TLS. The page's files are the real ones, under the real policy;
lists, manifests and configurations are made up, the same each time. Some are what nobody should push, and somebody
will: names and labels with HTML, texts that run backwards, configurations that are none.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import random
import re
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "roles/server_programs/files/page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/-/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/-/page.css": ("page.css", "text/css; charset=utf-8"),
    "/-/icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = "; ".join(
    ["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"]
    + ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
)
OCI, DOCKER = "application/vnd.oci.image", "application/vnd.docker"
INDEX, MANIFEST, CONFIG, LAYER = (
    f"{OCI}.{kind}" for kind in ("index.v1+json", "manifest.v1+json", "config.v1+json", "layer.v1.tar+gzip")
)
EMPTY = "application/vnd.oci.empty.v1+json"
HTML = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>"
HOSTILE_LABELS = {
    HTML: HTML,
    "__proto__": "a name that objects have",
    "address": "javascript:alert(1)",
    "org.opencontainers.image.source": "https://git.example.org/team/app",
    "backwards": "invoice\u202efdp.exe\u0000\u0007",
    "long": "0123456789" * 10000,
    "not a text": {"a": [1, None]},
    "empty": "",
    "汉字": "一段中文说明",
}
HOSTILE_CONFIGS: list[Any] = [
    {"config": "none", "history": "none", "rootfs": 7},
    [1, 2],
    {"config": {"Env": [1, None, HTML], "Cmd": {"a": 1}, "Labels": [HTML]}, "history": [None, 3], "os": 1},
]  # fmt: skip
PLATFORMS = [("linux", "amd64", ""), ("linux", "arm64", "v8"), ("linux", "arm", "v7"), ("windows", "amd64", "")]
COMMANDS = [
    "/bin/sh -c #(nop) ADD file:6c1b4a in / ",
    "/bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates curl",
    "WORKDIR /srv/app",
    "RUN /bin/sh -c pip install --no-cache-dir -r requirements.txt # buildkit",
    "COPY . . # buildkit",
]
TEAMS = [
    "base",
    "team-a",
    "team-b/backend",
    "team-b/frontend",
    "data/pipelines/nightly",
    "ops",
    "mirror/docker.io/library",
]
CACHED = {"docker.io/library/debian": "docker.io", "hub.example.com_8443/app": "hub.example.com:8443"}
WORDS = ["api", "web", "worker", "cron", "proxy", "cache", "queue", "mail", "auth", "search", "billing", "report"]
NOW = int(time.time())


def digest_of(data: bytes) -> str:
    """Return a digest as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """What the stand-in holds, made from a few numbers."""

    def __init__(self, repositories: int, tags: int) -> None:
        """Make the names of all tags; what is behind them is made when it is asked for."""
        dice = random.Random(13)
        names = ["hostile/labels", "hostile/constructor", "charts/app", "library"][:repositories]
        names += [f"{TEAMS[i % len(TEAMS)]}/{WORDS[i % len(WORDS)]}-{i}" for i in range(repositories - len(names))]
        self.tags = {name: ["latest"] for name in names}
        self.pushed = {name: NOW - int(dice.expovariate(1 / (90 * 86400))) for name in names}
        for number in range(max(0, tags - len(names))):
            # A quarter of them in one repository.
            name = names[3] if number % 4 == 0 and len(names) > 3 else dice.choice(names)
            self.tags[name].append(f"{number // 100}.{number % 100}.{number % 7}")
        if names:
            self.tags["hostile/labels"] += ["cosign", "__proto__", "no-config", "no-object", "odd", "x" * 128]
            self.tags["n" * 200 + "/" + "m" * 54] = ["latest"]
            self.pushed["n" * 200 + "/" + "m" * 54] = NOW - 40
            self.tags |= {name: ["13", "latest"] for name in CACHED}
            self.pushed |= dict.fromkeys(CACHED, NOW - 7200)
        self.signatures: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, tuple[str, bytes]] = {}

    def put(self, content: Any, media_type: str) -> dict[str, Any]:
        """Keep a manifest or configuration; return its descriptor."""
        data = json.dumps(content, indent=1).encode()
        self.stored[digest_of(data)] = (media_type, data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    @staticmethod
    def layer(seed: str) -> dict[str, Any]:
        """Return a layer, which is nowhere."""
        digest = digest_of(seed.encode())
        return {
            "mediaType": LAYER,
            "digest": digest,
            "size": 1000 + int(digest[7:13], 16) * (4 if "base" in seed else 1),
        }

    def image(self, name: str, tag: str, platform: tuple[str, str, str], annotated: bool = False) -> dict[str, Any]:
        """Make an image for one platform."""
        base = sum(name.encode()) % 9
        layers = [self.layer(f"base {base} {step} {platform}") for step in range(2)]
        layers += [self.layer(f"{name} {tag} {step} {platform}") for step in range(2)]
        steps = [{"created_by": text, "empty_layer": text.startswith("WORKDIR")} for text in COMMANDS]
        steps.append({"created_by": f'CMD ["{HTML}"]', "empty_layer": True})
        os, architecture, variant = platform
        config: Any = {
            "created": "2026-11-20T10:11:12Z", "os": os, "architecture": architecture, "variant": variant,
            "config": {
                "Entrypoint": ["/usr/bin/tini", "--"], "Cmd": ["python", "-m", "app", "it's"], "User": "1000:1000",
                "WorkingDir": "/srv/app", "ExposedPorts": {"8080/tcp": {}}, "Volumes": {"/data": {}},
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", f"MESSAGE={HTML}", "EMPTY="],
                "Labels": HOSTILE_LABELS if name.startswith("hostile/") else {"org.opencontainers.image.version": tag},
            },
            "history": steps,
        }  # fmt: skip
        if tag in ("no-config", "no-object", "odd"):
            config = HOSTILE_CONFIGS[("no-config", "no-object", "odd").index(tag)]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.put(config, CONFIG), "layers": layers}
        if annotated:
            manifest["annotations"] = {"org.opencontainers.image.title": f"{name} {tag}"}
        return self.put(manifest, MANIFEST)

    @functools.cache  # noqa: B019
    def tag(self, name: str, tag: str) -> dict[str, Any]:
        """Return what the index says about a tag."""
        number = sum(f"{name}:{tag}".encode())
        found: dict[str, Any] = {"name": tag, "type": "image", "platforms": ["linux/amd64"], "attached": []}
        if name == "charts/app":
            config = self.put({"name": "app", "version": tag}, "application/vnd.cncf.helm.config.v1+json")
            chart = {**self.layer(tag), "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip"}
            made = self.put({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [chart]}, MANIFEST)
            found.update(type="artifact", platforms=[], size=chart["size"])
        elif name in CACHED or (number % 3 == 0 and name != "hostile/labels"):
            images = [self.image(name, tag, platform) for platform in PLATFORMS]
            entries = [
                {**image, "platform": {"os": platform[0], "architecture": platform[1], "variant": platform[2]}}
                for image, platform in zip(images, PLATFORMS, strict=True)
            ]
            proof = self.put(
                {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.put({}, CONFIG), "layers": []}, MANIFEST
            )
            kind = {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": images[0]["digest"],
            }
            entries.append({**proof, "platform": {"os": "unknown", "architecture": "unknown"}, "annotations": kind})
            made = self.put({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
            found.update(type="index", platforms=["/".join(filter(None, platform)) for platform in PLATFORMS])
            if name in CACHED:  # the others are not there
                found.update(there=[made["digest"], images[0]["digest"]], platforms=found["platforms"][:1])
        else:
            made = self.image(name, tag, PLATFORMS[0], annotated=True)
        found["digest"] = made["digest"]
        found.setdefault("size", 20_000_000 + number * 9973)
        found["pushed"] = self.pushed[name] - number % 5000 * 60 if tag != "latest" else self.pushed[name]
        if tag == "cosign":
            signature = self.attach(made, "application/vnd.dev.cosign.simplesigning.v1+json")
            name_of_it = made["digest"].replace(":", "-") + ".sig"
            found["attached"] = [{**signature, "tag": name_of_it}]
            self.signatures[name] = {
                **{key: found[key] for key in ("pushed", "size", "platforms")},
                "name": name_of_it,
                "digest": signature["digest"],
                "type": "artifact",
                "attached": [],
                "of": made["digest"],
            }
        elif number % 2 == 0:
            found["attached"] = [self.attach(made, "application/vnd.dev.cosign.artifact.sig.v1+json"),
                                 self.attach(made, "application/spdx+json")]  # fmt: skip
        return found

    def attach(self, subject: dict[str, Any], kind: str) -> dict[str, Any]:
        """Attach something to a manifest."""
        file = {**self.layer(kind), "annotations": {"org.opencontainers.image.title": f"{HTML}.json"}}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": self.put({}, EMPTY)}
        made = self.put({**manifest, "layers": [file], "subject": subject}, MANIFEST)
        return {"digest": made["digest"], "type": kind, "of": subject["digest"]}

    def listing(self) -> dict[str, Any]:
        """Return the list of repositories, with a name that the index would never let through."""
        rows: list[list[Any]] = [
            [name, len(self.tags[name]), 10**8, self.pushed[name], *filter(None, [CACHED.get(name)])]
            for name in sorted(self.tags)
        ]
        if rows:
            rows += [[HTML, 1, 1, NOW - 99], ["../-/status", 1, 1, 0], ["__proto__/constructor", 1, 1, 0]]
        return {"generated": NOW, "repositories": rows}

    @functools.cache  # noqa: B019
    def shared(self) -> dict[str, list[list[str]]]:
        """Return which of the base images' layers are in several images."""
        found: dict[str, list[list[str]]] = {}
        for name in self.tags:
            for platform in PLATFORMS:
                for step in range(2):
                    layer = self.layer(f"base {sum(name.encode()) % 9} {step} {platform}")
                    found.setdefault(layer["digest"], []).append([name, "latest"])
        return {digest: images[:20] for digest, images in found.items() if len(images) > 1}


def in_parts(tags: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a repository's tags as the index keeps them: what several have is there once."""
    found: dict[str, Any] = {"tags": [], "manifests": [], "attached": {}}
    for tag in tags:
        for one in tag["attached"]:
            found["attached"].setdefault(one["of"], {})[one["digest"]] = {key: one[key] for key in one if key != "of"}
        manifest = {key: tag[key] for key in ("digest", "size", "platforms", "type", "there") if key in tag}
        found["manifests"].append({**manifest, "parts": sorted({one["of"] for one in tag["attached"]})})
        more = {"of": tag["of"]} if "of" in tag else {}
        found["tags"].append({key: tag[key] for key in ("name", "pushed")} | {"manifest": len(found["tags"])} | more)
    return found | {"attached": {digest: list(one.values()) for digest, one in found["attached"].items()}}


STATUS = {
    "registry": "registry.example.org:5000",
    "problems": ["check-backup failed", "the certificate has expired"],
    "containers": {
        part: {"name": part, "state": "running", "version": version, "image": part}
        for part, version in (("registry", "3.0.0"), ("gateway", "1.26.3"), ("network", ""))
    },
    "certificate": {"path": "/var/lib/wharf/tls/registry.crt", "end": NOW + 9 * 86400, "days": 9},
    "storage": {"path": "/var/lib/wharf/registry", "used": 734_003_200_000, "free": 91_268_055_000},
    "cached": 12_884_901_888,
    "results": {
        "collect-garbage": {"good": True, "time": NOW - 7200, "message": "freed 12 blobs, 1.5 GiB"},
        "apply-retention": None,
        "back-up": {"good": True, "time": NOW - 36000, "message": "copied 20 blobs"},
        "check-backup": {"good": False, "time": NOW - 86400 * 3, "message": f"a blob is missing {HTML}"},
        "repair-storage": None,
        "renew-certificate": {"good": True, "time": NOW - 86400 * 9, "message": "not yet due"},
    },
    "lock": {"name": "collect-garbage", "since": NOW - 30},
    "pushes_wait": True,
    "retention": {
        "count": 2,
        "tags": [
            {"name": "library", "tag": "0.0.0", "digest": "sha256:" + "0" * 64, "pushed": NOW - 90 * 86400,
             "reason": "older than 30 days"},
            {"name": "library", "tag": "0.4.4", "digest": "sha256:" + "1" * 64, "pushed": NOW - 10**7, "reason": HTML},
        ],
    },
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """Answers like the gateway, as far as the page asks."""

    protocol_version = "HTTP/1.1"
    registry: Registry
    options: argparse.Namespace

    def do_GET(self) -> None:
        """Answer a request."""
        path = self.path.partition("?")[0]
        if path in FILES:
            name, media_type = FILES[path]
            self.answer((PAGE / name).read_bytes(), media_type)
        elif self.options.fail:
            self.error(self.options.fail)
        elif path == "/-/status" and self.options.level < 3:
            self.error(403)
        elif (found := self.look_up(path)) is None:
            self.error(404)
        else:
            self.answer(*found)

    def look_up(self, path: str) -> tuple[bytes, str] | None:
        """Return what is at a path, and its type."""
        simple = {"/-/list": self.registry.listing, "/-/shared": self.registry.shared, "/-/status": lambda: STATUS}
        if path in simple:
            return json.dumps(simple[path]()).encode(), "application/json"
        tags = self.registry.tags
        if (match := re.fullmatch(r"/-/tags/(.+)", path)) and match[1] in tags:
            found = [self.registry.tag(match[1], tag) for tag in tags[match[1]]]
            found += filter(None, [self.registry.signatures.get(match[1])])
            return json.dumps(in_parts(found)).encode(), "application/json"
        if match := re.fullmatch(r"/v2/(.+)/(?:manifests|blobs)/([^/]+)", path):
            reference = match[2].replace("%3A", ":")
            if (signature := self.registry.signatures.get(match[1], {})) and signature["name"] == reference:
                reference = signature["digest"]
            elif reference in tags.get(match[1], ()):
                reference = self.registry.tag(match[1], reference)["digest"]
            if reference in self.registry.stored:
                media_type, data = self.registry.stored[reference]
                return data, media_type
        return None

    def error(self, status: int) -> None:
        """Answer with an error of the OCI specification."""
        self.answer(b'{"errors":[{"code":"DENIED","message":"no"}]}\n', "application/json", status)

    def answer(self, data: bytes, media_type: str, status: int = HTTPStatus.OK) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Wharf-User", "ann")
        self.send_header("Wharf-Level", str(self.options.level))
        if "/manifests/" in self.path:
            self.send_header("Docker-Content-Digest", digest_of(data))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def server(*arguments: str) -> ThreadingHTTPServer:
    """Return the stand-in, with the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000, help="0 for any")
    parser.add_argument("--repositories", type=int, default=1000)
    parser.add_argument("--tags", type=int, default=20000, help="of all repositories together")
    parser.add_argument("--level", type=int, default=3, help="what the user may: 1 read, 2 push, 3 all")
    parser.add_argument("--fail", type=int, default=0, metavar="STATUS", help="with which all data is answered")
    options = parser.parse_args(arguments)
    registry = Registry(options.repositories, options.tags if options.repositories else 0)
    handler = type("HandlerOfOne", (Handler,), {"registry": registry, "options": options})
    return ThreadingHTTPServer(("127.0.0.1", options.port), handler)


if __name__ == "__main__":
    import sys

    with server(*sys.argv[1:]) as serving:
        print(f"http://127.0.0.1:{serving.server_port}/", flush=True)
        serving.serve_forever()
