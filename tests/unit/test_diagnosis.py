"""The diagnosis: what the module can tell without a network, and what becomes of what was seen."""

from __future__ import annotations

import base64
import json
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

from ansible_collections.wharf.registry.plugins.modules import registry_diagnosis as module
from ansible_collections.wharf.registry.plugins.plugin_utils import diagnosis

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "plugins/modules/registry_diagnosis.py"


FACTS = {"name": "reg.test", "port": 5000, "trust": "private_ca", "address": None, "container": "registry"}
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


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def server(**changes: object) -> dict[str, object]:
    """Return the registered result of the look at a good server, with these changes."""
    address = {"local": "192.0.2.1", "scope": "global"}
    look = {
        "clock": str(int(time.time())),
        "addresses": encoded(json.dumps([{"ifname": "eth0", "addr_info": [address]}])),
        "certificate": encoded(GOOD.public_bytes(serialization.Encoding.PEM)),
        "ca": "",
        "results": None,
        "failed_units": "",
        "holder": "docker-proxy",
        "engine": "running",
        "status": "running",
        "exit_code": 0,
        "error": "",
        "health": "healthy",
        "ports": {"5000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5000"}]},
        "user": "59500:59500",
        "unwritable": "",
        "read_only": "",
        "owner": "59500:59500",
        "place": "/data",
        "space": "4096 10000000 5000000 1000 900",
        **changes,
    }
    return {"stdout": json.dumps(look)}  # JSON is YAML


def client(code: str = "ok", /, **changes: object) -> dict[str, object]:
    """Return the registered result of the module on a client; details and the rest as given."""
    return {
        "code": code,
        "details": {},
        "warnings_found": [],
        "addresses": ["192.0.2.1"],
        "certificate": encoded(GOOD.public_bytes(serialization.Encoding.DER)),
        "clock": time.time(),
        **changes,
    }


UNREACHABLE = {"unreachable": True, "msg": "Task failed: ssh: no route"}


def verdicts(seen_server: dict, seen_client: dict, **facts: object) -> dict[str, dict]:
    """Return the verdicts by host: of "server", and of "client"."""
    judged = diagnosis.wharf_diagnosis({"server": seen_server}, {"client": seen_client}, FACTS | facts)
    return {one["host"]: one for one in judged}


# The table of verdicts ----------------------------------------------------------------------------


def test_every_code_of_the_module_has_a_verdict():
    text = MODULE.read_text("utf-8")
    codes = set(re.findall(r'(?:Broken|warn)\("(\w+)"', text))
    kinds = set(re.findall(r'engine_problem\("(\w+)"', text))
    codes |= {f"engine_{kind}{later}" for kind in kinds for later in ("", "_later")}
    codes |= {code for pair in re.findall(r'(?:Broken\(|code = )"(\w+)" if .* else "(\w+)"', text) for code in pair}
    assert len(codes) > 30
    assert codes <= diagnosis.VERDICTS.keys()


def test_every_verdict_is_used():
    text = MODULE.read_text("utf-8") + (ROOT / "plugins/plugin_utils/diagnosis.py").read_text("utf-8")
    made = {"engine_absent", "engine_stopped", "engine_json", "engine_conflict"}
    made |= {"engine_json_later", "engine_conflict_later"}
    unused = [code for code in diagnosis.VERDICTS if code not in made and len(re.findall(rf'"{code}"', text)) < 2]
    assert unused == []


def test_a_verdict_names_only_what_is_known():
    text = MODULE.read_text("utf-8") + (ROOT / "plugins/plugin_utils/diagnosis.py").read_text("utf-8")
    known = set(re.findall(r"\b(\w+)=", text)) | set(re.findall(r'"(\w+)":', text)) | {"name", "port", "trust"}
    known |= set(re.findall(r'fields\["(\w+)"\]', text)) | {"container"}
    for code, verdict in diagnosis.VERDICTS.items():
        for part in (verdict.what, verdict.do):
            names = {field for _, field, _, _ in string.Formatter().parse(part) if field}
            assert names <= known, code
        assert verdict.short and (verdict.do or code == "ok"), code
        assert len(verdict.short) <= 34, code


