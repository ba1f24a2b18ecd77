"""Filters of the plays that copy images: they judge and plan on the controller, and make the tables."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.values import shown

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
# As the tools have it: what has no dot, no port and is not localhost is the first part of a path.
_IN_REFERENCE = rf"(?=[^/]*[.:]|localhost/){_HOST}"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_PART}(?:/{_PART})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_IN_REFERENCE})/)?(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?P<digest>@sha256:[0-9a-f]{{64}})?"
)
_TARGET = re.compile(rf"(?P<path>{_PATH}):(?P<tag>{_TAG})")
_PATTERN = re.compile(r"[a-z0-9._/*?\[\]!-]+(?::[A-Za-z0-9_.*?\[\]!-]+)?")
_KEYS = ("from", "to", "engine", "image")
_LARGEST_JSON = 16 * 1024 * 1024
_REF_NAME = "org.opencontainers.image.ref.name"


class BadCopyError(ValueError):
    """What is wrong with one of the copies, and what would be right."""


# What is to be copied -----------------------------------------------------------------------------


def wharf_copies_problems(facts: Mapping[str, Any]) -> list[str]:
    """Judge what copy-images.yml is given, before anything changes.

    Args:
        facts: copies, parallel and logins as the variables wharf_copies, wharf_copies_parallel and wharf_copies_logins
            say; registry, NAME:PORT; clients, the hosts whose engines may push; limit, what --limit says.

    Returns:
        A line for each problem; it names the variable, what is wrong and what would be right, and holds no password.

    """
    copies = facts["copies"]
    problems = (
        _limit_problems(facts["limit"]) + _parallel_problems(facts["parallel"]) + _login_problems(facts["logins"])
    )
    if not isinstance(copies, (list, tuple)) or not copies:
        return [*problems, "wharf_copies: is not a list of images: give a list of mappings, as in docs/copy-images.md"]
    targets: dict[str, int] = {}
    for position, copy in enumerate(copies, start=1):
        try:
            target = _planned(copy, facts["registry"], facts["clients"])["image"]
        except BadCopyError as error:
            problems.append(f"wharf_copies: item {position}: {error}")
            continue
        if target in targets:
            problems.append(
                f"wharf_copies: item {position}: {target} is what item {targets[target]} becomes, too:"
                " give each another one under to"
            )
        targets.setdefault(target, position)
    return problems


def wharf_copies_plan(
    copies: Sequence[Mapping[str, str]], registry: str, clients: Sequence[str]
) -> list[dict[str, str]]:
    """Return what there is to do, in the order of the list.

    Args:
        copies: wharf_copies, which wharf_copies_problems found good.
        registry: NAME:PORT.
        clients: the hosts whose engines may push.

    Returns:
        For each image: image, REPOSITORY:TAG in the registry; source, as the module registry_copy wants it, with the
        word FILE where the archive's path on the server comes; archive, its path on the controller, or nothing; engine,
        the host that has it, or nothing; digest and image_id, where they are known.

    """
    return [_planned(copy, registry, clients) for copy in copies]


def _planned(copy: object, registry: str, clients: Sequence[str]) -> dict[str, str]:
    """Return what there is to do for one item.

    Raises:
        BadCopyError: it cannot be done.

    """
    if not isinstance(copy, Mapping):
        raise BadCopyError(f"{shown(copy)} is not a mapping: use from, and to where the path shall be another one")
    if unknown := [key for key in copy if key not in _KEYS]:
        raise BadCopyError(f"the key {shown(unknown[0])} is unknown: use from, to, engine and image")
    for key in _KEYS:
        if key in copy and (not isinstance(copy[key], str) or not copy[key]):
            raise BadCopyError(f"{key}: {shown(copy[key])} is not text: put it in quotes, or leave {key} out")
    if "from" not in copy:
        raise BadCopyError("from is missing: say what to copy, such as quay.example.com/team/app:1.4")
    source = copy["from"]
    plan = {"engine": "", "archive": "", "digest": "", "image_id": ""}
    if "image" in copy and not source.startswith(("/", "~")):
        raise BadCopyError("image: is for archives that hold several images: leave it out")
    if "engine" in copy:
        plan |= _from_engine(source, copy["engine"], clients)
    elif source.startswith(("/", "~")):
        plan |= _from_archive(source, copy.get("image", ""))
    else:
        plan |= _from_registry(source)
    default = plan.pop("default")
    if "to" not in copy and not default:
        raise BadCopyError(f"to is missing, and {shown(source)} says no tag: give REPOSITORY:TAG")
    return plan | {"image": _target(copy.get("to", default), registry)}


def _target(to: str, registry: str) -> str:
    """Return REPOSITORY:TAG in the registry."""
    if to.removeprefix("docker://").startswith(f"{registry}/"):
        name = to.removeprefix("docker://").removeprefix(f"{registry}/")
        raise BadCopyError(f"to: {shown(to)} has the registry's own name in it: leave it out, use {shown(name)}")
    if "://" in to:
        raise BadCopyError(f"to: {shown(to)} has a scheme in it: use REPOSITORY:TAG, such as team/app:1.4")
    if match := _TARGET.fullmatch(to):
        if len(match["path"]) + len(registry) + 1 > 255:
            raise BadCopyError(f"to: {shown(to)} is too long: name and path may have 255 characters")
        return to
    path, _, tag = to.partition(":")
    if "@" in to:
        raise BadCopyError(f"to: {shown(to)} has a digest, which the image brings itself: use REPOSITORY:TAG")
    if path != path.lower():
        raise BadCopyError(f"to: {shown(to)} has upper case letters in its path: use {shown(path.lower() + ':' + tag)}")
    if not tag and re.fullmatch(_PATH, path):
        raise BadCopyError(f"to: {shown(to)} has no tag: say which, as in {shown(path + ':1.4')}")
    raise BadCopyError(f"to: {shown(to)} is not an image's name: use REPOSITORY:TAG, such as team/app:1.4")


def _reference(text: str) -> re.Match[str]:
    """Return the parts of an image reference."""
    if match := _REFERENCE.fullmatch(text):
        return match
    if "://" in text or re.match(r"[a-z-]+:/", text):
        raise BadCopyError(
            f"from: {shown(text)} has a scheme that is not known here: use HOST/PATH:TAG for a registry, an absolute"
            " path for an archive on the controller, and engine for the images of a host"
        )
    path = text.partition("@")[0].partition("/")[2].partition(":")[0]
    if path != path.lower():
        raise BadCopyError(f"from: {shown(text)} has upper case letters in its path, which no image has")
    if "@" in text:
        raise BadCopyError(f"from: {shown(text)} is not an image reference: after the @ comes sha256: and 64 digits")
    raise BadCopyError(f"from: {shown(text)} is not an image reference: use one such as quay.example.com/team/app:1.4")


def _from_registry(source: str) -> dict[str, str]:
    """Return the plan for an image of another registry."""
    match = _reference(source.removeprefix("docker://"))
    host = match["host"]
    if not host:
        raise BadCopyError(
            f"from: {shown(source)} names no registry: use HOST/PATH:TAG, or say with engine which host has the image"
        )
    if not match["tag"] and not match["digest"]:
        raise BadCopyError(f"from: {shown(source)} has neither tag nor digest: say which image")
    # skopeo takes one of the two, and the digest says all.
    pointed = match["digest"] or f":{match['tag']}"
    return {
        "source": f"docker://{host}/{match['path']}{pointed}",
        "digest": (match["digest"] or "@")[1:],
        "default": f"{match['path']}:{match['tag']}" if match["tag"] else "",
    }


def _from_engine(source: str, engine: str, clients: Sequence[str]) -> dict[str, str]:
    """Return the plan for an image of a host's engine."""
    if engine not in clients:
        known = f"use one of {', '.join(clients)}" if clients else "there is none"
        raise BadCopyError(f"engine: {shown(engine)} is not a host in registry_clients, which could push: {known}")
    match = _reference(source)
    if not match["tag"]:
        raise BadCopyError(f"from: {shown(source)} has no tag: name the image as `docker images` does, NAME:TAG")
    if match["digest"]:
        raise BadCopyError(f"from: {shown(source)} has a digest: name the image as `docker images` does, NAME:TAG")
    return {"source": f"engine:{source}", "engine": engine, "default": f"{match['path']}:{match['tag']}"}


