"""A closed network: a registry from a file, its data on a named volume."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import changes, log_in, pull, push, replace_container, snapshot


def test_image_moves(hosts, password, image):
    for name in ("client1", "client2"):
        log_in(hosts[name], password)
    pull(hosts["client2"], image, push(hosts["client1"], image))


def test_container_runs_the_image_of_the_file(hosts):
    assert hosts["server"].check_output("docker inspect --format '{{.Config.Image}}' registry") == "wharf-archive:test"
    assert hosts["server"].check_output("find /var/tmp /tmp -name 'wharf-image*'") == ""


def test_data_on_the_volume_survives_the_container(hosts, ansible, password, image):
    replace_container(hosts, ansible, password, image)
    mounts = hosts["server"].check_output("docker inspect --format '{{range .Mounts}}{{.Name}} {{end}}' registry")
    assert "registry-data" in mounts.split()


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_file_without_an_image_is_refused_before_anything_changes(hosts, ansible, tmp_path: Path, content):
    before = snapshot(hosts["server"])
    archive = tmp_path / "registry.tar"
    if content is not None:
        archive.write_bytes(content)
    result = ansible("site.yml", "-e", f"wharf_registry_image_archive={archive}")
    assert result.returncode != 0
    assert "wharf_registry_image_archive" in result.stdout
    assert snapshot(hosts["server"]) == before


def test_engine_with_the_containerd_image_store_loads_the_archive_once(hosts, ansible, password, image):
    """An image has another id there, and what the engine had before is out of sight: all but the data."""
    log_in(hosts["client1"], password)
    digest = push(hosts["client1"], image)
    hosts["server"].check_output("docker rm --force --volumes registry")
    store = json.dumps({"docker_engine_options": {"features": {"containerd-snapshotter": True}}})
    first = ansible("site.yml", "--limit", "server", "-e", store)
    assert first.returncode == 0, first.stdout
    assert "io.containerd.snapshotter" in hosts["server"].check_output("docker info --format '{{.DriverStatus}}'")
    pull(hosts["client1"], image, digest)
    second = ansible("site.yml", "--limit", "server", "-e", store)
    assert second.returncode == 0, second.stdout
    assert changes(second) == 0, second.stdout


def test_archive_is_still_there_for_the_next_server():
    assert (Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "registry.tar").exists()
