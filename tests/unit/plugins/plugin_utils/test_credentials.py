"""Generated passwords: where they are kept, and which file is whose."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import credentials as module


@pytest.mark.parametrize("value", ["/srv/kept", "~/kept", "{{ inventory_dir }}/.credentials"])
def test_places_that_the_next_run_finds_are_good(value: str) -> None:
    assert module.directory_problems(value, "wharf_credentials_directory") == []


@pytest.mark.parametrize("value", ["", "kept", "None/.credentials", "../kept", "/srv/../kept", "/srv/\nkept"])
def test_other_places_are_refused(value: str) -> None:
    (problem,) = module.directory_problems(value, "wharf_credentials_directory")
    assert problem.startswith("wharf_credentials_directory: ")
    assert "is not an absolute path: use one that the next run finds again" in problem


def test_passwords_are_generated_once_for_their_owner_alone_and_out_of_git(tmp_path: Path) -> None:
    place = tmp_path / "a b='c's/users"  # what the lookup password would read as options
    files = module.generate_passwords(["ci", "dev"], str(place))
    assert files == [f"{place}/ci", f"{place}/dev"]
    passwords = [module.read_password(str(place), name) for name in ("ci", "dev")]
    assert [len(password) for password in passwords] == [32, 32]
    assert len(set(passwords)) == 2
    assert sorted(os.listdir(place)) == [".gitignore", "ci", "dev"]
    assert (place / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(Path(file).stat().st_mode) for file in files} == {0o600}
    module.generate_passwords(["ci"], str(place))
    assert module.read_password(str(place), "ci") == passwords[0]


def test_nothing_is_written_where_it_is_only_told(tmp_path: Path) -> None:
    assert module.generate_passwords(["ci"], str(tmp_path / "kept"), only_tell=True) == [str(tmp_path / "kept/ci")]
    assert os.listdir(tmp_path) == []


def test_a_home_directory_is_the_same_to_who_writes_and_who_reads(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    module.generate_passwords(["ci"], "~/kept")
    assert module.read_password("~/kept", "ci") == (tmp_path / "kept/ci").read_text().strip()


def test_a_password_that_everybody_can_read_is_warned_of(tmp_path: Path, monkeypatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(module.Display, "warning", lambda _self, message: warnings.append(message))
    (tmp_path / "ci").write_text("secret")
    (tmp_path / "ci").chmod(0o644)
    tmp_path.chmod(0o700)
    assert module.read_password(str(tmp_path), "ci") == "secret"
    assert warnings == []
    tmp_path.chmod(0o755)
    module.read_password(str(tmp_path), "ci")
    assert warnings == [f"everybody on this machine can read the password in {tmp_path}/ci: chmod 700 {tmp_path}"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    (tmp_path / "dev").write_bytes(b"\xff")
    for name, reason in (("ci", "Is a directory"), ("dev", "not text")):
        with pytest.raises(ValueError, match=rf"{tmp_path}/{name} cannot be read \({reason}\)"):
            module.read_password(str(tmp_path), name)
