# SPDX-License-Identifier: MIT
"""Try whether the engine can come from where it shall come; take entries for it out of other people's apt sources.

    python3 packages.py try JSON      changes nothing: all is fetched into a directory of its own
    python3 packages.py clean JSON

The JSON is __docker_engine_order of vars/main.yml. `try` lets apt fetch the repository's lists and judge their
signature, looks for the version and lets apt simulate the change. It writes JSON: problems (messages), arguments and
options (for apt-get install, just as they were simulated), version (the engine's), key (its text), gone (what would go
of others' sources). `clean` writes what went, one a line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ONE_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)")
KEYRINGS = ("/etc/apt/keyrings/", "/etc/apt/trusted.gpg.d/", "/usr/share/keyrings/")


def bare(uri: str) -> str:
    """An address without what may differ: the scheme and closing slashes."""
    return re.sub(r"^[a-z+]+://", "", uri).rstrip("/")


def keyrings_in(words: str) -> set[str]:
    """The keyrings that a Signed-By names."""
    return {word for word in re.split(r"[\s,]+", words) if word.startswith("/")}


def split_list(text: str, unwanted: set[str]) -> tuple[str, set[str], set[str]]:
    """What is left of a file of one-line entries, the keyrings of those that went, and of those that stay."""
    left, gone_keys, other_keys = [], set(), set()
    for line in text.splitlines(keepends=True):
        entry = ONE_LINE.match(line)
        keys = re.search(r"signed-by=(\S+)", entry["options"] or "", re.IGNORECASE) if entry else None
        named = keyrings_in(keys[1]) if keys else set()
        if entry and bare(entry["uri"]) in unwanted:
            gone_keys |= named
        else:
            left.append(line)
            other_keys |= named
    return "".join(left), gone_keys, other_keys


def split_deb822(text: str, unwanted: set[str]) -> tuple[str, set[str], set[str]]:
    """The same of a file of stanzas: a stanza loses unwanted addresses, and goes with its last one."""
    left, gone_keys, other_keys, is_changed = [], set(), set(), False
    for stanza in re.split(r"(?<=\n)(?:[ \t]*\n)+", text):
        fields, name = {}, ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] not in (" ", "\t"):
                name, _colon, line = line.partition(":")
                name = name.strip().lower()
            fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
        uris = fields.get("uris", "").split()
        kept = [uri for uri in uris if bare(uri) not in unwanted]
        named = keyrings_in(fields.get("signed-by", ""))
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


def is_empty(text: str) -> bool:
    """Whether a file says nothing to apt."""
    return all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines())


def clean(apt: Path, repositories: list[str], keep: str) -> list[str]:
    """Take the entries out of the files in a directory such as /etc/apt. Returns what went, in words."""
    unwanted = {bare(uri) for uri in repositories}
    gone, gone_keys, other_keys = [], set(), set()
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file() or file.name == Path(keep).name:
            continue
        text = file.read_text("utf-8", "surrogateescape")
        left, out, other = (split_list if file.suffix == ".list" else split_deb822)(text, unwanted)
        gone_keys |= out
        other_keys |= other
        if left == text:
            continue
        real = f"/etc/apt/{file.relative_to(apt)}"
        if is_empty(left) and file.name != "sources.list":
            file.unlink()
            gone.append(real)
        else:
            file.write_text(left, "utf-8", "surrogateescape")
            gone.append(f"Docker's packages in {real}")
    for key in sorted(gone_keys - other_keys):
        # A package's file is the package's business.
        is_ours_to_remove = key.startswith(KEYRINGS) and Path(key).is_file()
        if is_ours_to_remove and subprocess.run(["dpkg-query", "--search", key], capture_output=True).returncode != 0:
            if apt == Path("/etc/apt"):
                Path(key).unlink()
            gone.append(key)
    return gone


class Problem(Exception):
    """What the user has to put right; the text is the whole message."""


def run(*argv: str) -> subprocess.CompletedProcess:
    """Run a program, with English words."""
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(output: str, otherwise: str) -> str:
    """What apt complains about, in one line and without what it says twice."""
    lines = [line[3:].strip() for line in output.splitlines() if line[:3] in ("E: ", "W: ")]
    return (
        " ".join(dict.fromkeys(line if line.endswith((".", "?", "!")) else f"{line}." for line in lines)) or otherwise
    )


def upstream(version: str) -> str:
    """The version of the program in a package's version: without epoch, revision and what Debian adds."""
    return version.rpartition(":")[2].rsplit("-", 1)[0].split("+")[0]


