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

from ansible_collections.wharf.registry.plugins.module_utils import client_links
from ansible_collections.wharf.registry.plugins.plugin_utils import diagnosis

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
LINKS = (PLUGINS / "module_utils/client_links.py").read_text("utf-8")
JUDGE = (PLUGINS / "plugin_utils/diagnosis.py").read_text("utf-8")
SETTINGS = {"name": "reg.test", "port": 5000, "trust": "private_ca", "address": "", "container": "registry"}
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


CONTAINER = {
    "status": "running",
    "exit_code": 0,
    "error": "",
    "health": "healthy",
    "published": ["5000"],
    "log": "",
}
DATA = {
    "place": "/data",
    "has_id": True,
    "user": "59500:59500",
    "unwritable": "",
    "read_only": False,
    "owner": "59500:59500",
    "size": 4096 * 10_000_000,
    "free": 4096 * 5_000_000,
    "inodes": 1000,
    "free_inodes": 900,
}


def pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def server(**changes: object) -> dict[str, object]:
    """Return the result of registry_server_diagnosis on a good server; `changes` are of it, its container or data."""
    container, data, result = dict(CONTAINER), dict(DATA), {}
    for key, value in changes.items():
        (container if key in CONTAINER else data if key in DATA else result)[key] = value
    address = {"local": "192.0.2.1", "scope": "global"}
    return {
        "clock": time.time(),
        "interfaces": [{"ifname": "eth0", "addr_info": [address]}],
        "certificate": pem(GOOD),
        "ca": "",
        "programs": {},
        "failed_units": [],
        "listeners": ["docker-proxy"],
        "engine": "running",
        "publishers": [],
        "container": container,
        "data": data,
        **result,
    }


def without_engine(state: str) -> dict[str, object]:
    """Return the result on a server whose engine does not run."""
    result = server(engine=state, listeners=[])
    return {key: value for key, value in result.items() if key not in ("publishers", "container", "data")}


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
    codes |= set(client_links.CERTIFICATE_FAULTS.values())
    problems = re.findall(r'return BrokenError\("(engine_\w+)"', LINKS)
    return codes | {f"{code}_later" for code in problems}


