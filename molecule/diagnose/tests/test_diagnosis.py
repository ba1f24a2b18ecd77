"""A registry that works is broken in one place at a time; the diagnosis must name it, and what to do about it.

What a fault is called is asked of the modules and the judge themselves, on two clients that are broken differently at
the same time. Whole runs of the playbook are kept for what the playbook does.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import ansible
import pytest
from clients import REGISTRY, log_in, push
from machines import (
    PROJECT,
    broken,
    container,
    docker_that,
    flip_bit,
    program,
    put,
    put_back,
    snapshot,
    some,
    wait_until,
    without_repair,
)
from plays import Ansible
from testinfra.host import Host

from ansible_collections.wharf.registry.plugins.plugin_utils import diagnosis

NAME = REGISTRY.partition(":")[0]
CERTS = f"/etc/docker/certs.d/{REGISTRY}"
DATA = "/var/lib/wharf/registry"
LIBRARY = "/opt/wharf-library"
INVENTORIES = PROJECT / "molecule/diagnose/inventory"
RESTART = "docker restart --time 0 registry"
RESTART_GATEWAY = "docker restart --time 0 registry-gateway"
ASK = "python3 -c 'import ssl, urllib.request as r; r.urlopen(\"%s\", context=ssl._create_unverified_context())'"
ANSWERS, ANSWERS_HTTP = (ASK % f"{scheme}://127.0.0.1:5000/health" for scheme in ("https", "http"))
START_ENGINE = "systemctl reset-failed docker docker.socket; systemctl start docker.socket docker"
BOTH = ("client1", "client2")
EVERYWHERE = (*BOTH, "server")
SERVER = {"container": "registry", "port": 5000, "data": DATA, "tls_directory": "/etc/wharf/tls"}
UNREACHABLE = {"unreachable": True, "msg": "not asked"}


class Diagnosis:
    """A diagnosis: its output, a line for each host, and the table."""

    def __init__(self, output: str, lines: dict[str, str], table: str) -> None:
        self.output, self.lines, self.table = output, lines, table
        self.rows = {row.split()[0]: row for row in table.splitlines()[1:] if " warning: " not in row}

    def is_well(self) -> bool:
        """Tell whether nothing is broken and nothing is worth a warning."""
        return bool(self.lines) and all(line == "all is well." for line in self.lines.values())

    def says(self, code: str, *words: str, hosts: tuple[str, ...] = ("client1",), others: tuple[str, ...] = ()) -> None:
        """Assert that this is the verdict on just these hosts, and that line and table hold what a person needs.

        Others are broken as well, in another way.
        """
        broken = {host for host, row in self.rows.items() if "all is well" not in row}
        assert broken == {*hosts, *others}, self.table
        for host in hosts:
            assert diagnosis.VERDICTS[code]["short"] in self.rows[host], self.table
        for word in words:
            assert word in self.lines[hosts[0]], self.output

    def warns(self, code: str, *words: str, host: str) -> None:
        """Assert that a host has this warning, and that nothing is broken there."""
        assert "all is well" in self.rows[host], self.table
        assert f"warning: {diagnosis.VERDICTS[code]['short']}" in self.table
        for word in words:
            assert word in self.lines[host], self.output


# The messages are read from what it prints.
DIAGNOSIS = Ansible(ANSIBLE_CALLBACK_RESULT_FORMAT="json")


def diagnose(*arguments: str, well: bool = False, **variables: object) -> Diagnosis:
    """Run the playbook; it must fail where something is broken, and change nothing."""
    result = DIAGNOSIS("playbooks/diagnose-registry.yml", *arguments, **variables)
    assert result.returncode == (0 if well else 2), result.output
    assert "changed: [" not in result.output
    messages = [json.loads(f'"{text}"') for text in re.findall(r'"msg": "((?:[^"\\]|\\.)*)"', result.output)]
    table = next((text for text in messages if text.startswith("host ")), "")
    lines = [re.match(r"(\w+): (.*)", text) for text in messages if text != table]
    return Diagnosis(result.output, {line[1]: line[2] for line in lines if line}, table)


@pytest.fixture(scope="session")
def call(tmp_path_factory) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Return a function that runs a module on a host, without the start of Ansible; it returns output and result."""
    library = tmp_path_factory.mktemp("library")
    shutil.copytree(Path(ansible.__file__).with_name("module_utils"), library / "ansible/module_utils")
    (library / "ansible/__init__.py").touch()
    for name in ("modules", "module_utils"):
        shutil.copytree(PROJECT / "plugins" / name, library / "ansible_collections/wharf/registry/plugins" / name)
    shutil.copy(Path(__file__).with_name("files") / "run_module.py", library)
    ready = set()

    def run_module(host: str, module: str, arguments: dict, python: str = "/usr/bin/python3") -> tuple[str, dict]:
        if host not in ready:
            subprocess.run(["docker", "cp", "--quiet", f"{library}/.", f"{container(host)}:{LIBRARY}"], check=True)
            ready.add(host)
        command = ["docker", "exec", "--interactive", container(host), python, f"{LIBRARY}/run_module.py", module]
        done = subprocess.run(command, input=json.dumps(arguments), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, json.loads(done.stdout)

    return run_module


@pytest.fixture(scope="session")
def good_server(call) -> dict[str, Any]:
    """Return what the server's module says of the server that is well."""
    return call("server", "registry_server_diagnosis", SERVER)[1]


@pytest.fixture
def examine(call, good_server, password) -> Callable[..., Diagnosis]:
    """Return a function that examines clients by the module, and judges them together with the server."""

    def examine_hosts(
        *clients: str,
        server: dict[str, Any] | bool = False,
        trust: str = "private_ca",
        python: str = "/usr/bin/python3",
        **changes: Any,
    ) -> Diagnosis:
        """Examine hosts.

        Args:
            clients: the clients.
            server: True to ask the server as well, which is otherwise taken for well; or what is known of it.
            trust: wharf_registry_trust.
            python: runs the module on the clients.
            changes: parameters of the module.
        """
        users = [{"name": "ci", "password": password}]
        arguments = {"name": NAME, "port": 5000, "users": users, "logins": ["root"], "ca": good_server["ca"]}
        arguments |= {"timeout": 3} | changes
        with ThreadPoolExecutor() as pool:
            asked = {host: pool.submit(call, host, "registry_diagnosis", arguments, python) for host in clients}
            if server is True:
                asked["server"] = pool.submit(call, "server", "registry_server_diagnosis", SERVER)
        output = "".join(future.result()[0] for future in asked.values())
        found = {host: future.result()[1] for host, future in asked.items()}
        servers = {"server": found.pop("server", server or good_server)}
        settings = {"name": NAME, "port": 5000, "trust": trust, "address": "", "container": "registry", "standbys": []}
        judged = diagnosis.diagnosis(servers, found, settings)
        lines = {host: verdict["line"] for host, verdict in judged["verdicts"].items()}
        return Diagnosis(output, lines, judged["table"])

    return examine_hosts


# The playbook -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_run(hosts) -> tuple[Diagnosis, dict[str, str], dict[str, str]]:
    """Return a run where all is well, as verbose as it gets, and what the hosts were like before and afterwards."""
    before = {name: snapshot(hosts[name]) for name in EVERYWHERE}
    result = diagnose("-vvv", well=True)
    return result, before, {name: snapshot(hosts[name]) for name in EVERYWHERE}


def test_all_is_well_and_stays_as_it_is(good_run):
    result, before, after = good_run
    assert set(result.lines) == set(EVERYWHERE)
    assert result.is_well(), result.table
    assert before == after


def test_secrets_show_nowhere(hosts, good_run, password):
    auth = json.loads(hosts["client1"].file("/root/.docker/config.json").content_string)["auths"][REGISTRY]["auth"]
    assert password not in good_run[0].output
    assert auth not in good_run[0].output


@pytest.mark.parametrize("arguments", [("--check", "--diff", "--limit", "client2"), ("--limit", "server")])
def test_all_is_well_in_check_mode_and_for_one_host(arguments):
    result = diagnose(*arguments, well=True)
    assert set(result.lines) == {arguments[-1]}
    assert "all is well" in result.table


def test_password_that_is_not_here():
    result = diagnose(wharf_registry_users=[{"name": "ci"}, {"name": "dev"}])
    result.says("password_unknown", "gives dev no password", ".credentials/users/dev")


def test_image_that_cannot_be_one_is_refused():
    result = DIAGNOSIS("playbooks/diagnose-registry.yml", wharf_diagnose_image="Test Nothing")
    assert result.returncode == 2
    assert "wharf_diagnose_image: " in result.stdout


def test_server_that_hangs(hosts, examine, tmp_path):
    """What listens takes the connection, and says nothing; so does the gateway of a server that is paused."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": silent.getsockname()[1]}
        inventory = tmp_path / "silent.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"server": address}}}))
        result = diagnose("-i", str(inventory))
    result.says("no_ssh", "this host does not answer SSH", hosts=("server",))
    with broken(hosts["server"], "docker pause registry-gateway", "docker unpause registry-gateway"):
        start = time.monotonic()
        result = examine("client1", server={"unreachable": True, "msg": "Connection timed out"})
        assert time.monotonic() - start < 20
    result.says("server_away", "Ansible does not reach server either", others=("server",))
    with broken(hosts["server"], "docker stop --time 0 registry-gateway", "docker start registry-gateway"):
        result = examine("client1", server=UNREACHABLE)
    assert "refuses connections to port 5000." in result.lines["client1"], result.output


def test_client_that_ansible_does_not_reach():
    result = diagnose("-i", str(INVENTORIES / "no-client.yml"))
    result.says("unreachable", "Ansible does not reach this host")


def test_container_that_is_gone(hosts):
    gone, back = "docker stop --time 0 registry && docker rename registry other", "docker rename other registry"
    with broken(hosts["server"], gone, f"{back} && docker start registry"):
        result = diagnose()
    result.says("container_absent", "container registry is not there on server", hosts=("server", "client1", "client2"))


# Faults of one client -----------------------------------------------------------------------------


class Fault(NamedTuple):
    """A fault of a client: how it is broken, the files that are put back then, and what the diagnosis must say."""

    how: str
    files: tuple[str, ...]
    code: str
    words: list[str]
    is_warning: bool = False
    then: str = ":"  # run when the files are back
    afterwards: str = ""  # a command that must still succeed after the diagnosis


def misplaced(wrong: str) -> Fault:
    """Return the fault that the CA's directory is misspelled."""
    moved = f"/etc/docker/certs.d/{wrong}"
    return Fault(
        f"mkdir -p $(dirname {moved}); mv {CERTS} {moved}",
        ("/etc/docker/certs.d",),
        "ca_misplaced",
        [f"is in {moved}", f"read {CERTS}", "trust-registry.yml --limit client1"],
    )


DAEMON_JSON = "/etc/docker/daemon.json"
DROP_IN = "/etc/systemd/system/docker.service.d/proxy.conf"
LOGIN = "/root/.docker/config.json"
NEW_CA = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=Other CA' 2>/dev/null"
RESTART_ENGINE = "systemctl daemon-reload; systemctl reset-failed docker; systemctl restart docker"
UNMASK = "systemctl unmask docker.service docker.socket; systemctl start docker"
INSECURE = f'sed -i \'1s/{{/{{"insecure-registries": ["{REGISTRY}"],/\' {DAEMON_JSON}'
# Whoever asks the socket starts the engine: it must stay as it is.
STOPPED = "systemctl stop docker; systemctl start docker.socket"
STAYS_STOPPED = 'test "$(systemctl is-active docker docker.socket | paste -sd " ")" = "inactive active"'


def proxy(no_proxy: str = "") -> Fault:
    """Return the fault that the engine has a proxy that leads nowhere."""
    text = f"[Service]\\nEnvironment=HTTPS_PROXY=http://user:secret@127.0.0.1:9 NO_PROXY={no_proxy}\\n"
    directory = DROP_IN.rpartition("/")[0]
    return Fault(
        f"mkdir {directory}; printf '{text}' >{DROP_IN}; {RESTART_ENGINE}",
        (directory,),
        "proxy",
        ["the proxy http://127.0.0.1:9", f"add {NAME} to NO_PROXY in {DROP_IN}"],
        then=RESTART_ENGINE,
    )


def other_host(address: str, server: str, there: str) -> Fault:
    """Return the fault that the registry's name leads to another host."""
    return Fault(
        f"echo {address} {NAME} >>/etc/hosts",
        ("/etc/hosts",),
        "other_host",
        [f"resolves to {address} here", f"on server ({server})", there, "/etc/hosts"],
    )


CLIENT1 = {
    "name that does not resolve": Fault(
        "sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf",
        ("/etc/nsswitch.conf",),
        "unresolved",
        [f"{NAME} does not resolve here", "wharf_manage_hosts_file: true", "--limit client1"],
    ),
    "CA without port": misplaced(NAME),
    "CA with capital letter": misplaced(f"{NAME.capitalize()}:5000"),
    "CA with scheme": misplaced(f"https:/{REGISTRY}"),
    "engine that is masked": Fault(
        "systemctl stop docker.socket docker; systemctl --quiet mask docker.service docker.socket",
        (),
        "engine_masked",
        [f"`{UNMASK}` on client1"],
        afterwards=UNMASK,
        then=f"systemctl --quiet unmask docker.service docker.socket; {START_ENGINE}",
    ),
    "no CA": Fault(f"rm -r {CERTS}", (CERTS,), "ca_missing", [CERTS, "trust-registry.yml --limit client1"]),
}
CLIENT2 = {
    "daemon.json is broken": Fault(
        f"{STOPPED}; echo '{{\"debug\": false,' >{DAEMON_JSON}",
        (DAEMON_JSON,),
        "engine_json",
        ["line 2", "repair /etc/docker/daemon.json", "systemctl start docker"],
        then=START_ENGINE,
        afterwards=STAYS_STOPPED,
    ),
    "daemon.json contradicts a flag": Fault(
        f'{STOPPED}; echo \'{{"hosts": ["unix:///run/docker.sock"]}}\' >{DAEMON_JSON}',
        (DAEMON_JSON,),
        "engine_conflict",
        ["hosts is set in", "by -H", "systemctl start docker"],
        then=START_ENGINE,
        afterwards=STAYS_STOPPED,
    ),
    "daemon.json is broken under a running engine": Fault(
        f"echo '{{' >{DAEMON_JSON}", (DAEMON_JSON,), "engine_json_later", ["would not start again"], True
    ),
    "proxy": proxy(),
    "engine that hangs": Fault(
        "kill -STOP $(cat /run/docker.pid)",
        (),
        "engine_hangs",
        ["does not answer within 10 s", "`systemctl restart docker` on client2"],
        afterwards="systemctl restart docker",
        then="kill -CONT $(cat /run/docker.pid)",
    ),
    "engine that verifies no certificate": Fault(
        f"{INSECURE}; {RESTART_ENGINE}; rm -r {CERTS}",
        (DAEMON_JSON, CERTS),
        "engine_gets_through",
        [f"the engine reaches {REGISTRY} in its own way", "otherwise: the CA is not known here"],
        True,
        then=RESTART_ENGINE,
    ),
}


@contextlib.contextmanager
def having(host: Host, fault: Fault) -> Iterator[None]:
    """Let a host have a fault."""
    with put_back(host, *fault.files, then=fault.then):
        host.check_output(fault.how)
        yield


def check(result: Diagnosis, fault: Fault, host: str, others: tuple[str, ...]) -> None:
    """Assert that the diagnosis names the fault of a host."""
    if fault.is_warning:
        result.warns(fault.code, *fault.words, host=host)
    else:
        result.says(fault.code, *fault.words, hosts=(host,), others=others)


@contextlib.contextmanager
def two_faults(hosts, first: Fault, second: Fault) -> Iterator[Callable[[Diagnosis], None]]:
    """Break two clients; yields what compares a diagnosis with both faults."""

    def compare(result: Diagnosis) -> None:
        check(result, first, "client1", () if second.is_warning else ("client2",))
        check(result, second, "client2", () if first.is_warning else ("client1",))
        for name, fault in (("client1", first), ("client2", second)):
            if fault.afterwards:
                hosts[name].check_output(fault.afterwards)

    with having(hosts["client1"], first), having(hosts["client2"], second):
        yield compare


@pytest.mark.parametrize(("first", "second"), [*zip(CLIENT1, CLIENT2, strict=True)])
@pytest.mark.thorough("CA with capital letter-daemon.json is broken under a running engine", "CA with scheme-proxy")
def test_fault_of_each_of_two_clients(hosts, examine, first, second):
    with two_faults(hosts, CLIENT1[first], CLIENT2[second]) as compare:
        result = examine(*BOTH)
        compare(result)
    assert "secret" not in result.output


@pytest.mark.thorough
def test_login_that_is_missing_and_a_ca_that_is_another_in_the_playbook(hosts):
    words = [f"{CERTS}/wharf-ca.crt", "trust-registry.yml --limit client1"]
    first = Fault(f"{NEW_CA} -keyout /dev/null -out {CERTS}/wharf-ca.crt", (CERTS,), "ca_wrong", words)
    second = Fault(f"rm {LOGIN}", (LOGIN,), "login_missing", ["root is not logged in", "--limit client2"])
    with two_faults(hosts, first, second) as compare:
        compare(diagnose())


def test_name_that_leads_to_another_host_with_a_closed_port_and_a_login_that_is_old(hosts, examine):
    address, server = (hosts[name].check_output("hostname --ip-address") for name in ("client2", "server"))
    old = f'sed -i \'s/"auth": "[^"]*"/"auth": "Y2k6b2xk"/\' {LOGIN}'
    second = Fault(old, (LOGIN,), "login_refused", [LOGIN, "--limit client2"])
    with two_faults(hosts, other_host(address, server, "the port is closed"), second) as compare:
        compare(examine(*BOTH))


@pytest.mark.thorough
def test_name_that_leads_to_another_host_with_another_server_and_an_engine_that_is_stopped(hosts, examine):
    address, server = (hosts[name].check_output("hostname --ip-address") for name in ("client2", "server"))
    first = other_host(address, server, "no registry answers on the port")
    stop = "systemctl stop docker.socket docker"
    second = Fault(stop, (), "engine_stopped", ["systemctl start docker` on client2"], then=START_ENGINE)
    listen = "systemd-run --quiet --unit other --working-directory /tmp python3 -m http.server 5000; sleep 0.5"
    with broken(hosts["client2"], listen, "systemctl stop other"), two_faults(hosts, first, second) as compare:
        compare(examine(*BOTH))


def test_proxy_that_leaves_the_registry_out_is_none(hosts, examine):
    with having(hosts["client2"], proxy(no_proxy=f"localhost,.{NAME.partition('.')[2]}")):
        result = examine("client2")
    assert result.is_well(), result.table


# The port -----------------------------------------------------------------------------------------


def test_port_that_a_firewall_closes_or_filters(hosts, examine):
    rules = [
        f"DOCKER-USER --source {hosts[name].check_output('hostname --ip-address')} --protocol tcp --dport 5000 {target}"
        for name, target in (("client1", "--jump REJECT --reject-with tcp-reset"), ("client2", "--jump DROP"))
    ]
    close, opened = (" && ".join(f"iptables {option} {rule}" for rule in rules) for option in ("-I", "-D"))
    with broken(hosts["server"], close, opened):
        result = examine(*BOTH)
    words = ["refuses connections to port 5000, although its containers run", "firewall"]
    result.says("refused", *words, hosts=("client1",), others=("client2",))
    words = ["nothing comes back", "let TCP port 5000 through", "firewall"]
    result.says("filtered", *words, hosts=("client2",), others=("client1",))


def test_large_packets_that_vanish(hosts, examine):
    """On the way to one client, and on the way from the other."""
    server = hosts["server"]
    one, two = (hosts[name].check_output("hostname --ip-address") for name in BOTH)
    rules = [f"--destination {one} --protocol tcp --sport 5000", f"--source {two} --protocol tcp --dport 5000"]
    close, opened = (
        " && ".join(f"iptables {option} DOCKER-USER {rule} --match length --length 700: --jump DROP" for rule in rules)
        for option in ("-I", "-D")
    )
    with broken(server, close, opened):
        result = examine(*BOTH)
    result.says("large_packets", "small packets reach", "mtu 1280", hosts=BOTH)
    assert "insecure" not in result.output


@pytest.mark.parametrize(
    ("how", "repair", "code", "remedy"),
    [
        ("sysctl -qw net.ipv4.ip_forward=0", ":", "forwarding_off", "sysctl -w net.ipv4.ip_forward=1"),
        ("iptables -P FORWARD DROP; iptables -F FORWARD", "iptables -P FORWARD ACCEPT", "rules_missing", ""),
    ],
    ids=["switch", "rules"],
)
@pytest.mark.thorough("rules")
def test_server_that_forwards_nothing(hosts, examine, ansible, how, repair, code, remedy):
    server = hosts["server"]
    kept = "/run/kept.rules"
    back = f"{repair}; sysctl -qw net.ipv4.ip_forward=1; iptables-restore {kept}"
    with broken(server, f"iptables-save >{kept}; {how}", back):
        result = examine(*BOTH, server=True)
        result.says(code, remedy or "`systemctl restart docker` on server", hosts=EVERYWHERE)
        if remedy:
            deployed = ansible.fails("playbooks/deploy-registry.yml")
            assert "net.ipv4.ip_forward is 0 on server" in deployed.stdout
            server.check_output(re.search("`(.*?)` on server", result.lines["client1"])[1])
            assert examine(*BOTH, server=True).is_well()


@pytest.mark.thorough
def test_networks_that_overlap(hosts, examine):
    """The server's Docker has a network for the address of one client, the other client's for that of the server."""
    server, client1, client2 = (hosts[name] for name in ("server", *BOTH))
    address, other = (host.check_output("hostname --ip-address") for host in (client1, server))
    with (
        broken(server, network(address), "docker network rm overlap"),
        broken(client2, network(other), "docker network rm overlap"),
    ):
        result = examine(*BOTH, server=True)
    result.says(
        "route_inner", f"the route of server to client1 ({address}) leads into br-", hosts=("client1", "client2")
    )
    assert f"the route of client2 to the registry ({other}) leads into br-" in result.lines["client2"]


def network(address: str) -> str:
    """Return the command that gives Docker a network which an address is in."""
    net = ipaddress.ip_network(f"{address}/30", strict=False)
    gateway = next(str(one) for one in net.hosts() if str(one) != address)
    return f"docker network create --subnet {net} --gateway {gateway} overlap"


def test_engine_of_the_server_that_hangs(hosts, examine):
    start = time.monotonic()
    with broken(hosts["server"], "kill -STOP $(cat /run/docker.pid)", "kill -CONT $(cat /run/docker.pid)"):
        result = examine(*BOTH, server=True)
    # The registry runs on.
    result.says("engine_hangs", "`systemctl restart docker` on server", hosts=("server",))
    assert time.monotonic() - start < 25


@pytest.mark.thorough
def test_container_that_is_stopped_in_the_playbook(hosts):
    with broken(hosts["server"], "docker stop --time 0 registry", "docker start registry"):
        result = diagnose()
    result.says("container_stopped", "`docker start registry` on server", hosts=EVERYWHERE)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        pytest.param(["registry"], "docker start registry", marks=pytest.mark.thorough),
        pytest.param(["registry-gateway"], "docker start registry-gateway", marks=pytest.mark.thorough),
        pytest.param(
            ["registry-network"],
            "docker start registry-network; docker restart registry-gateway",
            marks=pytest.mark.thorough,
        ),
        (["registry", "registry-network", "registry-gateway"], None),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_containers_that_are_stopped(hosts, examine, names, remedy):
    server, all_of_them = hosts["server"], "registry registry-network registry-gateway"
    with broken(server, f"docker stop --time 0 {' '.join(names)}", f"docker start {all_of_them}"):
        result = examine(*BOTH, server=True)
        result.says("container_stopped", f"container {names[0]} on server does not run", hosts=EVERYWHERE)
        said = re.search("To do: `(.*?)` on server", result.lines["server"])[1]
        assert said == (remedy or f"docker start {all_of_them}")
        server.check_output(said)
        wait_until(server, ANSWERS)
        assert examine(*BOTH, server=True).is_well()


ALL_OF_GATEWAY = "$(docker top registry-gateway -o pid | tail -n +2)"


@pytest.mark.parametrize(
    ("how", "repair", "code"),
    [
        ("docker network disconnect bridge registry-network", ":", "no_network"),
        (f"kill -STOP {ALL_OF_GATEWAY}", RESTART_GATEWAY, "gateway_silent"),
        ("docker restart --time 0 registry-network", RESTART_GATEWAY, "gateway_cut_off"),
        (
            "kill -STOP $(docker inspect --format '{{.State.Pid}}' registry)",
            "kill -CONT $(docker inspect --format '{{.State.Pid}}' registry)",
            "registry_silent",
        ),
    ],
    ids=["network", "gateway", "another network", "registry"],
)
@pytest.mark.thorough("gateway", "another network", "registry")
def test_containers_that_nobody_gets_through_to(hosts, examine, how, repair, code):
    server = hosts["server"]
    with without_repair(server), broken(server, how, repair):
        result = examine(*BOTH, server=True)
        result.says(code, hosts=EVERYWHERE)
        assert server.run("wharf status").rc == 3
        server.check_output(re.search("To do: `(.*?)` on server", result.lines["server"])[1])
        wait_until(server, ANSWERS)
        assert examine(*BOTH, server=True).is_well()


@pytest.mark.parametrize("name", some(["registry"], ["registry", "registry-gateway"]))
def test_container_that_is_paused(hosts, examine, name):
    with broken(hosts["server"], f"docker pause {name}", f"docker unpause {name}"):
        result = examine(*BOTH, server=True)
    result.says("container_stopped", f"`docker unpause {name}` on server", hosts=EVERYWHERE)


def test_registry_behind_the_gateway_is_told_apart_by_a_client_alone(hosts, examine):
    """What asks without a user gets the gateway's 401, whatever is behind it."""
    with broken(hosts["server"], "docker stop --time 0 registry", "docker start registry"):
        result = examine("client1", server=UNREACHABLE)
    result.says("registry_away", "the gateway answers, the registry behind it does not", others=("server",))


UPSTREAMS = "/etc/wharf/gateway/upstreams.conf"


def test_gateway_that_asks_in_the_wrong_place(hosts, examine, ansible):
    server = hosts["server"]
    reload = "docker kill --signal HUP registry-gateway; sleep 1"
    with put_back(server, UPSTREAMS, then=reload):
        server.check_output(f"sed -i 's,/[ab].sock,/none.sock,' {UPSTREAMS}; {reload}")
        result = examine(*BOTH, server=True)
        result.says("gateway_lost", "run playbooks/deploy-registry.yml", hosts=EVERYWHERE)
        ansible.succeeds("playbooks/deploy-registry.yml")
        assert examine(*BOTH, server=True).is_well()


@pytest.mark.parametrize(
    "path",
    ["/etc/wharf/gateway/users", "/etc/wharf/registry/config.yml", "/etc/wharf/tls/registry.key"],
)
@pytest.mark.thorough
def test_file_that_a_container_may_not_read(hosts, examine, path):
    """Each breaks at another time: the users with the next request, the others with the next start."""
    server = hosts["server"]
    with put_back(server, path):
        server.check_output(f"chmod 600 {path} && chown root:root {path}")
        result = examine(*BOTH, server=True)
    where = EVERYWHERE if path.endswith("users") else ("server",)
    result.says("file_unreadable", f"may not read {path}", "deploy-registry.yml", hosts=where[::-1])


def test_pushes_that_wait_for_a_collection_that_was_killed(hosts, examine, image, password):
    server = hosts["server"]
    log_in(hosts["client1"], password)
    push(hosts["client1"], image)
    # Without garbage nothing is held back.
    server.check_output(f"rm -r {DATA}/docker/registry/v2/repositories/{image.partition('/')[2].partition(':')[0]}")
    killed = '"create --name registry-collect-garbage "*) kill -9 $PPID ;;'
    with without_repair(server), broken(server, ":", "wharf collect-garbage --recover"):
        with docker_that(server, killed):
            assert server.run("wharf collect-garbage").rc != 0
        result = examine(*BOTH, server=True)
        result.says("pushes_held", "`wharf collect-garbage --recover` on server", hosts=EVERYWHERE)
        assert "and pushes wait" in server.run("wharf status").stdout
        server.check_output(re.search("To do: `(.*?)` on server", result.lines["server"])[1])
        assert examine(*BOTH, server=True).is_well()
        server.check_output("wharf status")


def test_something_else_answers_on_the_port(hosts, examine):
    server = hosts["server"]
    start = (
        "docker stop --time 0 registry-network; systemd-run --quiet --unit other --working-directory /tmp"
        " python3 -m http.server 5000; sleep 0.5"
    )
    back = f"systemctl stop other; docker start registry-network; {RESTART_GATEWAY}"
    with without_repair(server), broken(server, start, back):
        result = examine(*BOTH, server=True)
        result.says("port_taken", "python3 has port 5000 instead", hosts=EVERYWHERE)
        stop, start_again = re.findall("`(.*?)`", result.lines["server"])[:2]
        start_both = "docker start registry-network; docker restart registry-gateway"
        assert (stop, start_again) == ("systemctl stop other.service", start_both)
        server.check_output(f"{stop} && {start_again}")
        wait_until(server, ANSWERS)
        assert examine(*BOTH, server=True).is_well()


OPEN = {"trust": "insecure", "tls": False, "users": [], "logins": []}


def test_tls_where_plain_http_is_expected(examine):
    result = examine(*BOTH, **OPEN)
    result.says("https_for_http", "wharf_registry_trust to private_ca", hosts=BOTH)


@contextlib.contextmanager
def configuration(server: Host, edits: str) -> Iterator[None]:
    """Edit the gateway's configuration with sed."""
    files = [f"/etc/wharf/gateway/{name}.conf" for name in ("nginx", "listen")]
    with put_back(server, *files, then=RESTART_GATEWAY):
        server.check_output(f"sed -i {shlex.quote(edits)} {' '.join(files)}; {RESTART_GATEWAY}")
        wait_until(server, ANSWERS_HTTP)
        yield
    wait_until(server, ANSWERS)


WITHOUT_TLS = "/^ *ssl_/d; s/ ssl / /"
WITHOUT_USERS = "/^ *auth_basic/d; /^ *auth_delay/d; /is_unknown) {/,/}/d"


def test_plain_http_where_tls_is_expected(hosts, examine):
    with configuration(hosts["server"], WITHOUT_TLS):
        result = examine(*BOTH)
    result.says("http_for_https", "plain HTTP", "run playbooks/deploy-registry.yml", hosts=BOTH)
    assert "insecure" not in result.output


@pytest.mark.thorough
def test_plain_http_that_the_engine_does_not_allow(hosts, examine):
    with (
        configuration(hosts["server"], f"{WITHOUT_TLS}; {WITHOUT_USERS}"),
        put_back(hosts["client2"], DAEMON_JSON, then=RESTART_ENGINE),
    ):
        hosts["client2"].check_output(f"{INSECURE}; {RESTART_ENGINE}")
        result = examine(*BOTH, **OPEN)
    result.says("insecure_not_allowed", "trust-registry.yml --limit client1", hosts=("client1",))


# The certificate ----------------------------------------------------------------------------------


@contextlib.contextmanager
def certificate(server: Host, names: str, first_day: str, last_day: str, *ca: str) -> Iterator[None]:
    """Let the registry serve a certificate that Wharf's own CA has signed, or another."""
    issue = program(server, "issue-certificate.sh", names, f"{first_day}000000Z", f"{last_day}000000Z", *ca)
    with put_back(server, "/etc/wharf/tls/registry.crt", then=RESTART_GATEWAY):
        server.check_output(f"{issue}; {RESTART_GATEWAY}")
        wait_until(server, ANSWERS)
        yield


RIGHT = f"DNS:{NAME},DNS:localhost"


@pytest.mark.parametrize(
    ("issued", "code", "words", "where"),
    [
        ((RIGHT, "20240101", "20250101"), "expired", ["expired on 2025-01-01", "renews"], EVERYWHERE),
        ((RIGHT, "20400101", "20450101"), "not_yet_valid", ["valid from 2040-01-01", "clock"], BOTH),
        (
            (RIGHT, "20240101", "20450101", "other"),
            "ca_unknown",
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
@pytest.mark.thorough("not yet valid", "another CA")
def test_certificate_that_is_wrong(hosts, examine, issued, code, words, where):
    with certificate(hosts["server"], *issued):
        result = examine(*BOTH, server=True)
    result.says(code, *words, hosts=where)


def test_certificate_that_is_not_served(hosts, examine):
    """A new one that the gateway has not read, and an old one that has expired meanwhile."""
    server = hosts["server"]
    with certificate(server, RIGHT, "20240101", "20250101"):
        server.check_output(program(server, "issue-certificate.sh", RIGHT, "20240101000000Z", "20450101000000Z"))
        result = examine(*BOTH, server=True)
        result.says("not_served", hosts=EVERYWHERE)
        server.check_output(re.search("To do: `(.*?)` on server", result.lines["server"])[1])
        wait_until(server, "openssl s_client -connect 127.0.0.1:5000 </dev/null | openssl x509 -noout -checkend 0")
        assert examine(*BOTH, server=True).is_well()


@pytest.mark.thorough
def test_certificate_that_ends_soon_is_a_warning(hosts, examine):
    with certificate(
        hosts["server"], RIGHT, "20240101", time.strftime("%Y%m%d", time.gmtime(time.time() + 10 * 86400))
    ):
        result = examine(server=True)
    result.warns("certificate_soon", f"Warning: the certificate of {REGISTRY} ends on", host="server")


# Users --------------------------------------------------------------------------------------------


def test_password_that_is_refused(examine):
    result = examine(*BOTH, users=[{"name": "ci", "password": "not-the-password-of-ci-at-all"}])
    result.says("password_refused", "refuses the password of ci", "wharf_registry_users", hosts=BOTH)
    assert "not-the-password" not in result.output


@pytest.mark.thorough
def test_password_that_is_required(examine):
    result = examine(*BOTH, users=[], logins=[])
    result.says("password_required", "wharf_registry_users", hosts=BOTH)


READER = [{"name": "ci", "role": "reader"}, {"name": "boss", "role": "admin", "password": "kD8-xQ2_vLm4Rt7Zp1Wc"}]


def test_user_who_may_not_pull_or_push(hosts, examine, ansible, password):
    """Each tool is refused what it asks for: it gets through all the same."""
    rules = [{"repositories": "**", "read": ["@admins"]}, {"repositories": "shelf/**", "read": ["ci"]}]
    log_in(hosts["client1"], password)
    try:
        ansible.succeeds("playbooks/deploy-registry.yml", wharf_registry_users=READER, wharf_registry_rules=rules)
        assert examine(*BOTH, server=True).is_well()
        result = examine(*BOTH, image=f"{REGISTRY}/private/app:1")
        result.says("image_denied", "user ci may not pull private/app:1", hosts=BOTH)
        remedy = re.search("To do: `(.*?)` on server", result.lines["client1"])[1]
        assert "rule 1 (**) does not list ci" in hosts["server"].check_output(remedy)
        examine("client1", image="shelf/app:1").warns("push_denied", "ci may not push to shelf/app", host="client1")
        # Without a name that of the catalogue is taken, which only admins may read.
        result = diagnose(well=True, wharf_registry_users=READER, wharf_registry_rules=rules)
        assert result.is_well(), result.table
    finally:
        ansible.succeeds("playbooks/deploy-registry.yml")
    assert examine(*BOTH, server=True, image="private/app:1").is_well()


# The server's storage -----------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(server: Host, size: str, filled: str) -> Iterator[None]:
    """Give the registry a disk of this size for its data."""
    mount = f"mount -t tmpfs -o size={size},uid=59500,gid=59500,mode=0750 tmpfs {DATA}"
    # With its data ID, without which the container would not start.
    mount = f"cp -p {DATA}/.wharf /run/data-id; {mount}; cp -p /run/data-id {DATA}/.wharf"
    how = f"{mount}; fallocate -l {filled} {DATA}/file; {RESTART}"
    with broken(server, how, f"docker stop --time 0 registry; umount {DATA}; docker start registry"):
        time.sleep(1)
        yield


def test_disk_that_is_full(hosts, examine):
    with small_disk(hosts["server"], "20m", "18m"):
        result = examine(*BOTH, server=True)
    result.says("disk_full", f"{DATA} on server has 2.0 MiB left", "wharf_registry_data", hosts=EVERYWHERE)


@pytest.mark.thorough
def test_disk_that_is_nearly_full_is_a_warning(hosts, examine):
    with small_disk(hosts["server"], "300m", "100m"):
        result = examine(server=True)
    result.warns("disk_low", "has only 200.0 MiB left", host="server")


@pytest.mark.parametrize(
    ("how", "repair", "code", "words"),
    [
        (
            f"mount --bind {DATA} {DATA} && mount -o remount,ro,bind {DATA}; {RESTART}",
            f"docker stop --time 0 registry; umount {DATA}; docker start registry",
            "mounted_read_only",
            ["is mounted read-only", "remount,rw"],
        ),
        (
            f"chown root:root {DATA}/docker/registry/v2/repositories",
            f"chown 59500:59500 {DATA}/docker/registry/v2/repositories",
            "wrong_owner",
            ["does not belong to the registry's user 59500", f"chown -R 59500:59500 {DATA}"],
        ),
        (f"chmod 000 {DATA}", f"chmod 750 {DATA}", "wrong_mode", ["the mode 0000", f"`chmod u+rwx {DATA}` on server"]),
    ],
    ids=["read-only", "owner", "mode"],
)
@pytest.mark.thorough("owner", "mode")
def test_storage_that_is_not_writable(hosts, examine, image, password, how, repair, code, words):
    log_in(hosts["client1"], password)
    push(hosts["client1"], image)  # without an image there are no repositories
    with broken(hosts["server"], how, repair):
        time.sleep(1)
        result = examine(*BOTH, server=True)
    result.says(code, *words, hosts=EVERYWHERE)


def test_storage_is_found_whatever_its_path(hosts, call):
    server, path = hosts["server"], '/srv/it\'s "quoted" and\\back'
    volume = shlex.quote(f"{path}:/var/lib/registry")
    create = f"mkdir {shlex.quote(path)}; docker create --name odd --volume {volume} wharf-registry:distro"
    with broken(server, create, f"docker rm odd; rmdir {shlex.quote(path)}"):
        _, odd = call("server", "registry_server_diagnosis", SERVER | {"container": "odd", "port": 5001})
    assert (odd["code"], odd["details"]) == ("container_absent", {"container": "odd-network", "place": path})


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


def damage(server: Host, kind: str, path: str) -> None:
    """Damage a layer in its middle, or a manifest by a space more in its JSON."""
    if kind == "layer":
        flip_bit(server, path)
    else:
        server.check_output(f"sed -i '1s/{{/{{ /' {path}")


@pytest.mark.parametrize(("kind", "named"), [("layer", True), ("manifest", False)], ids=["named", "first"])
@pytest.mark.thorough("first")
def test_digest_that_does_not_match(hosts, examine, pushed, kind, named):
    server = hosts["server"]
    repository = pushed.partition(":")[0]
    if not named:
        repository = f"test/{server.check_output(f'ls {DATA}/docker/registry/v2/repositories/test | head -n 1')}"
    path = contents(server, repository)[kind]
    with put_back(server, path):
        damage(server, kind, path)
        result = examine("client1", contents=True, image=f"{REGISTRY}/{pushed}" if named else "")
    digest = path.split("/")[-2]
    result.says("digest", repository, f"a {kind} in the registry is damaged", f"expected sha256:{digest}", "push")


@pytest.mark.parametrize("code", ["digest", "blob_missing"])
@pytest.mark.thorough("blob_missing")
def test_remedy_for_damaged_content_works(hosts, examine, image, pushed, code):
    server, repository = hosts["server"], pushed.partition(":")[0]
    path = contents(server, repository)["layer"]
    if code == "digest":
        damage(server, "layer", path)
    else:
        server.check_output(f"rm {path}")
    result = examine("client1", contents=True, image=pushed)
    remedy = re.search(r"To do: (?:`(.*?)` on server, then )?push ", result.lines["client1"])
    result.says(code, repository, path.split("/")[-2], f"push {pushed} again")

    # What is damaged must go first: a push would skip it.
    assert bool(remedy[1]) == (code == "digest")
    server.check_output(remedy[1] or "true")
    wait_until(hosts["client1"], f"docker push {image}")
    assert examine("client1", contents=True, image=pushed).is_well()


def test_image_that_is_not_there(examine):
    result = examine("client1", contents=True, image="test/nothing:1")
    result.says("image_missing", "test/nothing:1", "wharf_diagnose_image")


# Clients without a Docker engine ------------------------------------------------------------------


@pytest.fixture
def engineless(hosts) -> Iterator[Host]:
    """Return a client without a Docker engine that trusts the registry as podman does."""
    host, directory = hosts["engineless"], f"/etc/containers/certs.d/{REGISTRY}"
    ca = hosts["client1"].file(f"{CERTS}/wharf-ca.crt").content_string
    with broken(host, f"mkdir -p {directory}; echo '{ca}' >{directory}/ca.crt", f"rm -r {directory}"):
        yield host


def test_client_without_a_docker_engine(examine, engineless):
    file = f"/etc/containers/certs.d/{REGISTRY}/ca.crt"
    # What podman would read is of no use to containerd, which nobody has told where to look.
    result = examine("engineless")
    result.says("containerd_path", "sets no config_path", hosts=("engineless",))
    result = examine("engineless", tools=["podman"])
    assert result.is_well(), result.table
    with broken(engineless, f"mv {file} /root/ca.crt", f"mv /root/ca.crt {file}"):
        result = examine("engineless", tools=["podman"])
    result.says("ca_missing", f"/etc/containers/certs.d/{REGISTRY}", hosts=("engineless",))


def test_clock_of_the_client_that_is_wrong(examine, engineless):
    """The module's Python is shown another time, because containers have their machine's clock."""
    python = "/usr/local/bin/python-with-wrong-clock"
    engineless.check_output("apt-get update -qq && apt-get install -qq --no-install-recommends faketime >/dev/null")
    put(engineless, "python-with-wrong-clock.sh", python, mode="0755")
    result = examine("engineless", python=python, tools=["podman"])
    result.says("clock", "the clock of this host is 500 days ahead", "timedatectl", hosts=("engineless",))


def test_all_is_well_when_everything_is_repaired(examine):
    result = examine(*BOTH, server=True, contents=True)
    assert result.is_well(), result.table
