"""Print the registry's figures, as Prometheus on this host gets them: URL USER."""

import base64
import ssl
import sys
import urllib.request

url, user = sys.argv[1:]
with open("/etc/prometheus/wharf-password") as file:
    token = base64.b64encode(f"{user}:{file.read().strip()}".encode()).decode()
request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})
context = ssl.create_default_context(cafile="/etc/prometheus/wharf-ca.crt")
with urllib.request.urlopen(request, context=context) as answer:
    print(answer.read().decode(), end="")
