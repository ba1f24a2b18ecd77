"""The rules of access: one row for each bad input, with the line that it gets."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.access import (
    access_lines,
    normalized,
    push_problems,
    pushers,
    readers_first,
    rule_problems,
)

USERS = [{"name": "kiosk", "role": "reader", "password": "s3cr3t"}, {"name": "ann"}, {"name": "boss", "role": "admin"}]
NAME = "reg.corp.test"


def rules_for(*patterns: object) -> list[dict[str, Any]]:
    return [{"repositories": pattern, "read": ["@all"]} for pattern in patterns]


def problems(rules: Any, users: Any = USERS, anonymous: bool = False, name: str = NAME) -> list[str]:
    return rule_problems(rules, "x_rules", users, anonymous, name)


@pytest.mark.parametrize(
    "rules",
    [
        None,
        [],
        rules_for("**"),
        rules_for("*", "team-a/**", "team-a/secret", "team-a/*-dev", "**/base", "docker.io/library/*")[:4],
        rules_for("docker.io/library/*", "a", "a.b_c-d/e__f", "a--b"),
        rules_for("*/base", "team-a/x/**", "team-a/base"),
        [{"repositories": "a", "read": ["@admins"]}],
        [{"repositories": "a", "write": ["boss"]}],  # no difference, and what a person would expect
        [{"repositories": "a", "read": ["ann"], "write": ["ann"]}],
        [{"repositories": "a", "read": None, "write": ["@readers", "kiosk"]}],
    ],
)
def test_good_rules_pass(rules: Any) -> None:
    assert problems(rules) == []


def test_name_of_a_registry_without_a_dot_may_begin_a_repository() -> None:
    assert problems(rules_for("registry/**"), name="registry") == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (5, "rule 1 has 5 as its repositories: use a pattern in quotes, such as team-a/**"),
        (None, "rule 1 has null as its repositories: use a pattern in quotes"),
        ("", "rule 1 has an empty repositories: use a pattern, such as team-a/**, or ** for all"),
        (
            "reg.corp.test/app",
            (
                "rule 1 ('reg.corp.test/app') names the registry, which all of them lie in: use what stands behind it"
                " and a slash, such as team-a/**"
            ),
        ),
        ("reg.corp.test:5000/app", "rule 1 ('reg.corp.test:5000/app') names the registry"),
        ("https://x/app", "rule 1 ('https://x/app') names the registry"),
        (
            "team-a/app:1.0",
            (
                "rule 1 ('team-a/app:1.0') has a host with its port, a tag or a digest in it: use what stands between"
                " them, such as team-a/**"
            ),
        ),
        ("other:5000/app", "has a host with its port, a tag or a digest in it"),
        ("app@sha256:00", "has a host with its port, a tag or a digest in it"),
        ("Team-A/**", "rule 1 ('Team-A/**') has upper case letters, and no repository has: use 'team-a/**'"),
        ("/team-a", "rule 1 ('/team-a') has a slash in front: use team-a, or team-a/** for all below"),
        ("team-a/", "rule 1 ('team-a/') has a slash at the end: use team-a, or team-a/** for all below"),
        ("/team-a/**", "has a slash in front: use team-a/**, or team-a/** for all below"),
        (
            "team-a/.+",
            (
                "rule 1 ('team-a/.+') holds '+': use a repository's name with * for any characters between two slashes"
                " and ** for anything below, such as team-a/**"
            ),
        ),
        ("team-?", "holds '?'"),
        ("a, b", "holds ','"),
        ("team-ä/*", "holds 'ä'"),
        ("team-a**", "has ** beside other characters: use * there, or ** alone between two slashes, such as team-a/**"),
        ("***", "has ** beside other characters"),
        (
            "ci/.*",  # as a regular expression
            (
                "rule 1 ('ci/.*') can be for no repository: use at most 255 letters and digits, with one of . _ __ or"
                " hyphens between two of them, and * or ** for what may differ, such as team-a/**"
            ),
        ),
        ("-a", "can be for no repository"),
        ("a..b", "can be for no repository"),
        ("a___b/*", "can be for no repository"),
        ("a//b", "can be for no repository"),
        ("/", "can be for no repository"),
        ("a" * 256, "can be for no repository"),
        ("**/-", "can be for no repository"),
    ],
)
def test_bad_pattern_gets_one_clear_line(pattern: object, line: str) -> None:
    (problem,) = problems(rules_for(pattern))
    assert problem.startswith("x_rules: rule 1 ")
    assert line in problem


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ({}, 'lists nobody under read or write: list some, or say read: ["@admins"] where it is for admins alone'),
        ({"read": [], "write": None}, "lists nobody under read or write"),
        (
            {"read": ["stranger"]},
            (
                "lists 'stranger' under read, whom x_users does not have: use its users, or @readers, @writers, @admins"
                " or @all"
            ),
        ),
        ({"write": ["An"]}, "lists 'An' under write, whom x_users does not have: use ann"),
        ({"write": ["BOSS"]}, "lists 'BOSS' under write, whom x_users does not have: use boss"),
        ({"read": ["@writer"]}, "lists '@writer' under read, whom x_users does not have: use @writers"),
        ({"read": ["@devs"]}, "lists '@devs' under read, whom x_users does not have: use its users, or @readers"),
        ({"read": ["writers"]}, "lists 'writers' under read, whom x_users does not have: use @writers"),
        ({"read": [7]}, "lists 7 under read, whom x_users does not have"),
        ({"read": ["ann", "kiosk", "ann"]}, "lists 'ann' twice under read: use each once"),
    ],
)
def test_bad_list_gets_one_clear_line(rule: dict, line: str) -> None:
    (problem,) = problems([{"repositories": "team-a/**", **rule}])
    assert problem.startswith(f"x_rules: rule 1 ('team-a/**') {line}")


def test_rules_that_leave_open_which_of_them_decides() -> None:
    assert problems(rules_for("team-a/*", "ci", "*/app")) == [
        (
            "x_rules: rule 3 ('*/app') and rule 1 ('team-a/*') are both for team-a/app, and neither is for a part of"
            " the other's repositories, so that nothing says which decides: make one of them narrower, until all that"
            " it is for is the other's, too, or until they have nothing in common"
        )
    ]


@pytest.mark.parametrize("other", ["team-a/**", "team-a/**/**", "team-a/**/*"])
def test_rules_for_the_same_repositories(other: str) -> None:
    assert problems(rules_for("team-a/**", other)) == [
        (f"x_rules: rule 2 ('{other}') is for the same repositories as rule 1 ('team-a/**'): make one of the two")
    ]


def test_each_mistake_has_its_line() -> None:
    rules = [{"repositories": "A", "read": ["x"]}, {"repositories": "b"}, *rules_for("b")]
    assert [line[:20].partition(" (")[0] for line in problems(rules)] == ["x_rules: rule 1"] * 2 + [
        "x_rules: rule 2"
    ] + ["x_rules: rule 3"]


@pytest.mark.parametrize("users", [USERS, []])
def test_rules_of_a_registry_that_is_open_to_everyone(users: list) -> None:
    assert problems(rules_for("A", "b"), users, anonymous=True) == [
        (
            "x_rules: rules are given but x_anonymous is true, and a registry that is open to everyone asks nobody who"
            " they are: remove the rules, or set x_anonymous to false and give x_users"
        )
    ]


@pytest.mark.parametrize("users", [None, []])
def test_rules_without_users(users: Any) -> None:
    assert problems(rules_for("A"), users) == [
        "x_rules: rules are given, but x_users is empty: add the users, or remove the rules"
    ]


def test_what_is_not_said_has_its_default_and_no_password_is_kept() -> None:
    assert normalized(USERS, [{"repositories": "a", "read": None}]) == (
        [{"name": "kiosk", "role": "reader"}, {"name": "ann", "role": "writer"}, {"name": "boss", "role": "admin"}],
        [{"repositories": "a", "read": [], "write": []}],
    )
    assert normalized(None, None) == ([], [])
    assert normalized([{"name": "a", "role": None}], [])[0] == [{"name": "a", "role": "writer"}]


@pytest.mark.parametrize(
    ("users", "rules"),
    [
        ([], []),
        (USERS, []),
        (USERS, rules_for("**")),  # the admin verifies
        (USERS[:2], [{"repositories": "**", "write": ["kiosk"]}]),
        (USERS[:2], [*rules_for("**"), {"repositories": "wharf-verify/**", "write": ["@writers"]}]),
        (USERS[:2], rules_for("team-a/**")),
    ],
)
def test_somebody_can_push_what_the_smoke_test_moves(users: list, rules: list) -> None:
    assert push_problems(users, rules, "x_") == []


@pytest.mark.parametrize(
    ("users", "rules", "line"),
    [
        (
            USERS[:1],
            [],
            (
                "x_users: none of them is a writer or an admin, so that nobody could push an image, not even the"
                " smoke test: make one a writer or an admin"
            ),
        ),
        (
            USERS[:2],
            rules_for("team-a/**", "**"),
            (
                "x_rules: rule 2 ('**') lets nobody push to wharf-verify/..., where the smoke test moves an image: list"
                " somebody under its write, make one of the users an admin, or add a rule for wharf-verify/** that"
                " lists somebody under write"
            ),
        ),
    ],
)
def test_nobody_can_push_what_the_smoke_test_moves(users: list, rules: list, line: str) -> None:
    assert push_problems(users, rules, "x_") == [line]


@pytest.mark.parametrize(
    ("users", "rules", "images", "name"),
    [
        (USERS, [], ["a:1", "b"], "ann"),
        (USERS, rules_for("a"), ["a:1", "b"], "boss"),
        (USERS[:2], [{"repositories": "a", "write": ["kiosk"]}], ["a:1", "a"], "kiosk"),
        (USERS, [], [], "kiosk"),
    ],
)
def test_first_user_who_may_push_all_images_does(users: list, rules: list, images: list, name: str) -> None:
    assert pushers(users, rules, iter(images)) == [next(user for user in USERS if user["name"] == name)]


def test_nobody_needs_to_be_chosen_where_everybody_may_push() -> None:
    assert pushers([], [], ["a"]) == []


@pytest.mark.parametrize(
    ("images", "named"),
    [(["a:1", "a:2"], "a"), (["b", "a"], "all of a and b"), (list("fedcab"), "all of a, b, c and 3 more")],
)
def test_images_that_no_user_may_push(images: list, named: str) -> None:
    rules = [*rules_for("b"), {"repositories": "a", "write": ["kiosk"]}] if "b" in images else rules_for("a")
    with pytest.raises(ValueError, match="^wharf_registry_rules: no user may push to ") as caught:
        pushers(USERS[:2], rules, images)
    assert f"push to {named}: make one of wharf_registry_users an admin, or list one under write" in str(caught.value)


def test_a_run_tells_who_may_do_what_by_each_rule() -> None:
    names = [{"name": "ann"}, {"name": "kiosk", "role": "reader"}, {"name": "boss", "role": "admin"}]
    users, rules = normalized(names, [{"repositories": "team-a/**", "write": ["ann"]}])
    assert access_lines(users, rules) == [
        "team-a/** (rule 1): pull and push: ann; pull, push and delete: boss",
        "every other repository: pull: kiosk; pull and push: ann; pull, push and delete: boss",
    ]
    crowd, _ = normalized([{"name": f"n{number}"} for number in range(10)], [])
    assert access_lines(crowd, []) == ["every repository: pull and push: n0, n1, n2, n3, n4, n5, n6, n7 and 2 more"]


@pytest.mark.parametrize(
    ("rules", "image", "order"),
    [
        ([], "", "kiosk ci boss"),  # all of them may list the repositories
        ([{"repositories": "a/**", "read": ["ci"]}], "", "boss kiosk ci"),
        ([{"repositories": "a/**", "read": ["ci"]}], "a/x:1", "ci boss kiosk"),
        ([{"repositories": "a/**", "read": ["ci"]}], "reg.test:5000/a/x@sha256:0", "ci boss kiosk"),
        ([{"repositories": "a/**", "read": ["ci"]}], "b/x", "kiosk ci boss"),
        ([{"repositories": "a/**", "read": ["@admins"]}], "a/x", "boss kiosk ci"),
    ],
)
def test_who_may_read_comes_first(rules: list, image: str, order: str) -> None:
    users = [{"name": "kiosk", "role": "reader"}, {"name": "ci"}, {"name": "boss", "role": "admin"}]
    assert [user["name"] for user in readers_first(users, rules, image, "reg.test")] == order.split()
