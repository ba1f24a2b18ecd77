"""Begins an upload every 300 ms, each of which sends its layer in 4 s, and none of which is tried again.

    slow-uploads.py NAME:PORT CA USER REPOSITORY FILE

The password is on standard input. Runs until FILE.stop is there, for 5 minutes at most. FILE then gets as JSON how many
there were, and what failed.
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

registry, ca, user, repository, file = sys.argv[1:]
login = base64.b64encode(f"{user}:{sys.stdin.readline().strip()}".encode()).decode()
name, _, port = registry.rpartition(":")
begin, failures, threads = time.time(), [], []


def ask(method, path, wanted, body=None):
    """Return where to go on, over a connection of its own; a body of several pieces is sent as they come."""
    connection = http.client.HTTPSConnection(name, int(port), timeout=60, context=ssl.create_default_context(cafile=ca))
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/octet-stream"}
    if body:
        headers["Transfer-Encoding"] = "chunked"
    try:
        connection.request(method, path, body, headers, encode_chunked=bool(body))
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != wanted:
        raise RuntimeError(f"{method}: {response.status} {content[:200]!r}")
    return response.headers["Location"]


def slowly(pieces):
    """Yield a piece every 100 ms."""
    for piece in pieces:
        yield piece
        time.sleep(0.1)


def upload():
    """Upload a layer of random content."""
    pieces = [os.urandom(1000) for _ in range(40)]
    try:
        location = ask("POST", f"/v2/{repository}/blobs/uploads/", 202)
        location = ask("PATCH", location, 202, slowly(pieces))
        digest = hashlib.sha256(b"".join(pieces)).hexdigest()
        ask("PUT", f"{location}{'&' if '?' in location else '?'}digest=sha256:{digest}", 201)
    except Exception as error:
        failures.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")


while not os.path.exists(f"{file}.stop") and time.time() < begin + 300:
    threads.append(threading.Thread(target=upload))
    threads[-1].start()
    time.sleep(0.3)
for thread in threads:
    thread.join()
with open(f"{file}.new", "w") as new:
    json.dump({"uploads": len(threads), "failures": failures}, new)
os.rename(f"{file}.new", file)
