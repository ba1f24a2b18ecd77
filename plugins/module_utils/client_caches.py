"""What leads a host's container tools to a registry's caches when they pull from other registries.

What is somebody else's stays, and is told of: there the tools go on without the cache.
"""

from __future__ import annotations

import base64
import glob
import json
import os
import re
from typing import Any

from .caches import HUB
from .client_trust import CACHES, CACHES_CONF, CERTIFICATES, LEDGER, REGISTRIES, Trust
from .errors import WharfError
from .files import Changes, Entry, read_entry, read_json, read_text

OWNER = "registry_client {}, caches"  # of a mirror in daemon.json
# Since then the engine reads hosts.toml: to build, and with the containerd image store to pull. moby, daemon/hosts.go
READS_HOSTS = 28
# Instead of 30 seconds, for each request while the server is away. Before 2.1 containerd takes no notice of it.
DIAL_TIMEOUT = "5s"
TIMEOUT = 10  # seconds
_PORT = re.compile(r":([0-9]+)$")
_LOGIN = re.compile(r'(= "Basic )[^"]*')


class Caches:
    """The caches that this host's tools pull through: judged at once, written by write().

    Without caches, what earlier ones have left goes: remove().
    """

    def __init__(self, trust: Trust, params: dict[str, Any], check_mode: bool) -> None:
        """Work out what is to be written, for the parameters of the module registry_client. Changes nothing."""
        self.trust, self.params, self.check_mode = trust, params, check_mode
        self.changes = Changes(check_mode)
        self.caches: list[dict[str, str]] = params["caches"] if trust.present else []
        login = params["caches_login"] or {}
        self.login: dict[str, str] = login if login.get("name") else {}
        self.is_tls = params["trust"] == "ca"
        self.warnings: list[str] = []
        self.files: dict[str, Entry] = {}
        self.mirror = ""  # what the engine is to ask for images of Docker Hub
        self.is_sure = True  # whether the engine has told how it pulls
        self.known = trust.known(CACHES)
        if self.caches:
            self._plan()

    def _plan(self) -> None:
        if "containers" in self.trust.families:
            self._plan_containers()
        if "containerd" in self.trust.families:
            self._plan_hosts("containerd")
        if "docker" in self.trust.families:
            self._plan_docker()

    def _plan_containers(self) -> None:
        """Plan the file of podman, buildah and skopeo, of which the last with a prefix is the only one that counts."""
        # Not at the top: most clients have no caches.
        from .container_policy import registries, registries_files

        path = f"{REGISTRIES}/wharf-{self.trust.registry.replace(':', '_')}{CACHES_CONF}"
        theirs: dict[str, str] = {}
        for file in registries_files(""):
            if file not in (path, *self.known):
                theirs.update(dict.fromkeys(registries(file), file))
        tables = []
        for cache in self.caches:
            upstream = cache["upstream"]
            if upstream in theirs:
                self._leave_out("podman", upstream, theirs[upstream])
                continue
            table = f'[[registry]]\nprefix = "{upstream}"\nlocation = "{upstream}"\n\n'
            table += f'[[registry.mirror]]\nlocation = "{self.trust.registry}/{cache["path"]}"\n'
            tables.append(table if self.is_tls else f"{table}insecure = true\n")
        if tables:
            self.files[path] = self._entry("\n".join(tables))

    def _plan_hosts(self, family: str) -> None:
        """Plan the files hosts.toml, one for each upstream."""
        root = self.trust.roots[family]
        told = self._told_to_engine() if family == "docker" else {}
        for cache in self.caches:
            upstream = cache["upstream"]
            directory = f"{root}/{upstream}"
            path = f"{directory}/hosts.toml"
            spelt = _PORT.sub(r"_\1_", directory)  # where there is such a directory, no other is read
            theirs = told.get(upstream, "")
            if spelt != directory and os.path.isdir(spelt):
                theirs = spelt
            elif os.path.lexists(path) and path not in self.known:
                theirs = path
            if theirs:
                self._leave_out(family, upstream, theirs)
            else:
                self.files[path] = self._entry(self._hosts(cache, root, directory), secret=bool(self.login))

    def _hosts(self, cache: dict[str, str], root: str, directory: str) -> str:
        """Return the text of a hosts.toml. Source: containerd, docs/hosts.md."""
        lines = [f'server = "{cache["server"]}"']
        # With a hosts.toml nothing else in the directory is read by itself.
        if certificates := sorted(glob.glob(f"{glob.escape(directory)}/*.crt")):
            lines.append(f"ca = {json.dumps(certificates)}")
        if clients := sorted(glob.glob(f"{glob.escape(directory)}/*.cert")):
            pairs = [[path, f"{path[: -len('.cert')]}.key"] for path in clients]
            lines.append(f"client = {json.dumps(pairs)}")
        host = f'host."{self._url(self.params["port"])}/v2/{cache["path"]}"'
        lines += ["", f"[{host}]", '  capabilities = ["pull", "resolve"]']
        if self.is_tls:
            lines.append(f'  ca = "{root}/{self.trust.registry}/wharf-ca.crt"')
        lines += ["  override_path = true", f'  dial_timeout = "{DIAL_TIMEOUT}"']
        if self.login:
            login = base64.b64encode(f"{self.login['name']}:{self.login['password']}".encode()).decode()
            lines += [f"  [{host}.header]", f'    Authorization = "Basic {login}"']
        return "\n".join(lines) + "\n"

    def _plan_docker(self) -> None:
        """Plan what the engine reads, by its own word: an older one, or the classic store, knows a mirror only."""
        # Not at the top: most clients have no caches.
        from .containers import engine

        found = engine()
        if found is None:
            self.is_sure = False
            self.known = [path for path in self.known if not path.startswith(f"{CERTIFICATES['docker']}/")]
            if "docker" in self.trust.installed:
                self.warnings.append(
                    "The Docker engine of this host does not answer, and how it pulls is not known: what it is told of"
                    " caches stays as it is. Run this again when it answers"
                )
            return
        reads_hosts = int(re.match(r"\d*", found["version"] or "")[0] or 0) >= READS_HOSTS
        if reads_hosts:
            self._plan_hosts("docker")
        if reads_hosts and found["containerd_image_store"]:
            return
        name, port = self.params["name"], self.params["caches_mirror_port"]
        direct = {cache["upstream"]: cache["path"] for cache in self.caches}
        if port and direct.pop(HUB, ""):
            self.mirror = self._url(port)
            if self.is_tls:
                path = f"{CERTIFICATES['docker']}/{name}:{port}/wharf-ca.crt"
                self.files[path] = self._entry(self.trust.ca)
        if direct:
            path = next(iter(direct.values()))
            mirror = "" if port or HUB not in direct else f"; for {HUB} a mirror would do (wharf_caches_mirror_port)"
            self.warnings.append(
                f"docker pull does not go through the caches of {', '.join(direct)} on this host: that takes an engine"
                f" from version {READS_HOSTS} on with the containerd image store. Until then, pull by the registry's"
                f" name, {self.trust.registry}/{path}/...{mirror}"
            )

    def _told_to_engine(self) -> dict[str, str]:
        """Return for which upstreams daemon.json has what the engine passes over where there is a hosts.toml."""
        from .daemon_json import PATH, owners

        document, own = read_json(PATH), set(map(OWNER.format, self.trust.registries))
        mirrors = document.get("registry-mirrors") or []
        theirs = [one for one in mirrors if not own.issuperset(owners(("registry-mirrors", one)) or [""])]
        return dict.fromkeys([*([HUB] if theirs else []), *(document.get("insecure-registries") or [])], PATH)

    def _leave_out(self, tool: str, upstream: str, path: str) -> None:
        self.warnings.append(
            f"{path} says already how {tool} pulls from {upstream}, so it does not go through the cache: to let it,"
            " take that out there"
        )

    def _entry(self, text: str, secret: bool = False) -> Entry:
        content = CACHES.format(self.trust.registry) + text
        return Entry(os.geteuid(), os.getegid(), 0o600 if secret else 0o644, content.encode())

    def _url(self, port: int) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.params['name']}:{port}"

    def engine_options(self) -> dict[str, dict]:
        """Return what daemon.json is to have, as Trust.engine_options() does."""
        ledger = read_text(LEDGER) if self.is_sure else ""
        owners = map(OWNER.format, self.trust.registries)
        options: dict[str, dict] = {owner: {} for owner in owners if f'"{owner}"' in ledger}
        if self.mirror:
            options[OWNER.format(self.trust.registry)] = {"registry-mirrors": [self.mirror]}
        return options

    def remove(self) -> None:
        """Remove the files that are no longer wanted, and the directories in which nothing is left. Raises OSError."""
        roots = {*CERTIFICATES.values()}
        gone = [path for path in self.known if path not in self.files and self.changes.put(path, None)]
        below = {os.path.dirname(path) for path in gone} - {REGISTRIES}
        for directory in [*sorted(below), *sorted({os.path.dirname(path) for path in below} & roots)]:
            self.changes.remove_empty(directory)
        self.trust.left = below.intersection(self.changes.paths)

    def write(self, is_mirror_new: bool) -> None:
        """Write the files that differ, after the caches have answered.

        Raises:
            WharfError: one does not, so that nothing is written.
            OSError: a file cannot be written.
        """
        pending = [path for path, entry in self.files.items() if read_entry(path) != entry]
        if (pending or is_mirror_new) and not self.check_mode:
            self._ask()
        for path in pending:
            self.changes.put(path, self.files[path])

    def _ask(self) -> None:
        """Ask for each cache, as the tools will. Raises WharfError where one is not served to this host."""
        # Not at the top: it is long to load, and most clients have no caches.
        from . import api

        context = api.trust(pem=self.trust.ca) if self.is_tls else None
        asked = [(self.params["port"], cache["path"], cache["upstream"], self.login) for cache in self.caches]
        asked += [(self.params["caches_mirror_port"], "", HUB, {})] if self.mirror else []
        for port, path, upstream, login in asked:
            user, password = login.get("name", ""), login.get("password", "")
            try:
                with api.Client(
                    self.params["name"], port, context, user=user, password=password, timeout=TIMEOUT
                ) as client:
                    client.cache(path)
            except api.RegistryError as error:
                is_refused = isinstance(error, api.StatusError) and error.status == 401 and not login
                # These tools have the logins of their users.
                if is_refused and path and self.trust.families == ["containers"]:
                    continue
                remedy = ": give who may read it (registry_client_caches_login; wharf_caches_reader in the inventory)"
                raise WharfError(
                    f"the cache of {upstream} does not serve this host, so its tools are not told of any: {error}"
                    f"{remedy if is_refused and path else ''}"
                ) from error

    @property
    def diff(self) -> list[dict[str, str]]:
        """Return what is changed, without passwords."""
        return [{key: _LOGIN.sub(r"\1...", text) for key, text in shown.items()} for shown in self.changes.diff]
