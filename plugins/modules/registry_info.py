#!/usr/bin/python
"""Ansible module: what there is of a registry on its server, what is pending, and what cannot work."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_info
short_description: Tell what there is of a registry on its server, and what is pending
description:
  - One visit that changes nothing tells all that the role registry_server decides by.
  - Fails where the registry cannot be deployed, with a line for each reason - the port or the user ID is taken, the
    data belongs to another registry, the images lie in another store, a version cannot follow the one that runs, the
    image cannot be pulled, the password of a user is not known to the controller, or something is pending while the
    lock is taken.
options:
  image_id: {description: The ID that the image must have; empty for any of that name., type: str, default: ""}
  image_digest:
    description: The digest of its manifest or index, which is its ID in the containerd image store; empty where it is
      not known.
    type: str
    default: ""
  image_layers:
    description: The digests of the layers that the image must have, where the engine shows another ID than O(image_id).
    type: list
    elements: str
    default: []
  gateway_image_id: {description: As O(image_id) for the gateway., type: str, default: ""}
  gateway_image_digest: {description: As O(image_digest) for the gateway., type: str, default: ""}
  gateway_image_layers: {description: As O(image_layers) for the gateway., type: list, elements: str, default: []}
  refresh: {description: Whether the images are fetched again although they are there., type: bool, default: false}
  fetched:
    description: Whether the images have just been fetched, so that O(refresh) is done and the versions are told anyway.
    type: bool
    default: false
  image_source:
    description: Where the images come from. Where one that is pulled is missing, its registry is asked for it.
    type: str
    choices: [pull, archive, distro]
    required: true
  config_keys:
    description: The paths of the keys in the user's part of the configuration, which the version must understand.
    type: list
    elements: str
    default: []
  allow_downgrade: {description: Whether an older version may follow the one that runs., type: bool, default: false}
  data_confirm:
    description: The value of O(registry.data) once more, to go on with the data that is there, whosever it is; the name
      of the bucket, to go on with another one than before.
    type: str
    default: ""
  generated_users:
    description: The users whose password was generated on the controller, or still is to be. Who of them is known on
      the host already must have the same one there.
    type: list
    elements: str
    default: []
  password_directory:
    description: Where the controller keeps the passwords of O(generated_users), for the message.
    type: str
    default: ""
  proxy: {description: "The proxy of an engine that is still to be installed.", type: str, default: ""}
  manage_firewall:
    description: Whether the server's firewall is to let the registry's ports pass. What keeps clients out is told.
    type: bool
    default: false
  host: {description: "The host's name, for the messages.", type: str, required: true}
extends_documentation_fragment: [wharf.registry.registry]
attributes:
  check_mode: {support: full}
author: [Wharf maintainers]
"""

EXAMPLES = r"""
- wharf.registry.registry_info:
    registry: "{{ registry }}"
    image_source: pull
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
image: {description: The ID of the image; empty where the engine does not have it., type: str, returned: success}
gateway_image:
  description: The ID of the gateway's image; empty where the engine does not have it.
  type: str
  returned: success
images_pending:
  description: Which images are to be fetched, C(registry) and C(gateway).
  type: list
  elements: str
  returned: success
container: {description: The ID of the container; empty where there is none., type: str, returned: success}
virtual_address: {description: Whether this host may hold a virtual address., type: bool, returned: success}
cut_off: {description: Whether a run that was cut off has left what can be rolled back., type: bool, returned: success}
interrupted:
  description: The containers of a collection that was cut off.
  type: list
  elements: str
  returned: success
version_change:
  description: Which version follows which, where the images differ or one was just fetched; empty otherwise.
  type: str
  returned: success
pending:
  description: >-
    What is not as it should be, of rollback, image, answer, kept, state_file and the actions that
    M(wharf.registry.registry_container) returns.
  type: list
  elements: str
  returned: success
"""

