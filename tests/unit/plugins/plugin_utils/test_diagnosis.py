"""The diagnosis: what the findings on the hosts mean, and the texts of the verdicts."""

from __future__ import annotations

import re
import string
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.wharf.registry.plugins.module_utils import client_links, client_tools
from ansible_collections.wharf.registry.plugins.plugin_utils import diagnosis

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
LINKS = (PLUGINS / "module_utils/client_links.py").read_text("utf-8")
SHARED = "".join(
    (PLUGINS / f"module_utils/{name}.py").read_text("utf-8")
    for name in ("client_tools", "engine_faults", "forwarding", "cache_faults")
)
JUDGE = (PLUGINS / "plugin_utils/diagnosis.py").read_text("utf-8")
SERVER = (PLUGINS / "modules/registry_server_diagnosis.py").read_text("utf-8").partition("import json")[2]
SETTINGS = {"name": "reg.test", "port": 5000, "trust": "private_ca", "address": "", "container": "registry"}
SETTINGS |= {"standbys": ["standby"]}
NOW = datetime.now(UTC)


def certificate(starts: int = -10, ends: int = 300, name: str = "reg.test") -> x509.Certificate:
    """Return a certificate that is valid from and to so many days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + timedelta(days=starts))
        .not_valid_after(NOW + timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )


GOOD = certificate()


def pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def server(code: str = "ok", /, **changes: object) -> dict[str, object]:
    """Return the registered result of registry_server_diagnosis; details and the rest as given."""
    known = {"ca": "", "is_served": True, "port_holder": "", "port_stop": "", "forwarding": {}, "bridges": {}}
    return {**known, **client(code), **changes}


def client(code: str = "ok", /, **changes: object) -> dict[str, object]:
    """Return the registered result of the module on a client; details and the rest as given."""
    return {
        "code": code,
        "details": {},
        "warnings_found": [],
        "addresses": ["192.0.2.1"],
        "certificate": pem(GOOD),
        "clock": time.time(),
        **changes,
    }


TAKEN = {"port_holder": "nginx", "port_stop": "systemctl stop nginx.service"}
SWITCHED_OFF = {"code": "forwarding_off", "details": {"file": "/etc/sysctl.d/9.conf"}}
STOPPED = server(
    "container_stopped",
    details={
        "container": "registry-network",
        "status": "exited",
        "log": "bad",
        "start": "docker start registry-network",
    },
)
UNREACHABLE = {"unreachable": True, "msg": "Task failed: ssh: no route"}


def judged(server_result: dict, client_result: dict, **settings: object) -> dict[str, dict]:
    """Return the verdicts by host: of "server", and of "client"."""
    found = diagnosis.diagnosis({"server": server_result}, {"client": client_result}, SETTINGS | settings)
    assert found["broken"] == [host for host, verdict in found["verdicts"].items() if verdict["code"] != "ok"]
    return found["verdicts"]


# The texts of the verdicts ------------------------------------------------------------------------


def codes_of_the_module() -> set[str]:
    """Return the codes that registry_diagnosis can return."""
    codes = set(re.findall(r'(?:BrokenError|warn)\(\s*"(\w+)"', LINKS))
    codes |= {code for pair in re.findall(r'BrokenError\("(\w+)" if .* else "(\w+)"', LINKS) for code in pair}
    codes |= {code for pair in re.findall(r'code = "(\w+)" if .* else "(\w+)"', LINKS) for code in pair}
    codes |= set(client_links.CERTIFICATE_FAULTS.values()) | {code for code, _ in client_tools.FAULTS}
    codes |= set(re.findall(r'(?:return|fault =|\() \(?\(?"(\w+)", \{', SHARED)) | {"tool_login", "tool_fails"}
    return codes | {f"{code}_later" for code in ("engine_json", "engine_conflict")}


def fields_of(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_every_code_of_the_module_has_a_verdict():
    assert len(codes_of_the_module()) > 50
    assert codes_of_the_module() <= diagnosis.VERDICTS.keys()


def test_every_verdict_is_used():
    judges = JUDGE[JUDGE.index("class Finding") :] + SERVER + SHARED
    unknown = diagnosis.VERDICTS.keys() - codes_of_the_module()
    assert [code for code in unknown if f'"{code}"' not in judges] == []


def test_every_code_of_the_server_s_module_has_a_verdict():
    codes = set(re.findall(r'(?:return|append\(\(|code =) \(?"(\w+)"(?! in)', SERVER)) | {
        "unit_failed",
        "engine_absent",
    }
    assert len(codes) > 8
    assert codes <= diagnosis.VERDICTS.keys()


def test_a_verdict_names_only_what_is_known():
    sources = LINKS + JUDGE + SERVER + SHARED
    known = set(re.findall(r"\?P<(\w+)>", SHARED))
    known |= set(re.findall(r"\b(\w+)=", sources)) | set(re.findall(r'"(\w+)":', sources)) | {"name", "port", "trust"}
    known |= set(re.findall(r'(?:fields|details)\["(\w+)"\]', JUDGE + SERVER)) | {"container"}
    phrases = [
        text for phrase in diagnosis.PHRASES.values() for text in ([phrase] if isinstance(phrase, str) else phrase)
    ]
    for text in phrases:
        assert fields_of(text) <= known | diagnosis.PHRASES.keys(), text
    for code, verdict in diagnosis.VERDICTS.items():
        assert list(verdict) == ["short", "what", "do"], code
        assert fields_of(verdict["what"]) | fields_of(verdict["do"]) <= known | diagnosis.PHRASES.keys(), code
        assert verdict["short"] and (verdict["do"] or code == "ok"), code
        assert len(verdict["short"]) <= 34, code


def test_every_phrase_is_used_and_stands_before_those_that_use_it():
    names = list(diagnosis.PHRASES)
    used = {field for verdict in diagnosis.VERDICTS.values() for text in verdict.values() for field in fields_of(text)}
    for number, (name, phrase) in enumerate(diagnosis.PHRASES.items()):
        for text in [phrase] if isinstance(phrase, str) else phrase:
            assert not fields_of(text) & set(names[number:]), name
            used |= fields_of(text)
    assert set(names) <= used


# What the findings mean ------------------------------------------------------------------


STANDBY = {"standby_of": "server", "standby_note": ": a standby of server, copied from server 40 seconds ago"}


def judged_with_a_standby(standby: dict, leads_to: str = "192.0.2.1") -> dict[str, dict]:
    """Return the verdicts on a server, a standby at 192.0.2.2, and a client whose name leads to one of them."""
    servers = {"server": server(), "standby": standby}
    return diagnosis.diagnosis(servers, {"client": client(addresses=[leads_to])}, SETTINGS)["verdicts"]


def test_a_standby_is_told_to_be_one_and_when_it_is_behind():
    late = [{"code": "standby_behind", "details": {"copied": "copied from server 2 hours ago"}}]
    found = judged_with_a_standby(server(details=STANDBY, addresses=["192.0.2.2"], warnings_found=late))
    assert found["standby"]["line"] == (
        "all is well: a standby of server, copied from server 40 seconds ago. Warning: standby is a standby of server,"
        " and its next copy is late: copied from server 2 hours ago. To do: `wharf feed-standbys` on server copies at"
        " once, or says why it cannot."
    )
    assert found["client"]["line"] == "all is well."


def test_a_standby_that_is_broken_breaks_no_client_and_is_put_right_by_its_own_playbook():
    broken = server("container_absent", details={"container": "registry"}, addresses=["192.0.2.2"])
    found = judged_with_a_standby(broken)
    assert [one["code"] for one in found.values()] == ["ok", "container_absent", "ok"]
    assert found["standby"]["do"] == "run playbooks/deploy-standbys.yml"


def test_a_name_that_leads_to_a_standby_is_a_warning():
    found = judged_with_a_standby(server(details=STANDBY, addresses=["192.0.2.2"]), leads_to="192.0.2.2")
    assert found["client"]["code"] == "ok"
    assert "reg.test leads here to standby, a standby of server, which takes no pushes" in found["client"]["line"]


def test_all_is_well():
    found = judged(server(), client())
    assert [one["broken"] for one in found.values()] == [False, False]


@pytest.mark.parametrize(
    ("server_result", "client_result", "code", "words"),
    [
        # The server knows why.
        (STOPPED, client("refused"), "container_stopped", "does not run (exited: bad)"),
        (STOPPED, client("filtered"), "container_stopped", "`docker start registry-network` on server"),
        (STOPPED, client("registry_away"), "container_stopped", "`docker start registry-network` on server"),
        (
            server("data_missing", details={"place": "/data"}),
            client("refused"),
            "data_missing",
            "its images are not in /data",
        ),
        (server("container_absent"), client("refused"), "container_absent", "not there on server"),
        (server("engine_stopped"), client("refused"), "engine_stopped", "the engine of server does not run"),
        (server("engine_absent"), client("refused"), "engine_absent", "no Docker engine on server"),
        (STOPPED | TAKEN, client("ca_missing"), "port_taken", "nginx has port 5000 instead"),
        (STOPPED | TAKEN, client("not_http"), "port_taken", "`systemctl stop nginx.service` on server"),
        (
            server("container_absent", **TAKEN),
            client("not_http"),
            "port_taken",
            "then run playbooks/deploy-registry.yml",
        ),
        (server("engine_stopped", **TAKEN), client("not_http"), "engine_stopped", "systemctl start docker"),
        (server("engine_stopped", **TAKEN), client("ca_missing"), "engine_stopped", "systemctl start docker"),
        # So does what it sees of the kernel, as far as clients notice it.
        (server(forwarding=SWITCHED_OFF), client("filtered"), "forwarding_off", "sysctl -w net.ipv4.ip_forward=1"),
        (server(forwarding=SWITCHED_OFF), client("refused"), "forwarding_off", "correct /etc/sysctl.d/9.conf"),
        (server(forwarding=SWITCHED_OFF), client(), "ok", "all is well"),
        (
            server(forwarding={"code": "rules_missing", "details": {}}),
            client("refused"),
            "rules_missing",
            "restart docker",
        ),
        (
            server(bridges={"10.1.0.0/16": "br-0123456789ab", "fd00::/64": "docker0"}),
            client("filtered", source="10.1.2.3"),
            "route_inner",
            "the route of server to client (10.1.2.3) leads into br-0123456789ab",
        ),
        (server(bridges={"10.1.0.0/16": "docker0"}), client("filtered", source="10.2.0.1"), "filtered", "a firewall"),
        (server("pushes_held"), client("ok"), "pushes_held", "--recover"),
        (server("pushes_held"), client("ca_missing"), "ca_missing", "trust-registry.yml"),
        (
            server("gateway_cut_off"),
            client("refused"),
            "gateway_cut_off",
            "`docker restart registry-gateway` on server",
        ),
        (
            server("gateway_silent", details={"output": "timed out"}),
            client("no_response"),
            "gateway_silent",
            "`docker restart registry-gateway` on server",
        ),
        (
            server("registry_silent", details={"output": "timed out"}),
            client("registry_away"),
            "registry_silent",
            "the gateway answers, the registry behind it (registry on server) runs, but does not",
        ),
        (server("gateway_lost"), client("registry_away"), "gateway_lost", "deploy-registry.yml"),
        (server(), client("registry_away"), "registry_away", "the gateway answers, the registry behind it does not"),
        (
            server("wrong_mode", details={"directory": "/data", "container_user": "1:1", "mode": "0000"}),
            client("registry_away"),
            "wrong_mode",
            "`chmod u+rwx /data` on server",
        ),
        (
            server("file_unreadable", details={"file": "/etc/wharf/gateway/users", "container_user": "1:1"}),
            client("unhealthy"),
            "file_unreadable",
            "may not read /etc/wharf/gateway/users",
        ),
        (
            server(is_served=False),
            client("expired"),
            "not_served",
            "`docker kill --signal HUP registry-gateway` on server",
        ),
        (
            server(),
            client("image_denied", details={"user": "kiosk", "image": "team/app:1", "repository": "team/app"}),
            "image_denied",
            "`wharf access kiosk team/app` on server",
        ),
        (server(), client("too_many_connections"), "too_many_connections", "`ss -tnp dport = :5000` on client"),
        (server(), client("no_response"), "no_response", "although its containers run on server"),
        (
            server("disk_full", details={"place": "/data", "free": "0 bytes"}),
            client(),
            "disk_full",
            "/data on server has 0 bytes left",
        ),
        (
            server("mounted_read_only", details={"place": "/data"}),
            client(),
            "mounted_read_only",
            "mount -o remount,rw /data",
        ),
        (
            server("wrong_owner", details={"directory": "/data", "container_user": "1:1"}),
            client("unhealthy"),
            "wrong_owner",
            "chown -R 1:1 /data`",
        ),
        (
            server("other_port", details={"published": ["5001"]}),
            client("refused"),
            "other_port",
            "is published on port 5001, but wharf_registry_port is 5000",
        ),
        (
            server("other_port", details={"published": ["5001"]}, port_holder="nginx"),
            client("not_registry"),
            "other_port",
            "is published on port 5001",
        ),
        # An engine that is stopped may leave the registry running (live-restore).
        (server("engine_stopped"), client("ca_missing"), "ca_missing", "trust-registry.yml"),
        (server("engine_stopped"), client(), "ok", "all is well"),
        # Only the client knows.
        (
            server(),
            client("refused", details={"address": "192.0.2.1"}),
            "refused",
            "although its containers run on server",
        ),
        (
            server(),
            client("unresolved", details={"reason": "unknown"}, addresses=[]),
            "unresolved",
            "does not resolve here: unknown",
        ),
        (UNREACHABLE, client("refused", details={"address": "192.0.2.1"}), "refused", "connections to port 5000. "),
        # The name leads elsewhere, which is wrong only where something is broken.
        (server(), client(addresses=["192.0.2.9"]), "ok", ""),
        (
            server(),
            client("refused", addresses=["192.0.2.9"]),
            "other_host",
            "on server (192.0.2.1); there: the port is",
        ),
        (server(), client("ca_missing", addresses=["192.0.2.9"]), "other_host", "there: the CA is not known here"),
        (server(), client("password_refused", addresses=["192.0.2.9"]), "password_refused", ""),
        (UNREACHABLE, client("refused", addresses=["192.0.2.9"]), "refused", ""),
        # Hosts that could not be examined.
        (
            {"unreachable": True, "msg": "Failed to connect: Connection timed out during banner exchange"},
            client("no_response"),
            "server_away",
            "Ansible does not reach server either",
        ),
        (server(), {"unreachable": True, "msg": "Connection timed out"}, "no_ssh", "does not answer SSH"),
        (server(), {"failed": True, "timedout": {"period": 60}, "msg": "Timed out after 60 s"}, "host_hangs", "60 s"),
        (server(), UNREACHABLE, "unreachable", "ssh: no route"),
        (server(), {"msg": "no Python"}, "not_examined", "no Python"),
        (server(), {"skipped": True}, "not_examined", "no result"),
    ],
)
def test_client_and_server_together(server_result, client_result, code, words):
    found = judged(server_result, client_result)
    assert found["client"]["code"] == code
    assert found["client"]["broken"] is (code != "ok")
    assert words in found["client"]["line"]


def test_a_certificate_that_is_not_served_is_a_warning_where_clients_are_content():
    found = judged(server(is_served=False), client())
    assert [found[host]["code"] for host in ("server", "client")] == ["ok", "ok"]
    (warning,) = found["server"]["warnings"]
    assert warning["what"] == "registry-gateway on server serves another certificate than lies in registry.crt there"
    found = judged(server("engine_stopped", is_served=False), client("expired"))
    assert found["server"]["code"] == "engine_stopped"


def test_address_in_the_settings_is_the_servers():
    found = judged(server(), client("refused", addresses=["203.0.113.5"]), address="203.0.113.5")
    assert found["client"]["code"] == "refused"


def test_server_that_is_a_client_may_find_itself_at_a_loopback_address():
    result = client("wrong_name", addresses=["127.0.1.1"])
    found = diagnosis.diagnosis({"server": server()}, {"server": result}, SETTINGS)["verdicts"]
    assert {host: verdict["code"] for host, verdict in found.items()} == {"server": "wrong_name"}


@pytest.mark.parametrize(
    ("starts", "ends", "skew_days", "code"),
    [(-10, 300, 500, "clock"), (-400, -10, 0, "expired"), (-400, -10, 500, "expired")],
)
def test_wrong_clock_is_told_from_an_expired_certificate(starts, ends, skew_days, code):
    served = pem(certificate(starts, ends))
    found = judged(server(), client("expired", certificate=served, clock=time.time() + skew_days * 86400))
    assert found["client"]["code"] == code
    if code == "clock":
        assert "500 days ahead" in found["client"]["what"]


def test_provided_certificate_is_not_renewed_by_a_playbook():
    found = judged(server(), client("expired"), trust="provided")
    assert "wharf_registry_certificate" in found["client"]["do"]
    assert "renews" not in found["client"]["do"]


@pytest.mark.parametrize(("trust", "remedy"), [("private_ca", "playbooks/rotate-ca.yml"), ("provided", "new CA")])
def test_a_ca_that_ends_soon_is_a_warning_with_the_way_to_another(trust, remedy):
    soon, late = (pem(certificate(ends=ends)) for ends in (80, 100))
    found = judged(server(ca=soon), client(), trust=trust)["server"]["warnings"]
    assert [one["code"] for one in found] == ["ca_soon"]
    assert remedy in found[0]["do"]
    # While one follows the other, the next one counts.
    for good in (late, soon + late):
        assert judged(server(ca=good), client(), trust=trust)["server"]["warnings"] == []


def test_a_warning_of_the_server_is_told_with_its_details():
    details = {"program": "renew-certificate", "when": "2023-11-14 22:13 UTC", "message": "the CA: it is gone"}
    result = server(warnings_found=[{"code": "program_failed", "details": details}])
    for clients in ({}, {"server": client()}):
        (one,) = diagnosis.diagnosis({"server": result}, clients, SETTINGS)["verdicts"]["server"]["warnings"]
        assert "wharf renew-certificate failed on server (2023-11-14 22:13 UTC): the CA: it is gone" in one["what"]
        assert "wharf renew-certificate" in one["do"]


def test_a_cache_that_serves_only_what_it_has_is_a_warning_about_its_own_container():
    details = {"upstream": "docker.io", "remote": "https://r", "container": "registry-cache-docker.io", "output": "no"}
    found = judged(server(warnings_found=[{"code": "upstream_away", "details": details}]), client())
    (one,) = found["server"]["warnings"]
    assert one["what"].endswith("docker.io on server serves only what it has, because nothing comes from https://r: no")
    assert "`docker logs --tail 20 registry-cache-docker.io` on server" in one["do"]
    assert found["server"]["broken"] is False


@pytest.mark.parametrize("reached", [True, False])
def test_certificate_that_ends_soon_is_a_warning_once(reached):
    soon = certificate(ends=10)
    found = judged(server(certificate=pem(soon)) if reached else UNREACHABLE, client(certificate=pem(soon)))
    warned = [host for host, one in found.items() if [w["code"] for w in one["warnings"]] == ["certificate_soon"]]
    assert warned == ["server" if reached else "client"]
    assert found["client"]["broken"] is False


def test_damaged_blob_is_named_with_its_place():
    details = {"image": "a:1", "what": "layer", "expected": f"sha256:{'ab' * 32}", "found": "sha256:0"}
    found = judged(server(details={"place": "/data"}), client("digest", details=details))
    assert f"rm -r /data/docker/registry/v2/blobs/sha256/ab/{'ab' * 32}` on server, then push" in found["client"]["do"]


def test_what_others_wrote_is_not_taken_for_a_field():
    found = judged(server(), client("engine_fails", details={"output": "{host} {0} {x.y}"}))
    assert "{host} {0} {x.y}" in found["client"]["what"]


def test_table_has_a_line_for_each_host_and_warning():
    result = client("ok", warnings_found=[{"code": "anonymous", "details": {}}])
    lines = diagnosis.diagnosis({"server": server()}, {"client": result}, SETTINGS)["table"].splitlines()
    assert [line.split()[0] for line in lines] == ["host", "server", "client", "client"]
    assert "warning: no password is required" in lines[3]
    assert len({line.index(word) for line, word in zip(lines, ("what", "nothing"), strict=False)}) == 1


def test_what_keeps_clients_away_is_the_servers_own_fault_too():
    cut_off = judged(server(forwarding=SWITCHED_OFF), client("filtered"))
    assert [one["code"] for one in cut_off.values()] == ["forwarding_off"] * 2
    reached = judged(server(forwarding=SWITCHED_OFF), client("ca_missing"))
    assert [one["code"] for one in reached.values()] == ["ok", "ca_missing"]
    # Without a client only the switch is certain.
    for code, verdict in (("forwarding_off", "forwarding_off"), ("rules_missing", "ok")):
        alone = diagnosis.diagnosis({"server": server(forwarding={"code": code, "details": {}})}, {}, SETTINGS)
        assert alone["verdicts"]["server"]["code"] == verdict


def test_no_advice_takes_security_away():
    for code, verdict in diagnosis.VERDICTS.items():
        assert not re.search("insecure$|trust: insecure|lets everyone in|777|setenforce|skip", verdict["do"]), code
