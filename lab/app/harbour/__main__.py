"""Serves the page and the files that it uses, on port 8080."""

import http.server
import pathlib

from harbour import page

ROOT = pathlib.Path(__file__).parent.parent
PORT = 8080


class Handler(http.server.SimpleHTTPRequestHandler):
    """The page at /, the files of static/ under their names, nothing else."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, directory=ROOT / "static", **kwargs)

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        body = page.render(ROOT).encode()
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", PORT), Handler).serve_forever()
