"""The engine's packages: their versions, other people's sources of them, and a change tried before it is made."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from pathlib import Path

from . import containers
from .daemon_json import PATH as DAEMON_JSON
from .daemon_json import owners, read
from .errors import WharfError
from .processes import search_path

# What the role remembers: the packages that it holds, and why the engine that runs must restart.
HOLDS = "/var/lib/wharf/docker_engine.holds"
RESTART = "/var/lib/wharf/docker_engine.restart"
# Docker's repository. An older entry for it, or for Docker's own server, gets in the way.
KEY_FILE = "/etc/apt/keyrings/wharf-docker.asc"
SOURCE_FILE = "/etc/apt/sources.list.d/wharf-docker.sources"
UPSTREAM = "download.docker.com/linux/"

ONE_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)")
STANZA = re.compile(r"(?:[ \t]*\n)*(?:.*\S.*(?:\n|\Z))+|\s+")
URIS = re.compile(r"^URIs:.*(?:\n[ \t].*)*", re.IGNORECASE | re.MULTILINE)
KEYRINGS = ("/etc/apt/keyrings/", "/etc/apt/trusted.gpg.d/", "/usr/share/keyrings/")


def upstream(version: str) -> str:
    """Return the program's version in a package's version: without epoch, revision and what Debian adds."""
    return version.rpartition(":")[2].rsplit("-", 1)[0].split("+")[0]


def matches(version: str, pin: str) -> bool:
    """Return whether a package's version is the pinned one, or begins with it."""
    return f"{upstream(version)}.".startswith(f"{pin}.")


def is_older(left: str, right: str) -> bool:
    """Return whether the engine of one package's version is older than that of another one."""
    return _order(left) < _order(right)


def _order(version: str) -> tuple[list[int], bool, list[int]]:
    """Return what versions are sorted by: 29.0.0~rc.1 comes before 29.0.0."""
    release, tilde, candidate = upstream(version).partition("~")
    return [int(part) for part in re.findall(r"\d+", release)], not tilde, list(map(int, re.findall(r"\d+", candidate)))


def run(*argv: str, text: str | None = None) -> subprocess.CompletedProcess:
    """Run a program whose messages are to be English, with its output and errors in one."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment["PATH"] = search_path()
    try:
        return subprocess.run(
            argv, env=environment, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, f"{argv[0]}: not found")


def installed_packages(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of those packages that are installed, and which of them are held."""
    form = "${Package} ${db:Status-Status} ${Version} ${db:Status-Want}\n"
    shown = run("dpkg-query", "--show", f"--showformat={form}", *names).stdout if names else ""
    rows = [line.split() for line in shown.splitlines() if not line.startswith("dpkg-query:")]
    rows = [row for row in rows if len(row) == 4 and row[1] == "installed"]
    return {row[0]: row[2] for row in rows}, [row[0] for row in rows if row[3] == "hold"]


def owner_of(path: str) -> str:
    """Return the package that a file is from; empty where it is from none."""
    found = run("dpkg-query", "--search", path)
    return found.stdout.partition(":")[0] if found.returncode == 0 else ""


def complaints(output: str, otherwise: str = "") -> str:
    """Return apt's errors and warnings in one line, each once; without any, `otherwise`."""
    lines = [line[3:].strip() for line in output.splitlines() if line[:3] in ("E: ", "W: ")]
    sentences = [line if line.endswith((".", "?", "!")) else f"{line}." for line in lines]
    return " ".join(dict.fromkeys(sentences)) or otherwise


# Sources of others -----------------------------------------------------------------------------------------------
# Not python3-apt's aptsources (tried: 2.6.0 of Debian 12, 3.0.0 of Debian 13): to it a line with signed-by is invalid,
# it does not tell the keyring, and it leaves a file alone whose last entry goes.


def _bare(uri: str) -> str:
    """Return an address without what may differ: the scheme and closing slashes."""
    return re.sub(r"^[a-z+]+://", "", uri).rstrip("/")


def _entry(text: str, is_line: bool) -> tuple[list[str], set[str]]:
    """Return the addresses and the keyrings of an entry, a line or a stanza."""
    if is_line:
        found = ONE_LINE.match(text)
        if not found:
            return [], set()
        uris, signed_by = [found["uri"]], " ".join(re.findall(r"(?i)signed-by=(\S+)", found["options"] or ""))
    else:
        lines = [line for line in text.splitlines(keepends=True) if line.strip() and not line.startswith("#")]
        fields = message_from_string("".join(lines))
        uris, signed_by = fields.get("URIs", "").split(), fields.get("Signed-By", "")
    return uris, {word for word in re.split(r"[\s,]+", signed_by) if word.startswith("/")}


