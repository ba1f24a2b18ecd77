"""On hardened hosts that people share: the same result, and nobody who is not root gets in root's way."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from clients import REGISTRY
from machines import PARTS, PROJECT, broken, container, put, put_back, snapshot
from plays import Run

USERS = ("jane.doe", "jane.roe@corp.example")
HOSTS = ("server", "client1")
TRUST = f"/etc/docker/certs.d/{REGISTRY}/wharf-ca.crt"
STORED = "/var/lib/wharf/registry/docker/registry/v2"
CACHED = "/var/lib/wharf/caches/docker/registry/v2"


def as_user(user: str, command: str) -> str:
    """Return the command that runs another one as a user who has logged in."""
    return f"su --login {user} --command '{command}'"


# The hosts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTS)
def test_hosts_are_strict(hosts, name):
    host = hosts[name]
    for place in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
        assert {"noexec", "nosuid", "nodev"} <= set(host.mount_point(place).options)
    assert host.check_output(as_user("jane.doe", "umask")) == "0027"
    assert host.check_output(as_user("jane.doe", "echo lab | sudo -S sh -c umask")) == "0027"
    assert "https_proxy=http://proxy.corp.example:3128" in host.check_output(
        as_user("jane.doe", "echo lab | sudo -S env")
    )
    assert host.run(as_user("jane.doe", "sudo -n true")).rc != 0, "sudo must ask for a password"
    assert "session opened for user jane.doe" in host.check_output("journalctl --unit ssh --no-pager")
    for user in USERS:
        host.check_output(f"getent passwd {user}")
        assert host.run(f"grep {user} /etc/passwd").rc != 0


@pytest.mark.parametrize("name", HOSTS)
def test_packages_came_when_others_had_set_their_locks_free(hosts, name):
    """They are held until somebody has wanted them."""
    assert hosts[name].run("systemctl is-active hold-apt-locks").stdout.strip() == "inactive"


@pytest.mark.parametrize("name", HOSTS)
def test_what_others_have_set_stays(hosts, name):
    config = json.loads(hosts[name].file("/etc/docker/daemon.json").content_string)
    assert (config["log-driver"], config["log-opts"]) == ("json-file", {"max-size": "7m"})
    assert config["default-address-pools"] == [{"base": "10.201.0.0/16", "size": 24}]
    policy = json.loads(hosts[name].file("/etc/containers/policy.json").content_string)
    assert policy == {"default": [{"type": "reject"}]}
    assert hosts[name].file("/etc/environment").content_string.count("corp.example:3128") == 4


def test_images_move_between_hosts_as_users_of_a_directory(hosts):
    for source, target in (("client1", "server"), ("server", "client1")):
        for number, user in enumerate(USERS):
            image = f"{REGISTRY}/test/{source}:{number}"
            make = f"echo {source} {user} >file && tar -c file | docker import - {image} && docker push {image}"
            hosts[source].check_output(as_user(user, make))
            hosts[target].check_output(as_user(user, f"docker pull --quiet {image} && docker image rm {image}"))


@pytest.fixture(scope="module")
def cached(hosts) -> str:
    """Return the name of an image as the upstream would have it, which is in the cache."""
    image = f"{REGISTRY}/test/cached:1"
    hosts["client1"].check_output(
        as_user("jane.doe", f"echo cached >file && tar -c file | docker import - {image} && docker push {image}")
    )
    hosts["server"].check_output(
        f"mkdir -p {CACHED}/repositories/upstream.invalid && cp -r {STORED}/blobs {CACHED} && "
        f"cp -r {STORED}/repositories/test {CACHED}/repositories/upstream.invalid && "
        f"chown -R --reference {CACHED}/blobs {CACHED}/blobs {CACHED}/repositories/upstream.invalid"
    )
    return "upstream.invalid/test/cached:1"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", HOSTS)
def test_users_get_what_is_upstream_through_the_cache(hosts, cached, name, user):
    """Without the proxy of the environment, which is gone: skopeo would ask it."""
    ask = f"env --unset https_proxy --unset HTTPS_PROXY skopeo inspect --no-tags docker://{cached}"
    assert cached.removesuffix(":1") in hosts[name].check_output(as_user(user, ask))


@pytest.mark.parametrize("name", HOSTS)
def test_what_everybody_must_read_is_readable(hosts, name):
    entries = "/etc/containers/registries.conf.d/wharf-registry.wharf.test_5000-caches.conf"
    for file in (TRUST, entries):
        hosts[name].check_output(f"runuser -u nobody -- test -r {file}")


def test_the_page_and_the_figures_are_there(hosts):
    ask = f"""import base64, ssl, sys, urllib.request
