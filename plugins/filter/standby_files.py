"""The filter standby_files: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.standbys import standby_files

DOCUMENTATION = r"""
name: standby_files
author: Wharf maintainers
short_description: The files that are still to be written where a server and its standbys are connected
description:
  - Compares what M(wharf.registry.registry_standby_info) has found on the server and on its standbys with what
    connects them. There are none while something of it is not known yet.
positional: host, server, uid, ssh_config
options:
  _input:
    description: The server and its standbys, as P(wharf.registry.standby_hosts#filter) returns them.
    type: list
    elements: dict
    required: true
  host: {description: The host that this is about., type: str, required: true}
  server: {description: The registry's server., type: str, required: true}
  uid: {description: The user that the registry runs as., type: int, required: true}
  ssh_config: {description: The text of the server's configuration of SSH., type: str, required: true}
"""

EXAMPLES = r"""
# {{ registry_standby_hosts | wharf.registry.standby_files(inventory_hostname, 'server', 59500, 'Host standby\n') }}
"""

RETURN = r"""
_value: {description: "Files as M(wharf.registry.host_files) takes them.", type: list, elements: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"standby_files": standby_files}