def without(text: str, unwanted: set[str], is_list: bool) -> tuple[str, set[str], set[str]]:
    """Take addresses out of a file of apt's; an entry goes with its last one.

    Returns what is left, the keyrings of the entries that go, and those of the others.
    """
    left, gone_keys, other_keys = [], set(), set()
    for entry in text.splitlines(keepends=True) if is_list else STANZA.findall(text):
        uris, keys = _entry(entry, is_list)
        kept = [uri for uri in uris if _bare(uri) not in unwanted]
        if uris and not kept:
            gone_keys |= keys
            continue
        other_keys |= keys
        left.append(entry if kept == uris else URIS.sub(f"URIs: {' '.join(kept)}", entry))
    return "".join(left), gone_keys, other_keys


def remove_entries(url: str, is_real: bool, apt: Path = Path("/etc/apt")) -> list[str]:
    """Take others' entries for Docker's packages out of apt's sources, and keyrings that only they named.

    They are those for Docker's own server and for `url`. Returns what goes, for people, or would (not `is_real`).
    """
    unwanted = {_bare(url), f"{UPSTREAM}debian", f"{UPSTREAM}ubuntu"}
    gone, gone_keys, other_keys = [], set(), set()
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix not in (".list", ".sources") or not file.is_file() or file.name == Path(SOURCE_FILE).name:
            continue
        text = file.read_text("utf-8", "surrogateescape")
        left, out, other = without(text, unwanted, file.suffix == ".list")
        gone_keys |= out
        other_keys |= other
        if left == text:
            continue
        name = f"/etc/apt/{file.relative_to(apt)}"
        holds_nothing = all(not line.strip() or line.lstrip().startswith("#") for line in left.splitlines())
        is_removed = holds_nothing and file.name != "sources.list"
        gone.append(name if is_removed else f"Docker's packages in {name}")
        if is_real and is_removed:
            file.unlink()
        elif is_real:
            file.write_text(left, "utf-8", "surrogateescape")
    for key in sorted(gone_keys - other_keys):
        # A package's file is the package's business.
        is_ours_to_remove = key.startswith(KEYRINGS) and Path(key).is_file()
        if is_ours_to_remove and not owner_of(key):
            gone.append(key)
            if is_real and apt == Path("/etc/apt"):
                Path(key).unlink()
    return gone


def sources_problem(output: str, apt: Path = Path("/etc/apt")) -> str:
    """Return why apt cannot fetch its lists, in its own words, with the files of the sources that they are about."""
    problem, files = complaints(output, " ".join(output.split())), []
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix in (".list", ".sources") and file.is_file():
            text = file.read_text("utf-8", "surrogateescape")
            entries = text.splitlines() if file.suffix == ".list" else STANZA.findall(text)
            uris = [uri.rstrip("/") for entry in entries for uri in _entry(entry, file.suffix == ".list")[0]]
            # Of another source below the same address apt says more than this one's.
            if any(re.search(rf"{re.escape(uri)}/?(?:dists/|\./|[\s',:]|$)", problem) for uri in uris):
                files.append(str(file))
    where = f" It is about {', '.join(files)}." if files else ""
    return f"apt-get update fails on this host: {problem}{where} Correct the source, or take it out, first."


# Trying a change -------------------------------------------------------------------------------------------------


