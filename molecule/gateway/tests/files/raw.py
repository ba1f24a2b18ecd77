"""Sends requests over TLS byte for byte as they are given, each over a connection of its own.

    raw.py NAME:PORT CA

Standard input is a JSON list of requests, as text in Latin-1. Prints such a list of what came back, each as [text,
seconds]: all until the server closed the connection, or was silent for 4 s. Whoever sends a request that begins with
"!" does not wait for the answer.
"""

import json
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

registry, ca = sys.argv[1:]
name, _, port = registry.rpartition(":")
context = ssl.create_default_context(cafile=ca)


def send(request):
    begin, answer = time.monotonic(), b""
    with (
        socket.create_connection((name, int(port)), timeout=4) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        try:
            connection.sendall(request.lstrip("!").encode("latin-1"))
            while not request.startswith("!") and (part := connection.recv(65536)):
                answer += part
        except OSError:  # silence, or cut off
            pass
    return answer.decode("latin-1"), time.monotonic() - begin


with ThreadPoolExecutor(32) as pool:
    json.dump(list(pool.map(send, json.load(sys.stdin))), sys.stdout)
