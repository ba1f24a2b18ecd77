"""Docker's daemon.json, owned key by key: who wrote what, what the engine reloads, and what waits for a restart.

A document is handled as its nodes: the JSON text of what stands at each path, so that true is not 1, and None is
nothing. Objects are nodes as well, "{}", and so is the document itself, at the path (). Whoever wants a value wants all
objects above it, too. So one rule serves values, objects and the file: a node that its owners no longer want becomes
again what it was before the first of them came.
"""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import engine as engines
from .engine import Engine, ReloadWatch, describe
from .errors import WharfError
from .files import write_atomic
from .processes import search_path

PATH = "/etc/docker/daemon.json"
DATA_ROOT = "/var/lib/docker"
LEDGER = "/var/lib/wharf/daemon.json.record"
LEDGER_VERSION = 1
# Owned item by item: each item is a node, whose last key is the item.
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
RELOADABLE_FEATURES = {"buildkit"}
# Keys by which the engine looks for its containers and images elsewhere.
HIDING_KEYS = {"data-root", "features", "graph", "storage-driver", "userns-remap"}

OBJECT, LIST, NULL = "{}", "[]", "null"
Path = tuple[str, ...]
Nodes = dict[Path, str]


# The file's text ----------------------------------------------------------------------------------


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


def _keys(text: str) -> Iterator[tuple[tuple[int, ...], str, int, int]]:
    """Yield the keys of valid JSON: where the brackets around it open, the key, and where it begins and its value."""
    open_at: list[int] = []
    tokens = list(re.finditer(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', text))
    for token, following in zip(tokens, tokens[1:]):
        if token.group() in "{[":
            open_at.append(token.start())
        elif token.group() in "}]":
            open_at.pop()
        elif following.group() == ":":
            yield tuple(open_at), json.loads(token.group(), strict=False), token.start(), following.end()


def parse(raw: bytes, path: str) -> dict:
    """Return the object in a JSON file; an empty file is an empty object.

    Raises WharfError with the file, line and column of what is wrong, and what would be right.
    """

    def refuse(text: str, offset: int, message: str) -> WharfError:
        line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
        return WharfError(f"{path}, line {line}, column {column}: {message}. Nothing was changed.")

    def refuse_constant(name: str) -> None:
        raise refuse(text, text.find(name), f"{name} is no number in JSON. Write one")

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
    seen = set()
    for around, key, start, _end in _keys(text):
        if (around, key) in seen:
            raise refuse(text, start, f'the key "{key}" stands twice in one object. Leave the one that is meant')
        seen.add((around, key))
    return document


def render(document: dict, text: str = "", before: dict | None = None) -> str:
    """Return the new text of daemon.json: as `text`, which says `before`, except for the top-level keys that differ.

    New parts are indented as `text` is, by four spaces where that shows nothing.
    """
    shown = re.search(r"^{[ \t]*\r?\n([ \t]+)\S", text, re.MULTILINE)
    width = shown.group(1) if shown else "    "
    top = [(key, start, end) for around, key, start, end in _keys(text) if len(around) == 1]
    ends = [start for _key, start, _end in top[1:]] + [text.rfind("}")]
    kept = {key: text[start:end].strip().rstrip(",").rstrip() for (key, _start, start), end in zip(top, ends)}
    changed = changed_keys(before or {}, document)
    members = []
    for key, value in document.items():
        if key in kept and key not in changed:
            member = kept[key]
        else:
            member = json.dumps(value, indent=width, ensure_ascii=False).replace("\n", "\n" + width)
        members.append(f"{width}{json.dumps(key, ensure_ascii=False)}: {member}")
    return "{\n" + ",\n".join(members) + "\n}\n" if members else "{}\n"


# Nodes --------------------------------------------------------------------------------------------


def _container(path: Path) -> str:
    """Return what a node must be so that others can lie below it."""
    return LIST if len(path) == 1 and path[0] in ITEM_LISTS else OBJECT


def nodes(value: Any, path: Path = ()) -> Nodes:
    """Take a document apart, or the part of it at a path."""
    if isinstance(value, dict) and _container(path) == OBJECT:
        found = {path: OBJECT}
        for key, inner in value.items():
            found.update(nodes(inner, (*path, key)))
        return found
    if isinstance(value, list) and _container(path) == LIST and all(isinstance(item, str) for item in value):
        return {path: LIST, **{(*path, item): "true" for item in value}}
    return {path: json.dumps(value)}


def put_together(found: Nodes) -> dict | None:
    """Return the document of these nodes; None where there are none."""
    built: dict[Path, Any] = {}
    for path in sorted(found, key=len):
        above = built.get(path[:-1])
        built[path] = json.loads(found[path])
        if isinstance(above, list):
            above.append(path[-1])
        elif path:
            above[path[-1]] = built[path]
    return built.get(())


def changed_keys(before: dict, after: dict) -> list[str]:
    """Return the top-level keys that differ, in the file's order. To the engine, null is as good as nothing."""
    keys = {**before, **after}
    return [key for key in keys if nodes(before.get(key), (key,)) != nodes(after.get(key), (key,))]


def check_wanted(wanted: dict, name: str) -> None:
    """Refuse what no engine takes. Raises WharfError."""
    for path, text in nodes(wanted).items():
        if text == NULL:
            where = ".".join(path)
            raise WharfError(f"{name}: {where} is null. Give it a value, or leave it out. Nothing was changed.")
        if _container(path) == LIST and text != LIST:
            kind = describe(wanted[path[0]])
            raise WharfError(f"{name}: {path[0]} is {kind}; it must be a list of strings. Nothing was changed.")


# Who owns what ------------------------------------------------------------------------------------


@dataclass
class Claim:
    """What stood at a path before its first owner came, and what each owner wrote: two values while it is changed."""

    before: str | None = None
    owners: dict[str, list[str]] = field(default_factory=dict)

    def written(self) -> list[str]:
        """Return all that its owners wrote."""
        return [text for texts in self.owners.values() for text in texts]


@dataclass
class Ledger:
    """What is remembered between runs: claims, and what the engine still has of keys that it has not taken over."""

    claims: dict[Path, Claim] = field(default_factory=dict)
    pending: dict = field(default_factory=dict)

    @classmethod
    def read(cls) -> Ledger:
        """Return the host's ledger; an empty one where there is none. Raises WharfError when it cannot be read."""
        data = read(LEDGER)
        try:
            if data.get("version", LEDGER_VERSION) != LEDGER_VERSION:
                raise WharfError(f"{LEDGER}: version {data['version']} is newer than this module. Use the newer Wharf.")
            claims = {}
            for entry in data.get("claims", []):
                owners = {name: [*texts] for name, texts in entry["owners"].items()}
                claims[tuple(entry["path"])] = Claim(entry["before"], owners)
            return cls(claims, dict(data.get("pending", {})))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WharfError(
                f"{LEDGER}: not a ledger of Wharf's ({error!r}). Restore it from a backup; or remove it, and what "
                "stands in daemon.json counts as somebody else's from then on. Nothing was changed."
            ) from error

    def to_text(self) -> str | None:
        """Return the file's content, in an order that does not depend on the run; None without anything to remember."""
        claims = [
            {"path": path, "before": claim.before, "owners": dict(sorted(claim.owners.items()))}
            for path, claim in sorted(self.claims.items())
        ]
        if not claims and not self.pending:
            return None
        data = {"version": LEDGER_VERSION, "claims": claims, **({"pending": self.pending} if self.pending else {})}
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def union(old: Ledger, new: Ledger, pending: dict) -> Ledger:
    """Return the ledger that is true both before and after the file is replaced: a run may be killed in between."""
    both = Ledger(copy.deepcopy(old.claims), pending)
    for path, claim in new.claims.items():
        known = both.claims.setdefault(path, Claim())
        known.before = claim.before
        for owner, texts in claim.owners.items():
            known.owners[owner] = list(dict.fromkeys([*known.owners.get(owner, []), *texts]))
    return both


def merge(
    document: dict | None, ledger: Ledger, owner: str, options: dict, groups: list[dict], reserved: tuple[str, ...] = ()
) -> tuple[dict | None, Ledger, list[str]]:
    """Work out what one owner wants.

    Args:
        document: the file's content, None where there is no file.
        ledger: who owns what so far.
        owner: who asks.
        options: the keys that must stand in the file.
        groups: groups of keys that yield to others.
        reserved: top-level keys that groups must not touch (they are on the engine's command line).

    Returns:
        what the file's content (None: no file) and the ledger should be, and the keys of groups that yielded.

    Raises:
        WharfError: an option cannot be set without breaking what stands there.
    """
    standing = {} if document is None else nodes(document)
    free: dict[Path, str | None] = dict(standing)  # what would stand there if the owner wanted nothing
    claims = copy.deepcopy(ledger.claims)
    for path, claim in claims.items():
        text = standing.get(path)
        if text not in claim.written():
            claim.before = text  # somebody else has changed it: it is theirs
            claim.owners.pop(owner, None)
        elif claim.owners.pop(owner, None) and text not in claim.written():
            free[path] = (claim.written() or [claim.before])[-1]

    wanted: Nodes = {}
    yielded: list[str] = []
    for group in groups:
        if any(key in options or key in reserved or free.get((key,), NULL) not in (None, NULL) for key in group):
            yielded += group
            continue
        for path, text in nodes(group).items():
            room = (None, NULL, text) if text == _container(path) else (None,)
            if free.get(path) in room and (not path or path[:-1] in wanted):
                wanted[path] = text
    asked = nodes(options) if options else {}
    for path, text in asked.items():
        there = free.get(path)
        if there not in (None, NULL, text) and (_is_parent(asked, path) or _is_parent(free, path)):
            where, want = ".".join(path), json.loads(text)
            raise WharfError(
                f"{where} is {describe(json.loads(there))} in the file, but an option of {owner} wants "
                f"{'a list of strings' if _container(path) == LIST else describe(want)} there. Remove {where} from the "
                "file, or the option. Nothing was changed."
            )
    wanted.update(asked)

    for path, text in wanted.items():
        claims.setdefault(path, Claim(standing.get(path))).owners[owner] = [text]
    final = {path: text for path, text in {**free, **wanted}.items() if text is not None}
    for path in list(final):
        for depth in range(len(path)):
            final[path[:depth]] = _container(path[:depth])
    in_order = {path: final[path] for path in [*standing, *final] if path in final}
    owned = {path: claim for path, claim in claims.items() if claim.owners}
    return put_together(in_order), Ledger(owned, ledger.pending), yielded


def _is_parent(found: dict[Path, str | None], path: Path) -> bool:
    """Return whether there are nodes below a path."""
    return any(other[: len(path)] == path and len(other) > len(path) and found[other] is not None for other in found)


# What the engine makes of it ----------------------------------------------------------------------


def can_reload(key: str, before: Any, after: Any) -> bool:
    """Return whether the engine takes this change of a top-level key over on SIGHUP."""
    if key != "features":
        return key in RELOADABLE
    old, new = (value if isinstance(value, dict) else {} for value in (before, after))
    return RELOADABLE_FEATURES.issuperset(changed_keys(old, new))


def stand_ins(document: dict, keys: list[str]) -> dict:
    """Return values to show the engine for keys that leave the file: a reload looks only at what is in the file."""
    return {key: RELOADABLE[key] for key in keys if key not in document and RELOADABLE[key] is not None}


def out_of_sight(info: dict, after: dict, keys: list[str]) -> list[str]:
    """Return the settings, of the changed top-level keys, under which an engine would see none of its containers.

    `info` is its answer to /info, and `after` the file's new content.
    """
    root = os.path.realpath(after.get("data-root", after.get("graph")) or DATA_ROOT)
    uses_containerd = ["driver-type", "io.containerd.snapshotter.v1"] in (info.get("DriverStatus") or [])
    # Left out, it means what the engine has been using: since version 29 a fresh one uses containerd's.
    default = uses_containerd and int(info["ServerVersion"].split(".")[0]) >= 29
    wants_containerd = (after.get("features") or {}).get("containerd-snapshotter", default)
    remaps = "name=userns" in (info.get("SecurityOptions") or []) or bool(after.get("userns-remap"))
    moves = (
        ("data-root", {"data-root", "graph"}, root != info["DockerRootDir"]),
        ("storage-driver", {"storage-driver"}, after.get("storage-driver", info["Driver"]) != info["Driver"]),
        ("features.containerd-snapshotter", {"features"}, wants_containerd is not uses_containerd),
        ("userns-remap", {"userns-remap"}, remaps),
    )
    return [name for name, by, is_moved in moves if is_moved and by & set(keys)]


def read_bytes(path: str) -> bytes | None:
    """Return a file's content; None where there is none. Raises WharfError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WharfError(
            f"{path}: {error.strerror}. It must be a file that can be read. Nothing was changed."
        ) from error


def read(path: str) -> dict:
    """Return the object in a JSON file; an empty one where there is no file. Raises WharfError as `parse`."""
    return parse(read_bytes(path) or b"", path)


def _write(path: str, text: str | None, mode: int) -> None:
    """Replace a file at once, or remove it. Its mode and owner are kept; `mode` is for a new one. Raises WharfError."""
    content = None if text is None else text.encode("utf-8")
    if content == read_bytes(path):
        return
    try:
        if content is None:
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
        """Work out what is to change: see the module docker_daemon_config. Changes nothing.

        With `is_judged`, the installed engine judges the new file; not where another one is about to replace it. Raises
        WharfError when the file cannot be read, or an option would harm.
        """
        for name, wanted in (("options", options), *(("defaults", group) for group in groups)):
            check_wanted(wanted, name)
        self.module, self.owner, self.options, self.began = module, owner, options, time.time()
        self.path = os.path.realpath(PATH)
        self.engine = Engine.find()
        raw = read_bytes(self.path)
        document = None if raw is None else parse(raw, self.path)
        self.text = None if raw is None else raw.decode("utf-8")
        self.ledger = Ledger.read()

        argv = self.engine.argv if self.engine else engines.idle_argv(module) if options or groups else []
        flags = engines.flags_of(argv)
        reserved = (*flags, *self._refused_by(argv, document or {}))
        after, self.final, self.yielded = merge(document, self.ledger, owner, options, groups, reserved)
        self.before, self.after = document or {}, after or {}

        # No text is no file.
        self.new_text = self.text
        if after is None:
            self.new_text = None
        elif document is None or nodes(document) != nodes(after):
            self.new_text = render(after, self.text or "", self.before)
        is_written, knows_validate = self.new_text != self.text, True
        if is_written:
            self._check_flags(flags)
            if self.new_text is not None and is_judged:
                knows_validate = self._validate()

        # What the engine has of keys that are to change, or that it could not take over yet.
        self.engine_has = {}
        if self.engine:
            self.engine_has = {key: self.before.get(key) for key in changed_keys(self.before, self.after)}
            if self.ledger.pending.get("engine") == self.engine.identity:
                self.engine_has.update(self.ledger.pending.get("has", {}))
        self.late = changed_keys(self.engine_has, {key: self.after.get(key) for key in self.engine_has})
        self.reload_keys = [key for key in self.late if can_reload(key, self.engine_has[key], self.after.get(key))]
        self.restart_keys = [key for key in self.late if key not in self.reload_keys]
        self._check_containers()
        # An engine that cannot validate a file still judges it when it reloads.
        self.must_reload = bool(self.engine and (self.reload_keys or (is_written and not knows_validate)))
        self.changed = is_written or self.must_reload
        # What waits for a restart is remembered only where somebody still owns a key.
        self.final.pending = self._pending(self.restart_keys) if self.final.claims or options or groups else {}

    def result(self) -> dict:
        """Return what the module docker_daemon_config returns, see there."""
        action = "none"
        if self.must_reload:
            action = "reload" if self.module.check_mode else "reloaded"
        if self.restart_keys:
            action = "restart"
        plan = [
            f"{verb} for {', '.join(keys)}"
            for verb, keys in (("reload", self.reload_keys), ("restart", self.restart_keys))
            if keys
        ]
        return {
            "changed": self.changed,
            "action": action,
            "reload_keys": self.reload_keys,
            "restart_keys": self.restart_keys,
            "yielded": self.yielded,
            "diff": {
                "before_header": self.path,
                "before": self.text or "",
                "after_header": f"{self.path} ({'; '.join(plan)})" if plan else self.path,
                "after": self.new_text or "",
            },
        }

    def apply(self) -> None:
        """Write the file and let the engine reload it. A run that is killed on the way is made up for by the next.

        Raises WharfError when the engine does not answer or refuses the file, which is then as it was before.
        """
        os.umask(0o022)
        watch = self._watch() if self.must_reload else None
        shown = stand_ins(self.after, self.reload_keys) if self.must_reload else {}
        if self.changed:
            both = union(self.ledger, self.final, self._pending(self.late))
            for path, text in nodes(shown).items() if shown else ():
                both.claims.setdefault(path, Claim()).owners.setdefault(self.owner, []).append(text)
            _write(LEDGER, both.to_text(), 0o600)
        new = render({**self.after, **shown}, self.text or "", self.before) if shown else self.new_text
        _write(self.path, new, 0o644)
        if self.must_reload and not self._reload(watch):
            _write(self.path, self.text, 0o644)
            _write(LEDGER, self.ledger.to_text(), 0o600)
            message = engines.last_error(self.module, self.began)
            raise WharfError(
                f"the engine did not take over the new {self.path} within {engines.RELOAD_TIMEOUT} seconds"
                f"{': ' + message if message else '; its log should say why'}. The file is as it was before."
            )
        _write(self.path, self.new_text, 0o644)
        _write(LEDGER, self.final.to_text(), 0o600)

    def _pending(self, keys: list[str]) -> dict:
        """Return what the ledger must hold about keys that the engine has not taken over yet."""
        has = {key: self.engine_has[key] for key in keys}
        return {"engine": self.engine.identity, "has": has} if has else {}

    def _refused_by(self, argv: list[str], document: dict) -> list[str]:
        """Return the keys with which the engine would not start where it is. Raises WharfError where one is wanted."""
        config_file = engines.flag_values(argv, "config-file")
        if config_file and os.path.realpath(config_file[-1]) != self.path:
            raise WharfError(
                f"the engine reads {config_file[-1]} (--config-file), not {self.path}. Take the flag off the engine's "
                "command line. Nothing was changed."
            )
        root = (engines.flag_values(argv, "data-root", "graph", "g") or [document.get("data-root") or DATA_ROOT])[-1]
        if not os.path.exists(os.path.join(str(root), "swarm", "docker-state.json")):
            return []
        if self.options.get("live-restore") is True:
            raise WharfError(
                "live-restore is true, but this engine is in a swarm and would not start with it. "
                "Set it to false. Nothing was changed."
            )
        return ["live-restore"]

    def _check_flags(self, flags: dict[str, str]) -> None:
        """Refuse options that are flags as well: the engine would not start."""
        for key in engines.engine_keys(self.options):
            if key in flags:
                raise WharfError(
                    f"{key} is set by {flags[key]} on the engine's command line, and the engine does not start when "
                    f"the file sets it, too. Take the flag off the command line, or {key} out of the options. "
                    "Nothing was changed."
                )

    def _validate(self) -> bool:
        """Let the installed engine judge the new file. Returns whether it could."""
        dockerd = self.module.get_bin_path("dockerd")
        if dockerd is None:
            return True
        found = {"PATH": search_path()}  # it looks for docker-proxy
        _rc, out, err = self.module.run_command([dockerd, "--help"], environ_update=found)
        types = engines.help_types(out + err)
        if not types:
            return True
        if not re.search(r"^\s+--validate\s", out + err, re.MULTILINE):
            engines.check_against_help(self.options, types)
            return False
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(self.new_text)
            file.flush()
            command = [dockerd, "--validate", "--config-file", file.name]
            rc, out, err = self.module.run_command(command, environ_update=found)
            if rc != 0:
                message = (err.strip() or out.strip()).replace(file.name, self.path)
                raise WharfError(f"the engine refuses the new {self.path}: {message}. Nothing was changed.")
        return True

    def _check_containers(self) -> None:
        """Refuse to put running containers out of the engine's sight."""
        path = self.engine.socket_path(self.before) if HIDING_KEYS & set(self.restart_keys) else None
        if path is None:
            return
        try:
            settings = out_of_sight(engines.api_get(path, "/info"), self.after, self.restart_keys)
            names = [container["Names"][0].lstrip("/") for container in engines.api_get(path, "/containers/json")]
        except (OSError, ValueError) as error:
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
        try:
            # An engine that is still starting dies of SIGHUP. Its answer says that it has started.
            return ReloadWatch(path, 30) if path else None
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


def owners(path: Path = ()) -> list[str]:
    """Return everybody who owns a key of daemon.json at or below a path, sorted. Raises WharfError as Ledger.read."""
    claims = [claim for place, claim in Ledger.read().claims.items() if place[: len(path)] == path]
    return sorted({owner for claim in claims for owner in claim.owners})


def end_restart() -> None:
    """Forget which keys waited for a restart of the engine: it has been restarted."""
    ledger = Ledger.read()
    ledger.pending = {}
    _write(LEDGER, ledger.to_text(), 0o600)
