"""Files of variables beside the inventory that are no YAML, or hide a key: told with their name and the line.

Ansible ends a run over such a file without its name, and where a key stands twice it takes the last.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

# What Ansible reads as a file of variables, beside one without a suffix.
READ = (".yml", ".yaml", ".json")
# A password that begins with # or has it behind a space; text behind & without anything after it.
_LOST_PASSWORD = re.compile(
    r"""\s*(?:- )?\s*(\w*(?:password|passphrase|secret|token)\w*):(?:\s+[^\s'"#|>&*!{\[][^\s#]*)?\s+#\S+\s*$"""
)
_LOST_VALUE = re.compile(r"\s*(?:- )?\s*(\w*(?:password|passphrase|secret|token)\w*):\s+&\S+\s*$")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def file_faults(sources: Iterable[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each fault in the files of variables of these inventories, as far as its hosts read them."""
    found = [Path(source).absolute() for source in sources if os.path.exists(source)]  # a list of hosts is none
    directories = [path if path.is_dir() else path.parent for path in found]
    return [
        f"{file}: {fault}"
        for directory in dict.fromkeys(directories)
        for kind, names in (("group_vars", {*groups}), ("host_vars", {*(groups.get("all") or [])}))
        for file in _files(directory / kind, names)
        for fault in _faults(file)
    ]


def _files(directory: Path, names: set[str]) -> Iterator[Path]:
    """Yield the files of variables in a directory for some groups or hosts."""
    for path in sorted(directory.glob("*")):
        if path.name in names or path.suffix in READ and path.stem in names:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                is_other = file != path and file.suffix not in ("", *READ)
                if file.is_file() and not is_other and file.name[0] != "." and file.name[-1] != "~":
                    yield file


def _faults(file: Path) -> Iterator[str]:
    """Yield what is wrong in a file; nothing where it is encrypted, is JSON, or cannot be opened."""
    try:
        text = file.read_text("utf-8")
        if not text.startswith("$ANSIBLE_VAULT"):
            yield from () if _is_json(text) else _yaml_faults(text)
    except (OSError, UnicodeError):
        return


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _yaml_faults(text: str) -> Iterator[str]:
    """Yield what is wrong in a text of YAML. No line holds a value, which may be a password."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, re.sub("'[^']{4,}'", "'...'", str(error.problem or error.context))
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "it"
        tab = mark and "\t" in "".join(text.splitlines()[mark.line : mark.line + 1])
        use = (
            "indent with spaces, not with tabs" if tab else "correct it, and put what has : # @ or % in it into quotes"
        )
        yield f"{where} is no YAML ({'a tab' if tab else problem}): {use}"
        return
    except yaml.YAMLError:
        yield "holds a character that YAML does not know: take it out"
        return
    if isinstance(node, yaml.SequenceNode) or isinstance(node, yaml.ScalarNode) and node.value:
        yield "holds no variables: write NAME: VALUE, with a space behind the colon, and no hyphen before the name"
    yield from _key_faults(node)
    yield from _lost_faults(text)


def _lost_faults(text: str) -> Iterator[str]:
    """Yield values that YAML takes for something else: a comment, or the name of what follows."""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if match := _LOST_PASSWORD.match(line):
            yield (
                f"line {number}: {match[1]} is followed by a comment, which is what # begins: put the password into"
                " quotes, or a space behind the #"
            )
        match = _LOST_VALUE.match(line)
        if match and not re.match(rf"\s{{{match.start(1)}}}(\s|- )", "".join(lines[number : number + 1])):
            yield f"line {number}: {match[1]} has a value that begins with &, as YAML's names do: put it into quotes"


def _key_faults(node: yaml.Node | None, above: tuple[yaml.Node, ...] = ()) -> Iterator[str]:
    """Yield keys that hide others, templates that YAML takes for mappings, and text that it takes for a tag."""
    if node in above:
        yield f"line {node.start_mark.line + 1} has a name (&) that stands within itself (*): take it out"
        return
    above = (*above, node) if node is not None else above
    if node is not None and node.tag.startswith("!") and node.tag not in ("!vault", "!vault-encrypted", "!unsafe"):
        yield f"line {node.start_mark.line + 1} has a value that begins with !, as YAML's tags do: put it into quotes"
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _key_faults(item, above)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield f'line {line} holds braces outside of quotes: write "{{{{ ... }}}}"'
                return
            if (first := seen.setdefault(key.value, line)) != line and key.value != "<<":
                yield f"line {line}: {key.value} stands there again, and hides line {first}: keep one of the two"
            yield from _key_faults(value, above)
