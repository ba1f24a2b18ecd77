"""An air-gapped network: a registry from a file, its data on a named volume."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients import log_in, login, pull, push, replace_container
from machines import PREPARED, broken, engine_put_back, snapshot, wait_until


@pytest.fixture(scope="module", autouse=True)
def _logged_in(hosts, password) -> None:
    for name in ("client1", "client2"):
        log_in(hosts[name], password)


def test_image_moves(hosts, image):
    pull(hosts["client2"], image, push(hosts["client1"], image))


@pytest.mark.parametrize(("name", "image"), [("registry", "registry"), ("registry-gateway", "nginx")])
def test_container_runs_the_image_of_the_file(hosts, name, image):
    found = hosts["server"].check_output(f"docker inspect --format '{{{{.Config.Image}}}}' {name}")
    assert found == f"wharf-archive/{image}:test"
    assert hosts["server"].check_output("find /var/tmp /tmp -name 'wharf-image*'") == ""


def test_data_on_the_volume_survives_the_container(hosts, ansible, image):
    replace_container(hosts["server"], hosts["client1"], hosts["client2"], ansible, image)
    mounts = hosts["server"].check_output("docker inspect --format '{{range .Mounts}}{{.Name}} {{end}}' registry")
    assert "registry-data" in mounts.split()


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_file_without_an_image_is_refused_before_anything_changes(hosts, ansible, tmp_path: Path, content):
    before = snapshot(hosts["server"])
    archive = tmp_path / "images.tar"
    if content is not None:
        archive.write_bytes(content)
    result = ansible.fails("site.yml", wharf_registry_image_archive=str(archive))
    assert "wharf_registry_image_archive" in result.stdout
    assert snapshot(hosts["server"]) == before


def test_file_without_the_gateway_s_image_is_refused_before_anything_changes(hosts, ansible):
    before = snapshot(hosts["server"])
    result = ansible.fails("site.yml", wharf_registry_image_archive=str(PREPARED / "alone.tar"))
    assert (
        "alone.tar' holds no image of the gateway, nginx, only wharf-archive/registry:test: make it with docker save"
        " wharf-archive/registry:test nginx:1.30.5 -o FILE" in result.stdout
    )
    assert snapshot(hosts["server"]) == before


@pytest.mark.thorough
def test_engine_with_the_containerd_image_store_loads_the_archive_once(hosts, ansible, password, image):
    """An image has another id there, and what the engine had before is out of sight: all but the data."""
    server, client = hosts["server"], hosts["client1"]
    digest = push(client, image)
    store = {"docker_engine_options": {"features": {"containerd-snapshotter": True}}}
    # Containers that are stopped start with the engine when it has its other store again.
    names = "registry registry-gateway registry-network"
    stop, remove = f"docker stop {names}", f"docker rm --force --volumes {names}"
    with engine_put_back(server), broken(server, stop, remove):
        ansible.succeeds("site.yml", "--limit", "server", **store)
        assert "io.containerd.snapshotter" in server.check_output("docker info --format '{{.DriverStatus}}'")
        pull(client, image, digest)
        second = ansible.succeeds("site.yml", "--limit", "server", **store)
        assert second.changes == 0, second.stdout
    wait_until(client, login(password))
    pull(client, image, digest)


def test_archive_is_still_there_for_the_next_server():
    assert (PREPARED / "images.tar").exists()
