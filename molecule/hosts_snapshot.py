"""What the roles leave on a scenario's hosts, as text that two runs on fresh hosts have in common.

It is looked at from the outside, so that nothing of the roles takes part: the engine that the hosts run on says what
differs from a host's image. What Debian's packages own or make is left out.
"""

from __future__ import annotations

import base64
import difflib
import functools
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import command_archive

PROJECT = Path(__file__).resolve().parents[1]
UPDATE = "WHARF_UPDATE_SNAPSHOT"
PLACES = re.compile(r"/(etc|home|opt|root|srv|usr/local|var/spool)/.|/var/lib/wharf")
# Made by packages, by the boot or by the engine, by Ansible for itself, by a scenario's prepare.yml, by pushes, backups
# and what runs every minute; accounts are looked at line by line. No directory of the engine's is here: volumes are in
# no difference.
NOT_OURS = re.compile(
    r"/etc/(\.updated|\.pwd\.lock|(passwd|group|g?shadow|sub[ug]id)-?|(machine-id|mtab|ld\.so\.cache|mailcap)"
    r"|alternatives/.*|systemd/system/[^/]+\.wants|rc.\.d/.*|apparmor\.d/.*|cni(/.*)?|docker/key\.json|ssh/ssh_host_.*"
    r"|ssl/certs/(ca-certificates\.crt|[0-9a-f]{8}\.\d))|.*/\.(bash_logout|bashrc|profile)"
    r"|/root/(\.(ansible|cache)(/.*)?|engine-pid|sleeper-started)|/srv/backup/registry/.*"
    r"|/var/lib/wharf/((registry/docker|backup/stage|results)(/.*)?|(index|metrics)/.+)"
)
FILES = Path(__file__).with_name("files")
SETTINGS = (FILES / "list-settings.sh").read_text("utf-8")  # run on the host and in its image
UNITS = (FILES / "list-units.sh").read_text("utf-8")
# A named volume is in no difference. What marks the data as the registry's is of interest, images are not.
VOLUMES = "ls -d /var/lib/docker/volumes/*/_data /var/lib/docker/volumes/*/_data/.wharf"
LONGEST = 5000  # longer texts are told by their hash, as programs are
CONFIG = ("Image", "Entrypoint", "Cmd", "User", "Env", "Labels", "Healthcheck", "ExposedPorts", "WorkingDir")
HOST_CONFIG = (
    "CapAdd", "CapDrop", "GroupAdd", "LogConfig", "Memory", "NetworkMode", "PidsLimit", "PortBindings", "Privileged",
    "ReadonlyRootfs", "RestartPolicy", "SecurityOpt", "Tmpfs", "Ulimits",
)  # fmt: skip
MOUNT = ("Type", "Name", "Source", "Destination", "RW")


def describe_pem(found: re.Match[str]) -> str:
    """Return what a PEM block is, without what is random in it."""
    text, kind = found[0].encode(), found[1]
    if kind.endswith("PRIVATE KEY"):
        load = load_ssh_private_key if kind.startswith("OPENSSH") else load_pem_private_key
        return f"({kind}: {type(load(text, None)).__name__})"
    if kind != "CERTIFICATE":
        return f"({kind})"
    certificate = x509.load_pem_x509_certificate(text)
    days = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
    lines = [f"subject {certificate.subject.rfc4514_string()}", f"issuer {certificate.issuer.rfc4514_string()}"]
    for extension in certificate.extensions:
        if isinstance(value := extension.value, x509.SubjectAlternativeName):
            lines += [f"name {name.value}" for name in value]
        elif isinstance(value, x509.BasicConstraints):
            lines.append(f"CA {value.ca}, path length {value.path_length}")
        elif isinstance(value, x509.KeyUsage):
            lines += [f"usage {key.lstrip('_')}" for key, allowed in vars(value).items() if allowed]
        elif isinstance(value, x509.ExtendedKeyUsage):
            lines += [f"usage {purpose._name}" for purpose in value]
    return "\n".join([f"(CERTIFICATE for {days} days", *(f"  {line}" for line in lines)]) + ")"


