"""A landscape that works is broken in one place at a time; the diagnosis must name it, and what to do about it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from conftest import PROJECT, REGISTRY, log_in, push, snapshot, write
from testinfra.host import Host

from ansible_collections.wharf.registry.plugins.plugin_utils import diagnosis

NAME = REGISTRY.partition(":")[0]
CERTS = f"/etc/docker/certs.d/{REGISTRY}"
DATA = "/var/lib/wharf/registry"
INVENTORIES = PROJECT / "molecule/diagnose/inventory"
RESTART = "docker restart --time 0 registry"
START_ENGINE = "systemctl reset-failed docker docker.socket; systemctl start docker.socket docker"


class Diagnosis:
    """What a run of the playbook said: its exit code, a line for each host, and the table's rows by host."""

    def __init__(self, output: str, returncode: int) -> None:
        self.output = output
        self.returncode = returncode
        messages = [json.loads(f'"{text}"') for text in re.findall(r'"msg": "((?:[^"\\]|\\.)*)"', output)]
        self.table = next((text for text in messages if text.startswith("host ")), "")
        lines = [re.match(r"(\w+): (.*)", text) for text in messages if text != self.table]
        self.lines = {line[1]: line[2] for line in lines if line}

    def says(self, code: str, *words: str, hosts: tuple[str, ...] = ("client1",)) -> None:
        """Assert that this is the verdict on just these hosts, and that line and table hold what a person needs."""
        assert self.returncode == 2, self.output
        assert "changed: [" not in self.output
        rows = {row.split()[0]: row for row in self.table.splitlines()[1:] if " warning: " not in row}
        assert {host for host, row in rows.items() if "all is well" not in row} == set(hosts), self.table
        for host in hosts:
            assert diagnosis.VERDICTS[code].short in rows[host], self.table
        for word in words:
            assert word in self.lines.get(hosts[0], self.table), self.output


@pytest.fixture(scope="session")
def diagnose():
    """Return a function that runs the playbook with this scenario's inventory."""

    def run(*arguments: str) -> Diagnosis:
        playbook = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "playbooks/diagnose-registry.yml"]
        environment = {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        result = subprocess.run(
            [*playbook, *arguments],
            cwd=PROJECT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Diagnosis(result.stdout, result.returncode)

    return run


@contextlib.contextmanager
def broken(host: Host, how: str, repair: str) -> Iterator[None]:
    """Break something on a host, and repair it whatever happens."""
    try:
        host.check_output(how)
        yield
    finally:
        host.check_output(repair)


def wait_for(host: Host, command: str) -> None:
    """Wait until a command succeeds on a host."""
    deadline = time.monotonic() + 20
    while host.run(command).rc != 0:
        assert time.monotonic() < deadline, command
        time.sleep(0.2)


def variables(**values: object) -> tuple[str, str]:
    """Return the arguments that give variables to a run."""
    return "-e", json.dumps(values)


# All is well --------------------------------------------------------------------------------------


def test_all_is_well_and_stays_as_it_is(hosts, diagnose):
    before = {name: snapshot(hosts[name]) for name in ("server", "client1", "client2")}
    result = diagnose()
    assert result.returncode == 0, result.output
    assert set(result.lines) == {"server", "client1", "client2"}
    assert all(line == "all is well." for line in result.lines.values()), result.table
    assert before == {name: snapshot(hosts[name]) for name in before}


@pytest.mark.parametrize("arguments", [("--check", "--diff"), ("--limit", "client2"), ("--limit", "server")])
def test_all_is_well_in_check_mode_and_for_one_host(diagnose, arguments):
    result = diagnose(*arguments)
    assert result.returncode == 0, result.output
    assert "all is well" in result.table


def test_secrets_show_nowhere(hosts, diagnose, password):
    result = diagnose("-vvv")
    assert result.returncode == 0, result.output
    auth = json.loads(hosts["client1"].file("/root/.docker/config.json").content_string)["auths"][REGISTRY]["auth"]
    assert password not in result.output
    assert auth not in result.output


# The name -----------------------------------------------------------------------------------------


def test_name_that_does_not_resolve(hosts, diagnose):
    files = "cat /etc/nsswitch.conf >/root/nsswitch.conf; sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf"
    with broken(hosts["client1"], files, "cat /root/nsswitch.conf >/etc/nsswitch.conf; rm /root/nsswitch.conf"):
        diagnose().says("name", f"{NAME} does not resolve here", "wharf_manage_hosts_file: true", "--limit client1")


@pytest.mark.parametrize(
    ("there", "words"),
    [(":", "the port is closed"), ("cd /tmp && python3 -m http.server 5000", "no registry answers on the port")],
    ids=["port closed", "something else"],
)
def test_name_that_leads_to_another_host(hosts, diagnose, there, words):
    client, other = hosts["client1"], hosts["client2"]
    address, server = (hosts[name].check_output("hostname --ip-address") for name in ("client2", "server"))
    start = f"systemd-run --quiet --unit other sh -c '{there}'; sleep 0.5"
    wrong = f"cat /etc/hosts >/root/hosts; echo {address} {NAME} >>/etc/hosts"
    with (
        broken(other, start, "systemctl stop other 2>/dev/null || true"),
        broken(client, wrong, "cat /root/hosts >/etc/hosts; rm /root/hosts"),
    ):
        result = diagnose()
    result.says("other_host", f"resolves to {address} here", f"on server ({server})", words, "/etc/hosts")


# The port -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("REJECT --reject-with tcp-reset", "refused", ["refuses connections to port 5000, though the container runs"]),
        ("DROP", "filtered", ["nothing comes back", "let TCP port 5000 through"]),
    ],
    ids=["closed", "filtered"],
)
def test_port_that_a_firewall_closes(hosts, diagnose, target, code, words):
    rule = f"DOCKER-USER --protocol tcp --dport 5000 --jump {target}"
    with broken(hosts["server"], f"iptables -I {rule}", f"iptables -D {rule}"):
        diagnose().says(code, *words, "firewall", hosts=("client1", "client2"))


@pytest.mark.parametrize(
    ("how", "remedy"), [("stop --time 0", "start"), ("pause", "unpause")], ids=["stopped", "paused"]
)
def test_container_that_does_not_run(hosts, diagnose, how, remedy):
    with broken(hosts["server"], f"docker {how} registry", f"docker {remedy} registry"):
        result = diagnose()
    result.says("container_stopped", f"`docker {remedy} registry` on server", hosts=("client1", "client2", "server"))


def test_something_else_answers_on_the_port(hosts, diagnose):
    server = hosts["server"]
    start = (
        "docker stop --time 0 registry; systemd-run --quiet --unit other --working-directory /tmp"
        " python3 -m http.server 5000; sleep 0.5"
    )
    with broken(server, start, "systemctl stop other; docker start registry"):
        result = diagnose()
    assert "the registry's container registry on server does not run" in result.lines["server"]
    for name in ("client1", "client2"):
        assert "python3 answers on port 5000 instead" in result.lines[name], result.output
        assert "stop python3 on server" in result.lines[name]


OPEN = variables(
    wharf_registry_trust="insecure",
    wharf_registry_users=[],
    wharf_registry_logins=[],
    wharf_registry_anonymous=True,
)


def test_tls_where_plain_http_is_expected(diagnose):
    diagnose(*OPEN).says("https_for_http", "wharf_registry_trust: private_ca", hosts=("client1", "client2"))


@contextlib.contextmanager
def configuration(server: Host, *edits: str) -> Iterator[None]:
    """Edit the registry's configuration with sed."""
    file = "/etc/wharf/registry/config.yml"
    edit = " ".join(f"-e '{edit}'" for edit in edits)
    change = f"cp -p {file} /root/config.yml; sed -i {edit} {file} && {RESTART}"
    with broken(server, change, f"cp -p /root/config.yml {file}; rm /root/config.yml; {RESTART}"):
        wait_for(server, "ss -Hltn 'sport = :5000' | grep -q 5000")
        time.sleep(0.5)
        yield


WITHOUT_TLS = "/^  tls:/,/^    key:/d"
WITHOUT_USERS = "/^auth:/,/^    realm:/d"


def test_plain_http_where_tls_is_expected(hosts, diagnose):
    with configuration(hosts["server"], WITHOUT_TLS):
        result = diagnose()
    result.says("http_for_https", "plain HTTP", "wharf_registry_trust: insecure", hosts=("client1", "client2"))


