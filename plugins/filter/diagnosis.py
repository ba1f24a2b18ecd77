"""The filter diagnosis: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.diagnosis import diagnosis

DOCUMENTATION = r"""
name: diagnosis
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge what was found on a registry's servers and clients
description:
  - Says for each host what is wrong and what to do. What the servers tell decides between the cause of a failure and
    its effect.
positional: clients, settings
options:
  _input:
    description:
      - The names of the server and its standbys, in this order, each with the registered result of
        M(wharf.registry.registry_server_diagnosis).
    type: dict
    required: true
  clients:
    description: The clients' names, each with the registered result of M(wharf.registry.registry_diagnosis).
    type: dict
    required: true
  settings:
    description:
      - The registry's C(name), C(port), C(trust), C(address) (empty where it is not set) and C(container), and
        C(standbys), their names.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ {'server1': server_result} | wharf.registry.diagnosis({'client1': client_result}, settings) }}"
"""

RETURN = r"""
_value:
  description:
    - C(verdicts), by host, servers first, the C(code), the texts C(short), C(what) and C(do), all of it as one C(line),
      C(broken) (whether it fails the run) and C(warnings).
    - C(table), the verdicts and warnings as lines for people, and C(broken), the names of the hosts where something is.
  type: dict
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"diagnosis": diagnosis}
