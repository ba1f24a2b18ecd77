"""The renewal on the server: when it does something, what stays as it was, and what it refuses."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.wharf.registry.plugins.module_utils import openssl, private_ca
from ansible_collections.wharf.registry.plugins.module_utils.command import cli, renew
from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError
from tests.unit.issued import Issued

SANS = ("DNS:registry.example.org", "DNS:old.example.org", "IP:10.0.0.5")
CA = Issued("CA", ca=True, pathlen=0, start=-10, end=3640)
OTHER = Issued("Other CA", ca=True)


class Server:
    """A server with a certificate from its private CA, and what it serves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results: list[tuple[bool, str]] = []
        self.served: bytes | None = None  # None: what is in the file
        (root / "tls").mkdir()
        (root / "ca").mkdir()
        self.issue()
        (root / "ca/ca.crt").write_text(CA.pem)
        (root / "ca/ca.key").write_text(CA.key_pem)
        settings = {
            "name": "registry.example.org", "directory": str(root / "tls"), "ca_directory": str(root / "ca"),
            "days": 397, "endpoint": "127.0.0.1:1", "restart_command": "true",
        }  # fmt: skip
        (root / "settings").write_text(json.dumps(settings))

    @property
    def certificate(self) -> openssl.Certificate:
        """Return the certificate."""
        return openssl.Certificate(self.root / "tls/registry.crt")

    def issue(self, ca: Issued = CA, start: float = -10, end: float = 387) -> None:
        """Install a certificate."""
        leaf = Issued("registry", ca, sans=SANS, start=start, end=end)
        (self.root / "tls/registry.crt").write_text(leaf.pem)
        (self.root / "tls/registry.key").write_text(leaf.key_pem)

    def run(self, now: bool = False, wait: float = 0, as_json: bool = False) -> int:
        """Run the subcommand."""
        options = argparse.Namespace(subcommand="renew-certificate", now=now, wait=wait, json=as_json)
        return cli.Task(options).perform(renew.run)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Server:
    """Return a server on which nothing is pending."""
    server = Server(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(openssl, "WORK", str(tmp_path))
    monkeypatch.setattr(renew, "SETTINGS", tmp_path / "settings")
    monkeypatch.setattr(cli, "lock", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(cli, "write_result", lambda _name, good, text, *_: server.results.append((good, text)))

    def served(_renewal: renew.Renewal, _patience: float) -> bytes:
        return server.certificate.der if server.served is None else server.served

    monkeypatch.setattr(renew.Renewal, "served", served)
    return server


def test_a_certificate_with_much_life_left_stays(server, capsys):
    before = server.certificate.pem
    assert server.run() == 0
    assert server.certificate.pem == before
    assert capsys.readouterr().out.startswith("nothing is pending: it holds until ")
    assert [good for good, _ in server.results] == [True]


@pytest.mark.parametrize(("start", "end"), [(-300, 97), (-60, -1), (1, 300)])
def test_one_that_ends_soon_or_does_not_hold_is_renewed_with_its_names_and_its_key(server, start, end):
    server.issue(start=start, end=end)
    key = (server.root / "tls/registry.key").read_text()
    assert server.run() == 0
    new = server.certificate
    assert (new.sans, new.public_key) == (list(SANS), openssl.public_key(server.root / "tls/registry.key"))
    assert (server.root / "tls/registry.key").read_text() == key
    assert new.was_signed_by(openssl.Certificate(server.root / "ca/ca.crt"), "-purpose", "sslserver")
    assert "renewed until " in server.results[0][1]


def test_one_that_ends_with_its_ca_is_not_renewed_again_and_again(server):
    ca = Issued("CA", ca=True, start=-400, end=20)
    (server.root / "ca/ca.crt").write_text(ca.pem)
    (server.root / "ca/ca.key").write_text(ca.key_pem)
    server.issue(ca, start=-377, end=20)
    before = server.certificate.pem
    assert server.run() == 0
    assert server.certificate.pem == before


def test_during_a_rotation_the_ca_that_signed_the_last_signs_the_next(server):
    (server.root / "ca/next.crt").write_text(OTHER.pem)
    (server.root / "ca/next.key").write_text(OTHER.key_pem)
    server.run(now=True)
    assert server.certificate.was_signed_by(openssl.Certificate(server.root / "ca/ca.crt"))
    server.issue(OTHER)
    server.run(now=True)
    assert server.certificate.was_signed_by(openssl.Certificate(server.root / "ca/next.crt"))


def test_json_tells_the_dates(server, capsys):
    server.run(now=True, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["changed"]
    assert {"old_end", "new_end", "ca_end", "message"} <= report.keys()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tls/registry.key", OTHER.key_pem, "does not belong to"),
        ("tls/registry.crt", "", "holds 0 certificates instead of one: run site.yml"),
        ("tls/registry.crt", None, "is missing: run site.yml"),
        ("ca/ca.key", OTHER.key_pem, "the key of .*ca.crt is missing or damaged: put it back from a backup"),
        ("ca/ca.crt", OTHER.pem, "was not signed by the CA in .*: run site.yml, which replaces it"),
        ("settings", None, "settings is missing: run site.yml"),
    ],
)
def test_what_does_not_fit_together_costs_no_working_certificate(server, file, content, message):
    path = server.root / file
    path.unlink() if content is None else path.write_text(content)
    before = {path: path.read_text() for path in (server.root / "tls").iterdir()}
    assert server.run(now=True) == 1
    assert re.search(message, server.results[0][1])
    assert {path: path.read_text() for path in (server.root / "tls").iterdir()} == before
    assert [good for good, _ in server.results] == [False]


def test_a_gateway_that_serves_another_certificate_reads_it_again(server, tmp_path):
    server.served = b"another"
    settings = json.loads((tmp_path / "settings").read_text())
    settings["restart_command"] = f"touch {tmp_path}/restarted"
    (tmp_path / "settings").write_text(json.dumps(settings))
    real = renew.Renewal.served

    def served(renewal: renew.Renewal, patience: float) -> bytes:
        if (tmp_path / "restarted").exists():
            server.served = None
        return real(renewal, patience)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renew.Renewal, "served", served)
        assert server.run() == 0
    assert "the registry serves it, after " in server.results[0][1]