@contextlib.contextmanager
def insecure(client: Host) -> Iterator[None]:
    """Let the engine of a client speak plain HTTP to the registry, and trust whatever certificate it has."""
    file = "/etc/docker/daemon.json"
    edit = f'sed -i \'1s/{{/{{"insecure-registries": ["{REGISTRY}"],/\' {file}'
    restart = "systemctl reset-failed docker; systemctl restart docker"
    how = f"cp -p {file} /root/daemon.json; {edit}; {restart}"
    with broken(client, how, f"cp -p /root/daemon.json {file}; rm /root/daemon.json; {restart}"):
        yield


def test_plain_http_of_which_the_engine_was_not_told(hosts, diagnose):
    with configuration(hosts["server"], WITHOUT_TLS, WITHOUT_USERS), insecure(hosts["client2"]):
        result = diagnose(*OPEN)
    result.says("insecure_unknown", "trust-registry.yml --limit client1", hosts=("client1",))


# The certificate ----------------------------------------------------------------------------------


@contextlib.contextmanager
def certificate(server: Host, names: str, first_day: str, last_day: str, ca: str = "") -> Iterator[None]:
    """Let the registry serve a certificate that Wharf's own CA has signed, or another."""
    make = f"""
        set -e
        mkdir /root/tls && cp -p /etc/wharf/tls/* /root/tls && cd /root/tls
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.crt \
            -subj '/CN=Other CA' 2>/dev/null
        openssl req -new -key registry.key -subj /CN=registry -out registry.csr
        echo "subjectAltName={names}" >names
        openssl x509 -req -in registry.csr -extfile names {ca or "-CA ca.crt -CAkey /etc/wharf/ca/ca.key"} \
            -not_before {first_day}000000Z -not_after {last_day}000000Z -out /etc/wharf/tls/registry.crt 2>/dev/null
        {RESTART}
    """
    repair = f"cp -p /root/tls/registry.crt /etc/wharf/tls/registry.crt; rm -r /root/tls; {RESTART}"
    with broken(server, make, repair):
        wait_for(server, "openssl s_client -connect 127.0.0.1:5000 </dev/null")
        yield


RIGHT = f"DNS:{NAME},DNS:localhost"
BOTH = ("client1", "client2")


@pytest.mark.parametrize(
    ("made", "code", "words", "where"),
    [
        ((RIGHT, "20240101", "20250101"), "expired", ["has expired on 2025-01-01", "renews"], (*BOTH, "server")),
        ((RIGHT, "20400101", "20450101"), "not_yet_valid", ["valid from 2040-01-01 only", "clock"], BOTH),
        (
            (RIGHT, "20240101", "20450101", "-CA other.crt -CAkey other.key"),
            "ca_foreign",
            ["signed by CN=Other CA", "deploy-registry.yml"],
            BOTH,
        ),
        (
            ("DNS:other.wharf.test", "20240101", "20450101"),
            "wrong_name",
            [f"is for other.wharf.test, not for {NAME}", "deploy-registry.yml"],
            BOTH,
        ),
    ],
    ids=["expired", "not yet valid", "another CA", "name"],
)
def test_certificate_that_is_wrong(hosts, diagnose, made, code, words, where):
    with certificate(hosts["server"], *made):
        diagnose().says(code, *words, hosts=where)


def test_certificate_that_ends_soon_is_a_warning(hosts, diagnose):
    with certificate(
        hosts["server"], RIGHT, "20240101", time.strftime("%Y%m%d", time.gmtime(time.time() + 10 * 86400))
    ):
        result = diagnose()
    assert result.returncode == 0, result.output
    assert "Warning: the certificate of registry.wharf.test:5000 ends on" in result.lines["server"]


@pytest.mark.parametrize("wrong", [NAME, f"{NAME.capitalize()}:5000", f"https:/{REGISTRY}"])
def test_directory_of_the_ca_that_is_misspelled(hosts, diagnose, wrong):
    moved = f"/etc/docker/certs.d/{wrong}"
    with broken(
        hosts["client1"],
        f"mkdir -p $(dirname {moved}); mv {CERTS} {moved}",
        f"mv {moved} {CERTS}; rmdir /etc/docker/certs.d/https: 2>/dev/null || true",
    ):
        result = diagnose()
    result.says("ca_misplaced", f"lies in {moved}", f"look into {CERTS}", "trust-registry.yml --limit client1")


