"""Docker's daemon.json, owned key by key: who wrote what, what the engine reloads, and what waits for a restart."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import tempfile
import time
from dataclasses import dataclass, field
from enum import Enum
from http.client import HTTPException
from typing import Any, NamedTuple

from . import engine as engines
from .engine import (
    Engine,
    ReloadWatch,
    api_get,
    check_against_help,
    describe,
    engine_keys,
    flag_values,
    flags_of,
    help_types,
    idle_argv,
    last_error,
)
from .errors import WharfError
from .files import write_atomic

PATH = "/etc/docker/daemon.json"
DATA_ROOT = "/var/lib/docker"
LEDGER = "/var/lib/wharf/daemon.json.record"
LEDGER_VERSION = 1
ITEM_LISTS = ("allow-nondistributable-artifacts", "insecure-registries", "labels", "registry-mirrors")

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


class _Absent(Enum):
    """Stands for a value that is not there: null is a value. A member stays itself when it is copied."""

    ABSENT = "absent"


ABSENT = _Absent.ABSENT


class Address(NamedTuple):
    """A place that can be owned: a path of keys or, in a list owned item by item, one item (as JSON) at a path."""

    path: tuple[str, ...]
    item: str | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """Return the keys of the objects above it, and of its list."""
        return self.path if self.item is not None else self.path[:-1]


# Values -------------------------------------------------------------------------------------------


def same(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal; unlike in Python, true is not 1."""
    if left is ABSENT or right is ABSENT:
        return left is right
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right))
    are_numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    return (are_numbers or type(left) is type(right)) and left == right


def among(value: Any, values: list) -> bool:
    """Return whether `value` is one of `values` (see `same`)."""
    return any(same(value, other) for other in values)


def look_up(document: dict, address: Address) -> Any:
    """Return the value at an address: ABSENT where nothing is; for an item True where it is in the list."""
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
    node: Any = document
    for depth, key in enumerate(address.parents):
        is_list = address.item is not None and depth == len(address.path) - 1
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
    """Return every place that a part of daemon.json sets, with its value: leaves, and items of the owned lists."""
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
    """Return `value` with keys (and items of the owned lists) in the order of `model`; new ones at the end."""
    if isinstance(value, dict) and isinstance(model, dict):
        keys = [key for key in model if key in value] + [key for key in value if key not in model]
        return {key: in_order_of(model.get(key), value[key], (*path, key)) for key in keys}
    if len(path) == 1 and path[0] in ITEM_LISTS and isinstance(value, list) and isinstance(model, list):
        return [item for item in model if among(item, value)] + [item for item in value if not among(item, model)]
    return value


# The file's text ----------------------------------------------------------------------------------


def _position(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line}, column {offset - text.rfind(chr(10), 0, offset)}"


