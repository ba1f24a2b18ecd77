"""Print the status of a GET of each path at a host and port, over TLS that is not verified.

statuses.py HOST PORT PATH...
"""

import http.client
import ssl
import sys

host, port, *paths = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for path in paths:
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
    connection.request("GET", path)
    print(connection.getresponse().status)
    connection.close()
