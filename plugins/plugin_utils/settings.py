"""The settings of a deployment: every variable that begins with wharf_."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.wharf.registry.plugins.module_utils.backup_settings import backup_problems
from ansible_collections.wharf.registry.plugins.module_utils.parts import SOCKETS
from ansible_collections.wharf.registry.plugins.module_utils.references import PATH, REFERENCE
from ansible_collections.wharf.registry.plugins.plugin_utils import (
    access,
    caches_plan,
    certificates,
    copies,
    names,
    retention,
    stores,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.client import store_problems, tools_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.images import (
    EXAMPLES,
    archive_problems,
    image_problems,
    major_of,
    version_in,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.paths import (
    controller_directory_fault,
    data_problems,
    own_directory_problems,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import defaults, judged, near, specification
from ansible_collections.wharf.registry.plugins.plugin_utils.users import cost_problems, login_problems, user_problems
from ansible_collections.wharf.registry.plugins.plugin_utils.values import shown

ROLE = "settings"


def problems_of(given: Mapping[str, Any]) -> list[str]:
    """Return a line for each mistake in one host's variables that begin with wharf_; a missing one has its default."""
    values, wrong = judged(given, ROLE)
    problems = [f"{name}: {fault}" for name, fault in wrong.items()]
    problems += unknown_problems(given, ROLE, "what docs/variables.md lists, or a name of your own without wharf_")
    for judge, reads in CHECKS:
        first, *others = (f"wharf_{name}" for name in reads.split())
        if not {first, *others} & wrong.keys():
            problems += judge(values[first], first, *(values[name] for name in others))
    return problems + [
        f"{name}: is set, but {other} is {values[other]} and would ignore it: remove it, or set {other} to {wanted}"
        for name, (other, wanted) in IGNORED_UNLESS.items()
        if values[name] not in ("", defaults(ROLE)[name]) and values[other] != wanted and other not in wrong
    ]


def unknown_problems(names: Iterable[str], role: str, use: str) -> list[str]:
    """Judge names of a role's variables: a misspelt one would be ignored in silence."""
    known = specification(role)
    others = {name: near(name, known, 0.8) for name in sorted(names) if name not in known}
    return [f"{name}: is unknown: use {f'{other}, or ' if other else ''}{use}" for name, other in others.items()]


# What the specification cannot say ----------------------------------------------------------------


def _certificate_problems(
    certificate: str, variable: str, key: str, ca: str, trust: str, name: str, aliases: Sequence[str]
) -> list[str]:
    """Judge the certificate, the key and the CA that others provide."""
    given = {"certificate": certificate, "key": key, "ca": ca}
    prefix = variable.removesuffix("certificate")
    return certificates.Provided(given, name, aliases, prefix).problems() if trust == "provided" else []


def _user_problems(
    users: Sequence[Mapping[str, Any]], variable: str, anonymous: bool, trust: str, cost: int
) -> list[str]:
    """Judge the users, and that they do not meet a registry without TLS."""
    return user_problems(users, variable, anonymous, trust != "insecure", cost)


def _rule_problems(
    rules: Sequence[Mapping[str, Any]], variable: str, users: Sequence[Mapping[str, Any]], anonymous: bool, name: str
) -> list[str]:
    """Judge the rules, and whether anybody could push."""
    found = access.rule_problems(rules, variable, users, anonymous, name)
    return found or access.push_problems(users, rules, "wharf_registry_")


def _saved_image_problems(path: str, variable: str, source: str) -> list[str]:
    """Judge the saved image."""
    return archive_problems(path, variable) if source == "archive" else []


