"""The input checks that the roles and the playbooks share: one row for each bad input, with the line that it gets."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import checks

STRONG = "kD8-xQ2_vLm4Rt7Zp1Wc"  # 20 characters, the least for a low cost
SECRET = "s3cr3t-Wort"


class Tagged(str):
    """Text as Ansible hands it to a filter: a subclass of str."""


def only_line(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


# Name ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "registry.example.com",
        "registry",
        "localhost",
        "r",
        "a-b.c--d.x1",
        "1and1.example",
        "192.0.2.10",
        "127.0.0.1",
        "xn--mnchen-3ya.example",
        "a" * 63 + ".example",
        ".".join(["a" * 49] * 5) + ".abc",
        Tagged("registry.example.com"),
    ],
)
def test_good_names_pass(name: str) -> None:
    assert checks.registry_name_problems(name, "wharf_registry_name") == []


FOR_NAME = "the name or IPv4 address that stands in image references, such as registry.example.com"
EXACT = "(clients look for the certificate under the name exactly as it stands in image references)"
OWN_PORT = "(the port has a variable of its own, wharf_registry_port)"
IPV4 = "is not an IPv4 address: use four numbers from 0 to 255, such as 192.0.2.10, or a name"
IPV6 = "is an IPv6 address, which older Docker clients refuse in image references: use a DNS name for it"
PARTS = "has an empty part, or a part with a hyphen at its start or end: use a name such as registry.example.com"
LETTERS = "use letters a to z, digits, dots and hyphens only"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (None, f"is missing: set it to {FOR_NAME}"),
        ("", f"is missing: set it to {FOR_NAME}"),
        (5000, f"5000 is not a name: use {FOR_NAME}"),
        (True, f"true is not a name: use {FOR_NAME}"),
        (["a"], f"a list is not a name: use {FOR_NAME}"),
        ({"a": 1}, f"a mapping is not a name: use {FOR_NAME}"),
        ("https://reg.example", "'https://reg.example' has a scheme (https://): use 'reg.example'"),
        ("reg.example/v2", "'reg.example/v2' has a path ('/v2'): use 'reg.example'"),
        ("reg.example/", "'reg.example/' has a slash at its end: use 'reg.example'"),
        ("reg.example:5000", f"'reg.example:5000' has a port (':5000'): use 'reg.example' {OWN_PORT}"),
        ("reg.example:", "'reg.example:' has a colon at its end: use 'reg.example'"),
        ("10.0.0.1:5000", f"'10.0.0.1:5000' has a port (':5000'): use '10.0.0.1' {OWN_PORT}"),
        ("Reg.Example", f"'Reg.Example' has upper case letters: use 'reg.example' {EXACT}"),
        ("reg.example.", "'reg.example.' has a dot at its end: use 'reg.example'"),
        (" reg.example\n", "' reg.example\\n' has white space around it: use 'reg.example'"),
        (
            "HTTPS://Reg.example:5000/v2/",
            (
                "'HTTPS://Reg.example:5000/v2/' has a scheme (https://), a path ('/v2/'), a port (':5000')"
                f" and upper case letters: use 'reg.example' {OWN_PORT}"
            ),
        ),
        ("https://", "'https://' has a scheme (https://): use the host's name alone"),
        ("reg_1.example", f"'reg_1.example' holds '_': {LETTERS}"),
        ("reg 1.ex*mple", f"'reg 1.ex*mple' holds ' ' and '*': {LETTERS}"),
        (
            "münchen.example",
            f"'münchen.example' holds 'ü': {LETTERS}; names in other scripts are written in their xn--",
        ),
        ("a:b:c", f"'a:b:c' holds ':': {LETTERS}"),
        ("-reg.example", f"'-reg.example' {PARTS}"),
        ("reg-.example", f"'reg-.example' {PARTS}"),
        ("reg..example", f"'reg..example' {PARTS}"),
        (".example", f"'.example' {PARTS}"),
        ("a" * 64 + ".example", "has a part of 64 characters: use at most 63 between two dots"),
        (".".join(["a" * 49] * 5) + ".abcd", "has 254 characters: use a name of at most 253"),
        ("999.1.1.1", f"'999.1.1.1' {IPV4}"),
        ("1.2.3", f"'1.2.3' {IPV4}"),
        ("010.0.0.1", f"'010.0.0.1' {IPV4}"),
        ("12345", f"'12345' {IPV4}"),
        ("0.0.0.0", "'0.0.0.0' is not an address that a client can reach: use the server's own address or name"),
        ("224.0.0.1", "'224.0.0.1' is not an address that a client can reach: use the server's own address or name"),
        ("::1", f"'::1' {IPV6}"),
        ("2001:db8::10", f"'2001:db8::10' {IPV6}"),
        ("[2001:db8::10]", f"'[2001:db8::10]' {IPV6}"),
    ],
)
def test_a_bad_name_gets_one_clear_line(name: object, line: str) -> None:
    problem = only_line(checks.registry_name_problems(name, "wharf_registry_name"))
    assert problem.startswith("wharf_registry_name: ")
    assert line in problem
    assert len(problem) < 300


def test_a_name_with_several_faults_gets_a_line_for_what_is_left() -> None:
    problems = checks.registry_name_problems("https://reg_1.example", "x_name")
    assert problems == [
        "x_name: 'https://reg_1.example' has a scheme (https://): use the host's name alone",
        f"x_name: 'reg_1.example' holds '_': {LETTERS}",
    ]


def test_the_port_is_pointed_to_the_role_s_own_variable() -> None:
    problem = only_line(checks.registry_name_problems("reg:5000", "registry_client_name"))
    assert problem.endswith("(the port has a variable of its own, registry_client_port)")


@pytest.mark.parametrize(
    "name", [f"https://admin:{SECRET}@reg.example:5000/v2", f"a:{SECRET}/x@reg.example", f"{SECRET}@r"]
)
def test_a_password_in_a_name_is_not_shown(name: str) -> None:
    problems = checks.registry_name_problems(name, "wharf_registry_name")
    assert "a user in front of an @" in only_line(problems)
    assert SECRET not in problems[0]


# Aliases ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "aliases", [None, [], ["reg2.example", "localhost", "192.0.2.10", "2001:db8::10", "::1", Tagged("reg")], ("reg",)]
)
def test_good_aliases_pass(aliases: object) -> None:
    assert checks.registry_aliases_problems(aliases, "wharf_registry_aliases") == []


@pytest.mark.parametrize(
    ("aliases", "line"),
    [
        ("reg.example", "'reg.example' is not a list: use a list of names and addresses"),
        ({"a": "b"}, "a mapping is not a list: use a list of names and addresses"),
        (["a", 5], "item 2, 5 is not a name: use a name or an address, such as registry.example.com"),
        (["a", None], "item 2, null is not a name: use a name or an address, such as registry.example.com"),
        ([""], "item 1, '' is not a name: use a name or an address, such as registry.example.com"),
        (["reg.example:5000"], "item 1, 'reg.example:5000' has a port (':5000'): use 'reg.example'"),
        (["[::1]"], "item 1, '[::1]' has brackets: use '::1'"),
        (["Reg"], f"item 1, 'Reg' has upper case letters: use 'reg' {EXACT}"),
        (["a", "*.example"], f"item 2, '*.example' holds '*': {LETTERS}"),
        (["999.1.1.1"], f"item 1, '999.1.1.1' {IPV4}"),
        (["fe80::1%eth0"], "item 1, 'fe80::1%eth0' holds '%' and ':'"),
    ],
)
def test_a_bad_alias_gets_one_clear_line(aliases: object, line: str) -> None:
    problem = only_line(checks.registry_aliases_problems(aliases, "wharf_registry_aliases"))
    assert problem.startswith("wharf_registry_aliases: " + line)


# Port, cost, boolean ------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [None, 1, 5000, 65535, "1", "5000", Tagged("65535")])
def test_good_ports_pass(port: object) -> None:
    assert checks.registry_port_problems(port, "wharf_registry_port") == []


@pytest.mark.parametrize(
    ("port", "shown"),
    [
        (0, "0"),
        (-1, "-1"),
        (65536, "65536"),
        (70000, "70000"),
        ("0", "'0'"),
        ("70000", "'70000'"),
        ("05000", "'05000'"),
        ("http", "'http'"),
        ("", "''"),
        (" 5000", "' 5000'"),
        ("5000\n", "'5000\\n'"),
        ("５０００", "'５０００'"),
        (5000.0, "5000.0"),
        (True, "true"),
        (False, "false"),
        ([5000], "a list"),
        ({"tls": 5000}, "a mapping"),
    ],
)
def test_a_bad_port_gets_one_clear_line(port: object, shown: str) -> None:
    line = f"wharf_registry_port: {shown} is not a TCP port: use a number from 1 to 65535"
    assert checks.registry_port_problems(port, "wharf_registry_port") == [line]


@pytest.mark.parametrize("cost", [None, 4, 5, 14, "10"])
def test_good_costs_pass(cost: object) -> None:
    assert checks.registry_cost_problems(cost, "wharf_registry_bcrypt_cost") == []


@pytest.mark.parametrize(("cost", "shown"), [(3, "3"), (15, "15"), (True, "true"), ("high", "'high'"), (5.5, "5.5")])
def test_a_bad_cost_gets_one_clear_line(cost: object, shown: str) -> None:
    assert checks.registry_cost_problems(cost, "wharf_registry_bcrypt_cost") == [
        (
            f"wharf_registry_bcrypt_cost: {shown} is not a bcrypt cost: use a number from 4 to 14"
            " (the registry hashes on every request, and each step doubles the time)"
        )
    ]


@pytest.mark.parametrize("value", [None, True, False])
def test_booleans_pass(value: object) -> None:
    assert checks.registry_boolean_problems(value, "wharf_registry_anonymous") == []


@pytest.mark.parametrize(
    ("value", "shown"), [("yes", "'yes'"), ("true", "'true'"), (1, "1"), ("", "''"), ([], "a list")]
)
def test_what_is_not_a_boolean_gets_one_clear_line(value: object, shown: str) -> None:
    line = f"wharf_registry_anonymous: {shown} is not a boolean: use true or false, without quotes"
    assert checks.registry_boolean_problems(value, "wharf_registry_anonymous") == [line]


# Users --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "arguments"),
    [
        ([{"name": "alice", "password": STRONG}], {}),
        ([{"name": "alice"}], {}),
        ([{"name": "alice"}, {"name": "Alice", "password": STRONG}], {"cost": 4}),
        ([{"name": "alice", "password": "pässword"}], {"cost": 10}),
        ([{"name": "alice", "password": "abcdeabc"}], {"cost": "12"}),
        ([{"name": "alice", "password": "0123456789" * 7 + "ab"}], {}),
        ([{"name": "é" * 127 + "x", "password": STRONG + ": ü"}], {}),
        ([{"name": Tagged("alice"), "password": Tagged(STRONG)}], {}),
        (({"name": "alice"},), {}),
        ([], {"anonymous": True}),
        (None, {"anonymous": True}),
        ([], {"anonymous": True, "tls": False}),
    ],
)
def test_good_users_pass(users: object, arguments: dict) -> None:
    assert checks.registry_user_problems(users, "wharf_registry_users", **arguments) == []


@pytest.mark.parametrize("value", [None, "", "daily", "weekly", "monthly"])
def test_good_schedules_pass(value: object) -> None:
    assert checks.registry_schedule_problems(value, "wharf_garbage_schedule") == []


@pytest.mark.parametrize("value", ["hourly", "Daily", 1, True, ["daily"], "0 3 * * *"])
def test_unknown_schedules_are_refused(value: object) -> None:
    (problem,) = checks.registry_schedule_problems(value, "wharf_garbage_schedule")
    assert problem.endswith("is unknown: use daily, weekly, monthly, or nothing at all for never")


WEAK_LOW = (
    "use at least 20 characters, 8 of them different, or leave password out and one is made"
    " (the registry hashes on every request, so the cost is low and long random passwords make up for it)"
)
WEAK_HIGH = "use at least 8 characters, 5 of them different, or leave password out and one is made"


@pytest.mark.parametrize(
    ("user", "line"),
    [
        ("alice", "user 2 is text, not a mapping: use name and password, as in {name: alice, password: ...}"),
        (f"alice:{SECRET}", "user 2 is text, not a mapping: use name and password"),
        (7, "user 2 is a number, not a mapping"),
        (None, "user 2 is null, not a mapping"),
        ([SECRET], "user 2 is a list, not a mapping"),
        (
            {"name": "alice", "passwrod": SECRET},
            "user 2 ('alice') has the unknown key 'passwrod': use name and password only",
        ),
        (
            {"name": "alice", "mail": "a@b", "role": "x"},
            "user 2 ('alice') has the unknown keys 'mail' and 'role': use name and password only",
        ),
        (
            {"name": "alice", SECRET: 1},
            "user 2 ('alice') has a key that does not belong there: use name and password only",
        ),
        (
            {"name": "alice", "hunter": None},
            "user 2 ('alice') has a key that does not belong there: use name and password only",
        ),
        ({}, "user 2 has no name: give one"),
        ({"password": STRONG}, "user 2 has no name: give one"),
        ({"name": None}, "user 2 has no name: give one"),
        ({"name": ""}, "user 2 has no name: give one"),
        ({"name": 7}, "user 2 has a number as name: use text, in quotes where YAML would read a number"),
        ({"name": True}, "user 2 has a boolean as name: use text"),
        (
            {"name": f"alice:{SECRET}"},
            (
                "user 2 ('alice', then a colon) has a colon in the name, which ends the name in the password file:"
                " use a name without one"
            ),
        ),
        (
            {"name": "al ice"},
            "user 2 ('al ice') has white space or a control character in the name: use a name without",
        ),
        ({"name": "alice\n"}, "user 2 ('alice\\n') has white space or a control character in the name"),
        ({"name": "al\u00a0ice"}, "has white space or a control character in the name"),
        ({"name": "al\x07ice"}, "user 2 ('al\\x07ice') has white space or a control character in the name"),
        (
            {"name": "#alice"},
            (
                "user 2 ('#alice') has a name that starts with #, which makes its line in the password file a comment:"
                " use another name"
            ),
        ),
        ({"name": "\ud800"}, "user 2 ('\\ud800') has a name that is not valid Unicode: use another name"),
        ({"name": "é" * 128}, "has a name of 256 bytes: use at most 255"),
        ({"name": "bob"}, "user 2 ('bob') stands in the list twice, first as user 1: use each name once"),
        (
            {"name": "alice", "password": ""},
            "user 2 ('alice') has an empty password: give one, or leave password out and one is made",
        ),
        ({"name": "alice", "password": None}, "user 2 ('alice') has an empty password"),
        (
            {"name": "alice", "password": 12345678901234567890},
            "user 2 ('alice') has a number as password: use text, in quotes where YAML would read a number",
        ),
        ({"name": "alice", "password": [SECRET]}, "user 2 ('alice') has a list as password: use text"),
        (
            {"name": "alice", "password": STRONG * 4},
            "user 2 ('alice') has a password of more than 72 bytes, and bcrypt ignores the rest: use a shorter one",
        ),
        ({"name": "alice", "password": "éàüöäßñ" * 5 + "éax"}, "has a password of more than 72 bytes"),
        (
            {"name": "alice", "password": STRONG + "\n"},
            "user 2 ('alice') has a line break or another control character in the password: use a password without",
        ),
        ({"name": "alice", "password": STRONG + "\0"}, "has a line break or another control character in the password"),
        ({"name": "alice", "password": STRONG + "\ud800"}, "has a password that is not valid Unicode"),
        (
            {"name": "alice", "password": STRONG[:19]},
            f"user 2 ('alice') has a password that is too weak for bcrypt cost 4: {WEAK_LOW}",
        ),
        (
            {"name": "alice", "password": "abcdefg" * 3},
            f"has a password that is too weak for bcrypt cost 4: {WEAK_LOW}",
        ),
    ],
)
def test_a_bad_user_gets_one_clear_line(user: object, line: str) -> None:
    users = [{"name": "bob", "password": STRONG}, user]
    problem = only_line(checks.registry_user_problems(users, "wharf_registry_users"))
    assert problem.startswith("wharf_registry_users: user 2 ")
    assert line in problem
    assert SECRET not in problem
    assert STRONG[:19] not in problem


@pytest.mark.parametrize(
    ("cost", "password", "need"),
    [
        (4, STRONG[:19], f"cost 4: {WEAK_LOW}"),
        (9, STRONG[:19], f"cost 9: {WEAK_LOW}"),
        (None, STRONG[:19], f"cost 4: {WEAK_LOW}"),
        (10, "abcdefg", f"cost 10: {WEAK_HIGH}"),
        (14, "abcdabcd", f"cost 14: {WEAK_HIGH}"),
    ],
)
def test_how_strong_a_password_must_be_follows_the_cost(cost: object, password: str, need: str) -> None:
    problem = only_line(checks.registry_user_problems([{"name": "bob", "password": password}], "x_users", cost=cost))
    assert problem == f"x_users: user 1 ('bob') has a password that is too weak for bcrypt {need}"


def test_a_bad_cost_is_left_to_its_own_check() -> None:
    assert checks.registry_user_problems([{"name": "bob", "password": "short"}], "x_users", cost="high") == []


def test_each_bad_user_gets_its_own_line() -> None:
    users = [{"name": "a:b", "password": ""}, {"name": "ok"}, {"name": "ok"}, 3]
    assert [p.split(" has ")[0].split(" stands ")[0] for p in checks.registry_user_problems(users, "u_users")] == [
        "u_users: user 1 ('a', then a colon)",
        "u_users: user 1 ('a', then a colon)",
        "u_users: user 3 ('ok')",
        "u_users: user 4 is a number, not a mapping: use name and password, as in {name: alice, password: ...}",
    ]


@pytest.mark.parametrize(
    ("users", "arguments", "line"),
    [
        (
            f"alice:{SECRET}",
            {},
            "x_users: text is not a list: use a list of mappings with name and password",
        ),
        (
            {"alice": SECRET},
            {},
            "x_users: a mapping is not a list: use a list of mappings with name and password",
        ),
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
                "x_users: users are given but x_anonymous is true, and a registry that is open to everyone asks for no"
                " user: remove the users or set x_anonymous to false"
            ),
        ),
        (
            [{"name": "bob"}],
            {"tls": False},
            (
                "x_users: users need TLS, because clients send no password over plain HTTP, where anyone could read it:"
                " use TLS, or remove the users and set x_anonymous to true"
            ),
        ),
    ],
)
def test_users_that_do_not_fit_the_rest_get_one_clear_line(users: object, arguments: dict, line: str) -> None:
    assert checks.registry_user_problems(users, "x_users", **arguments) == [line]


# Logins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logins", "names"),
    [
        (None, []),
        ([], []),
        ([{"user": "root", "name": "alice", "password": STRONG}], ["alice"]),
        ([{"user": "build.bot-1", "name": "alice"}, {"user": "_ci", "name": "alice"}], ["bob", "alice"]),
        ([{"user": "root", "name": "alice", "password": "short"}], None),
        ([{"user": Tagged("root"), "name": Tagged("alice"), "password": Tagged("x")}], ["alice"]),
    ],
)
def test_good_logins_pass(logins: object, names: object) -> None:
    assert checks.registry_login_problems(logins, "wharf_registry_logins", names) == []


NO_SYSTEM_USER = "has no system user of the client under user: give its name, such as deploy"


@pytest.mark.parametrize(
    ("logins", "line"),
    [
        ({"root": SECRET}, "a mapping is not a list: use a list of mappings with user, name and password"),
        (SECRET, "text is not a list: use a list of mappings with user, name and password"),
        ([SECRET], "login 1 is text, not a mapping: use user, name and password"),
        ([{"name": "alice"}], f"login 1 {NO_SYSTEM_USER}"),
        ([{"user": 0, "name": "alice"}], f"login 1 {NO_SYSTEM_USER}"),
        ([{"user": f"root:{SECRET}", "name": "alice"}], f"login 1 {NO_SYSTEM_USER}"),
        ([{"user": "-x", "name": "alice"}], f"login 1 {NO_SYSTEM_USER}"),
        ([{"user": "root"}], "login 1 ('root') has no name: give one"),
        ([{"user": "root", "name": f"alice:{SECRET}"}], "login 1 ('root') has a colon in the name"),
        (
            [{"user": "root", "name": "bob"}],
            "login 1 ('root') logs in as 'bob', whom the registry does not know: use one of its users",
        ),
        (
            [{"user": "root", "name": "alice", "passwrod": SECRET}],
            "login 1 ('root') has the unknown key 'passwrod': use user, name and password only",
        ),
        ([{"user": "root", "name": "alice", "password": ""}], "login 1 ('root') has an empty password: give one"),
        ([{"user": "root", "name": "alice", "password": 5}], "login 1 ('root') has a number as password: use text"),
        (
            [{"user": "root", "name": "alice", "password": SECRET + "\n"}],
            "login 1 ('root') has a line break or another control character in the password",
        ),
        (
            [{"user": "root", "name": "alice"}] * 2,
            "login 2 ('root') stands in the list twice, first as login 1: use each system user once",
        ),
    ],
)
def test_a_bad_login_gets_one_clear_line(logins: object, line: str) -> None:
    problem = only_line(checks.registry_login_problems(logins, "wharf_registry_logins", ["alice"]))
    assert problem.startswith(f"wharf_registry_logins: {line}")
    assert SECRET not in problem


# Passwords and the password file ------------------------------------------------------------------


def test_passwords_are_needed_where_none_is_given() -> None:
    users = [{"name": "a"}, {"name": "b", "password": STRONG}, {"name": "c", "password": None}]
    assert checks.registry_passwords_needed(users) == ["a", "c"]
    assert checks.registry_passwords_needed(None) == []


def test_users_are_completed_and_keep_their_own_passwords() -> None:
    users = [{"name": "a"}, {"name": "b", "password": STRONG}]
    made = {"a": "made-for-a", "b": "made-for-b", "c": "made-for-c"}
    assert checks.registry_with_passwords(users, made) == [
        {"name": "a", "password": "made-for-a"},
        {"name": "b", "password": STRONG},
    ]
    assert users[0] == {"name": "a"}
    assert checks.registry_with_passwords(None, None) == []


def test_a_user_without_any_password_is_named() -> None:
    with pytest.raises(ValueError, match=r"^user 2 \('b'\) has no password, and none was made for it$"):
        checks.registry_with_passwords([{"name": "a"}, {"name": "b"}], {"a": SECRET})


ALICE = {"name": "alice", "password": STRONG}
BOB = {"name": "bob", "password": "ü" * 36}  # exactly bcrypt's 72 bytes


def hashes(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines())


def test_the_password_file_has_a_line_for_each_user_in_order() -> None:
    bcrypt = pytest.importorskip("bcrypt")
    text = checks.registry_htpasswd("", [BOB, ALICE], 4)
    assert re.fullmatch(r"bob:\$2b\$04\$[./A-Za-z0-9]{53}\nalice:\$2b\$04\$[./A-Za-z0-9]{53}\n", text)
    for user in (ALICE, BOB):
        assert bcrypt.checkpw(user["password"].encode(), hashes(text)[user["name"]].encode())


def test_a_right_password_file_stays_as_it_is() -> None:
    text = checks.registry_htpasswd(None, [ALICE, BOB], 4)
    assert checks.registry_htpasswd(text, [ALICE, BOB], 4) == text
    assert checks.registry_htpasswd(text, [ALICE, BOB], "4") == text


def test_lines_follow_the_list_whatever_their_order_was() -> None:
    text = checks.registry_htpasswd(None, [ALICE, BOB], 4)
    turned = checks.registry_htpasswd(text, [BOB, ALICE], 4)
    assert turned.splitlines() == text.splitlines()[::-1]


def test_only_the_line_whose_password_changed_is_new() -> None:
    before = checks.registry_htpasswd(None, [ALICE, BOB], 4)
    after = checks.registry_htpasswd(before, [ALICE, {"name": "bob", "password": STRONG}], 4)
    assert hashes(before)["alice"] == hashes(after)["alice"]
    assert hashes(before)["bob"] != hashes(after)["bob"]


def test_users_that_are_not_wanted_are_dropped() -> None:
    before = checks.registry_htpasswd(None, [ALICE, BOB], 4)
    assert checks.registry_htpasswd(before, [ALICE], 4) == before.splitlines(keepends=True)[0]
    assert checks.registry_htpasswd(before, [], 4) == ""
    assert checks.registry_htpasswd(before, None, 4) == ""


def test_another_cost_makes_a_new_line() -> None:
    before = checks.registry_htpasswd(None, [ALICE], 4)
    assert checks.registry_htpasswd(before, [ALICE], 5).startswith("alice:$2b$05$")


@pytest.mark.parametrize("prefix", ["2a", "2y"])
def test_a_line_that_another_tool_made_is_kept(prefix: str) -> None:
    existing = checks.registry_htpasswd(None, [ALICE], 4).replace("$2b$", f"${prefix}$")
    assert checks.registry_htpasswd(existing, [ALICE], 4) == existing


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
def test_a_line_that_is_not_bcrypt_s_is_replaced(existing: str) -> None:
    text = checks.registry_htpasswd(existing, [ALICE], 4)
    assert re.fullmatch(r"alice:\$2b\$04\$[./A-Za-z0-9]{53}\n", text)


@pytest.mark.parametrize(
    ("user", "cost", "message"),
    [
        ({"name": "alice"}, 4, "user 1 ('alice') has no usable name or password"),
        ({"name": "alice", "password": ""}, 4, "user 1 ('alice') has no usable name or password"),
        ({"name": "alice", "password": SECRET + "x" * 72}, 4, "user 1 ('alice') has no usable name or password"),
        ({"name": "alice", "password": SECRET + "\0"}, 4, "user 1 ('alice') has no usable name or password"),
        ({"name": "alice", "password": SECRET + "\ud800"}, 4, "user 1 ('alice') has no usable name or password"),
        ({"name": f"a:{SECRET}", "password": STRONG}, 4, "user 1 ('a') has no usable name or password"),
        ({"name": "alice", "password": SECRET}, 3, "3 is not a bcrypt cost: use a number from 4 to 14"),
        ({"name": "alice", "password": SECRET}, None, "null is not a bcrypt cost: use a number from 4 to 14"),
    ],
)
def test_what_cannot_be_hashed_is_an_error_without_the_password(user: dict, cost: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        checks.registry_htpasswd("", [user], cost)
    assert str(caught.value) == message
    assert caught.value.__cause__ is None


def test_without_bcrypt_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    assert checks.registry_htpasswd("", [], 4) == ""
    with pytest.raises(ValueError, match=r"^the Python package bcrypt is missing on the controller: install what"):
        checks.registry_htpasswd("", [ALICE], 4)


# Data and image -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [None, "/var/lib/wharf/registry", "/srv/registry/", "/data/a..b", "/mnt/x y", "registry-data", "r0", "a_b.c-d"],
)
def test_good_places_for_data_pass(data: object) -> None:
    assert checks.registry_data_problems(data, "wharf_registry_data") == []


OWN = "use a directory of its own, such as /var/lib/wharf/registry, or the name of a volume"
SYSTEM = f"is a directory of the system, whose owner would change: {OWN}"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("", "'' is not the name of a volume (two or more of letters, digits and _.-, but none of these first)"),
        ("r", "'r' is not the name of a volume"),
        ("-data", "'-data' is not the name of a volume"),
        ("re gistry", "'re gistry' is not the name of a volume"),
        ("..", "'..' is not the name of a volume"),
        ("registry\n", "'registry\\n' is not the name of a volume"),
        ("srv/registry", f"'srv/registry' is not an absolute path: {OWN}"),
        ("./data", f"'./data' is not an absolute path: {OWN}"),
        ("~/data", f"'~/data' is not an absolute path: {OWN}"),
        ("/srv/../etc", f"'/srv/../etc' has '..' in it: {OWN}"),
        ("/srv/..", f"'/srv/..' has '..' in it: {OWN}"),
        ("/srv/a:b", f"'/srv/a:b' has a colon or a control character in it, which Docker's mounts cannot have: {OWN}"),
        ("/srv/a\nb", "'/srv/a\\nb' has a colon or a control character in it"),
        ("/", f"'/' {SYSTEM}"),
        ("//", f"'//' {SYSTEM}"),
        ("/./", f"'/./' {SYSTEM}"),
        ("/etc", f"'/etc' {SYSTEM}"),
        ("//var//lib/", f"'//var//lib/' {SYSTEM}"),
        ("/run/registry", f"'/run/registry' is lost at the next reboot: {OWN}"),
        (5, f"5 is neither a directory nor a volume: {OWN}"),
        (True, f"true is neither a directory nor a volume: {OWN}"),
        (["/srv/registry"], f"a list is neither a directory nor a volume: {OWN}"),
    ],
)
def test_a_bad_place_for_data_gets_one_clear_line(data: object, line: str) -> None:
    assert only_line(checks.registry_data_problems(data, "wharf_registry_data")).startswith(
        "wharf_registry_data: " + line
    )


DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "image",
    [
        None,
        "registry:2.8.3",
        "library/registry:2",
        f"registry@{DIGEST}",
        f"registry:latest@{DIGEST}",
        "mirror.example:5000/library/registry:3.0.0",
        "Mirror.example/a__b/c-d.e:v1_0",
        Tagged("registry:2.8.3"),
    ],
)
def test_pinned_images_pass(image: object) -> None:
    assert checks.registry_image_problems(image, "wharf_registry_image") == []


PIN = "use one such as registry:2.8.3 or registry@sha256:..."


@pytest.mark.parametrize(
    ("image", "line"),
    [
        ("registry", f"'registry' is not pinned, it has neither tag nor digest: {PIN}"),
        (
            "mirror.example:5000/registry",
            f"'mirror.example:5000/registry' is not pinned, it has neither tag nor digest: {PIN}",
        ),
        ("registry:latest", f"'registry:latest' is not pinned, latest is another image tomorrow: {PIN}"),
        ("", f"'' is not an image reference: {PIN}"),
        ("registry:", f"'registry:' is not an image reference: {PIN}"),
        ("registry:2.8.3 ", f"'registry:2.8.3 ' is not an image reference: {PIN}"),
        ("Registry:2", f"'Registry:2' is not an image reference: {PIN}"),
        ("https://mirror.example/registry:2", f"'https://mirror.example/registry:2' is not an image reference: {PIN}"),
        ("registry@sha256:abc", f"'registry@sha256:abc' is not an image reference: {PIN}"),
        ("registry:" + "a" * 129, "is not an image reference"),
        (2, f"2 is not an image reference: {PIN}"),
        (["registry:2"], f"a list is not an image reference: {PIN}"),
    ],
)
def test_a_bad_image_gets_one_clear_line(image: object, line: str) -> None:
    problem = only_line(checks.registry_image_problems(image, "wharf_registry_image"))
    assert problem.startswith("wharf_registry_image: ")
    assert line in problem


# Saved images -------------------------------------------------------------------------------------

CONFIGURATION = (
    b'{"config":{"Labels":{"org.opencontainers.image.version":"2.8.3"}},'
    b'"rootfs":{"type":"layers","diff_ids":["sha256:aa","sha256:bb"]}}'
)
HEX = hashlib.sha256(CONFIGURATION).hexdigest()
LEGACY = {"Config": f"{HEX}.json", "RepoTags": ["registry:2.8.3", "registry:2"], "Layers": []}
OCI = {"Config": f"blobs/sha256/{HEX}", "RepoTags": None, "Layers": []}


def saved(path: Path, *files: tuple[str, bytes], packed: bool = False) -> str:
    """Write a tar archive of these files, as docker save does, and return its path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue()) if packed else buffer.getvalue())
    return str(path)


