"""What makes a deployment wrong as a whole: its groups, its hosts compared with each other, and its files."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.wharf.registry.plugins.module_utils.gateway import PEERS_NAME
from ansible_collections.wharf.registry.plugins.plugin_utils import engine_variables, server_variables, settings
from ansible_collections.wharf.registry.plugins.plugin_utils.names import is_loopback
from ansible_collections.wharf.registry.plugins.plugin_utils.programs import storage_driver
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import (
    defaults,
    for_one_run,
    judged,
    near,
    specification,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.values import (
    listed,
    mapping_in,
    plain,
    problems_on_hosts,
    shown,
    whole_number,
)
from ansible_collections.wharf.registry.plugins.plugin_utils.variable_files import READ

SERVERS, STANDBYS, CLIENTS = GROUPS = "registry_servers", "registry_standbys", "registry_clients"
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
# The playbooks of a deployment; others hand the roles what is meant for one run, such as what takes all away.
_WIRING = (
    "deploy-registry",
    "deploy-standbys",
    "trust-registry",
    "set-up-backup",
    "install-command",
    "install-docker",
    "validate",
    "tasks/virtual-address",
)
# Settings that mean the same to every host, and those that only clients read. All others the server and its standbys
# read, and all but a host's own addresses and places are the same there: one is to take the other's place.
SHARED = (
    *(f"wharf_registry_{name}" for name in ("name", "port", "trust", "aliases", "users", "rules", "anonymous")),
    "wharf_credentials_directory",
    "wharf_virtual_address",
)
OF_CLIENTS = (
    "wharf_client_tools",
    "wharf_client_system_store",
    "wharf_manage_hosts_file",
    "wharf_registry_address",
    "wharf_registry_logins",
    "wharf_registry_previous_names",
)
OF_ONE_HOST = ("wharf_registry_listen", "wharf_registry_data", "wharf_caches_data")
# What only one source of the engine reads.
_OF_DOCKER_CE = ("channel", "repository_url", "repository_key_fingerprint")
_NUMBER = re.compile(
    r"^[ \t]*(\w+):[ \t]+(0[0-7]+|0x[0-9a-f]+|[1-9][0-9]*(?::[0-5]?[0-9])+)[ \t]*(?:#.*)?$", re.MULTILINE
)
# What Ansible does not read as a file of variables, but people take for one.
_NOT_READ = (".txt", ".ini", ".conf", ".cfg", ".toml", ".env", ".vars")
_FOLDERS = {"groupvar": "group_vars", "hostvar": "host_vars"}
_OF_GROUPS = ("hosts", "vars", "children")
# How Ansible reaches a host, and what people write instead, by habit or from versions long ago.
_OF_CONNECTIONS = [
    f"ansible_{name}"
    for name in (
        *("host", "port", "user", "password", "connection", "private_key_file", "python_interpreter", "pipelining"),
        *("become", "become_user", "become_method", "become_password", "become_pass", "become_exe", "become_flags"),
        *("ssh_host", "ssh_port", "ssh_user", "ssh_pass", "ssh_password", "ssh_private_key_file", "ssh_executable"),
        *("ssh_args", "ssh_common_args", "ssh_extra_args", "ssh_pipelining", "ssh_timeout", "timeout", "remote_tmp"),
        *("scp_executable", "scp_extra_args", "sftp_executable", "sftp_extra_args", "sudo_pass", "sudo_user"),
        *("su_pass", "su_user", "ssh_private_key", "private_key"),
    )
]
_OTHER_NAMES = {
    "host": ("ip", "address", "addr", "hostip"),
    "user": ("username", "login"),
    "password": ("passwd", "pwd"),
    "become": ("sudo", "su"),
    "become_password": ("become_passwd", "become_pwd", "sudo_password"),
    "ssh_private_key_file": ("key_file", "ssh_key", "ssh_key_file", "ssh_keyfile"),
}
_CONNECTIONS = ("ssh", "local", "docker", "podman", "paramiko", "smart", "lxd", "lxc", "incus", "chroot", "kubectl")
_BECOMES = ("sudo", "su", "doas")
_TRUE, _FALSE = ("true", "yes", "on", "1", "y", "t"), ("false", "no", "off", "0", "n", "f")
_FOR_ALL = ("main", "vars", "variables", "defaults", "settings", "wharf")
_SETTING = re.compile(r"^\s*(wharf|docker_engine)_\w+\s*[:=]", re.MULTILINE)
Variables = Mapping[str, Mapping[str, Any]]
JUDGES = {
    "wharf_": settings.problems_of,
    "docker_engine_": engine_variables.problems_of,
    "registry_": server_variables.problems_of,
}
PREFIXES = ("wharf_", "docker_engine_", "server_programs_", *(f"{role}_" for role in server_variables.ROLES))


def settings_problems(
    hostvars: Variables,
    hosts: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    limit: str = "",
    needs: Collection[str] = (),
    of_this_run: Collection[str] = (),
) -> list[str]:
    """Return the mistakes in a deployment: see the filter of that name. Each is a line, once for all hosts."""
    servers, standbys, clients = (groups.get(name) or [] for name in GROUPS)
    members = list(dict.fromkeys([*servers, *standbys, *clients]))
    variables = {host: hostvars[host] for host in members}
    problems = [(line, "") for line in [*_group_problems(groups), *_limit_problems(groups, limit, hosts)]]
    in_run = [host for host in members if host in hosts or host in servers]
    given = {host: _given(own, host, problems if host in in_run else []) for host, own in variables.items()}
    if problems or not servers:
        return _by_host(problems, in_run)
    every_run = _given_to_every_run(given, of_this_run)
    given = {host: {name: value for name, value in own.items() if name not in every_run} for host, own in given.items()}
    server = given[servers[0]]
    settled = {
        host: given[host] if host in (*servers, *standbys) else _as_client(given[host], server) for host in in_run
    }
    for prefix, judge in JUDGES.items():
        problems += problems_on_hosts(settled, in_run, prefix, judge)
    problems += every_run.values()
    problems += _unknown_tags(variables[servers[0]])
    problems += _lacking(given, servers[0], hosts, standbys, needs)
    problems += _backup_host_problems(server.get("wharf_backup_host") or "", groups.get("all") or [], servers)
    problems += _differences({host: given[host] for host in in_run}, servers[0], [*servers[1:], *standbys])
    wrong = _names(problems)
    problems += [line for line in _in_vain(given, [*servers, *standbys], clients) if not wrong & _names([line])]
    problems += [*_store_problems(server, standbys), *_several_problems(variables, server, servers, wrong)]
    for host in (*servers, *(standby for standby in standbys if standby in in_run)):
        problems += _conflicts({one: given[one] for one in in_run}, host)
    problems += [*_standby_problems(given, servers[0], standbys), *_copying_problems(variables, servers[0], standbys)]
    problems += _skipped_clients(given, clients)
    problems += _reachability_problems(variables, given, servers[0], clients)
    problems += [*_connection_problems({host: variables[host] for host in in_run}), *_file_problems(variables, groups)]
    misplaced = [*_misplaced(variables, groups), *_nested({host: variables[host] for host in in_run})]
    if misplaced:  # and what no host has is likely there
        known = {name for own in given.values() for name in own}
        problems = [line for line in problems if not _names([line]) & (_known() - known)]
    misplaced += [
        *_misread_numbers(variables),
        *_hidden(variables),
        *_misnamed({host: variables[host] for host in in_run}),
    ]
    wrong = _names(misplaced)  # of which other lines would say that they are missing
    return list(dict.fromkeys([*(line for line in problems if not wrong & _names([line])), *misplaced]))


def warnings(hostvars: Variables, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what may be meant, but hardly is."""
    variables = {host: hostvars[host] for host in hosts}
    found = [
        f"{file} is named like a vault, but is not encrypted: run ansible-vault encrypt {file}"
        for file in clear_vaults(variables, hosts)
    ]
    served = [*(groups.get(SERVERS) or []), *(groups.get(STANDBYS) or [])]
    others = [host for host in groups.get("all") or [] if host not in served]
    if others and not groups.get(CLIENTS):
        found.append(f"{CLIENTS}: has no host, so that {_some(others)} will not trust the registry")
    places: dict[tuple[str, ...], list[str]] = {}
    for host in hosts:
        place = tuple(_said(variables[host], name) for name in ("host", "port", "ssh_common_args", "connection"))
        if place[0] and place[-1] in ("", "ssh", "smart"):
            places.setdefault(place, []).append(host)
    return found + [
        f"{_some(same)} are one machine ({place[0]} is the ansible_host of each), on which each task runs at the same"
        " time: correct the address, or leave one of them"
        for place, same in places.items()
        if len(same) > 1
    ]


