"""What the container tools of a host need to trust a registry: what is there, what cannot work, what is written."""

from __future__ import annotations

import errno
import glob
import os
import re
import tempfile
from functools import partial
from typing import Any

from .addresses import canonical_address
from .container_policy import OWN_SETTINGS, refusal
from .engine import is_systemd
from .errors import WharfError
from .files import Changes, Entry, all_or_nothing, read_entry, read_text
from .processes import has, must_run, run
from .proxies import check_proxy, environment_of, proxy_for
from .references import spellings

TOOLS = ("docker", "podman", "buildah", "skopeo", "containerd")
# They share a library, and with it all files.
CONTAINERS = ("podman", "buildah", "skopeo")
FAMILIES = {tool: "containers" if tool in CONTAINERS else tool for tool in TOOLS}
CERTIFICATES = {
    "docker": "/etc/docker/certs.d",
    "containers": "/etc/containers/certs.d",
    "containerd": "/etc/containerd/certs.d",
}
REGISTRIES = "/etc/containers/registries.conf.d"
OWN_NAMES = ("wharf-ca.crt", "hosts.toml")  # in the directory of a registry
# Of Debian and its kin, and of RHEL and its: what takes the store over, where it looks, and what it makes of that.
STORES = (
    (["update-ca-certificates", "--fresh"], "/usr/local/share/ca-certificates", "/etc/ssl/certs"),
    (["update-ca-trust"], "/etc/pki/ca-trust/source/anchors", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
)
HOSTS = "/etc/hosts"
TEMPLATES = "/etc/cloud/templates"  # cloud-init may make the file from one of them, at each boot; the file says so
OWNER = "registry_client {}"  # of a registry's entry in daemon.json
PLAIN_HTTP = "# Wharf: this registry speaks plain HTTP.\n"
# That of daemon_json.py, which is long to load: most clients have nothing in it.
LEDGER = "/var/lib/wharf/daemon.json.record"
# The first line of the files of an alias, and of NAME alone for NAME:443: they go with the registry, or without.
OTHER_NAME = "# Wharf: another name of {}\n"
# That of the files that lead to the caches of a registry: see client_caches.py.
CACHES = "# Wharf: the caches of {}\n"
CACHES_CONF = "-caches.conf"  # how the name of such a file in REGISTRIES ends
REJECTS = (
    '{path}: rejects the images of {name}: add "{name}": [{{"type": "insecureAcceptAnything"}}] to transports.docker'
)
BLOCKS = "{path}: blocks {name} (blocked = true): take that out"
# The first directory that is there is the only one.
HIDES = "{path}: is read instead of /etc/containers/certs.d/{name}, and lacks the registry's CA: remove it"
CONTAINERD_FILE = "/etc/containerd/config.toml"
CONTAINERD_MARKER = "wharf"
# By the version of its file. Source: containerd, docs/cri/registry.md.
CONTAINERD_TABLES = {"2": "io.containerd.grpc.v1.cri", "3": "io.containerd.cri.v1.images"}
_TABLE = re.compile(r"^[ \t]*\[[ \t]*plugins\..*\.registry[ \t]*\]", re.MULTILINE)
_BODY = r".*\n(?:(?![ \t]*\[).*\n)*?"  # of a table, before the next one begins
# The first directory of registries.
_CONFIG_PATH = re.compile(rf"{_TABLE.pattern}{_BODY}[ \t]*config_path\s*=\s*[\"']([^\"':]+)", re.MULTILINE)
_IMPORTS = re.compile(r"^[ \t]*imports\s*=\s*\[(.*?)\]", re.MULTILINE | re.DOTALL)
# How a line of somebody else's is kept in the one that takes its place, and a line that is new.
_INSTEAD = "  # Wharf instead of: "
_CHANGED = re.compile(rf"^([ \t]*config_path[ \t]*=[ \t]*)\".*\"{_INSTEAD}(.*)$", re.MULTILINE)
_ADDED = re.compile(r"^[ \t]*config_path = \".*\"  # Wharf\n", re.MULTILINE)
_OWN_LINES = re.compile(r"^# BEGIN (wharf .*)\n(?:.*\n)*?# END \1$", re.MULTILINE)
_PORT = re.compile(r":([0-9]+)$")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?(?:-----END CERTIFICATE-----|\Z)", re.DOTALL)


def chosen_tools(installed: list[str], tools: list[str]) -> list[str]:
    """Return the tools that are to trust the registry, of those that are installed or named."""
    if tools != ["auto"]:
        return tools
    found = installed or ["docker"]  # that is still to be installed
    # A containerd beside Docker is Docker's own.
    return [tool for tool in found if tool != "containerd" or "docker" not in found]


def with_block(text: str, marker: str, block: str) -> str:
    """Return a text with a block of lines between markers, in the place of the block that is there, or at the end.

    Without lines the block goes.
    """
    begin, end = f"# BEGIN {marker}", f"# END {marker}"
    new = f"{begin}\n{block}\n{end}\n" if block else ""
    there = re.compile(rf"^{re.escape(begin)}\n(?:.*\n)*?{re.escape(end)}(?:\n|\Z)", re.MULTILINE)
    if there.search(text):
        return there.sub(lambda _: new, text, count=1)
    return (text if not text or text.endswith("\n") or not new else text + "\n") + new


def _text(path: str) -> str | None:
    """Return the text of a file; None where there is none."""
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _folded(text: str) -> str:
    """Return a text without its white space: the same certificate may be broken into other lines."""
    return "".join(text.split())


def _is_foreign(path: str) -> bool:
    """Return whether this is a hosts.toml that Wharf did not write."""
    text = _text(path) if path.endswith("/hosts.toml") else None
    return text is not None and not re.search(r"^# Wharf", text, re.MULTILINE)


def _is_of_caches(path: str) -> bool:
    """Return whether this is a hosts.toml that leads to a cache: the registry is another one's upstream, too."""
    return path.endswith("/hosts.toml") and (_text(path) or "").startswith(CACHES.partition("{")[0])


def _entry(text: str) -> Entry:
    """Return a file that everybody may read."""
    return Entry(0, 0, 0o644, text.encode("utf-8", "surrogateescape"))


class Containerd:
    """containerd's configuration: by its own word where it is used, otherwise by its file."""

    def __init__(self, is_used: bool) -> None:
        """Read it."""
        main = _text(CONTAINERD_FILE)
        imports = [path for pattern in _imports(main or "") for path in sorted(glob.glob(pattern))]
        # A file that is imported replaces all that the one before has for a plugin.
        files = {CONTAINERD_FILE: main, **{path: _text(path) for path in imports}}
        usual = _version(main or "") or ("2" if main is None else "")
        versions = {path: _version(text or "") or usual for path, text in files.items()}
        setting = [path for path, text in files.items() if _has_plugin(text or "", versions[path])]
        self.path = setting[-1] if setting else CONTAINERD_FILE
        self.version = versions[self.path]
        self.plugin = CONTAINERD_TABLES.get(self.version, "")
        self.text = files[self.path]
        status, dump = run(["containerd", "config", "dump"]) if is_used else (0, self.text or "")
        self.broken = status != 0
        self.old_tables = re.search(r"registry\.(mirrors\.|configs\..*\.tls\])", dump) is not None
        self.config_path = config_path(dump)

    def problem(self) -> str:
        """Return why it cannot be given a directory of registries; empty where it can."""
        if self.broken:
            return "containerd cannot read it: see containerd config dump, and repair it first"
        if self.config_path:
            return ""
        if self.old_tables:
            return (
                "has registry.mirrors or registry.configs, which do not go with config_path, where Wharf's files are"
                " found: move them to hosts.toml files, or leave containerd out of registry_client_tools"
            )
        if not self.plugin:
            return (
                f"is of version {self.version or 1}, and only versions {' and '.join(CONTAINERD_TABLES)} are"
                " supported: see containerd config migrate"
            )
        if re.search(r"^[ \t]*registry[ \t]*[.=]", self.text or "", re.MULTILINE):
            return (
                "sets the CRI plugin's registry without a table of its own, which Wharf does not change: set"
                f' registry.config_path = "{CERTIFICATES["containerd"]}"'
            )
        return ""

    def wanted_text(self, is_wanted: bool, others: bool) -> str | None:
        """Return the text that its file is to have for one registry, and for others that have files already.

        Where it names a directory of somebody's choice, it stays; and what Wharf set stays as long as others need it.
        """
        text = self.text or ""
        if is_wanted and not self.config_path:
            return self._with_setting(with_block(text, CONTAINERD_MARKER, ""))
        rest = _ADDED.sub("", _CHANGED.sub(r"\1\2", with_block(text, CONTAINERD_MARKER, "")))
        if is_wanted or others or rest == text:
            return self.text
        return rest if rest.strip() else None

    def _with_setting(self, text: str) -> str:
        """Return the text with the directory: in the line or the table that is there, or in a block at the end."""
        directory = f'"{CERTIFICATES["containerd"]}"'
        table = rf"^[ \t]*\[[ \t]*plugins\.[\"']{re.escape(self.plugin)}[\"']\.registry[ \t]*\]"
        line = re.compile(rf"({table}{_BODY}[ \t]*config_path[ \t]*=[ \t]*)(.*)$", re.MULTILINE)
        if line.search(text):
            return line.sub(lambda found: f"{found[1]}{directory}{_INSTEAD}{found[2]}", text, count=1)
        header = re.compile(rf"({table}.*)(?:\n|\Z)", re.MULTILINE)
        if header.search(text):
            return header.sub(lambda found: f"{found[1]}\n  config_path = {directory}  # Wharf\n", text, count=1)
        lines = [] if _version(text) else [f"version = {self.version}"]
        lines += [f'[plugins."{self.plugin}".registry]', f"  config_path = {directory}"]
        return with_block(text, CONTAINERD_MARKER, "\n".join(lines))


def _version(text: str) -> str:
    """Return the version of a file of containerd's; empty where it has none."""
    found = re.search(r"^[ \t]*version *= *(\d*)", text, re.MULTILINE)
    return found[1] if found else ""


def _has_plugin(text: str, version: str) -> bool:
    """Tell whether a file of this version sets anything of the plugin that pulls."""
    plugin = CONTAINERD_TABLES.get(version)
    return bool(plugin and re.search(rf"^[^#\n]*plugins[^#\n]*{re.escape(plugin)}[\"']", text, re.MULTILINE))


def _imports(text: str) -> list[str]:
    """Return the patterns of files that one of containerd's imports."""
    found = _IMPORTS.search(text)
    patterns = re.findall(r"[\"']([^\"']+)[\"']", found[1]) if found else []
    return [os.path.join(os.path.dirname(CONTAINERD_FILE), pattern) for pattern in patterns]


def config_path(dump: str) -> str:
    """Return the first directory of registries that containerd's configuration names; empty where it has none."""
    found = _CONFIG_PATH.search(dump)
    return found[1] if found else ""


class Trust:
    """A registry on this host: read at once, judged by problems(), written by write_hosts() and write()."""

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        """Read what is there, for the parameters of the module registry_client. Changes nothing."""
        self.params, self.check_mode = params, check_mode
        self.hosts_changes, self.changes = Changes(check_mode), Changes(check_mode)
        self.present = params["state"] == "present"
        self.warnings: list[str] = []  # what problems() finds about tools that are only there
        known = [store for store in STORES if has(store[0][0])]
        self.has_store = bool(known)
        self.update_store, self.store, self.made_store = (known or STORES)[0]
        names, port, tls = [params["name"], *params["aliases"]], params["port"], params["trust"] == "ca"
        self.registry = f"{names[0]}:{port}"
        self.wanted = list(dict.fromkeys(spelt for name in names for spelt in spellings(name, port, tls)))
        if not self.present:
            self.wanted = []
        # The engine counts, and not the command docker, which may be podman's.
        self.installed = [tool for tool in TOOLS if has("dockerd" if tool == "docker" else tool)]
        self.tools = chosen_tools(self.installed, params["tools"])
        self.families = list(dict.fromkeys(FAMILIES[tool] for tool in TOOLS if tool in self.tools))
        self.has_containerd = "containerd" in self.installed
        self.containerd = Containerd(self.has_containerd and "containerd" in self.tools)
        self.roots = {**CERTIFICATES, "containerd": self.containerd.config_path or CERTIFICATES["containerd"]}
        self.registries = [self.registry, *params["previous_names"]]
        self.marked = self.marked_files()
        self.left: set[str] = set()  # directories of registries that others have taken away, or would have
        known = dict.fromkeys([*self.registries, *self.known_aliases()])
        self.others = [name for name in known if name not in self.wanted]
        paths = [path for registry in (*self.wanted, *self.others) for path in self.possible_files(registry)]
        paths = [path for path in paths if not _is_of_caches(path)]
        self.foreign = [path for path in paths if _is_foreign(path)]
        self.own = [path for path in paths if path not in self.foreign]
        self.ca = params["ca"] or self.known_ca()

    def possible_files(self, registry: str) -> list[str]:
        """Return the files that Wharf may have for a registry, and that its tools read in the same directories."""
        directories = dict.fromkeys(f"{root}/{registry}" for root in (*CERTIFICATES.values(), *self.roots.values()))
        label = registry.replace(":", "_")
        return [
            *(f"{directory}/{name}" for directory in directories for name in OWN_NAMES),
            f"{REGISTRIES}/wharf-{label}.conf",
            *sorted(glob.glob(f"{self.store}/wharf-{glob.escape(label)}_*.crt")),
        ]

    def marked_files(self) -> dict[str, str]:
        """Return the files that may begin with a line which says what they are, with their text."""
        roots = dict.fromkeys((*CERTIFICATES.values(), *self.roots.values()))
        paths = [path for root in roots for path in glob.glob(f"{root}/*/*") if path.endswith(OWN_NAMES)]
        paths += glob.glob(f"{REGISTRIES}/wharf-*{CACHES_CONF}")
        return {path: _text(path) or "" for path in sorted(paths)}

    def known(self, line: str) -> list[str]:
        """Return the files of this registry, and of its previous names, that begin with such a line."""
        lines = tuple(map(line.format, self.registries))
        return [path for path, text in self.marked.items() if text.startswith(lines)]

    def known_aliases(self) -> list[str]:
        """Return further names under which tools of this host trust the registry, or trusted a previous name."""
        return [path.split("/")[-2] for path in self.known(OTHER_NAME)]

    def known_ca(self) -> str:
        """Return the CA certificate that all tools have for the registry; empty where they differ or have none."""
        texts = {_text(path) for path in self.own if path.endswith(f"/{self.registry}/wharf-ca.crt")} - {None}
        return (texts.pop() or "") if len(texts) == 1 else ""

    def files(self) -> dict[str, str]:
        """Return the files that the tools need: path to content."""
        files, label = {}, self.registry.replace(":", "_")
        # Docker's rule holds for all: every *.crt in a directory that is spelled as the registry in references.
        for registry in self.wanted:
            mark = "" if registry == self.registry else OTHER_NAME.format(self.registry)
            if self.params["trust"] == "ca":
                files.update(
                    {f"{self.roots[family]}/{registry}/wharf-ca.crt": mark + self.ca for family in self.families}
                )
            elif "containerd" in self.families:
                # Since version 2 the line server would do; 1.7 asks the server by HTTPS all the same.
                files[f"{self.roots['containerd']}/{registry}/hosts.toml"] = (
                    f'{mark}{PLAIN_HTTP}server = "http://{registry}"\n\n'
                    f'[host."http://{registry}"]\n  capabilities = ["pull", "resolve", "push"]\n'
                )
        if self.wanted and self.params["trust"] == "insecure" and "containers" in self.families:
            tables = "\n".join(f'[[registry]]\nlocation = "{name}"\ninsecure = true\n' for name in self.wanted)
            files[f"{REGISTRIES}/wharf-{label}.conf"] = PLAIN_HTTP + tables
        if self.wanted and self.params["trust"] == "ca" and self.params["system_store"]:
            # One certificate a file: of a file with several the store makes no link.
            for number, certificate in enumerate(_CERTIFICATE.findall(self.ca), start=1):
                files[f"{self.store}/wharf-{label}_{number}.crt"] = certificate + "\n"
        return files

    def problems(self) -> list[str]:
        """Return why the tools of this host cannot trust the registry."""
        if not self.present:
            return []
        problems = self.hosts_problems()
        readers = {"docker": "an engine with the containerd image store", "containerd": "containerd"}
        for tool, reader in readers.items():
            registries = self.wanted if tool in self.tools else []
            # containerd has a spelling of its own for NAME:PORT. Where there is such a directory, it reads no other.
            spelt = [_PORT.sub(r"_\1_", registry) for registry in registries if _PORT.search(registry)]
            theirs = [path for path in (f"{self.roots[tool]}/{name}" for name in spelt) if os.path.isdir(path)]
            paths = [f"{self.roots[tool]}/{registry}/hosts.toml" for registry in registries]
            theirs += [path for path in paths if path in self.foreign]
            if theirs and (tool == "containerd" or self.has_containerd_store()):
                problems.append(
                    f"registry_client_tools: {theirs[0]} is not Wharf's, and {reader} reads it instead of what Wharf"
                    f" would write for {self.registry}: remove it, or leave {tool} out of registry_client_tools"
                )
        is_auto = "auto" in self.params["tools"]
        if "containers" in {FAMILIES[tool] for tool in (self.installed if is_auto else self.tools)}:
            leave = "or leave podman, buildah and skopeo out of registry_client_tools"
            found = [f"{line}, {leave}" for line in self.refusals()]
            # Docker, which reads none of this and may be still to come, is not kept back by what is there beside it.
            (self.warnings if is_auto else problems).extend(found)
        if self.has_containerd and "containerd" in self.tools and (problem := self.containerd.problem()):
            problems.append(f"{self.containerd.path}: {problem}")
        if self.params["system_store"] and not self.has_store:
            problems.append(
                "registry_client_system_store: there is neither update-ca-certificates nor update-ca-trust on this"
                " host: install the package ca-certificates, or set it to false"
            )
        return problems

    def refusals(self) -> list[str]:
        """Return what podman, buildah and skopeo refuse in any case, as root and as who logs in uses them."""

        wanted = {*map(_folded, _CERTIFICATE.findall(self.ca))} if self.params["trust"] == "ca" else set()

        def judge(home: str) -> list[tuple[str, ...]]:
            found: list[tuple[str, ...]] = [(registry, *refusal(registry, home)) for registry in self.wanted]
            for registry in self.wanted:
                path = f"{home}/{OWN_SETTINGS}/certs.d/{registry}"
                files = glob.glob(f"{glob.escape(path)}/*.crt")
                there = {_folded(one) for file in files for one in _CERTIFICATE.findall(read_text(file))}
                if os.path.isdir(path) and wanted - there:
                    found.append((registry, "hides", path))
            return found

        found = judge(os.path.expanduser("~root"))
        if names := {login["user"] for login in self.params["logins"]} - {"root"}:
            # Not at the top: it is long to load, and most clients have no logins.
            from .auth_files import as_owner, find_user

            for user in filter(None, map(find_user, sorted(names))):
                found += as_owner(user, partial(judge, user.pw_dir), [])
        lines = {"rejects": REJECTS, "blocks": BLOCKS, "hides": HIDES}
        return list(dict.fromkeys(lines[how].format(path=path, name=name) for name, how, path in found if how in lines))

    def check_proxy(self) -> None:
        """Raise WharfError where containerd goes through a proxy that does not lead to the registry.

        Nobody else would notice: what moves an image between hosts has no way to let containerd pull.
        """
        if not self.present or not self.has_containerd or "containerd" not in self.tools:
            return
        environment, tls = environment_of("containerd"), self.params["trust"] == "ca"
        proxy = proxy_for(environment, self.params["name"], self.params["port"], tls)
        try:
            if proxy:
                check_proxy(proxy, self.params["name"], self.params["port"], tls)
        except WharfError as error:
            raise WharfError(
                f"containerd cannot pull: {error}: add {self.params['name']} to NO_PROXY where its service has the"
                " proxy from (systemctl cat containerd), and restart it"
            ) from error

    def has_containerd_store(self) -> bool:
        """Return whether the Docker engine has containerd's image store; the classic one reads no hosts.toml."""
        # Not at the top: it is long to load, and most clients have no such file.
        from .containers import engine

        return "docker" in self.installed and (engine() or {}).get("containerd_image_store", False)

    def engine_options(self) -> dict[str, dict]:
        """Return what daemon.json is to have, by its owner: one for each registry, none where Wharf has no entry."""
        ledger = _text(LEDGER) or ""
        options: dict[str, dict] = {owner: {} for owner in map(OWNER.format, self.registries) if f'"{owner}"' in ledger}
        if self.present and self.params["trust"] == "insecure" and "docker" in self.tools:
            options[OWNER.format(self.registry)] = {"insecure-registries": self.wanted}
        return options

    def hosts_text(self, text: str) -> str:
        """Return the text that /etc/hosts is to have; the line is that of the names, whatever the port."""
        name, address = self.params["name"], self.params["address"]
        previous_names = {registry.rpartition(":")[0] for registry in self.registries}
        for previous in {*previous_names, *self.params["aliases"]} - {name}:
            text = with_block(text, f"wharf {previous}", "")
        aliases = [alias for alias in self.params["aliases"] if not canonical_address(alias)]
        each = [address, *self.params["other_addresses"]] if self.present and address else []
        lines = [" ".join([one, name, *aliases]) for one in each]
        if {*lines} <= {*text.splitlines()} and with_block(text, f"wharf {name}", "") == text:
            return text  # they are somebody's own
        return with_block(text, f"wharf {name}", "\n".join(lines))

    def hosts_problems(self) -> list[str]:
        """Return which line of somebody else's gives a name another address, before that which Wharf would write.

        What tools find first they ask first. The host's own 127.0.1.1, and addresses of the other kind, may stay.
        """
        address, problems = self.params["address"], []
        others = _OWN_LINES.sub("", _text(HOSTS) or "").lower() if address else ""
        for name in [self.params["name"], *self.params["aliases"]]:
            words = [line.partition("#")[0].split() for line in others.splitlines()]
            found = [first for first, *names in filter(None, words) if name in names and not first.startswith("127.")]
            alike = [one for one in found if (":" in one) == (":" in address)]
            if alike and canonical_address(alike[0]) != canonical_address(address):
                problems.append(
                    f"{HOSTS}: {alike[0]} is the address of {name} in a line that is not Wharf's, and {address} is the"
                    f" server's: take {name} out of that line, or leave the file to yourself (registry_client_address:"
                    ' ""; wharf_manage_hosts_file: false in the inventory)'
                )
        return problems

    def write_hosts(self) -> None:
        """Write /etc/hosts, and what cloud-init makes it from. Raises OSError."""
        path = os.path.realpath(HOSTS)
        template = re.search(rf"{TEMPLATES}/[\w.-]+", _text(path) or "")
        if template and os.path.isfile(template[0]):
            self._write_hosts(template[0])
        self._write_hosts(path)

    def _write_hosts(self, path: str) -> None:
        """Write a file of hosts, with the mode and the owner that it has. Raises OSError."""
        text = _text(path) or ""
        if (new := self.hosts_text(text)) == text:
            return
        entry = (read_entry(path) or _entry(""))._replace(content=_entry(new).content)
        try:
            self.hosts_changes.put(path, entry)
        except OSError as error:
            # In a container it is a mount point, which nothing can replace.
            if error.errno != errno.EBUSY:
                raise
            with open(path, "wb") as file:
                file.write(entry.content or b"")

    def write(self) -> bool:
        """Write and remove what is pending, without /etc/hosts and daemon.json; return whether anything was.

        Raises:
            WharfError: a program refuses; its own output is in the message. All files are as they were.
            OSError: a file cannot be written or removed; the same.
        """
        files = self.files()
        paths = list(dict.fromkeys([*files, *self.own]))
        try:
            with all_or_nothing(*(path for path in paths if not self.check_mode)):
                return self._write(files)
        except (WharfError, OSError):
            if not self.check_mode and any(path.startswith(self.store) for path in self.changes.paths):
                run(self.update_store)
            raise

    def _write(self, files: dict[str, str]) -> bool:
        # The tools read these files at every connection: nothing is restarted.
        for path, text in files.items():
            self.changes.put(path, _entry(text))
        gone = [path for path in self.own if path not in files and self.changes.put(path, None)]
        below = {os.path.dirname(path) for path in gone} - {REGISTRIES, self.store}
        above = {os.path.dirname(path) for path in below} & {*CERTIFICATES.values()}
        for directory in [*sorted(below), *sorted(above)]:
            self.changes.remove_empty(directory)
        in_store = [path for path in (*files, *gone) if path.startswith(self.store)]
        taken = all(self._is_taken_over(path, files[path]) for path in in_store if path in files)
        store = not set(in_store).isdisjoint(self.changes.paths) or not taken
        if store and not self.check_mode and self.has_store:
            must_run(self.update_store, f"{self.store}: the system's store does not take it over")
        # Without the package nothing is written: dpkg would ask which file to keep when it comes.
        if self.has_containerd:
            self._write_containerd()
        return bool(self.changes.paths) or store

    def _is_taken_over(self, path: str, certificate: str) -> bool:
        """Return whether the system's store has a certificate, be it by a link of its own or in its one file."""
        if os.path.isfile(self.made_store):
            return _folded(certificate) in _folded(_text(self.made_store) or "")
        return os.path.exists(f"{self.made_store}/{os.path.basename(path)[: -len('.crt')]}.pem")

    def _write_containerd(self) -> None:
        """Give containerd another configuration, and restart it, which stops no container.

        Raises:
            WharfError: containerd refuses the configuration, or does not start with it. The old file is there again.
        """
        directory, path = CERTIFICATES["containerd"], self.containerd.path
        ours = {*(f"{directory}/{name}" for name in (*self.wanted, *self.others)), *self.left}
        others = not ours.issuperset(glob.glob(f"{directory}/*"))
        is_wanted = self.present and "containerd" in self.tools
        new = self.containerd.wanted_text(is_wanted, others)
        before, after = (None if text is None else _entry(text) for text in (self.containerd.text, new))
        if after == before:
            return
        if after and not self.check_mode:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(CONTAINERD_FILE), suffix=".toml") as file:
                file.write(after.content or b"")
                file.flush()
                command = ["containerd", "--config", file.name, "config", "dump"]
                dump = must_run(command, f"{path}: containerd refuses it with config_path")
            if is_wanted and not config_path(dump):
                raise WharfError(f"{path}: containerd does not take config_path from it: set it where it does")
        self.changes.put(path, after)
        if self.check_mode:
            return
        status, output = _restart_containerd()
        if status:
            Changes(False).put(path, before)
            _restart_containerd()
            raise WharfError(f"{path}: containerd does not start with it: {output}")


def _restart_containerd() -> tuple[int, str]:
    """Restart containerd, however often it was started just now: systemd refuses a sixth start in ten seconds."""
    if is_systemd():
        run(["systemctl", "reset-failed", "containerd"])
    return run(["service", "containerd", "restart"])