def _hint(text: str, offset: int, message: str) -> str:
    """Return what would be right where JSON broke at `offset`."""
    before, after = text[:offset].rstrip(), text[offset:].lstrip()
    first = after[:1]
    hints = (
        (not after, "the text ends too early: close every bracket and every quote"),
        (first == "," or (first in "}]" and before.endswith(",")), "remove the comma, or write what is missing there"),
        (first in "#/", "JSON knows no comments: remove them"),
        (first == "'", "write names and texts in double quotes"),
        ("delimiter" in message, "a comma or a colon is missing before this place"),
        ("property name" in message, "write a key in double quotes"),
        (re.search("Invalid control character|Unterminated string", message), "close the double quote"),
        ("Extra data" in message, "the object has ended before this place: remove what follows it"),
        ("Invalid \\escape" in message, "write a backslash as two"),
        (True, "write a JSON value: a text in double quotes, a number, true, false, a list or an object"),
    )
    return next(hint for applies, hint in hints if applies)


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def duplicate_key(text: str) -> tuple[str, int] | None:
    """Return the first key that stands twice in one object of valid JSON, and the offset of its second place."""
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
    """Return the object in a JSON file; an empty file is an empty object.

    Raises:
        WharfError: with the file, line and column of what is wrong, and what would be right.
    """

    def refuse(text: str, offset: int, message: str) -> WharfError:
        return WharfError(f"{path}, {_position(text, offset)}: {message}. Nothing was changed.")

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        head = raw[: error.start].decode("utf-8")
        byte = raw[error.start]
        raise refuse(head, len(head), f"byte 0x{byte:02x} is not UTF-8. Save the file as UTF-8") from error
    if text.startswith("\ufeff"):
        raise refuse(text, 0, "a byte order mark. Save the file as UTF-8 without it")
    if not text.strip():
        return {}

    def refuse_constant(name: str) -> None:
        raise refuse(text, text.find(name), f"{name} is no number in JSON. Write one")

    try:
        document = json.loads(text, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise refuse(text, error.pos, f"{error.msg}; {_hint(text, error.pos, error.msg)}") from error
    except RecursionError as error:
        raise WharfError(f"{path}: nested too deeply to be read. Nothing was changed.") from error
    if not isinstance(document, dict):
        start = len(text) - len(text.lstrip())
        kind = describe(document)
        raise refuse(text, start, f"holds {kind} where the engine wants one object. Put the settings in {{ }}")
    twice = duplicate_key(text)
    if twice:
        raise refuse(text, twice[1], f'the key "{twice[0]}" stands twice in one object. Leave the one that is meant')
    return document


def value_texts(text: str) -> dict[str, str]:
    """Return the text of each top-level value of a JSON object, as it stands in the file."""
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
    """Return the new text of daemon.json: as `text`, which says `before`, except for the top-level keys that differ.

    New parts are indented as `text` is, by four spaces where that shows nothing.
    """
    shown = re.search(r"^{[ \t]*\r?\n([ \t]+)\S", text, re.MULTILINE)
    width = shown.group(1) if shown else "    "
    kept = value_texts(text)
    members = []
    for key, value in document.items():
        if before and key in kept and same(value, before.get(key, ABSENT)):
            member = kept[key]
        else:
            member = json.dumps(value, indent=width, ensure_ascii=False).replace("\n", "\n" + width)
        members.append(f"{width}{json.dumps(key, ensure_ascii=False)}: {member}")
    return "{\n" + ",\n".join(members) + "\n}\n" if members else "{}\n"


# Who owns what ------------------------------------------------------------------------------------
#
# The ledger: {"version": 1, "claims": [{"path": [...], "item": any, "before": any, "owners": {NAME: [values]}}],
# "made": [path of an object or a list that is there only because of us; [] is the file], "pending": {...}}. "item" only
# in lists owned item by item, "before" only where something stood. An owner has two values while a write is under way.


@dataclass
class Claim:
    """One address of the ledger: what stood there before the first owner came, and what each owner wrote."""

    before: Any = ABSENT
    owners: dict[str, list] = field(default_factory=dict)

    def is_ours(self, current: Any) -> bool:
        """Return whether the value that stands there was written by one of the owners."""
        return any(among(current, values) for values in self.owners.values())

    def without(self, owner: str, current: Any) -> Any:
        """Return what would stand there if `owner` claimed nothing."""
        if not self.is_ours(current):
            return current
        others = [values for name, values in self.owners.items() if name != owner]
        if any(among(current, values) for values in others):
            return current
        return others[0][-1] if others else self.before

    def ground(self, current: Any) -> Any:
        """Return what would stand there if none of the owners claimed anything."""
        return self.before if self.is_ours(current) else current


@dataclass
class Ledger:
    """What is remembered between runs."""

    claims: dict[Address, Claim] = field(default_factory=dict)
    made: set[tuple[str, ...]] = field(default_factory=set)
    pending: dict = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: dict, path: str) -> Ledger:
        """Read a ledger. Raises WharfError when it is not one of ours."""
        try:
            if data.get("version", LEDGER_VERSION) != LEDGER_VERSION:
                raise WharfError(f"{path}: version {data['version']} is newer than this module. Use the newer Wharf.")
            claims = {}
            for entry in data.get("claims", []):
                item = json.dumps(entry["item"], sort_keys=True) if "item" in entry else None
                owners = {str(name): list(values) for name, values in entry["owners"].items()}
                claims[Address(tuple(entry["path"]), item)] = Claim(entry.get("before", ABSENT), owners)
            made = {tuple(path) for path in data.get("made", [])}
            return cls(claims, made, dict(data.get("pending", {})))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WharfError(
                f"{path}: not a ledger of Wharf's ({error!r}). Restore it from a backup; or remove it, and what "
                "stands in daemon.json counts as somebody else's from then on. Nothing was changed."
            ) from error

    def to_json(self) -> dict:
        """Return the ledger as JSON data, in an order that does not depend on the run."""
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
        data: dict[str, Any] = {"version": LEDGER_VERSION, "claims": claims, "made": sorted(map(list, self.made))}
        if self.pending:
            data["pending"] = self.pending
        return data

    def to_bytes(self) -> bytes | None:
        """Return the file's content; None where nothing is to be remembered."""
        if not (self.claims or self.made or self.pending):
            return None
        return (json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n").encode("utf-8")

    def owners(self, path: tuple[str, ...] = ()) -> list[str]:
        """Return everybody who owns something at or below a path, sorted."""
        claims = [claim for address, claim in self.claims.items() if address.path[: len(path)] == path]
        return sorted({owner for claim in claims for owner in claim.owners})


def union(old: Ledger, new: Ledger, pending: dict) -> Ledger:
    """Return the ledger that is true both before and after the file is replaced: a run may be killed in between."""
    both = copy.deepcopy(old)
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
    """The outcome of `merge`: the file's content (None: no file), the ledger, and the default keys that yielded."""

    document: dict | None
    ledger: Ledger
    yielded: list[str]


def merge(
    document: dict | None,
    ledger: Ledger,
    owner: str,
    options: dict,
    groups: list[dict],
    reserved: tuple[str, ...] = (),
) -> Merge:
    """Return what daemon.json and the ledger should be.

    Args:
        document: the file's content, None where there is no file.
        ledger: who owns what so far.
        owner: who asks.
        options: the keys that must stand in the file.
        groups: groups of keys that yield to others.
        reserved: top-level keys that groups must not touch (they are on the engine's command line).

    Raises:
        WharfError: an option cannot be set without breaking what stands there.
    """
    current = document if document is not None else {}
    claims, made = copy.deepcopy(ledger.claims), set(ledger.made)
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
            where = ".".join(address.parents)
            raise WharfError(
                f"{where} is not {'a list' if address.item is not None else 'an object'} in the file, but an option of "
                f"{owner} wants one there. Remove {where} from the file, or the option. Nothing was changed."
            )
        wanted[address] = value

    final = copy.deepcopy(bare)
    for address, value in wanted.items():
        for depth in range(1, len(address.parents) + 1):
            if look_up(final, Address(address.path[:depth])) in (ABSENT, None):
                made.add(address.path[:depth])
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
    file_is_ours = () in ledger.made or document is None
    if not final and file_is_ours:
        made.clear()
        return Merge(None, Ledger(claims, made), yielded)
    return Merge(in_order_of(current, final), Ledger(claims, made), yielded)


def _has_room(document: dict, address: Address) -> bool:
    """Return whether everything above an address is (or can become) an object, or the list that an item belongs in."""
    for depth in range(1, len(address.parents) + 1):
        value = look_up(document, Address(address.path[:depth]))
        kind = list if address.item is not None and depth == len(address.path) else dict
        if value is not ABSENT and value is not None and not isinstance(value, kind):
            return False
    return True


def check_wanted(wanted: dict, name: str) -> None:
    """Refuse what no engine takes. Raises WharfError."""
    for key in ITEM_LISTS:
        if key in wanted and not isinstance(wanted[key], list):
            raise WharfError(f"{name}: {key} is {describe(wanted[key])}; it must be a list. Nothing was changed.")

    def refuse_null(value: Any, where: str) -> None:
        if value is None:
            raise WharfError(f"{name}: {where} is null. Give it a value, or leave it out. Nothing was changed.")
        if isinstance(value, dict):
            for key, inner in value.items():
                refuse_null(inner, f"{where}.{key}")

    for key, value in wanted.items():
        refuse_null(value, key)


# What the engine makes of it ----------------------------------------------------------------------


def changed_keys(before: dict, after: dict) -> list[str]:
    """Return the top-level keys that differ, in the file's order."""
    keys = [*before, *(key for key in after if key not in before)]
    return [key for key in keys if not same(before.get(key, ABSENT), after.get(key, ABSENT))]


def can_reload(key: str, before: Any, after: Any) -> bool:
    """Return whether the engine takes this change of a top-level key over on SIGHUP."""
    if key == "features":
        old = before if isinstance(before, dict) else {}
        new = after if isinstance(after, dict) else {}
        return all(feature in RELOADABLE_FEATURES for feature in changed_keys(old, new))
    return key in RELOADABLE


def stand_ins(document: dict, keys: list[str]) -> dict:
    """Return values to show the engine for keys that leave the file: a reload looks only at what is in the file."""
    return {key: RELOADABLE[key] for key in keys if key not in document and RELOADABLE[key] is not None}


def out_of_sight(info: dict, after: dict, keys: list[str]) -> list[str]:
    """Return the changed settings under which the engine would see none of its containers and images.

    Args:
        info: the engine's answer to /info.
        after: the file's new content.
        keys: the top-level keys that change.
    """
    found = []
    root = after.get("data-root", after.get("graph"))
    if {"data-root", "graph"} & set(keys) and os.path.realpath(root or DATA_ROOT) != info["DockerRootDir"]:
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


def read_bytes(path: str) -> bytes | None:
    """Return a file's content; None where there is none.

    Raises:
        WharfError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WharfError(
            f"{path}: {error.strerror}. It must be a file that can be read. Nothing was changed."
        ) from error


def _write(path: str, content: bytes | None, mode: int) -> None:
    """Replace a file at once, or remove it. Its mode and owner are kept; `mode` is for a new one.

    Raises:
        WharfError: it cannot be written.
    """
    try:
        if content is None:
            if os.path.exists(path):
                os.unlink(path)
        elif os.path.exists(path):
            facts = os.stat(path)
            write_atomic(path, content, facts.st_mode & 0o7777, facts.st_uid, facts.st_gid)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomic(path, content, mode, os.geteuid(), os.getegid())
    except OSError as error:
        raise WharfError(f"{path} cannot be written: {error.strerror}.") from error


class Change:
    """What one owner wants of daemon.json: worked out and judged at once, carried out by `apply`."""

    def __init__(self, module: Any, owner: str, options: dict, groups: list[dict], is_judged: bool = True) -> None:
        """Work out what is to change. Changes nothing.

        Args:
            module: the AnsibleModule.
            owner: who asks.
            options: the keys that must stand in the file.
            groups: groups of keys that yield to others.
            is_judged: let the installed engine judge the new file; not where another one is about to replace it.

        Raises:
            WharfError: the file cannot be read, or an option would harm.
        """
        check_wanted(options, "options")
        for group in groups:
            check_wanted(group, "defaults")
        self.module, self.began = module, time.time()
        self.path = os.path.realpath(PATH)
        self.engine = Engine.find()
        raw = read_bytes(self.path)
        self.document = parse(raw, self.path) if raw is not None else None
        self.ledger_raw = read_bytes(LEDGER)
        self.ledger = read_ledger()

        self.engine_has, current = self._outstanding()
        outcome = self._merge(current, owner, options, groups)
        self.outcome = outcome
        self.before, self.after = self.document or {}, outcome.document or {}
        for key in changed_keys(self.before, self.after):
            self.engine_has.setdefault(key, self.before.get(key, ABSENT))
        self.late = [key for key, value in self.engine_has.items() if not same(value, self.after.get(key, ABSENT))]
        self.reload_keys = [
            key for key in self.late if can_reload(key, self.engine_has[key], self.after.get(key, ABSENT))
        ]
        self.restart_keys = [key for key in self.late if key not in self.reload_keys]

        # No text is no file.
        self.text = self.new_text = raw.decode("utf-8") if raw is not None else None
        if outcome.document is None:
            self.new_text = None
        elif self.document is None or not same(self.before, self.after):
            self.new_text = render(self.after, self.text or "", self.before)
        file_changes, knows_validate = self.new_text != self.text, True
        if file_changes:
            self._check_flags(options)
            if self.new_text is not None and is_judged:
                knows_validate = self._validate(options)
        if self.engine and self.restart_keys:
            self._check_containers()
        # An engine that cannot validate a file still judges it when it reloads.
        self.must_reload = self.engine is not None and bool(self.reload_keys or (file_changes and not knows_validate))
        self.changed = file_changes or self.must_reload
        self.final = outcome.ledger
        # What waits for a restart is remembered only where somebody still owns a key.
        is_forgotten = not self.final.claims and not options and not groups
        self.final.pending = {} if is_forgotten or not self.engine else self._pending(self.restart_keys)

    def result(self) -> dict:
        """Return what the module docker_daemon_config returns, see there."""
        action = "none"
        if self.engine and self.restart_keys:
            action = "restart"
        elif self.must_reload:
            action = "reload" if self.module.check_mode else "reloaded"
        plan = []
        if self.engine:
            plan += [f"reload for {', '.join(self.reload_keys)}"] if self.reload_keys else []
            plan += [f"restart for {', '.join(self.restart_keys)}"] if self.restart_keys else []
        header = f"{self.path} ({'; '.join(plan)})" if plan else self.path
        diff = {"before": self.text or "", "after": self.new_text or ""}
        diff.update(before_header=self.path, after_header=header)
        return {
            "changed": self.changed,
            "action": action,
            "reload_keys": self.reload_keys,
            "restart_keys": self.restart_keys,
            "yielded": self.outcome.yielded,
            "owners": self.final.owners(),
            "diff": diff,
        }

    def apply(self) -> None:
        """Write the file and let the engine reload it. A run that is killed on the way is made up for by the next.

        Raises:
            WharfError: the engine does not answer or refuses the file, which is then as it was before.
        """
        os.umask(0o022)
        watch = self._watch() if self.must_reload else None
        shown = stand_ins(self.after, self.reload_keys) if self.must_reload else {}
        if self.changed:
            pending = self._pending(self.late, shown) if self.engine else {}
            self._write_ledger(union(self.ledger, self.final, pending))
        if shown:
            self._write_file(render({**self.after, **shown}, self.text or "", self.before))
        elif self.new_text != self.text:
            self._write_file(self.new_text)
        if self.must_reload and not self._reload(watch):
            self._roll_back()
        if shown:
            self._write_file(self.new_text)
        self._write_ledger(self.final)

    def _outstanding(self) -> tuple[dict[str, Any], dict | None]:
        """Return what the engine still has for keys that it has not taken over, and the file without stand-ins."""
        pending, current = self.ledger.pending, copy.deepcopy(self.document)
        for key, value in pending.get("shown", {}).items():
            if current is not None and same(current.get(key, ABSENT), value):
                del current[key]
        if self.engine is None or pending.get("engine") != self.engine.identity:
            return {}, current
        return {key: entry.get("value", ABSENT) for key, entry in pending.get("has", {}).items()}, current

    def _pending(self, keys: list[str], shown: dict | None = None) -> dict:
        """Return what the ledger must hold about keys that the engine has not taken over yet."""
        if not keys and not shown:
            return {}
        has = {key: {} if self.engine_has[key] is ABSENT else {"value": self.engine_has[key]} for key in keys}
        pending: dict[str, Any] = {"engine": self.engine.identity, "has": has}
        return {**pending, "shown": shown} if shown else pending

    def _merge(self, document: dict | None, owner: str, options: dict, groups: list[dict]) -> Merge:
        """Call `merge` with what the engine's command line and a swarm forbid."""
        self.argv = self.engine.argv if self.engine else idle_argv(self.module) if options or groups else []
        config_file = flag_values(self.argv, "config-file")
        if config_file and os.path.realpath(config_file[-1]) != self.path:
            raise WharfError(
                f"the engine reads {config_file[-1]} (--config-file), not {self.path}. Take the flag off the engine's "
                "command line. Nothing was changed."
            )
        reserved = [*flags_of(self.argv)]
        roots = flag_values(self.argv, "data-root", "graph", "g") or [(document or {}).get("data-root") or DATA_ROOT]
        if os.path.exists(os.path.join(str(roots[-1]), "swarm", "docker-state.json")):
            if options.get("live-restore") is True:
                raise WharfError(
                    "live-restore is true, but this engine is in a swarm and would not start with it. "
                    "Set it to false. Nothing was changed."
                )
            reserved.append("live-restore")
        return merge(document, self.ledger, owner, options, groups, tuple(reserved))

    def _check_flags(self, options: dict) -> None:
        """Refuse options that are flags as well: the engine would not start."""
        flags = flags_of(self.argv)
        for key in engine_keys(options):
            if key in flags:
                raise WharfError(
                    f"{key} is set by {flags[key]} on the engine's command line, and the engine does not start when "
                    f"the file sets it, too. Take the flag off the command line, or {key} out of the options. "
                    "Nothing was changed."
                )

    def _validate(self, options: dict) -> bool:
        """Let the installed engine judge the new file. Returns whether it could."""
        dockerd = self.module.get_bin_path("dockerd")
        if dockerd is None:
            return True
        _rc, out, err = self.module.run_command([dockerd, "--help"])
        types = help_types(out + err)
        if not types:
            return True
        if not re.search(r"^\s+--validate\s", out + err, re.MULTILINE):
            check_against_help(options, types)
            return False
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(self.new_text)
            file.flush()
            rc, out, err = self.module.run_command([dockerd, "--validate", "--config-file", file.name])
            if rc != 0:
                message = (err.strip() or out.strip()).replace(file.name, self.path)
                raise WharfError(f"the engine refuses the new {self.path}: {message}. Nothing was changed.")
        return True

    def _check_containers(self) -> None:
        """Refuse to put running containers out of the engine's sight."""
        path = self.engine.socket_path(self.before)
        if path is None or not set(self.restart_keys) & set(HIDING_KEYS):
            return
        try:
            settings = out_of_sight(api_get(path, "/info"), self.after, self.restart_keys)
            names = [container["Names"][0].lstrip("/") for container in api_get(path, "/containers/json")]
        except (OSError, ValueError, HTTPException) as error:
            raise WharfError(f"the engine does not answer on {path}: {error}. Nothing was changed.") from error
        if settings and names:
            raise WharfError(
                f"{' and '.join(settings)}: the restarted engine would no longer see the containers that run now "
                f"({', '.join(sorted(names))}), and nobody could stop them. Stop them first (docker stop), or leave "
                "the setting as it is. Nothing was changed."
            )

    def _watch(self) -> ReloadWatch | None:
        """Listen to the engine before anything is changed. None when its API has no Unix socket."""
        path = self.engine.socket_path(self.before)
        if path is None:
            return None
        try:
            # An engine that is still starting dies of SIGHUP. Its answer says that it has started.
            return ReloadWatch(path, 30)
        except OSError as error:
            raise WharfError(
                f"the engine (process {self.engine.pid}) does not answer on {path}: {error}. A change that it must "
                "reload waits until it does. Look at its log, then run this again. Nothing was changed."
            ) from error

    def _reload(self, watch: ReloadWatch | None) -> bool:
        """Send SIGHUP. Returns whether the engine took the file over."""
        try:
            os.kill(self.engine.pid, signal.SIGHUP)
        except ProcessLookupError:
            return True
        if watch is None:
            time.sleep(1)
            return True
        return watch.wait(engines.RELOAD_TIMEOUT)

    def _roll_back(self) -> None:
        """Put file and ledger back as they were. Raises WharfError, always."""
        self._write_file(self.text)
        _write(LEDGER, self.ledger_raw, 0o600)
        message = last_error(self.module, self.began)
        raise WharfError(
            f"the engine did not take over the new {self.path} within {engines.RELOAD_TIMEOUT} seconds"
            f"{': ' + message if message else '; its log should say why'}. The file is as it was before."
        )

    def _write_file(self, text: str | None) -> None:
        _write(self.path, None if text is None else text.encode("utf-8"), 0o644)

    def _write_ledger(self, ledger: Ledger) -> None:
        if ledger.to_bytes() != read_bytes(LEDGER):
            _write(LEDGER, ledger.to_bytes(), 0o600)


def read_ledger() -> Ledger:
    """Return the ledger; an empty one where there is none. Raises WharfError when it cannot be read."""
    return Ledger.from_json(parse(read_bytes(LEDGER) or b"", LEDGER), LEDGER)


def owners(path: tuple[str, ...] = ()) -> list[str]:
    """Return everybody who owns a key of daemon.json at or below a path, sorted. Raises WharfError as read_ledger."""
    return read_ledger().owners(path)


def end_restart() -> None:
    """Forget which keys waited for a restart of the engine: it has been restarted."""
    ledger = read_ledger()
    if ledger.pending and not ledger.pending.get("shown"):
        ledger.pending = {}
        _write(LEDGER, ledger.to_bytes(), 0o600)
