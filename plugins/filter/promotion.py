"""The filter promotion: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.standbys import promotion

DOCUMENTATION = r"""
name: promotion
author: Wharf maintainers
short_description: Whether a standby can become the server, and with what
description:
  - Tells as of when it has the images of the server until now, and which host that is.
positional: new, answers, force
options:
  _input:
    description: What the module registry_standby_info has found, by host, of the new server and of all standbys.
    type: dict
    required: true
  new: {description: The host that is to be the server., type: str, required: true}
  answers: {description: "Whether the old server, which is none of these, answers.", type: bool, default: false}
  force: {description: Whether that does not matter., type: bool, default: false}
"""

EXAMPLES = r"""
# {{ {'beta': info} | wharf.registry.promotion('beta') }}
"""

RETURN = r"""
_value: {description: "C(problem), empty for none; C(line) for people; C(old), the server until now.", type: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"promotion": promotion}