# What becomes of what was seen --------------------------------------------------------------------


def test_all_is_well():
    judged = verdicts(server(), client())
    assert [one["broken"] for one in judged.values()] == [False, False]
    assert judged["server"]["certificate_ends"] == pytest.approx((NOW + timedelta(days=300)).timestamp(), abs=1)


@pytest.mark.parametrize(
    ("seen_server", "seen_client", "code", "words"),
    [
        # The server knows why.
        (
            server(status="exited", exit_code=2, log=encoded("bad config")),
            client("refused"),
            "container_stopped",
            "bad",
        ),
        (server(status="exited"), client("filtered"), "container_stopped", "(exited)"),
        (
            server(status="exited", mark_missing="/data/.wharf"),
            client("refused"),
            "data_missing",
            "its images are not in /data",
        ),
        (server(status="absent"), client("refused"), "container_absent", "not there on server"),
        (server(engine="stopped"), client("refused"), "engine_stopped", "the engine of server does not run"),
        (server(engine="absent"), client("refused"), "engine_absent", "no Docker engine on server"),
        (server(status="exited", holder="nginx"), client("ca_missing"), "port_taken", "nginx answers on port 5000"),
        (server(status="exited", holder="nginx"), client("not_http"), "port_taken", "stop nginx on server"),
        (server(status="exited", publishers="registry-read-only"), client("ok"), "stands_in", "--recover"),
        (server(status="exited", publishers="web"), client("not_registry"), "port_taken", "stop the container web on"),
        (
            server(status="paused", publishers="registry"),
            client("silent"),
            "container_stopped",
            "docker unpause registry",
        ),
        (server(), client("silent"), "silent", "though the container runs on server"),
        (server(space="4096 100 0 1000 900"), client(), "disk_full", "/data on server has 0 B left"),
        (server(space="4096 10000000 5000000 1000 3"), client(), "disk_full", "3 inodes"),
        (server(read_only=",ro,"), client(), "not_writable", "mount -o remount,rw /data"),
        (server(unwritable="/var/lib/registry"), client("unhealthy"), "not_writable", "chown -R 59500:59500 /data"),
        (
            server(ports={"5000/tcp": [{"HostPort": "5001"}]}),
            client("refused"),
            "port_other",
            "publishes port 5001, but wharf_registry_port is 5000",
        ),
        (
            server(ports={"5000/tcp": [{"HostPort": "5001"}]}, holder="nginx"),
            client("not_registry"),
            "port_other",
            "publishes port 5001",
        ),
        # An engine that is stopped may leave the registry running (live-restore).
        (server(engine="stopped", holder=""), client("ca_missing"), "ca_missing", "trust-registry.yml"),
        (server(engine="stopped", holder=""), client(), "ok", "all is well"),
        # Only the client knows.
        (
            server(),
            client("refused", details={"address": "192.0.2.1"}),
            "refused",
            "though the container runs on server",
        ),
        (
            server(),
            client("name", details={"reason": "unknown"}, addresses=[]),
            "name",
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
        (server(), client("password", addresses=["192.0.2.9"]), "password", ""),
        (UNREACHABLE, client("refused", addresses=["192.0.2.9"]), "refused", ""),
        # Hosts that were not seen.
        (server(), UNREACHABLE, "unreachable", "ssh: no route"),
        (server(), {"msg": "no Python"}, "look_failed", "no Python"),
        (server(), {"skipped": True}, "look_failed", "no result"),
    ],
)
def test_client_and_server_together(seen_server, seen_client, code, words):
    seen = verdicts(seen_server, seen_client)
    assert seen["client"]["code"] == code
    assert seen["client"]["broken"] is (code != "ok")
    assert words in diagnosis.wharf_diagnosis_line(list(seen.values()), "client")


def test_address_that_the_landscape_says_is_the_servers():
    seen = verdicts(server(), client("refused", addresses=["203.0.113.5"]), address="203.0.113.5")
    assert seen["client"]["code"] == "refused"


def test_server_that_is_a_client_may_find_itself_at_a_loopback_address():
    judged = diagnosis.wharf_diagnosis(
        {"server": server()}, {"server": client("wrong_name", addresses=["127.0.1.1"])}, FACTS
    )
    assert [(one["host"], one["code"]) for one in judged] == [("server", "wrong_name")]


@pytest.mark.parametrize(
    ("starts", "ends", "skew_days", "code"),
    [(-10, 300, 500, "clock"), (-400, -10, 0, "expired"), (-400, -10, 500, "expired")],
)
def test_wrong_clock_is_told_from_an_expired_certificate(starts, ends, skew_days, code):
    der = encoded(certificate(starts, ends).public_bytes(serialization.Encoding.DER))
    seen = verdicts(server(), client("expired", certificate=der, clock=time.time() + skew_days * 86400))
    assert seen["client"]["code"] == code
    if code == "clock":
        assert "500 days ahead" in seen["client"]["what"]


def test_provided_certificate_is_not_renewed_by_a_playbook():
    seen = verdicts(server(), client("expired"), trust="provided")
    assert "wharf_registry_certificate" in seen["client"]["do"]
    assert "renews" not in seen["client"]["do"]


def warned(**look: object) -> list[dict[str, str]]:
    """Return the warnings about a server that is well otherwise."""
    return verdicts(server(**look), client())["server"]["warnings"]


@pytest.mark.parametrize(("trust", "remedy"), [("private_ca", "playbooks/rotate-ca.yml"), ("provided", "new CA")])
def test_a_ca_that_ends_soon_is_a_warning_with_the_way_to_another(trust, remedy):
    soon, late = (certificate(ends=ends).public_bytes(serialization.Encoding.PEM) for ends in (80, 100))
    seen = verdicts(server(ca=encoded(soon)), client(), trust=trust)["server"]["warnings"]
    assert [one["code"] for one in seen] == ["ca_soon"]
    assert remedy in seen[0]["do"]
    assert warned(ca=encoded(late)) == []
    # While one follows the other, the next one counts.
    assert warned(ca=encoded(soon + late)) == []


def test_a_program_that_failed_is_named_with_its_message():
    (one,) = warned(results={"renew-certificate": encoded("failed 1700000000 the CA: it is gone\n")})
    assert one["code"] == "program_failed"
    assert "wharf renew-certificate failed on server (2023-11-14 22:13 UTC): the CA: it is gone" in one["what"]
    assert "wharf renew-certificate" in one["do"]


@pytest.mark.parametrize("line", ["", "failed", "failed soon", "nonsense"])
def test_a_result_that_cannot_be_read_is_a_warning_too(line):
    assert [one["code"] for one in warned(results={"back-up": encoded(line)})] == ["program_failed"]


def test_programs_that_ended_well_are_no_warning():
    assert warned(results={"renew-certificate": encoded("ok 1700000000 nothing is due\n")}) == []


def test_a_service_that_was_killed_is_a_warning_and_one_that_left_a_word_is_no_second():
    results = {"renew-certificate": encoded("failed 1700000000 no\n")}
    units = "wharf-renew-certificate.service wharf-back-up.service"
    seen = warned(results=results, failed_units=units)
    assert [one["code"] for one in seen] == ["program_failed", "unit_failed"]
    assert "wharf-back-up.service" in seen[1]["what"]


@pytest.mark.parametrize("reached", [True, False])
def test_certificate_that_ends_soon_is_a_warning_once(reached):
    soon = certificate(ends=10)
    pem, der = (soon.public_bytes(kind) for kind in (serialization.Encoding.PEM, serialization.Encoding.DER))
    seen = verdicts(server(certificate=encoded(pem)) if reached else UNREACHABLE, client(certificate=encoded(der)))
    warned = [host for host, one in seen.items() if [w["code"] for w in one["warnings"]] == ["certificate_soon"]]
    assert warned == ["server" if reached else "client"]
    assert seen["client"]["broken"] is False


def test_disk_that_is_nearly_full_is_a_warning():
    seen = verdicts(server(space="4096 10000000 500000 1000 900"), client())
    assert not seen["server"]["broken"]
    assert [one["code"] for one in seen["server"]["warnings"]] == ["disk_low"]


def test_damaged_blob_is_named_with_its_place():
    details = {"image": "a:1", "what": "layer", "expected": f"sha256:{'ab' * 32}", "found": "sha256:0"}
    seen = verdicts(server(), client("digest", details=details))
    assert f"rm -r /data/docker/registry/v2/blobs/sha256/ab/{'ab' * 32}; docker restart" in seen["client"]["do"]


def test_what_others_wrote_is_not_taken_for_a_field():
    seen = verdicts(server(), client("engine_fails", details={"said": "{host} {0} {x.y}"}))
    assert "{host} {0} {x.y}" in seen["client"]["what"]


def test_table_has_a_line_for_each_host_and_warning():
    seen = verdicts(server(), client("open", warnings_found=[{"code": "open", "details": {}}]))
    lines = diagnosis.wharf_diagnosis_table(list(seen.values())).splitlines()
    assert [line.split()[0] for line in lines] == ["host", "server", "client", "client"]
    assert "warning: no password is wanted" in lines[3]
    assert len({line.index(word) for line, word in zip(lines, ("what", "nothing"), strict=False)}) == 1


# The module ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "no_proxy", "goes"),
    [
        ("reg.corp.test", "", True),
        ("reg.corp.test", "localhost,127.0.0.1", True),
        ("reg.corp.test", "reg.corp.test", False),
        ("reg.corp.test", " Reg.Corp.Test ,x", False),
        ("reg.corp.test", "corp.test", False),
        ("reg.corp.test", ".corp.test", False),
        ("reg.corp.test", "*.corp.test", False),
        ("corp.test", ".corp.test", True),
        ("xcorp.test", "corp.test", True),
        ("reg.corp.test", "*", False),
        ("reg.corp.test", "reg.corp.test:5000", False),
        ("reg.corp.test", "reg.corp.test:443", True),
        ("192.0.2.7", "192.0.2.0/24", False),
        ("192.0.2.7", "192.0.2.7", False),
        ("192.0.2.7", "198.51.100.0/24", True),
        ("localhost", "", False),
        ("127.0.0.1", "", False),
    ],
)
def test_proxy_is_used_as_go_would(host, no_proxy, goes):
    assert module.goes_through_proxy(host, 5000, no_proxy) is goes


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("a/b:1", ("a/b", "1")),
        ("a/b", ("a/b", "latest")),
        ("a/b@sha256:0", ("a/b", "sha256:0")),
        ("a/b:1@sha256:0", ("a/b", "sha256:0")),
    ],
)
def test_image_has_a_repository_and_a_reference(image, parts):
    assert module.split_image(image) == parts


def test_text_for_a_message_has_no_credentials():
    assert module.short("proxy http://user:secret@host:1\n refused") == "proxy http://host:1 refused"
    assert len(module.short("x" * 1000)) == 300


def test_ca_files_are_those_that_the_tools_read(tmp_path):
    (tmp_path / "b.crt").write_text("x")
    (tmp_path / "a.pem").write_text("x")
    (tmp_path / "own.cert").write_text("x")
    (tmp_path / "hosts.toml").write_text('[host."https://reg.test:5000"]\n  ca = ["a.pem", "/missing.pem"]\n')
    assert module.ca_files(str(tmp_path)) == [str(tmp_path / "b.crt"), str(tmp_path / "a.pem")]
    assert module.ca_files(str(tmp_path / "nothing")) == []
