#!/usr/bin/env python3
"""Generate the tables of variables in the READMEs and in docs/variables.md from the argument specs.

python tests/variables.py          writes the tables between their markers
python tests/variables.py --check  changes nothing; says which file is out of date and fails then
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "roles/settings/meta/argument_specs.yml"
HEAD = ("variable", "type", "default", "meaning")

# What the README shows of the settings: those with which one starts. docs/variables.md has all.
FIRST = (
    "wharf_registry_name",
    "wharf_registry_port",
    "wharf_registry_trust",
    "wharf_registry_users",
    "wharf_registry_anonymous",
    "wharf_registry_logins",
    "wharf_registry_image_source",
    "wharf_registry_data",
    "wharf_manage_hosts_file",
    "wharf_manage_firewall",
    "wharf_backup_repository",
)


def tables() -> Iterator[tuple[Path, str, str]]:
    """Yield what is generated: the file's path, the name of its markers, the table."""
    for file in sorted(set(ROOT.glob("roles/*/meta/argument_specs.yml")) - {SETTINGS}):
        yield file.parents[1] / "README.md", "variables", table(HEAD, rows(options(file)))
    settings = options(SETTINGS, "validate")
    first = {name: {key: value for key, value in settings[name].items() if key != "options"} for name in FIRST}
    yield ROOT / "README.md", "settings", table(HEAD, rows(first))
    yield ROOT / "docs/variables.md", "settings", table(HEAD, rows(settings))
    runs = [
        (f"`{entry}.yml`", *cells)
        for entry in yaml.safe_load(SETTINGS.read_text("utf-8"))["argument_specs"]
        if entry != "validate"
        for cells in rows(options(SETTINGS, entry))
    ]
    yield ROOT / "docs/variables.md", "runs", table(("playbook", *HEAD), runs)


def options(file: Path, entry: str = "") -> dict[str, dict[str, Any]]:
    """Return the options of an entry of an argument_specs.yml, or of its only one: option name to its spec.

    :raises KeyError: the file has no such entry, or the entry no options.
    """
    entries = yaml.safe_load(file.read_text("utf-8"))["argument_specs"]
    return entries[entry or next(iter(entries))]["options"]


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, each line with its line break."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *lines])


def rows(specs: dict[str, dict[str, Any]], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield the cells (variable, type, default, meaning) of each option, followed by those of its suboptions."""
    for name, spec in specs.items():
        kind = spec.get("type", "str")
        if "elements" in spec:
            kind += f" of {spec['elements']}"
        yield f"`{prefix}{name}`", kind, default(spec), meaning(spec)
        yield from rows(spec.get("options", {}), f"{prefix}{name}{'[]' if spec.get('type') == 'list' else ''}.")


def default(spec: dict[str, Any]) -> str:
    """Return the cell of an option's default."""
    if spec.get("required"):
        return "required"
    if spec.get("default") is None:
        return "none"
    value = spec["default"]
    return cell(f"`{value if isinstance(value, str) and value else json.dumps(value)}`")


def meaning(spec: dict[str, Any]) -> str:
    """Return the cell of an option's description and choices, Ansible's markup turned into Markdown's."""
    text = spec["description"]
    text = text if isinstance(text, str) else " ".join(text)
    if choices := spec.get("choices"):
        text += f" One of {', '.join(f'`{choice or json.dumps(choice)}`' for choice in choices)}."
    # Semantic markup. Source: Ansible's developer guide, "Ansible markup".
    return cell(re.sub(r"\b(?:[CEMOPV]|RV)\(([^()]*)\)", r"`\1`", text))


def cell(text: str) -> str:
    """Return text as it may stand in a table's cell."""
    return " ".join(text.split()).replace("|", r"\|")


def filled(text: str, marker: str, content: str) -> str:
    """Return a file's text with new content between its markers.

    :raises ValueError: the text does not hold both markers, once each and in their order.
    """
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"lacks the lines <!-- {marker} --> and <!-- /{marker} -->, or has them more than once")
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n{match[2]}", text)


def run(check: bool) -> list[str]:
    """Write the tables, or with ``check`` only compare; return one line for each file that is not right."""
    problems = []
    for file, marker, content in tables():
        name = file.relative_to(ROOT)
        if not file.exists():
            problems += [f"{name}: is missing"] if check else []
            continue
        text = file.read_text("utf-8")
        try:
            wanted = filled(text, marker, content)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if text == wanted:
            continue
        if check:
            problems.append(f"{name}: the table of variables is out of date: run python tests/variables.py")
        else:
            file.write_text(wanted, "utf-8")
            print(f"{name}: written")
    return problems


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a table is out of date")
    problems = run(parser.parse_args().check)
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
