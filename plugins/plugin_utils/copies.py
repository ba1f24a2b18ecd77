"""Copies of images: what is refused and planned on the controller, and the report at the end."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.references import HOST, PATH, REFERENCE, REPOSITORY_TAG
from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, table
from ansible_collections.wharf.registry.plugins.plugin_utils.values import shown

_PATTERN = re.compile(r"[a-z0-9._/*?\[\]!-]+(?::[A-Za-z0-9_.*?\[\]!-]+)?")
_LARGEST_JSON = 16 * 1024 * 1024
_REF_NAME = "org.opencontainers.image.ref.name"


class BadCopyError(ValueError):
    """What is wrong with one of the copies, and what would be right."""


# What is to be copied -----------------------------------------------------------------------------


def copies_plan(
    copies: Sequence[Mapping[str, Any]], registry: str, server: str, clients: Sequence[str], ca: str = ""
) -> dict[str, Any]:
    """Judge what to copy, and say which host has to copy what.

    Args:
        copies: wharf_copies; types and keys are judged by the specification.
        registry: NAME:PORT.
        server: the registry's server.
        clients: the hosts whose engines may push.
        ca: wharf_copies_ca.

    Returns:
        ``problems``, a line for each; ``hosts``, a list of ``host``, ``engine`` (whether its engine pushes) and
        ``images`` as the module registry_images takes them; ``ca``, the text of the CA certificates.
    """
    problems = [] if copies else ["wharf_copies: is empty: give a list of images, as in docs/copy-images.md"]
    images: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    positions: dict[str, int] = {}
    for position, copy in enumerate(copies, start=1):
        try:
            image = _planned(copy, registry, clients)
        except BadCopyError as error:
            problems.append(f"wharf_copies: item {position}: {error}")
            continue
        name = image["image"]
        if name in positions:
            problems.append(
                f"wharf_copies: item {position}: {name} is what item {positions[name]} becomes, too:"
                " give each another one under to"
            )
        positions.setdefault(name, position)
        engine = image.pop("engine", "")
        images.setdefault((engine or server, bool(engine)), []).append(image)
    hosts = [{"host": host, "engine": engine, "images": found} for (host, engine), found in images.items()]
    text = Path(ca).expanduser().read_text("utf-8") if ca and "-----BEGIN" not in ca else ca
    return {"problems": problems, "hosts": sorted(hosts, key=lambda host: not host["engine"]), "ca": text}


def _planned(copy: Mapping[str, str], registry: str, clients: Sequence[str]) -> dict[str, Any]:
    """Return what there is to do for one item.

    Raises:
        BadCopyError: it cannot be done.
    """
    copy = {key: str(value) for key, value in copy.items() if value is not None}
    source = copy["from"]
    is_file = source.startswith(("/", "~"))
    if "image" in copy and not is_file:
        raise BadCopyError("image: is for archives that hold several images: leave it out")
    if "engine" in copy:
        default, plan = _from_engine(source, copy["engine"], clients)
    elif is_file:
        default, plan = _from_archive(source, copy.get("image", ""))
    else:
        default, plan = _from_registry(source)
    if "to" not in copy and not default:
        raise BadCopyError(f"to is missing, and {shown(source)} says no tag: give REPOSITORY:TAG")
    return {"image": _target(copy.get("to", default), registry), **plan}


def _target(to: str, registry: str) -> str:
    """Return REPOSITORY:TAG in the registry."""
    name = to.removeprefix("docker://").removeprefix(f"{registry}/")
    path, _, tag = to.partition(":")
    if name != to.removeprefix("docker://"):
        raise BadCopyError(f"to: {shown(to)} has the registry's own name in it: leave it out, use {shown(name)}")
    if "://" in to:
        raise BadCopyError(f"to: {shown(to)} has a scheme in it: use REPOSITORY:TAG, such as team/app:1.4")
    if match := REPOSITORY_TAG.fullmatch(to):
        if len(match["path"]) + len(registry) + 1 > 255:
            raise BadCopyError(f"to: {shown(to)} is too long: name and path may have 255 characters")
        return to
    if "@" in to:
        raise BadCopyError(f"to: {shown(to)} has a digest, which the image brings itself: use REPOSITORY:TAG")
    if path != path.lower():
        raise BadCopyError(f"to: {shown(to)} has upper case letters in its path: use {shown(path.lower() + ':' + tag)}")
    if not tag and re.fullmatch(PATH, path):
        raise BadCopyError(f"to: {shown(to)} has no tag: say which, as in {shown(path + ':1.4')}")
    raise BadCopyError(f"to: {shown(to)} is not an image's name: use REPOSITORY:TAG, such as team/app:1.4")


def _reference(text: str) -> re.Match[str]:
    """Return the parts of an image reference."""
    if match := REFERENCE.fullmatch(text):
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


def _name(match: re.Match[str] | None) -> str:
    """Return the path and the tag of a reference; empty where it has no tag."""
    return f"{match['path']}:{match['tag']}" if match and match["tag"] else ""


def _from_registry(source: str) -> tuple[str, dict[str, str]]:
    """Return the default target and the plan for an image of another registry."""
    match = _reference(source.removeprefix("docker://"))
    if not match["host"]:
        raise BadCopyError(
            f"from: {shown(source)} names no registry: use HOST/PATH:TAG, or say with engine which host has the image"
        )
    if not match["tag"] and not match["digest"]:
        raise BadCopyError(f"from: {shown(source)} has neither tag nor digest: say which image")
    # skopeo takes one of the two, and the digest says all.
    pointed = f"@{match['digest']}" if match["digest"] else f":{match['tag']}"
    plan = {"source": f"docker://{match['host']}/{match['path']}{pointed}", "digest": match["digest"] or ""}
    return _name(match), plan


def _from_engine(source: str, engine: str, clients: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the default target and the plan for an image of a host's engine."""
    if engine not in clients:
        known = f"use one of {', '.join(clients)}" if clients else "there is none"
        raise BadCopyError(f"engine: {shown(engine)} is not a host in registry_clients, which could push: {known}")
    match = _reference(source)
    if not match["tag"]:
        raise BadCopyError(f"from: {shown(source)} has no tag: name the image as `docker images` does, NAME:TAG")
    if match["digest"]:
        raise BadCopyError(f"from: {shown(source)} has a digest: name the image as `docker images` does, NAME:TAG")
    return _name(match), {"source": f"engine:{source}", "engine": engine}


