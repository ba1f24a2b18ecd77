"""What the module docker_daemon_config does, and what others need to know of the engine."""

from __future__ import annotations

import copy
import errno
import json
import os
import re
import shlex
import signal
import socket
import tempfile
import time
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote

ITEM_LISTS = ("allow-nondistributable-artifacts", "insecure-registries", "labels", "registry-mirrors")
RECORD_VERSION = 1

# What the engine reloads on SIGHUP (moby daemon/reload.go, daemon/reload_unix.go; 20.10 to 29), with the value that
# says the same as leaving the key out. A reload skips keys that are not in the file: to take a key away while the
# engine runs, it must be shown this value first. None: the engine takes its own default when the key is missing.
RELOADABLE: dict[str, Any] = {
    "allow-nondistributable-artifacts": [],
    "debug": False,
    "default-ipc-mode": "private",
    "default-runtime": "runc",
    "default-shm-size": "64M",
    "features": {},
    "insecure-registries": [],
    "labels": [],
    "live-restore": False,
    "max-concurrent-downloads": None,
    "max-concurrent-uploads": None,
    "max-download-attempts": None,
    "network-diagnostic-port": None,
    "registry-mirrors": [],
    "runtimes": {},
    "shutdown-timeout": 15,
}
RELOADABLE_FEATURES = ("buildkit",)
# Keys by which the engine looks for its containers and images elsewhere.
HIDING_KEYS = ("data-root", "features", "graph", "storage-driver")

# Flags whose key in the file has another name (moby cmd/dockerd/config*.go: shorthands and named options).
FLAG_KEYS = {
    "D": "debug",
    "G": "group",
    "H": "hosts",
    "authorization-plugin": "authorization-plugins",
    "b": "bridge",
    "cdi-spec-dir": "cdi-spec-dirs",
    "default-address-pool": "default-address-pools",
    "default-network-opt": "default-network-opts",
    "default-ulimit": "default-ulimits",
    "dns-opt": "dns-opts",
    "exec-opt": "exec-opts",
    "feature": "features",
    "g": "graph",
    "host": "hosts",
    "insecure-registry": "insecure-registries",
    "l": "log-level",
    "label": "labels",
    "log-opt": "log-opts",
    "node-generic-resource": "node-generic-resources",
    "p": "pidfile",
    "registry-mirror": "registry-mirrors",
    "s": "storage-driver",
    "storage-opt": "storage-opts",
}
# Not keys of the file, or (runtimes) the one key that may be given in both places.
FLAGS_WITHOUT_KEY = ("add-runtime", "config-file", "help", "h", "validate", "version", "v")
# Keys that `dockerd --help` does not show.
HIDDEN_KEYS = ("builder", "features", "graph", "network-diagnostic-port", "runtimes", "deprecated-key-path", "proxies")
# The engine looks into every other object for keys of its own (moby daemon/config/config.go, flatOptions).
FLAT_KEYS = (
    "builder",
    "cluster-store-opts",
    "default-network-opts",
    "default-ulimits",
    "features",
    "log-opts",
    "runtimes",
)
HELP_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "string": ((str,), "a string"),
    "list": ((list,), "a list"),
    "map": ((dict,), "an object"),
}
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


class Problem(Exception):
    """What the user has to put right; the text is the whole message."""


class _Absent:
    """Stands for a value that is not there (null is a value)."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


class Address(NamedTuple):
    """A place that can be owned: a path of keys or, in a list owned item by item, one item (as JSON) at a path."""

    path: tuple[str, ...]
    item: str | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------------------------------------------------------


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal; unlike in Python, true is not 1."""
    if left is ABSENT or right is ABSENT:
        return left is right
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right))
    return type(left) is type(right) and left == right or _both_numbers(left, right) and left == right


def _both_numbers(left: Any, right: Any) -> bool:
    return isinstance(left, (int, float)) and isinstance(right, (int, float))


def among(value: Any, values: list) -> bool:
    """Whether `value` is one of `values` (see `same`)."""
    return any(same(value, other) for other in values)


def look_up(document: dict, address: Address) -> Any:
    """The value at an address: ABSENT where nothing is; for an item True where it is in the list."""
    value: Any = document
    for key in address.path:
        if not isinstance(value, dict) or key not in value:
            return ABSENT
        value = value[key]
    if address.item is None:
        return value
    return True if isinstance(value, list) and among(json.loads(address.item), value) else ABSENT


def put(document: dict, address: Address, value: Any) -> None:
    """Set (or, with ABSENT, remove) the value at an address in place; missing parents are made, never removed."""
    if value is ABSENT and look_up(document, address) is ABSENT:
        return
    parents = address.path if address.item is not None else address.path[:-1]
    node: Any = document
    for depth, key in enumerate(parents):
        is_list = address.item is not None and depth == len(parents) - 1
        if key not in node or node[key] is None:
            node[key] = [] if is_list else {}
        node = node[key]
    if address.item is not None:
        item = json.loads(address.item)
        if value is ABSENT:
            node[:] = [other for other in node if not same(other, item)]
        elif not among(item, node):
            node.append(item)
    elif value is ABSENT:
        node.pop(address.path[-1], None)
    else:
        node[address.path[-1]] = copy.deepcopy(value)


def addresses(wanted: dict, path: tuple[str, ...] = ()) -> dict[Address, Any]:
    """Every place that `wanted` (a part of daemon.json) sets, with its value: leaves, and items of the owned lists."""
    found: dict[Address, Any] = {}
    for key, value in wanted.items():
        here = (*path, key)
        if isinstance(value, dict) and value:
            found.update(addresses(value, here))
        elif not path and key in ITEM_LISTS and isinstance(value, list):
            found.update({Address(here, json.dumps(item, sort_keys=True)): True for item in value})
        else:
            found[Address(here)] = value
    return found


def in_order_of(model: Any, value: Any, path: tuple[str, ...] = ()) -> Any:
    """`value` with keys (and items of the owned lists) in the order that they have in `model`; new ones at the end."""
    if isinstance(value, dict) and isinstance(model, dict):
        keys = [key for key in model if key in value] + [key for key in value if key not in model]
        return {key: in_order_of(model.get(key), value[key], (*path, key)) for key in keys}
    if len(path) == 1 and path[0] in ITEM_LISTS and isinstance(value, list) and isinstance(model, list):
        return [item for item in model if among(item, value)] + [item for item in value if not among(item, model)]
    return value


# ---------------------------------------------------------------------------------------------------------------------
# The file's text
# ---------------------------------------------------------------------------------------------------------------------


def _position(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line}, column {offset - text.rfind(chr(10), 0, offset)}"


def _hint(text: str, offset: int, message: str) -> str:
    """What would be right where JSON broke at `offset`."""
    before, after = text[:offset].rstrip(), text[offset:].lstrip()
    if not after:
        return "the text ends too early: close every bracket and every quote"
    if after[0] in "}]" and before.endswith(",") or after[0] == ",":
        return "remove the comma before the closing bracket, or write what is missing there"
    if after[0] in "#/":
        return "JSON knows no comments: remove them"
    if after[0] == "'":
        return "write names and texts in double quotes"
    if "delimiter" in message:
        return "a comma or a colon is missing before this place"
    if "property name" in message:
        return "write a key in double quotes"
    if "Invalid control character" in message or "Unterminated string" in message:
        return "close the double quote"
    if "Extra data" in message:
        return "the object has ended before this place: remove what follows it"
    if "Invalid \\escape" in message:
        return "write a backslash as two"
    return "write a JSON value: a text in double quotes, a number, true, false, a list or an object"


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def duplicate_key(text: str) -> tuple[str, int] | None:
    """The first key that stands twice in one object of valid JSON, and the offset of its second place."""
    open_brackets: list[set[str] | None] = []
    tokens = list(TOKEN.finditer(text))
    for number, token in enumerate(tokens):
        word = token.group()
        if word in "{[":
            open_brackets.append(set() if word == "{" else None)
        elif word in "}]":
            open_brackets.pop()
        elif word[0] == '"' and number + 1 < len(tokens) and tokens[number + 1].group() == ":":
            keys = open_brackets[-1]
            key = json.loads(word, strict=False)
            if keys is not None:
                if key in keys:
                    return key, token.start()
                keys.add(key)
    return None


def parse(raw: bytes, path: str) -> dict:
    """The object in a JSON file; an empty file is an empty object.

    Raises Problem with the file, line and column of what is wrong, and what would be right.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        head = raw[: error.start].decode("utf-8")
        raise Problem(
            f"{path}, {_position(head, len(head))}: byte 0x{raw[error.start]:02x} is not UTF-8. "
            "Save the file as UTF-8. Nothing was changed."
        ) from error
    if text.startswith("\ufeff"):
        raise Problem(
            f"{path}, line 1, column 1: a byte order mark. Save the file as UTF-8 without it. Nothing was changed."
        )
    if not text.strip():
        return {}

    def refuse_constant(name: str) -> None:
        raise Problem(
            f"{path}, {_position(text, text.find(name))}: {name} is no number in JSON. Write one. Nothing was changed."
        )

    try:
        document = json.loads(text, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise Problem(
            f"{path}, line {error.lineno}, column {error.colno}: {error.msg}; "
            f"{_hint(text, error.pos, error.msg)}. Nothing was changed."
        ) from error
    except RecursionError as error:
        raise Problem(f"{path}: nested too deeply to be read. Nothing was changed.") from error
    if not isinstance(document, dict):
        start = len(text) - len(text.lstrip())
        raise Problem(
            f"{path}, {_position(text, start)}: holds {describe(document)} where the engine wants one object. "
            "Put the settings in { }. Nothing was changed."
        )
    twice = duplicate_key(text)
    if twice:
        raise Problem(
            f'{path}, {_position(text, twice[1])}: the key "{twice[0]}" stands twice in one object. '
            "Leave the one that is meant. Nothing was changed."
        )
    return document


def value_texts(text: str) -> dict[str, str]:
    """The text of each top-level value of a JSON object, as it stands in the file."""
    found: dict[str, str] = {}
    depth, key, start, end = 0, None, None, 0
    for token in TOKEN.finditer(text):
        word = token.group()
        if depth == 1 and start is not None and word in ",}":
            found[key] = text[start:end]
            key = start = None
        elif depth == 1 and key is None and word[0] == '"':
            key = json.loads(word, strict=False)
        elif depth == 1 and key is not None and start is None and word != ":":
            start = token.start()
        depth += (word in "{[") - (word in "}]")
        end = token.end()
    return found


def render(document: dict, text: str = "", before: dict | None = None) -> str:
    """The new text of daemon.json: as `text`, which says `before`, except for the top-level keys that differ.

    New parts are indented as `text` is, by four spaces where that shows nothing.
    """
    shown = re.search(r"^{[ \t]*\r?\n([ \t]+)\S", text, re.MULTILINE)
    width = shown.group(1) if shown else "    "
    kept = value_texts(text)
    members = []
    for key, value in document.items():
        if before and key in kept and same(value, before.get(key, ABSENT)):
            words = kept[key]
        else:
            words = json.dumps(value, indent=width, ensure_ascii=False).replace("\n", "\n" + width)
        members.append(f"{width}{json.dumps(key, ensure_ascii=False)}: {words}")
    return "{\n" + ",\n".join(members) + "\n}\n" if members else "{}\n"


def describe(value: Any) -> str:
    """A JSON value's kind in words."""
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "null")


