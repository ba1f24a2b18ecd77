"""wharf access: who may do what in a repository, and because of which rule."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils.command import cli, registry

DEPLOYED = {
    "users": [{"name": "kiosk", "role": "reader"}, {"name": "ann", "role": "writer"}],
    "rules": [{"repositories": "team-a/**", "read": [], "write": ["ann"]}],
}


@pytest.fixture
def access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs `wharf access`, with what was deployed, and returns its exit code and its output."""
    monkeypatch.setattr(registry, "SETTINGS", tmp_path / "registry.json")
    monkeypatch.setattr(registry.data, "container", lambda _: None)  # a server without an engine
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)

    def run(*arguments: str, deployed: dict = DEPLOYED) -> tuple[int, str, str]:
        (tmp_path / "registry.json").write_text(json.dumps(deployed))
        monkeypatch.setattr(sys, "argv", ["wharf", "access", *arguments])
        code = cli.main()
        return code, *capsys.readouterr()

    return run


def test_one_user(access) -> None:
    assert access("ann", "team-a/app") == (0, "ann  pull and push  rule 1 (team-a/**) lists ann under write\n", "")


def test_all_users(access) -> None:
    assert access("team-a/app")[:2] == (
        0,
        "kiosk  nothing        rule 1 (team-a/**) does not list kiosk\n"
        "ann    pull and push  rule 1 (team-a/**) lists ann under write\n",
    )


def test_json(access) -> None:
    code, output, _ = access("--json", "kiosk", "other")
    reason = "no rule is for it, and kiosk is a reader"
    assert (code, json.loads(output)["users"]) == (0, [{"name": "kiosk", "level": 1, "reason": reason}])


def test_registry_that_is_open_to_everyone(access) -> None:
    code, output, _ = access("app", deployed={"users": [], "rules": []})
    assert (code, output) == (0, "everybody may pull and push: the registry is open to everyone\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bob", "app"], "the registry has no user bob: `wharf access app` names all of them"),
        (["app:1.0"], "'app:1.0' is not a repository: use its name without the registry and a tag"),
        (["ann", "team-a/**"], "'team-a/**' is not a repository"),
        (["a" * 256], "is not a repository"),
    ],
)
def test_question_that_cannot_be_answered(access, arguments: list[str], message: str) -> None:
    code, output, error = access(*arguments)
    assert (code, output) == (1, "")
    assert error.startswith("wharf access: ") and message in error