def _own_image_problems(
    image: str, variable: str, source: str, name: str, port: int, aliases: Sequence[str]
) -> list[str]:
    """Judge the image of the registry, or of its gateway: it cannot come from the registry that is to run from it."""
    example = EXAMPLES["gateway" if variable == "wharf_gateway_image" else "registry"]
    problems = image_problems(image, variable, example) if source == "pull" else []
    match = None if problems else REFERENCE.fullmatch(image)
    own = [
        spelling for one in (name, *aliases) for spelling in (f"{one}:{port}", *([one] if port in (80, 443) else []))
    ]
    if source == "pull" and match and match["host"] in own:
        return [
            f"{variable}: {shown(image)} lies in the registry that is to run from it: use one of another registry, or"
            " wharf_registry_image_source archive"
        ]
    return problems


def _address_problems(address: str, variable: str) -> list[str]:
    """Judge the address that goes into /etc/hosts."""
    use = "use one such as 192.0.2.10"
    try:
        found = ipaddress.ip_address(address or "192.0.2.10")
    except ValueError:
        return [f"{variable}: {shown(address)} is not an IP address: {use}"]
    if found.is_unspecified or found.is_multicast or found.is_link_local or str(found) == "255.255.255.255":
        return [f"{variable}: {shown(address)} is not an address that a client can reach: {use}"]
    return []


def _storage_problems(storage: Mapping[str, Any], variable: str, image: str, source: str) -> list[str]:
    """Judge where the images lie."""
    return stores.storage_problems(storage, variable, version_in(image) if source == "pull" else "")


def _uid_problems(uid: int, variable: str) -> list[str]:
    """Judge the user that the registry runs as."""
    if 0 < uid < 2**31 and uid not in (65534, 65535):
        return []
    why = {0: "is root", 65534: "is nobody, whom others run as, too"}.get(uid, "is not the number of a user")
    return [f"{variable}: {uid} {why}: use one that belongs to nobody else, such as 59500"]


def _container_problems(name: str, variable: str) -> list[str]:
    """Judge the container's name. Source: moby, daemon/names/names.go."""
    if re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name):
        return []
    use = "use two or more of letters, digits and _.-, a letter or digit first, such as registry"
    return [f"{variable}: {shown(name)} is not the name of a container: {use}"]


def _directories_problems(
    directory: str, variable: str, gateway: str, tls: str, ca: str, data: str, caches: str
) -> list[str]:
    """Judge the server's directories: each its own, and none in the data, which belong to the registry."""
    all_of_them = {
        variable: directory,
        "wharf_gateway_directory": gateway,
        "wharf_tls_directory": tls,
        "wharf_ca_directory": ca,
    }
    problems = [line for name, path in all_of_them.items() for line in own_directory_problems(path, name)]
    if problems or data_problems(data, ""):
        return problems
    everything = [("the containers' sockets", SOCKETS), *all_of_them.items()]
    everything += [("wharf_caches_data", caches)] if caches.startswith("/") else []
    everything += [("wharf_registry_data", data)] if data.startswith("/") else []
    for position, (name, path) in enumerate(everything):
        for other_name, other in everything[:position]:
            one, two = f"{path.rstrip('/')}/", f"{other.rstrip('/')}/"
            if one.startswith(two) or two.startswith(one):
                return [
                    f"{name}: {shown(path)} and {other_name}, {shown(other)}, lie in each other: use two directories"
                    " beside each other"
                ]
    return []


def _credentials_problems(directory: str, variable: str) -> list[str]:
    """Judge where the controller keeps generated passwords."""
    fault = "" if directory.startswith("{{") else controller_directory_fault(directory)
    use = 'use one of its own, such as "{{ inventory_dir }}/.credentials"'
    return [f"{variable}: {shown(directory)} {fault}: {use}"] if fault else []


def _system_store_problems(store: bool, variable: str, trust: str) -> list[str]:
    """Judge whether the system's store can trust the registry's CA."""
    return store_problems(store, trust, variable, "wharf_registry_trust")


def _backup_problems(
    repository: str, variable: str, host: str, password: str, environment: Any, keep: Any, data: str
) -> list[str]:
    """Judge the backup's place and rules."""
    prefix = variable.removesuffix("repository")
    return backup_problems(prefix, repository, host, password or None, environment, keep, data)