def test_ca_that_is_missing_or_another(hosts, diagnose):
    with broken(hosts["client1"], f"mv {CERTS} /root/certs", f"mv /root/certs {CERTS}"):
        diagnose().says("ca_missing", CERTS, "trust-registry.yml --limit client1")
    other = (
        f"cp -rp {CERTS} /root/certs; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        f" -keyout /dev/null -out {CERTS}/wharf-ca.crt -subj '/CN=Other CA' 2>/dev/null"
    )
    with broken(hosts["client1"], other, f"rm -r {CERTS}; mv /root/certs {CERTS}"):
        diagnose().says("ca_wrong", f"{CERTS}/wharf-ca.crt", "trust-registry.yml --limit client1")


# The client's engine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('{"debug": false,', "engine_json", ["line 2", "mend /etc/docker/daemon.json"]),
        ('{"hosts": ["unix:///run/docker.sock"]}', "engine_conflict", ["hosts stands in", "comes as -H"]),
    ],
    ids=["broken", "flag"],
)
def test_daemon_json_that_keeps_the_engine_from_starting(hosts, diagnose, text, code, words):
    client, file = hosts["client2"], "/etc/docker/daemon.json"
    # Whoever asks the socket starts the engine: it must stay as it is.
    how = f"cp -p {file} /root/daemon.json; systemctl stop docker; systemctl start docker.socket; echo '{text}' >{file}"
    with broken(client, how, f"cp -p /root/daemon.json {file}; rm /root/daemon.json; {START_ENGINE}"):
        result = diagnose()
        assert client.run("systemctl is-active docker docker.socket").stdout.split() == ["inactive", "active"]
    result.says(code, *words, "systemctl start docker", hosts=("client2",))


def test_daemon_json_that_is_broken_under_a_running_engine_is_a_warning(hosts, diagnose):
    file = "/etc/docker/daemon.json"
    with broken(
        hosts["client2"],
        f"cp -p {file} /root/daemon.json; echo '{{' >{file}",
        f"cp -p /root/daemon.json {file}; rm /root/daemon.json",
    ):
        result = diagnose()
    assert result.returncode == 0, result.output
    assert "would not start again" in result.lines["client2"]


def test_engine_that_is_stopped(hosts, diagnose):
    with broken(hosts["client2"], "systemctl stop docker.socket docker", START_ENGINE):
        diagnose().says("engine_stopped", "`systemctl start docker` on client2", hosts=("client2",))


def test_proxy_that_takes_the_name(hosts, diagnose):
    drop_in = "/etc/systemd/system/docker.service.d/proxy.conf"
    text = "[Service]\nEnvironment=HTTPS_PROXY=http://user:secret@127.0.0.1:9\n"
    restart = "systemctl daemon-reload; systemctl reset-failed docker; systemctl restart docker"
    how = f"mkdir {drop_in.rpartition('/')[0]}; printf '{text}' >{drop_in}; {restart}"
    with broken(hosts["client2"], how, f"rm -r {drop_in.rpartition('/')[0]}; {restart}"):
        result = diagnose("-v")
    result.says("proxy", "the proxy http://127.0.0.1:9", f"add {NAME} to NO_PROXY in {drop_in}", hosts=("client2",))
    assert "secret" not in result.output


def test_engine_that_asks_for_no_certificate_is_a_warning(hosts, diagnose):
    with insecure(hosts["client2"]), broken(hosts["client2"], f"mv {CERTS} /root/ca", f"mv /root/ca {CERTS}"):
        result = diagnose()
    assert result.returncode == 0, result.output
    assert f"the engine reaches {REGISTRY} in a way of its own" in result.lines["client2"]
    assert "otherwise: the CA is not known here" in result.lines["client2"]


# Users --------------------------------------------------------------------------------------------


def test_password_that_is_refused(diagnose):
    wrong = variables(wharf_registry_users=[{"name": "ci", "password": "not-the-password-of-ci-at-all"}])
    result = diagnose(*wrong)
    result.says("password", "refuses the password of ci", "wharf_registry_users", hosts=BOTH)
    assert "not-the-password" not in result.output


def test_password_that_is_not_here(diagnose):
    result = diagnose(*variables(wharf_registry_users=[{"name": "ci"}, {"name": "dev"}]))
    result.says("password_unknown", "gives dev no password", ".credentials/users/dev")


def test_password_that_is_wanted(diagnose):
    result = diagnose(*variables(wharf_registry_users=[], wharf_registry_logins=[], wharf_registry_anonymous=True))
    result.says("users_wanted", "wharf_registry_users", hosts=BOTH)


