# SPDX-License-Identifier: MIT
"""Write the file that tells the engine its proxies."""

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_engine_proxy_text
short_description: The text of the file that tells the engine its proxies
description:
  - Makes a file of variables that systemd (C(EnvironmentFile)) and a shell read alike.
  - Without a proxy the text is empty.
positional: direct
options:
  _input:
    description: The proxies by the name of their variable, such as C(HTTP_PROXY); empty ones are left out.
    type: dict
    required: true
  direct:
    description: Hosts that are reached without the proxies, besides the host itself.
    type: list
    elements: str
    required: true
author:
  - Wharf maintainers
"""

EXAMPLES = r"""
text: "{{ {'HTTP_PROXY': 'http://proxy.example:3128'} | docker_engine_proxy_text(['registry.example']) }}"
# => HTTP_PROXY='http://proxy.example:3128'
#    NO_PROXY='localhost,127.0.0.0/8,::1,registry.example'
"""

RETURN = r"""
_value:
  description: The text, with a comment at its top.
  type: str
"""

ITSELF = ["localhost", "127.0.0.0/8", "::1"]


def docker_engine_proxy_text(proxies: dict[str, str], direct: list[str]) -> str:
    """The file's text; see DOCUMENTATION."""
    variables = {name: url for name, url in proxies.items() if url}
    if not variables:
        return ""
    variables["NO_PROXY"] = ",".join(dict.fromkeys([*ITSELF, *map(str, direct)]))
    lines = [f"{name}='{value}'\n" for name, value in variables.items()]
    return "# Ansible (the role docker_engine) writes this file.\n" + "".join(lines)
