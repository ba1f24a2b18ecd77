"""Images from everywhere to the registry, and in one file to another registry."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import PROJECT, REGISTRY, SCENARIO, Hosts, changes, log_in
from testinfra.host import Host

SECOND = "second.wharf.test:5000"
INVENTORIES = {REGISTRY: os.environ["MOLECULE_INVENTORY_FILE"], SECOND: "molecule/copies/inventory/second.yml"}
PASSWORD = "carries-images-from-one-place-to-another"
STORAGE = "/var/lib/wharf/registry/docker/registry/v2"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def play(tmp_path: Path) -> Run:
    """Return a function that runs a playbook of one of the two deployments with variables from a file.

    With `heard`, it is called with each line as it comes. The controller's user may not become root: the inventory's
    ansible_become is for its hosts. (Ansible would not ask for root where it is root already, as in the tests.)
    """
    sudo = tmp_path / "bin/sudo"
    sudo.parent.mkdir()
    sudo.write_text("#!/bin/sh\necho 'the controller has no root for you' >&2\nexit 1\n")
    sudo.chmod(0o755)

    def run(
        registry: str,
        playbook: str,
        *arguments: str,
        heard: Callable[[str], None] = lambda _: None,
        **variables: object,
    ) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "variables.json"
        file.write_text(json.dumps(variables))
        command = ["ansible-playbook", "-i", INVENTORIES[registry], playbook, "-e", f"@{file}", *arguments]
        environment = os.environ | {
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_BECOME_ALLOW_SAME_USER": "true",
            "PATH": f"{sudo.parent}:{os.environ['PATH']}",
        }
        with subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                heard(line)
        return subprocess.CompletedProcess(command, process.returncode, "".join(lines))

    return run


def output(result: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a run on one line, as a person would search in it."""
    return " ".join(result.stdout.split())


