"""Files of variables that are no YAML, or hide a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wharf.registry.plugins.plugin_utils.variable_files import file_faults

GROUPS = {"all": ["server", "10.0.0.5"], "registry_servers": ["server"]}
SECRET = "kD8-xQ2_vLm4Rt7Zp1Wc"


def faults(directory: Path, name: str, text: str) -> list[str]:
    """Return the faults of one file beside an inventory, without its directory."""
    (directory / "hosts.yml").write_text("")
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    found = file_faults([str(directory / "hosts.yml"), "a,b", str(directory)], GROUPS)
    return [line.replace(f"{directory}/", "") for line in found]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\t- b\n", "line 2, column 1 is no YAML (a tab): indent with spaces"),
        ("a: 1\n  b: 2\n", "line 2, column 4 is no YAML (mapping values are not allowed in this context): correct it"),
        (f"a: @{SECRET}\n", "line 1, column 4 is no YAML (found character that cannot start any token): correct it"),
        (f"a: *{SECRET}\n", "line 1, column 4 is no YAML (found undefined alias"),
        (f"a: !{SECRET}\n", "line 1 has a value that begins with !, as YAML's tags do: put it into quotes"),
        ("a: {{ b }}\n", "line 1 holds braces outside of quotes: write"),
        ("a: 1\nb: 2\na: 3\n", "line 3: a stands there again, and hides line 1: keep one of the two"),
        ("u:\n  - {n: 1}\n  - n: 1\n    n: 2\n", "line 4: n stands there again, and hides line 3"),
        ("wharf_registry_port=443\n", "holds no variables: write NAME: VALUE"),
        ("wharf_registry_port:443\n", "holds no variables: write NAME: VALUE"),
        ("- a: 1\n", "holds no variables: write NAME: VALUE"),
        ("a: &x\n  b: *x\n", "line 1 has a name (&) that stands within itself (*): take it out"),
        ("a: &x\n- *x\n", "line 1 has a name (&) that stands within itself (*): take it out"),
        (
            f"u:\n  - n: a\n    password: #{SECRET}\n",
            "line 3: password is followed by a comment, which is what # begins",
        ),
        (f"u:\n  - password: a1b2 #{SECRET}\n", "line 2: password is followed by a comment, which is what # begins"),
        (f"vault_secret: &{SECRET}\n", "line 1: vault_secret has a value that begins with &, as YAML's names do: put"),
        ("a: \x01\n", "holds a character that YAML does not know: take it out"),
    ],
)
def test_a_fault_gets_one_line_with_its_file(tmp_path: Path, text: str, line: str) -> None:
    found = faults(tmp_path, "group_vars/all/wharf.yml", text)
    assert len(found) == 1 and found[0].startswith(f"group_vars/all/wharf.yml: {line}"), found
    assert SECRET not in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\n# nothing\n",
        "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
        'a: !unsafe "{{"\nb: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n',
        '{\n\t"a": 1\n}',
        "password: # generated\ntoken: 'a #b'\nvault_password: a#b\n",
        "secret: &x\n  - token: &y\n    - 1\n    password: b  # c\n",
        "x: &x {a: 1}\ny: &y {b: 1}\nz:\n  <<: *x\n  <<: *y\n  a: !!str 2\n",
    ],
)
def test_what_ansible_reads_is_left_alone(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, "group_vars/registry_servers", text) == []


@pytest.mark.parametrize(
    ("name", "is_read"),
    [
        ("host_vars/server.yaml", True),
        ("host_vars/10.0.0.5", True),
        ("host_vars/10.0.0.5.json", True),
        ("host_vars/server/deep/a", True),
        ("host_vars/another.yml", False),
        ("group_vars/another/a.yml", False),
        ("group_vars/all.yml.bak", False),
        ("group_vars/all/a.md", False),
        ("group_vars/all/a~", False),
        ("group_vars/all/.a.yml", False),
    ],
)
def test_only_what_the_hosts_read_is_looked_at(tmp_path: Path, name: str, is_read: bool) -> None:
    assert len(faults(tmp_path, name, "- wrong\n")) == is_read
