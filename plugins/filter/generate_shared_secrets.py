"""The filter generate_shared_secrets: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.stores import generate_shared_secrets

DOCUMENTATION = r"""
name: generate_shared_secrets
author: Wharf maintainers
short_description: Generate on the controller what all servers on one store have alike
description:
  - Writes the secret that signs the state of uploads, and the key and certificate by which the servers know each other,
    into files of mode 0600, in a directory of mode 0700 that git ignores. They are not returned. Nothing is written
    where all of them are there, and it is an error where only some are.
positional: only_tell
options:
  _input: {description: Where they are kept., type: path, required: true}
  only_tell: {description: Whether to write nothing., type: bool, default: false}
"""

EXAMPLES = r"""
# {{ '/srv/credentials/registry' | wharf.registry.generate_shared_secrets }} => the three files
"""

RETURN = r"""
_value: {description: The files that are new., type: list, elements: path}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"generate_shared_secrets": generate_shared_secrets}
