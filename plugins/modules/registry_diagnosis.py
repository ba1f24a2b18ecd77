#!/usr/bin/python
"""Ansible module: find the first broken link between a host and a registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_diagnosis
short_description: Find the first broken link between this host and a registry
description:
  - Tries the links of a pull in their order, and stops at the first that is broken. Each is tried with what the host
    really uses - its resolver, the CA certificates that its container tools read, and finally the Docker engine and the
    other tools themselves, which ask the registry with their own trust, proxies and policies, each in its users' login.
  - Changes nothing. An engine that does not run stays so, because not even its socket is touched, which could start it.
    Podman may leave what it makes for every user who calls it, directories and its pause process.
  - Without a Docker engine on the host its links are skipped, and the CA certificates are those of podman, containerd
    and the system.
options:
  name: {description: Name or address in image references., type: str, required: true}
  port: {description: TCP port in image references., type: int, required: true}
  tls: {description: Whether the registry should speak TLS., type: bool, default: true}
  users:
    description: Users that the registry must accept; none when it asks for no password. One without a password is a
      finding.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The user's name., type: str, required: true}
      password: {description: The user's password., type: str, default: ""}
  logins:
    description: System users of this host who should be logged in to the registry.
    type: list
    elements: str
    default: []
  tools:
    description: The tools of this host that should get through, as M(wharf.registry.registry_client) takes them. Each
      is asked as root and as the users of O(logins) use it.
    type: list
    elements: str
    choices: [auto, docker, podman, buildah, skopeo, containerd]
    default: [auto]
  ca:
    description: The CA certificates of the registry's server in PEM, to tell which side is wrong when the certificate
      does not verify.
    type: str
    default: ""
  contents: {description: Whether to compare an image with its digests., type: bool, default: false}
  image:
    description: The image to compare, by tag or digest, whatever its size. Without it the first image of the catalogue
      is taken, and of that not more than 64 MiB.
    type: str
    default: ""
  timeout: {description: "How long to wait for a connection or a response, in seconds.", type: int, default: 5}
attributes:
  check_mode: {support: full}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.registry_diagnosis:
    name: registry.example.com
    port: 5000
    users: [{name: ci, password: "{{ password }}"}]
"""

RETURN = r"""
code:
  description: What is broken, a key of C(plugin_utils/verdicts.yml); V(ok) when nothing is.
  type: str
  returned: success
details: {description: What the texts of the verdict name., type: dict, returned: success}
warnings_found:
  description: What is wrong but breaks no link yet, a list of C(code) and C(details).
  type: list
  elements: dict
  returned: success
addresses: {description: What the name resolves to here., type: list, elements: str, returned: success}
source: {description: The address from which this host reaches the registry., type: str, returned: success}
certificate: {description: The certificate in PEM that is served; empty for none., type: str, returned: success}
clock:
  description: This host's clock, in seconds since 1970.
  type: float
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils.client_links import Links
from ansible_collections.wharf.registry.plugins.module_utils.client_trust import TOOLS

USER = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "default": "", "no_log": True},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "tls": {"type": "bool", "default": True},
            "users": {"type": "list", "elements": "dict", "default": [], "options": USER},
            "logins": {"type": "list", "elements": "str", "default": []},
            "tools": {"type": "list", "elements": "str", "choices": ["auto", *TOOLS], "default": ["auto"]},
            "ca": {"type": "str", "default": ""},
            "contents": {"type": "bool", "default": False},
            "image": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    module.exit_json(**Links(module).walk())


if __name__ == "__main__":
    main()
