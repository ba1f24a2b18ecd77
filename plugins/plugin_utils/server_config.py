"""The registry's configuration, merged from the role's own and the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wharf.registry.plugins.plugin_utils.programs import NO_DRIVERS


def merged_config(base: dict[str, Any], *overlays: dict[str, Any]) -> dict[str, Any]:
    """Merge configurations of the registry, later ones over earlier ones.

    Dicts are merged key by key, all else is replaced; a value of null takes the key away. The registry accepts one
    storage driver only, so an overlay that names another driver takes the earlier one away.

    Args:
        base: a configuration as in the registry's reference
            (https://distribution.github.io/distribution/about/configuration/).
        overlays: configurations or parts of one.

    Returns:
        A new dict; the arguments stay as they are.
    """
    merged = dict(base)
    for overlay in overlays:
        drivers = set(overlay.get("storage") or {}) - set(NO_DRIVERS)
        if drivers and "storage" in merged:
            merged["storage"] = {k: v for k, v in merged["storage"].items() if k in {*NO_DRIVERS} | drivers}
        merged = _merge(merged, overlay)
    return merged


def config_keys(config: Mapping[str, Any]) -> list[str]:
    """Return the paths of all keys of a configuration, such as ``redis.addrs``; one with null is taken away."""
    keys = []
    for key, value in config.items():
        if value is not None:
            keys.append(str(key))
            keys += [f"{key}.{path}" for path in config_keys(value)] if isinstance(value, Mapping) else []
    return keys


def _merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Merge one configuration over another."""
    merged = dict(base)
    for key, value in overlay.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged
