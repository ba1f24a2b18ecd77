"""What is wrong on each host, judged from both sides of the registry, and what to do about it."""

from __future__ import annotations

import ipaddress
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import yaml_load
from cryptography import x509

from ansible_collections.wharf.registry.plugins.module_utils.parts import container_names
from ansible_collections.wharf.registry.plugins.module_utils.text import age, one_line, table

DAY = 86400
SOON = 30 * DAY  # a certificate that ends sooner is worth a warning
CA_SOON = 90 * DAY  # and a CA, which every client must have in time
CLOCKS_DIFFER = 300  # seconds; less may pass between the visits to two hosts

_TEXTS = yaml_load(Path(__file__).with_name("verdicts.yml").read_text("utf-8"))
PHRASES: dict[str, str | list[str]] = _TEXTS["phrases"]
VERDICTS: dict[str, dict[str, str]] = _TEXTS["verdicts"]

# Where the connection itself went wrong: the server may know why, or the name led to another host.
_CERTIFICATE = {"expired", "not_yet_valid", "wrong_name", "ca_misplaced", "ca_missing", "ca_wrong", "ca_unknown"}
_NO_CONNECTION = {"refused", "filtered", "connection_reset", "no_response"}
_NO_ANSWER = {"filtered", "no_response"}
_ANOTHER_ANSWERS = {"not_http", "not_registry", "http_for_https", "https_for_http"}
_ENGINE_DOWN = {"engine_absent", "engine_stopped", "engine_masked", "engine_json", "engine_conflict"}
_NO_CONTAINER = {"container_absent", "container_stopped"}
_REGISTRY_DOWN = _ENGINE_DOWN | _NO_CONTAINER | {"data_missing", "other_port", "port_taken"}
_FORWARDING = {"forwarding_off", "forward_dropped", "rules_missing", "rules_off"}  # what the engine needs of the kernel
_SILENT = {"no_network", "gateway_silent", "gateway_cut_off"}
_BEHIND = {"registry_silent", "gateway_lost"}  # the gateway answers, and gets no answer
_STORAGE = {"mounted_read_only", "wrong_owner", "wrong_mode", "not_allowed", "disk_full"}
_SICK = {"registry_away", "unhealthy", "engine_fails"}  # what clients notice of what goes wrong behind the gateway


@dataclass
class Finding:
    """What is wrong with one host, as codes of VERDICTS with their fields."""

    host: str
    code: str
    fields: dict[str, Any]
    warnings: list[tuple[str, dict[str, Any]]]
    addresses: list[str]  # of a server; those to which the name resolves on a client
    clock: float | None = None  # None for a host that could not be examined
    source: str = ""  # the address of a client from which it reaches the registry
    bridges: Mapping[str, str] = field(default_factory=dict)  # of a server: networks of containers, by interface


