"""The logins that users' tools keep, and when a tool is asked to log in."""

from __future__ import annotations

import base64
import json
import os
import pwd
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import auth_files as login
from ansible_collections.wharf.registry.plugins.module_utils import container_policy, processes
from ansible_collections.wharf.registry.plugins.module_utils.auth_files import Outcome
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

REGISTRY = "reg.test:5000"
ME = pwd.getpwuid(os.getuid())


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
    monkeypatch.setattr(container_policy, "SETTINGS", str(tmp_path / "etc"))
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


@pytest.fixture(autouse=True)
def word(monkeypatch: pytest.MonkeyPatch) -> list[bool | None]:
    """Return a list whose last item is the registry's word on every login."""
    words: list[bool | None] = [True]
    monkeypatch.setattr(login, "is_accepted", lambda registry, ca, credentials: words[-1])
    return words


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """Return the commands that are run, each with what it is given; they all succeed and do nothing."""
    seen: list[tuple[list[str], str]] = []

    def run(command: list[str], given: str = "") -> tuple[int, str]:
        seen.append((command, given))
        return 0, ""

    monkeypatch.setattr(login, "run", run)
    monkeypatch.setattr(processes, "run", run)
    return seen


@pytest.mark.parametrize(
    ("text", "says", "check", "asked", "outcome"),
    [
        ("ci:pw", True, False, False, (False, True)),
        ("ci:pw", True, True, False, (False, True)),
        # The file is right, but the password no longer holds, or nobody can say: the tool itself tries.
        ("ci:pw", False, False, True, (False, True)),
        ("ci:pw", None, False, True, (False, True)),
        ("ci:pw", False, True, False, (True, False)),
        ("ci:pw", None, True, False, (False, False)),
        ("ci:old", True, True, False, (True, False)),
        ("ci:old", True, False, True, (False, True)),
    ],
)
def test_tool_is_asked_only_where_the_file_is_wrong_or_the_registry_does_not_confirm(
    tmp_path: Path, commands: list, word: list, text: str, says: bool | None, check: bool, asked: bool, outcome: tuple
) -> None:
    word.append(says)
    assert Place(tmp_path, text).log_in(("ci", "pw"), "CA", check) == outcome
    assert bool(commands) == asked


def test_tool_is_asked_where_the_file_is_right_but_the_helper_has_nothing(tmp_path: Path, commands: list) -> None:
    place = Place(tmp_path, "ci:pw")
    document = json.loads(Path(place.path).read_text())
    Path(place.path).write_text(json.dumps(document | {"credsStore": "none"}))
    outcome = place.log_in(("ci", "pw"), "CA", False)
    assert outcome == (False, True)
    assert ["docker", "login", "--username", "ci", "--password-stdin", REGISTRY] in [command for command, _ in commands]


def test_password_goes_in_on_standard_input(tmp_path: Path, commands: list) -> None:
    Place(tmp_path, "ci:old").log_in(("ci", "pw"), "CA", False)
    assert commands == [(["docker", "login", "--username", "ci", "--password-stdin", REGISTRY], "pw")]


def test_login_that_another_file_hides_is_renewed(tmp_path: Path, commands: list) -> None:
    outcome = Place(tmp_path, "ci:pw", ["/run/auth.json"]).log_in(("ci", "pw"), "CA", False)
    assert outcome == (True, True)
    assert [command[1] for command, _ in commands] == ["login", "logout"]


def test_file_that_others_can_read_is_closed(tmp_path: Path, commands: list) -> None:
    place = Place(tmp_path, "ci:pw")
    Path(place.path).chmod(0o644)
    assert place.log_in(("ci", "pw"), "CA", False) == (True, True)
    assert place.mode() == 0o600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"auths": {"other": {"auth": "eA=="},}}', r"is no JSON \(.*line 1 column .*\): correct it, or move it away"),
        ("\ufeff{}", "is no JSON"),
        ("[]", "holds no object"),
        (None, r"cannot be read by its user \(.*\): give it back to them"),  # no regular file here: tests run as root
        ("", ""),
        ("{}", ""),
    ],
)
def test_file_that_the_tool_would_replace_with_all_that_it_holds_is_refused(
    tmp_path: Path, commands: list, content: str | None, message: str
) -> None:
    place = Place(tmp_path, "")
    if content is None:
        os.unlink(place.path)
        os.mkdir(place.path)
    else:
        Path(place.path).write_text(content, encoding="utf-8")
    for check in (True, False):
        with pytest.raises(WharfError, match=message) if message else nullcontext():
            place.log_in(("ci", "pw"), "", check)
    assert bool(commands) is not bool(message)