# ---------------------------------------------------------------------------------------------------------------------
# Who owns what
#
# The record: {"version": 1, "claims": [{"path": [...], "item": any, "before": any, "owners": {NAME: [values]}}],
# "made": [path of an object or a list that is there only because of us; [] is the file], "pending": {...}}. "item" only
# in lists owned item by item, "before" only where something stood. An owner has two values while a write is under way.
# ---------------------------------------------------------------------------------------------------------------------


class Claim:
    """One address of the record: what stood there before anybody of us came, and what each owner wrote."""

    def __init__(self, before: Any = ABSENT, owners: dict[str, list] | None = None) -> None:
        self.before = before
        self.owners: dict[str, list] = owners if owners is not None else {}

    def copy(self) -> Claim:
        return Claim(self.before, {owner: list(values) for owner, values in self.owners.items()})

    def is_ours(self, current: Any) -> bool:
        """Whether the value that stands there was written by one of the owners."""
        return any(among(current, values) for values in self.owners.values())

    def without(self, owner: str, current: Any) -> Any:
        """What would stand there if `owner` claimed nothing."""
        if not self.is_ours(current):
            return current
        others = [values for name, values in self.owners.items() if name != owner]
        if any(among(current, values) for values in others):
            return current
        return others[0][-1] if others else self.before

    def ground(self, current: Any) -> Any:
        """What would stand there if none of the owners claimed anything."""
        return self.before if self.is_ours(current) else current


class Record:
    """What the module remembers between runs."""

    def __init__(
        self,
        claims: dict[Address, Claim] | None = None,
        made: set[tuple[str, ...]] | None = None,
        pending: dict | None = None,
    ) -> None:
        self.claims = claims if claims is not None else {}
        self.made = made if made is not None else set()
        self.pending = pending if pending is not None else {}

    @classmethod
    def from_json(cls, data: dict, path: str) -> Record:
        """Read a record. Raises Problem when it is not one of ours."""
        try:
            if data.get("version", RECORD_VERSION) != RECORD_VERSION:
                raise Problem(f"{path}: version {data['version']} is newer than this module. Use the newer Wharf.")
            claims = {}
            for entry in data.get("claims", []):
                item = json.dumps(entry["item"], sort_keys=True) if "item" in entry else None
                owners = {str(name): list(values) for name, values in entry["owners"].items()}
                claims[Address(tuple(entry["path"]), item)] = Claim(entry.get("before", ABSENT), owners)
            made = {tuple(path) for path in data.get("made", [])}
            return cls(claims, made, dict(data.get("pending", {})))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Problem(
                f"{path}: not a record of this module ({error!r}). Restore it from a backup; or remove it, and what "
                "stands in daemon.json counts as somebody else's from then on. Nothing was changed."
            ) from error

    def to_json(self) -> dict:
        """The record as JSON data, in an order that does not depend on the run."""
        claims = []
        for address in sorted(self.claims, key=lambda one: (one.path, one.item or "")):
            claim = self.claims[address]
            entry: dict[str, Any] = {"path": list(address.path)}
            if address.item is not None:
                entry["item"] = json.loads(address.item)
            if claim.before is not ABSENT:
                entry["before"] = claim.before
            entry["owners"] = {name: claim.owners[name] for name in sorted(claim.owners)}
            claims.append(entry)
        data: dict[str, Any] = {"version": RECORD_VERSION, "claims": claims, "made": sorted(map(list, self.made))}
        if self.pending:
            data["pending"] = self.pending
        return data

    def is_empty(self) -> bool:
        return not (self.claims or self.made or self.pending)

    def copy(self) -> Record:
        claims = {address: claim.copy() for address, claim in self.claims.items()}
        return Record(claims, set(self.made), copy.deepcopy(self.pending))


def union(old: Record, new: Record, pending: dict) -> Record:
    """The record that is true both before and after the file is replaced: a run may be killed in between."""
    both = old.copy()
    both.made |= new.made
    both.pending = pending
    for address, claim in new.claims.items():
        merged = both.claims.setdefault(address, Claim())
        merged.before = claim.before
        for owner, values in claim.owners.items():
            known = merged.owners.setdefault(owner, [])
            known.extend(value for value in values if not among(value, known))
    return both


class Merge(NamedTuple):
    """The outcome of `merge`: the file's content (None: no file), the record, and the default keys that yielded."""

    document: dict | None
    record: Record
    yielded: list[str]


def merge(
    document: dict | None,
    record: Record,
    owner: str,
    options: dict,
    groups: list[dict],
    reserved: tuple[str, ...] = (),
) -> Merge:
    """What daemon.json and the record should be.

    document: the file's content, None where there is no file. options, groups: what `owner` wants, see the module's
    options. reserved: top-level keys that defaults must not touch (they are on the engine's command line).
    Raises Problem where an option cannot be set without breaking what stands there.
    """
    current = document if document is not None else {}
    claims = {address: claim.copy() for address, claim in record.claims.items()}
    made = set(record.made)
    if document is None:
        made.add(())

    bare = copy.deepcopy(current)
    grounds: dict[Address, Any] = {}
    for address, claim in list(claims.items()):
        if owner not in claim.owners:
            continue
        value = look_up(current, address)
        grounds[address] = claim.ground(value)
        put(bare, address, claim.without(owner, value))
        claim.before = claim.ground(value)
        del claim.owners[owner]
        if not claim.owners:
            del claims[address]

    claimed_keys = {address.path[0] for address in claims}

    def is_taken(key: str) -> bool:
        if key in options or key in reserved:
            return True
        return key in bare and bare[key] is not None and ((key,) not in made or key in claimed_keys)

    wanted: dict[Address, Any] = {}
    yielded: list[str] = []
    for group in groups:
        if any(is_taken(key) for key in group):
            yielded.extend(group)
            continue
        for address, value in addresses(group).items():
            if look_up(bare, address) is ABSENT and _has_room(bare, address):
                wanted[address] = value
    for address, value in addresses(options).items():
        if value == {} and isinstance(look_up(bare, address), dict):
            continue
        if not _has_room(bare, address):
            where = ".".join(address.path if address.item is not None else address.path[:-1])
            raise Problem(
                f"{where} is not {'a list' if address.item is not None else 'an object'} in the file, but an option of "
                f"{owner} wants one there. Remove {where} from the file, or the option. Nothing was changed."
            )
        wanted[address] = value

    final = copy.deepcopy(bare)
    for address, value in wanted.items():
        parents = address.path if address.item is not None else address.path[:-1]
        for depth in range(1, len(parents) + 1):
            if look_up(final, Address(parents[:depth])) in (ABSENT, None):
                made.add(parents[:depth])
        standing = look_up(current, address)
        claim = claims.setdefault(address, Claim(grounds.get(address, standing)))
        if claim.owners and not claim.is_ours(standing):
            claim.before = standing
        claim.owners[owner] = [value]
        put(final, address, value)

    for path in sorted(made, key=len, reverse=True):
        container = look_up(final, Address(path)) if path else final
        in_use = any(address.path[: len(path)] == path for address in claims)
        if container is ABSENT or not in_use:
            made.discard(path)
        if path and not in_use and container in ({}, []):
            put(final, Address(path), ABSENT)
    file_is_ours = () in record.made or document is None
    if not final and file_is_ours:
        made.clear()
        return Merge(None, Record(claims, made), yielded)
    return Merge(in_order_of(current, final), Record(claims, made), yielded)


def _has_room(document: dict, address: Address) -> bool:
    """Whether everything above an address is (or can become) an object, or the list that an item belongs in."""
    parents = address.path if address.item is not None else address.path[:-1]
    for depth in range(1, len(parents) + 1):
        value = look_up(document, Address(parents[:depth]))
        kind = list if address.item is not None and depth == len(parents) else dict
        if value is not ABSENT and value is not None and not isinstance(value, kind):
            return False
    return True


def check_wanted(wanted: dict, name: str) -> None:
    """Refuse what no engine takes. Raises Problem."""
    for key in ITEM_LISTS:
        if key in wanted and not isinstance(wanted[key], list):
            raise Problem(f"{name}: {key} is {describe(wanted[key])}; it must be a list. Nothing was changed.")

    def refuse_null(value: Any, where: str) -> None:
        if value is None:
            raise Problem(f"{name}: {where} is null. Give it a value, or leave it out. Nothing was changed.")
        if isinstance(value, dict):
            for key, inner in value.items():
                refuse_null(inner, f"{where}.{key}")

    for key, value in wanted.items():
        refuse_null(value, key)


# ---------------------------------------------------------------------------------------------------------------------
# What the engine makes of it
# ---------------------------------------------------------------------------------------------------------------------


def changed_keys(before: dict, after: dict) -> list[str]:
    """Top-level keys that differ, in the file's order."""
    keys = [*before, *(key for key in after if key not in before)]
    return [key for key in keys if not same(before.get(key, ABSENT), after.get(key, ABSENT))]


def can_reload(key: str, before: Any, after: Any) -> bool:
    """Whether the engine takes this change of a top-level key over on SIGHUP."""
    if key == "features":
        old = before if isinstance(before, dict) else {}
        new = after if isinstance(after, dict) else {}
        return all(feature in RELOADABLE_FEATURES for feature in changed_keys(old, new))
    return key in RELOADABLE


