"""The engine's packages with dnf: whose entries go, what is held, which version is older."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.module_utils import engine_rpms
from ansible_collections.wharf.registry.plugins.module_utils.engine_packages import is_older

DOCKER = """[docker-ce-stable]
name=Docker CE Stable - $basearch
baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/stable
gpgkey=https://download.docker.com/linux/centos/gpg

"""
MIRROR = "[mirror]\nname=Docker\nbaseurl = http://mirror.example/el/9/x86_64/stable\n"
COMPANY = (
    "# Of the company.\n[company]\nname=See https://download.docker.com/linux/\nbaseurl=https://company.example/el\n"
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (DOCKER, None),
        (f"# Docker.\n{DOCKER}{MIRROR}", None),
        (f"{COMPANY}{DOCKER}", COMPANY),
        (f"{MIRROR}{COMPANY}", COMPANY),
        (COMPANY, COMPANY),
    ],
)
@pytest.mark.parametrize("is_real", [True, False])
def test_entries_for_dockers_packages_go_and_others_stay(tmp_path: Path, text, left, is_real):
    (tmp_path / "wharf-docker.repo").write_text(DOCKER)
    file = tmp_path / "some.repo"
    file.write_text(text)
    gone = engine_rpms.remove_entries("https://mirror.example/el/", is_real, tmp_path)
    assert gone == ([] if left == text else [f"{'' if left is None else DOCKERS}/etc/yum.repos.d/some.repo"])
    assert (file.read_text() if file.exists() else None) == (left if is_real else text)
    assert (tmp_path / "wharf-docker.repo").read_text() == DOCKER


DOCKERS = "Docker's packages in "


def test_a_repository_s_file_that_holds_nothing():
    source = "[wharf-docker]\ngpgcheck=1\nexcludepkgs=docker-ce docker-ce-cli\n"
    assert engine_rpms.without_holds(source) == "[wharf-docker]\ngpgcheck=1\nexcludepkgs=\n"


def test_what_dnf_says_is_told_in_one_line():
    output = "Last metadata check: 0:00:01 ago\nError: \n Problem: conflicting requests\n  - nothing provides x\n"
    assert engine_rpms.words_of(output) == "Error: Problem: conflicting requests - nothing provides x."
    assert engine_rpms.words_of("No match\n for it\n") == "No match for it."


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("5:28.5.1-1~debian.13~trixie", "5:28.5.2-1~debian.13~trixie"),
        ("26.1.5+dfsg1-9+b9", "3:28.5.2-1.el9"),
        ("20.10.24", "24"),
        ("28.9.0", "28.10.0"),
        ("5:29.0.0~rc.2-1~debian.13~trixie", "5:29.0.0-1~debian.13~trixie"),
        ("29.0.0~rc.1", "29.0.0~rc.2"),
        ("24.0.7-0ubuntu4", "28.2.2-0ubuntu1~24.04.1"),
    ],
)
def test_versions_are_compared_by_their_numbers(older, newer):
    assert is_older(older, newer)
    assert not is_older(newer, older)
    assert not is_older(older, older)
