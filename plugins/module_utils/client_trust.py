"""What the container tools of a host need to trust a registry: what is there, what cannot work, what is written."""

from __future__ import annotations

import errno
import glob
import os
import re
import tempfile
from typing import Any

from .errors import WharfError
from .files import Changes, Entry, read_entry
from .processes import has, must_run, run

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
STORE = "/usr/local/share/ca-certificates"
STORE_LINKS = "/etc/ssl/certs"
HOSTS = "/etc/hosts"
TEMPLATES = "/etc/cloud/templates"  # cloud-init may make the file from one of them, at each boot; the file says so
OWNER = "registry_client {}"  # of a registry's entry in daemon.json
# That of daemon_json.py, which is long to load: most clients have nothing in it.
LEDGER = "/var/lib/wharf/daemon.json.record"
CONTAINERD_FILE = "/etc/containerd/config.toml"
CONTAINERD_MARKER = "wharf"
CONTAINERD_SETTING = f'config_path = "{CERTIFICATES["containerd"]}"'
# By the version of its file. Source: containerd, docs/cri/registry.md.
CONTAINERD_TABLES = {"2": "io.containerd.grpc.v1.cri", "3": "io.containerd.cri.v1.images"}
_TABLE = re.compile(r"^ *\[plugins\..*\.registry\]", re.MULTILINE)
# The first directory of registries: in that table, before the next one begins.
_CONFIG_PATH = re.compile(rf"{_TABLE.pattern}.*\n(?:[^\[\n]*\n)*?\s*config_path\s*=\s*[\"']([^\"':]+)", re.MULTILINE)
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


def _is_foreign(path: str) -> bool:
    """Return whether this is a hosts.toml that Wharf did not write."""
    text = _text(path) if path.endswith("/hosts.toml") else None
    return text is not None and not re.search(r"^# Wharf", text, re.MULTILINE)


def _entry(text: str) -> Entry:
    """Return a file that everybody may read."""
    return Entry(0, 0, 0o644, text.encode("utf-8", "surrogateescape"))


class Containerd:
    """containerd's configuration: by its own word where it is used, otherwise by its file."""

    def __init__(self, is_used: bool) -> None:
        """Read it."""
        self.text = _text(CONTAINERD_FILE)
        status, dump = run(["containerd", "config", "dump"]) if is_used else (0, self.text or "")
        self.broken = status != 0
        self.old_tables = re.search(r"registry\.(mirrors\.|configs\..*\.tls\])", dump) is not None
        directory = _CONFIG_PATH.search(dump)
        self.config_path = directory[1] if directory else ""
        version = re.search(r"^version *= *(\d*)", self.text or "", re.MULTILINE)
        self.version = version[1] if version else "2" if self.text is None else ""

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
        if _TABLE.search(self.text or ""):
            return f"has the CRI plugin's table registry without config_path: set {CONTAINERD_SETTING} in it"
        if self.version not in CONTAINERD_TABLES:
            return (
                f"is of version {self.version or 1}, and only versions {' and '.join(CONTAINERD_TABLES)} are"
                " supported: see containerd config migrate"
            )
        return ""

    def wanted_text(self, is_wanted: bool, others: bool) -> str | None:
        """Return the text that its file is to have for one registry, and for others that have files already.

        Where it names a directory, it stays; and Wharf's block stays as long as others need it.
        """
        text = self.text or ""
        if is_wanted and not self.config_path:
            lines = ["version = 2"] if self.text is None else []
            lines.append(f'[plugins."{CONTAINERD_TABLES[self.version]}".registry]')
            return with_block(text, CONTAINERD_MARKER, "\n".join([*lines, f"  {CONTAINERD_SETTING}"]))
        rest = with_block(text, CONTAINERD_MARKER, "")
        if is_wanted or others or rest == text:
            return self.text
        return rest if rest.strip() else None