def stand_ins(document: dict, keys: list[str]) -> dict:
    """Values to show the engine for keys that leave the file: a reload looks only at what is in the file."""
    return {key: RELOADABLE[key] for key in keys if key not in document and RELOADABLE[key] is not None}


def out_of_sight(info: dict, after: dict, keys: list[str]) -> list[str]:
    """Settings of `after`, out of the changed `keys`, under which the engine sees none of its containers and images.

    info: what the engine says of itself (its API's /info).
    """
    found = []
    root = after.get("data-root", after.get("graph"))
    if {"data-root", "graph"} & set(keys) and os.path.realpath(root or "/var/lib/docker") != info["DockerRootDir"]:
        found.append("data-root")
    uses_containerd = ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or [])
    if "storage-driver" in keys and after.get("storage-driver", info["Driver"]) != info["Driver"]:
        found.append("storage-driver")
    # Left out, it means what the engine has been using: since version 29 a fresh one uses containerd's.
    features = after.get("features") or {}
    without = uses_containerd and int(info["ServerVersion"].split(".")[0]) >= 29
    if "features" in keys and features.get("containerd-snapshotter", without) is not uses_containerd:
        found.append("features.containerd-snapshotter")
    return found


def flags_of(argv: list[str]) -> dict[str, str]:
    """Keys of daemon.json that a dockerd command line (without the program) sets, with the flag that does."""
    found: dict[str, str] = {}
    for word in argv:
        if not re.match(r"--?[a-zA-Z]", word):
            continue
        name = word[2:].split("=", 1)[0] if word.startswith("--") else word[1]
        if name not in FLAGS_WITHOUT_KEY:
            found[FLAG_KEYS.get(name, name)] = f"--{name}" if word.startswith("--") else f"-{name}"
    return found


def flag_values(argv: list[str], *names: str) -> list[str]:
    """The values that a command line gives a flag: `--name value`, `--name=value`, `-n value`, `-nvalue`."""
    values = []
    for number, word in enumerate(argv):
        for name in names:
            dashed = f"--{name}" if len(name) > 1 else f"-{name}"
            if word == dashed and number + 1 < len(argv):
                values.append(argv[number + 1])
            elif len(name) > 1 and word.startswith(dashed + "="):
                values.append(word[len(dashed) + 1 :])
            elif len(name) == 1 and word.startswith(dashed) and word != dashed:
                values.append(word[2:].lstrip("="))
    return values


def engine_keys(wanted: dict) -> list[str]:
    """The names under which the engine knows the keys of `wanted`: it looks into objects such as `proxies`."""
    keys = []
    for key, value in wanted.items():
        keys.extend(value if isinstance(value, dict) and key not in FLAT_KEYS else [key])
    return keys


def help_types(text: str) -> dict[str, str]:
    """Keys that an engine knows, from its --help, with the type shown there ('' is a switch)."""
    types = {}
    for line in text.splitlines():
        match = re.match(r"\s+(?:-\w, )?--([a-z0-9-]+)(?: ([a-zA-Z-]+))?(?:\s{2,}|$)", line)
        if match and match.group(1) not in FLAGS_WITHOUT_KEY:
            types[FLAG_KEYS.get(match.group(1), match.group(1))] = match.group(2) or ""
    return types


def check_against_help(wanted: dict, types: dict[str, str]) -> None:
    """Refuse keys and types that the engine does not know. Raises Problem."""
    for key, value in wanted.items():
        if isinstance(value, dict) and key not in FLAT_KEYS and key not in types:
            check_against_help(value, types)
            continue
        if key not in types and key not in HIDDEN_KEYS:
            raise Problem(f"the installed engine knows no key {key}. Correct or remove it. Nothing was changed.")
        if key == "log-level" and value not in LOG_LEVELS:
            # It is reloaded without a word, and stops the engine at its next start.
            raise Problem(f"log-level is {value!r}; it must be one of {', '.join(LOG_LEVELS)}. Nothing was changed.")
        right, words = HELP_TYPES.get(types.get(key, "other"), ((object,), ""))
        if not isinstance(value, right) or (isinstance(value, bool) and bool not in right and object not in right):
            raise Problem(f"{key} is {describe(value)}; the installed engine wants {words}. Nothing was changed.")


class Engine:
    """The running dockerd."""

    def __init__(self, pid: int, argv: list[str], identity: str) -> None:
        self.pid = pid
        self.argv = argv
        self.identity = identity

    @classmethod
    def find(cls, pid_file: str) -> Engine | None:
        """The engine that wrote `pid_file`; None when it does not run."""
        try:
            with open(pid_file, encoding="ascii") as file:
                pid = int(file.read().strip())
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                if file.read().strip() != "dockerd":
                    return None
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                state = file.read().rpartition(")")[2].split()
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = file.read().strip()
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                argv = file.read().rstrip("\0").split("\0")
        except (OSError, ValueError):
            return None
        # A zombie has ended, whatever its name says.
        return cls(pid, argv[1:], f"{boot} {pid} {state[19]}") if state[0] != "Z" else None

    def socket_path(self, document: dict) -> str | None:
        """The Unix socket of its API; None when it has none."""
        hosts = flag_values(self.argv, "host", "H") or document.get("hosts") or ["unix:///run/docker.sock"]
        for host in hosts:
            if host.startswith("unix://"):
                return host[len("unix://") :] or "/run/docker.sock"
            if host.startswith("fd://"):
                return "/run/docker.sock"
        return None