def matches(version: str, pin: str) -> bool:
    """Whether a package's version is the pinned one, or begins with it."""
    return upstream(version) == pin or upstream(version).startswith(f"{pin}.")


def is_older(left: str, right: str) -> bool:
    """Whether one version of the program comes before another."""
    return run("dpkg", "--compare-versions", upstream(left), "lt", upstream(right)).returncode == 0


class Preflight:
    """One try, in a directory of its own."""

    def __init__(self, wanted: dict, directory: str) -> None:
        self.wanted = wanted
        self.source = wanted["repository"]
        self.conf = Path(directory, "apt.conf")
        self.apt = Path(directory, "apt")
        self.lists = Path(directory, "lists")
        self.key_file = Path(directory, "key.asc")
        self.complaints = ""
        self.key = ""

    def main(self) -> dict:
        """Do it. Raises Problem."""
        shutil.copytree("/var/lib/apt/lists", self.lists, ignore=shutil.ignore_patterns("lock", "partial"))
        Path(self.lists, "partial").mkdir()
        self.apt.mkdir()
        # What others have hung into apt's updates has nothing to do with this one.
        hooks = ("Update::Pre-Invoke", "Update::Post-Invoke", "Update::Post-Invoke-Success")
        self.conf.write_text(
            "".join(f"#clear APT::{hook};\n" for hook in hooks)
            + f'Dir::State::lists "{self.lists}"; Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n'
            'APT::Get::List-Cleanup "false"; Acquire::Languages "none";\n'
        )
        shutil.copytree("/etc/apt/sources.list.d", self.apt / "sources.list.d", dirs_exist_ok=True)
        if Path("/etc/apt/sources.list").exists():
            shutil.copy("/etc/apt/sources.list", self.apt)
        (self.apt / "sources.list").touch()
        own = self.apt / "sources.list.d" / Path(self.source["file"]).name
        own.unlink(missing_ok=True)
        gone = []
        if self.source["url"]:
            gone = clean(self.apt, self.source["all"], own.name)
            self.try_source(own)
        self.update()
        version, packages = self.choose()
        self.refuse_downgrade(version)
        self.refuse_lost_images(version)
        arguments = [*packages, *(f"{name}-" for name in self.wanted["remove"])] if packages else []
        options = self.options()
        if arguments:
            self.simulate(arguments, options)
        return {
            "problems": [],
            "arguments": arguments,
            "options": options,
            "version": upstream(version),
            "key": self.key,
            "gone": gone,
        }

    def apt_get(self, program: str, *arguments: str, source: Path | None = None) -> subprocess.CompletedProcess:
        """Run apt-get or apt-cache with the lists of this try, and with its sources or only one of them."""
        return run(
            program,
            f"--config-file={self.conf}",
            f"-oDir::Etc::sourcelist={source or self.apt / 'sources.list'}",
            f"-oDir::Etc::sourceparts={'/dev/null' if source else self.apt / 'sources.list.d'}",
            *arguments,
        )

    def try_source(self, own: Path) -> None:
        """Fetch the key and the repository's lists. Raises Problem."""
        url = f"{self.source['url'].rstrip('/')}/gpg"
        fetched = run("/usr/lib/apt/apt-helper", "-oAcquire::Retries=1", "download-file", url, str(self.key_file))
        where = f"docker_engine_repository_url: {self.source['url']} cannot be used"
        if fetched.returncode != 0:
            raise Problem(
                f"{where}, for its key cannot be fetched from {url}. apt says: {said(fetched.stdout, fetched.stdout)} "
                "Is the address right, does this host reach it, and does it know the CA (package ca-certificates)?"
            )
        self.key = self.key_file.read_text("utf-8", "replace")
        if "-----BEGIN PGP PUBLIC KEY BLOCK-----" not in self.key:
            raise Problem(f"{where}, for {url} is no key in text form (BEGIN PGP PUBLIC KEY BLOCK).")
        own.write_text(self.source["text"].replace(self.source["key_file"], str(self.key_file)))
        updated = self.apt_get("apt-get", "-oAPT::Update::Error-Mode=any", "update", source=own)
        if updated.returncode != 0:
            words = said(updated.stdout, updated.stdout).replace(str(self.key_file), url)
            raise Problem(
                f"{where}. apt says: {words} The repository must hold this release and be signed by the key that "
                f"docker_engine_repository_key_fingerprint names, {self.source['fingerprint']}, and {url} must offer "
                "that key, not expired."
            )
        self.complaints = updated.stdout

    def update(self) -> None:
        """Fetch the lists of the host's own sources. Raises Problem when apt would stop at one of them."""
        updated = self.apt_get("apt-get", "update")
        self.complaints += updated.stdout
        if updated.returncode != 0:
            raise Problem(
                f"apt-get update fails on this host: {said(updated.stdout, updated.stdout)} Mend the sources in "
                "/etc/apt first."
            )

    def offered(self, package: str) -> list[str]:
        """The versions of a package that the repositories hold, newest first."""
        lines = self.apt_get("apt-cache", "madison", package).stdout.splitlines()
        found = [line.split("|") for line in lines if line.count("|") == 2]
        return list(dict.fromkeys(parts[1].strip() for parts in found if parts[0].strip() == package))

    def choose(self) -> tuple[str, list[str]]:
        """The engine's version, and the packages to install. Raises Problem."""
        engine, installed, pin = self.wanted["engine"], self.wanted["installed"], self.wanted["version"]
        offers = {package: self.offered(package) for package in [*engine, *self.wanted["missing"]]}
        there = installed.get(engine[0], "")
        missing = [name for name, versions in offers.items() if not versions]
        if missing:
            raise Problem(
                f"docker_engine_source: {self.wanted['source']} cannot be used, for no repository of this host holds "
                f"{', '.join(missing)}.{self.asked()}"
            )
        others = [package for package in self.wanted["missing"] if package not in engine]
        if not pin and all(package in installed for package in engine):
            return there, others
        if pin:
            known = [version for version in offers[engine[0]] if matches(version, pin)]
        else:
            # What is there already is never upgraded without a word.
            known = [there or self.candidate(engine[0])]
        for version in known:
            # Each has a revision of its own.
            same = [next((v for v in offers[package] if matches(v, upstream(version))), None) for package in engine]
            if all(same):
                return version, [f"{package}={one}" for package, one in zip(engine, same, strict=True)] + others
        held = ", ".join(dict.fromkeys(map(upstream, offers[engine[0]]))) or "none"
        raise Problem(
            f"docker_engine_version is {pin or upstream(there)!r}, but no repository of this host holds that version "
            f"of {' and '.join(engine)}. They hold {held}.{self.asked()}"
        )

    def candidate(self, package: str) -> str:
        """The version that apt would take by itself."""
        found = re.search(r"Candidate: (\S+)", self.apt_get("apt-cache", "policy", package).stdout)
        return found[1] if found else ""

    def asked(self) -> str:
        """Where it was looked for, and what apt said of that."""
        where = f" Asked: {self.source['url']} {self.source['suite']}." if self.source["url"] else ""
        told = said(self.complaints, "")
        return f"{where} apt says: {told}" if told else where

    def options(self) -> list[str]:
        """What apt-get is told besides the packages."""
        options = ["--no-install-recommends"]
        # Between the sources the package's version can go down (an epoch) while the engine's goes up.
        if self.wanted["allow_downgrade"]:
            options.append("--allow-downgrades")
        # Holds of other people stay in force.
        held = run("apt-mark", "showhold").stdout.split()
        if set(held) & set(self.wanted["held"]):
            options.append("--allow-change-held-packages")
        return options

    def refuse_downgrade(self, version: str) -> None:
        """Refuse an older engine than the one that is there, unless it was asked for. Raises Problem."""
        for package in self.wanted["engines"]:
            there = self.wanted["installed"].get(package, "")
            if there and is_older(version, there) and not self.wanted["allow_downgrade"]:
                raise Problem(
                    f"the engine here is {upstream(there)} ({package}), and {upstream(version)} is older, which may "
                    "not read what the newer one has stored. Choose another docker_engine_version, or say "
                    "docker_engine_allow_downgrade: true."
                )

    def refuse_lost_images(self, version: str) -> None:
        """Refuse an engine that would not see images and containers of this one. Raises Problem."""
        if not self.wanted["remove"]:
            return
        info = run("docker", "info", "--format", "{{json .DriverStatus}}").stdout
        if "io.containerd.snapshotter" not in info:
            return
        if is_older(version, "24"):
            raise Problem(
                f"the engine here keeps its images in containerd's store, which {upstream(version)} does not know: "
                "images and containers would be out of sight. Choose an engine from 24 on."
            )
        if self.wanted["features"].get("containerd-snapshotter", self.others_want_store()) is not True:
            raise Problem(
                "the engine here keeps its images in containerd's store, and the other one might not: images and "
                "containers would be out of sight. Put features: {containerd-snapshotter: true} into "
                "docker_engine_options."
            )

    def others_want_store(self) -> bool:
        """Whether daemon.json says so by somebody else's hand: what the role wrote goes when the option goes."""
        try:
            features = json.loads(Path("/etc/docker/daemon.json").read_text("utf-8"))["features"]
            is_wanted = features["containerd-snapshotter"] is True
        except (OSError, ValueError, LookupError, TypeError):
            return False
        try:
            claims = json.loads(Path(self.wanted["record"]).read_text("utf-8"))["claims"]
        except (OSError, ValueError, LookupError):
            return is_wanted
        ours = [claim["owners"] for claim in claims if claim["path"] == ["features", "containerd-snapshotter"]]
        return is_wanted and not any("docker_engine" in owners for owners in ours)

    def simulate(self, arguments: list[str], options: list[str]) -> None:
        """Let apt try the change. Raises Problem when it would fail, or remove more than was named."""
        tried = self.apt_get("apt-get", "--simulate", "--yes", *options, "install", *arguments)
        if tried.returncode != 0:
            raise Problem(
                f"docker_engine_source: {self.wanted['source']} cannot be installed ({' '.join(arguments)}). apt says: "
                f"{' '.join(tried.stdout.split())[-900:]}"
            )
        removed = re.findall(r"^Remv (\S+)", tried.stdout, re.MULTILINE)
        others = [name for name in removed if name not in self.wanted["remove"]]
        if others:
            raise Problem(
                f"docker_engine_source: {self.wanted['source']} would take away {', '.join(others)} as well, which "
                "nobody asked for. Remove that first, or leave this host out."
            )


def main() -> None:
    """Entry point."""
    action, order = sys.argv[1], json.loads(sys.argv[2])
    if action == "clean":
        print("\n".join(clean(Path("/etc/apt"), order["repository"]["all"], order["repository"]["file"])))
        return
    with tempfile.TemporaryDirectory(prefix="wharf-", dir="/var/tmp") as place:
        # apt reads the key as a user of its own.
        os.chmod(place, 0o755)
        try:
            plan = Preflight(order, place).main()
        except Problem as problem:
            plan = {"problems": [str(problem)], "arguments": [], "options": [], "version": "", "key": "", "gone": []}
    print(json.dumps(plan))


if __name__ == "__main__":
    main()
