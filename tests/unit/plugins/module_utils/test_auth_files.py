"""The logins that users' tools keep, and when a tool is asked to log in."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import auth_files as login
from ansible_collections.wharf.registry.plugins.module_utils.auth_files import Outcome

REGISTRY = "reg.test:5000"


def entry(text: str) -> dict[str, str]:
    """Return an auth file's entry."""
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("document", "known"),
    [
        ({}, None),
        ({"auths": None}, None),
        ({"auths": {REGISTRY: {}}}, None),
        ({"auths": {REGISTRY: {"auth": "!"}}}, None),
        ({"auths": {"other.test": entry("a:b")}}, None),
        ({"auths": {REGISTRY: entry("ci:pass:word")}}, ("ci", "pass:word")),
    ],
)
def test_auth_file_is_read(document: dict, known: Any) -> None:
    assert login.in_file(document, REGISTRY) == known


@pytest.mark.parametrize("content", ["", "[]", "{", "\udcff"])
def test_file_that_is_no_auth_file_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "auth.json").write_text(content, errors="surrogateescape")
    assert login.read_json(str(tmp_path / "auth.json")) == {}


def test_helpers_that_the_user_has_set_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "SETTINGS", str(tmp_path / "etc"))
    docker, containers = login.Docker(str(tmp_path), REGISTRY), login.Containers(str(tmp_path), REGISTRY)
    assert docker.helpers() == containers.helpers() == []
    for place in (docker, containers):
        Path(place.path).parent.mkdir(parents=True)
    Path(docker.path).write_text(json.dumps({"credsStore": "all", "credHelpers": {REGISTRY: "one"}}))
    assert docker.helpers() == ["one"]
    Path(docker.path).write_text(json.dumps({"credsStore": "all"}))
    assert docker.helpers() == ["all"]
    settings = tmp_path / ".config/containers/registries.conf"
    settings.write_text('# x\ncredential-helpers = [\n  "containers-auth.json", "secretservice"]\n[[registry]]\n')
    assert containers.helpers() == ["secretservice"]
    Path(containers.path).write_text(json.dumps({"credHelpers": {REGISTRY: "one"}}))
    assert containers.helpers() == ["one"]


class Place(login.Docker):
    """A tool whose login is where a test wants it."""

    def __init__(self, home: Path, text: str, stale: list[str] | None = None) -> None:
        """Write the login that is there."""
        super().__init__(str(home), REGISTRY)
        self.others = stale or []
        Path(self.path).parent.mkdir(exist_ok=True)
        Path(self.path).write_text(json.dumps({"auths": {REGISTRY: entry(text)}}))
        Path(self.path).chmod(0o600)

    def stale(self, wanted: tuple[str, str] | None) -> list[str]:
        """Return what a test wants."""
        return self.others


class Registry(login.Registry):
    """A registry that gives the word that a test wants."""

    def __init__(self, word: bool | None) -> None:
        """Take the word."""
        super().__init__("reg.test", 5000)
        self.word = word

    def accepts(self, login: tuple[str, str]) -> bool | None:
        """Return the word."""
        return self.word


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """Return the commands that are run, each with what it is given; they all succeed and do nothing."""
    seen: list[tuple[list[str], str]] = []

    def run(command: list[str], given: str = "") -> tuple[int, str]:
        seen.append((command, given))
        return 0, ""

    monkeypatch.setattr(login, "run", run)
    return seen


@pytest.mark.parametrize(
    ("text", "word", "check", "asked", "outcome"),
    [
        ("ci:pw", True, False, False, Outcome(changed=False, confirmed=True)),
        ("ci:pw", True, True, False, Outcome(changed=False, confirmed=True)),
        # The file is right, but the password no longer holds, or nobody can say: the tool itself tries.
        ("ci:pw", False, False, True, Outcome(changed=False, confirmed=True)),
        ("ci:pw", None, False, True, Outcome(changed=False, confirmed=True)),
        ("ci:pw", False, True, False, Outcome(changed=True, confirmed=False)),
        ("ci:pw", None, True, False, Outcome(changed=False, confirmed=False)),
        ("ci:old", True, True, False, Outcome(changed=True, confirmed=False)),
        ("ci:old", True, False, True, Outcome(changed=False, confirmed=True)),
    ],
)
def test_tool_is_asked_only_where_the_file_is_wrong_or_the_registry_does_not_confirm(
    tmp_path: Path, commands: list, text: str, word: bool | None, check: bool, asked: bool, outcome: Outcome
) -> None:
    assert login.log_in(Place(tmp_path, text), ("ci", "pw"), Registry(word), check) == outcome
    assert bool(commands) == asked


def test_tool_is_asked_where_the_file_is_right_but_the_helper_has_nothing(tmp_path: Path, commands: list) -> None:
    place = Place(tmp_path, "ci:pw")
    document = json.loads(Path(place.path).read_text())
    Path(place.path).write_text(json.dumps(document | {"credsStore": "none"}))
    outcome = login.log_in(place, ("ci", "pw"), Registry(True), False)
    assert not outcome.changed
    assert ["docker", "login", "--username", "ci", "--password-stdin", REGISTRY] in [command for command, _ in commands]


def test_password_goes_in_on_standard_input(tmp_path: Path, commands: list) -> None:
    login.log_in(Place(tmp_path, "ci:old"), ("ci", "pw"), Registry(True), False)
    assert commands == [(["docker", "login", "--username", "ci", "--password-stdin", REGISTRY], "pw")]


def test_login_that_another_file_hides_is_renewed(tmp_path: Path, commands: list) -> None:
    outcome = login.log_in(Place(tmp_path, "ci:pw", ["/run/auth.json"]), ("ci", "pw"), Registry(True), False)
    assert outcome.changed
    assert [command[1] for command, _ in commands] == ["login", "logout"]


def test_file_that_others_can_read_is_closed(tmp_path: Path, commands: list) -> None:
    place = Place(tmp_path, "ci:pw")
    Path(place.path).chmod(0o644)
    assert login.log_in(place, ("ci", "pw"), Registry(True), False).changed
    assert login.mode(place.path) == 0o600


def test_problem_names_user_and_tool_and_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "run", lambda command, given="": (1, "no such host"))
    user = {"user": "deploy", "name": "ci", "password": "pw-of-ci"}
    outcome = login.one_user(user, str(tmp_path), Registry(None), ["docker"], "present", False)
    assert outcome.problems == ["registry_client_logins: deploy cannot log in as ci with docker: no such host"]


def test_logging_out_twice_changes_once(tmp_path: Path, commands: list) -> None:
    place = Place(tmp_path, "ci:pw")
    assert login.log_out(place, check=True).changed
    assert commands == []
    assert login.log_out(place, check=False).changed
    Path(place.path).write_text("{}")
    assert not login.log_out(place, check=False).changed
    assert len(commands) == 1


def test_errors_of_a_program_are_one_line() -> None:
    assert login.run(["sh", "-c", "echo out; printf 'no such\nhost' >&2; exit 3"]) == (3, "no such host")
    assert login.run(["sh", "-c", "cat; echo err >&2"], "in") == (0, "in")
    assert login.run(["no-such-program"]) == (1, "no-such-program: No such file or directory")
