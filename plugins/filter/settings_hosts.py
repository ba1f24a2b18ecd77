"""The filter settings_hosts: see DOCUMENTATION."""

from collections.abc import Mapping, Sequence

from ansible import context
from ansible.errors import AnsibleFilterError

# Whatever is imported here is there before Ansible forks its workers, because a play's hosts are templated before.
# Otherwise each worker would import it for each task: a run without changes took a third longer.
from ansible_collections.wharf.registry.plugins.plugin_utils import deployment  # noqa: F401
from ansible_collections.wharf.registry.plugins.plugin_utils.variable_files import file_faults

DOCUMENTATION = r"""
name: settings_hosts
author: Wharf maintainers
short_description: The pattern of the hosts whose settings are judged
description:
  - The servers, standbys and clients of the registry. With C(--limit), which may leave out all of them, every host;
    where the inventory has none, C(localhost), so that somebody says so.
  - Fails where a file of variables beside the inventory is no YAML, or has a key twice. This is looked at here, because
    Ansible reads the files next, and names none of them when it fails.
positional: limit
options:
  _input: {description: The variable C(groups)., type: dict, required: true}
  limit: {description: The variable C(ansible_limit)., type: str, default: ""}
"""

EXAMPLES = r"""
# hosts: "{{ groups | wharf.registry.settings_hosts(ansible_limit | default('')) }}"
"""

RETURN = r"""
_value: {description: A pattern for a play's C(hosts)., type: str}
"""


def settings_hosts(groups: Mapping[str, Sequence[str]], limit: str = "") -> str:
    """Return the pattern of the hosts whose settings are judged.

    Raises:
        AnsibleFilterError: files of variables cannot be read as they are meant.
    """
    if faults := file_faults(context.CLIARGS.get("inventory") or (), groups):
        raise AnsibleFilterError(
            "\n".join(["Nothing was changed, because files of variables cannot be read:", *faults])
        )
    if groups.get("registry_servers") and not limit:
        standbys = ":registry_standbys" if groups.get("registry_standbys") else ""  # Ansible warns of an unknown group
        return f"registry_servers{standbys}:registry_clients"
    return "all" if groups.get("all") else "localhost"


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"settings_hosts": settings_hosts}
