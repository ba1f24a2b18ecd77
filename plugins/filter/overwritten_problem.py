"""The filter overwritten_problem: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.standbys import overwritten_problem

DOCUMENTATION = r"""
name: overwritten_problem
author: Wharf maintainers
short_description: Why a host with images of its own is not made a standby in silence
description:
  - Names up to a hundred of its images that the server lacks, or has with another digest.
positional: kept, host, server
options:
  _input: {description: "The host's images, digests by REPOSITORY:TAG.", type: dict, required: true}
  kept: {description: "Those of the server.", type: dict, required: true}
  host: {description: The host., type: str, required: true}
  server: {description: The registry's server., type: str, required: true}
"""

EXAMPLES = r"""
# {{ {'team/app:1': 'sha256:5f...'} | wharf.registry.overwritten_problem({}, 'standby', 'server') }}
"""

RETURN = r"""
_value: {description: One line; empty where the server has all its images., type: str}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"overwritten_problem": overwritten_problem}