import contextlib
import json
import os
import pwd
import re
import shlex
import socket
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wharf.registry.plugins.module_utils import (
    caches,
    containers,
    forwarding,
    server_data,
    server_rollback,
)
from ansible_collections.wharf.registry.plugins.module_utils.data import location
from ansible_collections.wharf.registry.plugins.module_utils.errors import BusyError, WharfError
from ansible_collections.wharf.registry.plugins.module_utils.files import no_link, read_json, read_text
from ansible_collections.wharf.registry.plugins.module_utils.firewall import Firewall
from ansible_collections.wharf.registry.plugins.module_utils.htpasswd import belongs, hashes_of, users_of
from ansible_collections.wharf.registry.plugins.module_utils.image_pull import pull_problem
from ansible_collections.wharf.registry.plugins.module_utils.lock import lock
from ansible_collections.wharf.registry.plugins.module_utils.parts import STAND_INS, USER, container_names, is_ours
from ansible_collections.wharf.registry.plugins.module_utils.processes import has
from ansible_collections.wharf.registry.plugins.module_utils.server_container import REGISTRY_SPEC
from ansible_collections.wharf.registry.plugins.module_utils.server_files import pending_files
from ansible_collections.wharf.registry.plugins.module_utils.server_info import (
    action_names,
    answer,
    pending_actions,
    port_holder,
)
from ansible_collections.wharf.registry.plugins.module_utils.server_versions import (
    config_problems,
    downgrade_problems,
    store_problems,
)
from ansible_collections.wharf.registry.plugins.module_utils.storage import Storage
from ansible_collections.wharf.registry.plugins.module_utils.text import human_bytes, pluralize

REPOSITORIES = "docker/registry/v2/repositories"  # in the data of a registry
VIRTUAL_ADDRESS = "/etc/wharf/keepalived"
LOCK_WAIT = 2  # seconds: what runs every minute holds the lock for a moment, which is no reason to refuse anything