def refuse_restarts(server: Server) -> None:
    """Let the registry go on with what it serves now."""
    server.served = server.certificate.der
    settings = server.root / "settings"
    settings.write_text(settings.read_text().replace('"true"', '"false"'))


def test_a_certificate_that_is_not_served_makes_room_for_the_one_that_was(server):
    before = (server.root / "tls/registry.crt").read_text()
    refuse_restarts(server)
    assert server.run(now=True) == 1
    said = server.results[0][1]
    assert re.match("the new certificate is not served: `false` fails: .*[^.]. All is as it was before: ", said), said
    assert (server.root / "tls/registry.crt").read_text() == before


def older_than(server: Server) -> bytes:
    """Return another certificate for the server's key: what was served before the one that it has."""
    key = load_pem_private_key((server.root / "tls/registry.key").read_bytes(), None)
    return ssl.PEM_cert_to_DER_cert(Issued("registry", CA, sans=SANS, start=-20, end=377, key=key).pem)


def test_what_goes_back_lay_in_the_file_whatever_a_worker_of_before_still_serves(server, monkeypatch):
    """An nginx that has just been reloaded may answer once more with what it served before that."""
    before, answers = server.certificate, [older_than(server)]
    refuse_restarts(server)
    monkeypatch.setattr(renew.Renewal, "served", lambda *_: answers.pop() if answers else before.der)
    assert server.run(now=True) == 1
    assert server.certificate.der == before.der
    served_again = f"the registry serves the one that holds until {openssl.utc(before.end)}"
    assert f"All is as it was before: {served_again}" in server.results[0][1]


def test_a_certificate_that_another_has_replaced_makes_room_for_the_one_that_is_served(server):
    """Who gives the registry a certificate of another CA lets this program load it."""
    refuse_restarts(server)
    server.served = older_than(server)
    assert server.run() == 1
    assert "All is as it was before: " in server.results[0][1]
    assert server.certificate.der == server.served


def test_on_the_way_back_the_registry_is_told_although_a_worker_still_serves_the_one_before(server, monkeypatch):
    """What has failed may have told it all the same."""
    before, log = server.certificate, server.root / "restarts"
    settings = server.root / "settings"
    command = f"sh -c 'echo >>{log}; [ $(wc -l <{log}) = 2 ]'"
    settings.write_text(settings.read_text().replace('"true"', json.dumps(command)))
    monkeypatch.setattr(renew.Renewal, "served", lambda *_: before.der)
    assert server.run(now=True) == 1
    assert "All is as it was before: " in server.results[0][1]
    assert log.read_text() == "\n\n"


def test_a_certificate_that_was_served_for_another_key_is_not_put_back(server):
    refuse_restarts(server)
    server.issue()
    before = server.certificate.pem
    assert server.run() == 1
    said = server.results[0][1]
    assert "The one before could not be put back either: it belongs to another key" in said
    assert server.certificate.pem == before


@pytest.mark.parametrize(("wait", "results"), [(0, 0), (1, 1)])
def test_only_a_timer_that_waited_in_vain_has_failed(server, monkeypatch, capsys, wait, results):
    @contextlib.contextmanager
    def busy(*_):
        raise BusyError("collect-garbage is at work")
        yield

    monkeypatch.setattr(cli, "lock", busy)
    assert server.run(now=True, wait=wait) == 1
    assert "collect-garbage is at work" in capsys.readouterr().err
    assert len(server.results) == results


def test_it_is_roots_business(server, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert server.run() == 1
    assert "only root may do this" in capsys.readouterr().err


def test_the_role_writes_what_the_renewal_reads(server):
    wanted = {
        "name": "registry.example.org", "aliases": [], "directory": str(server.root / "tls"), "owner": 0,
        "ca_directory": str(server.root / "ca"), "ca_days": 3650, "days": 397, "rotation": "keep", "endpoint": "",
        "restart_command": "", "controller_time": None,
    }  # fmt: skip
    (server.root / "settings").write_text(private_ca.PrivateCA(wanted, []).settings_text())
    renewal = renew.Renewal()
    assert renewal.signer(server.certificate)[1] == server.root / "ca/ca.key"
