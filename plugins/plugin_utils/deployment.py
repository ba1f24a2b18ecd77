"""What makes a deployment wrong as a whole: its groups, its hosts compared with each other, and its files."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.wharf.registry.plugins.plugin_utils import engine_variables, server_variables, settings
from ansible_collections.wharf.registry.plugins.plugin_utils.programs import storage_driver
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import defaults, judged, near, specification
from ansible_collections.wharf.registry.plugins.plugin_utils.values import listed, plain, problems_on_hosts, shown

SERVERS, CLIENTS = "registry_servers", "registry_clients"
PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
# The playbooks that hand the roles their variables, which win over the inventory's.
_WIRING = ("deploy-registry", "trust-registry", "set-up-backup", "install-command", "install-docker")
# Settings that mean the same to every host, and those that only clients read. All others only the server reads.
SHARED = tuple(f"wharf_registry_{name}" for name in ("name", "port", "trust", "aliases", "users", "anonymous"))
OF_CLIENTS = (
    "wharf_client_tools",
    "wharf_client_system_store",
    "wharf_manage_hosts_file",
    "wharf_registry_address",
    "wharf_registry_logins",
    "wharf_registry_previous_names",
)
# What only one source of the engine reads.
_OF_DOCKER_CE = ("channel", "repository_url", "repository_key_fingerprint")
_NUMBER = re.compile(
    r"^[ \t]*(\w+):[ \t]+(0[0-7]+|0x[0-9a-f]+|[1-9][0-9]*(?::[0-5]?[0-9])+)[ \t]*(?:#.*)?$", re.MULTILINE
)
Variables = Mapping[str, Mapping[str, Any]]
JUDGES = {
    "wharf_": settings.problems_of,
    "docker_engine_": engine_variables.problems_of,
    "registry_": server_variables.problems_of,
}
PREFIXES = ("wharf_", "docker_engine_", *(f"{role}_" for role in server_variables.ROLES))


def settings_problems(
    hostvars: Variables, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], limit: str = ""
) -> list[str]:
    """Return the mistakes in a deployment: see the filter of that name. Each is a line, once for all hosts."""
    servers, clients = groups.get(SERVERS) or [], groups.get(CLIENTS) or []
    members = list(dict.fromkeys([*servers, *clients]))
    variables = {host: hostvars[host] for host in members}
    problems = [(line, "") for line in [*_group_problems(groups), *_limit_problems(groups, limit, hosts)]]
    in_run = [host for host in members if host in hosts or host in servers]
    given = {host: _given(own, host, problems if host in in_run else []) for host, own in variables.items()}
    if problems or not servers:
        return _by_host(problems, in_run)
    server = given[servers[0]]
    settled = {host: given[host] if host in servers else _as_client(given[host], server) for host in in_run}
    for prefix, judge in JUDGES.items():
        problems += problems_on_hosts(settled, in_run, prefix, judge)
    problems += _backup_host_problems(server.get("wharf_backup_host") or "", groups.get("all") or [], servers)
    problems += _differences({host: given[host] for host in in_run}, servers[0])
    problems += _in_vain(given, servers, clients)
    problems += _conflicts({host: given[host] for host in in_run}, servers[0])
    problems += _misnamed({host: variables[host] for host in in_run})
    problems += _reachability_problems(variables, given, servers[0], clients)
    problems += [*_file_problems(variables, groups), *_misplaced(variables), *_misread_numbers(variables)]
    return list(dict.fromkeys(problems))


def warnings(hostvars: Variables, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what may be meant, but hardly is."""
    found = [
        f"{file} is named like a vault, but is not encrypted: run ansible-vault encrypt {file}"
        for file in clear_vaults(hostvars, hosts)
    ]
    others = [host for host in groups.get("all") or [] if host not in (groups.get(SERVERS) or [])]
    if others and not groups.get(CLIENTS):
        found.append(f"{CLIENTS}: has no host, so that {_some(others)} will not trust the registry")
    return found


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
                if "vault" in reason.lower():
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
    servers, clients = groups.get(SERVERS) or [], groups.get(CLIENTS) or []
    problems = []
    for name, hosts in groups.items():
        right = near(name.lower().replace("-", "_"), (SERVERS, CLIENTS), 0.85) if name not in (SERVERS, CLIENTS) else ""
        if right and (strays := [host for host in hosts if host not in (*servers, *clients)]):
            problems.append(
                f"{name}: is a group that no playbook knows, so that {_some(strays)} would be left out: use {right}"
            )
    if not servers and not problems:
        problems.append(
            f"{SERVERS}: the group is empty: put the host that shall run the registry into it, and name the inventory"
            " with -i"
        )
    if len(servers) > 1:
        problems.append(
            f"{SERVERS}: has {len(servers)} hosts, {_some(servers)}, but one name leads to one registry: leave one in"
            " it, and give each other registry an inventory of its own"
        )
    return problems


