# SPDX-License-Identifier: MIT
"""The engine's packages: versions, and the sources of others."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import engine_packages


@pytest.mark.parametrize(
    ("version", "pin", "is_right"),
    [
        ("5:28.5.2-1~debian.13~trixie", "28.5.2", True),
        ("5:28.5.2-1~debian.13~trixie", "28.5", True),
        ("26.1.5+dfsg1-9+b9", "26", True),
        ("5:28.5.20-1~debian.13~trixie", "28.5.2", False),
        ("5:29.0.0~rc.1-1~debian.13~trixie", "29.0.0", False),
        ("5:29.0.0~rc.1-1~debian.13~trixie", "29.0.0~rc.1", True),
        ("", "26", False),
    ],
)
def test_a_pin_is_a_version_or_its_beginning(version, pin, is_right):
    assert engine_packages.matches(version, pin) == is_right


# Sources of others ----------------------------------------------------------------------------------------------------

UNWANTED = {"download.docker.com/linux/debian", "mirror.example/docker"}


def test_only_docker_s_lines_leave_a_list():
    text = (
        "# deb https://download.docker.com/linux/debian bookworm stable\n"
        "deb http://mirror.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k/docker.gpg] https://download.docker.com/linux/debian/ bookworm stable\n"
        "deb-src http://mirror.example/docker bookworm stable\n"
        "deb [signed-by=/k/other.gpg] https://mirror.example/docker-other bookworm stable\n"
    )
    left, gone, other = engine_packages.without(text, UNWANTED, is_list=True)
    assert left.splitlines() == [text.splitlines()[number] for number in (0, 1, 4)]
    assert (gone, other) == ({"/k/docker.gpg"}, {"/k/other.gpg"})


def test_only_docker_s_stanzas_and_addresses_leave_a_file():
    text = (
        "# Ours.\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nSigned-By: /k/debian.gpg\n\n"
        "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\nSigned-By: /k/docker.asc\n\n"
        "Types: deb\nURIs: https://a.example\n https://mirror.example/docker/\nSuites: trixie\n"
    )
    left, gone, other = engine_packages.without(text, UNWANTED, is_list=False)
    assert left.split("\n\n") == [
        text.split("\n\n")[0],
        "Types: deb\nURIs: https://a.example\nSuites: trixie\n",
    ]
    assert (gone, other) == ({"/k/docker.asc"}, {"/k/debian.gpg"})


def test_apts_own_words_come_with_the_files_that_they_are_about(tmp_path):
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    above = "http://mirror.example/debian http://mirror.example"
    (parts / "debian.sources").write_text(f"Types: deb\nURIs: {above}\nSuites: trixie\n")
    (parts / "old.list").write_text("deb http://mirror.example/debian-old/ stale main\n")
    (parts / "broken.list").write_text("deb\n")
    lines = [
        "Err:3 http://mirror.example/debian-old stale Release",
        "W: a warning",
        "E: The repository 'http://mirror.example/debian-old stale Release' does not have a Release file.",
    ]
    assert engine_packages.sources_problem("\n".join(lines), tmp_path) == (
        "apt-get update fails on this host: a warning. The repository 'http://mirror.example/debian-old stale Release'"
        f" does not have a Release file. It is about {parts}/old.list. Correct the source, or take it out, first."
    )
    assert engine_packages.sources_problem("E: Malformed entry 1 in list file x.list", tmp_path) == (
        "apt-get update fails on this host: Malformed entry 1 in list file x.list. Correct the source, or take it out,"
        " first."
    )


@pytest.mark.parametrize("is_list", [True, False])
def test_what_holds_nothing_of_docker_s_stays_as_it_is(is_list):
    for text in (
        "",
        "# nothing\n",
        "\n\nTypes: deb\nURIs: http://x\n\n\n# end\n",
        "deb http://x trixie main",
        "Types: deb\n \t",
        " ",
    ):
        assert engine_packages.without(text, UNWANTED, is_list)[0] == text


def test_what_would_go_is_named_before_it_goes_with_the_key_that_nobody_else_names(tmp_path, monkeypatch):
    keyrings = tmp_path / "keyrings"
    keyrings.mkdir()
    monkeypatch.setattr(engine_packages, "KEYRINGS", (f"{keyrings}/",))
    monkeypatch.setattr(engine_packages, "SOURCE_FILE", "/etc/apt/sources.list.d/own.sources")
    for name in ("docker.gpg", "other.gpg"):
        (keyrings / name).write_text("key")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    entry = f"deb [signed-by={keyrings}/docker.gpg] https://download.docker.com/linux/debian trixie stable\n"
    (tmp_path / "sources.list").write_text(f"deb http://mirror.example/debian trixie main\n{entry}")
    (parts / "docker.list").write_text(entry)
    (parts / "own.sources").write_text("Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\n")
    (parts / "mixed.list").write_text(f"{entry}deb [signed-by={keyrings}/other.gpg] http://o.example x y\n")
    gone = [
        "Docker's packages in /etc/apt/sources.list",
        "/etc/apt/sources.list.d/docker.list",
        "Docker's packages in /etc/apt/sources.list.d/mixed.list",
        f"{keyrings}/docker.gpg",
    ]

    def entries(is_real: bool) -> list[str]:
        found = engine_packages.remove_entries("http://mirror.example/docker/", is_real, tmp_path)
        return sorted(found)

    assert entries(is_real=False) == sorted(gone)
    assert (parts / "docker.list").exists()
    assert entries(is_real=True) == sorted(gone)
    assert not (parts / "docker.list").exists()
    assert (parts / "own.sources").exists()
    assert (tmp_path / "sources.list").read_text() == "deb http://mirror.example/debian trixie main\n"
    assert entries(is_real=False) == []
