"""Stands between an engine's socket and who calls it, and lets one call end as the test wants.

    python3 engine-proxy.py fail|hold PATTERN

PATTERN is a regular expression for "METHOD PATH", of which the first call counts. "fail" answers it as an engine that
cannot; "hold" never answers. /run/wharf-test-hit gets the number of the process that called.
"""

import os
import re
import socket
import struct
import sys
import threading

SOCKET, REAL = "/run/docker.sock", "/run/docker-real.sock"
how, pattern = sys.argv[1:]


def pipe(source, target):
    """Copy until the end."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client):
    """Pass one connection on; each call of Wharf's has its own."""
    head = client.recv(65536)
    line = b" ".join(head.split(maxsplit=2)[:2]).decode()
    if re.search(pattern, line) and not os.path.exists("/run/wharf-test-hit"):
        pid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        with open("/run/wharf-test-hit.new", "w") as file:
            file.write(f"{pid}\n")
        os.replace("/run/wharf-test-hit.new", "/run/wharf-test-hit")
        if how == "fail":
            body = b'{"message":"broken by the test"}'
            client.sendall(b"HTTP/1.1 500 Broken\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):  # what is not read when this closes would reset the connection, and the answer
                pass
            client.close()
        return  # held: the connection stays open
    engine = socket.socket(socket.AF_UNIX)
    engine.connect(REAL)
    engine.sendall(head)
    back = threading.Thread(target=pipe, args=(engine, client))
    back.start()
    pipe(client, engine)
    back.join()
    client.close()


held = []
os.rename(SOCKET, REAL)
listener = socket.socket(socket.AF_UNIX)
listener.bind(SOCKET)
os.chmod(SOCKET, 0o660)
listener.listen(16)
while True:
    held.append(listener.accept()[0])
    threading.Thread(target=serve, args=(held[-1],), daemon=True).start()
