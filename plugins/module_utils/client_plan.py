"""What is pending on a client of a registry: pure functions from what is there and what is wanted."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

TOOLS = ("docker", "podman", "buildah", "skopeo", "containerd")
# They share a library, and with it all files.
CONTAINERS = ("podman", "buildah", "skopeo")
FAMILIES = {"docker": {"docker"}, "containers": set(CONTAINERS), "containerd": {"containerd"}}

CERTIFICATES = {"docker": "/etc/docker/certs.d", "containers": "/etc/containers/certs.d"}
REGISTRIES = "/etc/containers/registries.conf.d"
STORE = "/usr/local/share/ca-certificates"
HOSTS = "/etc/hosts"
CONTAINERD = "/etc/containerd/certs.d"
CONTAINERD_FILE = "/etc/containerd/config.toml"
CONTAINERD_MARKER = "wharf"
# By the version of its file. Source: containerd, docs/cri/registry.md.
CONTAINERD_TABLES = {"2": "io.containerd.grpc.v1.cri", "3": "io.containerd.cri.v1.images"}

CERTIFICATE_BEGIN = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?(?:-----END CERTIFICATE-----|\Z)", re.DOTALL)


@dataclass
class Wanted:
    """What a client is to have."""

    name: str
    port: int = 5000
    state: str = "present"
    trust: str = "ca"
    ca: str = ""
    tools: list[str] = field(default_factory=lambda: ["auto"])
    system_store: bool = False
    address: str = ""
    previous: list[str] = field(default_factory=list)  # NAME:PORT
    users: list[str] = field(default_factory=list)  # system users who log in

    @property
    def registry(self) -> str:
        """The registry as it stands in image references."""
        return f"{self.name}:{self.port}"

    @property
    def present(self) -> bool:
        """Whether the registry is to be trusted."""
        return self.state == "present"


@dataclass
class Containerd:
    """How containerd is configured."""

    text: str | None = None  # of its file; None where there is none
    config_path: str = ""  # its directory of registries
    broken: bool = False  # it cannot read its configuration
    old_tables: bool = False  # it has tables that do not go with config_path
    others: bool = False  # other registries have files in Wharf's directory for it

    @property
    def version(self) -> str:
        """The version of its file."""
        match = re.search(r"^version *= *(\d*)", self.text or "", re.MULTILINE)
        return match[1] if match else "2" if self.text is None else ""

    @property
    def table(self) -> bool:
        """Whether its file has the table of registries."""
        return re.search(r"^ *\[plugins\..*\.registry\]", self.text or "", re.MULTILINE) is not None

    @property
    def block(self) -> bool:
        """Whether its file has Wharf's block."""
        return f"# BEGIN {CONTAINERD_MARKER}" in (self.text or "").splitlines()


@dataclass
class Host:
    """What is on a client."""

    tools: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)  # docker and update-ca-certificates, where they are
    files: dict[str, str | None] = field(default_factory=dict)  # contents; None where owner or mode is another
    foreign: list[str] = field(default_factory=list)  # those of the files that Wharf did not make
    unlinked: list[str] = field(default_factory=list)  # what the system's store has not taken over
    directories: list[str] = field(default_factory=list)
    containerd: Containerd = field(default_factory=Containerd)
    hosts: str = ""  # the text of /etc/hosts
    engine_entries: list[str] = field(default_factory=list)  # registries for which daemon.json has an entry of Wharf's
    containerd_store: bool = False  # the Docker engine has containerd's image store
    missing_users: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """What is pending, and what is in the way."""

    directories: list[str] = field(default_factory=list)
    write: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    rmdir: list[str] = field(default_factory=list)  # if they are empty; each before the one that holds it
    system_store: bool = False
    engine: dict[str, dict] = field(default_factory=dict)  # registry: options that daemon.json is to have for it
    containerd: str | None = None  # the new text of its file
    hosts: str | None = None  # the new text of /etc/hosts
    login_tools: list[str] = field(default_factory=list)  # families of tools
    problems: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)  # what a run may still install, so that check mode cannot know it

    @property
    def distrusts(self) -> bool:
        """Whether a tool does not trust the registry yet as it should, apart from the Docker engine's daemon.json."""
        parts = (self.directories, self.write, self.remove, self.system_store)
        return any(parts) or self.containerd is not None

    @property
    def changes(self) -> bool:
        """Whether anything is pending, apart from daemon.json and the logins."""
        return self.distrusts or self.hosts is not None


