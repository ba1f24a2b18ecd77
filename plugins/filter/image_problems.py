"""The filter image_problems: see DOCUMENTATION."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.plugin_utils.images import image_problems

DOCUMENTATION = r"""
name: image_problems
author: Wharf maintainers
version_added: 1.0.0
short_description: Judge the reference of an image
description:
  - Good is one that is pinned, by a digest or by a tag that is not V(latest).
positional: variable
options:
  _input: {description: The reference., type: raw, required: true}
  variable: {description: "The name of the variable that holds it, for the messages.", type: str, required: true}
"""

EXAMPLES = r"""
problems: "{{ 'registry:latest' | wharf.registry.image_problems('my_image') }}"
# => ["my_image: 'registry:latest' is not pinned, latest is another image tomorrow: use one such as ..."]
"""

RETURN = r"""
_value:
  description: "A line for each problem: the variable, what is wrong, and what would be right."
  type: list
  elements: str
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"image_problems": image_problems}
