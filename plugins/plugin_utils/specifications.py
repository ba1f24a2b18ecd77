"""Values judged by a role's argument specification: types, choices, and keys that are missing or unknown.

Ansible's own validator takes what only looks right: text for a list, ``k=v`` for a mapping, true for a port, a list for
text. The value would go on to the hosts as it is. It also shows values, which can be secrets. Here text is taken where
it can only mean a number or a boolean, as ``-e`` and INI inventories give it, and nothing else is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.wharf.registry.plugins.plugin_utils.values import kind, listed, shown

ROLES = Path(__file__).parents[2] / "roles"
# As the filter `bool` has it.
_BOOLEANS = {"yes", "on", "1", "true", "t", "y", "no", "off", "0", "false", "f", "n"}
# What word processors and web pages put in the place of plain characters.
_STRANGE = re.compile("[\u00a0\u00ad\u200b-\u200f\u2010-\u2015\u2018-\u201f\u2028\u2029\u202f\u2060\ufeff]")


@cache
def _entries(role: str) -> list[dict[str, Any]]:
    """Return the entry points of a role's specification."""
    text = (ROLES / role / "meta/argument_specs.yml").read_text("utf-8")
    return list(yaml_load(text)["argument_specs"].values())


@cache
def specification(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of all entry points of a role's specification. What is required the checks say better."""
    return {name: spec for entry in _entries(role) for name, spec in entry["options"].items()}


@cache
def for_one_run(role: str) -> list[str]:
    """Return the options that are meant for one run, and given with -e: their entry point or they say so."""
    return [
        name
        for entry in _entries(role)
        for name, option in entry["options"].items()
        if entry["short_description"].endswith("given with -e") or "Meant for one run" in str(option["description"])
    ]


@cache
def defaults(role: str) -> dict[str, Any]:
    """Return a role's defaults."""
    return yaml_load((ROLES / role / "defaults/main.yml").read_text("utf-8"))


def judged(given: Mapping[str, Any], role: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a role's variables in their types, and what is wrong with the others.

    A variable that is not given, is null or is wrong has its default. Unknown ones are left out.
    """
    options, values, wrong = specification(role), dict(defaults(role)), {}
    for name, value in given.items():
        if name in options and value is not None:
            try:
                values[name] = typed(value, options[name])
            except ValueError as error:
                wrong[name] = str(error)
    return values, wrong


def typed(value: Any, spec: Mapping[str, Any], where: str = "") -> Any:
    """Return a value in the type that its specification says.

    Raises:
        ValueError: it has another, with what is wrong and what would be right. ``where`` stands before it.
    """
    wanted = spec.get("type", "str")
    what = kind(value) if spec.get("no_log") or not isinstance(value, (str, int, float)) else shown(value)
    if wanted == "bool":
        if not isinstance(value, bool) and str(value).lower() not in _BOOLEANS:
            raise ValueError(f"{where}{what} is neither true nor false: use one of the two")
        return value if isinstance(value, bool) else str(value).lower() in ("yes", "on", "1", "true", "t", "y")
    if wanted == "int":
        if isinstance(value, bool) or not re.fullmatch(r"-?(0|[1-9][0-9]{0,14})", str(value)):
            raise ValueError(f"{where}{what} is not a whole number: use one, such as {spec.get('default') or 10}")
        return int(value)
    if wanted == "list":
        return _typed_list(value, spec, where)
    if wanted == "dict":
        if not isinstance(value, Mapping):
            keys = f" with the keys {listed(list(spec['options']))}" if "options" in spec else ", such as {key: value}"
            raise ValueError(f"{where}is {kind(value)}: use a mapping{keys}")
        return _typed_mapping(value, spec["options"], where) if "options" in spec else value
    return value if wanted == "raw" else _typed_text(value, spec, where, what)


def _typed_text(value: Any, spec: Mapping[str, Any], where: str, what: str) -> str:
    if choices := spec.get("choices"):
        if value not in choices:
            raise ValueError(f"{where}{what} is unknown: use {listed([word for word in choices if word], 'or')}")
        return value
    if isinstance(value, (list, tuple, Mapping)):
        raise ValueError(f"{where}is {kind(value)}: use text")
    if not isinstance(value, str):
        as_yaml = " (YAML reads yes, no, on and off as true and false)" if isinstance(value, bool) else ""
        if value is None:
            raise ValueError(f"{where}is empty: give it, or leave it out")
        said = f"is {kind(value)}" if what == kind(value) else f"{what} is {kind(value)}"
        raise ValueError(f"{where}{said}{as_yaml}: write it in quotes, as text")
    if value.startswith("$ANSIBLE_VAULT;"):
        raise ValueError(f"{where}is the text of a vault, which Ansible does not decrypt: write !vault | before it")
    if not spec.get("no_log") and "-----BEGIN" not in value and (fault := _text_fault(value)):
        raise ValueError(f"{where}{shown(value)} {fault}")
    return value


def _text_fault(text: str) -> str:
    """Return what nobody means to have in a name, a path or a pattern."""
    bare = text.strip()
    if strange := _STRANGE.search(bare):
        return f"holds the character U+{ord(strange[0]):04X}, as word processors write it: type it anew in plain text"
    if bare != text:
        return f"has white space around it: use {shown(bare)}"
    if "{{" in text or "{%" in text:
        return "holds braces of a template that was not evaluated: give the value itself"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return f"has quotes within its quotes: use {shown(text[1:-1])}"
    return ""


def _typed_list(value: Any, spec: Mapping[str, Any], where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        of = f" of mappings with the keys {listed(list(spec['options']))}" if "options" in spec else ", such as [a, b]"
        json = "; with -e, give all of it as JSON" if isinstance(value, str) and value[:1] in ("[", "{") else ""
        raise ValueError(f"{where}is {kind(value)}: use a list{of}{json}")
    item = {**spec, "type": spec.get("elements", "raw")}
    return [typed(each, item, f"{where}item {position}: ") for position, each in enumerate(value, start=1)]


def _typed_mapping(value: Mapping[str, Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key in value:
        if key not in options:
            raise ValueError(f"{where}{key} is unknown: use {near(str(key), options) or listed(list(options), 'or')}")
        required = [name for name, option in options[key].get("options", {}).items() if option.get("required")]
        if value[key] is None and required:
            raise ValueError(f"{where}{key} is empty: give {listed(required)} in it, or leave it out")
    given = {key: typed(each, options[key], f"{where}{key} ") for key, each in value.items() if each is not None}
    for key, option in options.items():
        if option.get("required") and key not in given:
            raise ValueError(f"{where}{key} is missing: give it")
    return given


def near(name: str, known: Collection[str], cutoff: float = 0.75) -> str:
    """Return the known name that somebody may have meant; empty where there is none."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), "")
