"""What counts as another registry when one is removed."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.modules.other_registries_info import without

OWN = [
    "/etc/docker/certs.d/reg.test:5000/wharf-ca.crt",
    "/etc/containers/certs.d/reg.test:5000/wharf-ca.crt",
    "/etc/containerd/certs.d/reg.test:5000/wharf-ca.crt",
    "/etc/containers/registries.conf.d/wharf-reg.test_5000.conf",
    "registry_client reg.test:5000 in daemon.json",
    "registry_client reg.test:5000, caches in daemon.json",
    "container registry",
    "container registry-gateway",
    "container registry-network",
    "container registry-gateway-before",
    "container registry-reads",
    "container registry-cache-docker.io",
    "container registry-caches",
]
OTHERS = [line.replace("reg.test", "my-reg.test") for line in OWN[:5]] + ["container registry-b"]


def test_what_the_registry_itself_has_is_left_out() -> None:
    assert without([*OWN, *OTHERS], ["reg.test:5000"], "registry") == OTHERS


@pytest.mark.parametrize("what", ["another name", "the caches"])
def test_files_of_an_alias_and_of_caches_belong_to_their_registry(tmp_path, what: str) -> None:
    (path := tmp_path / "wharf-ca.crt").write_text(f"# Wharf: {what} of reg.test:5000\nCA")
    assert without([str(path)], ["reg.test:5000"], "") == []
    assert without([str(path)], ["other.test:5000"], "") == [str(path)]


@pytest.mark.parametrize("line", OWN)
def test_what_has_another_port_or_is_no_server_of_this_registry_counts(line: str) -> None:
    assert without([line], ["reg.test:5001"], "") == [line]