def manifest(*images: object) -> tuple[str, bytes]:
    return ("manifest.json", json.dumps(list(images)).encode())


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("image", "tags"), [(LEGACY, ["registry:2.8.3", "registry:2"]), (OCI, [])], ids=["legacy layout", "OCI layout"]
)
def test_a_saved_image_passes_and_tells_its_id(tmp_path: Path, image: dict, tags: list[str], packed: bool) -> None:
    files = [("layer.tar", b"\0" * 9000), (image["Config"], CONFIGURATION), manifest(image)]
    path = saved(tmp_path / "a.tar", *files, packed=packed)
    assert checks.registry_archive_problems(path, "wharf_registry_image_archive") == []
    layers = ["sha256:aa", "sha256:bb"]
    assert checks.registry_archive_image(path) == {
        "id": f"sha256:{HEX}",
        "tags": tags,
        "layers": layers,
        "version": "2.8.3",
    }


def test_an_archive_whose_configuration_names_no_layers_passes(tmp_path: Path) -> None:
    """Then only the id can tell whether an engine has the image."""
    path = saved(tmp_path / "a.tar", manifest(LEGACY), (LEGACY["Config"], b"{}"))
    assert checks.registry_archive_image(path)["layers"] == []


def test_the_first_of_several_images_counts(tmp_path: Path) -> None:
    other = {"Config": "other.json", "RepoTags": ["other:1"]}
    path = saved(tmp_path / "a.tar", manifest(LEGACY, other), (LEGACY["Config"], CONFIGURATION), ("other.json", b"{}"))
    assert checks.registry_archive_image(path)["tags"] == LEGACY["RepoTags"]


