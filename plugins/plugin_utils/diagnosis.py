"""What is wrong on each host, judged from both sides of the registry, and what to do about it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from cryptography import x509

from ansible_collections.wharf.registry.plugins.module_utils.addresses import own_addresses
from ansible_collections.wharf.registry.plugins.module_utils.text import age, human_bytes, one_line, table

DAY = 86400
SOON = 30 * DAY  # a certificate that ends sooner is worth a warning
CA_SOON = 90 * DAY  # and a CA, which every client must have in time
CLOCKS_DIFFER = 300  # seconds; less may pass between the visits to two hosts
LOW_SHARE, LOW_BYTES = 0.10, 1024**3  # free space that is worth a warning
FULL_BYTES, FULL_INODES = 16 * 1024**2, 16  # so little that a push cannot be counted on

_TEXTS = yaml.safe_load(Path(__file__).with_name("verdicts.yml").read_text("utf-8"))
PHRASES: dict[str, str | list[str]] = _TEXTS["phrases"]
VERDICTS: dict[str, dict[str, str]] = _TEXTS["verdicts"]

# Where the connection itself went wrong: the server may know why, or the name led to another host.
_CERTIFICATE = {"expired", "not_yet_valid", "wrong_name", "ca_misplaced", "ca_missing", "ca_wrong", "ca_unknown"}
_NO_CONNECTION = {"refused", "filtered", "connection_reset", "no_response"}
_ANOTHER_ANSWERS = {"not_http", "not_registry", "http_for_https", "https_for_http"}
_NOT_RUNNING = {"engine_absent", "engine_stopped", "container_absent", "container_stopped", "data_missing"}
_REGISTRY_DOWN = _NOT_RUNNING | {"other_port"}
_PUSHES_FAIL = {"mounted_read_only", "wrong_owner", "disk_full", "read_only_container"}


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
    port_holder: str


def diagnosis(
    servers: Mapping[str, Mapping[str, Any]], clients: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Judge what was found on the hosts.

    Args:
        servers: host name to the registered result of registry_server_diagnosis there.
        clients: host name to the registered result of registry_diagnosis there; an empty one where it did not run.
        settings: name, port, trust, address (empty where it is not set) and container of the registry.

    Returns:
        "verdicts", by host, servers first: code (of VERDICTS), broken (whether it fails the run), short, what, do,
        line (all of that in one), warnings (a list of code, short, what, do), and certificate_ends (seconds since 1970,
        None where there is none); "table", the lines for people; and "broken", the hosts where something is.
    """
    settings = {**settings, "registry": f"{settings['name']}:{settings['port']}"}
    known = [_server(host, result, settings) for host, result in servers.items()]
    verdicts = {}
    for server in known:
        finding = server.finding
        if server.host in clients and finding.code == "ok":
            finding = _client_finding(server.host, clients[server.host], known, settings, finding.warnings)
        verdicts[server.host] = _verdict(server.host, finding, server, settings)
    for host, result in clients.items():
        if host not in servers:
            finding = _client_finding(host, result, known, settings, [])
            verdicts[host] = _verdict(host, finding, _server_of(result, known), settings)
    broken = [host for host, verdict in verdicts.items() if verdict["broken"]]
    return {"verdicts": verdicts, "table": _table(verdicts), "broken": broken}


# The server ---------------------------------------------------------------------------------------


def _server(host: str, result: Mapping[str, Any], settings: Mapping[str, Any]) -> Server:
    """Judge a server by what registry_server_diagnosis tells."""
    address = [settings["address"]] if settings.get("address") else []
    if missed := _missed(result):
        return Server(host, missed, address, None, "")
    clock, has_tls = result["clock"], settings["trust"] != "insecure"
    fields = _certificate_fields(result["certificate"] if has_tls else "")
    end = fields.get("ends", clock)
    warnings = []
    if clock < end < clock + SOON:
        warnings.append(("certificate_soon", fields))
    ends = max((ca.not_valid_after_utc for ca in _certificates(result["ca"] if has_tls else "")), default=None)
    if ends and ends.timestamp() < clock + CA_SOON:
        warnings.append(("ca_soon", {"ca_ends": _day(ends)}))
    warnings += _programs(result)
    code, more = _server_fault(result, settings)
    fields.update(more, place=result["data"]["place"] if "data" in result else "")
    if code == "disk_low":
        warnings.append((code, fields))
        code = "ok"
    if code == "ok" and end < clock:
        code = "expired"
    addresses = own_addresses(result["interfaces"]) + address
    return Server(host, Finding(code, fields, warnings), addresses, clock, _port_holder(result, settings))