def _from_archive(source: str, wanted: str) -> dict[str, str]:
    """Return the plan for an image in a file of the controller."""
    path = os.path.expanduser(source)
    if not os.path.isabs(path) or not os.path.isfile(path):
        raise BadCopyError(f"from: there is no file {shown(path)} on the controller: use an absolute path")
    try:
        kind, images = _images_of(path)
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadCopyError(
            f"from: {shown(path)} is no archive of images, or damaged: make it with docker save,"
            " or with skopeo copy ... oci-archive:FILE"
        ) from None
    named = [image for image in images if not wanted or wanted in image["names"]]
    names = ", ".join(shown(name) for image in images for name in image["names"]) or "none with a name"
    if not named:
        raise BadCopyError(f"image: {shown(path)} has no image {shown(wanted)}: it has {names}")
    if len(named) > 1:
        raise BadCopyError(f"from: {shown(path)} holds several images: say with image which of {names}")
    image = named[0]
    name = _REFERENCE.fullmatch(wanted or (image["names"] or [""])[0])
    return {
        "source": f"{kind}-archive:FILE{image['select']}",
        "archive": path,
        "digest": image.get("digest", ""),
        "image_id": image.get("image_id", ""),
        "default": f"{name['path']}:{name['tag']}" if name and name["tag"] else "",
    }