login = base64.b64encode(b"ci:not-a-secret-0123456789").decode()
request = urllib.request.Request("https://{REGISTRY}/-/list", headers={{"Authorization": "Basic " + login}})
print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile="{TRUST}")).read().decode())"""
    hosts["server"].check_output("systemctl start wharf-index wharf-metrics; systemctl start wharf-index")
    assert "test/client1" in hosts["client1"].check_output(f"python3 -c '{ask}'")
    assert "wharf_repositories " in hosts["server"].file("/var/lib/wharf/metrics/metrics").content_string


# What is refused ----------------------------------------------------------------------------------


def test_what_cannot_work_on_one_host_stops_the_run_for_all_before_anything_changes(hosts, ansible):
    bare, inventory = hosts["bare"], ["-i", f"{PROJECT}/molecule/hardened/inventory/bare.yml"]
    old_file = """mkdir -p /etc/docker && echo '{"hosts": ["fd://", "tcp://0.0.0.0:2375"]}' >/etc/docker/daemon.json"""
    old_source = 'echo "deb $(grep -ohm1 "http[^ ]*" /etc/apt/sources.list)/old-stuff stale main"'
    old_source += " >/etc/apt/sources.list.d/old.list"
    about_source = r"old-stuff stale .*? It is about /etc/apt/sources\.list\.d/old\.list\."
    # A change that waits on another host.
    with broken(hosts["client1"], f"rm {TRUST}", "true"):
        for how, message, options in (
            (old_file, "/etc/docker/daemon.json: holds hosts, from before", []),
            (old_source, about_source, []),
            (old_source, about_source, ["--check"]),
        ):
            with put_back(bare, "/etc/docker", "/etc/apt/sources.list.d"):
                bare.check_output(how)
                before = snapshot(bare)
                result = ansible.fails("site.yml", *inventory, *options)
                assert re.search(message, result.stdout), result.output
                assert "PLAY [Install" not in result.stdout
                assert snapshot(bare) == before
        assert not hosts["client1"].file(TRUST).exists
        ansible.succeeds("playbooks/trust-registry.yml")


# Who gets in the way ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maintained(hosts, ansible, cached, tmp_path_factory) -> tuple[Run, Run]:
    """Let root do all that is done on a server and a client, traced, while a user gets in the way.

    Returns:
        The run that copies an image from an archive, which the server's policy refuses, and that of the diagnosis.
    """
    server, place = hosts["server"], tmp_path_factory.mktemp("files")
    for file, images in (("registry", ["registry"]), ("images", ["registry", "gateway"])):
        save = ["docker", "exec", container("server"), "docker", "save", *(f"wharf-{name}:distro" for name in images)]
        with Path(place, f"{file}.tar").open("wb") as output:
            subprocess.run(save, stdout=output, check=True)
    # Something to repair, and something to delete.
    rules = json.dumps([{"repositories": "test/client1", "keep_newest": 0}])
    server.check_output("find /var/lib/wharf/registry -path '*/_layers/*' -name link -exec truncate --size 0 {} +")
    timers = "wharf-index.timer wharf-metrics.timer wharf-trim-caches.timer"
    server.check_output(f"systemctl stop {timers}")  # two cannot run at a time
    blob = f"{CACHED}/blobs/sha256/aa/{'a' * 64}"
    server.check_output(f"mkdir -p {blob} && touch -d '2 hours ago' {blob}/data")
    server.check_output(f"chown -R --reference {CACHED}/blobs {CACHED}/blobs")
    for command in (
        "repair-storage",
        "status",
        "collect-garbage",
        "renew-certificate --now",
        "verify-storage",
        "back-up",
        "check-backup",
        "index",
        "metrics",
        "trim-caches",
    ):
        server.check_output(f"traced wharf {command}")
    assert not server.file(blob).exists
    plan = json.loads(server.check_output(f"echo '{rules}' | wharf apply-retention --json"))["plan"]
    server.check_output(f"echo '{rules}' | traced wharf apply-retention --plan {plan}")
    copies = [{"from": f"{place}/registry.tar", "to": "copied/registry:1"}]
    copied = ansible.fails("playbooks/copy-images.yml", wharf_copies=copies)
    bundle = {"wharf_bundle": f"{place}/bundle.tar"}
    ansible.succeeds("playbooks/export-images.yml", **bundle, wharf_export_images=["*", "upstream.invalid/**"])
    link = f"{CACHED}/repositories/upstream.invalid/test/cached/_manifests/tags/1/current/link"
    server.check_output(f"rm -r {CACHED}/blobs/* {CACHED}/repositories/upstream.invalid/*")
    ansible.succeeds("playbooks/import-images.yml", **bundle)
    assert server.file(link).exists
    images = "wharf-registry:distro wharf-gateway:distro"
    caches = "registry-caches registry-cache-upstream.invalid"
    server.check_output(f"docker rm --force --volumes {PARTS} {caches} && docker image rm {images}")
    for name in HOSTS:
        logins = " ".join(f"/home/{user}/.docker/config.json" for user in USERS)
        hosts[name].check_output(f"rm -f {TRUST} {logins}")
    archive = {"wharf_registry_image_source": "archive", "wharf_registry_image_archive": f"{place}/images.tar"}
    ansible.succeeds("site.yml", **archive)
    return copied, ansible.fails("playbooks/diagnose-registry.yml")


@pytest.mark.parametrize("name", HOSTS)
def test_users_who_get_in_the_way_harm_and_stop_nothing(hosts, maintained, name):
    """All of it has ended well, and was watched by a user who takes whatever root makes.

    What they lay where root's file has gone, with a name that does not come again, is harmless.
    """
    host = hosts[name]
    assert host.check_output("systemctl is-active get-in-the-way") == "active"
    lines = [line.split(" ", 1) for line in host.check_output("cat ~mallory/log").splitlines()]
    assert any(what == "saw" and "/ansible_" in path for what, path in lines)
    assert [line for line in lines if line[0] not in ("began", "saw", "replaced")] == []
    assert host.check_output("stat --format '%a %U' /etc/canary; cat /etc/canary") == "600 root\nuntouched"


def test_a_link_in_a_home_leads_root_nowhere(hosts, ansible):
    client, user = hosts["client1"], USERS[1]
    link = "mv .docker .docker.before && ln -s /etc/docker .docker"
    with broken(client, as_user(user, link), as_user(user, "rm .docker && mv .docker.before .docker")):
        result = ansible.fails("playbooks/trust-registry.yml")
        assert re.search(f"registry_client_logins: {user} cannot log in .*permission denied", result.stdout)
        assert not client.file("/etc/docker/config.json").exists


def test_signatures_that_are_asked_for_are_told_of(maintained):
    copied = maintained[0]
    assert re.search(r"copied/registry:1 .* is rejected by policy", copied.stdout), copied.output


@pytest.mark.parametrize("name", HOSTS)
def test_diagnosis_names_the_proxy_that_is_gone(maintained, name):
    """Docker gets through; skopeo takes what the environment says."""
    words = f"{name}: skopeo, as root uses it, goes through the proxy http://proxy.corp.example:3128"
    assert words in maintained[1].stdout, maintained[1].output


# What root does where others can write, and why that does no harm.
USED = {
    r"\w+ /tmp/ansible_[\w.]+_payload_\w{8}(/.*)?": "Ansible's modules, in a new directory of root's, its name random",
    r"write /tmp/\w{8}": "Python tries whether it can write there: a new file, its name random",
    r"\w+ /tmp/tmp\w{8}\.json": "daemon.json for dockerd --validate: a new file, its name random",
    r"\w+ /tmp/(dpkg-deb|apt-dpkg-install)[.-]\w{6}(/.*)?": "what dpkg and apt make themselves: new, the name random",
    r"\w+ /tmp/tmp\.\w{10}": "mktemp, in the scripts of Debian's packages: new, the name random",
    r"\w+ /var/(lib/apt/lists|cache/apt/archives)/partial/.*": "what apt gets as its own user: apt verifies it",
    r"\w+ /tmp/restic-temp-pack-\d+": "what restic makes itself: new, the name random",
    r"\w+ /var/tmp/wharf-\w{8}(/.*)?": "the trial of apt's sources: a new directory of root's, its name random",
    r"\w+ /var/tmp/wharf-image\.\w{8}(/.*)?": "the registry's image from an archive: the same",
    r"\w+ /var/tmp/wharf-export-\w{8}": "the registry's own image for a bundle: the same",
    r"\w+ /var/tmp/wharf-export-\w{8}/bundle\.tar": "new, in the directory of who becomes root; no link counts",
    r"read /var/tmp/wharf-copy-\w{10}/\d": "what that user brought; what was stored is compared with the digest",
    r"\w+ /home/jane\.doe/\.ansible/tmp/.*": "what Ansible transfers, in the home of the user who becomes root",
    r"read /var/lib/wharf/registry/docker(/.*)?": "what the registry stores: only read, and compared with its digest",
    r"read /var/lib/wharf/sockets/(a|b|reads|writes)\.sock": "the registry's: opened as a path, following no link",
    r"read /tmp/(figures|own)\.sock": "the gateway's, within its container: the same",
    r"read /var/lib/wharf/cache-sockets/[\w.]+/registry\.sock": "the caches': the same",
    rf"read {CACHED}/.*": "what the caches store: no link is followed; what goes is deleted as their own user",
    rf"write {CACHED}/(blobs|repositories/upstream\.invalid)/.*": "what a bundle brings them: no link is followed",
    r"\w+ /var/lib/wharf/registry/\.?\.wharf(-copied\.json)?(\.\w{8})?": "its ID, and whose copy: new, no link counts",
    r"read /home/jane\.doe/<unknown>": "what Python tries to show of Ansible's module apt: no content is used",
}


def test_root_does_nothing_where_others_can_write_but_this(hosts, maintained):
    done: list[str] = []
    for name in HOSTS:
        path = put(hosts[name], "list-paths.py", "/root/list-paths.py")
        done += hosts[name].check_output(f"python3 {path} /root/trace/*").splitlines()
    assert [line for line in done if not any(re.fullmatch(pattern, line) for pattern in USED)] == []
    assert [pattern for pattern in USED if not any(re.fullmatch(pattern, line) for line in done)] == []
