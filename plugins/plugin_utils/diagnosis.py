"""The filter that judges what playbooks/diagnose-registry.yml has seen: what is wrong on each host, and what to do."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import yaml
from cryptography import x509

from ansible_collections.wharf.registry.plugins.module_utils.addresses import own_addresses

DAY = 86400
SOON = 30 * DAY  # a certificate that ends sooner is worth a warning
CA_SOON = 90 * DAY  # and a CA, which every client must have in time
CLOCKS_DIFFER = 300  # seconds; less may pass between the looks at two hosts
LOW_SHARE, LOW_BYTES = 0.10, 1024**3  # free space that is worth a warning
FULL_BYTES, FULL_INODES = 16 * 1024**2, 16  # so little that a push cannot be counted on


class Verdict(NamedTuple):
    """What a code means: a few words for the table, the whole sentence, and what to do about it."""

    short: str
    what: str
    do: str


_TRUST_AGAIN = "run playbooks/trust-registry.yml --limit {host}"
_DEPLOY = "run playbooks/deploy-registry.yml"
_MEND_ENGINE = "then `systemctl reset-failed docker; systemctl start docker` on {host}"

# Every verdict there is. {fields} are those of the finding (registry_diagnosis, _server_finding), of the facts, and
# host, server, addresses, server_addresses; what is not known is left empty.
VERDICTS = {
    "ok": Verdict("all is well", "all is well", ""),
    # Hosts that could not be looked at
    "unreachable": Verdict(
        "not reached",
        "Ansible does not reach this host: {reason}",
        "check its address in the inventory, the connection and the login; or leave it out: --limit '!{host}'",
    ),
    "look_failed": Verdict(
        "not examined", "this host could not be examined: {reason}", "look at that, then run this again"
    ),
    # The engine of a host
    "engine_json": Verdict(
        "daemon.json is broken",
        "the engine does not run, and could not: {reason}",
        f"mend {{path}}, {_MEND_ENGINE}",
    ),
    "engine_conflict": Verdict(
        "daemon.json contradicts a flag",
        "the engine does not run, and could not: {key} stands in {path} and comes as {flag} on its command line",
        f"take {{key}} out of {{path}}, {_MEND_ENGINE}",
    ),
    "engine_stopped": Verdict(
        "the engine does not run",
        "the engine of {host} does not run{log_words}",
        "`systemctl start docker` on {host}; if it does not stay up, `journalctl -u docker` says why",
    ),
    "engine_absent": Verdict("no engine", "there is no Docker engine on {host}", "run site.yml"),
    "engine_json_later": Verdict(
        "daemon.json is broken",
        "the engine runs, but would not start again: {reason}",
        "mend {path} before the next restart",
    ),
    "engine_conflict_later": Verdict(
        "daemon.json contradicts a flag",
        "the engine runs, but would not start again: {key} stands in {path} and comes as {flag} on its command line",
        "take {key} out of {path} before the next restart",
    ),
    # The way to the registry
    "name": Verdict(
        "the name does not resolve",
        "{name} does not resolve here: {reason}",
        "add it to the DNS that this host uses, or set wharf_manage_hosts_file: true and " + _TRUST_AGAIN,
    ),
    "other_host": Verdict(
        "the name leads to another host",
        "{name} resolves to {addresses} here, but the registry is on {server} ({server_addresses}); there: {there}",
        "correct the DNS that this host uses, or the line in its /etc/hosts; if that address leads to {server} by NAT "
        "or a load balancer, look there, and name it in wharf_registry_address",
    ),
    "refused": Verdict(
        "the port is closed",
        "{address} refuses connections to port {port}{server_words}",
        "look at the firewall of {server} (`iptables -S; nft list ruleset`) and whether the registry listens there",
    ),
    "filtered": Verdict(
        "the port is filtered",
        "nothing comes back from {address}, port {port} ({reason}){server_words}",
        "a firewall between this host and {server} holds the packets back: let TCP port {port} through",
    ),
    "broke_off": Verdict(
        "the connection breaks off",
        "the connection to {address}, port {port} breaks off: {said}",
        "run this again; if it stays so, look at what stands between this host and {server}",
    ),
    "silent": Verdict(
        "nothing is said on the port",
        "{address}, port {port} takes the connection, but says nothing to TLS or HTTP within {timeout} s{server_words}",
        "`docker logs --tail 20 {container}` on {server} may say why; `docker restart {container}` there",
    ),
    "port_taken": Verdict(
        "something else has the port",
        "the registry's container does not run on {server}, and {holder} answers on port {port} instead: {there}",
        "stop {holder} on {server}, then `docker start {container}`",
    ),
    "not_http": Verdict(
        "no registry answers on the port",
        "what answers at {address}, port {port} speaks neither TLS nor HTTP: {said}",
        "find out on {server} what it is (`ss -ltnp 'sport = :{port}'`) and stop it, or choose another "
        "wharf_registry_port",
    ),
    "not_registry": Verdict(
        "no registry answers on the port",
        "what answers at {address}, port {port} is no registry: HTTP status {status}, server {server_header}",
        "find out on {server} what it is (`ss -ltnp 'sport = :{port}'`) and stop it, or choose another "
        "wharf_registry_port",
    ),
    "http_for_https": Verdict(
        "plain HTTP instead of TLS",
        "{registry} speaks plain HTTP, but the landscape says TLS (wharf_registry_trust: {trust})",
        f"{_DEPLOY}; or, if plain HTTP is meant, set wharf_registry_trust: insecure and run site.yml",
    ),
    "https_for_http": Verdict(
        "TLS instead of plain HTTP",
        "{registry} speaks TLS, but the landscape says plain HTTP (wharf_registry_trust: insecure)",
        "set wharf_registry_trust: private_ca or provided, or run site.yml, which takes TLS away from the registry",
    ),
    "unhealthy": Verdict(
        "the registry is not well",
        "the registry answers, but is not well: HTTP status {status} {said}",
        "`docker logs --tail 20 {container}` on {server} says why; its storage is the usual reason",
    ),
    # The certificate
    "expired": Verdict(
        "the certificate has expired",
        "the certificate of {registry} has expired on {not_after}",
        "{renew}",
    ),
    "not_yet_valid": Verdict(
        "the certificate is not yet valid",
        "the certificate of {registry} is valid from {not_before} only",
        "set the clock of the machine that made it right, then {renew}",
    ),
    "clock": Verdict(
        "the clock is wrong",
        "the clock of this host is {skew}, so that the certificate of {registry} ({not_before} to {not_after}) does "
        "not count here",
        "set the clock of {host} (`timedatectl set-ntp true`)",
    ),
    "wrong_name": Verdict(
        "the certificate lacks the name",
        "the certificate of {registry} is for {certificate_names}, not for {name}",
        "{rename}",
    ),
    "ca_misplaced": Verdict(
        "the CA's directory is misspelled",
        "the right CA lies in {found}, but the container tools look into {directory}",
        "{trust_again}; then remove {found}",
    ),
    "ca_missing": Verdict(
        "the CA is not known here",
        "no CA certificate lies in {directory}, and the system's store knows no issuer either: {said}",
        "{trust_again}",
    ),
    "ca_wrong": Verdict(
        "another CA signed the certificate",
        "none of the CA certificates here ({files}) signed the certificate of {registry}: {said}",
        "{trust_again}",
    ),
    "ca_foreign": Verdict(
        "another CA signed the certificate",
        "the certificate of {registry} was signed by {issuer}, which is neither a CA of this host nor that of {server}",
        "put the right certificate back on {server}: " + _DEPLOY,
    ),
    # Users
    "password": Verdict(
        "the password is refused",
        "the registry refuses the password of {user}",
        f"{_DEPLOY}, which gives the registry the users of wharf_registry_users and of .credentials/ beside the "
        "inventory; or correct the password there",
    ),
    "password_unknown": Verdict(
        "no password",
        "wharf_registry_users gives {user} no password, and none was generated into .credentials/users/{user} beside "
        "the inventory",
        f"{_DEPLOY} from here, or bring that file from where it was run",
    ),
    "users_wanted": Verdict(
        "a password is wanted",
        "the registry asks for a password, but the landscape has no users",
        f"name them in wharf_registry_users, or {_DEPLOY}, which opens the registry",
    ),
    "open": Verdict(
        "no password is wanted",
        "the registry lets everyone in, but the landscape has users",
        _DEPLOY,
    ),
    "login_missing": Verdict(
        "not logged in",
        "the system user {user} is not logged in to {registry} (wharf_registry_logins)",
        _TRUST_AGAIN,
    ),
    "login_refused": Verdict(
        "the login is refused",
        "the registry refuses the password with which the system user {user} is logged in ({path})",
        _TRUST_AGAIN,
    ),
    # What only the engine knows
    "proxy": Verdict(
        "a proxy is in the way",
        "the engine sends what is for {name} to the proxy {proxy}, which does not lead there: {said}",
        "add {name} to NO_PROXY in {source}, then `systemctl daemon-reload; systemctl restart docker` on {host}",
    ),
    "insecure_unknown": Verdict(
        "plain HTTP is not allowed here",
        "the engine was not told that {registry} speaks plain HTTP: {said}",
        _TRUST_AGAIN,
    ),
    "engine_trust": Verdict(
        "the engine does not trust it",
        "the engine refuses the certificate, though it is good: {said}",
        "look into /etc/docker/certs.d/{registry}: every .cert there needs its .key, and every file its rights",
    ),
    "engine_fails": Verdict(
        "the engine does not get through",
        "the registry answers, but the engine does not get through to it: {said}",
        "`journalctl -u docker` on {host} says more",
    ),
    "engine_gets_through": Verdict(
        "the certificate is not asked for",
        "the engine reaches {registry} in a way of its own (a proxy, or insecure-registries); otherwise: {otherwise}",
        "look at insecure-registries in /etc/docker/daemon.json and at the engine's proxy",
    ),
    # Contents
    "digest": Verdict(
        "a digest does not match",
        "{image}: a {what} in the registry is damaged: expected {expected}, found {found}",
        # As long as the blob is there a push leaves it out.
        "`rm -r {blob}; docker restart {container}` on {server}, then push {image} again from a host that has it; or "
        "restore the data from a backup",
    ),
    "blob_missing": Verdict(
        "content is missing",
        "{image}: the registry has lost the {what}",
        "`docker restart {container}` on {server}, which remembers it still, then push {image} again from a host that "
        "has it; or restore the data from a backup",
    ),
    "unreadable": Verdict(
        "content cannot be read",
        "{image}: the registry does not give out the {what}: {said}",
        "`docker logs --tail 20 {container}` on {server} says why; or restore the data from a backup",
    ),
    "slow": Verdict(
        "the registry is slow",
        "the contents were not compared: for {seconds} s nothing came of the {what}",
        "run this again, with -e wharf_diagnose_image=REPOSITORY:TAG for one image; if it stays so, look at the load "
        "and the disk of {server}",
    ),
    "image_missing": Verdict(
        "no such image",
        "the registry has no image {image}",
        "correct wharf_diagnose_image, or push the image",
    ),
    # The server
    "container_absent": Verdict(
        "no container", "the registry's container {container} is not there on {server}", _DEPLOY
    ),
    "data_missing": Verdict(
        "the images are not there",
        "the registry's container on {server} does not start, because its images are not in {place}: their mark,"
        " {place}/.wharf, is missing",
        "mount the disk that belongs there on {server}, then `docker start {container}`",
    ),
    "container_stopped": Verdict(
        "the container does not run",
        "the registry's container {container} on {server} does not run ({status}{log_words})",
        "`docker {start} {container}` on {server}; if it stops again, `docker logs {container}` says why",
    ),
    "stands_in": Verdict(
        "pushes are refused",
        "pulls work, but pushes fail with 405: {container}-read-only stands in for the registry on {server}, as long as"
        " garbage is collected",
        "wait until that has finished; if none is under way, `wharf collect-garbage --recover` on {server}",
    ),
    "port_other": Verdict(
        "another port is published",
        "the registry's container on {server} publishes port {published}, but wharf_registry_port is {port}",
        f"{_DEPLOY}, or correct wharf_registry_port",
    ),
    "not_writable": Verdict(
        "the storage is not writable",
        "the registry can be read but not written: {place} on {server} {reason}",
        "{remedy}",
    ),
    "disk_full": Verdict(
        "the disk is full",
        "pulls work, but pushes fail: {place} on {server} has {free} left",
        "make room on {server}, or give the data a larger disk (wharf_registry_data); playbooks/collect-garbage.yml"
        " --check says what a collection would free",
    ),
    "container_unhealthy": Verdict(
        "the container is unhealthy",
        "the health check of the container {container} on {server} fails",
        "`docker inspect --format '{{{{json .State.Health}}}}' {container}` on {server} says why",
    ),
    "disk_low": Verdict(
        "the disk is nearly full",
        "{place} on {server} has only {free} left",
        "make room on {server} before pushes fail; playbooks/collect-garbage.yml --check says what a collection would"
        " free",
    ),
    "certificate_soon": Verdict(
        "the certificate ends soon",
        "the certificate of {registry} ends on {not_after}",
        "{renew_soon}",
    ),
    "ca_soon": Verdict(
        "the CA ends soon",
        "the CA that clients trust for {registry} ends on {ca_ends}, and no certificate outlives it",
        "{renew_ca}",
    ),
    "program_failed": Verdict(
        "a scheduled program failed",
        "wharf {program} failed on {server} ({when}): {message}",
        "put that right, then run `wharf {program}` on {server} to see that it works",
    ),
    "unit_failed": Verdict(
        "a service failed",
        "{unit} has failed on {server}",
        "`journalctl -u {unit}` on {server} says why; `systemctl start {unit}` tries it again",
    ),
}

# Where the connection itself went wrong: the server's visit may know why, or the name led to another host.
_CERTIFICATE = {"expired", "not_yet_valid", "wrong_name", "ca_misplaced", "ca_missing", "ca_wrong", "ca_foreign"}
_NO_CONNECTION = {"refused", "filtered", "broke_off", "silent"}
_ANOTHER_ANSWERS = {"not_http", "not_registry", "http_for_https", "https_for_http"}
_NOT_RUNNING = {"engine_absent", "engine_stopped", "container_absent", "container_stopped", "data_missing"}
_REGISTRY_DOWN = _NOT_RUNNING | {"port_other"}
_PUSHES_FAIL = {"not_writable", "disk_full", "stands_in"}


class _Known(dict):
    """Fields for a text; one that is not known is empty."""

    def __missing__(self, key: str) -> str:
        return ""


class Finding(NamedTuple):
    """What is wrong with one host, as codes of VERDICTS with their fields."""

    code: str
    fields: dict[str, Any]
    warnings: list[tuple[str, dict[str, Any]]]


class Server(NamedTuple):
    """A server: what is wrong with it, and what the clients' findings are compared with."""

    host: str
    finding: Finding
    addresses: list[str]
    clock: float | None
    holder: str