class Trust:
    """A registry on this host: read at once, judged by problems(), written by write_hosts() and write()."""

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        """Read what is there, for the parameters of the module registry_client. Changes nothing."""
        self.params, self.check_mode = params, check_mode
        self.hosts_changes, self.changes = Changes(check_mode), Changes(check_mode)
        self.present = params["state"] == "present"
        self.registry = f"{params['name']}:{params['port']}"
        self.registries = [self.registry, *params["previous_names"]]
        # The engine counts, and not the command docker, which may be podman's.
        self.installed = [tool for tool in TOOLS if has("dockerd" if tool == "docker" else tool)]
        self.tools = chosen_tools(self.installed, params["tools"])
        self.families = list(dict.fromkeys(FAMILIES[tool] for tool in TOOLS if tool in self.tools))
        self.has_containerd = "containerd" in self.installed
        self.containerd = Containerd(self.has_containerd and "containerd" in self.tools)
        self.roots = {**CERTIFICATES, "containerd": self.containerd.config_path or CERTIFICATES["containerd"]}
        paths = [path for registry in self.registries for path in self.possible_files(registry)]
        self.foreign = [path for path in paths if _is_foreign(path)]
        self.own = [path for path in paths if path not in self.foreign]
        self.ca = params["ca"] or self.known_ca()

    def possible_files(self, registry: str) -> list[str]:
        """Return the files that Wharf may have for a registry, and that its tools read in the same directories."""
        directories = dict.fromkeys(f"{root}/{registry}" for root in (*CERTIFICATES.values(), *self.roots.values()))
        label = registry.replace(":", "_")
        return [
            *(f"{directory}/{name}" for directory in directories for name in ("wharf-ca.crt", "hosts.toml")),
            f"{REGISTRIES}/wharf-{label}.conf",
            *sorted(glob.glob(f"{STORE}/wharf-{glob.escape(label)}_*.crt")),
        ]

    def known_ca(self) -> str:
        """Return the CA certificate that all tools have for the registry; empty where they differ or have none."""
        texts = {_text(path) for path in self.own if path.endswith(f"/{self.registry}/wharf-ca.crt")} - {None}
        return (texts.pop() or "") if len(texts) == 1 else ""

    def files(self) -> dict[str, str]:
        """Return the files that the tools need: path to content."""
        registry, label = self.registry, self.registry.replace(":", "_")
        if not self.present:
            return {}
        if self.params["trust"] == "ca":
            # Docker's rule holds for all: every *.crt in a directory that is spelled as the registry in references.
            files = {f"{self.roots[family]}/{registry}/wharf-ca.crt": self.ca for family in self.families}
            # One certificate a file: of a file with several the store makes no link.
            certificates = _CERTIFICATE.findall(self.ca) if self.params["system_store"] else []
            for number, certificate in enumerate(certificates, start=1):
                files[f"{STORE}/wharf-{label}_{number}.crt"] = certificate + "\n"
            return files
        comment = "# Wharf: this registry speaks plain HTTP.\n"
        plain = {
            "containers": (
                f"{REGISTRIES}/wharf-{label}.conf",
                f'{comment}[[registry]]\nlocation = "{registry}"\ninsecure = true\n',
            ),
            # Since version 2 the first line would do; 1.7 asks the server by HTTPS all the same.
            "containerd": (
                f"{self.roots['containerd']}/{registry}/hosts.toml",
                f'{comment}server = "http://{registry}"\n\n'
                f'[host."http://{registry}"]\n  capabilities = ["pull", "resolve", "push"]\n',
            ),
        }
        return dict(plain[family] for family in self.families if family in plain)

    def problems(self) -> list[str]:
        """Return why the tools of this host cannot trust the registry."""
        if not self.present:
            return []
        problems = []
        readers = {"docker": "an engine with the containerd image store", "containerd": "containerd"}
        for tool, reader in readers.items():
            path = f"{self.roots[tool]}/{self.registry}/hosts.toml"
            if tool in self.tools and path in self.foreign and (tool == "containerd" or self.has_containerd_store()):
                problems.append(
                    f"registry_client_tools: {path} is not Wharf's, and {reader} reads it instead of what Wharf would"
                    f" write for {self.registry}: remove it, or leave {tool} out of registry_client_tools"
                )
        if self.has_containerd and "containerd" in self.tools and (problem := self.containerd.problem()):
            problems.append(f"{CONTAINERD_FILE}: {problem}")
        if self.params["system_store"] and not has("update-ca-certificates"):
            problems.append(
                "registry_client_system_store: there is no update-ca-certificates on this host: install the package"
                " ca-certificates, or set it to false"
            )
        return problems

    def has_containerd_store(self) -> bool:
        """Return whether the Docker engine has containerd's image store; the classic one reads no hosts.toml."""
        command = ["docker", "info", "--format", "{{json .DriverStatus}}"]
        return "docker" in self.installed and "io.containerd" in run(command)[1]

    def engine_options(self) -> dict[str, dict]:
        """Return what daemon.json is to have, by its owner: one for each registry, none where Wharf has no entry."""
        ledger = _text(LEDGER) or ""
        options: dict[str, dict] = {owner: {} for owner in map(OWNER.format, self.registries) if f'"{owner}"' in ledger}
        if self.present and self.params["trust"] == "insecure" and "docker" in self.tools:
            options[OWNER.format(self.registry)] = {"insecure-registries": [self.registry]}
        return options

    def hosts_text(self, text: str) -> str:
        """Return the text that /etc/hosts is to have; the line is that of a name, whatever the port."""
        name, address = self.params["name"], self.params["address"]
        for previous in {registry.rpartition(":")[0] for registry in self.registries} - {name}:
            text = with_block(text, f"wharf {previous}", "")
        line = f"{address} {name}" if self.present and address else ""
        return text if line and line in text.splitlines() else with_block(text, f"wharf {name}", line)

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
            WharfError: a program refuses; its own output is in the message.
            OSError: a file cannot be written or removed.
        """
        files = self.files()
        # The tools read these files at every connection: nothing is restarted.
        for path, text in files.items():
            self.changes.put(path, _entry(text))
        gone = [path for path in self.own if path not in files and self.changes.put(path, None)]
        below = {os.path.dirname(path) for path in gone} - {REGISTRIES, STORE}
        above = {os.path.dirname(path) for path in below} & {*CERTIFICATES.values()}
        for directory in [*sorted(below), *sorted(above)]:
            self.changes.remove_empty(directory)
        in_store = [path for path in (*files, *gone) if path.startswith(STORE)]
        links = [f"{STORE_LINKS}/{os.path.basename(path)[: -len('.crt')]}.pem" for path in in_store]
        store = not set(in_store).isdisjoint(self.changes.paths) or not all(map(os.path.exists, links))
        if store and not self.check_mode and has("update-ca-certificates"):
            must_run(["update-ca-certificates", "--fresh"], f"{STORE}: the system's store does not take it over")
        # Without the package nothing is written: dpkg would ask which file to keep when it comes.
        if self.has_containerd:
            self._write_containerd()
        return bool(self.changes.paths) or store

    def _write_containerd(self) -> None:
        """Give containerd another configuration, and restart it, which stops no container.

        Raises:
            WharfError: containerd refuses the configuration, or does not start with it. The old file is there again.
        """
        directory = CERTIFICATES["containerd"]
        others = os.path.isdir(directory) and not set(self.registries).issuperset(os.listdir(directory))
        new = self.containerd.wanted_text(self.present and "containerd" in self.tools, others)
        before, after = (None if text is None else _entry(text) for text in (self.containerd.text, new))
        if after == before:
            return
        if after and not self.check_mode:
            os.makedirs(os.path.dirname(CONTAINERD_FILE), exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(CONTAINERD_FILE), suffix=".toml") as file:
                file.write(after.content or b"")
                file.flush()
                must_run(
                    ["containerd", "--config", file.name, "config", "dump"], f"{CONTAINERD_FILE}: containerd refuses it"
                )
        self.changes.put(CONTAINERD_FILE, after)
        if self.check_mode:
            return
        restart = ["service", "containerd", "restart"]
        try:
            must_run(restart, f"{CONTAINERD_FILE}: containerd does not start with it")
        except WharfError:
            Changes(False).put(CONTAINERD_FILE, before)
            run(restart)
            raise