def inspect(p: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what there is, and a line for each reason why the registry cannot be deployed.

    Args:
        p: the module's parameters.

    Raises:
        WharfError: the engine does not do what it should.
    """
    registry, name = p["registry"], p["registry"]["container"]
    own_names = container_names(name)
    engine = containers.engine()
    known = containers.containers() if engine else []
    image = (containers.image(registry["image"]) if engine else None) or {}
    gateway_image = (containers.image(registry["gateway_image"]) if engine else None) or {}
    parts = {part: containers.container(one) if engine else None for part, one in own_names.items()}
    found = parts["registry"]
    names = {own for container in known for own in container["names"]}
    aside = [containers.container(one) for one in names.intersection(names_used(name)).difference(own_names.values())]
    cached = names.intersection(cache_names(registry))
    for one in (*parts.values(), *aside, *map(containers.container, sorted(cached))):
        if one and not is_ours(one):
            return {}, [foreign_problem(registry, one, p["host"])]
    path = server_data.path_of(registry["data"])
    data = server_data.read(path, registry["directory"])
    if registry["data"].startswith("/"):
        confirmed = p["data_confirm"]
        problems = server_data.place_problems(registry["data"], path, data, registry["uid"], confirmed, p["host"])
        if problems:
            return {}, problems
    firewall = Firewall(name, registry["port"], registry["mirror_port"])
    info: dict[str, Any] = {
        "image": image.get("Id", ""),
        "gateway_image": gateway_image.get("Id", ""),
        "container": found["Id"] if found else "",
        "virtual_address": os.path.isdir(VIRTUAL_ADDRESS),
        "cut_off": server_rollback.has_begun() or bool(aside),
        "interrupted": sorted(names & {f"{name}-{role}" for role in STAND_INS}),
        "version_change": "",
        "blocked": firewall.blocked(p["manage_firewall"]),
    }
    files = pending_files(registry, path, data)
    actions = action_names(pending_actions(registry, parts, info["image"], gateway_image.get("Id", ""), files))
    images = {
        "registry": is_image_pending(p, "image", image, engine),
        "gateway": is_image_pending(p, "gateway_image", gateway_image, engine),
    }
    info["images_pending"] = [kind for kind, is_pending in images.items() if is_pending]
    pending = {
        "rollback": info["cut_off"] or info["interrupted"],
        "image": info["images_pending"],
        **files,
        **dict.fromkeys(actions, True),
        "caches": caches.pending_files(registry)
        or caches.leftovers(registry)
        or (engine and caches.pending_containers(registry, info["image"])),
        "answer": not actions and answer(registry, 0),
        "firewall": firewall.is_pending(p["manage_firewall"]),
        "kept": server_rollback.exists(),  # until the registry has answered with its new certificate
        "state_file": (data.state_id, data.state_place) != (data.id, registry["data"]),
    }
    info["pending"] = [name for name, is_pending in pending.items() if is_pending]
    busy = lock_taken() if info["pending"] else ""
    if busy:
        # What the holder does, and undoes: a run that would change nothing else goes on.
        theirs = ["rollback", "start", "switch", "answer"]
        info["pending"] = [name for name in info["pending"] if name not in theirs]

    problems = [busy] if busy and info["pending"] else []
    problems += conflicts(registry, p["host"], known)
    problems += cache_problems(registry, path, p["host"])
    problems += peers_problems(registry, p["host"])
    settings = json.loads(registry["settings"] or "{}")
    standby_of = settings.get("standby_of", "")
    problems += store_change_problems(settings, registry["data"], data.state_place, p["data_confirm"], p["host"])
    problems += [] if standby_of else copy_problems(path, p["host"])
    if pending.get("users"):
        problems += unknown_passwords(p)
    if p["image_source"] == "pull":
        problems += unreachable_images(p, info["images_pending"], bool(engine))
    if pending["image"] and p["image_source"] == "distro" and not has("apt-get"):
        problems.append(
            "registry_server_image_source: is distro, which builds the images of Debian's or Ubuntu's packages, but "
            f"{p['host']} has no apt-get: use pull or archive"
        )
    problems += server_data.data_problems(
        data, registry["data"], registry["name"], p["data_confirm"], p["host"], standby_of
    )
    if found and image and not images["registry"] and (found["Image"] != image["Id"] or p["fetched"]):
        info["version_change"], reasons = version_change(p, found["Image"], image["Id"])
        problems += reasons
    elif registry["store"] and image and not images["registry"]:
        problems += store_problems(image_version(image["Id"]), "registry_server_storage")
    if image and not (image.get("Config") or {}).get("Entrypoint"):
        problems.append(
            f"registry_server_image: {registry['image']} has no ENTRYPOINT, so that nothing tells which program is the"
            " registry: use an image whose ENTRYPOINT takes serve, garbage-collect and --version"
        )
    return info, problems


def copy_problems(path: str, host: str) -> list[str]:
    """Return why a host cannot be the server whose images are a copy of another's; at most one line.

    Args:
        path: where the registry's data lies.
        host: the host's name, for the message.
    """
    place = f"{path}/{server_data.COPIED}"
    if not os.path.lexists(place):
        return []
    mark = read_json(place, no_link)
    return [
        f"{host} is a standby of {mark.get('server') or 'another server'}: run playbooks/promote-standby.yml to make it"
        " the server, or put it back into registry_standbys"
    ]


def cache_problems(registry: dict[str, Any], path: str, host: str) -> list[str]:
    """Return a line for each reason why caches cannot be there: their place, and repositories that they would hide.

    Args:
        registry: values for REGISTRY_SPEC.
        path: where the registry's data lies.
        host: the host's name, for the messages.
    """
    if not registry["caches"]:
        return []
    hidden = [cache["name"] for cache in registry["caches"] if os.path.isdir(f"{path}/{REPOSITORIES}/{cache['name']}")]
    problems = [
        f"registry_server_caches: {name}: this registry has repositories of its own below {name}/ on {host}, which the"
        " cache would hide: give them other names first (playbooks/copy-images.yml copies them, an admin deletes the"
        " old ones), or leave this cache out"
        for name in hidden
    ]
    problems += size_problems(registry, host)
    data = os.path.realpath(registry["caches_data"])
    there = set(os.listdir(data)) if os.path.isdir(data) else set()
    # Without roots, docker is another registry's storage.
    strange = sorted(there - {"roots", "lost+found"} - ({"docker", caches.NEW} if "roots" in there else set()))
    if strange:
        problems.append(
            f"registry_server_caches_data: {registry['caches_data']} on {host} holds what is of no cache"
            f" ({', '.join(strange[:3])}): use a directory of its own, such as /var/lib/wharf/caches"
        )
    if exposed := server_data.exposed_above(f"{os.path.realpath(registry['caches_data'])}/docker"):
        problems.append(
            f"registry_server_caches_data: {registry['caches_data']} on {host} is or lies below {exposed}, where others"
            " than root may write, and so put another directory in its place: use one below directories of root's"
            " alone, such as /var/lib/wharf/caches"
        )
    return problems


def peers_problems(registry: dict[str, Any], host: str) -> list[str]:
    """Return why a server would no longer be known to the others on its store; at most one line.

    Args:
        registry: values for REGISTRY_SPEC.
        host: the host's name, for the message.
    """
    certificate = f"{os.path.realpath(registry['gateway_directory'])}/peers.crt"
    if not registry["peers"] or read_text(certificate) in ("", registry["peers_certificate"]):
        return []
    return [
        f"registry_server_secrets_directory: {host} and the other servers have secrets that this controller does not"
        " know: copy that directory from the controller that has deployed them; or let this one's take their place, by"
        f" `rm {certificate}` on each of them"
    ]


def store_change_problems(wanted: dict[str, Any], data: str, old_data: str, confirmed: str, host: str) -> list[str]:
    """Return why a registry would no longer find its images, which lie in another store; at most one line.

    Args:
        wanted: what the command is to know of the registry.
        data: where its files are to be.
        old_data: where they were.
        confirmed: the bucket, or ``data``, where it is to go on with what is there.
        host: the host's name, for the message.
    """
    deployed = read_json(server_rollback.SETTINGS)
    before, after = _store(deployed), _store(wanted)
    value = wanted["s3"]["bucket"] if "s3" in wanted else data
    # Where registry_server_config said s3, nothing more is known of it.
    if not deployed or before in (after, ("s3",)) or confirmed == value:
        return []
    return [
        f"registry_server_storage: the images on {host} are in {_shown_store(before, old_data or data)}, and would be"
        f" looked for in {_shown_store(after, data)}: set it as it was, or move them, which docs/change-the-registry.md"
        f" says how to. To go on with what is there: registry_server_data_confirm: {value}"
        f" (-e wharf_registry_data_confirm={value})"
    ]


def _store(settings: dict[str, Any]) -> tuple[str, ...]:
    """Return where images lie: the driver, and of a bucket its endpoint and its name with the place in it."""
    driver, s3 = settings.get("driver", "filesystem"), settings.get("s3")
    return (driver, s3["endpoint"], f"{s3['bucket']}/{s3['root'].strip('/')}".rstrip("/")) if s3 else (driver,)


def _shown_store(store: tuple[str, ...], data: str) -> str:
    if len(store) == 1:
        return data if store == ("filesystem",) else store[0]
    return f"the bucket {store[2]} of {store[1] or 'Amazon'}"


def size_problems(registry: dict[str, Any], host: str) -> list[str]:
    """Return a line for each cache that may become larger than its disk."""
    place = registry["caches_data"]
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    disk = os.statvfs(place)
    total = disk.f_blocks * disk.f_frsize
    return [
        f"registry_server_caches: {cache['name']}: may take {human_bytes(cache['size'])}, and the file system of"
        f" {registry['caches_data']} on {host} has {human_bytes(total)}: use a smaller size, or a larger disk"
        for cache in registry["caches"]
        if cache["size"] > total
    ]


def is_image_pending(p: dict[str, Any], name: str, image: dict[str, Any], engine: dict[str, Any] | None) -> bool:
    """Tell whether an image must be fetched.

    Args:
        p: the module's parameters.
        name: the beginning of the names of those that say what it must be.
        image: what the engine knows of it.
        engine: the engine, where there is one.

    The classic image store knows an image by the digest of its configuration, as an archive tells it. The containerd
    store knows it by that of its manifest or index, which is not in every archive: there the layers must do.
    """
    if not image or (p["refresh"] and not p["fetched"]):
        return True
    image_id, digest = p[f"{name}_id"], p[f"{name}_digest"]
    if not image_id or image["Id"] in (image_id, digest):
        return False
    layers = (image.get("RootFS") or {}).get("Layers") or []
    may_differ = engine and engine["containerd_image_store"] and not digest
    return not (may_differ and layers == p[f"{name}_layers"])


def lock_taken() -> str:
    """Return who is at work on the registry, and what to do; empty when nobody is."""
    try:
        with lock("registry_info", LOCK_WAIT, check_mode=True):
            return ""
    except BusyError as error:
        return str(error)


def names_used(container: str) -> list[str]:
    """Return the names that the containers of a registry have, also those that are about to be replaced."""
    return [f"{one}{end}" for one in container_names(container).values() for end in ("", "-before")]


def cache_names(registry: dict[str, Any]) -> list[str]:
    """Return the names of the containers of a registry's caches."""
    return [caches.container_name(registry["container"], name) for name in caches.with_container(registry)]


def conflicts(registry: dict[str, Any], host: str, known: list[dict[str, Any]]) -> list[str]:
    """Return a line for each thing on the host that stands in the registry's way."""
    problems, uid = [], registry["uid"]
    ports = {"registry_server_port": registry["port"], "registry_server_caches_mirror_port": registry["mirror_port"]}
    for variable, port in ports.items():
        holder = port_holder(port, known, names_used(registry["container"])) if port else ""
        if not holder:
            continue
        container = containers.container(holder.removeprefix("the container ")) if "the container " in holder else None
        held = (container and takeover(registry, container)) or "stop it or choose another port"
        problems.append(f"{variable}: {port} is taken on {host} by {holder}: {held}")
    for address in registry["listen"]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            try:
                listener.bind((address, 0))
            except OSError as error:
                problems.append(
                    f"registry_server_listen: {address} is not an address of {host} ({error.strerror}): use one that"
                    " `ip address` shows there"
                )
    if not re.match(r"localhost$|127\.", registry["name"]) and (problem := forwarding.problem(host)):
        problems.append(problem)
    with contextlib.suppress(KeyError):
        if (user := pwd.getpwuid(uid).pw_name) != USER:
            problems.append(
                f"registry_server_uid: {uid} belongs to the user {user} on {host}: choose a number that nobody has"
            )
    return problems


def foreign_problem(registry: dict[str, Any], found: dict[str, Any], host: str) -> str:
    """Return the line about a container of another, which bears the name of one of the registry's."""
    name, image = found["Name"].lstrip("/"), found["Config"]["Image"]
    other = "give this one another name: registry_server_container (wharf_registry_container)"
    how = takeover(registry, found) or f"`docker rename {name} {name}-old`"
    return (
        f"registry_server_container: {host} has a container {name} already, of the image {image}, which is not Wharf's:"
        f" {how}. Or {other}"
    )


def takeover(registry: dict[str, Any], found: dict[str, Any]) -> str:
    """Return what a container of another holds, and how to take it over; nothing where it is no registry."""
    mounts = [mount for mount in found["Mounts"] if os.path.isdir(f"{mount['Source']}/{REPOSITORIES}")]
    if not mounts:
        return ""
    source, name = mounts[0], found["Name"].lstrip("/")
    repositories = Storage(source["Source"]).repositories()
    volume = f"the volume {source['Name']}" if source["Type"] == "volume" else source["Source"]
    old = f"{name}-old" if name in [*names_used(registry["container"]), *cache_names(registry)] else name
    rename = f"docker rename {name} {old} && " if old != name else ""
    old_data, data = (shlex.quote(str(place)) for place in (source["Source"], location(registry["data"])))
    return (
        f"it holds {pluralize(len(repositories), 'repository')} in {volume}. To take them over:"
        f" `{rename}docker update --restart no {old} && docker stop {old}`, then"
        f" `mkdir -p {data} && cp -a {old_data}/. {data}/`, and run this again;"
        f" `docker rm --volumes {old}` when all is there"
    )


def unknown_passwords(p: dict[str, Any]) -> list[str]:
    """Return a line about the users on the host whose generated password is not the one that the controller has."""
    registry = p["registry"]
    hashes, users = hashes_of(_users_text(registry)), users_of(registry["users"])
    unknown = [name for name in p["generated_users"] if name in hashes and not belongs(users[name], hashes[name])]
    if not unknown:
        return []
    missing = [name for name in unknown if not users[name]]
    reason = f"{p['password_directory']} {'holds none' if missing == unknown else 'holds others'} for them"
    return [
        f"registry_server_users: {', '.join(unknown)}: have passwords on {p['host']} that this controller does not know"
        f" ({reason}): copy those files from the controller that has them, or give the passwords in the inventory; or"
        " replace them by this controller's, generated where it has none, with -e"
        f" registry_server_replace_passwords={','.join(unknown)}, and have everybody who uses them log in again"
    ]


def _users_text(registry: dict[str, Any]) -> str:
    """Return the password file; that of the registry itself where there has been no gateway yet."""
    return read_text(f"{registry['gateway_directory']}/users") or read_text(f"{registry['directory']}/htpasswd")


def unreachable_images(p: dict[str, Any], kinds: list[str], engine: bool) -> list[str]:
    """Return a line where the registries that images are to be pulled from do not give them."""
    reasons = []
    for kind in kinds:
        key = "gateway_image" if kind == "gateway" else "image"
        reference = p["registry"][key]
        if reason := pull_problem(reference, engine, p["proxy"]):
            reasons.append(f"registry_server_{key}: {reference} cannot be pulled on {p['host']} ({reason})")
    if not reasons:
        return []
    return [
        f"{'; '.join(reasons)}: name an image in a registry that the engine reaches, such as a mirror, or give the"
        " engine a proxy; or do without, with registry_server_image_source: archive (from a file) or distro (from the"
        " distribution's packages)"
    ]


def version_change(p: dict[str, Any], running: str, wanted: str) -> tuple[str, list[str]]:
    """Return which version of the registry follows which, and a line for each reason why it cannot.

    Args:
        p: the module's parameters.
        running: the image that runs.
        wanted: the image that is to run.
    """
    new = image_version(wanted)
    if running == wanted:
        return f"version {new or 'unknown'} of the registry runs already", []
    old = image_version(running)
    problems = config_problems(p["config_keys"], new) + ([] if p["allow_downgrade"] else downgrade_problems(old, new))
    problems += store_problems(new, "registry_server_storage") if p["registry"]["store"] else []
    return f"version {new or 'unknown'} of the registry takes the place of {old or 'unknown'}", problems


def image_version(image: str) -> str:
    """Return the version of the registry in an image; empty where it does not tell.

    The program itself is asked, because not every image says it in a label.
    """
    name = f"wharf-version-{os.getpid()}"
    try:
        options = ["--rm", "--name", name, "--network", "none", "--read-only", "--cap-drop", "ALL"]
        printed = containers.docker("run", *options, image, "--version", timeout=20).stdout
    except subprocess.TimeoutExpired:
        containers.remove(name)
        return ""
    return (re.findall(r"[0-9]+\.[0-9]+\.[0-9]+\S*", printed) or [""])[-1]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "dict", "required": True, "options": REGISTRY_SPEC},
            "image_id": {"type": "str", "default": ""},
            "image_digest": {"type": "str", "default": ""},
            "image_layers": {"type": "list", "elements": "str", "default": []},
            "gateway_image_id": {"type": "str", "default": ""},
            "gateway_image_digest": {"type": "str", "default": ""},
            "gateway_image_layers": {"type": "list", "elements": "str", "default": []},
            "refresh": {"type": "bool", "default": False},
            "fetched": {"type": "bool", "default": False},
            "image_source": {"type": "str", "choices": ["pull", "archive", "distro"], "required": True},
            "config_keys": {"type": "list", "elements": "str", "default": []},
            "allow_downgrade": {"type": "bool", "default": False},
            "data_confirm": {"type": "str", "default": ""},
            "generated_users": {"type": "list", "elements": "str", "default": []},
            "password_directory": {"type": "str", "default": "", "no_log": False},
            "proxy": {"type": "str", "default": "", "no_log": True},
            "manage_firewall": {"type": "bool", "default": False},
            "host": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        info, problems = inspect(module.params)
    except (WharfError, OSError) as error:
        module.fail_json(msg=f"{module.params['host']}: {error}")
    if problems:
        module.fail_json(msg="\n".join(problems))
    for line in info.pop("blocked"):
        module.warn(f"{module.params['host']}: no client gets through: {line}")
    module.exit_json(changed=False, **info)


if __name__ == "__main__":
    main()
