"""The engine's packages where dnf installs them: as engine_packages.py, for systems such as RHEL and Fedora."""

from __future__ import annotations

import re
import tempfile
import urllib.request
from pathlib import Path

from .engine_packages import is_older, matches, run, upstream
from .errors import WharfError

KEY_FILE = "/etc/pki/rpm-gpg/wharf-docker.asc"
SOURCE_FILE = "/etc/yum.repos.d/wharf-docker.repo"
REPOSITORIES = Path("/etc/yum.repos.d")
UPSTREAM = "download.docker.com/linux/"
# A comment before a section belongs to it.
SECTION = re.compile(r"^\[.*\n(?:(?!(?:[ \t]*(?:#.*)?\n)*\[).*(?:\n|\Z))*?(?=(?:[ \t]*(?:#.*)?\n)*\[|\Z)", re.MULTILINE)


def installed_packages(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of those packages that are installed, and which are held: what the own source has all are."""
    form = "%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\n"
    shown = run("rpm", "--query", f"--queryformat={form}", *names).stdout if names else ""
    rows = [line.split() for line in shown.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 2}, names


def owner_of(path: str) -> str:
    """Return the package that a file is from; empty where it is from none."""
    found = run("rpm", "--query", "--file", "--queryformat=%{NAME}", path)
    return found.stdout if found.returncode == 0 else ""


def remove_entries(url: str, is_real: bool, directory: Path = REPOSITORIES) -> list[str]:
    """Take others' entries for Docker's packages out of dnf's repositories: as in engine_packages.py."""
    hosts = "|".join(re.escape(one) for one in (UPSTREAM, re.sub(r"^https?://", "", url.rstrip("/"))))
    unwanted = re.compile(rf"^\s*(?:baseurl|mirrorlist|metalink)\s*=\s*https?://(?:{hosts})", re.MULTILINE)
    gone = []
    for file in sorted(directory.glob("*.repo")):
        if file.name == Path(SOURCE_FILE).name:
            continue
        text = file.read_text("utf-8", "surrogateescape")
        left = SECTION.sub(lambda section: "" if unwanted.search(section[0]) else section[0], text)
        if left == text:
            continue
        name, is_removed = str(REPOSITORIES / file.name), not SECTION.search(left)
        gone.append(name if is_removed else f"Docker's packages in {name}")
        if is_real and is_removed:
            file.unlink()
        elif is_real:
            file.write_text(left, "utf-8", "surrogateescape")
    return gone


def without_holds(source: str) -> str:
    """Return the text of a repository's file that holds no package back."""
    return re.sub(r"^(excludepkgs=).*", r"\1", source, flags=re.MULTILINE)


def words_of(output: str) -> str:
    """Return dnf's errors in one line, a full stop at its end; without any, the end of what it said."""
    errors = re.findall(r"^\s*((?:Error|Problem|Curl error|Failed|- ).*?)\s*$", output, re.MULTILINE)
    text = " ".join(dict.fromkeys(errors))[:900] or " ".join(output.split())[-900:]
    return f"{text.rstrip('.')}."


class Trial:
    """One try of a change: dnf judges it with its repositories as they will be, and nothing on the host changes."""

    def __init__(self, request: dict, found: dict, state: dict) -> None:
        """Prepare it, with what docker_engine_info's functions return."""
        self.request, self.found, self.state = request, found, state
        self.repository, self.engine = request["repository"], request["engine"]
        self.url = self.repository["url"]
        self.where = f"docker_engine_repository_url: {self.url} cannot be used"

    def main(self) -> tuple[dict, str]:
        """Return arguments for dnf install as they were tried, and the text of the repository's key.

        Raises WharfError when the change cannot work, or would harm.
        """
        with tempfile.TemporaryDirectory(prefix="wharf-", dir="/var/tmp") as directory:
            self.directory, self.repositories = Path(directory), Path(directory, "repositories")
            self.repositories.mkdir()
            for file in REPOSITORIES.glob("*.repo"):
                (self.repositories / file.name).write_bytes(file.read_bytes())
            remove_entries(self.url, True, self.repositories)
            key = self._fetch_key()
            own = self.repositories / Path(SOURCE_FILE).name
            own.write_text(without_holds(self.repository["source"]).replace(KEY_FILE, str(self.directory / "key.asc")))
            needed = "--setopt=wharf-docker.skip_if_unavailable=0"
            updated = self._dnf(needed, "--refresh", "--repo=wharf-docker", "makecache")
            if updated.returncode != 0:
                raise WharfError(
                    f"{self.where}. dnf says: {words_of(updated.stdout)} The repository must hold this release, "
                    f"{self.request['release']}."
                )
            version, arguments = self._choose()
            there = self.found["installed"].get(self.engine[0], "")
            if there and is_older(version, there) and not self.request["allow_downgrade"]:
                raise WharfError(
                    f"the engine here is {upstream(there)} ({self.engine[0]}), and {upstream(version)} is older, which "
                    "may not read what the newer one has stored. Choose another docker_engine_version, or set "
                    "docker_engine_allow_downgrade: true."
                )
            if arguments:
                self._simulate(arguments)
                self._check_signature()
        return {"arguments": arguments, "options": []}, key

    def _dnf(self, *arguments: str):
        return run("dnf", f"--setopt=reposdir={self.repositories}", *arguments)

    def _fetch(self, url: str, path: Path) -> None:
        """Fetch a file. Raises OSError."""
        with urllib.request.urlopen(url, timeout=60) as answer:
            path.write_bytes(answer.read())

    def _fetch_key(self) -> str:
        """Fetch the key, and refuse any other than the one that was named. Returns it."""
        url, path, wanted = f"{self.url}/gpg", self.directory / "key.asc", self.repository["fingerprint"]
        try:
            self._fetch(url, path)
        except (OSError, ValueError) as error:
            raise WharfError(
                f"{self.where}, for its key cannot be fetched from {url}: {error}. Is the address right, does this "
                "host reach it, and does it know the CA?"
            ) from error
        home = self.directory / "gnupg"
        home.mkdir(mode=0o700)
        shown = run("gpg", "--homedir", str(home), "--batch", "--show-keys", "--with-colons", str(path))
        if shown.returncode == 127:
            raise WharfError(f"{self.where}: gpg is needed to judge its key: install gnupg2 on this host.")
        rows = [line.split(":") for line in shown.stdout.splitlines()]
        # dnf takes every key in the file, so that it must hold this one only.
        keys = [after[9] for row, after in zip(rows, rows[1:]) if row[0] == "pub" and after[0] == "fpr"]
        is_expired = any(row[0] == "pub" and row[1] in ("e", "r") for row in rows)
        if keys != [wanted] or is_expired:
            offered = f"offers {', '.join(keys)}{', expired or revoked' if is_expired else ''}" if keys else "is no key"
            raise WharfError(
                f"{self.where}, for {url} {offered}, and docker_engine_repository_key_fingerprint names {wanted}: name "
                "the right one, or use another address."
            )
        return path.read_text("utf-8", "replace")

    def _choose(self) -> tuple[str, list[str]]:
        """Return the engine's version, and the packages to install."""
        engine, pin = self.engine, self.request["version"]
        there = self.found["installed"].get(engine[0], "")
        others = [package for package in self.state["missing"] if package not in engine]
        form = "--queryformat=%{name} %{evr}\n"
        listed = self._dnf("--quiet", "repoquery", "--showduplicates", form, *engine, *others).stdout.splitlines()
        rows = [line.split() for line in listed]
        offers = {one: [row[1] for row in rows if len(row) == 2 and row[0] == one] for one in [*engine, *others]}
        if missing := [name for name, versions in offers.items() if not versions]:
            raise WharfError(
                f"docker_engine_source: {self.request['source']} cannot be used, for no repository of this host holds "
                f"{', '.join(missing)}. Asked: {self.url} {self.request['release']}."
            )
        if not pin and all(package in self.found["installed"] for package in engine):
            return there, others
        known: list[str] = []
        for version in offers[engine[0]]:
            if matches(version, pin) if pin else not there or version == there:
                known.append(version)
        for version in sorted(known, key=_NewestFirst):
            same = [next((v for v in offers[one] if matches(v, upstream(version))), None) for one in engine]
            if all(same):
                return version, [f"{one}-{evr}" for one, evr in zip(engine, same)] + others
        held = ", ".join(dict.fromkeys(map(upstream, sorted(offers[engine[0]], key=_NewestFirst))))
        raise WharfError(
            f"docker_engine_version: {pin or upstream(there)!r} of {' and '.join(engine)} is in no repository of this "
            f"host: use one that they hold: {held}. Asked: {self.url} {self.request['release']}."
        )

    def _simulate(self, arguments: list[str]) -> None:
        """Refuse a change that would fail, or take the place of more than was named."""
        tried = self._dnf("--assumeno", "install", *arguments)
        if tried.returncode != 0 and "aborted" not in tried.stdout:
            raise WharfError(
                f"docker_engine_source: {self.request['source']} cannot be installed ({' '.join(arguments)}). "
                f"dnf says: {words_of(tried.stdout)}"
            )
        if others := re.findall(r"^\s+replacing\s+(\S+?)\.\S+\s", tried.stdout, re.MULTILINE):
            raise WharfError(
                f"docker_engine_source: {self.request['source']} would take away {', '.join(others)} as well, which "
                "nobody asked for. Remove that first, or leave this host out."
            )

    def _check_signature(self) -> None:
        """Refuse packages that the key has not signed: one stands for all, for dnf judges each before any change."""
        package = self.engine[-1]
        asked = self._dnf("--quiet", "--repo=wharf-docker", "repoquery", "--latest-limit=1", "--location", package)
        found = re.findall(r"^https?://\S+$", asked.stdout, re.MULTILINE)
        if not found:
            raise WharfError(f"{self.where}, for dnf does not tell where {package} is: {words_of(asked.stdout)}")
        url, path, database = found[-1], self.directory / "one.rpm", f"--dbpath={self.directory / 'rpm'}"
        try:
            self._fetch(url, path)
        except OSError as error:
            raise WharfError(f"{self.where}, for {url} cannot be fetched: {error}.") from error
        run("rpmkeys", database, "--import", str(self.directory / "key.asc"))
        checked = run("rpmkeys", database, "--checksig", str(path))
        if checked.returncode != 0 or "signatures" not in checked.stdout:
            raise WharfError(
                f"{self.where}, for {package} there is not signed by the key that "
                f"docker_engine_repository_key_fingerprint names, {self.repository['fingerprint']}. rpm says: "
                f"{' '.join(checked.stdout.split())}"
            )


class _NewestFirst:
    """Sorts versions."""

    def __init__(self, version: str) -> None:
        self.version = version

    def __lt__(self, other: _NewestFirst) -> bool:
        return is_older(other.version, self.version)


def install(arguments: list[str]) -> None:
    """Install packages in one run; it waits for whoever else uses dnf. Raises WharfError with dnf's own message."""
    done = run("dnf", "--assumeyes", "--refresh", "--setopt=install_weak_deps=False", "install", *arguments)
    if done.returncode != 0:
        raise WharfError(
            f"dnf cannot install {' '.join(arguments)}. It says: {words_of(done.stdout)} Does this host reach its "
            "package repositories (/etc/yum.repos.d)?"
        )