def clear_vaults(hostvars: Variables, hosts: Sequence[str]) -> list[str]:
    """Return the files beside the inventory that are named like a vault and hold text in the clear."""
    return [
        str(file)
        for directory in _inventories({host: hostvars[host] for host in hosts})
        for kind in ("group_vars", "host_vars")
        for file in sorted(directory.glob(f"{kind}/**/*vault*"))
        if file.is_file() and _is_in_the_clear(file)
    ]


def _given(variables: Mapping[str, Any], host: str, problems: list[tuple[str, str]]) -> dict[str, Any]:
    """Return a host's variables that this collection reads, as plain values.

    What Ansible cannot evaluate goes to the problems: an undefined variable, a vault whose password is another.
    """
    given = {}
    for name in variables:
        if name.startswith(PREFIXES):
            try:
                given[name] = plain(variables[name])
            except Exception as error:  # Ansible's own, of several modules
                reason = str(getattr(error, "message", error)).splitlines()[0].rstrip(".: ")
                wrong = f"cannot be evaluated ({reason}): correct it, or what it refers to"
                if "vault" in reason.lower() and "undefined" not in reason:
                    wrong = "cannot be decrypted: use --ask-vault-pass, with the password that it was encrypted with"
                problems.append((f"{name}: {wrong}", host))
    return given