def tools_problems(value: object, variable: str) -> list[str]:
    """Judge which tools are to trust the registry.

    Args:
        value: ``auto``, or a list that holds it or tools. Null means the default.
        variable: the variable's name, for the messages.
    """
    use = f"use auto, or a list out of {', '.join(TOOLS)}"
    if value is None or value == "auto" or value == ["auto"]:
        return []
    if not isinstance(value, (list, tuple)):
        shown = repr(str(value)[:80]) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
        return [f"{variable}: {shown} is not a list: {use}"]
    if not value:
        return [f"{variable}: is an empty list, so that no tool would trust the registry: {use}"]
    return [f"{variable}: {str(tool)[:80]!r} is unknown: {use}" for tool in value if tool not in TOOLS]


def system_store_problems(value: bool | None, variable: str, trust_variable: str, trust: str) -> list[str]:
    """Judge whether the system's store can trust the registry's CA.

    Args:
        value: whether it is to. Null means the default.
        variable: the variable's name, for the messages.
        trust_variable: the name of the variable that says where trust comes from.
        trust: its value; with ``insecure`` there is no CA.
    """
    if not value or trust != "insecure":
        return []
    return [
        f"{variable}: is true, but {trust_variable} is insecure, and plain HTTP has no CA that the system's store could"
        f" take: set it to false, or use another mode"
    ]


def setting_problems(wanted: Wanted, check: bool) -> list[str]:
    """Judge settings that do not go together.

    Args:
        wanted: the settings.
        check: whether it is check mode, in which the certificate may still be to be issued.
    """
    insecure = wanted.present and wanted.trust == "insecure"
    problems = [
        f"registry_client_previous_names: {item!r} is not NAME:PORT: use a list of these"
        for item in wanted.previous
        if not re.fullmatch(r"[^:/]+:[0-9]+", item)
    ]
    if wanted.present and not insecure and CERTIFICATE_BEGIN not in wanted.ca and not (check and not wanted.ca):
        problems.append(
            "registry_client_ca: holds no PEM certificate: give the text of the CA certificate that signed the registry"
        )
    problems += tools_problems(wanted.tools, "registry_client_tools")
    problems += system_store_problems(
        wanted.system_store, "registry_client_system_store", "registry_client_trust", wanted.trust
    )
    if insecure and wanted.users:
        problems.append(
            "registry_client_logins: a registry that is trusted as insecure takes no users: leave the list empty"
        )
    return problems


def plan(host: Host, wanted: Wanted) -> Plan:
    """Return what is pending on a host."""
    tools = chosen_tools(host, wanted.tools)
    families = [family for family, members in FAMILIES.items() if members & set(tools)]
    files = _files(host, wanted, families) if wanted.present else {}
    remove = [path for path in host.files if path not in files and path not in host.foreign]
    write = {path: text for path, text in files.items() if host.files.get(path) != text}
    directories = {posixpath.dirname(path) for path in files}
    store = any(path.startswith(STORE) for path in [*remove, *write])
    return Plan(
        directories=sorted(directories - set(host.directories)),
        write=write,
        remove=remove,
        rmdir=_rmdir(remove, directories),
        system_store=store or bool(set(host.unlinked) & set(files)),
        engine=_engine(host, wanted, "docker" in tools),
        containerd=_containerd(host, wanted.present and "containerd" in tools),
        hosts=_hosts(host.hosts, wanted),
        login_tools=[family for family in families if family != "containerd"],
        problems=_problems(host, wanted, tools) if wanted.present else [],
        gaps=_gaps(host, tools) if wanted.present and wanted.users else [],
    )


def chosen_tools(host: Host, tools: list[str]) -> list[str]:
    """Return the tools that are to trust the registry.

    On a host without any, Docker is still to be installed. A containerd beside Docker is Docker's own.
    """
    if tools != ["auto"]:
        return tools
    found = host.tools or ["docker"]
    return [tool for tool in found if tool != "containerd" or "docker" not in found]


def file_label(registry: str) -> str:
    """Return a registry as it stands in names of files."""
    return registry.replace(":", "_")


def with_block(text: str, marker: str, block: str) -> str:
    """Return a text with a block of lines between markers, in the place of the block that is there, or at the end.

    Args:
        text: the whole text.
        marker: what the block's first and last line name.
        block: its lines; without any, the block goes.
    """
    begin, end = f"# BEGIN {marker}", f"# END {marker}"
    new = f"{begin}\n{block}\n{end}\n" if block else ""
    there = re.compile(rf"^{re.escape(begin)}\n(?:.*\n)*?{re.escape(end)}(?:\n|\Z)", re.MULTILINE)
    if there.search(text):
        return there.sub(lambda _: new, text, count=1)
    return (text if not text or text.endswith("\n") or not new else text + "\n") + new


def _files(host: Host, wanted: Wanted, families: list[str]) -> dict[str, str]:
    """Return the files that are to be there: path to content."""
    registry, label = wanted.registry, file_label(wanted.registry)
    roots = {**CERTIFICATES, "containerd": host.containerd.config_path or CONTAINERD}
    if wanted.trust == "ca":
        # Docker's rule holds for all three: every *.crt in a directory that is spelled as the registry in references.
        files = {f"{roots[family]}/{registry}/wharf-ca.crt": wanted.ca for family in families}
        if wanted.system_store:
            # One certificate a file: of a file with several the store makes no link.
            for number, certificate in enumerate(_CERTIFICATE.findall(wanted.ca), start=1):
                files[f"{STORE}/wharf-{label}_{number}.crt"] = certificate + "\n"
        return files
    files = {}
    if "containers" in families:
        files[f"{REGISTRIES}/wharf-{label}.conf"] = (
            f'# Wharf: this registry speaks plain HTTP.\n[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        )
    if "containerd" in families:
        # Since version 2 the first line would do; 1.7 asks the server by HTTPS all the same.
        files[f"{roots['containerd']}/{registry}/hosts.toml"] = (
            f'# Wharf: this registry speaks plain HTTP.\nserver = "http://{registry}"\n\n'
            f'[host."http://{registry}"]\n  capabilities = ["pull", "resolve", "push"]\n'
        )
    return files


def _rmdir(remove: list[str], kept: set[str]) -> list[str]:
    """Return the directories that may be empty once these files are gone."""
    below = {posixpath.dirname(path) for path in remove} - {REGISTRIES, STORE} - kept
    above = {posixpath.dirname(path) for path in below} & {*CERTIFICATES.values(), CONTAINERD}
    return [*sorted(below), *sorted(above)]


def _engine(host: Host, wanted: Wanted, has_docker: bool) -> dict[str, dict]:
    """Return what the engine's daemon.json is to have for each registry; nothing where Wharf has no entry in it."""
    options: dict[str, dict] = {registry: {} for registry in host.engine_entries}
    if wanted.present and wanted.trust == "insecure" and has_docker:
        options[wanted.registry] = {"insecure-registries": [wanted.registry]}
    return options


def _containerd(host: Host, is_wanted: bool) -> str | None:
    """Return the text that containerd's file is to have; None when it stays.

    Where it names a directory already, it stays. Wharf's block stays as long as another registry has files in the
    directory that it names. Without the package nothing is written: dpkg would ask which file to keep when it comes.
    """
    found = host.containerd
    pending = not found.config_path if is_wanted else found.block and not found.others
    if not pending or "containerd" not in host.tools:
        return None
    lines = ["version = 2"] if found.text is None else []
    lines += [f'[plugins."{CONTAINERD_TABLES.get(found.version, "")}".registry]', f'  config_path = "{CONTAINERD}"']
    return with_block(found.text or "", CONTAINERD_MARKER, "\n".join(lines) if is_wanted else "")


def _hosts(text: str, wanted: Wanted) -> str | None:
    """Return the text that /etc/hosts is to have; None when it stays.

    The line is that of a name, whatever the port.
    """
    new = text
    for name in {registry.rpartition(":")[0] for registry in wanted.previous} - {wanted.name}:
        new = with_block(new, f"wharf {name}", "")
    line = f"{wanted.address} {wanted.name}" if wanted.present and wanted.address else ""
    if not line or line not in new.splitlines():
        new = with_block(new, f"wharf {wanted.name}", line)
    return new if new != text else None


def _problems(host: Host, wanted: Wanted, tools: list[str]) -> list[str]:
    """Return why it cannot work on this host."""
    problems = []
    for path in host.foreign:
        if f"/{wanted.registry}/" not in path:
            continue
        if path.startswith(CERTIFICATES["docker"]):
            reads, reader, tool = host.containerd_store, "an engine with the containerd image store", "docker"
        else:
            reads, reader, tool = True, "containerd", "containerd"
        if reads and tool in tools:
            problems.append(
                f"registry_client_tools: {path} is not Wharf's, and {reader} reads it instead of what Wharf would"
                f" write for {wanted.registry}: remove it, or leave {tool} out of registry_client_tools"
            )
    if "containerd" in tools and "containerd" in host.tools:
        problems += _containerd_problems(host.containerd)
    if wanted.system_store and "update-ca-certificates" not in host.programs:
        problems.append(
            "registry_client_system_store: there is no update-ca-certificates on this host: install the package"
            " ca-certificates, or set it to false"
        )
    # Where no tool has a login, nobody is logged in.
    if set(tools) - {"containerd"}:
        problems += [
            f"registry_client_logins: there is no system user {user!r} on this host: create it first, or take it out"
            for user in host.missing_users
        ]
    return problems


def _containerd_problems(found: Containerd) -> list[str]:
    """Return why containerd cannot be given a directory of registries."""
    if found.broken:
        return [f"{CONTAINERD_FILE}: containerd cannot read it: see containerd config dump, and repair it first"]
    if found.config_path:
        return []
    if found.old_tables:
        return [
            f"{CONTAINERD_FILE}: has registry.mirrors or registry.configs, which do not go with config_path, where"
            f" Wharf's files are found: move them to hosts.toml files, or leave containerd out of registry_client_tools"
        ]
    if found.table:
        setting = f'config_path = "{CONTAINERD}"'
        return [f"{CONTAINERD_FILE}: has the CRI plugin's table registry without config_path: set {setting} in it"]
    if found.version not in CONTAINERD_TABLES:
        return [
            f"{CONTAINERD_FILE}: is of version {found.version or 1}, and only versions"
            f" {' and '.join(CONTAINERD_TABLES)} are supported: see containerd config migrate"
        ]
    return []


def _gaps(host: Host, tools: list[str]) -> list[str]:
    """Return which program a login lacks."""
    gaps = []
    if "docker" in tools and "docker" not in host.programs:
        gaps.append(
            "registry_client_logins: a login with docker needs the command docker, and it is not installed: install it"
            " (Debian's packages docker.io and docker-cli), or leave docker out of registry_client_tools"
        )
    named = [tool for tool in CONTAINERS if tool in tools]
    if named and not set(CONTAINERS) & set(host.tools):
        gaps.append(
            f"registry_client_logins: a login with {named[0]} needs podman, buildah or skopeo, and none of them is"
            f" installed: install it, or leave {' and '.join(named)} out of registry_client_tools"
        )
    return gaps