def _programs(result: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a warning for each program that a timer runs and that failed when it ran last."""
    warnings = []
    for program, outcome in result["programs"].items():
        outcome = outcome or {"good": False, "time": 0, "message": ""}
        if not outcome["good"]:
            when = f"{datetime.fromtimestamp(outcome['time'], UTC):%Y-%m-%d %H:%M UTC}" if outcome["time"] else ""
            message = outcome["message"] or "it does not say why"
            warnings.append(
                ("program_failed", {"program": program, "when": when or "time unknown", "message": message})
            )
    # One that was killed leaves no result of its own.
    named = [f"wharf-{fields['program']}.service" for _, fields in warnings]
    return warnings + [("unit_failed", {"unit": unit}) for unit in result["failed_units"] if unit not in named]


def _port_holder(result: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return what has the registry's port; "" for the registry itself, or where that is not known."""
    others = [name for name in result.get("publishers", []) if name != settings["container"]]
    if others:
        return f"the container {others[0]}"
    # That is how the engine publishes a port.
    return " ".join(name for name in result["listeners"] if name != "docker-proxy")


def _server_fault(result: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the first thing that is wrong with a server, and its fields."""
    if result["engine"] != "running":
        return f"engine_{result['engine']}", {}
    container, data = result["container"], result["data"]
    if container is None:
        return "container_absent", {}
    status = container["status"]
    if status != "running":
        if not data["has_id"]:
            return "data_missing", {}
        if f"{settings['container']}-read-only" in result["publishers"]:
            return "read_only_container", {}
        log = container["error"] or (container["log"] if container["exit_code"] else "")
        return "container_stopped", {
            "status": status,
            "log": log and one_line(log),
            "start": "unpause" if status == "paused" else "start",
        }
    published = container["published"]
    if published and str(settings["port"]) not in published:
        return "other_port", {"published": published}
    if data["read_only"]:
        return "mounted_read_only", {}
    if data["unwritable"]:
        directory = data["place"] + data["unwritable"].removeprefix("/var/lib/registry")
        return "wrong_owner", {"directory": directory, "container_user": data["user"], "owner": data["owner"]}
    code, fields = _space(data)
    if code in ("ok", "disk_low") and container["health"] == "unhealthy":
        return "container_unhealthy", {}
    return code, fields


def _space(data: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Judge free space and inodes."""
    if "free" not in data:
        return "ok", {}
    free, fields = data["free"], {"free": human_bytes(data["free"])}
    # Some file systems do not count inodes and say 0 of 0.
    if data["inodes"] and data["free_inodes"] < FULL_INODES:
        return "disk_full", {"free": f"{data['free_inodes']} inodes"}
    if free < FULL_BYTES:
        return "disk_full", fields
    return "disk_low" if free < LOW_BYTES or free < data["size"] * LOW_SHARE else "ok", fields


# The clients --------------------------------------------------------------------------------------


def _client_finding(
    host: str,
    result: Mapping[str, Any],
    servers: Sequence[Server],
    settings: Mapping[str, Any],
    warnings: list[tuple[str, dict[str, Any]]],
) -> Finding:
    """Judge what a client found, with what the servers know about it."""
    if missed := _missed(result):
        return missed
    server = _server_of(result, servers)
    code, fields = result["code"], dict(result["details"])
    fields.update(_certificate_fields(result["certificate"]))
    warnings = warnings + [(item["code"], item["details"]) for item in result["warnings_found"]]
    if server.clock is None and code == "ok" and 0 < fields.get("ends", 0) - time.time() < SOON:
        warnings.append(("certificate_soon", fields))

    fields.update(addresses=result["addresses"], there=VERDICTS[code]["short"])
    if code == "digest":
        place = server.finding.fields.get("place") or f"({settings['container']}'s data)"
        algorithm, _, digest = fields["expected"].partition(":")
        fields["blob"] = f"{place}/docker/registry/v2/blobs/{algorithm}/{digest[:2]}/{digest}"
    went_wrong = code in _NO_CONNECTION | _ANOTHER_ANSWERS | _CERTIFICATE
    if went_wrong and _leads_elsewhere(host, result["addresses"], servers):
        code = "other_host"
    elif server.finding.code in _NOT_RUNNING and code in _ANOTHER_ANSWERS | _CERTIFICATE and server.port_holder:
        code = "port_taken"
        fields["holder"] = server.port_holder
    elif (server.finding.code in _REGISTRY_DOWN and code in _NO_CONNECTION | _ANOTHER_ANSWERS) or (
        server.finding.code in _PUSHES_FAIL and code in ("ok", "unhealthy")
    ):
        code, fields = server.finding.code, {**server.finding.fields, "host": server.host}
    elif code in ("expired", "not_yet_valid"):
        code = _clock_or_certificate(code, fields, result["clock"] - (server.clock or time.time()))
    if server.finding.code not in _REGISTRY_DOWN | {"unreachable", "not_examined"}:
        fields["server_note"] = f", although the container runs on {server.host}"
    return Finding(code, fields, warnings)


def _server_of(result: Mapping[str, Any], servers: Sequence[Server]) -> Server:
    """Return the server to which the client's name resolves; the first where that is not known."""
    addresses = set(result.get("addresses", []))
    return next((server for server in servers if addresses & set(server.addresses)), servers[0])


def _leads_elsewhere(host: str, addresses: Sequence[str], servers: Sequence[Server]) -> bool:
    """Tell whether the name resolves to none of the servers. Not known where one of them was not examined."""
    if host in [server.host for server in servers] and any(re.match(r"127\.|::1$", one) for one in addresses):
        return False
    known = all(server.addresses for server in servers)
    return known and not any(set(addresses) & set(server.addresses) for server in servers)


def _clock_or_certificate(code: str, fields: dict[str, Any], skew: float) -> str:
    """Tell a wrong clock from a wrong certificate; `skew` is how far this host's clock is ahead, in seconds."""
    right_time = time.time()
    if abs(skew) < CLOCKS_DIFFER or not fields.get("starts", 0) <= right_time <= fields.get("ends", 0):
        return code
    fields["skew"] = f"{age(abs(skew))} {'ahead' if skew > 0 else 'behind'}"
    return "clock"


# Both ---------------------------------------------------------------------------------------------


def _missed(result: Mapping[str, Any]) -> Finding | None:
    """Return the finding for a host that could not be examined, None for one that was."""
    reason = one_line(f"{result.get('msg') or 'no result'} {result.get('module_stderr', '')}")
    fields = {"reason": reason.removeprefix("Task failed: ")}
    if result.get("unreachable"):
        return Finding("unreachable", fields, [])
    return None if "clock" in result else Finding("not_examined", fields, [])


def _certificates(pem: str) -> list[x509.Certificate]:
    """Load all certificates of a PEM text; none where they cannot be read."""
    try:
        return x509.load_pem_x509_certificates(pem.encode()) if pem else []
    except ValueError:
        return []


def _certificate_fields(pem: str) -> dict[str, Any]:
    """Return the fields that describe the first certificate of a PEM text; none where there is none."""
    certificates = _certificates(pem)
    if not certificates:
        return {}
    certificate = certificates[0]
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        names = []
    return {
        "starts": starts.timestamp(),
        "ends": ends.timestamp(),
        "not_before": _day(starts),
        "not_after": _day(ends),
        "certificate_names": ", ".join(str(getattr(name, "value", name)) for name in names) or "no name at all",
        "issuer": certificate.issuer.rfc4514_string() or "an issuer without a name",
    }


def _day(when: datetime) -> str:
    """Return a day in UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%d")


# The texts ----------------------------------------------------------------------------------------


class _Known(dict):
    """Fields for a text; one that is not known is empty."""

    def __missing__(self, key: str) -> str:
        return ""


def _verdict(host: str, finding: Finding, server: Server, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on a host."""
    texts = _texts(finding.code, _fields(host, finding.fields, server, settings))
    warnings = [
        {"code": code, **_texts(code, _fields(host, details, server, settings))} for code, details in finding.warnings
    ]
    return {
        "code": finding.code,
        "broken": finding.code != "ok",
        **texts,
        "line": " ".join([_sentences(texts), *(f"Warning: {_sentences(warning)}" for warning in warnings)]),
        "warnings": warnings,
        "certificate_ends": finding.fields.get("ends"),
    }


def _texts(code: str, fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a verdict with its fields filled in."""
    return {key: one_line(text.format_map(fields), 600) for key, text in VERDICTS[code].items()}


def _sentences(texts: Mapping[str, str]) -> str:
    """Return what is wrong and what to do as sentences."""
    return f"{texts['what'].rstrip('.')}." + (f" To do: {texts['do']}." if texts["do"] else "")


def _fields(host: str, details: Mapping[str, Any], server: Server, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return all that the texts of a verdict may name."""
    found = {key: ", ".join(value) if isinstance(value, list) else value for key, value in details.items()}
    if "otherwise" in found:  # a code, which the engine found a way around
        found["otherwise"] = VERDICTS[found["otherwise"]]["short"]
    fields = _Known(settings, host=host, server=server.host, server_addresses=", ".join(server.addresses))
    fields["source"] = "the engine's environment"
    fields.update({key: value for key, value in found.items() if value not in (None, "")})
    if "log" in fields:
        fields["log_note"] = f": {fields['log']}"
    for name, phrase in PHRASES.items():
        text = phrase if isinstance(phrase, str) else phrase[0 if settings["trust"] == "private_ca" else 1]
        fields[name] = text.format_map(fields)
    return fields


def _table(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the lines of the table: host, verdict, what to do; a line of its own for each warning."""
    rows = [("host", "verdict", "what to do")]
    for host, verdict in verdicts.items():
        rows.append((host, verdict["short"], verdict["do"] or "nothing"))
        rows += [(host, f"warning: {one['short']}", one["do"]) for one in verdict["warnings"]]
    return "\n".join(table(rows))