def _schedule_problems(schedule: str, variable: str, repository: str) -> list[str]:
    """Judge whether a backup that is to be made has a place."""
    if not schedule or repository:
        return []
    return [f"{variable}: is {schedule}, but nothing says where the backup goes: set wharf_backup_repository, too"]


def _fetch_problems(directory: str, variable: str, repository: str, host: str) -> list[str]:
    """Judge where on the controller a copy of the backup goes."""
    if not directory:
        return []
    if fault := "has '..' in it" if ".." in directory.split("/") else controller_directory_fault(directory):
        return [f"{variable}: {shown(directory)} {fault}: use one of its own, such as /srv/backup/registry"]
    if not repository:
        return [f"{variable}: is set, but nothing says where the backup is: set wharf_backup_repository, too"]
    if host or repository.startswith("/"):
        return []
    return [
        f"{variable}: is set, but wharf_backup_repository is not a directory of a host of the inventory: fetch it by"
        " the means of that store, or leave this out"
    ]


def _kept_problems(keep: Mapping[str, Any], variable: str, repository: str) -> list[str]:
    """Judge rules for snapshots that nobody makes. A password may wait in the vault."""
    if repository or keep == defaults(ROLE)[variable]:
        return []
    return [f"{variable}: is set, but nothing says where the backup goes: set wharf_backup_repository, too"]


def _remove_problems(confirm: str, variable: str, remove: bool, name: str) -> list[str]:
    """Judge the consent to the end of the images."""
    if remove and confirm != name:
        return [f"{variable}: must be the name of the registry whose images and CA are to be deleted: {name}"]
    if confirm and not remove:
        return [f"{variable}: is set, but wharf_remove_data is false: set that to true as well, or leave this out"]
    return []


def _confirm_problems(confirm: str, variable: str, wanted: str) -> list[str]:
    """Judge a consent that names what it is about."""
    return [f"{variable}: {shown(confirm)} is another one: use {shown(wanted)}"] if confirm not in ("", wanted) else []


def _data_confirm_problems(confirm: str, variable: str, data: str, storage: Mapping[str, Any]) -> list[str]:
    """Judge the consent to the data that is there, or to what is in the bucket."""
    bucket = (storage.get("s3") or {}).get("bucket", "")
    return _confirm_problems(confirm, variable, bucket or data) if confirm != data else []


def _plan_problems(plan: str, variable: str) -> list[str]:
    """Judge the number of a plan."""
    if not plan or re.fullmatch("[0-9a-f]{12}", plan):
        return []
    return [f"{variable}: {shown(plan)} is not the number of a plan: use the 12 digits that apply-retention.yml showed"]


def _snapshot_problems(snapshot: str, variable: str) -> list[str]:
    """Judge which snapshot is meant."""
    if re.fullmatch("latest|list|[0-9a-f]{4,64}", snapshot):
        return []
    use = "use latest, the first letters of its ID, such as 2f7c41d9, or list, with which they are shown"
    return [f"{variable}: {shown(snapshot)} is no snapshot: {use}"]


def _restored_problems(repository: str, variable: str, overwrite: bool) -> list[str]:
    """Judge which repository is restored."""
    if overwrite and not repository:
        return [
            f"wharf_restore_overwrite: is true, but {variable} is not set, with which it goes: set both, or neither"
        ]
    if not repository or re.fullmatch(PATH, repository):
        return []
    use = "use its name without the registry and a tag, such as team/app"
    return [f"{variable}: {shown(repository)} is not a repository: {use}"]


def _compared_problems(image: str, variable: str) -> list[str]:
    """Judge the image that is compared with its digests."""
    return image_problems(image, variable) if image else []


