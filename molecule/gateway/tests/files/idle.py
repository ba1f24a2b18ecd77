"""Opens connections that ask for nothing, and notes after how many seconds the server has closed them.

    idle.py NAME:PORT CA COUNT FILE

A third of them never speaks, a third only ends its TLS handshake, a third sends its header, a byte every second. FILE
gets the longest of each kind as JSON when all have ended, after 60 s at most.
"""

import json
import os
import select
import socket
import ssl
import sys
import time

registry, ca, count, file = sys.argv[1:]
name, _, port = registry.rpartition(":")
context = ssl.create_default_context(cafile=ca)
opened, longest = {}, {}
for number in range(int(count)):
    kind = ("silent", "handshake", "header")[number % 3]
    connection = socket.create_connection((name, int(port)))
    if kind != "silent":
        connection = context.wrap_socket(connection, server_hostname=name)
        connection.settimeout(0)
    opened[connection] = kind, time.monotonic()
while opened and time.monotonic() < max(begin for _, begin in opened.values()) + 60:
    for connection, (kind, begin) in list(opened.items()):
        try:
            if kind == "header":
                connection.send(b"G")
            readable = select.select([connection], [], [], 0)[0]
            ended = bool(readable) and not connection.recv(100)
        except (BlockingIOError, ssl.SSLWantReadError):
            ended = False
        except OSError:
            ended = True
        if ended:
            longest[kind] = max(longest.get(kind, 0), time.monotonic() - begin)
            del opened[connection]
    time.sleep(1)
with open(f"{file}.new", "w") as new:
    json.dump({"longest": longest, "left": len(opened)}, new)
os.rename(f"{file}.new", file)
