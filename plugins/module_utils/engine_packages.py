"""The engine's packages: which versions the sources offer, what apt would do, and doing it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from pathlib import Path

from .daemon_json import PATH as DAEMON_JSON
from .daemon_json import owners, parse, read_bytes
from .errors import WharfError
from .files import write_atomic

ONE_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)")
KEYRINGS = ("/etc/apt/keyrings/", "/etc/apt/trusted.gpg.d/", "/usr/share/keyrings/")
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# wharf\nexit 101\n"
LOCK_WAIT = 300  # seconds: an unattended upgrade may be at work
ENGINES = ("docker.io", "docker-ce")
# Docker's repository. An older entry for it, or for Docker's own server, gets in the way.
KEY_FILE = "/etc/apt/keyrings/wharf-docker.asc"
SOURCE_FILE = "/etc/apt/sources.list.d/wharf-docker.sources"
UPSTREAM = "https://download.docker.com/linux/debian"


def upstream(version: str) -> str:
    """Return the program's version in a package's version: without epoch, revision and what Debian adds."""
    return version.rpartition(":")[2].rsplit("-", 1)[0].split("+")[0]


def matches(version: str, pin: str) -> bool:
    """Return whether a package's version is the pinned one, or begins with it."""
    return upstream(version) == pin or upstream(version).startswith(f"{pin}.")


def is_older(left: str, right: str) -> bool:
    """Return whether one version of the program comes before another."""
    return run("dpkg", "--compare-versions", upstream(left), "lt", upstream(right)).returncode == 0


def run(*argv: str, text: str | None = None) -> subprocess.CompletedProcess:
    """Run a program whose messages are to be English, with its output and errors in one."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    return subprocess.run(
        argv, env=environment, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def complaints(output: str) -> str:
    """Return apt's errors and warnings in one line, each once; empty where there are none."""
    lines = [line[3:].strip() for line in output.splitlines() if line[:3] in ("E: ", "W: ")]
    return " ".join(dict.fromkeys(line if line.endswith((".", "?", "!")) else f"{line}." for line in lines))


# Sources of others -----------------------------------------------------------------------------------------------
# Not aptsources: python3-apt knows no deb822 on Debian 12.


def bare(uri: str) -> str:
    """Return an address without what may differ: the scheme and closing slashes."""
    return re.sub(r"^[a-z+]+://", "", uri).rstrip("/")


def _keyrings_in(text: str) -> set[str]:
    """Return the keyrings that a Signed-By names."""
    return {word for word in re.split(r"[\s,]+", text) if word.startswith("/")}


def split_list(text: str, unwanted: set[str]) -> tuple[str, set[str], set[str]]:
    """Return what is left of a file of one-line entries, the keyrings of those that go, and of those that stay."""
    left, gone_keys, other_keys = [], set(), set()
    for line in text.splitlines(keepends=True):
        entry = ONE_LINE.match(line)
        keys = re.search(r"signed-by=(\S+)", entry["options"] or "", re.IGNORECASE) if entry else None
        named = _keyrings_in(keys[1]) if keys else set()
        if entry and bare(entry["uri"]) in unwanted:
            gone_keys |= named
        else:
            left.append(line)
            other_keys |= named
    return "".join(left), gone_keys, other_keys


def split_deb822(text: str, unwanted: set[str]) -> tuple[str, set[str], set[str]]:
    """Return the same of a file of stanzas: a stanza loses unwanted addresses, and goes with its last one."""
    left, gone_keys, other_keys, is_changed = [], set(), set(), False
    for stanza in re.split(r"(?<=\n)(?:[ \t]*\n)+", text):
        fields = message_from_string("".join(line for line in stanza.splitlines(True) if not line.startswith("#")))
        uris = fields.get("URIs", "").split()
        kept = [uri for uri in uris if bare(uri) not in unwanted]
        named = _keyrings_in(fields.get("Signed-By", ""))
        is_changed |= kept != uris
        if kept == uris:
            left.append(stanza)
            other_keys |= named
        elif kept:
            line = re.compile(r"^URIs:.*\n(?:[ \t].*\n)*", re.IGNORECASE | re.MULTILINE)
            left.append(line.sub(f"URIs: {' '.join(kept)}\n", stanza.rstrip("\n") + "\n"))
            other_keys |= named
        else:
            gone_keys |= named
    return "\n".join(left) if is_changed else text, gone_keys, other_keys