def test_an_archive_that_was_packed_again_passes(tmp_path: Path) -> None:
    name, content = manifest(LEGACY)
    path = saved(tmp_path / "a.tar", (f"./{name}", content), (f"./{LEGACY['Config']}", CONFIGURATION))
    assert checks.registry_archive_image(path)["id"] == f"sha256:{HEX}"


def test_the_home_directory_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "a.tar", manifest(LEGACY), (LEGACY["Config"], CONFIGURATION))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checks.registry_archive_image("~/a.tar")["id"] == f"sha256:{HEX}"


USE_ARCHIVE = 'use the absolute path of what docker save wrote, such as "{{ inventory_dir }}/files/registry.tar"'


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (None, f"is missing: {USE_ARCHIVE}"),
        ("", f"is missing: {USE_ARCHIVE}"),
        (5, f"5 is not the absolute path of a file: {USE_ARCHIVE}"),
        (True, f"true is not the absolute path of a file: {USE_ARCHIVE}"),
        (["/a.tar"], f"a list is not the absolute path of a file: {USE_ARCHIVE}"),
        ("registry.tar", f"'registry.tar' is not the absolute path of a file: {USE_ARCHIVE}"),
        ("/a\0b", f"'/a\\x00b' is not the absolute path of a file: {USE_ARCHIVE}"),
    ],
)
def test_what_is_no_path_of_an_archive_gets_one_clear_line(path: object, line: str) -> None:
    assert checks.registry_archive_problems(path, "x_archive") == [f"x_archive: {line}"]


