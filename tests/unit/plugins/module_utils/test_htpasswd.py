"""The password file: a line for each user, and none is touched that is right."""

from __future__ import annotations

import base64
import hashlib
import re

import bcrypt
import pytest

from ansible_collections.wharf.registry.plugins.module_utils import htpasswd as module
from ansible_collections.wharf.registry.plugins.module_utils.errors import WharfError

ALICE = {"alice": "kD8-xQ2_vLm4Rt7Zp1Wc"}
BOB = {"bob": "ü" * 36}  # exactly bcrypt's 72 bytes
BOTH = ALICE | BOB


def hashes(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines())


def test_the_password_file_has_a_line_for_each_user_in_order() -> None:
    text = module.htpasswd("", BOB | ALICE, 4)
    assert re.fullmatch(r"bob:\$2b\$04\$[./A-Za-z0-9]{53}\nalice:\$2b\$04\$[./A-Za-z0-9]{53}\n", text)
    for name, password in BOTH.items():
        assert bcrypt.checkpw(password.encode(), hashes(text)[name].encode())


def test_without_a_cost_each_password_is_hashed_with_a_salt_of_its_own() -> None:
    found = hashes(module.htpasswd("", {"alice": "same", "bob": "same"}))
    assert found["alice"] != found["bob"]
    for hashed in found.values():
        text = base64.b64decode(hashed.removeprefix("{SSHA}"))
        assert hashlib.sha1(b"same" + text[20:]).digest() == text[:20]
        assert len(text) == 36


@pytest.mark.parametrize("cost", [0, 4])
def test_a_right_password_file_stays_as_it_is(cost: int) -> None:
    text = module.htpasswd("", BOTH, cost)
    assert module.htpasswd(text, BOTH, cost) == text


def test_lines_follow_the_list_whatever_their_order_was() -> None:
    text = module.htpasswd("", BOTH, 4)
    assert module.htpasswd(text, BOB | ALICE, 4).splitlines() == text.splitlines()[::-1]


def test_only_the_line_whose_password_changed_is_new() -> None:
    before = module.htpasswd("", BOTH, 4)
    changed = ALICE | {"bob": "another password of his"}
    after = module.htpasswd(before, changed, 4)
    assert hashes(before)["alice"] == hashes(after)["alice"]
    assert hashes(before)["bob"] != hashes(after)["bob"]


def test_users_that_are_not_wanted_are_dropped() -> None:
    before = module.htpasswd("", BOTH, 4)
    assert module.htpasswd(before, ALICE, 4) == before.splitlines(keepends=True)[0]
    assert module.htpasswd(before, {}, 4) == ""


def test_another_cost_makes_a_new_line() -> None:
    before = module.htpasswd("", ALICE, 4)
    assert module.htpasswd(before, ALICE, 5).startswith("alice:$2b$05$")
    quick = module.htpasswd(before, ALICE, 0)
    assert quick.startswith("alice:{SSHA}")
    assert module.htpasswd(quick, ALICE, 4).startswith("alice:$2b$04$")


@pytest.mark.parametrize("cost", [0, 4])
def test_a_hash_belongs_to_its_password_alone(cost: int) -> None:
    hashed = module.hash_password("right", cost)
    assert [module.belongs(password, hashed) for password in ("right", "Right", "")] == [True, False, False]
    assert [module.fits("right", hashed, other) for other in (0, 4, 5)] == [cost == 0, cost == 4, False]
    assert not module.fits("wrong", hashed, cost)


@pytest.mark.parametrize("hashed", ["", "{SSHA}", "{SSHA}!", "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$2b$04$short", "ä"])
def test_a_hash_that_we_would_not_make_is_anybodys_and_fits_nobody(hashed: str) -> None:
    assert module.belongs("any", hashed)
    assert not module.fits("any", hashed, 0) and not module.fits("any", hashed, 4)


@pytest.mark.parametrize("prefix", ["2a", "2y"])
def test_a_line_that_another_tool_made_is_kept(prefix: str) -> None:
    existing = module.htpasswd("", ALICE, 4).replace("$2b$", f"${prefix}$")
    assert module.htpasswd(existing, ALICE, 4) == existing


@pytest.mark.parametrize(
    "existing",
    [
        "# a comment\n\nalice\n",
        "alice:\n",
        "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n",
        "alice:$2b$04$short\n",
        "alice:$2b$04$" + "!" * 53 + "\n",
        "alice:$2x$04$" + "a" * 53 + "\n",
        "\ufeffalice:$2b$04$" + "a" * 53 + "\r\n",
    ],
)
def test_a_line_that_no_password_could_fit_is_replaced(existing: str) -> None:
    assert re.fullmatch(r"alice:\$2b\$04\$[./A-Za-z0-9]{53}\n", module.htpasswd(existing, ALICE, 4))
    assert re.fullmatch(r"alice:\{SSHA\}[+/=A-Za-z0-9]{48}\n", module.htpasswd(existing, ALICE))


def test_a_password_that_is_still_to_be_generated_fits_no_line() -> None:
    users = module.users_of("alice:\nbob:se:cret\n")
    assert users == {"alice": "", "bob": "se:cret"}
    text = module.htpasswd("", BOTH, 4)
    assert hashes(module.htpasswd(text, users, 4))["alice"] != hashes(text)["alice"]


def test_a_system_without_bcrypt_is_an_error_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def crypt(_password: bytes, _setting: bytes) -> bytes:
            return b"*0"

    monkeypatch.setattr(module.ctypes, "CDLL", lambda _name: Library)
    with pytest.raises(WharfError, match="^the system's libcrypt knows no bcrypt$"):
        module.htpasswd("", ALICE, 4)
