"""What is said to stay when a registry goes."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import removal

OWN = [
    "/etc/docker/certs.d/reg.test:5000/wharf-ca.crt",
    "/etc/containers/certs.d/reg.test:5000/wharf-ca.crt",
    "/etc/containerd/certs.d/reg.test:5000/wharf-ca.crt",
    "/etc/containers/registries.conf.d/wharf-reg.test_5000.conf",
    '"registry_client reg.test:5000"',
    "container registry",
]
OTHERS = [line.replace("reg.test", "my-reg.test") for line in OWN[:-1]] + ["container registry-b"]


def test_what_the_registry_itself_has_is_left_out():
    assert removal.wharf_other_registries([*OWN, *OTHERS], ["reg.test:5000"], "registry") == OTHERS


@pytest.mark.parametrize("line", OWN)
def test_what_has_another_port_or_is_no_server_of_this_registry_counts(line):
    assert removal.wharf_other_registries([line], ["reg.test:5001"], "") == [line]
