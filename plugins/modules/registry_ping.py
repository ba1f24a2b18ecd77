#!/usr/bin/python
"""Ask a registry whether it is there, as a client would."""

from __future__ import annotations

DOCUMENTATION = """
module: registry_ping
short_description: Ask a registry on this host whether it answers, as a client would
description:
  - Connects to the registry on this host, and proves its certificate against the CA under the name that clients use.
    C(ansible.builtin.uri) cannot connect to one address and prove another name, and the server itself need not
    resolve the registry's name.
  - Changes nothing; runs in check mode as well.
options:
  name:
    description: Name or address that clients use; the certificate must match it.
    type: str
    required: true
  port:
    description: TCP port.
    type: int
    required: true
  ca:
    description: Path of the CA certificates in PEM; without it plain HTTP is spoken.
    type: path
  host:
    description: Address to connect to.
    type: str
    default: 127.0.0.1
  timeout:
    description: How long to go on asking, in seconds.
    type: int
    default: 30
author: [Wharf maintainers]
"""

EXAMPLES = """
- name: Ask the registry
  registry_ping:
    name: registry.example.com
    port: 5000
    ca: /etc/wharf/tls/ca.crt
"""

RETURN = """
status:
  description: The HTTP status of C(/v2/); 401 where the registry asks for a user.
  returned: success
  type: int
"""

import http.client
import socket
import ssl
import time

from ansible.module_utils.basic import AnsibleModule


def ask(name: str, port: int, ca: str | None, host: str) -> int:
    """Get /v2/ once.

    Returns:
        The HTTP status, 200 or 401.

    Raises:
        OSError: nothing answers, or the certificate does not prove the name (ssl.SSLError is an OSError).
        ValueError: something answers that is no registry.
    """
    raw = socket.create_connection((host, port), timeout=5)
    try:
        if ca:
            raw = ssl.create_default_context(cafile=ca).wrap_socket(raw, server_hostname=name)
        connection = http.client.HTTPConnection(name, port, timeout=5)
        connection.sock = raw
        connection.request("GET", "/v2/")
        response = connection.getresponse()
    except http.client.HTTPException as error:
        raise ValueError(f"what answers does not speak HTTP ({type(error).__name__})") from error
    finally:
        raw.close()
    # The header that the registry API prescribes for just this question.
    if response.getheader("Docker-Distribution-Api-Version") != "registry/2.0" or response.status not in (200, 401):
        raise ValueError(f"what answers is not a registry, or not a healthy one: HTTP status {response.status}")
    return response.status


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "ca": {"type": "path"},
            "host": {"type": "str", "default": "127.0.0.1"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    p = module.params
    deadline = time.monotonic() + p["timeout"]
    while True:
        try:
            module.exit_json(changed=False, status=ask(p["name"], p["port"], p["ca"], p["host"]))
        except (OSError, ValueError) as error:
            # Waiting does not make a certificate right.
            if time.monotonic() > deadline or isinstance(error, ssl.SSLCertVerificationError):
                module.fail_json(msg=f"the registry does not answer as {p['name']}:{p['port']}: {error}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
