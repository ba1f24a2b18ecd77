"""The filter docker_engine_proxies: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.engine_variables import docker_engine_proxies

DOCUMENTATION = r"""
name: docker_engine_proxies
author: Wharf maintainers
version_added: 1.0.0
short_description: The text of the file that hands the proxies to the engine
description: Makes a file of variables that systemd (C(EnvironmentFile)) and a shell read alike.
options:
  _input:
    description:
      - Variables of the role docker_engine by name. C(docker_engine_http_proxy), C(docker_engine_https_proxy),
        C(docker_engine_no_proxy) and C(docker_engine_no_proxy_extra) are read.
    type: dict
    required: true
"""

EXAMPLES = r"""
content: "{{ {'docker_engine_http_proxy': 'http://proxy.example:3128'} | wharf.registry.docker_engine_proxies }}"
# => HTTP_PROXY='http://proxy.example:3128'
#    NO_PROXY='localhost,127.0.0.0/8,::1'
"""

RETURN = r"""
_value:
  description: The text, with a comment at its top; empty without a proxy.
  type: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"docker_engine_proxies": docker_engine_proxies}
