"""Deletes a manifest as an admin: delete.py REGISTRY CA REPOSITORY DIGEST, with USER:PASSWORD on standard input."""

import base64
import ssl
import sys
import urllib.request

registry, ca, repository, digest = sys.argv[1:]
login = base64.b64encode(sys.stdin.read().strip().encode()).decode()
request = urllib.request.Request(f"https://{registry}/v2/{repository}/manifests/{digest}", method="DELETE")
request.add_header("Authorization", f"Basic {login}")
urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ca))