def _from_archive(source: str, wanted: str) -> tuple[str, dict[str, str]]:
    """Return the default target and the plan for an image in a file of the controller."""
    path = os.path.expanduser(source)
    if not os.path.isabs(path) or not os.path.isfile(path):
        raise BadCopyError(f"from: there is no file {shown(path)} on the controller: use an absolute path")
    try:
        images = list(_images_of(path))
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadCopyError(
            f"from: {shown(path)} is no archive of images, or damaged: make it with docker save,"
            " or with skopeo copy ... oci-archive:FILE"
        ) from None
    found = [(names, plan) for names, plan in images if not wanted or wanted in names]
    known = ", ".join(shown(name) for names, _ in images for name in names) or "none with a name"
    if not found:
        raise BadCopyError(f"image: {shown(path)} has no image {shown(wanted)}: it has {known}")
    if len(found) > 1:
        raise BadCopyError(f"from: {shown(path)} holds several images: say with image which of {known}")
    names, plan = found[0]
    return _name(REFERENCE.fullmatch(wanted or (names or [""])[0])), {**plan, "archive": path}


def _images_of(path: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the images of an archive: their names, and source with digest or image_id."""
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
            for position, entry in enumerate(entries):
                source = "docker-archive:FILE" + (f":@{position}" if len(entries) > 1 else "")
                image_id = "sha256:" + hashlib.sha256(content(entry["Config"])).hexdigest()
                yield entry.get("RepoTags") or [], {"source": source, "image_id": image_id}
            return
        entries = json.loads(content("index.json"))["manifests"]
        for entry in entries:
            name = (entry.get("annotations") or {}).get(_REF_NAME, "")
            content("blobs/" + entry["digest"].replace(":", "/"))
            source = "oci-archive:FILE" + (f":{name}" if name and len(entries) > 1 else "")
            yield [name] if name else [], {"source": source, "digest": entry["digest"]}


# What the specification of the settings cannot say -------------------------------------------------


def parallel_problems(value: int, variable: str) -> list[str]:
    """Judge how many images are copied at once."""
    return [] if 1 <= value <= 32 else [f"{variable}: {value} is not a number of images: use a number from 1 to 32"]


def login_problems(logins: Sequence[Mapping[str, str]], variable: str) -> list[str]:
    """Judge the logins of the source registries."""
    problems: list[str] = []
    seen: set[str] = set()
    for position, login in enumerate(logins, start=1):
        registry, who = login["registry"], f"{variable}: item {position}"
        if not login["name"] or not login["password"]:
            problems.append(f"{who}: name or password is empty: give both, or leave the item out")
        if not re.fullmatch(HOST, registry):
            problems.append(f"{who}: {shown(registry)} is not a registry: use HOST or HOST:PORT")
        elif registry in seen:
            problems.append(f"{who}: {shown(registry)} stands in the list twice: use each registry once")
        seen.add(registry)
    return problems


def pattern_problems(patterns: Sequence[str], variable: str) -> list[str]:
    """Judge the patterns of the images to export."""
    return [
        f"{variable}: item {position}: {shown(pattern)} is not an image of the registry: use REPOSITORY:TAG, or"
        " REPOSITORY for all its tags, without the registry's name; * and ? stand for anything"
        for position, pattern in enumerate(patterns, start=1)
        if not _PATTERN.fullmatch(pattern)
    ]


def fingerprint_problems(value: str, variable: str) -> list[str]:
    """Judge the fingerprint of a bundle; empty where any will do."""
    if not value or re.fullmatch("[0-9a-f]{64}", value):
        return []
    return [f"{variable}: {shown(value)} is not a fingerprint: use the 64 digits that export-images.yml showed"]


# Results ------------------------------------------------------------------------------------------


def copies_report(
    results: Sequence[Mapping[str, Any]], plan: Sequence[Mapping[str, Any]], check: bool = False
) -> dict[str, Any]:
    """Say what became of all images, in the plan's order.

    Args:
        results: what registry_images returned for each host of the plan; without images where it failed as a whole.
        plan: the hosts with their images.
        check: whether nothing was really copied.

    Returns:
        ``table`` with image, digest, size or what else there is to say, and seconds; ``failed``, the images that were
        not copied.
    """
    rows = [("image", "digest", "size", "seconds")]
    failed = []
    for result, host in zip(results, plan, strict=True):
        done = {image["image"]: image for image in result.get("images") or []}
        for name in (image["image"] for image in host["images"]):
            found = done.get(name, {"failed": True, "msg": result.get("msg") or "it failed"})
            digest = found.get("digest", "")[: len("sha256:") + 12]
            if found["failed"]:
                failed.append(name)
                rows.append((name, "", "FAILED", found["msg"]))
            elif not found["pending"] or check:
                rows.append((name, digest, "would be copied" if found["pending"] else "already there", ""))
            else:
                rows.append((name, digest, human_bytes(found["size"]), f"{found['seconds']:.1f}"))
    return {"table": "\n".join(table(rows)), "failed": failed}