class Preflight:
    """One try of a change, in a directory of its own: apt judges it, and nothing on the host changes."""

    def __init__(self, request: dict, found: dict, state: dict) -> None:
        """Prepare it, with what docker_engine_info's functions return."""
        self.request, self.found, self.state = request, found, state
        self.repository, self.source, self.engine = request["repository"], request["source"], request["engine"]
        self.url = self.repository.get("url", "")
        self.can_go_back = request["allow_downgrade"]
        self.said = ""

    def main(self) -> tuple[dict, str]:
        """Return arguments and options for apt-get install as they were tried, and the text of the repository's key.

        Raises WharfError when the change cannot work, or would harm.
        """
        with self._directory():
            key = self._try_repository() if self.url else ""
            updated = self._apt("apt-get", "update")
            self.said += updated.stdout
            if updated.returncode != 0:
                raise WharfError(sources_problem(updated.stdout))
            version, packages = self._choose()
            self._refuse_downgrade(version)
            if self.state["remove"]:
                self._refuse_lost_images(version)
            arguments = [*packages, *(f"{name}-" for name in self.state["remove"])] if packages else []
            options = ["--no-install-recommends"]
            # Between the sources the package's version can go down (an epoch) while the engine's goes up.
            if self.can_go_back:
                options.append("--allow-downgrades")
            # Holds of other people stay in force.
            if set(run("apt-mark", "showhold").stdout.split()) & set(self.found["holds"]):
                options.append("--allow-change-held-packages")
            if arguments:
                self._simulate(arguments, options)
        return {"arguments": arguments, "options": options}, key

    def try_sources(self) -> None:
        """Raise WharfError where apt cannot use a source of this host. Only what each says of itself is fetched."""
        with self._directory():
            kinds = ("deb::Packages", "deb-src::Sources", "deb::Contents-deb", "deb::DEP-11")
            options = [f"-oAcquire::IndexTargets::{kind}::DefaultEnabled=false" for kind in kinds]
            updated = self._apt("apt-get", "-oAcquire::Retries=0", *options, "update")
            if updated.returncode != 0:
                raise WharfError(sources_problem(updated.stdout))

    @contextmanager
    def _directory(self) -> Iterator[None]:
        """Give apt a directory of its own, and remove it afterwards."""
        os.umask(0o022)  # apt reads in it as a user of its own
        with tempfile.TemporaryDirectory(prefix="wharf-", dir="/var/tmp") as directory:
            os.chmod(directory, 0o755)
            self._prepare(Path(directory))
            yield

    def _prepare(self, directory: Path) -> None:
        """Copy apt's lists and sources, without old entries."""
        self.conf, self.apt, self.key_file = directory / "apt.conf", directory / "apt", directory / "key.asc"
        lists = directory / "lists"
        shutil.copytree("/var/lib/apt/lists", lists, ignore=shutil.ignore_patterns("lock", "partial"))
        (lists / "partial").mkdir()
        # What others have hung into apt's updates has nothing to do with this one.
        hooks = ("Update::Pre-Invoke", "Update::Post-Invoke", "Update::Post-Invoke-Success")
        self.conf.write_text(
            "".join(f"#clear APT::{hook};\n" for hook in hooks)
            + f'Dir::State::lists "{lists}"; Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n'
            'APT::Get::List-Cleanup "false"; Acquire::Languages "none";\n'
        )
        shutil.copytree("/etc/apt/sources.list.d", self.apt / "sources.list.d")
        if Path("/etc/apt/sources.list").exists():
            shutil.copy("/etc/apt/sources.list", self.apt)
        (self.apt / "sources.list").touch()
        self.own = self.apt / "sources.list.d" / Path(SOURCE_FILE).name
        self.own.unlink(missing_ok=True)
        if self.url:
            remove_entries(self.url, True, self.apt)

    def _apt(self, program: str, *arguments: str, source: Path | None = None) -> subprocess.CompletedProcess:
        """Run apt-get or apt-cache with the lists of this try, and with its sources or only one of them."""
        return run(
            program,
            f"--config-file={self.conf}",
            f"-oDir::Etc::sourcelist={source or self.apt / 'sources.list'}",
            f"-oDir::Etc::sourceparts={'/dev/null' if source else self.apt / 'sources.list.d'}",
            *arguments,
        )

    def _try_repository(self) -> str:
        """Fetch the key and the repository's lists. Returns the key."""
        url = f"{self.url.rstrip('/')}/gpg"
        fetched = run("/usr/lib/apt/apt-helper", "-oAcquire::Retries=1", "download-file", url, str(self.key_file))
        where = f"docker_engine_repository_url: {self.url} cannot be used"
        if fetched.returncode != 0:
            raise WharfError(
                f"{where}, for its key cannot be fetched from {url}. apt says: "
                f"{complaints(fetched.stdout, fetched.stdout)} "
                "Is the address right, does this host reach it, and does it know the CA (package ca-certificates)?"
            )
        key = self.key_file.read_text("utf-8", "replace")
        if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in key:
            raise WharfError(f"{where}, for {url} is no key in text form (BEGIN PGP PUBLIC KEY BLOCK).")
        self.own.write_text(self.repository["source"].replace(KEY_FILE, str(self.key_file)))
        updated = self._apt("apt-get", "-oAPT::Update::Error-Mode=any", "update", source=self.own)
        if updated.returncode != 0:
            message = complaints(updated.stdout, updated.stdout).replace(str(self.key_file), url)
            raise WharfError(
                f"{where}. apt says: {message} The repository must hold this release and be signed by the key that "
                f"docker_engine_repository_key_fingerprint names, {self.repository['fingerprint']}, and {url} "
                "must offer that key, not expired."
            )
        self.said = updated.stdout
        return key

    def _offered(self, package: str) -> list[str]:
        """Return the versions of a package that the repositories hold, newest first."""
        lines = self._apt("apt-cache", "madison", package).stdout.splitlines()
        found = [line.split("|") for line in lines if line.count("|") == 2]
        return list(dict.fromkeys(parts[1].strip() for parts in found if parts[0].strip() == package))

    def _choose(self) -> tuple[str, list[str]]:
        """Return the engine's version, and the packages to install."""
        engine, installed, pin = self.engine, self.found["installed"], self.request["version"]
        others = [package for package in self.state["missing"] if package not in engine]
        offers = {package: self._offered(package) for package in [*engine, *others]}
        message = complaints(self.said)
        asked = f" Asked: {self.url} {self.request['release']}." if self.url else ""
        asked += f" apt says: {message}" if message else ""
        missing = [name for name, versions in offers.items() if not versions]
        if missing:
            raise WharfError(
                f"docker_engine_source: {self.source} cannot be used, for no repository of this host holds "
                f"{', '.join(missing)}.{asked}"
            )
        there = installed.get(engine[0], "")
        if pin:
            known = [version for version in offers[engine[0]] if matches(version, pin)]
        elif all(package in installed for package in engine):
            return there, others
        elif there:  # it is upgraded only on request
            known = [there]
        else:
            known = re.findall(r"Candidate: (\S+)", self._apt("apt-cache", "policy", engine[0]).stdout)
        for version in known:
            # Each has a revision of its own.
            same = [next((v for v in offers[package] if matches(v, upstream(version))), None) for package in engine]
            if all(same):
                return version, [f"{package}={one}" for package, one in zip(engine, same)] + others
        held = ", ".join(dict.fromkeys(map(upstream, offers[engine[0]]))) or "none"
        raise WharfError(
            f"docker_engine_version: {pin or upstream(there)!r} of {' and '.join(engine)} is in no repository of this "
            f"host: use one that they hold: {held}.{asked}"
        )

    def _refuse_downgrade(self, version: str) -> None:
        """Refuse an older engine than the one that is there, unless it is allowed."""
        for package in ("docker.io", "docker-ce"):
            there = self.found["installed"].get(package, "")
            if there and is_older(version, there) and not self.can_go_back:
                raise WharfError(
                    f"the engine here is {upstream(there)} ({package}), and {upstream(version)} is older, which may "
                    "not read what the newer one has stored. Choose another docker_engine_version, or set "
                    "docker_engine_allow_downgrade: true."
                )

    def _refuse_lost_images(self, version: str) -> None:
        """Refuse an engine that would not see images and containers of this one."""
        if not (containers.engine() or {}).get("containerd_image_store"):
            return
        if is_older(version, "24"):
            raise WharfError(
                f"the engine here keeps its images in containerd's store, which {upstream(version)} does not know: "
                "images and containers would be out of sight. Choose an engine from 24 on."
            )
        features = self.request["options"].get("features") or {}
        if features.get("containerd-snapshotter", _others_want_containerd_store()) is not True:
            raise WharfError(
                "the engine here keeps its images in containerd's store, and the other one might not: images and "
                "containers would be out of sight. Put features: {containerd-snapshotter: true} into "
                "docker_engine_options."
            )

    def _simulate(self, arguments: list[str], options: list[str]) -> None:
        """Refuse a change that would fail, or remove more than was named."""
        tried = self._apt("apt-get", "--simulate", "--yes", *options, "install", *arguments)
        if tried.returncode != 0:
            raise WharfError(
                f"docker_engine_source: {self.source} cannot be installed ({' '.join(arguments)}). "
                f"apt says: {' '.join(tried.stdout.split())[-900:]}"
            )
        removed = re.findall(r"^Remv (\S+)", tried.stdout, re.MULTILINE)
        others = [name for name in removed if name not in self.state["remove"]]
        if others:
            raise WharfError(
                f"docker_engine_source: {self.source} would take away {', '.join(others)} as well, which "
                "nobody asked for. Remove that first, or leave this host out."
            )


def _others_want_containerd_store() -> bool:
    """Return whether daemon.json asks for containerd's store other than by the role, whose option may have gone."""
    try:
        features = read(DAEMON_JSON).get("features")
        is_wanted = isinstance(features, dict) and features.get("containerd-snapshotter") is True
        return is_wanted and "docker_engine" not in owners(("features", "containerd-snapshotter"))
    except WharfError:
        return False
