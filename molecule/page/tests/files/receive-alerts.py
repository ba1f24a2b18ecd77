"""Write the alerts that an Alertmanager sends into a file, one a line: PORT FILE."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

port, path = sys.argv[1:]


class Receiver(BaseHTTPRequestHandler):
    """Takes what an Alertmanager sends."""

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(path, "a") as file:
            file.writelines(json.dumps(alert) + "\n" for alert in message["alerts"])
        self.send_response(200)
        self.end_headers()


open(path, "w").close()
HTTPServer(("127.0.0.1", int(port)), Receiver).serve_forever()