def test_login_that_is_missing_or_old(hosts, diagnose):
    file = "/root/.docker/config.json"
    with broken(hosts["client2"], f"mv {file} /root/config.json", f"mv /root/config.json {file}"):
        diagnose().says("login_missing", "root is not logged in", "--limit client2", hosts=("client2",))
    old = f'cp -p {file} /root/config.json; sed -i \'s/"auth": "[^"]*"/"auth": "Y2k6b2xk"/\' {file}'
    with broken(hosts["client2"], old, f"mv /root/config.json {file}"):
        diagnose().says("login_refused", file, "--limit client2", hosts=("client2",))


# The server's storage -----------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(server: Host, size: str, filled: str) -> Iterator[None]:
    """Give the registry a disk of this size for its data."""
    mount = f"mount -t tmpfs -o size={size},uid=59500,gid=59500,mode=0750 tmpfs {DATA}"
    # With its mark, without which the container would not start.
    mount = f"cp -p {DATA}/.wharf /run/mark; {mount}; cp -p /run/mark {DATA}/.wharf"
    how = f"{mount}; fallocate -l {filled} {DATA}/file; {RESTART}"
    with broken(server, how, f"docker stop --time 0 registry; umount {DATA}; docker start registry"):
        time.sleep(1)
        yield


EVERYWHERE = ("client1", "client2", "server")


def test_disk_that_is_full(hosts, diagnose):
    with small_disk(hosts["server"], "20m", "18m"):
        diagnose().says("disk_full", f"{DATA} on server has 2 MiB left", "wharf_registry_data", hosts=EVERYWHERE)


def test_disk_that_is_nearly_full_is_a_warning(hosts, diagnose):
    with small_disk(hosts["server"], "300m", "100m"):
        result = diagnose()
    assert result.returncode == 0, result.output
    assert "has only 200 MiB left" in result.lines["server"]


@pytest.mark.parametrize(
    ("how", "repair", "words"),
    [
        (
            f"mount --bind {DATA} {DATA} && mount -o remount,ro,bind {DATA}; {RESTART}",
            f"docker stop --time 0 registry; umount {DATA}; docker start registry",
            ["is mounted read-only", "remount,rw"],
        ),
        (
            f"chown root:root {DATA}/docker/registry/v2/repositories",
            f"chown 59500:59500 {DATA}/docker/registry/v2/repositories",
            ["does not belong to the registry's user 59500", f"chown -R 59500:59500 {DATA}"],
        ),
    ],
    ids=["read-only", "owner"],
)
def test_storage_that_is_not_writable(hosts, diagnose, how, repair, words):
    with broken(hosts["server"], how, repair):
        time.sleep(1)
        diagnose().says("not_writable", *words, hosts=EVERYWHERE)


# Contents -----------------------------------------------------------------------------------------


@pytest.fixture
def pushed(hosts, image, password) -> str:
    """Return the reference of an image in the registry, without the registry's name."""
    log_in(hosts["client1"], password)
    push(hosts["client1"], image)
    return image.partition("/")[2]


def contents(server: Host, repository: str) -> dict[str, str]:
    """Return the paths of the manifest ("manifest") and of the layer ("layer") of an image in the registry's data."""
    base = f"{DATA}/docker/registry/v2"
    digest = server.check_output(f"cut -d: -f2 {base}/repositories/{repository}/_manifests/tags/1/current/link")
    manifest = f"{base}/blobs/sha256/{digest[:2]}/{digest}/data"
    layer = json.loads(server.file(manifest).content_string)["layers"][0]["digest"].partition(":")[2]
    return {"manifest": manifest, "layer": f"{base}/blobs/sha256/{layer[:2]}/{layer}/data"}


# A space more in the manifest's JSON; another byte in the middle of the layer.
DAMAGE = {"manifest": "sed -i '1s/{/{ /' %s", "layer": "printf X | dd of=%s bs=1 seek=1000 conv=notrunc status=none"}


@pytest.mark.parametrize("kind", ["layer", "manifest"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "first"])
def test_digest_that_does_not_match(hosts, diagnose, pushed, kind, named):
    server = hosts["server"]
    repository = pushed.partition(":")[0]
    if not named:
        repository = f"test/{server.check_output(f'ls {DATA}/docker/registry/v2/repositories/test | head -n 1')}"
    path = contents(server, repository)[kind]
    with broken(server, f"cp -p {path} /root/blob; {DAMAGE[kind] % path}", f"cp -p /root/blob {path}; rm /root/blob"):
        result = diagnose(*(variables(wharf_diagnose_image=f"{REGISTRY}/{pushed}") if named else ()))
    digest = path.split("/")[-2]
    result.says("digest", repository, f"a {kind} in the registry is damaged", f"expected sha256:{digest}", "push")


