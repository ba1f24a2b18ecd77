"""The filter generate_passwords: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.credentials import generate_passwords

DOCUMENTATION = r"""
name: generate_passwords
author: Wharf maintainers
short_description: Generate passwords into files on the controller
description:
  - Writes a random password of letters and digits for each name that has none yet into a file of mode 0600, in a
    directory of mode 0700 that git ignores. The passwords are not returned.
  - P(ansible.builtin.password#lookup) reads the rest of a path behind a space as options, and leaves the directory to
    git.
positional: directory, only_tell, length
options:
  _input: {description: "Whose passwords, the names of the files.", type: list, elements: str, required: true}
  directory: {description: Where the passwords are kept., type: path, required: true}
  only_tell: {description: Whether to write nothing., type: bool, default: false}
  length: {description: "Of each password, in characters.", type: int, default: 32}
"""

EXAMPLES = r"""
# {{ ['ci'] | wharf.registry.generate_passwords('/srv/credentials/users') }} => ["/srv/credentials/users/ci"]
"""

RETURN = r"""
_value: {description: The files., type: list, elements: path}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"generate_passwords": generate_passwords}