def lines(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the line of each image that was shown when it was done, by image."""
    return dict(re.findall(r"^  (\S+:\S+): (copied, .*|already there|failed: .*)$", result.stdout, re.MULTILINE))


def table(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the rows of the tables of copies, by image; each host has a table."""
    found = re.findall(r"^ {8}image  .*\n((?: {8}.*\n)*)", result.stdout, re.MULTILINE)
    return {row.split()[0]: " ".join(row.split()[1:]) for rows in found for row in rows.splitlines()}


def stored(host: Host) -> str:
    """Return all files of a registry, with size and time: what a run that moves nothing leaves as it was."""
    return host.check_output(f"find {STORAGE} -type f -printf '%p %s %T@\\n' | grep -v '/_uploads/' | sort")


def tags(host: Host) -> set[str]:
    """Return what a registry has, REPOSITORY:TAG."""
    paths = host.check_output(f"cd {STORAGE}/repositories && find . -path '*/_manifests/tags/*/current/link'")
    found = re.findall(r"\./(.*)/_manifests/tags/([^/]*)/current/link", paths)
    return {f"{repository}:{tag}" for repository, tag in found}


def digest_in(host: Host, image: str) -> str:
    """Return the digest that a tag has in a registry."""
    repository, _, tag = image.rpartition(":")
    return host.check_output(f"cat {STORAGE}/repositories/{repository}/_manifests/tags/{tag}/current/link")


def pull_all(host: Host, registry: str, images: Iterable[tuple[str, str]]) -> None:
    """Pull images, each (repository, digest); the client itself compares the content with the digest."""
    for repository, digest in images:
        by_digest = f"{registry}/{repository}@{digest}"
        host.check_output(f"docker pull --quiet {by_digest} && docker image rm {by_digest}")


def new_image(host: Host, name: str) -> str:
    """Make an image of random content; return its id."""
    return host.check_output(f"head -c 200000 /dev/urandom >/tmp/new && tar -C /tmp -c new | docker import - {name}")


@pytest.fixture(scope="session")
def second(hosts: Hosts) -> Host:
    """Return the server of a second deployment, whose registry client1 trusts and is logged in to."""
    command = ["ansible-playbook", "-i", INVENTORIES[SECOND], "site.yml", "--tags", "deploy,trust"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    login = f"echo {PASSWORD} | docker login --username carrier --password-stdin {SECOND}"
    assert hosts["client1"].run(login).rc == 0
    return hosts["client2"]


@pytest.fixture(scope="session")
def source_ca(second: Host) -> str:
    """Return the second registry's CA certificate."""
    return second.check_output("cat /etc/wharf/tls/ca.crt")


@pytest.fixture(scope="session")
def sources(hosts: Hosts, second: Host) -> dict[str, str]:
    """Push images that share layers, and an index of two of them, to the second registry; return their digests."""
    hosts["client1"].check_output(
        f"""set -e; rm -rf ~/.docker/manifests
        for n in 1 2; do
            head -c 200000 /dev/urandom >/tmp/content; tar -C /tmp -c content | docker import - {SECOND}/team/base:$n
            printf 'FROM {SECOND}/team/base:1\\nLABEL n='$n'\\n' | docker build --quiet --tag {SECOND}/team/app:$n -
        done
        for image in base:1 base:2 app:1 app:2; do docker push --quiet {SECOND}/team/$image; done
        docker manifest create {SECOND}/team/multi:1 {SECOND}/team/app:1 {SECOND}/team/base:2
        docker manifest annotate --arch arm64 {SECOND}/team/multi:1 {SECOND}/team/base:2
        docker manifest push {SECOND}/team/multi:1"""
    )
    return {f"team/{name}": digest_in(second, f"team/{name}") for name in ("app:1", "app:2", "base:2", "multi:1")}


@pytest.fixture(scope="session")
def engine_image(hosts: Hosts) -> str:
    """Make an image that only client1's engine has; return its id."""
    return new_image(hosts["client1"], "local-app:7")


@pytest.fixture(scope="session")
def docker_archive(hosts: Hosts, engine_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that docker save wrote, of two images."""
    new_image(hosts["client1"], "saved/other:1")
    hosts["client1"].check_output("docker tag local-app:7 saved/app:7")
    path = tmp_path_factory.mktemp("archive") / "saved.tar"
    with path.open("wb") as file:
        save = ["docker", "exec", f"wharf-{SCENARIO}-client1", "docker", "save", "saved/app:7", "saved/other:1"]
        subprocess.run(save, stdout=file, check=True)
    hosts["client1"].check_output("docker image rm saved/app:7 saved/other:1")
    return path


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="session")
def oci_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return an OCI archive of an index, and the digests of the index and of its two images."""
    blobs: dict[str, bytes] = {}

    def blob(content: bytes | dict, **also: object) -> dict:
        content = json.dumps(content).encode() if isinstance(content, dict) else content
        blobs[sha256(content)] = content
        return {"digest": sha256(content), "size": len(content), **also}

    kind = "application/vnd.oci.image"
    manifests = []
    for architecture in ("amd64", "arm64"):
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            info = tarfile.TarInfo("content")
            info.size = 50000
            tar.addfile(info, io.BytesIO(secrets.token_bytes(info.size)))
        rootfs = {"type": "layers", "diff_ids": [sha256(layer.getvalue())]}
        config = blob({"architecture": architecture, "os": "linux", "rootfs": rootfs})
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": config | {"mediaType": f"{kind}.config.v1+json"},
            "layers": [blob(gzip.compress(layer.getvalue()), mediaType=f"{kind}.layer.v1.tar+gzip")],
        }
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append(blob(manifest, mediaType=f"{kind}.manifest.v1+json", platform=platform))
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": manifests}
    top = blob(index, mediaType=f"{kind}.index.v1+json")
    path = tmp_path_factory.mktemp("archive") / "oci.tar"
    with tarfile.open(path, "w") as tar:
        files = {f"blobs/{digest.replace(':', '/')}": content for digest, content in blobs.items()}
        files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path, [top["digest"], *(manifest["digest"] for manifest in manifests)]


@contextmanager
def watched(host: Host) -> Iterator[None]:
    """Keep all command lines and environments of a host in /tmp/seen while the block runs."""
    host.check_output(
        "rm -f /tmp/seen /tmp/enough; (while [ ! -e /tmp/enough ]; do"
        " cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>/tmp/seen; sleep 0.1; done) >/dev/null 2>&1 &"
    )
    yield
    host.check_output("touch /tmp/enough; sleep 0.3")


COPIES: dict[str, object] = {}  # what the first test copied, for the second


def leftovers(server: Host) -> str:
    """Return what copies, exports and imports have left on a server."""
    return server.check_output("ls /run /var/tmp | grep -e wharf-copy- -e wharf-export- || true")


def test_images_come_from_everywhere_and_one_that_fails_stops_no_other(
    hosts, second, play, password, sources, source_ca, engine_image, docker_archive, oci_archive
):
    oci, oci_digests = oci_archive
    COPIES.update(
        wharf_copies_ca=source_ca,
        wharf_copies_logins=[{"registry": SECOND, "name": "carrier", "password": PASSWORD}],
        wharf_copies=[
            {"from": f"{SECOND}/team/multi:1"},
            {"from": f"docker://{SECOND}/team/app@{sources['team/app:1']}", "to": "other/app:one"},
            {"from": "local-app:7", "engine": "client1", "to": "from/engine:7"},
            {"from": str(docker_archive), "image": "saved/app:7"},
            {"from": str(oci), "to": "from/oci:1"},
        ],
    )
    missing = {"from": f"{SECOND}/team/missing:1"}
    engine = "docker images --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort; ls -A /run /var/tmp"
    before = hosts["client1"].check_output(engine)
    # A line for each as it happens: one source answers only when other images have been told of, one of which the same
    # host copies at the same time.
    waits = ["  from/engine:7: copied, ", "  saved/app:7: copied, "]
    heard: list[str] = []

    def hear(line: str) -> None:
        heard.extend(start for start in waits if line.startswith(start))
        if len(heard) == len(waits) or line.startswith("PLAY RECAP"):
            second.run("docker unpause registry")

    second.check_output("docker pause registry")
    with watched(hosts["server"]), watched(hosts["client1"]):
        wanted = COPIES | {"wharf_copies": [missing, *COPIES["wharf_copies"]]}
        result = play(REGISTRY, "playbooks/copy-images.yml", "-vvv", heard=hear, **wanted)
    assert result.returncode == 2, result.stdout
    assert sorted(heard) == sorted(waits), result.stdout
    assert "not copied, for the reasons in the table: team/missing:1" in output(result)
    assert "manifest unknown" in table(result)["team/missing:1"]
    assert "manifest unknown" in lines(result)["team/missing:1"]
    for image in ("team/multi:1", "other/app:one", "from/engine:7", "saved/app:7", "from/oci:1"):
        assert lines(result)[image].startswith("copied, "), result.stdout
        assert re.search(r"sha256:\w{12} \d+\.\d [KM]iB \d+\.\d", table(result)[image]), table(result)

    # Every digest is what it was, and each image of an index is there.
    log_in(hosts["client1"], password)
    assert digest_in(hosts["server"], "team/multi:1") == sources["team/multi:1"]
    assert digest_in(hosts["server"], "from/oci:1") == oci_digests[0]
    pull_all(
        hosts["client1"],
        REGISTRY,
        [("other/app", sources["team/app:1"])]
        + [("team/multi", sources[name]) for name in ("team/app:1", "team/base:2")]
        + [("from/oci", digest) for digest in oci_digests[1:]],
    )
    for image in ("from/engine:7", "saved/app:7"):
        name = f"{REGISTRY}/{image}"
        pulled = f"docker pull --quiet {name} >&2 && docker image inspect --format '{{{{.Id}}}}' {name}"
        assert hosts["client1"].check_output(pulled) == engine_image
        hosts["client1"].check_output(f"docker image rm {name}")

    # Passwords are nowhere to be seen, and nothing stays behind.
    assert hosts["client1"].check_output(engine) == before
    assert leftovers(hosts["server"]) == ""
    for user, secret in (("carrier", PASSWORD), ("ci", password)):
        for text in (secret, base64.b64encode(f"{user}:{secret}".encode()).decode()):
            assert text not in result.stdout
            for name in ("server", "client1"):
                assert hosts[name].run(f"grep -qF '{text}' /tmp/seen").rc == 1
    assert "skopeo" in hosts["server"].check_output("tr '\\0' ' ' </tmp/seen | grep -o 'skopeo copy' | head -n 1")


def test_second_run_moves_nothing(hosts, play):
    before = stored(hosts["server"])
    for arguments in ([], ["--check"]):
        result = play(REGISTRY, "playbooks/copy-images.yml", *arguments, **COPIES)
        assert result.returncode == 0, result.stdout
        assert changes(result) == 0, result.stdout
        assert all(row.endswith("already there") for row in table(result).values()), table(result)
        assert "transferring" not in result.stdout
        assert stored(hosts["server"]) == before


def test_check_mode_tells_what_is_due_and_changes_nothing(hosts, play, docker_archive):
    before = stored(hosts["server"])
    wanted = [{"from": f"{SECOND}/team/app:2"}, {"from": str(docker_archive), "image": "saved/other:1"}]
    result = play(REGISTRY, "playbooks/copy-images.yml", "--check", **(COPIES | {"wharf_copies": wanted}))
    assert result.returncode == 0, result.stdout
    assert len(table(result)) == 2
    assert all(row.endswith("would be copied") for row in table(result).values()), table(result)
    assert stored(hosts["server"]) == before


def test_name_of_an_image_on_the_engine_comes_back_to_what_had_it(hosts, play):
    """Docker can push only what is named so; that name may be another image's."""
    client = hosts["client1"]
    name = f"{REGISTRY}/from/engine:8"
    other = new_image(client, name)
    digest = digest_in(hosts["server"], "from/engine:7")
    wanted = [
        {"from": "local-app:7", "engine": "client1", "to": "from/engine:8"},
        # The registry itself is a source like others, so that a tag can be given to what it had before.
        {"from": f"{REGISTRY}/from/engine@{digest}", "to": "from/engine:9"},
    ]
    result = play(REGISTRY, "playbooks/copy-images.yml", wharf_copies=wanted)
    assert result.returncode == 0, result.stdout
    assert client.check_output(f"docker image inspect --format '{{{{.Id}}}}' {name}") == other
    assert {digest_in(hosts["server"], f"from/engine:{tag}") for tag in (8, 9)} == {digest}
    client.check_output(f"docker image rm {name}")


def test_bad_input_is_refused_before_anything_changes(hosts, play):
    before = stored(hosts["server"])
    wanted = [
        {"from": f"{SECOND}/team/app:2"},
        {"from": f"{SECOND}/other/app:2", "to": "team/app:2"},
        {"from": "local-app:7", "engine": "nobody"},
        {"from": "/nowhere.tar"},
    ]
    limited = play(REGISTRY, "playbooks/copy-images.yml", "--limit", "client1", **(COPIES | {"wharf_copies": wanted}))
    assert limited.returncode == 2
    assert "--limit: leaves out server, which copies the images" in output(limited)
    result = play(REGISTRY, "playbooks/copy-images.yml", **(COPIES | {"wharf_copies": wanted}))
    assert result.returncode == 2
    for words in (
        "item 2: team/app:2 is what item 1 becomes",
        "item 3: engine: 'nobody'",
        "item 4: from: there is no",
    ):
        assert words in output(result), result.stdout
    forgotten = [{"registry": SECOND, "name": "carrier", "password": "{{ vault_of_the_source }}"}]
    result = play(REGISTRY, "playbooks/copy-images.yml", **(COPIES | {"wharf_copies_logins": forgotten}))
    assert result.returncode == 2
    assert "'vault_of_the_source' is undefined" in output(result)
    assert stored(hosts["server"]) == before


def test_wrong_password_of_a_source_is_named_and_not_shown(hosts, play):
    wrong = [{"registry": SECOND, "name": "carrier", "password": "wrong-password-0123456789"}]
    wanted = {"wharf_copies": [{"from": f"{SECOND}/team/app:2"}], "wharf_copies_logins": wrong}
    result = play(REGISTRY, "playbooks/copy-images.yml", "-vvv", **(COPIES | wanted))
    assert result.returncode == 2
    assert "uthorized" in table(result)["team/app:2"] or "authentication" in table(result)["team/app:2"], table(result)
    assert "wrong-password" not in result.stdout.replace(json.dumps(wrong), "")
    assert leftovers(hosts["server"]) == ""


def test_sources_are_reached_through_the_engines_proxy(play):
    """There is no such proxy, and its password is not shown."""
    wanted = {"wharf_copies": [{"from": f"{SECOND}/team/app:2"}, {"from": "local-app:7", "engine": "client1"}]}
    proxy = {"docker_engine_https_proxy": "http://ops:pa55-of-the-proxy@proxy.test:3128"}
    result = play(REGISTRY, "playbooks/copy-images.yml", "-vvv", **(COPIES | wanted | proxy))
    assert result.returncode == 2
    assert "proxyconnect" in table(result)["team/app:2"], table(result)
    assert "FAILED" not in table(result)["local-app:7"], table(result)
    assert "pa55-of-the-proxy" not in result.stdout


# Bundles ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the bundle is written that the other tests read."""
    return tmp_path_factory.mktemp("bundle") / "images.tar"


def export(play: Run, bundle: Path, *arguments: str, images: str = "*") -> subprocess.CompletedProcess[str]:
    """Export images of the first registry, and its own image."""
    wanted = {"wharf_bundle": str(bundle), "wharf_export_images": [images], "wharf_export_registry_image": True}
    return play(REGISTRY, "playbooks/export-images.yml", *arguments, **wanted)


def test_bundle_holds_each_blob_once(hosts, play, bundle, sources):
    before = stored(hosts["server"])
    checked = export(play, bundle, "--check")
    assert checked.returncode == 0, checked.stdout
    assert "would be written" in checked.stdout
    assert not bundle.exists()
    result = export(play, bundle)
    assert result.returncode == 0, result.stdout
    assert stored(hosts["server"]) == before
    assert leftovers(hosts["server"]) == ""
    with tarfile.open(bundle) as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("index.json"))
        sums = tar.extractfile("SHA256SUMS").read().decode()
    assert len(names) == len(set(names))
    images = {item["annotations"]["org.opencontainers.image.ref.name"]: item["digest"] for item in index["manifests"]}
    assert images == {image: digest_in(hosts["server"], image) for image in tags(hosts["server"])}
    assert images["team/multi:1"] == sources["team/multi:1"]
    # Exactly what the registry holds, and the layer that team/multi and other/app share only once.
    blobs = hosts["server"].check_output(f"cd {STORAGE}/blobs/sha256 && ls -d */* | sed 's,.*/,blobs/sha256/,'").split()
    assert set(names) == {*blobs, "oci-layout", "index.json", "SHA256SUMS", "registry-image.tar"}
    fingerprint = re.search(r"fingerprint: (\w{64})", result.stdout)[1]
    assert f"{fingerprint}  index.json" in sums


def test_bundle_that_is_there_is_not_written_again_nor_overwritten(play, bundle):
    before = bundle.stat()
    again = export(play, bundle)
    assert again.returncode == 0, again.stdout
    assert changes(again) == 0, again.stdout
    assert "Fetch the bundle" not in again.stdout
    other = export(play, bundle, images="team/*")
    assert other.returncode == 2
    assert "it is another bundle, or was altered: give another name, or remove it" in output(other)
    assert bundle.stat() == before


def test_export_says_what_is_in_its_way(hosts, play, tmp_path):
    result = export(play, tmp_path / "no.tar", images="team/nobody")
    assert result.returncode == 2
    assert "the registry has no image team/nobody" in output(result)
    (tmp_path / "junk.tar").write_text("something that somebody needs")
    result = export(play, tmp_path / "junk.tar")
    assert result.returncode == 2
    assert re.search("is cut short, or no bundle: .*: give another name, or remove it", output(result)), result.stdout
    (tmp_path / "junk.tar").unlink()
    hosts["server"].check_output(
        "echo collect-garbage $(date +%s) >/run/lock/wharf-registry.lock;"
        " (exec flock /run/lock/wharf-registry.lock sleep 60) >/dev/null 2>&1 & echo $! >/tmp/holder; sleep 0.2"
    )
    try:
        result = export(play, tmp_path / "no.tar")
    finally:
        hosts["server"].check_output("pkill --parent $(cat /tmp/holder); kill $(cat /tmp/holder) || true")
    assert result.returncode == 2
    assert "collect-garbage is at work on server since" in output(result)
    assert list(tmp_path.glob("*.tar*")) == []


def altered(bundle: Path, target: Path, how: str) -> None:
    """Write a bundle with something wrong in it, which is still a tar archive where that can be."""
    if how == "cut short":
        target.write_bytes(bundle.read_bytes()[: bundle.stat().st_size // 2 // 10240 * 10240])
        return
    with tarfile.open(bundle) as old, tarfile.open(target, "w") as new:
        members = old.getmembers()
        largest = max((m for m in members if m.name.startswith("blobs/")), key=lambda m: m.size)
        for member in members:
            content = old.extractfile(member).read()
            if how == "flipped byte" and member is largest:
                content = content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]
            if how == "missing blob" and member is largest:
                continue
            if how == "tags exchanged" and member.name == "index.json":
                index = json.loads(content)
                first, last = index["manifests"][0], index["manifests"][-1]
                first["annotations"], last["annotations"] = last["annotations"], first["annotations"]
                content = json.dumps(index, indent=1).encode()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        if how == "path outside":
            new.addfile(tarfile.TarInfo("../../etc/cron.d/evil"))


def import_(play: Run, bundle: Path, *arguments: str, **also: str) -> subprocess.CompletedProcess[str]:
    """Import a bundle into the second registry."""
    return play(SECOND, "playbooks/import-images.yml", *arguments, wharf_bundle=str(bundle), **also)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut short", "cut short"),
        ("flipped byte", "is damaged: the content of blobs/sha256/"),
        ("missing blob", "which is missing"),
        ("tags exchanged", "was altered: index.json"),
        ("path outside", "was altered: it holds '../../etc/cron.d/evil'"),
    ],
)
def test_bundle_that_is_not_as_it_was_is_refused_before_anything_is_pushed(second, play, bundle, tmp_path, how, words):
    before = stored(second)
    altered(bundle, tmp_path / "altered.tar", how)
    result = import_(play, tmp_path / "altered.tar")
    assert result.returncode == 2, result.stdout
    assert words in output(result), result.stdout
    assert stored(second) == before


