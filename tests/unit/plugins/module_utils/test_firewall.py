"""What of a firewall blocks the registry, and what is opened for it and taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import firewall as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

CONF = "flush ruleset\ntable inet filter {\n  chain forward { type filter hook forward priority 0; policy drop; }\n}\n"
DROP = {"family": "inet", "table": "filter", "name": "forward", "hook": "forward", "policy": "drop"}
ACCEPT = DROP | {"policy": "accept"}
UFW = "-N DOCKER-USER\n-A DOCKER-USER -j ufw-user-forward\n"
OPEN = "-A ufw-user-forward -p tcp -m tcp --dport 5000 -j ACCEPT\n"
RULE = "insert rule inet filter forward meta l4proto tcp ct original proto-dst 5001 ct status dnat accept comment"
BLOCK = f'{{}}{RULE} "{{}}"\n{{}}'


class Host:
    """A host whose programs answer as a test wants; what changes something is noted down."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have nftables' file in a directory, and no firewall."""
        self.chains: list[dict[str, Any]] = []
        self.rules: list[dict[str, Any]] = []
        self.iptables = {"DOCKER-USER": "", "ufw-user-forward": ""}
        self.done: list[str] = []
        self.checks, self.asked = 0, []
        self.conf, self.firewalld, self.ufw = root / "nftables.conf", root / "firewalld.conf", root / "user.rules"
        self.conf.write_text(CONF)
        monkeypatch.setattr(module, "NFTABLES", (str(root / "missing"), str(self.conf)))
        monkeypatch.setattr(module, "FIREWALLD", str(self.firewalld))
        monkeypatch.setattr(module, "UFW_RULES", str(self.ufw))
        monkeypatch.setattr(module, "UFW", str(root / "ufw.conf"))
        (root / "ufw.conf").write_text("# x\nENABLED=yes\n")
        monkeypatch.setattr(module, "has", lambda program: True)
        monkeypatch.setattr(module, "run", self.run)
        monkeypatch.setattr(module, "must_run", lambda command, _otherwise: self.done.append(" ".join(command)))

    def run(self, command: list[str]) -> tuple[int, str]:
        """Answer."""
        self.asked.append(command[0])
        if command[:2] == ["nft", "--json"]:
            kind, listed = ("chain", self.chains) if command[2] == "list chains" else ("rule", self.rules)
            return 0, json.dumps({"nftables": [{"metainfo": {}}, *({kind: one} for one in listed)]})
        if command[:2] == ["nft", "--check"]:
            return self.checks, "syntax error"
        return (0, self.iptables[command[2]]) if command[0] == "iptables" else (0, "running")

    def firewall(self, mirror_port: int = 0) -> module.Firewall:
        """Look."""
        return module.Firewall("registry", 5001, mirror_port)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host without a firewall."""
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "chain",
    [
        ACCEPT,
        DROP | {"hook": "input"},
        DROP | {"family": "ip", "name": "FORWARD"},
        DROP | {"table": "firewalld"},
        DROP | {"table": "docker-bridges"},
    ],
)
def test_what_does_not_block_is_left_alone(host, chain):
    host.chains = [chain]
    host.iptables["DOCKER-USER"] = "-A DOCKER-USER -j RETURN\n"
    host.firewalld.write_text("StrictForwardPorts=no\n")
    for is_managed in (True, False):
        assert not host.firewall().is_pending(is_managed)
        assert host.firewall().blocked(is_managed) == []


@pytest.mark.parametrize("last", [{"drop": None}, {"reject": {"type": "tcp reset"}}])
def test_a_last_rule_that_drops_all_is_a_policy(host, last):
    host.chains, host.rules = [ACCEPT], [{"handle": 3, "expr": [last]}]
    assert host.firewall().is_pending(True)
    host.rules = [{"handle": 3, "expr": [{"match": {}}, last]}]
    assert not host.firewall().is_pending(True)


def test_a_chain_that_drops_gets_a_rule_now_and_in_its_file(host):
    host.chains = [DROP]
    (line,) = host.firewall().blocked(False)
    assert line.startswith("the chain inet filter forward of nftables drops")
    assert host.firewall().blocked(True) == []
    assert host.firewall().is_pending(True)
    assert not host.firewall().is_pending(False)
    host.conf.chmod(0o640)
    host.firewall().open()
    block = BLOCK.format("# BEGIN wharf registry\n", "wharf registry 5001", "# END wharf registry\n")
    assert host.conf.read_text() == CONF + block
    assert host.conf.stat().st_mode & 0o777 == 0o640
    assert host.done == ["nft " + block.splitlines()[1]]

    host.rules = [{"handle": 7, "comment": "wharf registry 5001", "expr": []}]
    assert not host.firewall().is_pending(True)
    assert host.firewall().is_pending(False)
    host.firewall().close()
    assert host.conf.read_text() == CONF
    assert host.done[1:] == ["nft delete rule inet filter forward handle 7"]


def expr(*matches: tuple[dict[str, Any], Any], verdict: str = "accept") -> list[dict[str, Any]]:
    """Return a rule as nft lists it."""
    listed = [{"match": {"op": "in", "left": left, "right": right}} for left, right in matches]
    return [*listed, {"counter": {"packets": 0, "bytes": 0}}, {verdict: None}]


PROTOCOL, DNAT = ({"meta": {"key": "l4proto"}}, "tcp"), ({"ct": {"key": "status"}}, "dnat")


@pytest.mark.parametrize(
    ("rule", "lets_in"),
    [
        (expr(DNAT), True),
        (expr(PROTOCOL, ({"ct": {"key": "proto-dst", "dir": "original"}}, 5001), DNAT), True),
        (expr(({"payload": {"protocol": "tcp", "field": "dport"}}, 5000)), True),
        (expr(({"meta": {"key": "oifname"}}, "docker0")), True),
        (expr(), True),
        (expr(({"payload": {"field": "dport"}}, {"set": [22, {"range": [5000, 5009]}]}), DNAT), True),
        (expr(({"payload": {"field": "dport"}}, "@open"), DNAT), True),
        (expr(({"payload": {"field": "dport"}}, {"set": [22, 80]}), DNAT), False),
        (expr(DNAT, verdict="drop"), False),
        (expr(({"payload": {"protocol": "tcp", "field": "dport"}}, 22)), False),
        (expr(({"ct": {"key": "state"}}, ["established", "related"])), False),
        (expr(({"meta": {"key": "oifname"}}, "eth0")), False),
    ],
)
def test_a_rule_of_the_administrator_s_is_no_reason_to_warn(host, rule, lets_in):
    host.chains, host.rules = [DROP], [{"handle": 7, "expr": rule}]
    firewall = host.firewall()
    assert bool(firewall.blocked(False)) is not lets_in
    assert bool(firewall.closed()) is not lets_in
    assert not firewall.is_pending(False)  # it is not ours to take back
    assert firewall.is_pending(True)


def test_each_port_that_is_closed_is_named_and_no_other(host):
    own = ({"ct": {"key": "proto-dst", "dir": "original"}}, 5001)
    host.chains, host.rules = [DROP], [{"handle": 7, "expr": expr(PROTOCOL, own, DNAT)}]
    host.iptables |= {"DOCKER-USER": UFW, "ufw-user-forward": OPEN}
    for lines in (host.firewall(5002).blocked(False), host.firewall(5002).closed()):
        assert [line.partition(":")[0] for line in lines] == [
            "the chain inet filter forward of nftables drops what goes to port 5002",
            "ufw drops what goes to port 5002",
        ]
        assert "proto-dst 5002" in lines[0]
        assert lines[1].endswith("to any port 5001")  # within the container


def test_the_rule_that_a_message_names_is_not_taken_back(host):
    host.chains = [DROP]
    (line,) = host.firewall().blocked(False)
    assert line.endswith("give it the rule meta l4proto tcp ct original proto-dst 5001 ct status dnat accept")


def test_what_is_open_is_not_closed(host):
    host.chains, host.rules = [DROP], [{"handle": 7, "comment": "wharf registry 5001", "expr": []}]
    assert host.firewall().closed() == []
    assert len(host.firewall().blocked(False)) == 1  # for it is taken back


def test_only_a_ufw_that_is_on_is_asked(host):
    host.iptables["DOCKER-USER"] = UFW
    Path(module.UFW).write_text("ENABLED=no\n")
    assert not host.firewall().has_ufw
    assert "iptables" not in host.asked


def test_a_host_without_firewalls_starts_nothing(host, monkeypatch):
    monkeypatch.setattr(module, "has", lambda program: False)
    Path(module.UFW).unlink()
    assert host.firewall().blocked(False) == []
    assert not host.firewall().is_pending(True)
    assert host.asked == []


def test_another_port_takes_the_rule_s_place(host):
    host.chains, host.rules = [DROP], [{"handle": 7, "comment": "wharf registry 5000", "expr": []}]
    assert host.firewall().is_pending(True)
    host.firewall().open()
    assert [line.split()[1] for line in host.done] == ["delete", "insert"]


def test_a_mirror_s_port_is_opened_beside_the_registry_s_and_closed_when_it_goes(host):
    host.chains = [DROP]
    host.firewall(5002).open()
    assert [line.rpartition("wharf")[2] for line in host.done] == [' registry 5001"', ' registry 5002"']
    assert host.conf.read_text().count("insert rule") == 2
    own, mirror = ({"handle": port, "comment": f"wharf registry {port}", "expr": []} for port in (5001, 5002))
    host.rules = [own, mirror]
    assert not host.firewall(5002).is_pending(True)
    assert host.firewall().closed() == []  # who asks about the registry alone
    assert host.firewall().is_pending(True)
    host.done.clear()
    host.firewall().open()
    assert [line.split()[1] for line in host.done] == ["delete", "delete", "insert"]
    host.rules = [own]
    assert not host.firewall().is_pending(True)
    assert host.firewall(5002).is_pending(True)


def test_ufw_gets_a_rule_for_a_mirror_s_port_and_loses_it(host):
    rule, mark = "proto tcp to any port 5001", b"wharf registry".hex()
    tuples = [f"### tuple ### route:allow tcp {port} 0.0.0.0/0 any 0.0.0.0/0 in" for port in (5000, 5001)]
    host.iptables |= {"DOCKER-USER": UFW, "ufw-user-forward": OPEN}
    host.ufw.write_text(f"{tuples[0]} comment={mark}\n")
    (line,) = host.firewall(5002).blocked(False)
    assert line.endswith(f"give it the rule ufw route allow {rule}")
    host.firewall(5002).open()
    assert host.done == [f"ufw route allow {rule} comment wharf registry"]
    host.iptables["ufw-user-forward"] += OPEN.replace("5000", "5001")
    host.ufw.write_text(f"{tuples[0]} comment={mark}\n{tuples[1]} comment={mark}\n")
    assert not host.firewall(5002).is_pending(True)
    assert host.firewall().is_pending(True)
    host.firewall().open()
    assert host.done[1:] == [f"ufw route delete allow {rule}"]


def test_another_registry_s_rule_stays(host):
    host.chains, host.rules = [DROP], [{"handle": 7, "comment": "wharf registry2 5000", "expr": []}]
    mark = b"wharf registry2".hex()
    host.ufw.write_text(f"### tuple ### route:allow tcp 5000 0.0.0.0/0 any 0.0.0.0/0 in comment={mark}\n")
    assert not host.firewall().is_ours
    host.firewall().close()
    assert host.done == []


def test_a_chain_from_elsewhere_is_told_and_left_alone(host):
    host.chains = [DROP | {"table": "mine"}]
    assert not host.firewall().is_pending(True)
    (line,) = host.firewall().blocked(True)
    assert "chain inet mine forward" in line


def test_a_file_that_nftables_would_not_load_is_put_back(host):
    host.chains, host.checks = [DROP], 1
    with pytest.raises(WharfError, match="syntax error"):
        host.firewall().open()
    assert host.conf.read_text() == CONF


def test_ufw_s_rules_before_docker_s_get_one_more(host):
    host.iptables["DOCKER-USER"] = UFW
    (line,) = host.firewall().blocked(False)
    assert line.endswith("ufw route allow proto tcp to any port 5000")
    assert host.firewall().is_pending(True)
    host.firewall().open()
    rule = "proto tcp to any port 5000"
    assert host.done == [f"ufw route allow {rule} comment wharf registry"]
    host.iptables["ufw-user-forward"] = OPEN
    assert not host.firewall().is_pending(True)
    assert host.firewall().blocked(False) == []
    assert not host.firewall().is_ours  # somebody else's
    host.ufw.write_text(
        f"### tuple ### route:allow tcp 5000 0.0.0.0/0 any 0.0.0.0/0 in comment={b'wharf registry'.hex()}\n"
    )
    host.firewall().close()
    assert host.done[1:] == [f"ufw route delete allow {rule}"]


def test_firewalld_that_forwards_nothing_else_is_told(host):
    host.firewalld.write_text("# x\nStrictForwardPorts=yes\n")
    for is_managed in (True, False):
        (line,) = host.firewall().blocked(is_managed)
        assert "StrictForwardPorts=no" in line
        assert not host.firewall().is_pending(is_managed)
