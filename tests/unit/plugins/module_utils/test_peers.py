"""Servers on one store are compared by an upload that one has begun and the others are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import gateway
from ansible_collections.wharf.registry.plugins.module_utils import peers as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

INVALID = b'{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"}]}'
UNKNOWN = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}'


class Answers:
    """A registry that answers each request with what is given, and notes it."""

    def __init__(self, status: int, body: bytes = b"", location: str = "") -> None:
        self.status, self.body, self.headers = status, body, {"Location": location}
        self.asked: list[tuple[str, str]] = []

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def request(self, method: str, path: str) -> Answers:
        self.asked.append((method, path))
        return self


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return the registry here."""
    answers = Answers(202, location="/v2/x/blobs/uploads/1?_state=a")
    monkeypatch.setattr(module, "direct", lambda slot, timeout: answers)
    return answers


def compared(monkeypatch: pytest.MonkeyPatch, *others: Any) -> list[tuple[str, str, str]]:
    """Return what is found of others, each a registry or an error."""
    left = iter(others)

    def client_of(address: str, port: int, directory: str) -> Any:
        other = next(left)
        if isinstance(other, Exception):
            raise other
        return other

    monkeypatch.setattr(module, "client_of", client_of)
    servers = [(f"192.0.2.{number}", 5000) for number in range(len(others))]
    return list(module.compare(servers, "/etc/wharf/gateway", "a"))


def test_who_shares_store_and_secret_knows_the_upload(monkeypatch: pytest.MonkeyPatch, own: Answers) -> None:
    other = Answers(204)
    assert compared(monkeypatch, other) == [("192.0.2.0", "", "")]
    assert other.asked == [("GET", "/v2/x/blobs/uploads/1?_state=a")]
    assert [method for method, _ in own.asked] == ["POST", "DELETE"]


@pytest.mark.parametrize(("body", "difference"), [(INVALID, "secret"), (UNKNOWN, "store")])
def test_who_does_not_is_told_from_its_answer(
    monkeypatch: pytest.MonkeyPatch, own: Answers, body: bytes, difference: str
) -> None:
    assert compared(monkeypatch, Answers(404, body)) == [("192.0.2.0", difference, "")]
    assert difference in module.PROBLEMS
    assert own.asked[-1][0] == "DELETE"


def test_who_does_not_answer_is_no_other(monkeypatch: pytest.MonkeyPatch, own: Answers) -> None:
    found = compared(monkeypatch, WharfError("no"), OSError("away"), Answers(502), Answers(204))
    assert [difference for _, difference, _ in found] == [""] * 4
    assert [bool(silent) for *_, silent in found] == [True, True, True, False]


def test_a_store_that_takes_no_upload_is_told(monkeypatch: pytest.MonkeyPatch, own: Answers) -> None:
    own.status = 503
    with pytest.raises(WharfError, match=r"HTTP status 503\): the store of wharf_registry_storage must be reached"):
        compared(monkeypatch, Answers(204))


def test_the_others_are_known_from_the_gateway_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.known(str(tmp_path)) == []
    Path(gateway.peers_file(str(tmp_path))).write_text(gateway.peers(["192.0.2.1", "2001:db8::1"], 5443))
    assert module.known(str(tmp_path)) == [("192.0.2.1", 5443), ("2001:db8::1", 5443)]