def _is_empty(text: str) -> bool:
    """Return whether a file holds nothing for apt."""
    return all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines())


def remove_entries(url: str, is_real: bool, apt: Path = Path("/etc/apt")) -> list[str]:
    """Take others' entries for Docker's packages out of apt's sources, and keyrings that only they named.

    Args:
        url: the address of the repository.
        is_real: False: only find out what would go.
        apt: /etc/apt, or a copy of it.

    Returns:
        what goes, for people.
    """
    unwanted = {bare(url), bare(UPSTREAM)}
    gone, gone_keys, other_keys = [], set(), set()
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix not in (".list", ".sources") or not file.is_file() or file.name == Path(SOURCE_FILE).name:
            continue
        text = file.read_text("utf-8", "surrogateescape")
        left, out, other = (split_list if file.suffix == ".list" else split_deb822)(text, unwanted)
        gone_keys |= out
        other_keys |= other
        if left == text:
            continue
        name = f"/etc/apt/{file.relative_to(apt)}"
        is_removed = _is_empty(left) and file.name != "sources.list"
        gone.append(name if is_removed else f"Docker's packages in {name}")
        if is_real and is_removed:
            file.unlink()
        elif is_real:
            file.write_text(left, "utf-8", "surrogateescape")
    for key in sorted(gone_keys - other_keys):
        # A package's file is the package's business.
        is_ours_to_remove = key.startswith(KEYRINGS) and Path(key).is_file()
        if is_ours_to_remove and run("dpkg-query", "--search", key).returncode != 0:
            gone.append(key)
            if is_real and apt == Path("/etc/apt"):
                Path(key).unlink()
    return gone


# Trying a change -------------------------------------------------------------------------------------------------