# In this order: a certificate's names hold addresses.
MASKS = [
    (re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL), describe_pem),
    # A run that restarted an engine leaves a note for the next one, and that removes it.
    (re.compile(r',\n  "pending": {\n.*?\n  }(?=\n})', re.DOTALL), ""),
    (re.compile(r"(\$2[aby]\$\d\d\$)[./A-Za-z0-9]{53}"), r"\1HASH"),
    (re.compile(r"(\{SSHA\})[A-Za-z0-9+/]+=*"), r"\1HASH"),
    # The file with the registry's secret, and its variable.
    (re.compile(r"(\A|REGISTRY_HTTP_SECRET=)[0-9a-f]{64}(?=\Z|\")"), r"\1SECRET"),
    (re.compile(r"\bcontainer:[0-9a-f]{64}\b"), "container:ID"),  # of another container, whose network one joins
    (re.compile(r"\b((?:ssh|ecdsa)-[\w-]+) AAAA[\w+/]+=*"), r"\1 KEY"),
    (re.compile(r"\bsha256:[0-9a-f]{64}\b"), "sha256:DIGEST"),
    # Of a boot, and of a process in it.
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?: \d+ \d+)?\b"), "UUID"),
    # Not longer: the hash of a configuration shall be the same, because another one replaces the container.
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{16,40}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"^(ok|failed) \d{10}\b.*"), r"\1 TIME ..."),  # how a run ended
    (re.compile(r"\b1[6-9]\d{8}(?:\.\d+)?\b"), "TIME"),
    (re.compile(r"\b(?!0\.0\.0\.0\b|127\.)(?:\d{1,3}\.){3}\d{1,3}\b"), "ADDRESS"),
    # The repository's own rules want no person's home in a file.
    (re.compile(r"/home/(\w+)"), r"~\1"),
]


def mask(text: str, passwords: Mapping[str, str]) -> str:
    """Replace what is random, or another one on another machine, by what it is.

    Args:
        text: of a file, a path, or what an engine says.
        passwords: of the registry's users.
    """
    for user, password in passwords.items():
        text = text.replace(base64.b64encode(f"{user}:{password}".encode()).decode(), f"LOGIN-OF-{user}")
        text = text.replace(password, f"PASSWORD-OF-{user}")
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


@functools.cache
def project_files() -> frozenset[bytes]:
    """Return the hashes of all files of the project, wherever they lie: a file that moves is the same file.

    The command wharf, which is made of some of them, counts as one.
    """
    hashes = set()
    for directory, below, names in os.walk(PROJECT):
        below[:] = [name for name in below if not name.startswith(".") and name != "__pycache__"]
        files = (Path(directory, name) for name in names)
        hashes |= {hashlib.sha256(file.read_bytes()).digest() for file in files if file.is_file()}
    command = base64.b64decode(command_archive(str(PROJECT / "roles/settings")).partition(":")[2])
    return frozenset({*hashes, hashlib.sha256(command).digest()})