def last_error_in(log: str, since: float) -> str:
    """The message of the last error in an engine's log that is not older than `since` (seconds since 1970)."""
    message = ""
    for line in log.splitlines():
        found = re.search(r'time="([^"]+)" level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"', line)
        if found:
            # Python before 3.11 reads neither nanoseconds nor Z.
            moment = re.sub(r"\.\d+", "", found.group(1)).replace("Z", "+00:00")
            try:
                if datetime.fromisoformat(moment).timestamp() >= int(since):
                    message = found.group(2).replace('\\"', '"')
            except ValueError:
                continue
    return message


def idle_argv(module: Any) -> list[str]:
    """The arguments with which the service manager would start the engine, as far as that can be read."""
    argv: list[str] = []
    systemctl = module.get_bin_path("systemctl")
    if not os.path.isdir("/run/systemd/system"):
        # Debian's init script always passes it.
        argv.extend(["-p", "/run/docker.pid"])
    elif systemctl:
        _rc, out, _err = module.run_command([systemctl, "show", "docker.service", "--property=ExecStart", "--value"])
        match = re.search(r"argv\[\]=(.*?) ;", out)
        argv.extend(match.group(1).split()[1:] if match else [])
    try:
        with open("/etc/default/docker", encoding="utf-8", errors="replace") as file:
            for name, value in re.findall(r"^\s*(?:export\s+)?(DOCKER_OPTS|OPTIONS)=(.*)$", file.read(), re.MULTILINE):
                if name == "DOCKER_OPTS" or "$OPTIONS" in argv:
                    argv.extend(shlex.split(" ".join(shlex.split(value, comments=True))))
    except (OSError, ValueError):
        pass
    return [word for word in argv if not word.startswith("$")]


class ApiConnection(HTTPConnection):
    """A connection to the engine's API."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path: str, url: str) -> Any:
    """What the engine's API answers to a GET, as JSON data. Raises OSError, HTTPException and ValueError."""
    connection = ApiConnection(path, 30)
    try:
        connection.request("GET", url)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


class ReloadWatch:
    """Listens for the engine's event that says it has reloaded its configuration."""

    def __init__(self, path: str, timeout: float) -> None:
        self.buffer = b""
        filters = quote(json.dumps({"type": ["daemon"], "event": ["reload"]}))
        since = time.time_ns()
        request = (
            f"GET /events?since={since // 10**9}.{since % 10**9:09d}&filters={filters} HTTP/1.0\r\nHost: docker\r\n\r\n"
        )
        deadline = time.monotonic() + timeout
        self.connection = socket.socket(socket.AF_UNIX)
        try:
            self.connection.settimeout(timeout)
            self.connection.connect(path)
            self.connection.sendall(request.encode("ascii"))
            self._read_until(b"\r\n\r\n", deadline)
        except OSError:
            self.connection.close()
            raise
        head, _end, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            self.connection.close()
            raise OSError(errno.EPROTO, head.split(b"\r\n")[0].decode("ascii", "replace"))

    def _read_until(self, mark: bytes, deadline: float) -> None:
        while mark not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "no answer")
            self.connection.settimeout(left)
            received = self.connection.recv(65536)
            if not received:
                raise ConnectionResetError(errno.ECONNRESET, "connection closed")
            self.buffer += received

    def wait(self, timeout: float) -> bool:
        """Whether the event came within `timeout` seconds."""
        try:
            self._read_until(b"}", time.monotonic() + timeout)
            return True
        except OSError:
            return False
        finally:
            self.connection.close()


# ---------------------------------------------------------------------------------------------------------------------
# The run
# ---------------------------------------------------------------------------------------------------------------------


