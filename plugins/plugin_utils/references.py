"""The reference of the registry's own image."""

from __future__ import annotations

from ansible_collections.wharf.registry.plugins.module_utils.references import REFERENCE
from ansible_collections.wharf.registry.plugins.plugin_utils.values import shown


def image_problems(value: object, variable: str) -> list[str]:
    """Judge the reference of an image: pinned by a tag or a digest, and not ``latest``. Null means the default."""
    if value is None:
        return []
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        wrong = "is not an image reference"
    elif match["digest"]:
        return []
    elif match["tag"] is None:
        wrong = "is not pinned, it has neither tag nor digest"
    elif match["tag"] == "latest":
        wrong = "is not pinned, latest is another image tomorrow"
    else:
        return []
    return [f"{variable}: {shown(value)} {wrong}: use one such as registry:2.8.3 or registry@sha256:..."]
