"""The registry's configuration as a merged dict."""

from __future__ import annotations

from typing import Any


def registry_config(base: dict[str, Any], *overlays: dict[str, Any]) -> dict[str, Any]:
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
    # Everything else under "storage" is an option that every driver shares.
    shared = {"cache", "delete", "maintenance", "redirect", "tag"}
    merged = dict(base)
    for overlay in overlays:
        drivers = set(overlay.get("storage") or {}) - shared
        if drivers and "storage" in merged:
            merged["storage"] = {k: v for k, v in merged["storage"].items() if k in shared | drivers}
        merged = _merge(merged, overlay)
    return merged


def _merge(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged
