"""The filter provided_certificate: see DOCUMENTATION."""

from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import provided_certificate

DOCUMENTATION = r"""
name: provided_certificate
author: Wharf maintainers
short_description: Read and judge a certificate that others provide
description:
  - Reads certificate, key and CA, judges whether clients will accept them, and returns what the module
    M(wharf.registry.registry_certificate) installs.
positional: name, aliases
options:
  _input:
    description:
      - The keys V(certificate), V(key) and V(ca), each PEM text or the absolute path of a file on the controller. The
        certificate is the server's own, followed by its intermediates.
    type: dict
    required: true
  name: {description: The name or address under which clients reach the registry., type: str, required: true}
  aliases: {description: Further names and addresses., type: list, elements: str, default: []}
"""

EXAMPLES = r"""
# {{ {'certificate': '/srv/registry.pem', 'key': vault_registry_key, 'ca': '/srv/company-ca.pem'}
#    | wharf.registry.provided_certificate('registry.example.org') }}
"""

RETURN = r"""
_value: {description: The arguments V(key) and V(provided) of the module. What cannot be read is empty., type: dict}
"""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, object]:
        return {"provided_certificate": provided_certificate}