def _bundle_problems(path: str, variable: str) -> list[str]:
    """Judge where a bundle is."""
    if not path or path.startswith("/") and path.endswith(".tar") and os.path.isdir(os.path.dirname(path)):
        return []
    if path.startswith("/") and path.endswith(".tar"):
        return [f"{variable}: {shown(os.path.dirname(path))} is no directory on the controller: make it"]
    return [
        f"{variable}: {shown(path)} is not the absolute path of a file that ends in .tar: use one on the controller,"
        " such as /srv/images/team.tar"
    ]


def _cache_problems(
    caches: Sequence[Mapping[str, Any]],
    variable: str,
    name: str,
    port: int,
    aliases: Sequence[str],
    image: str,
    source: str,
) -> list[str]:
    """Judge the caches of other registries."""
    major = major_of(version_in(image) if source == "pull" else "", source)
    return caches_plan.cache_problems(caches, variable, name, port, aliases, major)


def _mirror_problems(
    mirror_port: int, variable: str, port: int, caches: Sequence[Mapping[str, Any]], is_open: bool, anonymous: bool
) -> list[str]:
    """Judge the port at which the cache of Docker Hub is a mirror."""
    return caches_plan.mirror_problems(mirror_port, variable, port, caches, is_open or anonymous)


def _use_problems(uses: bool, variable: str, caches: Sequence[Mapping[str, Any]]) -> list[str]:
    """Judge whether clients can pull through caches."""
    return [f"{variable}: is true, but wharf_caches is empty: list the caches there"] if uses and not caches else []


def _reader_problems(reader: str, variable: str, users: Sequence[Mapping[str, Any]]) -> list[str]:
    """Judge who reads the caches for the tools that have no login of their own."""
    known = [user["name"] for user in users if user.get("role") != "monitor"]
    if not reader or reader in known:
        return []
    return [f"{variable}: {shown(reader)} is none of wharf_registry_users who may read: use one of them"]


def _caches_data_problems(path: str, variable: str) -> list[str]:
    """Judge where the caches are kept."""
    return own_directory_problems(path, variable, caches_plan.CACHES_DATA)


def _interval_problems(minutes: int, variable: str) -> list[str]:
    """Judge how often the standbys get a copy."""
    if 1 <= minutes <= 1440:
        return []
    return [f"{variable}: {minutes} is out of range: use minutes from 1 to 1440, a day"]


def _virtual_problems(address: str, variable: str, listen: Sequence[object]) -> list[str]:
    """Judge the address that moves between the server and its standbys."""
    use = "use one with its prefix, such as 192.0.2.10/24"
    try:
        found = ipaddress.ip_interface(address or "192.0.2.10/24")
    except ValueError:
        return [f"{variable}: {shown(address)} is not an IP address: {use}"]
    if address and "/" not in address:
        return [f"{variable}: {shown(address)} has no prefix: {use}"]
    if names.address_fault(found.ip) or found.is_unspecified or found.is_loopback:
        return [f"{variable}: {shown(address)} is not an address that a client can reach: {use}"]
    if found.network.num_addresses > 2 and found.ip in (found.network[0], found.network[-1]) and found.version == 4:
        return [f"{variable}: {shown(address)} is no host's address in its network: {use}"]
    if address and str(found) != address:
        return [f"{variable}: {shown(address)} has another usual form: use {shown(str(found))}"]
    every = "::" if found.version == 6 else "0.0.0.0"
    if address and listen and every not in listen:
        return [
            f"{variable}: nothing would listen at {shown(address)}: leave wharf_registry_listen out, or have {every} in"
            " it, because no host has the address all the time"
        ]
    return []


def _router_problems(number: int, variable: str) -> list[str]:
    """Judge the number of the virtual router."""
    return [] if 1 <= number <= 255 else [f"{variable}: {number} is out of range: use a number from 1 to 255"]