def read_bytes(path: str) -> bytes | None:
    """A file's content; None where there is none. Raises Problem where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}. It must be a file that can be read. Nothing was changed.") from error


def make_directories(path: str) -> None:
    """Make a directory and what is missing above it, with mode 0755 whatever the umask."""
    if not os.path.isdir(path):
        make_directories(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)


class Run:
    """One call of the module."""

    def __init__(self, module: Any) -> None:
        params = module.params
        self.module = module
        self.owner: str = params["owner"]
        self.path = os.path.realpath(params["path"])
        self.record_path: str = params["record"]
        present = params["state"] == "present"
        self.options: dict = params["options"] if present else {}
        self.groups: list[dict] = params["defaults"] if present else []
        self.engine = Engine.find(params["pid_file"])
        self.began = time.time()

    def main(self) -> dict:
        """Do it. Returns the module's result; raises Problem when there is nothing to be done about it here."""
        check_wanted(self.options, "options")
        for group in self.groups:
            check_wanted(group, "defaults")
        raw = read_bytes(self.path)
        document = parse(raw, self.path) if raw is not None else None
        record_raw = read_bytes(self.record_path)
        record = Record.from_json(parse(record_raw or b"", self.record_path), self.record_path)

        engine_has, current = self.outstanding(record, document)
        outcome = self.merge(current, record)
        before = document if document is not None else {}
        after = outcome.document if outcome.document is not None else {}
        changed = not same(before, after) or (document is None) != (outcome.document is None)
        for key in changed_keys(before, after):
            engine_has.setdefault(key, before.get(key, ABSENT))
        due = [key for key, value in engine_has.items() if not same(value, after.get(key, ABSENT))]
        reload_keys = [key for key in due if can_reload(key, engine_has[key], after.get(key, ABSENT))]
        restart_keys = [key for key in due if key not in reload_keys]

        old_text = raw.decode("utf-8") if raw is not None else ""
        new_text = old_text
        if changed:
            new_text = render(after, old_text, before) if outcome.document is not None else ""
            self.check_flags()
        knows_validate = self.validate(new_text) if changed and outcome.document is not None else True

        if self.engine and restart_keys:
            self.check_containers(before, after, restart_keys)

        final = outcome.record
        final.pending = self.pending(engine_has, restart_keys) if self.engine else {}
        # An engine that cannot validate a file still judges it when it reloads.
        must_reload = self.engine is not None and bool(reload_keys or (changed and not knows_validate))
        result = {
            "changed": changed or must_reload,
            "action": self.action(must_reload, restart_keys),
            "reload_keys": reload_keys,
            "restart_keys": restart_keys,
            "yielded": outcome.yielded,
            "diff": self.diff(old_text, new_text, reload_keys, restart_keys),
        }
        if self.module.check_mode:
            return result

        watch = self.watch(before) if must_reload else None
        shown = stand_ins(after, reload_keys) if must_reload else {}
        if changed or must_reload:
            pending = self.pending(engine_has, due, shown) if self.engine else {}
            self.write_record(union(record, final, pending), record_raw)
        if changed or shown:
            if shown:
                self.write_file(render({**after, **shown}, old_text, before))
            else:
                self.write_outcome(outcome, new_text)
        if must_reload and not self.reload(watch):
            self.roll_back(raw, record_raw)
        if shown:
            self.write_outcome(outcome, new_text)
        self.write_record(final, read_bytes(self.record_path))
        return result

    def outstanding(self, record: Record, document: dict | None) -> tuple[dict[str, Any], dict | None]:
        """What the running engine has for keys that it has not taken over yet, and the file without stand-ins."""
        current = copy.deepcopy(document)
        for key, value in record.pending.get("shown", {}).items():
            if current is not None and same(current.get(key, ABSENT), value):
                del current[key]
        if self.engine is None or record.pending.get("engine") != self.engine.identity:
            return {}, current
        has = {key: entry.get("value", ABSENT) for key, entry in record.pending.get("has", {}).items()}
        return has, current

    def pending(self, engine_has: dict[str, Any], keys: list[str], shown: dict | None = None) -> dict:
        """What the record must say about keys that the engine has not taken over yet."""
        if not keys and not shown:
            return {}
        has = {key: {} if engine_has[key] is ABSENT else {"value": engine_has[key]} for key in keys}
        pending: dict[str, Any] = {"engine": self.engine.identity, "has": has}
        if shown:
            pending["shown"] = shown
        return pending

    def merge(self, document: dict | None, record: Record) -> Merge:
        """See `merge`; what the engine's command line and a swarm forbid is taken into account."""
        groups, options = self.groups, self.options
        self.argv = self.engine.argv if self.engine else idle_argv(self.module) if options or groups else []
        config_file = flag_values(self.argv, "config-file")
        if config_file and os.path.realpath(config_file[-1]) != self.path:
            raise Problem(
                f"the engine reads {config_file[-1]} (--config-file), not {self.path}. Set path to that file, or take "
                "the flag off the engine's command line. Nothing was changed."
            )
        reserved = [*flags_of(self.argv)]
        if self.is_in_swarm(document or {}):
            if options.get("live-restore") is True:
                raise Problem(
                    "live-restore is true, but this engine is in a swarm and would not start with it. "
                    "Set it to false. Nothing was changed."
                )
            reserved.append("live-restore")
        return merge(document, record, self.owner, options, groups, tuple(reserved))

    def is_in_swarm(self, document: dict) -> bool:
        roots = flag_values(self.argv, "data-root", "graph", "g") or [document.get("data-root", "/var/lib/docker")]
        return os.path.exists(os.path.join(str(roots[-1]), "swarm", "docker-state.json"))

    def check_flags(self) -> None:
        """Refuse options that are flags as well: the engine would not start. Raises Problem."""
        flags = flags_of(self.argv)
        for key in engine_keys(self.options):
            if key in flags:
                raise Problem(
                    f"{key} is set by {flags[key]} on the engine's command line, and the engine does not start when "
                    f"the file sets it, too. Take the flag off the command line, or {key} out of the options. "
                    "Nothing was changed."
                )

    def check_containers(self, before: dict, after: dict, restart_keys: list[str]) -> None:
        """Refuse to put running containers out of the engine's sight. Raises Problem."""
        path = self.engine.socket_path(before)
        if path is None or not set(restart_keys) & set(HIDING_KEYS):
            return
        try:
            settings = out_of_sight(ask(path, "/info"), after, restart_keys)
            names = [container["Names"][0].lstrip("/") for container in ask(path, "/containers/json")]
        except (OSError, ValueError, HTTPException) as error:
            raise Problem(f"the engine does not answer on {path}: {error}. Nothing was changed.") from error
        if settings and names:
            raise Problem(
                f"{' and '.join(settings)}: the restarted engine would no longer see the containers that run now "
                f"({', '.join(sorted(names))}), and nobody could stop them. Stop them first (docker stop), or leave "
                "the setting as it is. Nothing was changed."
            )

    def validate(self, text: str) -> bool:
        """Let the installed engine judge the new file. Returns whether it could; raises Problem when it refuses."""
        dockerd = self.module.get_bin_path("dockerd")
        if dockerd is None:
            return True
        _rc, out, err = self.module.run_command([dockerd, "--help"])
        types = help_types(out + err)
        if not types:
            return True
        if not re.search(r"^\s+--validate\s", out + err, re.MULTILINE):
            check_against_help(self.options, types)
            return False
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            rc, out, err = self.module.run_command([dockerd, "--validate", "--config-file", file.name])
            if rc != 0:
                words = (err.strip() or out.strip()).replace(file.name, self.path)
                raise Problem(f"the engine refuses the new {self.path}: {words}. Nothing was changed.")
        return True

    def action(self, must_reload: bool, restart_keys: list[str]) -> str:
        if self.engine and restart_keys:
            return "restart"
        if must_reload:
            return "reload" if self.module.check_mode else "reloaded"
        return "none"

    def diff(self, before: str, after: str, reload_keys: list[str], restart_keys: list[str]) -> dict:
        """The texts for --diff; the header says what the engine needs."""
        plan = []
        if self.engine:
            plan += [f"reload for {', '.join(reload_keys)}"] if reload_keys else []
            plan += [f"restart for {', '.join(restart_keys)}"] if restart_keys else []
        header = f"{self.path} ({'; '.join(plan)})" if plan else self.path
        return {"before": before, "after": after, "before_header": self.path, "after_header": header}

    def watch(self, document: dict) -> ReloadWatch | None:
        """Listen to the engine before anything is changed. None when its API has no Unix socket."""
        path = self.engine.socket_path(document)
        if path is None:
            return None
        try:
            # An engine that is still starting dies of SIGHUP. Its answer says that it has started.
            return ReloadWatch(path, 30)
        except OSError as error:
            raise Problem(
                f"the engine (process {self.engine.pid}) does not answer on {path}: {error}. A change that it must "
                "reload waits until it does. Look at its log, then run this again. Nothing was changed."
            ) from error

    def reload(self, watch: ReloadWatch | None) -> bool:
        """Send SIGHUP. Returns whether the engine took the file over."""
        try:
            os.kill(self.engine.pid, signal.SIGHUP)
        except ProcessLookupError:
            return True
        if watch is None:
            time.sleep(1)
            return True
        return watch.wait(self.module.params["reload_timeout"])

    def roll_back(self, raw: bytes | None, record_raw: bytes | None) -> None:
        """Put file and record back as they were. Raises Problem, always."""
        if raw is None:
            if os.path.exists(self.path):
                os.unlink(self.path)
        else:
            self.write_file(raw.decode("utf-8"))
        if record_raw is None:
            if os.path.exists(self.record_path):
                os.unlink(self.record_path)
        else:
            self.replace(self.record_path, record_raw, 0o600)
        words = self.last_error()
        raise Problem(
            f"the engine did not take over the new {self.path} within {self.module.params['reload_timeout']} seconds"
            f"{': ' + words if words else '; its log should say why'}. The file is as it was before."
        )

    def last_error(self) -> str:
        """The last error in the engine's log since this run began; empty where none can be found."""
        journalctl = self.module.get_bin_path("journalctl")
        if journalctl and os.path.isdir("/run/systemd/system"):
            command = [journalctl, "--unit=docker.service", f"--since=@{int(self.began)}", "--output=cat", "--no-pager"]
            _rc, log, _err = self.module.run_command(command)
        else:
            # Where Debian's init script sends it.
            log = (read_bytes("/var/log/docker.log") or b"")[-16384:].decode("utf-8", "replace")
        return last_error_in(log, self.began)

    def write_outcome(self, outcome: Merge, text: str) -> None:
        if outcome.document is None:
            if os.path.exists(self.path):
                os.unlink(self.path)
        else:
            self.write_file(text)

    def write_file(self, text: str) -> None:
        self.replace(self.path, text.encode("utf-8"), 0o644)

    def write_record(self, record: Record, raw: bytes | None) -> None:
        if record.is_empty():
            if raw is not None:
                os.unlink(self.record_path)
            return
        new = (json.dumps(record.to_json(), indent=2, ensure_ascii=False) + "\n").encode("utf-8")
        if new != raw:
            self.replace(self.record_path, new, 0o600)

    def replace(self, path: str, content: bytes, mode: int) -> None:
        """Replace a file in one step. Its mode and owner are kept; `mode` is for a new one. Raises Problem."""
        temporary = None
        umask = os.umask(0o077)
        try:
            is_new = not os.path.exists(path)
            make_directories(os.path.dirname(path))
            handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self.module.atomic_move(temporary, path)
            if is_new:
                os.chmod(path, mode)
        except OSError as error:
            raise Problem(f"{path} cannot be written: {error.strerror}.") from error
        finally:
            os.umask(umask)
            if temporary and os.path.exists(temporary):
                os.unlink(temporary)
