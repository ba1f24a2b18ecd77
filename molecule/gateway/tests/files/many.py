"""Begins many pushes at once, each over a connection of its own, that send one byte of their body and no more.

    many.py NAME:PORT CA LOGIN COUNT FILE

LOGIN is a header. FILE.ready (without .json) is there when all have begun. FILE gets as JSON
how many were taken, how many are open after 60 s, and the longest time that one was.
"""

import json
import os
import socket
import ssl
import sys
import time

registry, ca, login, count, file = sys.argv[1:]
name, _, port = registry.rpartition(":")
context = ssl.create_default_context(cafile=ca)
head = f"PUT /v2/lib/open/manifests/idle HTTP/1.1\r\nHost: {registry}\r\n{login}\r\nContent-Length: 100\r\n\r\n{{"
begin, opened, refused, longest = time.monotonic(), {}, 0, 0.0


def look(connection):
    """Note what has come, and whether the connection has ended."""
    global refused, longest
    try:
        answer = connection.recv(1000)
    except (BlockingIOError, ssl.SSLWantReadError):
        return
    except OSError:
        answer = b""
    if b" 429 " in answer:
        refused += 1
    longest = max(longest, time.monotonic() - opened.pop(connection))


for _ in range(int(count)):
    connection = context.wrap_socket(socket.create_connection((name, int(port))), server_hostname=name)
    connection.sendall(head.encode())
    connection.settimeout(0)
    opened[connection] = time.monotonic()
time.sleep(0.5)
for connection in list(opened):
    look(connection)
open(file.replace(".json", ".ready"), "w").close()
while opened and time.monotonic() < begin + 60:
    for connection in list(opened):
        look(connection)
    time.sleep(0.2)
with open(f"{file}.new", "w") as new:
    json.dump({"taken": int(count) - refused, "left": len(opened), "longest": longest}, new)
os.rename(f"{file}.new", file)
