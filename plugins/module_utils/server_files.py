"""The files and directories of the registry on its server: what is pending, and writing it."""

from __future__ import annotations

import difflib
import os
import re
import secrets
from typing import Any

from .files import Changes, Entry, give_away, read_entry, read_text
from .gateway import listen, peers, peers_listen
from .htpasswd import htpasswd, users_of
from .parts import INDEX, METRICS, MIRROR_PORT, PEERS_FILES, SOCKETS, STORE_FILES
from .server_container import secret_file
from .server_data import DATA_ID, STATE_FILE, Data
from .server_rollback import SETTINGS

GATEWAY_FILES = ("network.conf", "listen.conf", "mirror.conf", "users", "nginx.conf", "upstreams.conf", *PEERS_FILES)
# Of the container that only holds the port: nginx itself, which listens nowhere.
NETWORK_CONFIG = "daemon off;\nmaster_process off;\nerror_log stderr crit;\npid /tmp/nginx.pid;\nevents { }\n"

# By what each is called in `pending`: its path, and how it should be; None for one that is to go.
Files = dict[str, tuple[str, "Entry | None"]]


def pending_files(registry: dict[str, Any], path: str, data: Data) -> Files:
    """Return the registry's files and directories that are not as they should be, in the order of their writing.

    Args:
        registry: values for REGISTRY_SPEC.
        path: where the data lies; empty for a volume that is not there.
        data: what was found of it.
    """
    uid, directory = registry["uid"], os.path.realpath(registry["directory"])
    gateway, secret = os.path.realpath(registry["gateway_directory"]), secret_file(registry)
    users = users_of(registry["users"])
    passwords = htpasswd(read_text(f"{gateway}/users"), users, registry["bcrypt_cost"])
    mirror = Entry(0, uid, 0o640, listen(registry["tls"], MIRROR_PORT).encode()) if registry["mirror_port"] else None
    data_id = f"{data.id or secrets.token_hex(10)} {registry['name']}\n"
    http_secret = registry["http_secret"] or read_text(secret) or secrets.token_hex(32)
    of_peers = _texts_of_peers(registry) if registry["peers"] else dict.fromkeys(PEERS_FILES, "")
    of_store = dict(zip(STORE_FILES, (registry["credentials"], registry["store_ca"])))
    wanted: Files = {
        "data": (path, Entry(uid, uid, 0o750, None)),
        # Before the container, which does not start without the ID: where it is missing, the data's disk is not there.
        "data_id": (f"{path}/{DATA_ID}", Entry(0, 0, 0o644, data_id.encode())),
        "sockets": (SOCKETS, Entry(uid, uid, 0o700, None)),
        "metrics": (METRICS, Entry(0, uid, 0o750, None)),
        **({"index": (INDEX, Entry(0, uid, 0o750, None))} if registry["page"] else {}),
        "directory": (directory, Entry(0, uid, 0o750, None)),
        "secret": (secret, Entry(0, 0, 0o600, http_secret.encode())),
        **{name: (f"{directory}/{name}", _secret(text, uid)) for name, text in of_store.items()},
        "config": (f"{directory}/config.yml", Entry(0, uid, 0o640, registry["config"].encode())),
        "gateway_directory": (gateway, Entry(0, uid, 0o750, None)),
        "network": (f"{gateway}/network.conf", Entry(0, uid, 0o640, NETWORK_CONFIG.encode())),
        "listen": (f"{gateway}/listen.conf", Entry(0, uid, 0o640, listen(registry["tls"]).encode())),
        "mirror": (f"{gateway}/mirror.conf", mirror),
        **{name: (f"{gateway}/{name}", _secret(text, uid)) for name, text in of_peers.items()},
        "users": (f"{gateway}/users", Entry(0, uid, 0o640, passwords.encode())),
        "gateway_config": (f"{gateway}/nginx.conf", Entry(0, uid, 0o640, registry["gateway_config"].encode())),
        "settings": (SETTINGS, Entry(0, 0, 0o600, registry["settings"].encode())),
    }
    return {name: (place, entry) for name, (place, entry) in wanted.items() if read_entry(place) != entry}


def _texts_of_peers(registry: dict[str, Any]) -> dict[str, str]:
    """Return the texts of PEERS_FILES. Raises WharfError where one of the other servers has no address here."""
    pair = (registry["peers_certificate"], registry["peers_key"])
    return dict(zip(PEERS_FILES, (*pair, peers(registry["peers"], registry["port"]), peers_listen())))


def _secret(text: str, uid: int) -> Entry | None:
    """Return a file that only root and the registry's user read; without a text there is none."""
    return Entry(uid, uid, 0o400, text.encode()) if text else None


def write_files(files: Files) -> None:
    """Write what pending_files() returns.

    Raises:
        OSError: a file cannot be written.
    """
    changes = Changes(check_mode=False)
    for name, (path, entry) in files.items():
        if name == "data" and (before := read_entry(path)) and (before.uid, before.gid) != (entry.uid, entry.gid):
            give_away(path, entry.uid, entry.gid, DATA_ID)
        changes.put(path, entry)


def paths_of(registry: dict[str, Any], path: str) -> list[str]:
    """Return all that a run may write, as pending_files() does; `path` is where the data lies."""
    directory, gateway = (os.path.realpath(registry[name]) for name in ("directory", "gateway_directory"))
    own = ("http-secret", "config.yml", STATE_FILE, *STORE_FILES)
    files = [directory, *(f"{directory}/{name}" for name in own)]
    files += [gateway + name for name in ("", *(f"/{name}" for name in GATEWAY_FILES))]
    served = [METRICS, *([INDEX] if registry["page"] else [])]
    return [path, f"{path}/{DATA_ID}", SOCKETS, *served, *files, SETTINGS]


def diff_of(files: Files) -> list[dict[str, str]]:
    """Return what --diff shows: names, and of the configuration the changed lines, without what may be secret."""
    configs = [name for name in ("config", "gateway_config") if name in files]
    if "gateway_config" in configs and not os.path.exists(files["gateway_config"][0]):
        configs.remove("gateway_config")  # before its first change, it is as much as a program of ours
    places = [f"{path}\n" for name, (path, _) in files.items() if name not in configs]
    shown = [{"prepared": "".join(places)}] if places else []
    for name in configs:
        path, entry = files[name]
        texts = (read_text(path), (entry.content or b"").decode())
        lines = [re.sub(r"(?im)^(\s*\S*(?:key|secret|password|token)\S*:[ ]).+$", r"\1(not shown)", t) for t in texts]
        shown.append({"prepared": "".join(difflib.unified_diff(*(t.splitlines(True) for t in lines), path, path))})
    return shown