def test_bundle_with_another_fingerprint_than_expected_is_refused(second, play, bundle):
    before = stored(second)
    result = import_(play, bundle, wharf_bundle_fingerprint="0" * 64)
    assert result.returncode == 2
    assert "it is another bundle, or was altered" in output(result)
    assert stored(second) == before


def test_bundle_fills_a_fresh_registry(hosts, second, play, bundle):
    second.check_output(f"docker stop registry && rm -rf {STORAGE} && docker start registry")
    result = import_(play, bundle)
    assert result.returncode == 0, result.stdout
    images = {image: digest_in(hosts["server"], image) for image in tags(hosts["server"])}
    assert {image: digest_in(second, image) for image in tags(second)} == images
    with tarfile.open(bundle) as tar:
        index = json.load(tar.extractfile("index.json"))
        wanted = {(image.rpartition(":")[0], digest) for image, digest in images.items()}
        for item in index["manifests"]:
            content = json.load(tar.extractfile("blobs/" + item["digest"].replace(":", "/")))
            if "manifests" in content:
                repository = item["annotations"]["org.opencontainers.image.ref.name"].rpartition(":")[0]
                wanted.remove((repository, item["digest"]))
                wanted |= {(repository, child["digest"]) for child in content["manifests"]}
    pull_all(hosts["client1"], SECOND, sorted(wanted))
    assert leftovers(second) == ""

    before = stored(second)
    again = import_(play, bundle)
    assert again.returncode == 0, again.stdout
    assert changes(again) == 0, again.stdout
    assert "transferring" not in again.stdout
    assert stored(second) == before


def test_the_registrys_own_image_comes_out_of_the_bundle(hosts, bundle):
    with tarfile.open(bundle) as tar:
        image = tar.extractfile("registry-image.tar").read()
    load = ["docker", "exec", "-i", f"wharf-{SCENARIO}-client1", "docker", "load"]
    loaded = subprocess.run(load, input=image, capture_output=True, check=True)
    assert b"wharf-registry:distro" in loaded.stdout
    assert hosts["client1"].check_output("docker image rm wharf-registry:distro")