def test_a_file_that_cannot_be_had_gets_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use = "use the path of a file on the controller that can be read there"
    missing = str(tmp_path / "a.tar")
    assert checks.registry_archive_problems(missing, "x") == [f"x: '{missing}' does not exist: {use}"]
    assert checks.registry_archive_problems(str(tmp_path), "x") == [f"x: '{tmp_path}' is not a file: {use}"]

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "a.tar", manifest(LEGACY))
    monkeypatch.setattr(checks, "open", refuse, raising=False)
    assert checks.registry_archive_problems(path, "x") == [f"x: '{path}' cannot be read (Permission denied): {use}"]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([], "holds no image, it has no manifest.json"),
        ([("etc/passwd", b"root")], "holds no image, it has no manifest.json"),
        ([("index.json", b"{}"), ("oci-layout", b"{}")], "holds no image, it has no manifest.json"),
        ([manifest()], "holds no image, its manifest.json names none"),
        ([("manifest.json", b"{")], "holds no image, its manifest.json names none"),
        ([("manifest.json", b"{}")], "holds no image, its manifest.json names none"),
        ([("manifest.json", b"\xff\xfe")], "holds no image, its manifest.json names none"),
        ([manifest({"RepoTags": ["a:1"]})], "holds no image, its manifest.json names none"),
        ([manifest({"Config": None})], "holds no image, its manifest.json names none"),
        ([manifest("text")], "holds no image, its manifest.json names none"),
        ([manifest(LEGACY)], "holds no image, the configuration that its manifest.json names is missing"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_archive_without_an_image_gets_one_clear_line(tmp_path: Path, files: list, line: str, packed: bool) -> None:
    path = saved(tmp_path / "a.tar", *files, packed=packed)
    expected = f"x: '{path}' {line}: make it with docker save IMAGE -o FILE"
    assert checks.registry_archive_problems(path, "x") == [expected]
    with pytest.raises(ValueError, match="holds no image"):
        checks.registry_archive_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello\n" * 200, b"PK\x03\x04" + b"\0" * 600, gzip.compress(b"hello"), b"\x1f\x8bxx"]
)
def test_what_is_no_tar_archive_gets_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    assert checks.registry_archive_problems(str(path), "x") == [
        f"x: '{path}' is not a tar archive, plain or packed with gzip: make it with docker save IMAGE -o FILE"
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_archive_that_is_cut_short_gets_one_clear_line(tmp_path: Path, packed: bool) -> None:
    noise = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(2000))
    path = Path(saved(tmp_path / "a.tar", ("layer.tar", noise), manifest(LEGACY), packed=packed))
    path.write_bytes(path.read_bytes()[:30000])
    assert checks.registry_archive_problems(str(path), "x") == [
        f"x: '{path}' is damaged or cut short: make it with docker save IMAGE -o FILE"
    ]