def _limit_problems(groups: Mapping[str, Sequence[str]], limit: str, hosts: Sequence[str]) -> list[str]:
    """Return why a run that is limited to some hosts would do nothing there."""
    servers, clients = groups.get(SERVERS) or [], groups.get(CLIENTS) or []
    if not servers or not limit:
        return []
    known = [host for host in re.split("[,:]", limit) if host in (groups.get("all") or [])]
    strays = [host for host in known if host not in (*servers, *clients)]
    if not strays and not any(host in (*servers, *clients) for host in hosts):
        strays = list(hosts)
    return [
        f"{host}: is in neither {SERVERS} nor {CLIENTS}, and nothing would be done there: put it into one"
        for host in strays
    ]


# Hosts ------------------------------------------------------------------------------------------------------------


def _differences(given: Variables, server: str) -> Iterator[str]:
    """Yield what the server and a client must see alike, but do not."""
    for name in SHARED:
        values = {host: judged({name: own.get(name)}, settings.ROLE)[0][name] for host, own in given.items()}
        other = [host for host, value in values.items() if value != values[server]]
        if other:
            server_value, value = shown(values[server]), shown(values[other[0]])
            said = f"is {value} on {_some(other)}, and {server_value} on {server}"
            if value == server_value:
                said = f"is another one on {_some(other)} than on {server}"
            yield f"{name}: {said}: set it once for all hosts, in group_vars/all"


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
    if not any(own.get("docker_engine_source") == "docker_ce" for own in given.values()):
        for name in (f"docker_engine_{name}" for name in _OF_DOCKER_CE):
            if any(own.get(name) not in (None, defaults("docker_engine")[name]) for own in given.values()):
                yield (
                    f"{name}: is set, but docker_engine_source is docker_ce on no host, and nothing would read it:"
                    " remove it, or set docker_engine_source to docker_ce"
                )
    address = "wharf_registry_address"
    manage = "wharf_manage_hosts_file"
    if any(own.get(address) for own in given.values()) and not any(
        str(own.get(manage, "")).lower() in ("true", "yes", "on", "1", "y", "t") for own in given.values()
    ):
        yield f"{address}: is set, but {manage} is false, and nothing would read it: remove it, or set that to true"


@cache
def _set_by_playbooks() -> dict[str, str]:
    """Return the roles' variables that the playbooks set, each with the settings that it is made from."""
    found = {}
    for playbook in _WIRING:
        for play in yaml.safe_load((PLAYBOOKS / f"{playbook}.yml").read_text("utf-8")):
            blocks = [task.get("block") or [task] for task in play.get("tasks") or []]
            for part in [*(play.get("roles") or []), *itertools.chain(*blocks)]:
                for name, value in (part.get("vars") or {}).items():
                    wharf = re.findall(r"\bwharf_(?!registry\b(?!_))\w+", str(value))
                    found[name] = " and ".join(
                        dict.fromkeys(word for word in wharf if word in specification(settings.ROLE))
                    )
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
        if name in _set_by_playbooks():
            narrower, extra, _ = name.partition("_extra")  # docker_engine_no_proxy_extra
            is_beside = extra and narrower in specification("docker_engine")
            source = narrower if is_beside else _set_by_playbooks()[name]
            line = f"{name}: is set by the playbooks: {f'set {source}' if source else 'leave it out'}"
        elif name == "wharf":
            line = f"{name}: is unknown: set each setting by its own name, such as wharf_registry_name"
        elif right in known and start != "wharf":
            line = f"{name}: is unknown, and nothing would read it: use {right}"
        else:
            continue
        found += [(line, host) for host in on]
    return _by_host(found, list(variables))


def _reachability_problems(
    variables: Variables, given: Variables, server: str, clients: Sequence[str]
) -> Iterator[str]:
    """Yield what would lead clients to themselves, or to something else on the server."""
    places = {host: str(variables[host].get("ansible_host") or host) for host in (server, *clients)}
    remote = [host for host in clients if host != server and places[host] != places[server]]
    owners = {**{places[host]: host for host in remote}, **{host: host for host in remote}}
    name = str(given[server].get("wharf_registry_name") or "")
    if remote and _is_loopback(name) and ":" not in name:
        yield (
            f"wharf_registry_name: {shown(name)} is on each client the client itself, and {_some(remote)}"
            f" {'is' if len(remote) == 1 else 'are'} not the server: use a name or an address of {server}"
        )
    strays = [host for host in remote if _is_loopback(str(given[host].get("wharf_registry_address") or ""))]
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
    port = given[server].get("wharf_registry_port") or defaults(settings.ROLE)["wharf_registry_port"]
    if str(port) == str(variables[server].get("ansible_port")) != "22":
        yield f"wharf_registry_port: {port} is the port of SSH on {server} (ansible_port): use another, such as 5000"