def content(data: bytes, program: bool, passwords: Mapping[str, str]) -> str:
    """Return a file's content as the snapshot tells it."""
    if data and hashlib.sha256(data).digest() in project_files():
        return "a file of the project"
    if not program and len(data) <= LONGEST and b"\0" not in data:
        return mask(data.decode(errors="replace"), passwords)
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def call(*command: str, given: str | None = None) -> bytes:
    """Return what a command says; what it ends with is not asked for, as an engine or a file may be missing."""
    return subprocess.run(
        command, input=given and given.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout


class Looker:
    """Looks at one host, which is a container."""

    def __init__(self, container: str, passwords: Mapping[str, str]) -> None:
        """Remember which, and the passwords that are not to be told."""
        self.container = container
        self.passwords = passwords

    def run(self, command: str, given: str | None = None) -> bytes:
        """Return what a command on the host says."""
        return call("docker", "exec", "--interactive", self.container, "sh", "-c", command, given=given)

    def lines(self) -> list[str]:
        """Return the lines about packages and accounts that the host's image does not have."""
        image = call("docker", "inspect", "--format", "{{.Image}}", self.container).decode().strip()
        before = call("docker", "run", "--rm", "--network=none", image, "sh", "-c", SETTINGS).decode().splitlines()
        new = set(self.run(SETTINGS).decode().splitlines()) - set(before)
        pushed = re.compile("image [^ ]+/(busy|test)/")  # by tests
        return sorted(re.sub(r"(?<=:)\d+(?=:)", "ID", line) for line in new if not pushed.match(line))

    def files(self) -> Iterator[tuple[str, Any]]:
        """Yield what was made, changed or removed: paths, and how they are."""
        packaged = set(self.run("cat /var/lib/dpkg/info/*.list").decode().splitlines())
        settings = self.run("dpkg-query -Wf '${Conffiles}\\n'").decode()  # files of packages that people may change
        sums = dict(re.findall(r"^ (/\S+) ([0-9a-f]{32})", settings, re.MULTILINE))
        changes = [line.split(" ", 1) for line in call("docker", "diff", self.container).decode().splitlines()]
        kinds = {path: kind for kind, path in changes if PLACES.match(path) and not NOT_OURS.fullmatch(path)}
        yield from ((path, "removed") for path, kind in kinds.items() if kind == "D")
        there = "".join(f".{path}\n" for path, kind in kinds.items() if kind != "D")
        there += "".join(f".{path}\n" for path in self.run(VOLUMES).decode().splitlines())
        archive = self.run("tar -C / -cf - --no-recursion -T -", given=there)
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            for member in members:
                path = member.name.removeprefix(".")
                data = members.extractfile(member).read() if member.isfile() else b""
                if member.isdir():
                    # The engine calls a directory changed when something in it is.
                    ours = kinds.get(path, "A") == "A" and path not in packaged
                elif member.issym():
                    ours = not member.linkname.startswith(("/lib/", "/usr/lib/", "/usr/share/"))  # made by a package
                else:
                    ours = path not in packaged or sums.get(path, "") not in ("", hashlib.md5(data).hexdigest())
                if not ours or (path, data) == ("/etc/hosts", b"127.0.0.1 localhost\n"):
                    continue
                owner = f"{member.uname or member.uid}:{member.gname or member.gid}"
                if member.issym():
                    yield path, f"-> {member.linkname}"
                elif member.isdir():
                    yield f"{path}/", f"{member.mode:04o} {owner}"
                else:
                    program = data.startswith(b"#!") or path.endswith(".py")
                    text = content(data, program, self.passwords)
                    yield path, {"mode": f"{member.mode:04o} {owner}", "content": text}

    def units(self) -> dict[str, str]:
        """Return the units of Wharf and of the engines: enabled or not, and active or not where they are to stay so."""
        lines = self.run(UNITS).decode().splitlines()
        return {unit: " ".join(states) for unit, *states in map(str.split, lines)}

    def containers(self) -> dict[str, Any]:
        """Return the engine's containers with their settings; those that are not set are left out."""
        found = self.run("docker inspect --type container $(docker ps --all --quiet)").decode() or "[]"
        found = re.sub(r'("(?:org.opencontainers.image.version|wharf.packages)": ")[^"]+', r"\1VERSION", found)
        containers = {}
        for one in json.loads(mask(found, self.passwords)):
            mounts = [{key: mount[key] for key in MOUNT if key in mount} for mount in one["Mounts"]]
            containers[one["Name"].removeprefix("/")] = {
                "Status": one["State"]["Status"],
                **{key: value for key in CONFIG if (value := one["Config"].get(key))},
                **{key: value for key in HOST_CONFIG if (value := one["HostConfig"].get(key))},
                "Mounts": sorted(mounts, key=lambda mount: mount["Destination"]),
            }
        return containers

    def look(self) -> dict[str, Any]:
        """Return all that the snapshot tells of the host."""
        files = {mask(path, self.passwords): how for path, how in sorted(self.files())}
        return {"new": self.lines(), "units": self.units(), "containers": self.containers(), "files": files}


class Dumper(yaml.SafeDumper):
    """Writes YAML as yamllint wants it, and texts as they stand in their files."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists, too."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything where it is."""
        return True


Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def take(scenario: str, passwords: Mapping[str, str]) -> str:
    """Return the text of a scenario's snapshot.

    Args:
        scenario: whose hosts are looked at.
        passwords: of the registry's users, which are not to be told.
    """
    lab = f"wharf-{scenario}"
    names = call("docker", "ps", "--filter", f"label=wharf.lab={lab}", "--format", "{{.Names}}").decode().split()
    assert names, f"no host of {scenario} runs"
    hosts = {name.removeprefix(f"{lab}-"): Looker(name, passwords).look() for name in sorted(names)}
    head = f"# What the roles leave on the hosts of {scenario}; CONTRIBUTING.md says how it is written.\n"
    head += "# yamllint disable rule:line-length\n---\n"
    return head + yaml.dump(hosts, Dumper=Dumper, sort_keys=False, width=1000, allow_unicode=True)


def compare(file: Path, now: str) -> None:
    """Fail if the hosts are not as a snapshot says; or write it, if a person says so.

    Args:
        file: the snapshot.
        now: the text that it would have now.
    """
    before = file.read_text("utf-8") if file.exists() else ""
    if os.environ.get(UPDATE) == "1":
        # Where nobody looks at the result, writing it would be passing whatever the roles do.
        assert os.environ.get("CI", "") in ("", "false"), f"{UPDATE} is for a person: unset it where CI is set"
        file.write_text(now, "utf-8")
        pytest.skip(f"{file.relative_to(PROJECT)} was written: look at its difference, and commit it")
    if now != before:
        name = str(file.relative_to(PROJECT))
        lines = difflib.unified_diff(before.splitlines(), now.splitlines(), name, "the hosts now", lineterm="")
        advice = f"The hosts are not as {name} says. If they are to be so, accept it on freshly converged hosts:"
        advice += f" {UPDATE}=1 molecule verify -s {file.parents[1].name}"
        pytest.fail("\n".join([*lines, advice]), pytrace=False)