# PEM ----------------------------------------------------------------------------------------------


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}-----\nMIIB\n-----END {kind}-----\n"


CERTIFICATE = pem("CERTIFICATE")
KEY = pem("PRIVATE KEY")
USE_PEM = "use PEM text or the absolute path of a PEM file on the controller"
NO_CERTIFICATE = "use one that has a line -----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (CERTIFICATE, "certificate"),
        ("leaf\n" + CERTIFICATE + CERTIFICATE, "certificate"),
        (KEY, "key"),
        (pem("EC PARAMETERS") + pem("EC PRIVATE KEY"), "key"),
        (pem("RSA PRIVATE KEY"), "key"),
        (CERTIFICATE + KEY, "key"),
        (Tagged(KEY), "key"),
    ],
)
def test_pem_passes_as_text_and_as_a_file(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "a.pem"
    path.write_text(text)
    assert checks.registry_pem_problems(text, "x", kind) == []
    assert checks.registry_pem_problems(str(path), "x", kind) == []


@pytest.mark.parametrize(
    ("value", "kind", "line"),
    [
        (None, "key", f"x: is missing: {USE_PEM}"),
        ("", "key", f"x: is missing: {USE_PEM}"),
        (5, "key", f"x: a number is neither PEM text nor a path: {USE_PEM}"),
        ([SECRET], "key", f"x: a list is neither PEM text nor a path: {USE_PEM}"),
        (SECRET, "key", f"x: holds neither PEM text nor an absolute path: {USE_PEM}"),
        ("certs/reg.key", "key", f"x: holds neither PEM text nor an absolute path: {USE_PEM}"),
        (f"/{SECRET}\nabc", "key", f"x: holds neither PEM text nor an absolute path: {USE_PEM}"),
        (
            KEY,
            "certificate",
            (
                "x: the text holds no certificate but a PEM block of another kind (PRIVATE KEY):"
                " use one that has a certificate"
            ),
        ),
        (
            CERTIFICATE,
            "key",
            (
                "x: the text holds no private key but a PEM block of another kind (CERTIFICATE):"
                " use one that has a private key"
            ),
        ),
        (f"-----BEGIN {SECRET}", "certificate", f"x: the text is not PEM: {NO_CERTIFICATE}"),
    ],
)
def test_what_is_not_pem_gets_one_clear_line(value: object, kind: str, line: str) -> None:
    assert checks.registry_pem_problems(value, "x", kind) == [line]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", f"is not PEM: {NO_CERTIFICATE}"),
        (b"\x30\x82\x01\x0a" + bytes(range(256)), f"is not PEM: {NO_CERTIFICATE}"),
        (KEY.encode(), "holds no certificate but a PEM block of another kind (PRIVATE KEY)"),
        (
            b"$ANSIBLE_VAULT;1.1;AES256\n6162\n",
            "is encrypted with Ansible Vault: set the variable to its text, with lookup('ansible.builtin.file', ...)",
        ),
    ],
)
def test_a_file_that_is_not_pem_gets_one_clear_line(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(content)
    assert only_line(checks.registry_pem_problems(str(path), "x")).startswith(f"x: '{path}' {line}")


def test_a_pem_file_that_is_not_there_gets_one_clear_line(tmp_path: Path) -> None:
    line = "does not exist: use the path of a file on the controller that can be read there"
    assert checks.registry_pem_problems(f"{tmp_path}/no.pem", "x") == [f"x: '{tmp_path}/no.pem' {line}"]


def test_another_kind_of_pem_is_a_mistake_in_the_role() -> None:
    with pytest.raises(ValueError, match="^'chain' is not a kind of PEM"):
        checks.registry_pem_problems(CERTIFICATE, "x", "chain")
