"""What is known of this server's registry, deployed or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import registry
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

DATA = "/var/lib/registry"


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that deploys with these settings, a container with these directories mounted, if any."""

    def deploy(mounts: dict[str, Path], **settings: Any) -> registry.Registry:
        (tmp_path / "registry.json").write_text(json.dumps(settings))
        listed = [{"Source": str(source), "Destination": place} for place, source in mounts.items()]
        monkeypatch.setattr(registry, "SETTINGS", tmp_path / "registry.json")
        monkeypatch.setattr(registry, "CONFIGURATION", tmp_path)
        config = {"Env": ["REGISTRY_HTTP_ADDR=/wharf/sockets/a.sock"]}
        found = {"Mounts": listed, "Config": config} if listed else None
        monkeypatch.setattr(registry.data, "container", lambda _: found)
        return registry.Registry()

    return deploy


def test_data_is_where_the_container_has_it_mounted(tmp_path, deployed):
    assert deployed({DATA: tmp_path}, root=f"{DATA}/deep").path == tmp_path / "deep"


def test_data_without_a_container_is_where_it_was_deployed_last(tmp_path, deployed):
    place = tmp_path / 'with spaces, " and \\'
    place.mkdir()
    (tmp_path / "data").write_text(f"aa {place}\n")
    here = deployed({})
    assert (here.data_id, here.place) == ("aa", str(place))
    assert here.path == place


def test_configuration_is_where_the_container_has_it_mounted(tmp_path, deployed):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/data").write_text("bb /srv\n")
    here = deployed({"/wharf/config": tmp_path / "other"})
    assert (here.data_id, here.place) == ("bb", "/srv")


def test_server_without_a_registry_says_so(deployed):
    with pytest.raises(WharfError, match="there is no registry here: neither the container other nor its data"):
        _ = deployed({}, container="other").path


def test_root_of_an_object_store_is_no_directory_here(tmp_path, deployed):
    assert deployed({}, driver="s3", root="/prefix").storage_in(tmp_path) == tmp_path


def test_registry_that_was_never_deployed_has_the_defaults(tmp_path, deployed):
    deployed({})
    (tmp_path / "registry.json").unlink()
    here = registry.Registry(must_exist=False)
    assert (here.container, here.storage_in(tmp_path)) == ("registry", tmp_path)
    with pytest.raises(WharfError, match="registry.json is missing: run playbooks/deploy-registry.yml"):
        registry.Registry.in_files()


@pytest.mark.parametrize(
    ("mounted", "settings", "message"),
    [
        (
            DATA,
            {"driver": "s3", "root": "/prefix"},
            "the images are in s3: only what lies in a file system, or in a bucket by wharf_reg",
        ),
        ("", {}, "there is no container registry: run playbooks/deploy-registry.yml"),
        ("/elsewhere", {}, f"the container registry has no data of its own at {DATA}"),
        (DATA, {"root": "/srv"}, "the container registry has no data of its own at /srv"),
    ],
)
def test_images_that_cannot_be_read_here_are_refused(tmp_path, deployed, mounted, settings, message):
    deployed({mounted: tmp_path} if mounted else {}, **settings)
    with pytest.raises(WharfError, match=message):
        registry.Registry.in_files()


def test_images_in_a_bucket_can_be_read_and_are_no_files(tmp_path, deployed):
    s3 = {"region": "r", "endpoint": "", "bucket": "images", "root": "", "ca": ""}
    here = deployed({DATA: tmp_path}, driver="s3", root="", s3=s3, servers=["a", "b"], server="b")
    assert registry.Registry.readable().storage.rclone.place == "images"
    assert (here.servers, here.server) == (["a", "b"], "b")
    with pytest.raises(WharfError, match="the images are in the bucket images, and no files here"):
        registry.Registry.in_files()


def test_it_is_asked_past_the_gateway_in_its_slot(tmp_path, deployed, monkeypatch):
    asked = []
    monkeypatch.setattr(registry.gateway, "direct", asked.append)
    here = deployed({DATA: tmp_path}, container="reg")
    here.client()
    here.client("reads")
    assert asked == ["a", "reads"]
    assert here.stand_ins == {"reads": "reg-reads", "writes": "reg-writes"}
    switched = []
    monkeypatch.setattr(registry.gateway, "switch", lambda *words: switched.append(words))
    here.pass_requests_to("reads", "writes")
    assert switched == [("reg", "/etc/wharf/gateway", 59500, "reads", "writes")]


def test_nothing_begins_after_a_deployment_that_was_cut_off(tmp_path, deployed, monkeypatch):
    here = deployed({DATA: tmp_path})
    monkeypatch.setattr(registry.Registry, "status", lambda _: "running")
    monkeypatch.setattr(registry, "SPARE", 0)
    monkeypatch.setattr(registry.server_rollback, "RECORD", str(tmp_path / "before.json"))
    here.preflight()
    (tmp_path / "before.json").write_text('{"name": "", "containers": {}, "files": {}}')  # a certificate alone
    here.preflight()
    (tmp_path / "before.json").write_text('{"name": "registry", "containers": {}, "files": {}}')
    with pytest.raises(WharfError, match="a deployment was cut off: .* try again"):
        here.preflight()


@pytest.mark.parametrize(
    ("settings", "remembers", "caches"),
    [
        ({"caches": True}, True, {}),  # written before there were pull-through caches
        ({"caches": False}, False, {}),
        ({"descriptor_cache": True, "caches": {"data": "/d", "upstreams": []}}, True, {"data": "/d", "upstreams": []}),
        ({}, False, {}),
    ],
)
def test_pull_through_caches_are_not_taken_for_what_the_registry_remembers(deployed, settings, remembers, caches):
    here = deployed({}, **settings)
    assert (here.descriptor_cache, here.caches) == (remembers, caches)


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ('{"source": "aa", "server": "server1", "at": 1795967000, "tags": 2, "interval": 60}', 1795967000),
        ('{"at": 1795967000, "interval": "soon"}', 1795967000),
        *(("", 0), ("{", 0), ("[]", 0), ("{}", 0), ('{"at": "now"}', 0), ('{"at": 1e999}', 0), ('{"at": -1}', 0)),
        ("[" * 100000, 0),
    ],
)
def test_a_standby_knows_as_of_when_it_is_a_copy(tmp_path, deployed, text, copied):
    here = deployed({DATA: tmp_path}, standby_of="server1")
    assert here.copied() == (0, 0)
    (tmp_path / ".wharf-copied.json").write_text(text)
    assert here.copied() == (copied, 60 if "60" in text.partition("interval")[2] else 0)


def test_a_link_in_the_place_of_what_was_copied_last_is_not_followed(tmp_path, deployed):
    here = deployed({DATA: tmp_path})
    (tmp_path / "elsewhere").write_text('{"at": 1795967000}')
    (tmp_path / ".wharf-copied.json").symlink_to("elsewhere")
    assert here.copied() == (0, 0)


def test_what_is_the_server_s_business_is_refused_on_a_standby(deployed):
    deployed({}).require_server("back-up")
    with pytest.raises(WharfError, match="this is a standby of server1, .*: run `wharf back-up` there, or promote"):
        deployed({}, standby_of="server1").require_server("back-up")
