"""The registry's users, logins and the password file: one row for each bad input, with the line that it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.users import (
    cost_problems,
    login_problems,
    logins_with_passwords,
    passwords_of,
    reader_login,
    user_problems,
    users_with_passwords,
)

STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"  # 20 characters, the least for a low cost
SECRET = "s3cr3t-Wort"


class Tagged(str):
    """Text as Ansible hands it to a filter: a subclass of str."""


def only_line(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


@pytest.mark.parametrize("cost", [None, 0, 4, 5, 14, "0", "10"])
def test_good_costs_pass(cost: object) -> None:
    assert cost_problems(cost, "wharf_registry_bcrypt_cost") == []


@pytest.mark.parametrize(
    ("cost", "shown"), [(-1, "-1"), (1, "1"), (3, "3"), (15, "15"), (True, "true"), ("high", "'high'"), (5.5, "5.5")]
)
def test_a_bad_cost_gets_one_clear_line(cost: object, shown: str) -> None:
    assert cost_problems(cost, "wharf_registry_bcrypt_cost") == [
        (
            f"wharf_registry_bcrypt_cost: {shown} is not a bcrypt cost: use 0 for the quick hash of long passwords,"
            " or a number from 4 to 14 (passwords are checked at every request, and each step doubles the time)"
        )
    ]


@pytest.mark.parametrize(
    ("users", "arguments"),
    [
        ([{"name": "alice", "password": STRONG}], {}),
        ([{"name": "alice"}], {}),
        ([{"name": "team/alice", "password": STRONG}], {}),
        ([{"name": "alice", "password": "pässword"}], {"cost": 10}),
        ([{"name": "alice", "password": "abcdeabc"}], {"cost": "12"}),
        ([{"name": "alice", "password": "0123456789" * 7 + "ab"}], {"cost": 4}),
        ([{"name": "alice", "password": "0123456789" * 25 + "abcde"}], {"cost": 0}),
        ([{"name": "é" * 127 + "x", "password": STRONG + ": ü"}], {}),
        ([{"name": Tagged("alice"), "password": Tagged(STRONG)}], {}),
        (({"name": "alice"},), {}),
        ([], {"anonymous": True}),
        (None, {"anonymous": True}),
        ([], {"anonymous": True, "tls": False}),
    ],
)
def test_good_users_pass(users: object, arguments: dict) -> None:
    assert user_problems(users, "wharf_registry_users", **arguments) == []


@pytest.mark.parametrize(("one", "other"), [("bob", "Bob"), ("jürgen", "JÜRGEN"), ("jos\u00e9", "jose\u0301")])
def test_names_that_differ_by_case_only_are_refused(one: str, other: str) -> None:
    """nginx compares the keys of a map without case; and two generated passwords must be two files everywhere."""
    line = only_line(user_problems([{"name": one}, {"name": "ann"}, {"name": other, "password": STRONG}], "users"))
    assert line == (
        f"users: '{one}' and '{other}' are one name to the gateway, for which case does not count: use another name for"
        " one of them"
    )


WEAK_LOW = (
    "use at least 20 characters, 8 of them different, or leave password out and one is made"
    " (it is checked at every request, so the cost is low and long random passwords make up for it)"
)
WEAK_HIGH = "use at least 8 characters, 5 of them different, or leave password out and one is made"


@pytest.mark.parametrize(
    ("user", "line"),
    [
        ({}, "user 2 has no name: give one"),
        ({"password": STRONG}, "user 2 has no name: give one"),
        ({"name": None}, "user 2 has no name: give one"),
        ({"name": ""}, "user 2 has no name: give one"),
        ({"name": 7}, "user 2 has a name that is not text: put it in quotes, where YAML would read a number"),
        ({"name": True}, "user 2 has a name that is not text"),
        (
            {"name": f"alice:{SECRET}"},
            (
                "user 2 ('alice', then a colon) has a colon in the name, which ends the name in the password file:"
                " use a name without one"
            ),
        ),
        (
            {"name": "al ice"},
            "user 2 ('al ice') has white space in the name: use a name without",
        ),
        ({"name": "alice\n"}, "user 2 ('alice\\n') has white space in the name"),
        ({"name": "al\u00a0ice"}, "has white space in the name"),
        ({"name": "al\x07ice"}, "user 2 ('al\\x07ice') has a line break or another control character in the name"),
        (
            {"name": "#alice"},
            (
                "user 2 ('#alice') has a name that starts with #, which makes its line in the password file a comment:"
                " use another name"
            ),
        ),
        ({"name": "@ann"}, "user 2 ('@ann') has a name that starts with @, as only the groups in rules do: use"),
        ({"name": "\ud800"}, "user 2 ('\\ud800') has a name that is not valid Unicode: use another name"),
        ({"name": "é" * 128}, "has a name of more than 255 bytes: use a shorter one"),
        (
            {"name": "../alice"},
            "user 2 ('../alice') has no password, and one that is generated could not be kept in a file of that name,",
        ),
        ({"name": ".alice"}, "user 2 ('.alice') has no password, and one that is generated could not be kept"),
        ({"name": "a/b"}, "user 2 ('a/b') has no password, and one that is generated could not be kept"),
        ({"name": "."}, "user 2 ('.') has no password, and one that is generated could not be kept"),
        ({"name": "a" * 144}, "which has more than 143 bytes: use another name, or give it a password"),
        ({"name": "bob"}, "user 2 ('bob') stands in the list twice, first as user 1: use each once"),
        (
            {"name": "alice", "password": ""},
            "user 2 ('alice') has an empty password: give one, or leave password out and one is made",
        ),
        ({"name": "alice", "password": None}, "user 2 ('alice') has an empty password"),
        (
            {"name": "alice", "password": 12345678901234567890},
            "user 2 ('alice') has a password that is not text: put it in quotes, where YAML would read a number",
        ),
        ({"name": "alice", "password": [SECRET]}, "user 2 ('alice') has a password that is not text"),
        (
            {"name": "alice", "password": STRONG * 13},
            "user 2 ('alice') has a password of more than 255 bytes: use a shorter one",
        ),
        (
            {"name": "alice", "password": STRONG + "\n"},
            "user 2 ('alice') has a line break or another control character in the password: use a password without",
        ),
        ({"name": "alice", "password": STRONG + "\0"}, "has a line break or another control character in the password"),
        ({"name": "alice", "password": STRONG + "\ud800"}, "has a password that is not valid Unicode"),
        (
            {"name": "alice", "password": STRONG[:19]},
            f"user 2 ('alice') has a password that is too weak for bcrypt cost 0: {WEAK_LOW}",
        ),
        (
            {"name": "alice", "password": "abcdefg" * 3},
            f"has a password that is too weak for bcrypt cost 0: {WEAK_LOW}",
        ),
    ],
)
def test_a_bad_user_gets_one_clear_line(user: object, line: str) -> None:
    users = [{"name": "bob", "password": STRONG}, user]
    problem = only_line(user_problems(users, "wharf_registry_users"))
    assert problem.startswith("wharf_registry_users: user 2 ")
    assert line in problem
    assert SECRET not in problem
    assert STRONG[:19] not in problem


@pytest.mark.parametrize(
    ("cost", "password", "need"),
    [
        (4, STRONG[:19], f"cost 4: {WEAK_LOW}"),
        (9, STRONG[:19], f"cost 9: {WEAK_LOW}"),
        (0, STRONG[:19], f"cost 0: {WEAK_LOW}"),
        (None, STRONG[:19], f"cost 0: {WEAK_LOW}"),
        (10, "abcdefg", f"cost 10: {WEAK_HIGH}"),
        (14, "abcdabcd", f"cost 14: {WEAK_HIGH}"),
    ],
)
def test_how_strong_a_password_must_be_follows_the_cost(cost: object, password: str, need: str) -> None:
    problem = only_line(user_problems([{"name": "bob", "password": password}], "x_users", cost=cost))
    assert problem == f"x_users: user 1 ('bob') has a password that is too weak for bcrypt {need}"


@pytest.mark.parametrize("password", [STRONG * 4, "éàüöäßñ" * 5 + "éax"])
def test_bcrypt_ignores_what_is_longer(password: str) -> None:
    assert user_problems([{"name": "bob", "password": password}], "x_users", cost=0) == []
    assert only_line(user_problems([{"name": "bob", "password": password}], "x_users", cost=10)) == (
        "x_users: user 1 ('bob') has a password of more than 72 bytes, and bcrypt ignores the rest: use a shorter one"
    )


def test_a_bad_cost_is_left_to_its_own_check() -> None:
    assert user_problems([{"name": "bob", "password": "short"}], "x_users", cost="high") == []


def test_each_bad_user_gets_its_own_line() -> None:
    users = [{"name": "a:b", "password": ""}, {"name": "ok"}, {"name": "ok"}]
    assert [p.split(" has ")[0].split(" stands ")[0] for p in user_problems(users, "u_users")] == [
        "u_users: user 1 ('a', then a colon)",
        "u_users: user 1 ('a', then a colon)",
        "u_users: user 3 ('ok')",
    ]


@pytest.mark.parametrize(
    ("users", "arguments", "line"),
    [
        (
            [],
            {},
            (
                "x_users: is empty: give at least one user (a password is made where none is given),"
                " or set x_anonymous to true to open the registry to everyone"
            ),
        ),
        (
            None,
            {"tls": False},
            (
                "x_users: is empty: give at least one user (a password is made where none is given),"
                " or set x_anonymous to true to open the registry to everyone"
            ),
        ),
        (
            [{"name": "bob"}],
            {"anonymous": True},
            (
                "x_users: users are given but x_anonymous is true, and clients never log in where nothing asks them to:"
                " remove the users or set x_anonymous to false"
            ),
        ),
        (
            [{"name": "bob"}],
            {"tls": False},
            (
                "x_users: users need TLS, because clients send no password over plain HTTP, where anyone could read it:"
                " set x_tls to true, or remove the users and set x_anonymous to true"
            ),
        ),
    ],
)
def test_users_that_do_not_fit_the_rest_get_one_clear_line(users: object, arguments: dict, line: str) -> None:
    assert user_problems(users, "x_users", **arguments) == [line]


@pytest.mark.parametrize(
    ("logins", "names"),
    [
        (None, []),
        ([], []),
        ([{"user": "root", "name": "alice", "password": STRONG}], ["alice"]),
        ([{"user": "build.bot-1", "name": "alice"}, {"user": "_ci", "name": "alice"}], ["bob", "alice"]),
        ([{"user": "root", "name": "alice", "password": "short"}], None),
        ([{"user": user, "name": "alice"} for user in ("jane.doe", "jane.doe@corp.example", "CORP\\jane")], ["alice"]),
        ([{"user": Tagged("root"), "name": Tagged("alice"), "password": Tagged("x")}], ["alice"]),
    ],
)
def test_good_logins_pass(logins: object, names: object) -> None:
    known = None if names is None else [{"name": name} for name in names]
    assert login_problems(logins, "wharf_registry_logins", known) == []


NO_SYSTEM_USER = "has no system user of the client under user: give its name, such as deploy"


@pytest.mark.parametrize(
    ("logins", "line"),
    [
        ([{"name": "alice"}], f"login 1 {NO_SYSTEM_USER}"),
        ([{"user": 0, "name": "alice"}], f"login 1 {NO_SYSTEM_USER}"),
        ([{"user": f"root:{SECRET}", "name": "alice"}], f"login 1 ('root', then a colon) {NO_SYSTEM_USER}"),
        ([{"user": "-x", "name": "alice"}], f"login 1 ('-x') {NO_SYSTEM_USER}"),
        ([{"user": "root"}], "login 1 ('root') has no name: give one"),
        ([{"user": "root", "name": f"alice:{SECRET}"}], "login 1 ('root') has a colon in the name"),
        (
            [{"user": "root", "name": "bob"}],
            "login 1 ('root') logs in as 'bob', whom the registry does not know: use one of its users",
        ),
        ([{"user": "root", "name": "alice", "password": ""}], "login 1 ('root') has an empty password: give one"),
        ([{"user": "root", "name": "alice", "password": 5}], "login 1 ('root') has a password that is not text"),
        (
            [{"user": "root", "name": "alice", "password": SECRET + "\n"}],
            "login 1 ('root') has a line break or another control character in the password",
        ),
        (
            [{"user": "root", "name": "alice"}] * 2,
            "login 2 ('root') stands in the list twice, first as login 1: use each once",
        ),
    ],
)
def test_a_bad_login_gets_one_clear_line(logins: object, line: str) -> None:
    problem = only_line(login_problems(logins, "wharf_registry_logins", [{"name": "alice"}]))
    assert problem.startswith(f"wharf_registry_logins: {line}")
    assert SECRET not in problem


# Generated passwords ------------------------------------------------------------------------------


def test_each_user_has_the_given_or_the_generated_password(tmp_path: Path) -> None:
    for name in ("given", "generated", "null"):
        (tmp_path / name).write_text("from-the-file\n")
    users = [{"name": "new"}, {"name": "given", "password": STRONG}, {"name": "generated"}]
    found = {"new": "", "given": STRONG, "generated": "from-the-file", "null": "from-the-file"}
    assert passwords_of([*users, {"name": "null", "password": None}], str(tmp_path)) == found
    assert passwords_of(None, str(tmp_path)) == {}


def test_given_and_generated_passwords(tmp_path: Path) -> None:
    (tmp_path / "ci").write_text("generated\n")
    users = users_with_passwords([{"name": "ci"}, {"name": "dev", "password": "given"}], str(tmp_path))
    assert users == [{"name": "ci", "password": "generated"}, {"name": "dev", "password": "given"}]


def test_password_that_was_generated_elsewhere_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wharf_registry_users: ci has no password.*deploy-registry\.yml"):
        users_with_passwords([{"name": "ci"}], str(tmp_path))


def test_check_mode_has_a_placeholder(tmp_path: Path) -> None:
    assert users_with_passwords([{"name": "ci"}], str(tmp_path), "later")[0]["password"] == "later"


def test_logins_get_the_password_of_their_name() -> None:
    logins = logins_with_passwords([{"user": "root", "name": "ci"}], [{"name": "ci", "password": "p"}])
    assert logins == [{"user": "root", "name": "ci", "password": "p"}]


def test_a_reader_gets_a_login_and_without_one_no_password_is_looked_for(tmp_path: Path) -> None:
    users = [{"name": "ci", "password": "p"}, {"name": "kiosk"}]
    assert reader_login("", users, str(tmp_path)) == {}
    assert reader_login("kiosk", users, str(tmp_path), "later") == {"name": "kiosk", "password": "later"}
    with pytest.raises(ValueError, match="kiosk has no password"):
        reader_login("kiosk", users, str(tmp_path))