def wharf_diagnosis(
    servers: Mapping[str, Mapping[str, Any]], clients: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Judge what was seen, host by host.

    :param servers: host name to the registered result of files/look-at-server.sh there.
    :param clients: host name to the registered result of registry_diagnosis there; an empty one where it did not run.
    :param facts: ``name``, ``port``, ``trust``, ``address`` (null when not said) of the landscape, and ``container``.
    :returns: for each host, servers first: ``host``, ``code`` (of VERDICTS), ``broken`` (whether it fails the run),
        ``short``, ``what``, ``do``, ``warnings`` (a list of ``code``, ``short``, ``what``, ``do``), and
        ``certificate_ends`` (seconds since 1970, null when no certificate was seen).
    """
    facts = {**facts, "registry": f"{facts['name']}:{facts['port']}"}
    known = [_server(host, result, facts) for host, result in servers.items()]
    verdicts = []
    for server in known:
        finding = server.finding
        if server.host in clients and finding.code == "ok":
            finding = _client_finding(server.host, clients[server.host], known, facts, finding.warnings)
        verdicts.append(_verdict(server.host, finding, server, facts))
    for host, result in clients.items():
        if host not in servers:
            server = _server_of(result, known)
            verdicts.append(_verdict(host, _client_finding(host, result, known, facts, []), server, facts))
    return verdicts


# The server ---------------------------------------------------------------------------------------


def _server(host: str, result: Mapping[str, Any], facts: Mapping[str, Any]) -> Server:
    """Judge a server by what look-at-server.sh said of it."""
    missed = _missed(result)
    if missed:
        return Server(host, missed, [facts["address"]] if facts.get("address") else [], None, "")
    look = yaml.safe_load(result["stdout"])
    interfaces = json.loads(_decoded(look["addresses"]) or "[]")
    addresses = own_addresses(interfaces)
    if facts.get("address"):
        addresses.append(facts["address"])
    clock = float(look["clock"])
    fields: dict[str, Any] = {"place": look.get("place"), "status": look.get("status")}
    certificate = _certificate(_decoded(look["certificate"])) if facts["trust"] != "insecure" else None
    fields.update(_certificate_fields(certificate))
    warnings = []
    if certificate and clock < fields["ends"] < clock + SOON:
        warnings.append(("certificate_soon", fields))
    cas = _certificates(_decoded(look["ca"])) if facts["trust"] != "insecure" else []
    ends = max((ca.not_valid_after_utc for ca in cas), default=None)
    if ends and ends.timestamp() < clock + CA_SOON:
        warnings.append(("ca_soon", {"ca_ends": _day(ends)}))
    warnings += _programs(look)
    code, more = _server_fault(host, look, facts)
    fields.update(more)
    if code == "disk_low":
        warnings.append((code, fields))
        code = "ok"
    if code == "ok" and certificate and fields["ends"] < clock:
        code = "expired"
    return Server(host, Finding(code, fields, warnings), addresses, clock, _holder(look, facts))


def _programs(look: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a warning for each program that a timer runs and that failed when it ran last."""
    warnings, failed = [], set()
    for program, line in (look.get("results") or {}).items():
        word, seconds, message = [*_decoded(line).strip().split(" ", 2), "", ""][:3]
        if word != "ok":
            when = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds.isdigit() else ""
            fields = {"program": program, "when": when or "time unknown", "message": message or "no word why"}
            warnings.append(("program_failed", fields))
            failed.add(f"wharf-{program}.service")
    # One that was killed leaves no word of its own.
    units = [unit for unit in (look.get("failed_units") or "").split() if unit not in failed]
    return warnings + [("unit_failed", {"unit": unit}) for unit in units]


def _holder(look: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return who has the registry's port; "" for the registry itself, or where that is not known."""
    others = [name for name in (look.get("publishers") or "").split() if name != facts["container"]]
    if others:
        return f"the container {others[0]}"
    # That is how the engine publishes a port.
    return "" if look["holder"] == "docker-proxy" else look["holder"]


def _server_fault(host: str, look: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the first thing that is wrong with a server, and its fields."""
    if look["engine"] != "running":
        return f"engine_{look['engine']}", {}
    status = look["status"]
    if status == "absent":
        return "container_absent", {}
    if status != "running" and look.get("mark_missing"):
        return "data_missing", {}
    if status != "running":
        if f"{facts['container']}-read-only" in (look.get("publishers") or "").split():
            return "stands_in", {}
        words = look.get("error") or (_decoded(look.get("log")) if look.get("exit_code") else "")
        return "container_stopped", {
            "log_words": f": {_one_line(words)}" if words else "",
            "start": "unpause" if status == "paused" else "start",
        }
    bindings = [binding for entry in (look["ports"] or {}).values() for binding in entry or []]
    published = [binding["HostPort"] for binding in bindings]
    if published and str(facts["port"]) not in published:
        return "port_other", {"published": ", ".join(published)}
    if look["unwritable"] or look["read_only"]:
        return "not_writable", _not_writable(host, look, facts)
    code, fields = _space(look["space"])
    if code in ("ok", "disk_low") and look.get("health") == "unhealthy":
        return "container_unhealthy", {}
    return code, fields


def _not_writable(host: str, look: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    """Say why the registry's user cannot write: the fields of the verdict."""
    user, place = str(look["user"]), look["place"]
    if look["read_only"]:
        return {
            "reason": "is mounted read-only",
            "remedy": f"`dmesg` on {host} says whether the disk has failed; otherwise `mount -o remount,rw {place}`, "
            f"then `docker restart {facts['container']}`",
        }
    inside = look["unwritable"].removeprefix("/var/lib/registry")
    return {
        "place": f"{place}{inside}",
        "reason": f"does not belong to the registry's user {user} (the data to {look['owner']})",
        "remedy": f"`chown -R {user} {place}` on {host}",
    }


def _space(text: str) -> tuple[str, dict[str, str]]:
    """Judge free space and inodes, `stat -f`'s "%S %b %a %c %d"."""
    if not text:
        return "ok", {}
    size, blocks, free, inodes, free_inodes = (int(number) for number in text.split())
    left = size * free
    fields = {"free": _bytes(left)}
    # Some file systems do not count inodes and say 0 of 0.
    if inodes and free_inodes < FULL_INODES:
        return "disk_full", {"free": f"{free_inodes} inodes"}
    if left < FULL_BYTES:
        return "disk_full", fields
    if left < LOW_BYTES or free < blocks * LOW_SHARE:
        return "disk_low", fields
    return "ok", fields


# The clients --------------------------------------------------------------------------------------


def _client_finding(
    host: str,
    result: Mapping[str, Any],
    servers: Sequence[Server],
    facts: Mapping[str, Any],
    warnings: list[tuple[str, dict[str, Any]]],
) -> Finding:
    """Judge what a client saw, with what the servers know about it."""
    missed = _missed(result)
    if missed:
        return missed
    server = _server_of(result, servers)
    code, fields = result["code"], dict(result["details"])
    fields.update(_certificate_fields(_certificate(base64.b64decode(result["certificate"]))))
    warnings = warnings + [(item["code"], item["details"]) for item in result["warnings_found"]]
    if server.clock is None and code == "ok" and 0 < fields.get("ends", 0) - time.time() < SOON:
        warnings.append(("certificate_soon", fields))

    fields.update(addresses=result["addresses"], there=VERDICTS[code].short)
    if code == "digest":
        place = server.finding.fields.get("place") or f"({facts['container']}'s data)"
        digest = fields["expected"].removeprefix("sha256:")
        fields["blob"] = f"{place}/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}"
    went_wrong = code in _NO_CONNECTION | _ANOTHER_ANSWERS | _CERTIFICATE
    if went_wrong and _leads_elsewhere(host, result["addresses"], servers):
        code = "other_host"
    elif server.finding.code in _NOT_RUNNING and code in _ANOTHER_ANSWERS | _CERTIFICATE and server.holder:
        code = "port_taken"
        fields["holder"] = server.holder
    elif (server.finding.code in _REGISTRY_DOWN and code in _NO_CONNECTION | _ANOTHER_ANSWERS) or (
        server.finding.code in _PUSHES_FAIL and code in ("ok", "unhealthy")
    ):
        code, fields = server.finding.code, {**server.finding.fields, "host": server.host}
    elif code in ("expired", "not_yet_valid"):
        code = _clock_or_certificate(code, fields, result["clock"] - (server.clock or time.time()))
    if server.finding.code not in _REGISTRY_DOWN | {"unreachable", "look_failed"}:
        fields["server_words"] = f", though the container runs on {server.host}"
    return Finding(code, fields, warnings)


def _server_of(result: Mapping[str, Any], servers: Sequence[Server]) -> Server:
    """Return the server to which the client's name resolves; the first where that is not known."""
    addresses = set(result.get("addresses", []))
    return next((server for server in servers if addresses & set(server.addresses)), servers[0])


def _leads_elsewhere(host: str, addresses: Sequence[str], servers: Sequence[Server]) -> bool:
    """Tell whether the name resolves to none of the servers. Not known where a server could not be looked at."""
    if host in [server.host for server in servers] and any(re.match(r"127\.|::1$", one) for one in addresses):
        return False
    known = all(server.addresses for server in servers)
    return known and not any(set(addresses) & set(server.addresses) for server in servers)


def _clock_or_certificate(code: str, fields: dict[str, Any], skew: float) -> str:
    """Tell a wrong clock from a wrong certificate; `skew` is how far this host's clock is ahead, in seconds."""
    right_time = time.time()
    if abs(skew) < CLOCKS_DIFFER or not fields.get("starts", 0) <= right_time <= fields.get("ends", 0):
        return code
    fields["skew"] = f"{_duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}"
    return "clock"


# Both ---------------------------------------------------------------------------------------------


def _missed(result: Mapping[str, Any]) -> Finding | None:
    """Return the finding for a host that could not be looked at, None for one that was."""
    words = f"{result.get('msg') or 'no result'} {result.get('module_stderr', '')}"
    reason = {"reason": _one_line(words).removeprefix("Task failed: ")}
    if result.get("unreachable"):
        return Finding("unreachable", reason, [])
    return None if "stdout" in result or "code" in result else Finding("look_failed", reason, [])


def _verdict(host: str, finding: Finding, server: Server, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Put a finding into words."""
    fields = _fields(host, finding.fields, server, facts)
    return {
        "host": host,
        "code": finding.code,
        "broken": finding.code != "ok",
        **_words(finding.code, fields),
        "warnings": [
            {"code": code, **_words(code, _fields(host, details, server, facts))} for code, details in finding.warnings
        ],
        "certificate_ends": finding.fields.get("ends"),
    }


def _words(code: str, fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the words of a verdict with its fields filled in."""
    verdict = VERDICTS[code]
    what, do = (text.format_map(fields) for text in (verdict.what, verdict.do))
    return {"short": verdict.short, "what": _one_line(what, 600), "do": _one_line(do, 600)}


def _fields(host: str, fields: Mapping[str, Any], server: Server, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return all that the words of a verdict may name."""
    private = facts["trust"] == "private_ca"
    found = {key: ", ".join(value) if isinstance(value, list) else value for key, value in fields.items()}
    if "otherwise" in found:  # a code, which the engine found a way around
        found["otherwise"] = VERDICTS[found["otherwise"]].short
    log = found.get("log")
    return _Known(
        {
            **facts,
            "host": host,
            "server": server.host,
            "server_addresses": ", ".join(server.addresses),
            "renew": f"{_DEPLOY}, which renews it"
            if private
            else "put a new certificate into "
            f"wharf_registry_certificate (and its key into wharf_registry_key), then {_DEPLOY}",
            "renew_soon": f"run playbooks/renew-certificates.yml; {server.host} should have renewed it by itself: "
            "`wharf renew-certificate` there says why it did not"
            if private
            else "put a new certificate into wharf_registry_certificate (and its key into wharf_registry_key), then "
            "run site.yml",
            "renew_ca": "run playbooks/rotate-ca.yml: clients trust old and new before the server changes"
            if private
            else "get a new CA, put it beside the old one into wharf_registry_ca and run site.yml; then its "
            "certificate into wharf_registry_certificate, and again",
            "rename": f"{_DEPLOY}, which makes one for wharf_registry_name and wharf_registry_aliases"
            if private
            else "get a certificate that holds the name, put it into wharf_registry_certificate (and its key into "
            f"wharf_registry_key), then {_DEPLOY}",
            "trust_again": _TRUST_AGAIN.format(host=host),
            "log_words": f": {log}" if log else "",
            "source": "the engine's environment",
            **{key: value for key, value in found.items() if value not in (None, "")},
        }
    )


def _certificate(data: bytes | str) -> x509.Certificate | None:
    """Load a certificate, PEM text or DER; None where there is none that can be read."""
    try:
        if isinstance(data, str):
            return x509.load_pem_x509_certificate(data.encode()) if data else None
        return x509.load_der_x509_certificate(data) if data else None
    except ValueError:
        return None


def _certificates(text: str) -> list[x509.Certificate]:
    """Load all certificates of a PEM text; none where they cannot be read."""
    try:
        return x509.load_pem_x509_certificates(text.encode()) if text else []
    except ValueError:
        return []


def _certificate_fields(certificate: x509.Certificate | None) -> dict[str, Any]:
    """Return the fields that tell of a certificate; none where there is none."""
    if certificate is None:
        return {}
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        words = ", ".join(str(getattr(name, "value", name)) for name in names)
    except (x509.ExtensionNotFound, ValueError):
        words = ""
    return {
        "starts": starts.timestamp(),
        "ends": ends.timestamp(),
        "not_before": _day(starts),
        "not_after": _day(ends),
        "certificate_names": words or "no name at all",
        "issuer": certificate.issuer.rfc4514_string() or "an issuer without a name",
    }


def _day(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d")


def _duration(seconds: float) -> str:
    """Return a duration as a person says it, in its largest unit."""
    for size, unit in ((DAY, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def _decoded(text: str | None) -> str:
    """Return the text in Base64; "" where it holds none."""
    try:
        return base64.b64decode(text or "").decode("utf-8", "replace")
    except binascii.Error:
        return ""


def _one_line(text: object, length: int = 300) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


# Output -------------------------------------------------------------------------------------------


def wharf_diagnosis_line(verdicts: Sequence[Mapping[str, Any]], host: str) -> str:
    """Return what there is to say about one host, in one line.

    :param verdicts: what wharf_diagnosis returns.
    :param host: one of its hosts.
    """
    verdict = next(one for one in verdicts if one["host"] == host)
    parts = [_sentences(verdict), *(f"Warning: {_sentences(warning)}" for warning in verdict["warnings"])]
    return f"{host}: {' '.join(parts)}"


def _sentences(words: Mapping[str, str]) -> str:
    do = words["do"]
    return f"{words['what'].rstrip('.')}." + (f" To do: {do}." if do else "")


def wharf_diagnosis_table(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines of the table: host, verdict, what to do; a line of its own for each warning.

    :param verdicts: what wharf_diagnosis returns.
    """
    rows = [("host", "verdict", "what to do")]
    for verdict in verdicts:
        rows.append((verdict["host"], verdict["short"], verdict["do"] or "nothing"))
        rows += [(verdict["host"], f"warning: {one['short']}", one["do"]) for one in verdict["warnings"]]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{host:<{first}}  {short:<{second}}  {do}" for host, short, do in rows)
