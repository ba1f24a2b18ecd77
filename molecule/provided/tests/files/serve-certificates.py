"""Serve an empty registry with each certificate in a directory: serve-certificates.py DIRECTORY.

A certificate is a pair of files PORT.crt and PORT.key; it is served on that port.
"""

from __future__ import annotations

import http.server
import os
import ssl
import sys
import threading
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Has no image."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, body = (200, b"{}") if self.path == "/v2/" else (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


for path in Path(sys.argv[1]).glob("*.crt"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # a server in Go serves what a client may refuse
    context.load_cert_chain(path, path.with_suffix(".key"))
    server = http.server.ThreadingHTTPServer(("", int(path.stem)), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever).start()
Path(sys.argv[1], "pid").write_text(f"{os.getpid()}\n")