@pytest.mark.parametrize("code", ["digest", "blob_missing"])
def test_remedy_for_damaged_content_works(hosts, diagnose, image, pushed, code):
    server, repository = hosts["server"], pushed.partition(":")[0]
    arguments = variables(wharf_diagnose_image=pushed)
    path = contents(server, repository)["layer"]
    server.check_output(DAMAGE["layer"] % path if code == "digest" else f"rm {path}")
    result = diagnose(*arguments)
    remedy = re.search(r"To do: `(.*?)` on server", result.lines["client1"])[1]
    result.says(code, repository, path.split("/")[-2], f"then push {pushed} again")

    server.check_output(remedy)
    wait_for(hosts["client1"], f"docker push {image}")
    assert diagnose(*arguments).returncode == 0


def test_image_that_is_not_there(diagnose):
    result = diagnose(*variables(wharf_diagnose_image="test/nothing:1"))
    result.says("image_missing", "test/nothing:1", "wharf_diagnose_image")
    refused = diagnose(*variables(wharf_diagnose_image="Test Nothing"))
    assert refused.returncode == 2
    assert "wharf_diagnose_image: " in refused.output


# Hosts that cannot be reached, and others ---------------------------------------------------------


def test_one_of_two_servers_that_has_no_registry(diagnose):
    result = diagnose("-i", str(INVENTORIES / "second-server.yml"))
    result.says("container_absent", "container registry is not there on client2", hosts=("client2",))


def test_server_that_ansible_does_not_reach(hosts, diagnose):
    result = diagnose("-i", str(INVENTORIES / "no-server.yml"))
    result.says("unreachable", "Ansible does not reach this host", hosts=("server",))
    with broken(hosts["server"], "docker stop --time 0 registry", "docker start registry"):
        result = diagnose("-i", str(INVENTORIES / "no-server.yml"))
    assert "refuses connections to port 5000." in result.lines["client1"], result.output


def test_client_that_ansible_does_not_reach(diagnose):
    result = diagnose("-i", str(INVENTORIES / "no-client.yml"))
    result.says("unreachable", "Ansible does not reach this host")


@pytest.fixture
def engineless(hosts) -> Iterator[Host]:
    """Return a client without a Docker engine that trusts the registry as podman does."""
    host, directory = hosts["engineless"], f"/etc/containers/certs.d/{REGISTRY}"
    ca = hosts["client1"].file(f"{CERTS}/wharf-ca.crt").content_string
    with broken(host, f"mkdir -p {directory}; echo '{ca}' >{directory}/ca.crt", f"rm -r {directory}"):
        yield host


ENGINELESS = ("-i", str(INVENTORIES / "engineless.yml"), "--limit", "engineless")


def test_client_without_a_docker_engine(diagnose, engineless):
    result = diagnose(*ENGINELESS)
    assert result.returncode == 0, result.output
    assert result.lines["engineless"] == "all is well."
    file = f"/etc/containers/certs.d/{REGISTRY}/ca.crt"
    with broken(engineless, f"mv {file} /root/ca.crt", f"mv /root/ca.crt {file}"):
        diagnose(*ENGINELESS).says("ca_missing", f"/etc/containers/certs.d/{REGISTRY}", hosts=("engineless",))


def test_clock_of_the_client_that_is_wrong(diagnose, engineless):
    """The module's Python is shown another time, because containers have their machine's clock."""
    python = "/usr/local/bin/python-with-wrong-clock"
    engineless.check_output("apt-get update -qq && apt-get install -qq --no-install-recommends faketime >/dev/null")
    write(engineless, python, '#!/bin/sh\nexec faketime -f +500d /usr/bin/python3 "$@"\n')
    engineless.check_output(f"chmod +x {python}")
    result = diagnose(*ENGINELESS, "-i", str(INVENTORIES / "wrong-clock.yml"))
    words = ["the clock of this host is 500 days ahead", "timedatectl"]
    result.says("clock", *words, hosts=("engineless",))


def test_all_is_well_again(diagnose):
    result = diagnose()
    assert result.returncode == 0, result.table
