"""Where this server's registry is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import server
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError


def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: dict[str, Path], **settings: Any) -> server.Server:
    """Return the server with these settings, and a container that has these directories mounted, if any."""
    (tmp_path / "registry.json").write_text(json.dumps(settings))
    listed = [{"Source": str(source), "Destination": place} for place, source in mounts.items()]
    monkeypatch.setattr(server, "SETTINGS", tmp_path / "registry.json")
    monkeypatch.setattr(server, "CONFIGURATION", tmp_path)
    monkeypatch.setattr(server, "container", lambda name: {"Mounts": listed} if listed else None)
    return server.Server()


def test_data_is_where_the_container_has_it_mounted(tmp_path, monkeypatch):
    here = found(tmp_path, monkeypatch, {"/var/lib/registry": tmp_path}, root="/var/lib/registry/deep")
    assert here.data() == tmp_path / "deep"


def test_data_without_a_container_is_where_it_was_deployed_last(tmp_path, monkeypatch):
    place = tmp_path / 'with spaces, " and \\'
    place.mkdir()
    (tmp_path / "data").write_text(f"aa {place}\n")
    here = found(tmp_path, monkeypatch, {})
    assert here.recorded() == ("aa", str(place))
    assert here.data() == place


def test_configuration_is_where_the_container_has_it_mounted(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/data").write_text("bb /srv\n")
    here = found(tmp_path, monkeypatch, {"/wharf/config": tmp_path / "other"})
    assert here.recorded() == ("bb", "/srv")


def test_server_without_a_registry_says_so(tmp_path, monkeypatch):
    with pytest.raises(WharfError, match="there is no registry here: neither the container other nor its data"):
        found(tmp_path, monkeypatch, {}, container="other").data()


def test_root_of_an_object_store_is_no_directory_here(tmp_path, monkeypatch):
    assert str(found(tmp_path, monkeypatch, {}, driver="s3", root="/prefix").root) == "."
