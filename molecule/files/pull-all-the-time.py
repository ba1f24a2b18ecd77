"""Lets the engine pull an image and remove it again, every 200 ms, until a pull was good after /tmp/watch.stop came.

    pull-all-the-time.py REFERENCE

It does what `docker pull` does, with root's login, but starts no program each time, which is most of the work. So is
unpacking a layer: a container that never runs keeps it, from the first pull to the last but one, and what is pulled
then is the manifest and the configuration, a blob.

/tmp/watch.log has the end and the exit code of each pull; /tmp/watch.errors what the engine said; /tmp/watch.done says
that this is the end.
"""

import base64
import contextlib
import http.client
import json
import pathlib
import socket
import sys
import time
import urllib.parse

reference = sys.argv[1]
registry, place = reference.partition("/")[0], urllib.parse.quote(reference, safe="")
KEEPER = "wharf-test-watch"


def ask(method, path, body=None, **headers):
    """Return the answer of the engine."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect("/var/run/docker.sock")
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.sock.close()


def pull():
    """Pull the image; return what went wrong."""
    try:
        login = {}
        config = pathlib.Path("/root/.docker/config.json")
        if config.exists() and (entry := json.loads(config.read_text()).get("auths", {}).get(registry)):
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            login = {"username": user, "password": password, "serveraddress": registry}
        header = base64.urlsafe_b64encode(json.dumps(login).encode()).decode()
        status, answer = ask("POST", f"/images/create?fromImage={place}", **{"X-Registry-Auth": header})
        return answer if status != 200 or '"error":' in answer else ""
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


def tidy(method, path, body=None):
    """Ask the engine for what need not succeed."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(method, path, body)


with open("/tmp/watch.log", "w") as log, open("/tmp/watch.errors", "w") as errors:
    stop = pathlib.Path("/tmp/watch.stop")
    while True:
        last = stop.exists()
        if last:
            tidy("DELETE", f"/containers/{KEEPER}")
        problem, end = pull(), time.time()
        if not last:
            tidy("POST", f"/containers/create?name={KEEPER}", {"Image": reference, "Cmd": ["none"]})
        tidy("DELETE", f"/images/{place}?force=1")
        if problem:
            print(problem, file=errors, flush=True)
        # The test may begin now: with that container, which is then there until it ends.
        print(f"{end:.9f} {int(bool(problem))}", file=log, flush=True)
        if last and not problem:
            break
        time.sleep(0.2)
pathlib.Path("/tmp/watch.done").touch()
