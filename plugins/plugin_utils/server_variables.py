"""The variables of the server's roles that an inventory may set beside the settings: what cannot be right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import NO_DRIVERS
from ansible_collections.wharf.registry.plugins.plugin_utils.specifications import judged, near, specification
from ansible_collections.wharf.registry.plugins.plugin_utils.values import kind, listed, mapping_in, shown

ROLES = ("registry_server", "registry_tls", "registry_client", "registry_backup", "registry_standby")
FACTS = ("registry_tls_fingerprint", "registry_tls_ca_pem")  # which a role has set, where a run has several playbooks
_DRIVERS = ("filesystem", "s3", "azure", "gcs", "swift", "oss", "inmemory", "middleware")
# Source: distribution, configuration/configuration.go of v2.8.3 and v3.1.1.
_CONFIG = (
    "version",
    "log",
    "loglevel",
    "storage",
    "auth",
    "middleware",
    "reporting",
    "http",
    "notifications",
    "redis",
    "health",
    "proxy",
    "compatibility",
    "validation",
    "policy",
    "catalog",
)
# What is wrong in these at any depth: the registry does not start, or takes its default in silence.
_ENABLED = {"enabled": bool}
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+|0")
_ADDRESS = re.compile("https?://.+")
_DISABLED = {"disabled": bool}
_SCHEMA: dict[str, Any] = {
    "version": ("0.1", 0.1),
    "loglevel": ("error", "warn", "info", "debug"),
    "log": {
        "level": ("error", "warn", "info", "debug"),
        "formatter": ("text", "json", "logstash"),
        "fields": dict,
        "hooks": list,
        "accesslog": _DISABLED,
        "reportcaller": bool,
    },
    "storage": {
        "delete": _ENABLED,
        "redirect": {"disable": bool},
        "cache": {"blobdescriptor": ("inmemory", "redis", ""), "blobdescriptorsize": int},
        "maintenance": {
            "uploadpurging": {"enabled": bool, "age": _DURATION, "interval": _DURATION, "dryrun": bool},
            "readonly": _ENABLED,
        },
        "filesystem": {"maxthreads": int, "rootdirectory": str},
        "tag": dict,
    },
    "http": {
        "headers": dict,
        "draintimeout": _DURATION,
        "host": _ADDRESS,
        "http2": _DISABLED,
        "h2c": _ENABLED,
    },
    "notifications": {"events": dict, "endpoints": list},
    "health": {"storagedriver": dict, "file": list, "http": list, "tcp": list},
    "validation": {
        "enabled": bool,
        "disabled": bool,
        "manifests": {"urls": {"allow": list, "deny": list}, "indexes": dict},
    },
    "proxy": {"remoteurl": str, "username": str, "password": str, "ttl": str, "exec": dict},
    "catalog": {"maxentries": int},
}
_SIZE = re.compile(r"([0-9]+)([kmg]?)", re.IGNORECASE)
_SMALLEST = 6 * 1024**2  # moby, daemon/daemon_unix.go: linuxMinMemory


def problems_of(given: Mapping[str, Any]) -> list[str]:
    """Return a line for each mistake in one host's variables."""
    problems = []
    for role in ROLES:
        known = specification(role)
        values, wrong = judged({name: value for name, value in given.items() if name in known}, role)
        problems += [f"{name}: {fault}" for name, fault in wrong.items()]
        problems += [
            f"{name}: is unknown: use {right}"
            for name in given
            if name.startswith(f"{role}_") and name not in (*known, *FACTS) and (right := near(name, known, 0.85))
        ]
        if role == "registry_server":
            problems += memory_problems(values["registry_server_memory_limit"])
            problems += [
                f"registry_server_config: {fault}" for fault in _config_faults(values["registry_server_config"])
            ]
            timeout = values["registry_server_start_timeout"]
            if timeout < 1:
                problems.append(f"registry_server_start_timeout: {timeout} is no time: use seconds, such as 60")
        if role == "registry_tls":
            days, ca_days = values["registry_tls_certificate_days"], values["registry_tls_ca_days"]
            if not 1 <= days <= 397:
                problems.append(f"registry_tls_certificate_days: {days} is out of range: use a number from 1 to 397")
            elif ca_days > 36500:
                problems.append(f"registry_tls_ca_days: {ca_days} is out of range: use a number up to 36500")
            elif ca_days <= days:
                problems.append(
                    f"registry_tls_ca_days: {ca_days} is not more than registry_tls_certificate_days, {days}: use a"
                    " larger number, such as 3650"
                )
    return problems


def memory_problems(value: object) -> list[str]:
    """Judge a memory limit, such as 512m; empty, null or 0 mean none."""
    variable, use = "registry_server_memory_limit", "use a whole number followed by k, m or g, such as 512m"
    match = _SIZE.fullmatch(str(value or 0))
    if not match:
        return [f"{variable}: {shown(value)} is not a size: {use}, or nothing at all for no limit"]
    size = int(match[1]) * 1024 ** " kmg".index(match[2].lower() or " ")
    return [f"{variable}: {shown(value)} is less than Docker takes, 6m: {use}"] if 0 < size < _SMALLEST else []


def _config_faults(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield why the registry would not start, or not as the deployment needs it, with this configuration."""
    for key in config.keys() - {*_CONFIG}:
        yield f"{key} is no key of the registry's configuration: use {near(str(key), _CONFIG) or 'what it documents'}"
    storage = mapping_in(config, "storage")
    drivers = [key for key, value in storage.items() if key not in NO_DRIVERS and value is not None]
    for driver in drivers:
        if driver not in _DRIVERS:
            yield f"storage.{driver} is no driver of the registry: use {near(driver, _DRIVERS) or 'filesystem or s3'}"
    if len(drivers) > 1:
        yield f"storage has {len(drivers)} drivers, {' and '.join(drivers)}, and the registry takes one: leave one"
    if storage.get("s3") is not None:
        yield "storage.s3 would have its keys where others read them: use wharf_registry_storage, as s3 there"
    if "rootdirectory" in mapping_in(storage, "filesystem"):
        yield "storage.filesystem.rootdirectory leads out of the data: leave it out, and set wharf_registry_data"
    auth = mapping_in(config, "auth")
    if auth:
        yield f"auth.{min(map(str, auth))} is not supported: leave it out, and set wharf_registry_users"
    proxy = config.get("proxy")
    if isinstance(proxy, Mapping) and not proxy.keys() - _SCHEMA["proxy"] and "://" not in str(proxy.get("remoteurl")):
        yield f"proxy.remoteurl: {shown(proxy.get('remoteurl'))} has no scheme: use one such as https://registry-1.docker.io"
    http = mapping_in(config, "http")
    for key in ("addr", "net", "prefix", "relativeurls", "secret"):
        if http.get(key) is not None:
            yield f"holds http.{key}, which the gateway needs as the deployment sets it: leave it out"
    if http.get("debug") is not None:
        yield "holds http.debug, where the registry tells its figures: leave it out, and read /metrics of the gateway"
    if http.get("tls"):
        yield "holds http.tls, which is the gateway's: leave it out, and set wharf_registry_trust"
    for name, value in mapping_in(http, "headers").items():
        if not isinstance(value, list):
            yield f"http.headers.{name} is {kind(value)}: use a list, such as [nosniff]"
    endpoints = mapping_in(config, "notifications").get("endpoints")
    for endpoint in endpoints if isinstance(endpoints, list) else ():
        if not isinstance(endpoint, Mapping) or not endpoint.get("name") or "://" not in str(endpoint.get("url")):
            yield "notifications.endpoints has one without a name or an address: give it name and url, https://..."
    yield from _schema_faults(config, _SCHEMA)


def _schema_faults(config: Mapping[str, Any], schema: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield values of other types than the registry's configuration has, and keys below its top that are misspelt."""
    names = {bool: "true or false, without quotes", int: "a whole number, without quotes", str: "text, in quotes"}
    names |= {list: "a list", dict: "a mapping"}
    for key, value in config.items():
        wanted, name = schema.get(key), f"{where}{key}"
        if value is None or wanted is None:
            if where and wanted is None and (right := near(str(key), schema, 0.8)):
                yield f"{name} is no key of the registry's configuration: use {where}{right}"
        elif isinstance(wanted, tuple):
            if value not in wanted or isinstance(value, bool):
                known = dict.fromkeys(str(one) for one in wanted if one)
                yield f"{name}: {shown(value)} is unknown: use {listed([*known], 'or')}"
        elif isinstance(wanted, re.Pattern):
            if not isinstance(value, str) or not wanted.fullmatch(value):
                right = (
                    "h, m and s, such as 168h" if wanted is _DURATION else "an address such as https://registry.example"
                )
                yield f"{name}: {shown(value)} is not one that the registry takes: use {right}"
        elif not isinstance(value, dict if isinstance(wanted, Mapping) else wanted) or (
            wanted is int and isinstance(value, bool)
        ):
            right = f"a mapping with {listed([*wanted], 'or')}" if isinstance(wanted, Mapping) else names[wanted]
            yield f"{name} is {kind(value)}: use {right}"
        elif isinstance(wanted, Mapping):
            yield from _schema_faults(value, wanted, f"{name}.")
