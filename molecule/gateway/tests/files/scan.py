"""Prints the ports of an address that take connections, and what port 5000 answers to a request without a user.

scan.py ADDRESS
"""

import http.client
import socket
import ssl
import sys

for port in (*range(1, 1100), *range(5000, 5100), 6060, 8080, 9090):
    with socket.socket() as attempt:
        attempt.settimeout(2)
        if attempt.connect_ex((sys.argv[1], port)) == 0:
            print(port)
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection(sys.argv[1], 5000, timeout=10, context=context)
connection.request("GET", "/v2/team-a/secret/tags/list")
print(connection.getresponse().status)