class Preflight:
    """One try of a change, in a directory of its own: apt judges it, and nothing on the host changes."""

    def __init__(self, request: dict, found: dict, state: dict) -> None:
        """Prepare it, with what engine_state's functions return."""
        self.request, self.found, self.state = request, found, state
        self.url, self.pin, self.engine = request["repository_url"], request["version"], request["engine"]
        self.complaints = ""
        self.key = ""

    def main(self) -> dict:
        """Do it.

        Returns:
            arguments and options for apt-get install as they were tried; key, the text of the repository's key.

        Raises:
            WharfError: the change cannot work, or would harm.
        """
        with tempfile.TemporaryDirectory(prefix="wharf-", dir="/var/tmp") as directory:
            # apt reads the key as a user of its own.
            os.chmod(directory, 0o755)
            self._prepare(Path(directory))
            if self.url:
                self._try_repository()
            self._update()
            version, packages = self._choose()
            self._refuse_downgrade(version)
            self._refuse_lost_images(version)
            arguments = [*packages, *(f"{name}-" for name in self.state["remove"])] if packages else []
            options = self._options()
            if arguments:
                self._simulate(arguments, options)
        return {"arguments": arguments, "options": options, "key": self.key}

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

    def _try_repository(self) -> None:
        """Fetch the key and the repository's lists."""
        url = f"{self.url.rstrip('/')}/gpg"
        fetched = run("/usr/lib/apt/apt-helper", "-oAcquire::Retries=1", "download-file", url, str(self.key_file))
        where = f"docker_engine_repository_url: {self.url} cannot be used"
        if fetched.returncode != 0:
            raise WharfError(
                f"{where}, for its key cannot be fetched from {url}. apt says: "
                f"{complaints(fetched.stdout) or fetched.stdout} "
                "Is the address right, does this host reach it, and does it know the CA (package ca-certificates)?"
            )
        self.key = self.key_file.read_text("utf-8", "replace")
        if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in self.key:
            raise WharfError(f"{where}, for {url} is no key in text form (BEGIN PGP PUBLIC KEY BLOCK).")
        self.own.write_text(self.request["repository_source"].replace(KEY_FILE, str(self.key_file)))
        updated = self._apt("apt-get", "-oAPT::Update::Error-Mode=any", "update", source=self.own)
        if updated.returncode != 0:
            message = (complaints(updated.stdout) or updated.stdout).replace(str(self.key_file), url)
            raise WharfError(
                f"{where}. apt says: {message} The repository must hold this release and be signed by the key that "
                f"docker_engine_repository_key_fingerprint names, {self.request['repository_fingerprint']}, and {url} "
                "must offer that key, not expired."
            )
        self.complaints = updated.stdout

    def _update(self) -> None:
        """Fetch the lists of the host's own sources."""
        updated = self._apt("apt-get", "update")
        self.complaints += updated.stdout
        if updated.returncode != 0:
            raise WharfError(
                f"apt-get update fails on this host: {complaints(updated.stdout) or updated.stdout} Correct the "
                "sources in /etc/apt first."
            )

    def _offered(self, package: str) -> list[str]:
        """Return the versions of a package that the repositories hold, newest first."""
        lines = self._apt("apt-cache", "madison", package).stdout.splitlines()
        found = [line.split("|") for line in lines if line.count("|") == 2]
        return list(dict.fromkeys(parts[1].strip() for parts in found if parts[0].strip() == package))

    def _choose(self) -> tuple[str, list[str]]:
        """Return the engine's version, and the packages to install."""
        engine, installed, pin = self.engine, self.found["installed"], self.pin
        offers = {package: self._offered(package) for package in [*engine, *self.state["missing"]]}
        there = installed.get(engine[0], "")
        missing = [name for name, versions in offers.items() if not versions]
        if missing:
            raise WharfError(
                f"docker_engine_source: {self.request['source']} cannot be used, for no repository of this host holds "
                f"{', '.join(missing)}.{self._asked()}"
            )
        others = [package for package in self.state["missing"] if package not in engine]
        if not pin and all(package in installed for package in engine):
            return there, others
        if pin:
            known = [version for version in offers[engine[0]] if matches(version, pin)]
        else:
            # What is there already is upgraded only on request.
            known = [there or self._candidate(engine[0])]
        for version in known:
            # Each has a revision of its own.
            same = [next((v for v in offers[package] if matches(v, upstream(version))), None) for package in engine]
            if all(same):
                return version, [f"{package}={one}" for package, one in zip(engine, same)] + others
        held = ", ".join(dict.fromkeys(map(upstream, offers[engine[0]]))) or "none"
        raise WharfError(
            f"docker_engine_version: {pin or upstream(there)!r} of {' and '.join(engine)} is in no repository of this "
            f"host: use one that they hold: {held}.{self._asked()}"
        )

    def _candidate(self, package: str) -> str:
        """Return the version that apt would take by itself."""
        found = re.search(r"Candidate: (\S+)", self._apt("apt-cache", "policy", package).stdout)
        return found[1] if found else ""

    def _asked(self) -> str:
        """Return which repository was asked, and apt's complaints about it."""
        where = f" Asked: {self.url} {self.request['release']}." if self.url else ""
        message = complaints(self.complaints)
        return f"{where} apt says: {message}" if message else where

    def _options(self) -> list[str]:
        """Return apt-get's options."""
        options = ["--no-install-recommends"]
        # Between the sources the package's version can go down (an epoch) while the engine's goes up.
        if self.request["allow_downgrade"]:
            options.append("--allow-downgrades")
        # Holds of other people stay in force.
        held = run("apt-mark", "showhold").stdout.split()
        if set(held) & set(self.found["holds"]):
            options.append("--allow-change-held-packages")
        return options

    def _refuse_downgrade(self, version: str) -> None:
        """Refuse an older engine than the one that is there, unless it is allowed."""
        for package in ENGINES:
            there = self.found["installed"].get(package, "")
            if there and is_older(version, there) and not self.request["allow_downgrade"]:
                raise WharfError(
                    f"the engine here is {upstream(there)} ({package}), and {upstream(version)} is older, which may "
                    "not read what the newer one has stored. Choose another docker_engine_version, or set "
                    "docker_engine_allow_downgrade: true."
                )

    def _refuse_lost_images(self, version: str) -> None:
        """Refuse an engine that would not see images and containers of this one."""
        if not self.state["remove"]:
            return
        info = run("docker", "info", "--format", "{{json .DriverStatus}}").stdout
        if "io.containerd.snapshotter" not in info:
            return
        if is_older(version, "24"):
            raise WharfError(
                f"the engine here keeps its images in containerd's store, which {upstream(version)} does not know: "
                "images and containers would be out of sight. Choose an engine from 24 on."
            )
        features = self.request["options"].get("features") or {}
        if features.get("containerd-snapshotter", others_want_containerd_store()) is not True:
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
                f"docker_engine_source: {self.request['source']} cannot be installed ({' '.join(arguments)}). "
                f"apt says: {' '.join(tried.stdout.split())[-900:]}"
            )
        removed = re.findall(r"^Remv (\S+)", tried.stdout, re.MULTILINE)
        others = [name for name in removed if name not in self.state["remove"]]
        if others:
            raise WharfError(
                f"docker_engine_source: {self.request['source']} would take away {', '.join(others)} as well, which "
                "nobody asked for. Remove that first, or leave this host out."
            )