def fields_of(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_every_code_of_the_module_has_a_verdict():
    assert len(codes_of_the_module()) > 30
    assert codes_of_the_module() <= diagnosis.VERDICTS.keys()


def test_every_verdict_is_used():
    judge = JUDGE[JUDGE.index("class Finding") :]
    states = {"engine_absent", "engine_stopped"}  # f"engine_{state}"
    unknown = diagnosis.VERDICTS.keys() - codes_of_the_module() - states
    assert [code for code in unknown if f'"{code}"' not in judge] == []


def test_a_verdict_names_only_what_is_known():
    sources = LINKS + JUDGE
    known = set(re.findall(r"\b(\w+)=", sources)) | set(re.findall(r'"(\w+)":', sources)) | {"name", "port", "trust"}
    known |= set(re.findall(r'fields\["(\w+)"\]', JUDGE)) | {"container"}
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


def test_all_is_well():
    found = judged(server(), client())
    assert [one["broken"] for one in found.values()] == [False, False]
    assert found["server"]["certificate_ends"] == pytest.approx((NOW + timedelta(days=300)).timestamp(), abs=1)


@pytest.mark.parametrize(
    ("server_result", "client_result", "code", "words"),
    [
        # The server knows why.
        (
            server(status="exited", exit_code=2, log="bad config"),
            client("refused"),
            "container_stopped",
            "bad",
        ),
        (server(status="exited"), client("filtered"), "container_stopped", "(exited)"),
        (
            server(status="exited", has_id=False),
            client("refused"),
            "data_missing",
            "its images are not in /data",
        ),
        (server(container=None), client("refused"), "container_absent", "not there on server"),
        (without_engine("stopped"), client("refused"), "engine_stopped", "the engine of server does not run"),
        (without_engine("absent"), client("refused"), "engine_absent", "no Docker engine on server"),
        (
            server(status="exited", listeners=["nginx"]),
            client("ca_missing"),
            "port_taken",
            "nginx answers on port 5000",
        ),
        (server(status="exited", listeners=["nginx"]), client("not_http"), "port_taken", "stop nginx on server"),
        (server(status="exited", publishers=["registry-read-only"]), client("ok"), "read_only_container", "--recover"),
        (
            server(status="exited", publishers=["web"]),
            client("not_registry"),
            "port_taken",
            "stop the container web on",
        ),
        (
            server(status="paused", publishers=["registry"]),
            client("no_response"),
            "container_stopped",
            "docker unpause registry",
        ),
        (server(), client("no_response"), "no_response", "although the container runs on server"),
        (server(size=409600, free=0), client(), "disk_full", "/data on server has 0 bytes left"),
        (server(free_inodes=3), client(), "disk_full", "3 inodes"),
        (server(read_only=True), client(), "mounted_read_only", "mount -o remount,rw /data"),
        (server(unwritable="/var/lib/registry"), client("unhealthy"), "wrong_owner", "chown -R 59500:59500 /data`"),
        (
            server(published=["5001"]),
            client("refused"),
            "other_port",
            "publishes port 5001, but wharf_registry_port is 5000",
        ),
        (
            server(published=["5001"], listeners=["nginx"]),
            client("not_registry"),
            "other_port",
            "publishes port 5001",
        ),
        # An engine that is stopped may leave the registry running (live-restore).
        (without_engine("stopped"), client("ca_missing"), "ca_missing", "trust-registry.yml"),
        (without_engine("stopped"), client(), "ok", "all is well"),
        # Only the client knows.
        (
            server(),
            client("refused", details={"address": "192.0.2.1"}),
            "refused",
            "although the container runs on server",
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


FAILED = {"good": False, "time": 1700000000.0, "message": "the CA: it is gone"}


def warned(**changes: object) -> list[dict[str, str]]:
    """Return the warnings about a server that is well otherwise."""
    return judged(server(**changes), client())["server"]["warnings"]


@pytest.mark.parametrize(("trust", "remedy"), [("private_ca", "playbooks/rotate-ca.yml"), ("provided", "new CA")])
def test_a_ca_that_ends_soon_is_a_warning_with_the_way_to_another(trust, remedy):
    soon, late = (pem(certificate(ends=ends)) for ends in (80, 100))
    found = judged(server(ca=soon), client(), trust=trust)["server"]["warnings"]
    assert [one["code"] for one in found] == ["ca_soon"]
    assert remedy in found[0]["do"]
    assert warned(ca=late) == []
    # While one follows the other, the next one counts.
    assert warned(ca=soon + late) == []


def test_a_program_that_failed_is_named_with_its_message():
    (one,) = warned(programs={"renew-certificate": FAILED})
    assert one["code"] == "program_failed"
    assert "wharf renew-certificate failed on server (2023-11-14 22:13 UTC): the CA: it is gone" in one["what"]
    assert "wharf renew-certificate" in one["do"]


def test_a_result_that_cannot_be_read_is_a_warning_too():
    assert [one["code"] for one in warned(programs={"back-up": None})] == ["program_failed"]


def test_programs_that_ended_well_are_no_warning():
    assert (
        warned(programs={"renew-certificate": {"good": True, "time": 1700000000.0, "message": "nothing is due"}}) == []
    )


def test_a_service_that_was_killed_is_a_warning_and_one_that_left_a_result_is_no_second():
    units = ["wharf-renew-certificate.service", "wharf-back-up.service"]
    found = warned(programs={"renew-certificate": FAILED}, failed_units=units)
    assert [one["code"] for one in found] == ["program_failed", "unit_failed"]
    assert "wharf-back-up.service" in found[1]["what"]


@pytest.mark.parametrize("reached", [True, False])
def test_certificate_that_ends_soon_is_a_warning_once(reached):
    soon = certificate(ends=10)
    found = judged(server(certificate=pem(soon)) if reached else UNREACHABLE, client(certificate=pem(soon)))
    warned = [host for host, one in found.items() if [w["code"] for w in one["warnings"]] == ["certificate_soon"]]
    assert warned == ["server" if reached else "client"]
    assert found["client"]["broken"] is False


def test_disk_that_is_nearly_full_is_a_warning():
    found = judged(server(free=DATA["size"] // 20), client())
    assert not found["server"]["broken"]
    assert [one["code"] for one in found["server"]["warnings"]] == ["disk_low"]


def test_damaged_blob_is_named_with_its_place():
    details = {"image": "a:1", "what": "layer", "expected": f"sha256:{'ab' * 32}", "found": "sha256:0"}
    found = judged(server(), client("digest", details=details))
    assert f"rm -r /data/docker/registry/v2/blobs/sha256/ab/{'ab' * 32}; docker restart" in found["client"]["do"]


def test_what_others_wrote_is_not_taken_for_a_field():
    found = judged(server(), client("engine_fails", details={"output": "{host} {0} {x.y}"}))
    assert "{host} {0} {x.y}" in found["client"]["what"]


def test_table_has_a_line_for_each_host_and_warning():
    result = client("ok", warnings_found=[{"code": "anonymous", "details": {}}])
    lines = diagnosis.diagnosis({"server": server()}, {"client": result}, SETTINGS)["table"].splitlines()
    assert [line.split()[0] for line in lines] == ["host", "server", "client", "client"]
    assert "warning: no password is required" in lines[3]
    assert len({line.index(word) for line, word in zip(lines, ("what", "nothing"), strict=False)}) == 1