# What is set in vain unless another setting has this value.
IGNORED_UNLESS = {
    "wharf_registry_certificate": ("wharf_registry_trust", "provided"),
    "wharf_registry_key": ("wharf_registry_trust", "provided"),
    "wharf_registry_ca": ("wharf_registry_trust", "provided"),
    "wharf_registry_image_archive": ("wharf_registry_image_source", "archive"),
    "wharf_registry_image": ("wharf_registry_image_source", "pull"),
    "wharf_gateway_image": ("wharf_registry_image_source", "pull"),
}
# Each check with the variables that it reads: it is given the value and the name of the first, and the values of the
# others. It is left out where one of them has a wrong type already.
CHECKS: tuple[tuple[Callable[..., Iterable[str]], str], ...] = (
    (names.name_problems, "registry_name"),
    (names.port_problems, "registry_port"),
    (names.listen_problems, "registry_listen"),
    (names.network_problems, "metrics_addresses"),
    (
        _certificate_problems,
        "registry_certificate registry_key registry_ca registry_trust registry_name registry_aliases",
    ),
    (names.alias_problems, "registry_aliases registry_name"),
    (names.previous_name_problems, "registry_previous_names registry_name registry_port registry_aliases"),
    (_user_problems, "registry_users registry_anonymous registry_trust registry_bcrypt_cost"),
    (_rule_problems, "registry_rules registry_users registry_anonymous registry_name"),
    (login_problems, "registry_logins registry_users"),
    (tools_problems, "client_tools"),
    (_system_store_problems, "client_system_store registry_trust"),
    (cost_problems, "registry_bcrypt_cost"),
    (_own_image_problems, "registry_image registry_image_source registry_name registry_port registry_aliases"),
    (_own_image_problems, "gateway_image registry_image_source registry_name registry_port registry_aliases"),
    (_saved_image_problems, "registry_image_archive registry_image_source"),
    (data_problems, "registry_data"),
    (_storage_problems, "registry_storage registry_image registry_image_source"),
    (
        _directories_problems,
        "registry_directory gateway_directory tls_directory ca_directory registry_data caches_data",
    ),
    (_caches_data_problems, "caches_data"),
    (_mirror_problems, "caches_mirror_port registry_port caches caches_anonymous registry_anonymous"),
    (_use_problems, "registry_clients_use_caches caches"),
    (_reader_problems, "caches_reader registry_users"),
    (
        _cache_problems,
        "caches registry_name registry_port registry_aliases registry_image registry_image_source",
    ),
    (_credentials_problems, "credentials_directory"),
    (_uid_problems, "registry_uid"),
    (_container_problems, "registry_container"),
    (_address_problems, "registry_address"),
    (retention.retention_problems, "retention registry_name"),
    (
        _backup_problems,
        "backup_repository backup_host backup_password backup_environment backup_keep registry_data",
    ),
    (_schedule_problems, "backup_schedule backup_repository"),
    (_fetch_problems, "backup_fetch_to backup_repository backup_host"),
    (_kept_problems, "backup_keep backup_repository"),
    (_interval_problems, "standby_interval"),
    (_virtual_problems, "virtual_address registry_listen"),
    (_router_problems, "virtual_router_id"),
    (_remove_problems, "remove_confirm remove_data registry_name"),
    (_data_confirm_problems, "registry_data_confirm registry_data registry_storage"),
    (_confirm_problems, "restore_confirm registry_name"),
    (_plan_problems, "retention_plan"),
    (_snapshot_problems, "restore_snapshot"),
    (_restored_problems, "restore_repository restore_overwrite"),
    (_compared_problems, "diagnose_image"),
    (_bundle_problems, "bundle"),
    (copies.parallel_problems, "copies_parallel"),
    (copies.login_problems, "copies_logins"),
    (certificates.certificates_problems, "copies_ca"),
    (copies.pattern_problems, "export_images registry_name"),
    (copies.fingerprint_problems, "bundle_fingerprint"),
)