def others_want_containerd_store() -> bool:
    """Return whether daemon.json asks for containerd's store other than by the role, whose option may have gone."""
    try:
        features = parse(read_bytes(DAEMON_JSON) or b"", DAEMON_JSON).get("features")
        is_wanted = isinstance(features, dict) and features.get("containerd-snapshotter") is True
        return is_wanted and "docker_engine" not in owners(("features", "containerd-snapshotter"))
    except WharfError:
        return False


# Changing the packages -------------------------------------------------------------------------------------------


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Keep packages from starting, stopping and restarting services: the engine first starts with its configuration."""
    kept = POLICY.with_suffix(".d.wharf")

    def put_back() -> None:
        POLICY.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(POLICY)

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    # A run that was killed has left its own behind.
    if POLICY.is_file() and POLICY.read_text("utf-8", "replace") == POLICY_TEXT:
        put_back()
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    try:
        if POLICY.exists():
            POLICY.rename(kept)
        write_atomic(str(POLICY), POLICY_TEXT.encode(), 0o755)
        yield
    finally:
        put_back()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def update_lists() -> str:
    """Let apt fetch its lists, once nobody else does.

    Returns:
        its output.

    Raises:
        WharfError: it cannot.
    """
    # Long descriptions are half of the lists' size, and nothing here reads them; those that are there stay.
    lean = ("-oAcquire::Languages=none", "-oAPT::Get::List-Cleanup=false")
    end = time.monotonic() + LOCK_WAIT
    while True:
        updated = run("apt-get", "--quiet", *lean, "update")
        # apt itself waits for dpkg's lock, not for that of its lists.
        if updated.returncode == 0 or "lists/lock" not in updated.stdout or time.monotonic() > end:
            break
        time.sleep(2)
    if updated.returncode != 0:
        raise WharfError(f"apt-get update fails on this host: {complaints(updated.stdout) or updated.stdout.strip()}")
    return updated.stdout


def install(arguments: list[str], options: list[str]) -> None:
    """Fetch apt's lists, then install and remove packages in one run; configuration files of people stay.

    Raises:
        WharfError: with apt's own message.
    """
    updated = update_lists()
    with no_service_starts():
        keep_files = ("-oDpkg::Options::=--force-confdef", "-oDpkg::Options::=--force-confold")
        waits = f"-oDPkg::Lock::Timeout={LOCK_WAIT}"
        done = run("apt-get", "--quiet", "--yes", waits, *keep_files, *options, "install", *arguments)
    if done.returncode != 0:
        message = complaints(done.stdout + updated) or " ".join(done.stdout.split())[-900:]
        raise WharfError(
            f"apt cannot install {' '.join(arguments)}. It says: {message} Does this host reach its package "
            "repositories (/etc/apt/sources.list, sources.list.d)?"
        )


def select(packages: list[str], selection: str) -> None:
    """Hold packages, or release them (`install`)."""
    text = "".join(f"{package} {selection}\n" for package in packages)
    done = run("dpkg", "--set-selections", text=text)
    if done.returncode != 0:
        raise WharfError(f"dpkg cannot set {', '.join(packages)} to {selection}: {done.stdout.strip()}")
