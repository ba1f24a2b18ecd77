"""Copies of images: what is refused, and which host has to copy what."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.references import HOST, PATH, REFERENCE, REPOSITORY_TAG
from ansible_collections.wharf.registry.plugins.plugin_utils.access import pushers
from ansible_collections.wharf.registry.plugins.plugin_utils.certificates import certificates_pem
from ansible_collections.wharf.registry.plugins.plugin_utils.images import images_in
from ansible_collections.wharf.registry.plugins.plugin_utils.values import shown

_PATTERN = re.compile(r"[a-z0-9._/*?\[\]!-]+(?::[A-Za-z0-9_.*?\[\]!-]+)?")


def copies_plan(
    copies: Sequence[Mapping[str, Any]],
    registry: str,
    server: str,
    clients: Sequence[str],
    ca: str = "",
    users: Sequence[Mapping[str, Any]] = (),
    rules: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Judge what to copy, and say which host has to copy what: see the filter's documentation."""
    problems = [] if copies else ["wharf_copies: is empty: give a list of images, as in docs/copy-images.md"]
    images: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    positions: dict[str, int] = {}
    for position, copy in enumerate(copies, start=1):
        copy = {key: str(value) for key, value in copy.items() if value is not None}
        try:
            image = _planned(copy, registry, clients)
            first = positions.setdefault(image["image"], position)
            if first != position:
                raise ValueError(f"{image['image']} is what item {first} becomes, too: give each another one under to")
        except ValueError as error:
            problems.append(f"wharf_copies: item {position}: {error}")
            continue
        engine = copy.get("engine")
        images.setdefault((engine or server, bool(engine)), []).append(image)
    hosts = [{"host": host, "engine": engine, "images": found} for (host, engine), found in images.items()]
    for found in images.values():
        try:
            pushers(users, rules, (image["image"] for image in found))
        except ValueError as error:
            problems.append(str(error))
    ordered = sorted(hosts, key=lambda host: not host["engine"])
    return {"problems": problems, "hosts": ordered, "ca": certificates_pem(ca)}


def _planned(copy: Mapping[str, str], registry: str, clients: Sequence[str]) -> dict[str, Any]:
    """Return what there is to do for one item, as the module registry_images takes it.

    Raises:
        ValueError: it cannot be done.
    """
    source = copy["from"]
    is_file = source.startswith(("/", "~"))
    if "image" in copy and not is_file:
        raise ValueError("image: is for archives that hold several images: leave it out")
    if "engine" in copy:
        known = f"use one of {', '.join(clients)}" if clients else "there is none"
        unknown = f"is not a host in registry_clients, which could push: {known}"
        _refuse("engine", copy["engine"], (copy["engine"] not in clients, unknown))
        match: re.Match[str] | None = _reference(source)
        use = "name the image as `docker images` does, NAME:TAG"
        _refuse("from", source, (not match["tag"], f"has no tag: {use}"), (match["digest"], f"has a digest: {use}"))
        plan = {"source": f"engine:{source}"}
    elif is_file:
        name, plan = _archived(os.path.expanduser(source), copy.get("image", ""))
        match = REFERENCE.fullmatch(name)
    else:
        match = _reference(source.removeprefix("docker://"))
        use = "use HOST/PATH:TAG, or say with engine which host has the image"
        _refuse(
            "from",
            source,
            (not match["host"], f"names no registry: {use}"),
            (not match["tag"] and not match["digest"], "has neither tag nor digest: say which image"),
        )
        # skopeo takes one of the two, and the digest says all.
        pointed = f"@{match['digest']}" if match["digest"] else f":{match['tag']}"
        plan = {"source": f"docker://{match['host']}/{match['path']}{pointed}", "digest": match["digest"] or ""}
    if "to" in copy:
        to = copy["to"]
    elif match and match["tag"]:
        to = f"{match['path']}:{match['tag']}"
    else:
        raise ValueError(f"to is missing, and {shown(source)} says no tag: give REPOSITORY:TAG")
    _check_target(to, registry)
    return {"image": to, **plan}