def _conflicts(given: Variables, server: str) -> Iterator[str]:
    """Yield settings of the engine and of the registry that contradict each other."""
    own = {**defaults(settings.ROLE), **{name: value for name, value in given[server].items() if value is not None}}
    registry = f"{own['wharf_registry_name']}:{own['wharf_registry_port']}"
    options = {host: one.get("docker_engine_options") for host, one in given.items()}
    options = {host: one for host, one in options.items() if isinstance(one, Mapping)}
    if own["wharf_registry_trust"] != "insecure":
        names = [registry, own["wharf_registry_name"]] if str(own["wharf_registry_port"]) == "443" else [registry]
        lists = [one.get("insecure-registries") for one in options.values()]
        open_to_all = [one for one in lists if isinstance(one, list) and any(name in one for name in names)]
        if open_to_all:
            yield (
                f"docker_engine_options: insecure-registries holds the registry itself, {registry}, whose certificate"
                f" nobody would check: take it out; wharf_registry_trust is {own['wharf_registry_trust']}"
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
    config = own.get("registry_server_config")
    driver = storage_driver(config) if isinstance(config, Mapping) else "filesystem"
    for name in ("wharf_garbage_schedule", "wharf_backup_schedule"):
        if driver != "filesystem" and own[name]:
            yield (
                f"{name}: is {shown(own[name])}, but the images lie in storage.{driver} (registry_server_config), which"
                " only files can be: leave it out, and use the store's own means"
            )


def _is_loopback(name: str) -> bool:
    """Tell whether a name or an address means the host itself."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.startswith("localhost.") or name == "localhost" or name.endswith(".localhost")


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
    """Yield files of variables that Ansible does not read, because no group or host has their name."""
    for directory in _inventories(variables):
        for file in sorted(directory.glob("group_vars/*")):
            right = near(file.stem.lower().replace("-", "_"), ("all", SERVERS, CLIENTS), 0.8)
            # registry_clients_eu may be a group of another inventory here.
            if file.stem not in groups and right and not f"{file.stem}_".startswith(f"{right}_"):
                yield f"{file}: is read for no host, because no group has this name: rename it to {right}{file.suffix}"
        for file in sorted(directory.glob("host_vars/*")):
            stem = file.stem if file.suffix in (".yml", ".yaml", ".json") else file.name
            right = next((host for host in variables if host.split(".")[0] == stem.split(".")[0] and host != stem), "")
            if stem not in (groups.get("all") or []) and right:
                yield f"{file}: is read for no host, because none has this name: rename it after {right}"


def _misplaced(variables: Variables) -> Iterator[str]:
    """Yield variables that stand beside a group's vars in an inventory of YAML: Ansible reads none of them."""
    for directory in _inventories(variables):
        for file in sorted([*directory.glob("*.yml"), *directory.glob("*.yaml")]):
            groups = _yaml(file) if any(prefix in _text(file) for prefix in PREFIXES) else None
            for group, name in _beside_vars(groups):
                yield f"{name}: stands in the group {group} of {file.name} itself: put it under its vars"


def _beside_vars(groups: Any) -> Iterator[tuple[str, str]]:
    """Yield groups of an inventory with the variables that stand in them and not in their vars."""
    for group, content in groups.items() if isinstance(groups, Mapping) else ():
        if isinstance(content, Mapping) and content.keys() & {"hosts", "vars", "children"}:
            yield from ((group, name) for name in content if str(name).startswith(PREFIXES))
            yield from _beside_vars(content.get("children"))


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


def _some(hosts: Sequence[str]) -> str:
    """Return the names of some hosts."""
    return listed(hosts if len(hosts) <= 3 else [*hosts[:2], f"{len(hosts) - 2} more"])


def _by_host(found: Sequence[tuple[str, str]], hosts: Sequence[str]) -> list[str]:
    """Return each line once, with the hosts that it is about where they are not all; "" is no host's."""
    lines: dict[str, list[str]] = {}
    for line, host in found:
        lines.setdefault(line, []).append(host)
    return [line if on in ([""], [*hosts]) else f"{line} (on {_some(on)})" for line, on in lines.items()]