def _as_client(own: Mapping[str, Any], server: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client's settings are where it does not contradict the server."""
    elsewhere = specification(settings.ROLE).keys() - {*OF_CLIENTS}
    mine = {name: value for name, value in own.items() if name not in elsewhere}
    return mine | {name: value for name, value in server.items() if name in elsewhere}


# Groups -----------------------------------------------------------------------------------------------------------


def _group_problems(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what is wrong with the inventory's groups."""
    servers, standbys, clients = (groups.get(name) or [] for name in GROUPS)
    problems = []
    for name, hosts in groups.items():
        right = near(name.lower().replace("-", "_"), GROUPS, 0.85) if name not in GROUPS else ""
        if right and (strays := [host for host in hosts if host not in (*servers, *standbys, *clients)]):
            problems.append(
                f"{name}: is a group that no playbook knows, so that {_some(strays)} would be left out: use {right}"
            )
    for host in dict.fromkeys([*servers, *standbys, *clients]):
        if others := [other for other in groups.get(host) or [] if other != host]:
            problems.append(
                f"{host}: is both a host and the group of {_some(others)}: write a group among the children (in INI"
                " under [registry_clients:children]), or give one of them another name"
            )
    if not servers and not problems:
        problems.append(
            f"{SERVERS}: the group is empty{f' and {_some(standbys)} would follow nobody' if standbys else ''}: put the"
            " host that shall run the registry into it, and name the inventory with -i"
        )
    if both := [host for host in standbys if host in servers]:
        problems.append(f"{STANDBYS}: {_some(both)} is in {SERVERS}, too, and would be its own copy: leave it in one")
    return problems


def _limit_problems(groups: Mapping[str, Sequence[str]], limit: str, hosts: Sequence[str]) -> list[str]:
    """Return why a run that is limited to some hosts would do nothing there."""
    members = [host for name in GROUPS for host in groups.get(name) or []]
    if not groups.get(SERVERS) or not limit:
        return []
    known = [host for host in re.split("[,:]", limit) if host in (groups.get("all") or [])]
    strays = [host for host in known if host not in members]
    if not strays and not any(host in members for host in hosts):
        strays = list(hosts)
    return [
        f"{host}: is in none of {SERVERS}, {STANDBYS} and {CLIENTS}, and nothing would be done there: put it into one"
        for host in strays
    ]


# Hosts ------------------------------------------------------------------------------------------------------------


def _differences(given: Variables, server: str, others: Sequence[str]) -> Iterator[str]:
    """Yield what the first server and a client, or another server or a standby, must see alike, but do not."""
    alike = [host for host in given if host in (server, *others)]
    options = specification(settings.ROLE)
    of_servers = [name for name in options if name not in (*SHARED, *OF_CLIENTS, *OF_ONE_HOST)]
    for name in (*SHARED, *(of_servers if len(alike) > 1 else ())):
        hosts = given if name in SHARED else alike
        values = {host: judged({name: given[host].get(name)}, settings.ROLE)[0][name] for host in hosts}
        other = [host for host, value in values.items() if value != values[server]]
        if other:
            server_value, value = shown(values[server]), shown(values[other[0]])
            said = f"is {value} on {_some(other)}, and {server_value} on {server}"
            if value == server_value or options[name].get("no_log"):
                said = f"is another one on {_some(other)} than on {server}"
            yield f"{name}: {said}: set it once for all hosts, in group_vars/all"


def _driver(own: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a server's images lie, and the setting that says so."""
    storage, config = own.get("wharf_registry_storage"), own.get("registry_server_config")
    if isinstance(storage, Mapping) and storage.get("s3"):
        return "s3", "wharf_registry_storage"
    driver = storage_driver(config) if isinstance(config, Mapping) else "filesystem"
    return driver, "registry_server_config"


def _store_problems(own: Mapping[str, Any], standbys: Sequence[str]) -> Iterator[str]:
    """Yield what contradicts that the images lie elsewhere than in files of the server."""
    driver, said = _driver(own)
    config = own.get("registry_server_config")
    if driver == "s3" and isinstance(config, Mapping):
        other, storage = storage_driver(config), mapping_in(config, "storage")
        if other not in ("filesystem", "s3") or "filesystem" in storage:
            yield (
                f"registry_server_config: storage.{other} is set beside wharf_registry_storage, and the images lie in"
                " one place: leave one of the two out"
            )
        if mapping_in(storage, "cache").get("blobdescriptor"):
            yield (
                "registry_server_config: storage.cache.blobdescriptor would go on to answer for what another server, or"
                " a collection, has deleted from the store (wharf_registry_storage): leave it out"
            )
    if standbys and driver != "filesystem":
        yield (
            f"{STANDBYS}: {_some(standbys)} would get a copy of the server's files, but its images lie in"
            f" {_place(driver, said)}: leave the group empty, and use the store's own means"
        )


def _place(driver: str, said: str) -> str:
    return f"{'storage.' if said == 'registry_server_config' else ''}{driver} ({said})"


def _several_problems(
    variables: Variables, own: Mapping[str, Any], servers: Sequence[str], wrong: Collection[str]
) -> Iterator[str]:
    """Yield why several hosts cannot be one registry."""
    if len(servers) < 2:
        return
    count = f"{SERVERS}: has {len(servers)} hosts, {_some(servers)}"
    if _driver(own)[0] == "filesystem" and "wharf_registry_storage" not in wrong:
        yield (
            f"{count}, but no store that they have in common, and a directory, or NFS, under several registries loses"
            " uploads (distribution#2225): set wharf_registry_storage, or put all but one into"
            f" {STANDBYS} or an inventory of their own"
        )
        return
    if _driver(own)[0] not in ("filesystem", "s3"):
        yield f"{count}, which only share what wharf_registry_storage says: use s3 there, or leave one in the group"
    addresses: dict[str, list[str]] = {}
    for host in servers:
        if is_loopback(address := _said(variables[host], "host") or host):
            yield (
                f"{SERVERS}: {host} has the address {address}, which leads each of the others to itself: use an"
                " ansible_host under which they reach it"
            )
        addresses.setdefault(address, []).append(host)
    for address, same in addresses.items():
        if len(same) > 1:
            yield f"{SERVERS}: {_some(same)} have the address {address}: give each its own, or leave one in the group"
    if own.get("wharf_registry_trust") == "insecure":
        yield (
            "wharf_registry_trust: is insecure, but the servers pass requests to each other over TLS, by a certificate"
            " of their own: use private_ca or provided, or leave one host in registry_servers"
        )
    named = {"wharf_registry_name": [own.get("wharf_registry_name")]}
    named["wharf_registry_aliases"] = own.get("wharf_registry_aliases") or []
    for name, names in named.items():
        if PEERS_NAME in names:
            yield f"{name}: {PEERS_NAME} is what the servers are to each other: use another"
    if schedule := own.get("wharf_garbage_schedule"):
        yield (
            f"wharf_garbage_schedule: is {shown(schedule)}, but a collection must hold pushes on {_some(servers)} at"
            " once, which none of them can alone: leave it out, and run playbooks/collect-garbage.yml"
        )


def _standby_problems(given: Variables, server: str, standbys: Sequence[str]) -> Iterator[str]:
    """Yield why the server's images cannot be copied to its standbys."""
    variable, data = "wharf_standby_confirm", "wharf_registry_data"
    for host in standbys:
        if ":" in host:
            yield f"{STANDBYS}: {host} has a colon, by which rsync would take it for another host: give it another name"
    for confirmed in str(given[server].get(variable) or "").split(","):
        if confirmed and confirmed not in standbys:
            yield f"{variable}: {shown(confirmed)} is not in {STANDBYS}: use names of its hosts, separated by commas"
    places = {host: str(given[host].get(data) or defaults(settings.ROLE)[data]) for host in (server, *standbys)}
    if volumes := [host for host, place in places.items() if standbys and "/" not in place]:
        yield (
            f"{data}: {shown(places[volumes[0]])} on {_some(volumes)} is a volume, which only root gets to, and the"
            " registry's own user copies to standbys: use a directory, such as /var/lib/wharf/registry"
            " (playbooks/move-registry-data.yml moves the images there)"
        )


def _copying_problems(variables: Variables, server: str, standbys: Sequence[str]) -> Iterator[str]:
    """Yield why the server would not reach its standbys, which it does under the addresses that Ansible has."""
    places = {
        host: (
            _said(variables[host], "host") or _said(variables[host], "ssh_host") or host,
            _said(variables[host], "port") or _said(variables[host], "ssh_port") or "22",
        )
        for host in (server, *standbys)
    }
    for host in standbys:
        address = places[host][0]
        if is_loopback(address) or places[host] == places[server]:
            yield (
                f"{STANDBYS}: {host} has the address {address}, which leads {server} to itself when it copies there:"
                f" use another machine, with an ansible_host under which {server} reaches its SSH"
            )


def _in_vain(given: Variables, servers: Sequence[str], clients: Sequence[str]) -> Iterator[str]:
    """Yield what is set on hosts that do not read it, and on none that does."""
    only_clients = [host for host in clients if host not in servers]
    only_servers = [host for host in servers if host not in clients]
    for name in specification(settings.ROLE):
        of_clients = name in OF_CLIENTS
        readers, others = (clients, only_servers) if of_clients else (servers, only_clients)
        if name in SHARED or name == "wharf_credentials_directory" or not clients:
            continue
        values = [str(given[host].get(name)) for host in readers]
        wrong = [
            host
            for host in others
            if given[host].get(name) is not None
            and str(given[host][name]) not in values
            and (set(values) == {"None"} or any(str(given[other].get(name)) in values for other in others))
        ]
        if wrong:
            who, where = ("clients read", CLIENTS) if of_clients else ("the server reads", SERVERS)
            yield f"{name}: is set on {_some(wrong)}, but only {who} it: set it in group_vars/all or group_vars/{where}"
    bare = [host for host in only_clients if _has_no_docker(given[host])]
    # Where no client has Docker, the tools may be said with -e for one run.
    for name in specification(engine_variables.ROLE) if bare != only_clients else ():
        values = [str(own.get(name)) for host, own in given.items() if host not in bare]
        values.append("none")  # which says of docker_engine_source that there is no Docker
        if wrong := [host for host in bare if given[host].get(name) and str(given[host][name]) not in values]:
            yield (
                f"{name}: is set on {_some(wrong)}, which {'has' if len(wrong) == 1 else 'have'} no Docker"
                " (wharf_client_tools), and nothing would read it: remove it, or add docker to wharf_client_tools"
            )
    if not any(own.get("docker_engine_source") == "docker_ce" for own in given.values()):
        for name in (f"docker_engine_{name}" for name in _OF_DOCKER_CE):
            if any(own.get(name) not in (None, defaults("docker_engine")[name]) for own in given.values()):
                yield (
                    f"{name}: is set, but docker_engine_source is docker_ce on no host, and nothing would read it:"
                    " remove it, or set docker_engine_source to docker_ce"
                )
    if not any(own.get(proxy) for own in given.values() for proxy in engine_variables.PROXIES.values()) and any(
        own.get("docker_engine_no_proxy") for own in given.values()
    ):
        yield (
            "docker_engine_no_proxy: is set, but no host has a proxy, and nothing would read it: remove it, or set"
            f" {listed(list(engine_variables.PROXIES.values()), 'or')}"
        )
    users = [host for host in clients if given[host].get("wharf_registry_logins")]
    if users and all(given[host].get("wharf_client_tools") == ["containerd"] for host in users):
        yield (
            f"wharf_registry_logins: is set, but containerd, the only tool of {_some(users)}, keeps no logins:"
            " remove it, or add another tool to wharf_client_tools"
        )
    address = "wharf_registry_address"
    manage = "wharf_manage_hosts_file"
    if any(own.get(address) for own in given.values()) and not any(
        str(own.get(manage, "")).lower() in _TRUE for own in given.values()
    ):
        yield f"{address}: is set, but {manage} is false, and nothing would read it: remove it, or set that to true"


def _has_no_docker(own: Mapping[str, Any]) -> bool:
    """Tell whether the tools of a client leave out Docker."""
    tools = own.get("wharf_client_tools")
    return isinstance(tools, list) and "auto" not in tools and "docker" not in tools


@cache
def _set_by_playbooks(*playbooks: str) -> dict[str, str]:
    """Return the roles' variables that the playbooks set, each with the settings that it is made from."""
    found: dict[str, str] = {}
    for playbook in playbooks:
        for play in yaml_load((PLAYBOOKS / f"{playbook}.yml").read_text("utf-8")):
            blocks = [task.get("block") or [task] for task in play.get("tasks") or []]
            for part in [play, *(play.get("roles") or []), *itertools.chain(*blocks)]:
                for name, value in (part.get("vars") or {}).items():
                    wharf = re.findall(r"\bwharf_(?!registry\b(?!_))\w+", str(value))
                    source = dict.fromkeys(word for word in wharf if word in specification(settings.ROLE))
                    if not name.startswith(("ansible_", "_")):
                        found.setdefault(name, " and ".join(source))
    return found


def _misnamed(variables: Variables) -> list[str]:
    """Return variables that are set in vain, because they have the name of another one."""
    hosts: dict[str, list[str]] = {}
    for host, own in variables.items():
        for name in own:
            hosts.setdefault(name, []).append(host)
    known = specification(settings.ROLE)
    squeezed = {name.replace("_", ""): name for name in known}
    found = []
    for name, on in hosts.items():
        start, _, rest = name.partition("_")
        right = squeezed.get(re.sub("[_-]", "", name.lower()), "")
        if not right and near(start.lower(), ["wharf"], 0.6):
            right = f"wharf_{rest}"
        if name in _set_by_playbooks(*_WIRING):
            narrower, extra, _ = name.partition("_extra")  # docker_engine_no_proxy_extra
            is_beside = extra and narrower in specification("docker_engine")
            source = narrower if is_beside else _set_by_playbooks(*_WIRING)[name]
            line = f"{name}: is set by the playbooks: {f'set {source}' if source else 'leave it out'}"
        elif right in known and start != "wharf":
            line = f"{name}: is unknown, and nothing would read it: use {right}"
        else:
            continue
        found += [(line, host) for host in on]
    return _by_host(found, list(variables))


def _nested(variables: Variables) -> list[str]:
    """Return mappings of settings, whose names were cut at an underscore."""
    found = []
    for host, own in variables.items():
        for name in {name for known in _known() for name in _beginnings(known)} & own.keys() - _known():
            try:
                value = plain(own[name])
            except Exception:  # Ansible's own, of several modules, and told elsewhere
                value = None
            keys = value if isinstance(value, Mapping) else ()
            if right := next((one for key in keys for one in (f"{name}_{key}", str(key)) if one in _known()), ""):
                line = f"{name}: is a mapping, which nothing would read: set each by its own name, such as {right}"
                found.append((line, host))
    return _by_host(found, list(variables))


def _beginnings(name: str) -> list[str]:
    """Return what a name begins with, up to each underscore; not registry or docker, as others name theirs."""
    found = [name[: match.start()] for match in re.finditer("_", name)]
    return [one for one in found if one == "wharf" or "_" in one]


def _unknown_tags(own: Mapping[str, Any]) -> Iterator[str]:
    """Yield misspelt tags of site.yml, with which it would do nothing in silence; others may be another playbook's."""
    known = [play["tags"] for play in yaml_load((PLAYBOOKS / "site.yml").read_text("utf-8"))]
    for option, name in (("--tags", "ansible_run_tags"), ("--skip-tags", "ansible_skip_tags")):
        for tag in own.get(name) or ():
            if tag not in (*known, "all") and (right := near(str(tag).lower(), known, 0.75)):
                yield f"{option}: {shown(tag)} is no tag of site.yml: use {right}"


def _lacking(
    given: Variables, server: str, hosts: Sequence[str], standbys: Sequence[str], needs: Collection[str]
) -> Iterator[str]:
    """Yield what a playbook cannot do without."""
    if SERVERS in needs and server not in hosts:
        yield f"--limit: leaves out {server}, which this playbook is for: leave --limit out"
    if STANDBYS in needs and not standbys:
        yield f"{STANDBYS}: the group is empty, and this playbook is for its hosts: put one into it, or use site.yml"
    for name in needs:
        if name not in GROUPS and not given[server].get(name):
            yield f"{name}: is missing, and this playbook needs it: set it, see docs/variables.md"


def _given_to_every_run(given: Variables, of_this_run: Collection[str]) -> dict[str, str]:
    """Return consents and the like that the inventory gives to each run, though they are meant for one, and a line."""
    of_removal = _set_by_playbooks("remove-registry", "rotate-ca").keys() - _set_by_playbooks(*_WIRING).keys()
    # A client that is not to trust the registry may say so for good.
    others = sorted(of_removal - {"registry_client_state"})
    return {
        name: f"{name}: stands in the inventory, for every run, but is meant for one: take it out, and give it with -e"
        for name in [*for_one_run(settings.ROLE), *for_one_run("registry_server"), *others]
        if name not in of_this_run and any(own.get(name) not in (None, "", False) for own in given.values())
    }


def _skipped_clients(given: Variables, clients: Sequence[str]) -> Iterator[str]:
    """Yield what is not a client in wharf_skip_clients."""
    variable = "wharf_skip_clients"
    text = next((own[variable] for own in given.values() if isinstance(own.get(variable), str)), "")
    for name in filter(None, text.split(",")):
        if name.strip() not in clients:
            yield f"{variable}: {shown(name)} is not a host of {CLIENTS}: use their names, with commas between them"


def _reachability_problems(
    variables: Variables, given: Variables, server: str, clients: Sequence[str]
) -> Iterator[str]:
    """Yield what would lead clients to themselves, or to something else on the server."""
    places = {host: _said(variables[host], "host") or host for host in (server, *clients)}
    remote = [host for host in clients if host != server and places[host] != places[server]]
    owners = {**{places[host]: host for host in remote}, **{host: host for host in remote}}
    listen = given[server].get("wharf_registry_listen")
    for one in listen if isinstance(listen, list) else ():
        if owner := next((host for host in remote if places[host] == one), ""):
            yield f"wharf_registry_listen: {shown(one)} is {owner}, a client: use an address of the server, {server}"
    if isinstance(listen, list) and listen and remote and all(is_loopback(str(one)) for one in listen):
        yield (
            f"wharf_registry_listen: {listed([shown(one) for one in listen])} is reached from {server} alone, and not"
            f" from {_some(remote)}: use an address of {server} that they reach"
        )
    name = str(given[server].get("wharf_registry_name") or "")
    if remote and is_loopback(name) and ":" not in name:
        yield (
            f"wharf_registry_name: {shown(name)} is on each client the client itself, and {_some(remote)}"
            f" {'is' if len(remote) == 1 else 'are'} not the server: use a name or an address of {server}"
        )
    virtual = str(given[server].get("wharf_virtual_address") or "").partition("/")[0]
    if owner := next((host for host, own in variables.items() if virtual in (_said(own, "host") or host, host)), ""):
        yield f"wharf_virtual_address: {shown(virtual)} is {owner} itself (ansible_host): use one that no host has"
    strays = [host for host in remote if is_loopback(str(given[host].get("wharf_registry_address") or ""))]
    if strays:
        yield (
            f"wharf_registry_address: {shown(given[strays[0]]['wharf_registry_address'])} is on each client the client"
            f" itself: use an address of {server}"
        )
    for variable, value in [
        ("wharf_registry_name", name),
        *(("wharf_registry_address", str(given[host].get("wharf_registry_address") or "")) for host in remote),
    ]:
        if owner := owners.get(value):
            yield f"{variable}: {shown(value)} is {owner}, a client: use a name or an address of the server, {server}"
    aliases = given[server].get("wharf_registry_aliases")
    for alias in aliases if isinstance(aliases, list) else ():
        if owner := next((host for host in remote if places[host] == alias), ""):
            yield f"wharf_registry_aliases: {shown(alias)} leads to {owner}, a client: take it out"
    port = given[server].get("wharf_registry_port") or defaults(settings.ROLE)["wharf_registry_port"]
    if str(port) == _said(variables[server], "port") != "22":
        yield f"wharf_registry_port: {port} is the port of SSH on {server} (ansible_port): use another, such as 5000"


def _connection_problems(variables: Variables) -> list[str]:
    """Return what is wrong in how hosts are reached."""
    others = {f"ansible_{other}": f"ansible_{name}" for name, all_of in _OTHER_NAMES.items() for other in all_of}
    found = []
    for host, own in variables.items():
        found += [(line, "" if line.startswith(f"{host}: ") else host) for line in _connection_faults(host, own)]
        for name in own:
            if name.startswith("ansible_") and name not in _OF_CONNECTIONS:
                right = _connection_variable(name) or ("" if others.get(name) in own else others.get(name, ""))
                if right:
                    found.append((f"{name}: is unknown to Ansible, and nothing would read it: use {right}", host))
    return _by_host(found, list(variables))


@cache
def _connection_variable(name: str) -> str:
    """Return the variable that a misspelt one is meant to be; none for a fact, such as ansible_user_id."""
    return near(name, _OF_CONNECTIONS, 0.9)


def _connection_faults(host: str, own: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in how one host is reached."""
    address, port, user, become = (_said(own, name) for name in ("host", "port", "user", "become"))
    connection, method, python = (_said(own, name) for name in ("connection", "become_method", "python_interpreter"))
    subject, target = ("ansible_host", address) if address else (host, host)
    if connection in ("", "ssh", "smart", "paramiko", "ansible.builtin.ssh"):
        if "://" in address or re.fullmatch(r"([^:]+|\[.*\]):[0-9]+", address):
            use = "use the name or the address alone, and ansible_port for a port"
            yield f"ansible_host: {shown(address)} is more than a host: {use}"
        elif not re.fullmatch(r"[A-Za-z0-9_.:%@\[\]-]+", target):
            use = "use one name or address" if address else "give each host a line of its own, a range as [01:40]"
            yield f"{subject}: {shown(target)} is no name or address of a host: {use}"
        elif re.fullmatch(r"[0-9]+\.[0-9.]*", target) and not _is_address(target):
            yield f"{subject}: {shown(target)} is no IPv4 address: use four numbers from 0 to 255, such as 192.0.2.10"
    if port and not 1 <= whole_number(port) <= 65535:
        yield f"ansible_port: {shown(port)} is not a TCP port: use a number from 1 to 65535"
    for name, value, known in (("connection", connection, _CONNECTIONS), ("become_method", method, _BECOMES)):
        if value not in (*known, "sudosu", "sesu", "ksu", "paramiko_ssh", "docker_api") and (
            right := near(value.lower(), known, 0.65)
        ):
            yield f"ansible_{name}: {shown(value)} is unknown: use {right}"
    if connection in ("winrm", "psrp"):
        yield f"ansible_connection: {connection} is for Windows: use Linux hosts, reached by ssh"
    if become.lower() in _FALSE and user not in ("", "root") and connection != "local":
        yield f"ansible_become: is false, but {user} is not root: set it to true, or leave it out"
    if (becomes := _said(own, "become_user")) not in ("", "root"):
        yield f"ansible_become_user: {shown(becomes)} is not root, who alone can do what is to be done: leave it out"
    if old := re.search(r"python(2(\.[0-9]+)?|3\.[0-8])$", python):
        yield f"ansible_python_interpreter: {old[0]} is too old: use Python 3.9 or newer, or leave it out"
    for name in ("ssh_private_key_file", "private_key_file"):
        if _said(own, name).endswith(".pub"):
            yield f"ansible_{name}: {shown(_said(own, name))} is the public half: use the file without .pub"


def _is_address(text: str) -> bool:
    """Tell whether text is an IP address."""
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _said(own: Mapping[str, Any], name: str) -> str:
    """Return what a host's variable ansible_NAME says; empty where it cannot be evaluated here, as what needs facts."""
    try:
        return str(plain(own.get(f"ansible_{name}", "")))
    except Exception:  # Ansible's own, of several modules
        return ""


def _conflicts(given: Variables, server: str) -> Iterator[str]:
    """Yield settings of the engine and of the registry that contradict each other."""
    own = {**defaults(settings.ROLE), **{name: value for name, value in given[server].items() if value is not None}}
    options = {host: one.get("docker_engine_options") for host, one in given.items()}
    options = {host: one for host, one in options.items() if isinstance(one, Mapping)}
    if own["wharf_registry_trust"] != "insecure":
        aliases = own["wharf_registry_aliases"] if isinstance(own["wharf_registry_aliases"], list) else []
        port = str(own["wharf_registry_port"])
        names = [f"{name}:{port}" for name in (own["wharf_registry_name"], *aliases)]
        names += [own["wharf_registry_name"], *aliases] if port == "443" else []
        lists = [one.get("insecure-registries") for one in options.values()]
        if held := [name for name in names for one in lists if isinstance(one, list) and name in one]:
            yield (
                f"docker_engine_options: insecure-registries holds the registry itself, {held[0]}, whose certificate"
                f" nobody would check: take it out; wharf_registry_trust is {own['wharf_registry_trust']}"
            )
        addresses = [own["wharf_registry_name"], own["wharf_registry_address"], *aliases]
        networks = [str(one) for of in lists if isinstance(of, list) for one in of if "/" in str(one)]
        if wide := [network for network in networks if any(_is_within(address, network) for address in addresses)]:
            yield (
                f"docker_engine_options: insecure-registries holds {shown(wide[0])}, in which the registry itself lies,"
                " whose certificate nobody would check: use narrower networks, or HOST:PORT"
            )
    root, data = str(options.get(server, {}).get("data-root") or ""), str(own["wharf_registry_data"])
    if root.startswith("/") and data.startswith("/"):
        one, two = f"{root.rstrip('/')}/", f"{data.rstrip('/')}/"
        if one.startswith(two) or two.startswith(one):
            yield (
                f"wharf_registry_data: {shown(data)} and the engine's data-root, {shown(root)}, lie in each other: use"
                " a directory beside that"
            )
    metrics = str(options.get(server, {}).get("metrics-addr") or "")
    if metrics.endswith(f":{own['wharf_registry_port']}"):
        yield f"wharf_registry_port: {own['wharf_registry_port']} is the port of the engine's metrics-addr: use another"
    driver, said = _driver(own)
    for name in ("wharf_garbage_schedule", "wharf_backup_schedule"):
        if own[name] and driver != "filesystem" and (driver, name) != ("s3", "wharf_garbage_schedule"):
            yield (
                f"{name}: is {shown(own[name])}, but the images lie in {_place(driver, said)}, which only files can be:"
                " leave it out, and use the store's own means"
            )


def _is_within(address: object, network: str) -> bool:
    """Tell whether an address lies in a network; a name lies only in the one that is everything."""
    try:
        whole = ipaddress.ip_network(network, strict=False)
        if not whole.prefixlen:
            return True
        found = ipaddress.ip_address(str(address))
        return not found.is_loopback and found in whole
    except ValueError:
        return False


def _backup_host_problems(host: object, hosts: Sequence[str], servers: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the host of the inventory that keeps the backup."""
    variable = "wharf_backup_host"
    if host in servers:
        yield (
            f"{variable}: {host} is the registry's server itself: leave it out to keep the backup there, or name"
            " another host"
        )
    elif isinstance(host, str) and host and host not in hosts:
        yield f"{variable}: {host} is not a host of the inventory: use one of its hosts"


# Files ------------------------------------------------------------------------------------------------------------


def _file_problems(variables: Variables, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield files of variables that Ansible does not read: no group or host has their name, or they have another form.

    Whatever is not surely meant for this inventory is left alone: its directory may be that of several.
    """
    addresses = {_said(own, "host"): host for host, own in variables.items()}
    for directory in _inventories(variables):
        for folder in sorted(directory.glob("*")):
            right = _FOLDERS.get(re.sub("[_.-]", "", folder.name.lower()).removesuffix("s"), folder.name)
            if right != folder.name and folder.is_dir():
                yield f"{folder}: is read for no host: rename it to {right}"
        for file in sorted(directory.glob("group_vars/*")):
            right = near(file.stem.lower().replace("-", "_"), ("all", *GROUPS), 0.8)
            if file.stem in _FOR_ALL and _SETTING.search(_text(file)):
                right = "all/main" if (directory / "group_vars/all").is_dir() else "all"
            if file.stem in (groups.get("all") or []) and file.stem not in groups:
                yield f"{file}: is read for no host, because {file.stem} is a host, not a group: move it to host_vars"
                continue
            # registry_clients_eu may be a group of another inventory here.
            if file.stem not in groups and right and not f"{file.stem}_".startswith(f"{right}_"):
                yield f"{file}: is read for no host, because no group has this name: rename it to {right}{file.suffix}"
        for file in sorted(directory.glob("host_vars/*")):
            stem = file.stem if file.suffix in READ else file.name
            short = [host for host in variables if host.split(".")[0] == stem or stem.split(".")[0] == host]
            meant = [host for host in groups.get("all") or [] if _is_misspelt(stem, host)]
            right = next(iter([*short, *meant]), addresses.get(stem, ""))
            if stem in groups and stem not in groups["all"]:
                yield f"{file}: is read for no host, because {stem} is a group, not a host: move it to group_vars"
                continue
            if (
                stem not in (groups.get("all") or [])
                and right
                and (file.is_dir() or file.suffix in READ or "." in right)
            ):
                yield f"{file}: is read for no host, because none has this name: rename it after {right}"
        for file in sorted([*directory.glob("group_vars/*"), *directory.glob("host_vars/*")]):
            same = [file.with_name(f"{file.stem}{suffix}") for suffix in ("", *READ)]
            first = next((one for one in same if one.exists()), file)
            if file.suffix in READ and file != first and _text(file).strip():
                into = "move it into that directory" if first.is_dir() else "keep one of the two"
                yield f"{file}: is read for no host, because {first.name} stands beside it: {into}"
        for file in sorted([*directory.glob("group_vars/**/*"), *directory.glob("host_vars/**/*")]):
            suffix = file.suffix.lower()
            meant = suffix in _NOT_READ or suffix[1:].isalpha() and near(suffix, READ, 0.7)
            if file.suffix not in READ and meant and _SETTING.search(_text(file)):
                right = file.stem if Path(file.stem).suffix in READ else f"{file.stem}.yml"
                yield f"{file}: is read for no host, because Ansible reads {listed(READ)}: rename it to {right}"


def _is_misspelt(name: str, host: str) -> bool:
    """Tell whether a name is a host's but for its case, or for letters that changed places; web12 is not web21."""
    one, two = name.lower(), host.lower()
    digits = re.sub("[^0-9]", "", one) == re.sub("[^0-9]", "", two)
    return one == two or digits and sorted(one) == sorted(two) and bool(near(one, [two], 0.85))


def _hidden(variables: Variables) -> Iterator[str]:
    """Yield settings that stand in two files of one group or host, with two values, of which the last is taken."""
    for directory in _inventories(variables):
        for folder in sorted([*directory.glob("group_vars/*/"), *directory.glob("host_vars/*/")]):
            first: dict[str, tuple[Path, Any]] = {}
            for file in sorted(one for one in folder.glob("*") if one.suffix in READ and one.name[0] != "."):
                content = _yaml(file) if _SETTING.search(_text(file)) else None
                for name, value in content.items() if isinstance(content, Mapping) else ():
                    if name in _known() and first.setdefault(name, (file, value))[1] != value:
                        yield (
                            f"{name}: stands in {first[name][0].name} and in {file.name} of {folder}, and the last is"
                            " taken: keep one of the two"
                        )


def _misplaced(variables: Variables, groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield settings that stand in files of the inventory where Ansible does not read them as variables."""
    for host in groups.get("all") or []:
        if (name := host.partition("=")[0]) != host and name in _known():
            yield f"{name}: is read as a host: put it under [all:vars]"
    read = {str(own.get("inventory_file")) for own in variables.values()}
    for directory in _inventories(variables):
        for file in sorted([*directory.glob("*.yml"), *directory.glob("*.yaml")]):
            content = _yaml(file) if str(file) in read or any(one in _text(file) for one in PREFIXES) else None
            for where, name, right in dict.fromkeys(_beside_vars(content, str(file) in read)):
                yield f"{name}: stands {where}, in {file.name}: {right}"
            # Another file in this place may be for -e.
            tops = content if isinstance(content, Mapping) and str(file) in read else {}
            lost = [*(name for name in tops if name in _known()), *_settings_in(tops.get("vars"))]
            for name in lost:
                yield f"{name}: stands outside of any group of {file.name}: put it under the vars of all"
        for file in sorted([*directory.glob("group_vars/**/*"), *directory.glob("host_vars/**/*")]):
            content = _yaml(file) if _SETTING.search(_text(file)) else None
            for key in ("vars", *groups) if isinstance(content, Mapping) else ():
                for name in _settings_in(content.get(key)):
                    yield f"{name}: stands under {key} in {file}: put it at the margin, beside what is read there"


def _beside_vars(groups: Any, is_inventory: bool) -> Iterator[tuple[str, str, str]]:
    """Yield where in an inventory of YAML a variable or a key stands in vain, which it is, and what is right."""
    for group, content in groups.items() if isinstance(groups, Mapping) else ():
        if isinstance(content, Mapping) and group != "vars" and (is_inventory or content.keys() & {*_OF_GROUPS}):
            here = f"the group {group}"
            yield from (
                (f"in {here} itself", name, "put it under its vars")
                for name in content
                if str(name).startswith(PREFIXES) and name not in GROUPS
            )
            for key in content.keys() - {*_OF_GROUPS}:
                if right := near(str(key), _OF_GROUPS, 0.6):
                    yield f"in {here}", key, f"write {right}"
                elif key in GROUPS:
                    yield f"in {here} itself", key, "put it under its children"
            hosts = content.get("hosts")
            for host, own in hosts.items() if isinstance(hosts, Mapping) else ():
                if host in _known():
                    yield f"among the hosts of {here}", host, "put it under a host, or under the group's vars"
                for name in _settings_in(own.get("vars")) if isinstance(own, Mapping) else ():
                    yield f"under vars of {host}", name, "put it beside vars, which only groups have"
            yield from _beside_vars(content.get("children"), True)


@cache
def _known() -> set[str]:
    """Return the names of all variables of this collection."""
    return {
        name for role in (settings.ROLE, engine_variables.ROLE, *server_variables.ROLES) for name in specification(role)
    }


def _settings_in(value: Any) -> Iterator[str]:
    """Yield the collection's variables that a mapping holds, at any depth."""
    for key, item in value.items() if isinstance(value, Mapping) else ():
        yield from [key] if key in _known() else _settings_in(item)


def _misread_numbers(variables: Variables) -> Iterator[str]:
    """Yield whole numbers that YAML reads as others than people do: 05000 is octal, 5:00 counts in sixties."""
    options = {**specification(settings.ROLE), **specification(engine_variables.ROLE)}
    for directory in _inventories(variables):
        for pattern in ("*", "group_vars/**/*", "host_vars/**/*"):
            for file in sorted(directory.glob(pattern)):
                for name, text in _NUMBER.findall(_text(file)) if file.suffix in ("", ".yml", ".yaml") else ():
                    if options.get(name, {}).get("type") == "int":
                        value, how = yaml.safe_load(text), "in sixties" if ":" in text else "octal"
                        how, right = ("hexadecimal", value) if "x" in text else (how, int(text.replace(":", "")))
                        yield f"{name}: {text} is {value} to YAML ({how}): write {right}"


def _inventories(variables: Variables) -> list[Path]:
    """Return the directories of the inventories that hosts come from."""
    found = (own.get("inventory_dir") for own in variables.values())
    return [Path(directory) for directory in dict.fromkeys(found) if directory]


def _is_in_the_clear(file: Path) -> bool:
    """Tell whether a file of variables holds text of its own, and neither Ansible Vault nor SOPS has encrypted it."""
    text = _text(file)
    if text.startswith("$ANSIBLE_VAULT") or "!vault" in text or re.search(r"^sops:", text, re.MULTILINE):
        return False
    return any("{{" not in word for word in _words(_yaml(file)))


def _text(file: Path) -> str:
    """Return the text of a file; empty for what is none, or cannot be read."""
    try:
        return file.read_text("utf-8") if file.is_file() and file.stat().st_size < 1_000_000 else ""
    except (OSError, ValueError):
        return ""


def _yaml(file: Path) -> Any:
    """Return what a file of YAML holds; None where it is none."""
    try:
        return yaml.safe_load(_text(file))
    except yaml.YAMLError:
        return None


def _words(value: Any) -> Iterator[str]:
    """Yield the text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _words(item)


def _names(lines: Iterable[str]) -> set[str]:
    """Return the variables that lines are about."""
    return {line.partition(":")[0] for line in lines}


def _some(hosts: Sequence[str]) -> str:
    """Return the names of some hosts."""
    return listed(hosts if len(hosts) <= 3 else [*hosts[:2], f"{len(hosts) - 2} more"])


def _by_host(found: Sequence[tuple[str, str]], hosts: Sequence[str]) -> list[str]:
    """Return each line once, with the hosts that it is about where they are not all; "" is no host's."""
    lines: dict[str, list[str]] = {}
    for line, host in found:
        lines.setdefault(line, []).append(host)
    return [line if on in ([""], [*hosts]) else f"{line} (on {_some(on)})" for line, on in lines.items()]
