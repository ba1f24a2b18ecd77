"""The registry's name, its further names, its port: one row for each bad input, with the line that it gets."""

from __future__ import annotations

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils import names

SECRET = "s3cr3t-Wort"


class Tagged(str):
    """Text as Ansible hands it to a filter: a subclass of str."""


def only_line(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    return problems[0]


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
    assert names.name_problems(name, "wharf_registry_name") == []


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
    problem = only_line(names.name_problems(name, "wharf_registry_name"))
    assert problem.startswith("wharf_registry_name: ")
    assert line in problem
    assert len(problem) < 300


def test_a_name_with_several_faults_gets_one_line() -> None:
    problems = names.name_problems("https://reg_1.example", "x_name")
    assert problems == [
        f"x_name: 'https://reg_1.example' has a scheme (https://), and 'reg_1.example' holds '_': {LETTERS}",
    ]


def test_the_port_is_pointed_to_the_role_s_own_variable() -> None:
    problem = only_line(names.name_problems("reg:5000", "registry_client_name"))
    assert problem.endswith("(the port has a variable of its own, registry_client_port)")


@pytest.mark.parametrize(
    "name", [f"https://admin:{SECRET}@reg.example:5000/v2", f"a:{SECRET}/x@reg.example", f"{SECRET}@r"]
)
def test_a_password_in_a_name_is_not_shown(name: str) -> None:
    problems = names.name_problems(name, "wharf_registry_name")
    assert "a user in front of an @" in only_line(problems)
    assert SECRET not in problems[0]


@pytest.mark.parametrize(
    "aliases", [None, [], ["reg2.example", "localhost", "192.0.2.10", "2001:db8::10", "::1", Tagged("reg")], ("reg",)]
)
def test_good_aliases_pass(aliases: object) -> None:
    assert names.alias_problems(aliases, "wharf_registry_aliases") == []


@pytest.mark.parametrize(
    ("aliases", "line"),
    [
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
    problem = only_line(names.alias_problems(aliases, "wharf_registry_aliases"))
    assert problem.startswith("wharf_registry_aliases: " + line)


@pytest.mark.parametrize("port", [None, 1, 5000, 65535, "1", "5000", Tagged("65535")])
def test_good_ports_pass(port: object) -> None:
    assert names.port_problems(port, "wharf_registry_port") == []


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
    assert names.port_problems(port, "wharf_registry_port") == [line]


@pytest.mark.parametrize("addresses", [[], None, ["192.0.2.10"], ["0.0.0.0"], ["::", "192.0.2.10"], ["2001:db8::1"]])
def test_good_addresses_to_listen_on_pass(addresses: object) -> None:
    assert names.listen_problems(addresses, "wharf_registry_listen") == []


@pytest.mark.parametrize(
    ("addresses", "line"),
    [
        (["eth0"], "item 1, 'eth0', is not an IP address"),
        (["192.0.2.10", "[::1]"], "item 2, '[::1]', is not an IP address"),
        (["fe80::1%eth0"], "item 1, 'fe80::1%eth0', is not an IP address"),
        (["192.0.2.10:5000"], "item 1, '192.0.2.10:5000', is not an IP address"),
        (["2001:DB8:0::1"], "item 1, '2001:DB8:0::1', has another usual form: use '2001:db8::1'"),
        (["0.0.0.0", "192.0.2.10"], "0.0.0.0 stands for 192.0.2.10 too"),
        (["::1", "::"], ":: stands for ::1 too"),
        (["::1", "::1"], "::1 stands there twice"),
    ],
)
def test_a_bad_address_to_listen_on_gets_one_clear_line(addresses: object, line: str) -> None:
    assert only_line(names.listen_problems(addresses, "wharf_registry_listen")).startswith(
        f"wharf_registry_listen: {line}"
    )