def _images_of(path: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the kind of an archive, docker or oci, and its images: names, select (skopeo's way to say which one), and
    digest or image_id."""
    with tarfile.open(path, "r:*") as archive:
        members = {posixpath.normpath(member.name): member for member in archive.getmembers()}

        def content(name: str) -> bytes:
            member = members[posixpath.normpath(name)]
            file = archive.extractfile(member) if member.size <= _LARGEST_JSON else None
            if file is None:
                raise ValueError(name)
            return file.read()

        # What docker save writes is both since version 25, and only as its own kind is it what docker load would take.
        if "manifest.json" in members:
            entries = json.loads(content("manifest.json"))
            return "docker", [
                {
                    "names": entry.get("RepoTags") or [],
                    "select": f":@{position}" if len(entries) > 1 else "",
                    "image_id": "sha256:" + hashlib.sha256(content(entry["Config"])).hexdigest(),
                }
                for position, entry in enumerate(entries)
            ]
        index = json.loads(content("index.json"))["manifests"]
        found = []
        for entry in index:
            name = (entry.get("annotations") or {}).get(_REF_NAME, "")
            content("blobs/" + entry["digest"].replace(":", "/"))
            select = f":{name}" if name and len(index) > 1 else ""
            found.append({"names": [name] if name else [], "select": select, "digest": entry["digest"]})
        return "oci", found


def _limit_problems(limit: str) -> list[str]:
    """Judge --limit, which would leave out the images: each is a host of the play."""
    if not limit:
        return []
    return [f"--limit {limit}: would leave out the images, which are this play's hosts: leave --limit out"]


def _parallel_problems(value: object) -> list[str]:
    """Judge how many images are copied at once."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= 32:
        return []
    return [f"wharf_copies_parallel: {shown(value)} is not a number of images: use a number from 1 to 32"]


def _login_problems(logins: object) -> list[str]:
    """Judge the logins of the source registries."""
    if not isinstance(logins, (list, tuple)):
        return ["wharf_copies_logins: is not a list: use a list of mappings with registry, name and password"]
    problems, seen = [], set()
    for position, login in enumerate(logins, start=1):
        who = f"wharf_copies_logins: item {position}"
        good = isinstance(login, Mapping) and set(login) == {"registry", "name", "password"}
        if not good or not all(isinstance(value, str) and value for value in login.values()):
            problems.append(f"{who} is not a mapping of registry, name and password, all text: give these three")
        elif not re.fullmatch(_HOST, login["registry"]):
            problems.append(f"{who}: {shown(login['registry'])} is not a registry: use HOST or HOST:PORT")
        elif login["registry"] in seen:
            problems.append(f"{who}: {shown(login['registry'])} stands in the list twice: use each registry once")
        else:
            seen.add(login["registry"])
    return problems


# Bundles ------------------------------------------------------------------------------------------


def wharf_export_problems(bundle: object, images: object, registry_image: object) -> list[str]:
    """Judge what export-images.yml is given: the bundle's path on the controller, the patterns, and true or false."""
    problems = []
    if not isinstance(bundle, str) or not os.path.isabs(bundle) or not bundle.endswith(".tar"):
        problems.append(
            f"wharf_bundle: {shown(bundle)} is not the absolute path of a file on the controller that ends in .tar:"
            " use one such as /srv/images/team.tar"
        )
    elif not os.access(os.path.dirname(bundle), os.W_OK):
        problems.append(
            f"wharf_bundle: {shown(os.path.dirname(bundle))} is no directory in which you can write: make it"
        )
    if not isinstance(images, (list, tuple)) or not images:
        problems.append("wharf_export_images: is not a list of images: use a list such as ['team/*', 'app:1.4']")
    else:
        problems += [
            f"wharf_export_images: item {position}: {shown(pattern)} is not an image of the registry: use"
            " REPOSITORY:TAG, or REPOSITORY for all its tags, without the registry's name; * and ? stand for anything"
            for position, pattern in enumerate(images, start=1)
            if not isinstance(pattern, str) or not _PATTERN.fullmatch(pattern)
        ]
    if str(registry_image).lower() not in ("true", "false"):  # text, where -e NAME=true says it
        problems.append(f"wharf_export_registry_image: {shown(registry_image)} is not a boolean: use true or false")
    return problems


def wharf_import_problems(bundle: object, fingerprint: object, parallel: object, limit: str) -> list[str]:
    """Judge what import-images.yml is given."""
    problems = _limit_problems(limit) + _parallel_problems(parallel)
    if not isinstance(bundle, str) or not os.path.isabs(bundle) or not os.path.isfile(bundle):
        problems.append(
            f"wharf_bundle: {shown(bundle)} is not the absolute path of a file on the controller: use the bundle's path"
        )
    if fingerprint and not (isinstance(fingerprint, str) and re.fullmatch("[0-9a-f]{64}", fingerprint)):
        problems.append(
            f"wharf_bundle_fingerprint: {shown(fingerprint)} is not a fingerprint: use the 64 digits that"
            " export-images.yml showed"
        )
    return problems


def wharf_size(path: str) -> int:
    """Return the bytes of a file on the controller."""
    return os.path.getsize(os.path.expanduser(path))


def wharf_free(path: str) -> int:
    """Return the bytes that are free on the controller where a file would lie."""
    return shutil.disk_usage(os.path.dirname(path)).free


# Tables -------------------------------------------------------------------------------------------


def wharf_copies_table(hostvars: Mapping[str, Any], hosts: Sequence[str], check: bool = False) -> str:
    """Return the table of what was copied: image, digest, size or what else there is to say, seconds.

    Args:
        hostvars: has of each image __wharf_copy, what there was to do, and what the steps returned.
        hosts: the images, as hosts of the play.
        check: whether nothing was really copied.

    """
    rows = [("image", "digest", "size", "seconds")]
    for host in hosts:
        values = hostvars[host]
        image, result = values["__wharf_copy"]["image"], wharf_copy_result(values)
        digest = (result.get("digest") or "")[: len("sha256:") + 12]
        if problem := wharf_copy_problem(values):
            rows.append((image, "", f"FAILED: {problem}", ""))
        elif not result["due"]:
            rows.append((image, digest, "already there", ""))
        elif check:
            rows.append((image, digest, "would be copied", ""))
        else:
            rows.append((image, digest, _megabytes(result["size"]), f"{result['seconds']:.1f}"))
    return _table(rows)


def wharf_copy_result(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the step returned that decided over an image: the copy, or the look where nothing was due."""
    copied, looked = values.get("__wharf_copied") or {}, values.get("__wharf_looked") or {}
    return looked if "due" in looked and "due" not in copied else copied


def wharf_copy_problem(values: Mapping[str, Any]) -> str:
    """Return why an image was not copied; empty when it was, or when nothing was due."""
    for step in ("__wharf_looked", "__wharf_directory", "__wharf_room", "__wharf_brought", "__wharf_copied"):
        result = values.get(step) or {}
        if result.get("failed") or result.get("unreachable"):
            return str(result.get("msg") or "it failed")
    return "" if "due" in wharf_copy_result(values) else "its host cannot be reached"


def wharf_bundle_table(found: Mapping[str, Any]) -> str:
    """Return the table of what a bundle holds: image, digest, size."""
    rows = [("image", "digest", "size")]
    rows += [(name, i["digest"][: len("sha256:") + 12], _megabytes(i["size"])) for name, i in found["images"].items()]
    if found["registry_image"]:
        rows.append(("the registry's own image", found["registry_image"][: len("sha256:") + 12], ""))
    rows.append(("all, each blob once", "", _megabytes(found["size"])))
    return _table(rows) + f"\nfingerprint: {found['fingerprint']}"


def _megabytes(size: int) -> str:
    """Return bytes for a table."""
    return f"{size / 1e6:.1f} MB"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns, as wide as what is not a failure's reason."""
    plain = [[cell for cell in column if not cell.startswith("FAILED")] for column in zip(*rows, strict=True)]
    widths = [max(map(len, column)) for column in plain]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