def diagnosis(
    servers: Mapping[str, Mapping[str, Any]], clients: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Judge what was found on the hosts.

    Args:
        servers: host name to the registered result of registry_server_diagnosis there; standbys come last.
        clients: host name to the registered result of registry_diagnosis there; an empty one where it did not run.
        settings: name, port, trust, address (empty where it is not set) and container of the registry, and standbys,
            their names.

    Returns:
        What RETURN of the filter says.
    """
    own_gateway = container_names(settings["container"])["gateway"]
    settings = {**settings, "registry": f"{settings['name']}:{settings['port']}", "gateway": own_gateway}
    found = {host: _finding(host, result, settings) for host, result in clients.items()}
    known = [_server(_finding(host, result, settings), result, settings, found) for host, result in servers.items()]
    verdicts = {}
    for host in dict.fromkeys([*servers, *clients]):
        finding = server = next((one for one in known if one.host == host), None)
        if finding is None or (host in clients and finding.code == "ok"):
            finding = _client(found[host], known, settings)
            finding.warnings[:0] = server.warnings if server else []
        verdicts[host] = _verdict(finding, server or _server_of(finding, known), settings)
    broken = [host for host, verdict in verdicts.items() if verdict["broken"]]
    return {"verdicts": verdicts, "table": _table(verdicts), "broken": broken}


def _finding(host: str, result: Mapping[str, Any], settings: Mapping[str, Any]) -> Finding:
    """Return what a host's module says of it, or that it could not be examined."""
    if "clock" not in result:
        reason = one_line(f"{result.get('msg') or 'no result'} {result.get('module_stderr', '')}")
        code = "not_examined"
        if result.get("unreachable"):
            code = "no_ssh" if re.search("timed out|timeout", reason, re.IGNORECASE) else "unreachable"
        elif result.get("timedout"):
            code = "host_hangs"
        return Finding(host, code, {"reason": reason.removeprefix("Task failed: ")}, [], [])
    fields = {**result["details"], **_certificate_fields(result["certificate"], settings)}
    warnings = [(one["code"], one["details"]) for one in result["warnings_found"]]
    where = {"source": result.get("source", ""), "bridges": result.get("bridges", {})}
    return Finding(host, result["code"], fields, warnings, list(result["addresses"]), result["clock"], **where)


def _server(
    found: Finding, result: Mapping[str, Any], settings: Mapping[str, Any], clients: Mapping[str, Finding]
) -> Finding:
    """Add what the certificates of a server tell, the address that is set, and what clients notice first."""
    if settings["address"]:
        found.addresses.append(settings["address"])
    if found.clock is None:
        return found
    end = found.fields.get("ends", found.clock)
    if found.clock < end < found.clock + SOON:
        found.warnings.append(("certificate_soon", found.fields))
    if found.code == "ok" and end < found.clock:
        found.code = "expired"
    if result["port_holder"] and found.code in _REGISTRY_DOWN - {"other_port"}:
        found.fields.update(holder=result["port_holder"], stop=result["port_stop"])
        if found.code in _NO_CONTAINER:
            found.fields["then"] = _texts(found.code, {**settings, "server": found.host, **found.fields})["do"]
            found.code = "port_taken"
    if not result["is_served"]:
        # Clients may well be content with the one that is served.
        if found.code in ("ok", "expired") and {client.code for client in clients.values()} & _CERTIFICATE:
            found.code = "not_served"
        else:
            found.warnings.append(("not_served", {}))
    # A rule of the administrator's may let clients through all the same. Without a client only the switch is certain.
    if found.code == "ok" and result["forwarding"]:
        seen = {client.code for client in clients.values() if client.clock is not None}
        if seen & _NO_CONNECTION or (not seen and result["forwarding"]["code"] == "forwarding_off"):
            found.code = result["forwarding"]["code"]
            found.fields.update(result["forwarding"]["details"])
    ca_ends = max((ca.not_valid_after_utc for ca in _certificates(result["ca"], settings)), default=None)
    if ca_ends and ca_ends.timestamp() < found.clock + CA_SOON:
        found.warnings.append(("ca_soon", {"ca_ends": f"{ca_ends:%Y-%m-%d}"}))
    return found


def _client(found: Finding, servers: Sequence[Finding], settings: Mapping[str, Any]) -> Finding:
    """Judge what a client found, with what the servers know about it."""
    if found.clock is None:
        return found
    server, code, fields = _server_of(found, servers), found.code, found.fields
    if server.clock is None and code == "ok" and 0 < fields.get("ends", 0) - time.time() < SOON:
        found.warnings.append(("certificate_soon", dict(fields)))

    if "standby_of" in server.fields:  # the name leads to no server, which would come before it
        found.warnings.append(("name_of_standby", {"name": settings["name"]}))
    fields.update(addresses=found.addresses, there=VERDICTS[code]["short"])
    if code == "digest":
        place = server.fields.get("place") or f"({settings['container']}'s data)"
        algorithm, _, digest = fields["expected"].partition(":")
        fields["blob"] = f"{place}/docker/registry/v2/blobs/{algorithm}/{digest[:2]}/{digest}"
    if code in _NO_CONNECTION | _ANOTHER_ANSWERS | _CERTIFICATE and _leads_elsewhere(found, servers):
        found.code = "other_host"
    elif (
        (server.code in _REGISTRY_DOWN and code in _NO_CONNECTION | _ANOTHER_ANSWERS | {"registry_away"})
        or ("holder" in server.fields and code in _CERTIFICATE)
        or (server.code == "file_unreadable" and code in _SICK | {"password_refused"})
        or (server.code in _FORWARDING | _SILENT and code in _NO_CONNECTION)
        or (server.code in _BEHIND and code in _SICK | _NO_ANSWER)
        or (server.code in _STORAGE and code in _SICK | {"ok", "unreadable", "tool_fails"})
        or (server.code == "not_served" and code in _CERTIFICATE)
        or (server.code == "pushes_held" and code == "ok")
    ):
        found.code, found.fields = server.code, {**server.fields, "host": server.host}
    elif code in _NO_ANSWER and server.code in ("unreachable", "no_ssh", "host_hangs"):
        found.code = "server_away"
    elif code in _NO_CONNECTION and (device := _bridge(found.source, server)):
        found.code = "route_inner"
        fields.update(device=device, target=f"{found.host} ({found.source})", at=server.host)
    elif code in ("expired", "not_yet_valid"):
        # A wrong clock, where the certificate is good at the right time.
        skew = found.clock - (server.clock or time.time())
        if abs(skew) >= CLOCKS_DIFFER and fields.get("starts", 0) <= time.time() <= fields.get("ends", 0):
            found.code = "clock"
            fields["skew"] = f"{age(abs(skew))} {'ahead' if skew > 0 else 'behind'}"
    if server.clock is not None and server.code not in _REGISTRY_DOWN:
        found.fields["server_note"] = f", although its containers run on {server.host}"
    return found


def _server_of(client: Finding, servers: Sequence[Finding]) -> Finding:
    """Return the server to which the client's name resolves; the first where that is not known."""
    return next((server for server in servers if set(client.addresses) & set(server.addresses)), servers[0])


def _bridge(address: str, server: Finding) -> str:
    """Return the interface for containers into which a server's route to an address leads; empty where none does."""
    networks = {ipaddress.ip_network(network): device for network, device in server.bridges.items()}
    return next(
        (device for network, device in networks.items() if address and ipaddress.ip_address(address) in network), ""
    )


def _leads_elsewhere(client: Finding, servers: Sequence[Finding]) -> bool:
    """Tell whether the name resolves to none of the servers. Not known where one of them was not examined."""
    if client.host in [server.host for server in servers] and any(re.match(r"127\.|::1$", a) for a in client.addresses):
        return False
    return all(server.addresses and not set(client.addresses) & set(server.addresses) for server in servers)


def _certificates(pem: str, settings: Mapping[str, Any]) -> list[x509.Certificate]:
    """Load all certificates of a PEM text; none where they cannot be read, or where TLS is not used."""
    try:
        return x509.load_pem_x509_certificates(pem.encode()) if pem and settings["trust"] != "insecure" else []
    except ValueError:
        return []


def _certificate_fields(pem: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that describe the first certificate of a PEM text; none where there is none."""
    for certificate in _certificates(pem, settings):
        starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            names = []
        return {
            "starts": starts.timestamp(),
            "ends": ends.timestamp(),
            "not_before": f"{starts:%Y-%m-%d}",
            "not_after": f"{ends:%Y-%m-%d}",
            "certificate_names": ", ".join(str(getattr(name, "value", name)) for name in names) or "no name at all",
            "issuer": certificate.issuer.rfc4514_string() or "an issuer without a name",
        }
    return {}


# The texts ----------------------------------------------------------------------------------------


def _verdict(finding: Finding, server: Finding, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on a host."""
    shared = {**settings, "host": finding.host, "server": server.host, "server_addresses": server.addresses}
    shared["standby_of"] = server.fields.get("standby_of", "")
    texts = _texts(finding.code, shared | finding.fields)
    warnings = [{"code": code, **_texts(code, shared | details)} for code, details in finding.warnings]
    return {
        "code": finding.code,
        "broken": finding.code != "ok",
        **texts,
        "line": " ".join([_sentences(texts), *(f"Warning: {_sentences(warning)}" for warning in warnings)]),
        "warnings": warnings,
    }


def _texts(code: str, details: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a verdict with its fields filled in; a field that is not known is empty."""
    fields = defaultdict(str, source="the engine's environment")
    for key, value in details.items():
        if value not in (None, ""):
            fields[key] = ", ".join(value) if isinstance(value, list) else value
    if "otherwise" in fields:  # a code, which the engine found a way around
        fields["otherwise"] = VERDICTS[fields["otherwise"]]["short"]
    fields.setdefault("at", fields["host"])
    if "device" in fields:
        device = str(fields["device"])
        fields["network"] = device[3:] if device.startswith("br-") else "bridge"
    if "file" in fields:
        fields["file_note"] = f" (it is set in {fields['file']})"
        fields["file_too"] = f", and correct {fields['file']}"
    fields["playbook"] = f"deploy-{'standbys' if fields['server'] in details['standbys'] else 'registry'}.yml"
    fields["proxy_place"] = details.get("source") or "its environment"
    if "log" in fields:
        fields["log_note"] = f": {fields['log']}"
    for name, phrase in PHRASES.items():
        text = phrase if isinstance(phrase, str) else phrase[0 if fields["trust"] == "private_ca" else 1]
        fields[name] = text.format_map(fields)
    return {key: one_line(text.format_map(fields), 600) for key, text in VERDICTS[code].items()}


def _sentences(texts: Mapping[str, str]) -> str:
    """Return what is wrong and what to do as sentences."""
    return f"{texts['what'].rstrip('.')}." + (f" To do: {texts['do']}." if texts["do"] else "")


def _table(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the lines of the table: host, verdict, what to do; a line of its own for each warning."""
    rows = [("host", "verdict", "what to do")]
    for host, verdict in verdicts.items():
        rows.append((host, verdict["short"], verdict["do"] or "nothing"))
        rows += [(host, f"warning: {one['short']}", one["do"]) for one in verdict["warnings"]]
    return "\n".join(table(rows))
