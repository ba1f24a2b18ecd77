"""What copy-images, export-images and import-images refuse, plan and show."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import copies, settings
from tests.unit.issued import Issued

REGISTRY = "registry.example.com:5000"
DIGEST = "sha256:" + "a" * 64


def planned(*items: object, **settings: object) -> dict[str, object]:
    """Return the plan for a list of copies."""
    known = {"registry": REGISTRY, "server": "server", "clients": ["one"]}
    return copies.copies_plan(list(items), **(known | settings))


def problems(*items: object, **settings: object) -> list[str]:
    """Return what is wrong with a list of copies."""
    return planned(*items, **settings)["problems"]


def test_copies_that_no_user_may_push_are_refused() -> None:
    known = {"users": [{"name": "ci"}], "rules": [{"repositories": "app", "read": ["ci"]}]}
    item = {"from": "quay.example.com/app:1"}
    assert problems(item) == []
    (line,) = problems(item, **known)
    assert line.startswith("wharf_registry_rules: no user may push to app: make one of wharf_registry_users an admin")
    assert problems({**item, "to": "other:1"}, **known) == []


def plan(**item: str) -> dict[str, str]:
    """Return what there is to do for an item that is good."""
    found = planned(item)
    assert found["problems"] == []
    (host,) = found["hosts"]
    assert (host["host"], host["engine"]) == (("one", True) if "engine" in item else ("server", False))
    (image,) = host["images"]
    return image


def archive(path: Path, files: dict[str, object]) -> str:
    """Write a tar archive of files; content that is not bytes becomes JSON."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """Return a file as docker save writes it, of two images."""
    entries = [{"Config": f"{n}.json", "RepoTags": [f"team/app:{n}"], "Layers": []} for n in (1, 2)]
    return archive(tmp_path / "saved.tar", {"manifest.json": entries, "1.json": b"one", "2.json": b"two"})


def oci(path: Path, *names: str) -> str:
    """Write an OCI archive of images with these names."""
    entries = [
        {"digest": DIGEST, "size": 2, "annotations": {"org.opencontainers.image.ref.name": name} if name else {}}
        for name in names
    ]
    return archive(path, {"index.json": {"manifests": entries}, f"blobs/{DIGEST.replace(':', '/')}": b"{}"})


@pytest.mark.parametrize(
    ("source", "to", "skopeo", "image"),
    [
        ("quay.example.com/team/app:1.4", None, "docker://quay.example.com/team/app:1.4", "team/app:1.4"),
        ("docker://quay.example.com/team/app:1.4", None, "docker://quay.example.com/team/app:1.4", "team/app:1.4"),
        ("localhost/app:1", "other:2", "docker://localhost/app:1", "other:2"),
        ("[::1]:5000/app:1", None, "docker://[::1]:5000/app:1", "app:1"),
        (f"quay.example.com/app:1@{DIGEST}", None, f"docker://quay.example.com/app@{DIGEST}", "app:1"),
        (f"quay.example.com/app@{DIGEST}", "app:x", f"docker://quay.example.com/app@{DIGEST}", "app:x"),
    ],
)
def test_image_of_another_registry(source, to, skopeo, image):
    done = plan(**({"from": source} | ({"to": to} if to else {})))
    assert (done["source"], done["image"]) == (skopeo, image)
    assert done["digest"] == (DIGEST if "@" in source else "")


def test_image_of_an_engine_keeps_its_path_and_loses_its_registry():
    assert plan(**{"from": "team/app:1", "engine": "one"})["image"] == "team/app:1"
    done = plan(**{"from": "old.example.com:5000/team/app:1", "engine": "one"})
    assert (done["source"], done["image"]) == ("engine:old.example.com:5000/team/app:1", "team/app:1")


def test_archive_of_docker_save(saved):
    done = plan(**{"from": saved, "image": "team/app:2"})
    assert done["source"] == "docker-archive:FILE:@1"
    assert done["digest"] == "sha256:" + hashlib.sha256(b"two").hexdigest()
    assert (done["image"], done["archive"]) == ("team/app:2", saved)


def test_archive_of_one_image_needs_no_name(tmp_path):
    files = {"manifest.json": [{"Config": "1.json", "RepoTags": None, "Layers": []}], "1.json": b"one"}
    unnamed = archive(tmp_path / "unnamed.tar", files)
    done = plan(**{"from": unnamed, "to": "team/app:1"})
    assert (done["source"], done["image"]) == ("docker-archive:FILE", "team/app:1")
    assert "to is missing" in problems({"from": unnamed})[0]
    assert "it has none with a name" in problems({"from": unnamed, "image": "x:1"})[0]


def test_oci_archive(tmp_path):
    done = plan(**{"from": oci(tmp_path / "one.tar", "team/app:1")})
    assert (done["source"], done["digest"], done["image"]) == ("oci-archive", DIGEST, "team/app:1")
    done = plan(**{"from": oci(tmp_path / "two.tar", "1", "2"), "image": "2", "to": "app:2"})
    assert (done["source"], done["image"]) == ("oci-archive", "app:2")
    without_a_name = {"from": oci(tmp_path / "bare.tar", "")}
    assert "to is missing" in problems(without_a_name)[0]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"from": 7}, "from: '7' names no registry"),
        ({"from": ["quay.example.com/app:1"]}, "is not an image reference"),
        ({"from": ""}, "from: '' is not an image reference"),
        ({"from": "quay.example.com/app:1", "to": ""}, "to: '' is not an image's name"),
        ({"from": "quay.example.com/app:1", "engine": ""}, "engine: '' is not a host"),
        ({"from": "quay.example.com/app:"}, "is not an image reference: use one such as"),
        ({"from": "docker:/app"}, "a scheme that is not known"),
        ({"from": "~/nowhere.tar"}, "nowhere.tar' on the controller"),
        ({"from": f"app:1@{DIGEST}", "engine": "one"}, "has a digest"),
        ({"from": "quay.example.com/app:1", "to": "team//app"}, "is not an image's name"),
        ({"from": "app:1"}, "names no registry"),
        ({"from": "team/app:1"}, "names no registry"),
        ({"from": "quay.example.com/app"}, "neither tag nor digest"),
        ({"from": "quay.example.com/App:1"}, "upper case"),
        ({"from": "https://quay.example.com/app:1"}, "a scheme that is not known"),
        ({"from": "docker-archive:/srv/app.tar"}, "a scheme that is not known"),
        ({"from": "quay.example.com/app@sha256:12"}, "after the @"),
        ({"from": "quay.example.com/app:1", "image": "x:1"}, "is for archives"),
        ({"from": f"quay.example.com/app@{DIGEST}"}, "to is missing"),
        ({"from": "quay.example.com/app:1", "to": f"{REGISTRY}/team/app:1"}, "leave it out, use 'team/app:1'"),
        ({"from": "quay.example.com/app:1", "to": "docker://other/app:1"}, "has a scheme"),
        ({"from": "quay.example.com/app:1", "to": "Team/app:1"}, "use 'team/app:1'"),
        ({"from": "quay.example.com/app:1", "to": "team/app"}, "has no tag"),
        ({"from": "quay.example.com/app:1", "to": f"team/app@{DIGEST}"}, "has a digest"),
        ({"from": "quay.example.com/app:1", "to": "team//app:1"}, "is not an image's name"),
        ({"from": "quay.example.com/app:1", "to": "a" * 250 + ":1"}, "is too long"),
        ({"from": "app:1", "engine": "two"}, "use one of one"),
        ({"from": "app", "engine": "one"}, "has no tag"),
        ({"from": "/nowhere/app.tar"}, "there is no file '/nowhere/app.tar'"),
    ],
)
def test_copy_that_cannot_be_is_refused_with_the_remedy(item, words):
    (line,) = problems(item)
    assert line.startswith("wharf_copies: item 1: ")
    assert words in line


def test_archives_that_cannot_be_read_are_refused(tmp_path, saved):
    (tmp_path / "text.tar").write_text("not an archive")
    (tmp_path / "cut.tar").write_bytes(Path(saved).read_bytes()[:1000])
    archive(tmp_path / "other.tar", {"readme": b"no image"})
    for name in ("text.tar", "cut.tar", "other.tar"):
        assert "is no archive of images" in problems({"from": str(tmp_path / name)})[0]
    assert "several images: say with image which of 'team/app:1', 'team/app:2'" in problems({"from": saved})[0]
    assert "has no image 'x:1'" in problems({"from": saved, "image": "x:1"})[0]


def test_two_that_become_one_are_refused():
    first, second = {"from": "a.example.com/app:1"}, {"from": "b.example.com/app:1"}
    (line,) = problems(first, second)
    assert line.startswith("wharf_copies: item 2: app:1 is what item 1 becomes")
    assert problems(first, second | {"to": "other:1"}) == []


def refused(name: str, value: object) -> list[str]:
    """Return what the validation of the settings says to the value of a variable."""
    return [line for line in settings.problems_of({name: value}) if line.startswith(name)]


@pytest.mark.parametrize("value", [0, 33, -1, "many", 2.5])
def test_number_of_copies_at_once(value):
    assert refused("wharf_copies_parallel", value)
    assert refused("wharf_copies_parallel", "8") == []


@pytest.mark.parametrize(
    "login",
    [
        {"registry": "a.example.com", "name": "me", "password": ""},
        {"registry": "a.example.com", "name": "", "password": "secret-word"},
        {"registry": "https://a.example.com", "name": "me", "password": "secret-word"},
    ],
)
def test_bad_login_is_refused_without_its_password(login):
    (line,) = refused("wharf_copies_logins", [login])
    assert line.startswith("wharf_copies_logins: item 1")
    assert "secret-word" not in line


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("wharf_copies", ["quay.example.com/app:1"], "item 1: is text: use a mapping"),
        ("wharf_copies", "quay.example.com/app:1", "is text: use a list of mappings"),
        ("wharf_copies", [{"to": "app:1"}], "from"),
        (
            "wharf_copies",
            [{"from": "quay.example.com/app:1", "tag": "2"}],
            "tag is unknown: use from, to, engine or image",
        ),
        ("wharf_copies_logins", "secret-word", "is text: use a list of mappings"),
        ("wharf_copies_logins", ["secret-word"], "item 1: is text: use a mapping"),
        ("wharf_copies_logins", [{"registry": "a.example.com", "name": "me"}], "password"),
        (
            "wharf_copies_logins",
            [{"registry": "a", "name": "b", "password": "c", "token": "secret-word"}],
            "token is unk",
        ),
        ("wharf_export_images", None, ""),
        ("wharf_export_registry_images", "ture", "is neither true nor false"),
    ],
)
def test_what_has_another_shape_is_refused_by_the_specification(name, value, words):
    lines = [line for line in settings.problems_of({name: value}) if name in line]
    assert words in " ".join(lines)
    assert bool(lines) == bool(words)
    assert "secret-word" not in str(lines)


def test_good_logins_pass_and_each_registry_stands_once():
    login = {"registry": "a.example.com:5000", "name": "me", "password": "secret-word"}
    assert refused("wharf_copies_logins", [login, login | {"registry": "b.example.com"}]) == []
    (line,) = refused("wharf_copies_logins", [login, login])
    assert line.startswith("wharf_copies_logins: item 2: 'a.example.com:5000' stands in the list twice")


def test_nothing_to_copy_is_refused():
    assert "wharf_copies: is empty" in problems()[0]
    assert "there is none" in problems({"from": "app:1", "engine": "one"}, clients=[])[0]


def test_ca_of_the_sources_is_text_or_a_file(tmp_path):
    image, text = {"from": "a.example.com/app:1"}, Issued("Source CA", ca=True).pem
    (tmp_path / "ca.pem").write_text(text)
    for ca in (text, text.replace("\n", "\\n"), str(tmp_path / "ca.pem")):
        assert refused("wharf_copies_ca", ca) == []
        assert planned(image, ca=ca)["ca"] == text
    assert planned(image)["ca"] == ""
    for ca in ("ca.pem", str(tmp_path / "none.pem")):
        assert refused("wharf_copies_ca", ca)


def test_engines_push_their_own_images_and_the_server_copies_the_rest():
    items = [{"from": "a.example.com/app:1"}, {"from": "b:1", "engine": "two"}, {"from": "a.example.com/app:2"}]
    items += [{"from": "c:1", "engine": "one"}, {"from": "d:1", "engine": "two"}]
    hosts = planned(*items, clients=["one", "two"])["hosts"]
    assert [(host["host"], host["engine"], [image["image"] for image in host["images"]]) for host in hosts] == [
        ("two", True, ["b:1", "d:1"]),
        ("one", True, ["c:1"]),
        ("server", False, ["app:1", "app:2"]),
    ]


def test_export_and_import_are_judged():
    assert refused("wharf_export_images", ["team/*", "app:1"]) == []
    for bad in ([""], ["Team/app"], [f"{REGISTRY}/app:1"]):
        assert refused("wharf_export_images", bad)
    for good in ("", "a" * 64):
        assert refused("wharf_bundle_fingerprint", good) == []
    assert refused("wharf_bundle_fingerprint", "a")
