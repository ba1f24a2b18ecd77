"""A client that pulls and one that pushes, every 200 ms, each time over new connections and without a second attempt.

    all-the-time.py NAME:PORT CA USER FILE

The password is on standard input. FILE gets a line of JSON after each round: whether it was a pull or a push, when it
began, how many seconds it took, and what failed. Runs until FILE.stop is there, for 15 minutes at most.
"""

import base64
import hashlib
import http.client
import json
import os
import ssl
import sys
import threading
import time

registry, ca, user, file = sys.argv[1:]
login = base64.b64encode(f"{user}:{sys.stdin.readline().strip()}".encode()).decode()
name, _, port = registry.rpartition(":")
begin, lock = time.time(), threading.Lock()
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def ask(method, path, wanted, body=None, **headers):
    """Return the headers and the body of a response, over a connection of its own."""
    connection = http.client.HTTPSConnection(name, int(port), timeout=60, context=ssl.create_default_context(cafile=ca))
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    headers |= {"Authorization": f"Basic {login}", "Accept": MANIFEST}
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != wanted:
        raise RuntimeError(f"{method} {path.partition('?')[0]}: {response.status} {content[:200]!r}")
    return response.headers, content


def digest_of(content):
    """Return the digest of a content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def push(tag):
    """Push an image of fresh random content."""
    content = os.urandom(20000)
    headers, _ = ask("POST", "/v2/all-the-time/app/blobs/uploads/", 202)
    location = headers["Location"]
    separator = "&" if "?" in location else "?"
    ask(
        "PUT",
        f"{location}{separator}digest={digest_of(content)}",
        201,
        content,
        Content_Type="application/octet-stream",
    )
    blob = {"mediaType": "application/octet-stream", "digest": digest_of(content), "size": len(content)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob, "layers": [blob]})
    ask("PUT", f"/v2/all-the-time/app/manifests/{tag}", 201, manifest, Content_Type=MANIFEST)


def pull():
    """Pull an image, and compare it with its digests."""
    ask("GET", "/v2/", 200)
    _, manifest = ask("GET", "/v2/all-the-time/app/manifests/kept", 200)
    for blob in json.loads(manifest)["layers"]:
        _, content = ask("GET", f"/v2/all-the-time/app/blobs/{blob['digest']}", 200)
        if digest_of(content) != blob["digest"]:
            raise RuntimeError("another content")


def all_the_time(kind, act):
    """Act every 200 ms, and note what was seen."""
    while not os.path.exists(f"{file}.stop") and time.time() < begin + 900:
        start, problem = time.time(), ""
        try:
            act()
        except Exception as error:
            problem = f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}"
        seconds = time.time() - start
        with lock, open(file, "a") as lines:
            lines.write(json.dumps([kind, start, seconds, problem]) + "\n")
        time.sleep(max(0, 0.2 - seconds))


push("kept")
threads = [threading.Thread(target=all_the_time, args=one) for one in (("pull", pull), ("push", lambda: push("new")))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os.rename(f"{file}.stop", f"{file}.done")