def _refuse(key: str, value: str, *faults: tuple[object, str]) -> None:
    """Raise ValueError with the first fault that the value has; each says whether it has it, and what it is."""
    for has, fault in faults:
        if has:
            raise ValueError(f"{key}: {shown(value)} {fault}")


def _reference(text: str) -> re.Match[str]:
    """Return the parts of an image reference."""
    path = text.partition("@")[0].partition("/")[2].partition(":")[0]
    scheme = (
        "has a scheme that is not known here: use HOST/PATH:TAG for a registry, an absolute path for an archive on the"
        " controller, and engine for the images of a host"
    )
    faults = (
        ("://" in text or re.match(r"[a-z-]+:/", text), scheme),
        (path != path.lower(), "has upper case letters in its path, which no image has"),
        ("@" in text, "is not an image reference: after the @ comes sha256: and 64 digits"),
        (True, "is not an image reference: use one such as quay.example.com/team/app:1.4"),
    )
    match = REFERENCE.fullmatch(text)
    _refuse("from", text, *(() if match else faults))
    return match


def _check_target(to: str, registry: str) -> None:
    """Refuse what is not REPOSITORY:TAG in the registry."""
    bare = to.removeprefix("docker://")
    name = bare.removeprefix(f"{registry}/")
    path, _, tag = to.partition(":")
    _refuse(
        "to",
        to,
        (name != bare, f"has the registry's own name in it: leave it out, use {shown(name)}"),
        ("://" in to, "has a scheme in it: use REPOSITORY:TAG, such as team/app:1.4"),
        ("@" in to, "has a digest, which the image brings itself: use REPOSITORY:TAG"),
        (path != path.lower(), f"has upper case letters in its path: use {shown(f'{path.lower()}:{tag}')}"),
        (re.fullmatch(PATH, to), f"has no tag: say which, as in {shown(f'{path}:1.4')}"),
        (not REPOSITORY_TAG.fullmatch(to), "is not an image's name: use REPOSITORY:TAG, such as team/app:1.4"),
        (len(path) + len(registry) + 1 > 255, "is too long: name and path may have 255 characters"),
    )


def _archived(path: str, wanted: str) -> tuple[str, dict[str, str]]:
    """Return the name of the image that is meant in an archive on the controller, and what there is to do for it."""
    if not os.path.isabs(path) or not os.path.isfile(path):
        raise ValueError(f"from: there is no file {shown(path)} on the controller: use an absolute path")
    try:
        images = images_in(path)
    except ValueError as error:
        raise ValueError(f"from: {error}") from None
    found = [(names, plan) for names, plan in images if not wanted or wanted in names]
    known = ", ".join(shown(name) for names, _ in images for name in names) or "none with a name"
    _refuse("image", path, (not found, f"has no image {shown(wanted)}: it has {known}"))
    _refuse("from", path, (len(found) > 1, f"holds several images: say with image which of {known}"))
    names, plan = found[0]
    return wanted or (names or [""])[0], {**plan, "archive": path}


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


def pattern_problems(patterns: Sequence[str], variable: str, name: str = "") -> list[str]:
    """Judge the patterns of the images to export."""
    return [
        f"{variable}: item {position}: {shown(pattern)} is not an image of the registry: use REPOSITORY:TAG, or"
        " REPOSITORY for all its tags, without the registry's name; * and ? stand for anything"
        for position, pattern in enumerate(patterns, start=1)
        if not _PATTERN.fullmatch(pattern) or pattern.startswith(("/", f"{name}/"))
    ]


def fingerprint_problems(value: str, variable: str) -> list[str]:
    """Judge the fingerprint of a bundle; empty where any will do."""
    if not value or re.fullmatch("[0-9a-f]{64}", value):
        return []
    return [f"{variable}: {shown(value)} is not a fingerprint: use the 64 digits that export-images.yml showed"]