def test_problem_names_user_and_tool_and_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "run", lambda command, given="": (1, "no such host"))
    user = {"user": "deploy", "name": "ci", "password": "pw-of-ci"}
    outcome = login.one_user(user, str(tmp_path), {REGISTRY: True}, ["docker", "containerd"], "CA", False)
    assert outcome["problems"] == ["registry_client_logins: deploy cannot log in as ci with docker: no such host"]


def test_each_user_is_logged_in_with_all_tools_and_out_under_previous_names(
    tmp_path: Path, commands: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine's own may be closed to who runs the tests.
    monkeypatch.setattr(login, "ENGINE_SOCKET", str(tmp_path / "docker.sock"))
    user = {"user": "deploy", "name": "ci", "password": "pw"}
    for place in (login.Docker(str(tmp_path), REGISTRY), login.Containers(str(tmp_path), REGISTRY)):
        Path(place.path).parent.mkdir(parents=True)
        Path(place.path).write_text(json.dumps({"auths": {"old.test:5000": entry("ci:pw")}}))
    login.one_user(user, str(tmp_path), {"old.test:5000": False, REGISTRY: True}, ["docker", "containers"], "", False)
    done = [(command[1], command[-1]) for command, _ in commands if command[0] in ("docker", "skopeo", "podman")]
    assert done == [("logout", "old.test:5000")] * 2 + [("login", REGISTRY)] * 2


def test_login_of_a_user_who_is_missing_is_passed_over_and_so_are_tools_without_logins() -> None:
    users = [{"user": "nobody-here", "name": "ci", "password": "pw"}]
    assert login.log_all(users, {REGISTRY: True}, ["docker"], "", False) == Outcome()
    assert login.log_all([{"user": "root"}], {REGISTRY: True}, ["containerd"], "", False) == Outcome()


@pytest.mark.parametrize("error", [OSError(2, "No such file or directory", "/home/x"), KeyError("pw-of-ci")])
def test_what_fails_in_the_users_process_is_told_without_a_password(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(WharfError) as caught:
        login.as_user(ME, work)
    assert str(caught.value).startswith(f"{ME.pw_name}: ")
    assert "pw-of-ci" not in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_users_who_stop_their_process_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(login, "USER_TIMEOUT", 0.3)
    with pytest.raises(WharfError, match="was cut off, or did not end within 0.3 seconds"):
        login.as_user(ME, lambda: os.kill(os.getpid(), number))


def test_a_pipe_in_place_of_the_file_is_no_login_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    place = login.Docker(str(tmp_path), REGISTRY)
    os.mkdir(tmp_path / ".docker")
    os.mkfifo(place.path)
    assert place.known() is None


@pytest.mark.parametrize(
    ("users", "tools", "programs", "check", "lines"),
    [
        (["root"], ["docker", "podman"], ["docker", "skopeo"], False, []),
        (["x-y"], ["docker"], ["docker"], True, ["there is no system user 'x-y' on this host"]),
        # Nobody logs in with containerd.
        (["x-y"], ["containerd"], [], False, []),
        (
            ["root"],
            ["docker", "podman", "skopeo"],
            [],
            False,
            ["a login with docker needs", "a login with podman needs"],
        ),
        (["root"], ["docker", "podman", "skopeo"], [], True, []),
        ([], ["docker"], [], False, []),
    ],
)
def test_login_needs_a_user_and_a_program(
    monkeypatch: pytest.MonkeyPatch, users: list, tools: list, programs: list, check: bool, lines: list
) -> None:
    monkeypatch.setattr(login, "has", lambda program: program in programs)
    problems = login.login_problems(users, tools, check)
    assert len(problems) == len(lines)
    for problem, line in zip(problems, lines, strict=True):
        assert problem.startswith(f"registry_client_logins: {line}")


def test_logging_out_twice_changes_once(tmp_path: Path, commands: list) -> None:
    place = Place(tmp_path, "ci:pw")
    assert place.log_out(check=True) == (True, True)
    assert commands == []
    assert place.log_out(check=False) == (True, True)
    Path(place.path).write_text("{}")
    assert place.log_out(check=False) == (False, True)
    assert len(commands) == 1
